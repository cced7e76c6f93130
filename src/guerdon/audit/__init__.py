"""The audit: checks during a run, the report after it, comparisons between runs, and the measures they use.

Everything is made from a run's ``events.jsonl``: ``read_history`` reads it, ``findings`` judges it, ``write_report`` shows it,
``compare`` and ``write_frontier`` set several runs side by side.
"""

from guerdon.audit.checks import (
    ConstantReward,
    DeadGroups,
    DiversityLoss,
    EntropyCollapse,
    FailingReward,
    HeldOutDivergence,
    KLBudget,
    LengthDrift,
    LogpMismatch,
    NotFinite,
    default_checks,
    findings,
)
from guerdon.audit.compare import Comparison as Comparison
from guerdon.audit.compare import compare
from guerdon.audit.events import History as History
from guerdon.audit.events import read_history
from guerdon.audit.measures import bootstrap, bootstrap_difference, distinct_n, self_repetition
from guerdon.audit.report import Point as Point
from guerdon.audit.report import frontier, write_frontier, write_report

# What a plan may name and what people call; records such as History and Comparison are importable, but no part of a plan.
__all__ = [
    "ConstantReward", "DeadGroups", "DiversityLoss", "EntropyCollapse", "FailingReward", "HeldOutDivergence",
    "KLBudget", "LengthDrift", "LogpMismatch", "NotFinite", "bootstrap", "bootstrap_difference", "compare",
    "default_checks", "distinct_n", "findings", "frontier", "read_history", "self_repetition", "write_frontier", "write_report",
]  # fmt: skip
