"""Experiments that can fail: named arms, paired seeds, and an expectation that is written down before anything runs.

``run_study(Study(...))`` gives an ``Outcome`` with its effect, its interval and its verdict. The published systems in
``guerdon.systems`` are such studies; your own comparison of two rewards or two objectives is one, too.
"""

from guerdon.study.budget import Budget
from guerdon.study.expectation import Expect, Judged, verdict_of
from guerdon.study.run import Outcome, run_study
from guerdon.study.student import interval
from guerdon.study.study import PILOT_SEEDS, VERDICT_SEEDS, Measured, Study
from guerdon.study.trial import Task, Trial

__all__ = [
    "PILOT_SEEDS", "VERDICT_SEEDS", "Budget", "Expect", "Judged", "Measured", "Outcome", "Study", "Task", "Trial", "interval",
    "run_study", "verdict_of",
]  # fmt: skip
