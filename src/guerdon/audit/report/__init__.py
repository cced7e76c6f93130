"""The page of a run, and of several runs side by side."""

from guerdon.audit.report.frontier import Point, frontier, write_frontier
from guerdon.audit.report.page import write_report

__all__ = ["Point", "frontier", "write_frontier", "write_report"]
