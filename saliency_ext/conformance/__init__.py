"""Conformance checks: invariants of explainers and metrics, tested on yours and shown as a table.

`check_explainer(make)` and `check_metric(metric)` check every rule, whatever the ones before gave, and raise nothing:
a violated rule reports what was measured. No data and no network are needed: small models and images are drawn here.
"""

from ._conformance_table import ConformanceRow, ConformanceTable
from ._explainer_rules import check_explainer
from ._metric_rules import check_metric

__all__ = ["ConformanceRow", "ConformanceTable", "check_explainer", "check_metric"]
