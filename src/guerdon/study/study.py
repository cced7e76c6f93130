"""Study: named arms, paired seeds, a metric, and an expectation that is written down before anything runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from guerdon.core.errors import PlanError, nearest
from guerdon.study.budget import Budget
from guerdon.study.expectation import Expect

# What an arm measured: numbers are metrics; a sequence of numbers is a trace, such as the reward along training.
Measured = Mapping[str, float | Sequence[float]]
Arm = Callable[..., Measured]  # (seed, budget, **setting)

PILOT_SEEDS = range(1000)  # for looking around and for tuning
VERDICT_SEEDS = range(1000, 10**6)  # for verdicts, and for nothing else


@dataclass(frozen=True)
class Study:
    """An experiment that can fail.

    An arm is a plain function ``arm(seed, budget, **setting) -> {"metric": number, ...}``; it usually builds a Plan and runs
    it. Arms get the same seeds and should differ in nothing but what the claim is about.

    Args:
        arms: name -> arm, the system's own first. Top-level functions (or ``functools.partial`` of them), because they run in
            processes of their own.
        metric: What is compared where an expectation names nothing else.
        expect: What the claim predicts. All of it must hold; at least one expectation must claim a difference.
        seeds: How many paired seeds give the verdict, at least 3.
        long_arms: Arms that only ``--budget long`` runs.
        tune: name -> values to try. The arms in ``expect`` (those in ``untuned`` excepted) each try every combination on the
            same pilot seeds, and keep the one with the best mean metric: an equal tuning budget.
        untuned: Arms that have nothing to tune, such as a base model that is only measured.
        pilots: Pilot seeds per combination.
        best: Whether a higher or a lower metric is better, for tuning.
        prepare: Called once with the budget before any arm: makes shared warm starts, so that no arm pays for them.
        traces: Names of traces to draw, the first against the others.
        labels: metric or trace -> words for pictures and tables.

    Raises:
        PlanError: for a study that could not fail, or names that do not fit.

    Example:
        >>> study = Study(
        ...     arms={"two": lambda seed, budget: {"x": 2.0 + seed}, "one": lambda seed, budget: {"x": 1.0 + seed}},
        ...     metric="x", expect=[Expect("two", "higher", "one", by=0.5)], seeds=3,
        ... )
        >>> study.expect[0].swapped().arm
        'one'
    """

    arms: Mapping[str, Arm]
    metric: str
    expect: Sequence[Expect]
    seeds: int = 5
    long_arms: Mapping[str, Arm] = field(default_factory=dict)
    tune: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    untuned: Sequence[str] = ()
    pilots: int = 1
    best: str = "higher"
    prepare: Callable[[Budget], object] | None = None
    traces: Sequence[str] = ()
    labels: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not any(e.gain for e in self.expect):
            raise PlanError("Study: no expectation claims a difference, so the study cannot fail as it should")
        for name in (*(n for e in self.expect for n in (e.arm, e.than)), *self.untuned):
            if name not in self.arms:
                raise PlanError(f"Study: no arm {name!r}; {nearest(name, self.arms)}")
        if "" in (*self.arms, *self.long_arms):
            raise PlanError("Study: an arm without a name")
        for name, values in self.tune.items():
            if isinstance(values, str) or not values or not _plain(values):
                raise PlanError(f"Study: tune {name!r} has {values!r}; a list of plain values to try was expected")
        if self.seeds < 3:
            raise PlanError(f"Study: {self.seeds} seeds; at least 3 are needed for an interval")
        if both := set(self.arms) & set(self.long_arms):
            raise PlanError(f"Study: {sorted(both)} are both arms and long arms")
        if self.pilots < 1 or self.best not in ("higher", "lower"):
            raise PlanError(f"Study: pilots must be at least 1 and best 'higher' or 'lower', got {self.pilots} and {self.best!r}")

    def arms_at(self, budget: Budget) -> dict[str, Arm]:
        """The arms that run at a budget."""
        return {**self.arms, **(self.long_arms if budget.name == "long" else {})}

    def needs(self, arm: str) -> list[str]:
        """The metrics without which an arm's trial is of no use."""
        own = [e.metric or self.metric for e in self.expect if arm in (e.arm, e.than)]
        return sorted({*own, *([self.metric] if arm in self.tuned else [])})

    @property
    def tuned(self) -> list[str]:
        """The arms that are tuned, each over all of ``settings``."""
        named = [n for e in self.expect for n in (e.arm, e.than)]
        return [n for n in self.arms if n in named and n not in self.untuned] if self.tune else []

    @property
    def settings(self) -> list[dict[str, Any]]:
        """Every combination of the values to try."""
        return [dict(zip(self.tune, values, strict=True)) for values in product(*self.tune.values())]


def _plain(values: Sequence[Any]) -> bool:
    """Whether values can be sent to another process and written into a record."""
    try:
        json.dumps(list(values), allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True
