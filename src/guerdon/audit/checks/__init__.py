"""Checks: what goes wrong in runs, told once when it begins, when it doubles and when it ends.

Each check is a pure function of a run's numbers so far (``scan``). ``__call__`` looks at the latest draw of a run that is going
on; ``findings`` looks at a recorded run. They share every line of judgement. Thresholds are wide on purpose: a false alarm costs
more trust than a late one. A level that noise alone could reach is never an alarm: windows of several draws are compared, and
their difference must exceed three standard errors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from guerdon.audit.checks._base import SeriesCheck
from guerdon.audit.checks._held_out import HeldOutDivergence
from guerdon.audit.checks._learned import LikelihoodDisplacement, OnePart, UncertaintyGrowth
from guerdon.audit.checks._numbers import LogpMismatch, NotFinite
from guerdon.audit.checks._pictures import OffData, SampleCollapse
from guerdon.audit.checks._policy import DiversityLoss, EntropyCollapse, KLBudget, LengthDrift
from guerdon.audit.checks._reward import ConstantReward, DeadGroups, FailingReward
from guerdon.audit.events import History
from guerdon.audit.series import draws_of, evals_of
from guerdon.core.errors import PlanError
from guerdon.core.protocols import Finding

__all__ = [
    "ConstantReward",
    "DeadGroups",
    "DiversityLoss",
    "EntropyCollapse",
    "FailingReward",
    "HeldOutDivergence",
    "KLBudget",
    "LengthDrift",
    "LikelihoodDisplacement",
    "LogpMismatch",
    "NotFinite",
    "OffData",
    "OnePart",
    "SampleCollapse",
    "SeriesCheck",
    "UncertaintyGrowth",
    "all_findings",
    "checks_of",
    "default_checks",
    "findings",
]

_ALL: tuple[type[SeriesCheck], ...] = (
    ConstantReward, FailingReward, KLBudget, EntropyCollapse, LengthDrift, DeadGroups, LogpMismatch, DiversityLoss,
    HeldOutDivergence, NotFinite, LikelihoodDisplacement, UncertaintyGrowth, OnePart, OffData,
    SampleCollapse,
)  # fmt: skip


def default_checks() -> tuple[SeriesCheck, ...]:
    """One of each, with default thresholds.

    >>> [type(c).__name__ for c in default_checks()][:3]
    ['ConstantReward', 'FailingReward', 'KLBudget']
    """
    return tuple(c() for c in _ALL)


def checks_of(plan: Mapping[str, Any]) -> tuple[SeriesCheck, ...]:
    """The default checks, with the thresholds that a plan gives to some of them.

    >>> [c.limit for c in checks_of({"checks": [{"use": "audit.KLBudget", "limit": 8.0}]}) if isinstance(c, KLBudget)]
    [8.0]
    """
    given: dict[str, SeriesCheck] = {}
    known = {c.__name__: c for c in _ALL}
    listed = plan.get("checks")
    for tree in listed if isinstance(listed, list | tuple) else ():
        if isinstance(tree, Mapping) and (cls := known.get(str(tree.get("use", "")).rpartition(".")[2])):
            try:
                given[cls.__name__] = cls(**{str(k): v for k, v in tree.items() if k != "use"})
            except (TypeError, PlanError):  # written by another version; its defaults are the best guess
                continue
    return tuple(given.get(c.__name__) or c() for c in _ALL)


def findings(history: History, checks: Sequence[SeriesCheck] | None = None) -> list[Finding]:
    """What the checks have to say about a recorded run, by step: the same judgement as during the run.

    Args:
        history: A recorded run.
        checks: Which checks; None: the default ones, with the plan's thresholds.
    """
    draws, evals = draws_of(history), evals_of(history)
    plan = history.start.get("plan")
    chosen = checks_of(plan if isinstance(plan, Mapping) else {}) if checks is None else checks
    found = [f for c in chosen for f in c.scan(evals if c.of == "evaluations" else draws)]
    return sorted(found, key=lambda f: f.step or 0)


def all_findings(history: History) -> list[Finding]:
    """What was reported during the run, and what the checks say now where they were silent then (or not yet asked)."""
    told = {(f.check, f.step) for f in history.findings}
    new = [f for f in findings(history) if (f.check, f.step) not in told and (f.check, (f.step or 0) + 1) not in told]
    return sorted([*history.findings, *new], key=lambda f: f.step or 0)
