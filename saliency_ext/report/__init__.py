"""The single-file HTML report: verdict in words, table, curves, pictures, parameters, counters, statuses."""

from .data import Example, PairExample
from .findings_page import write_findings
from .from_study import write_study_report
from .pairs_page import write_pairs
from .write import write_report

__all__ = ["Example", "PairExample", "write_findings", "write_pairs", "write_report", "write_study_report"]
