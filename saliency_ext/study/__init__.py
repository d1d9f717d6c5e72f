"""`Study`: resumable evaluation, persisted to disk and shared among processes; stopping rules; readers of finished studies."""

from ..evaluation.stop_report import StopReport
from .reader import read_results, read_run, read_summary, read_table
from .samples import Samples
from .stopping import StopRule
from .study import Study

__all__ = ["Samples", "StopReport", "StopRule", "Study", "read_results", "read_run", "read_summary", "read_table"]
