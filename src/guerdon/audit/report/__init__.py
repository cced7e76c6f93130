"""The page of a run, and of several runs side by side."""

from guerdon.audit.report.curves import write_curves
from guerdon.audit.report.frontier import Point, frontier, write_frontier
from guerdon.audit.report.overview import Step, write_overview
from guerdon.audit.report.page import write_report

__all__ = ["Point", "Step", "frontier", "write_curves", "write_frontier", "write_overview", "write_report"]
