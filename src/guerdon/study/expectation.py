"""Expect: what a study predicts, and the one rule that turns paired results into a verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from guerdon.core.errors import PlanError, nearest
from guerdon.study.student import interval

Direction = Literal["higher", "lower"]
Verdict = Literal["reproduced", "partly", "not reproduced"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)  # from best to worst


@dataclass(frozen=True)
class Expect:
    """One arm is expected to be higher or lower than another, by a size that counts.

    The difference is ``arm - times * than``, seed by seed. Two kinds of expectation:

    - *a gain* (``by`` above 0): met when the 95 % interval of the mean difference lies on the stated side of zero and the mean
      reaches ``by``; met in direction only when the mean is smaller than that;
    - *no worse* (``by`` below 0, or ``times`` other than 1 with ``by=0``): met when the interval lies above ``by`` as a whole.

    Args:
        arm: Name of the arm that the claim is about.
        direction: ``"higher"`` or ``"lower"``.
        than: Name of the arm it is compared with.
        by: Smallest difference that counts, in units of the metric, always counted in the stated direction.
        metric: Which metric (None: the study's).
        times: Factor on the other arm: ``times=0.85, by=0`` says "at least 85 % of".

    Raises:
        PlanError: for an unknown direction, an arm that is compared with itself, or numbers that are not finite.

    Example:
        >>> found = Expect("par", "higher", "plain", by=0.1).judge([0.9, 0.8, 0.9], [0.5, 0.5, 0.4])
        >>> found.verdict, round(found.effect, 2)
        ('reproduced', 0.4)
    """

    arm: str
    direction: Direction
    than: str
    by: float
    metric: str | None = None
    times: float = 1.0

    def __post_init__(self) -> None:
        if self.direction not in get_args(Direction):
            raise PlanError(f"Expect: direction {self.direction!r}; {nearest(str(self.direction), get_args(Direction))}")
        if self.arm == self.than:
            raise PlanError(f"Expect: the arm {self.arm!r} is compared with itself")
        if not (math.isfinite(self.by) and math.isfinite(self.times)):
            raise PlanError(f"Expect: by and times must be finite, got {self.by} and {self.times}")
        if self.by == 0 and self.times == 1:
            raise PlanError("Expect: by must be the smallest difference that counts; 0 would count any")

    @property
    def gain(self) -> bool:
        """Whether a difference is claimed, rather than its absence."""
        return self.by > 0 and self.times == 1

    def swapped(self) -> Expect:
        """The same expectation with the two labels exchanged."""
        return Expect(self.than, self.direction, self.arm, self.by, self.metric, self.times)

    def judge(self, arm: Sequence[float], than: Sequence[float]) -> Judged:
        """The verdict over paired results, one of each for every seed.

        Raises:
            PlanError: for results that are not paired, or of fewer than two seeds.
        """
        if len(arm) != len(than) or len(arm) < 2:
            raise PlanError(f"Expect: {len(arm)} and {len(than)} results; at least two paired ones are needed")
        sign = 1 if self.direction == "higher" else -1
        mean, low, high = interval([a - self.times * b for a, b in zip(arm, than, strict=True)])
        ahead, least = sign * mean, low if sign > 0 else -high  # in the stated direction
        if not math.isfinite(mean):
            verdict: Verdict = "not reproduced"
        elif self.gain:
            verdict = "not reproduced" if least <= 0 else "reproduced" if ahead >= self.by else "partly"
        else:
            verdict = "reproduced" if least > min(self.by, 0) and ahead >= self.by else "not reproduced"
        return Judged(self, verdict, mean, low, high)

    def __str__(self) -> str:
        of = f"{self.times:g} times {self.than}" if self.times != 1 else self.than
        metric = f"{self.metric} of " if self.metric else ""
        if self.by > 0:
            return f"{metric}{self.arm} {self.direction} than {of} by at least {self.by:g}"
        worse = "lower" if self.direction == "higher" else "higher"
        return f"{metric}{self.arm} not {worse} than {of}" + (f" by more than {-self.by:g}" if self.by else "")


@dataclass(frozen=True)
class Judged:
    """An expectation and what was found.

    Args:
        expect: What was expected.
        verdict: Of this expectation alone.
        effect: Mean paired difference, as it is: negative where the arm is lower.
        low: Lower end of its 95 % interval.
        high: Upper end.
    """

    expect: Expect
    verdict: Verdict
    effect: float
    low: float
    high: float


def verdict_of(judged: Sequence[Judged]) -> Verdict:
    """The verdict of a study: that of the expectation that fared worst, for a claim holds when all of it does."""
    return max((j.verdict for j in judged), key=VERDICTS.index)


def judge_all(expect: Sequence[Expect], metric: str, results: Mapping[str, Sequence[Mapping[str, float]]]) -> list[Judged]:
    """Every expectation, over the metrics of every arm, in the order of the seeds.

    Raises:
        PlanError: for a metric that an arm did not measure.

    >>> results = {"a": [{"gold": 1.0}, {"gold": 1.2}], "b": [{"gold": 0.1}, {"gold": 0.2}]}
    >>> [j.verdict for j in judge_all([Expect("a", "higher", "b", by=0.5)], "gold", results)]
    ['reproduced']
    """
    return [e.judge(*(_column(results[name], name, e.metric or metric) for name in (e.arm, e.than))) for e in expect]


def _column(rows: Sequence[Mapping[str, float]], arm: str, metric: str) -> list[float]:
    for row in rows:
        if metric not in row:
            raise PlanError(f"arm {arm!r} measured no {metric!r}; {nearest(metric, row)}")
    return [row[metric] for row in rows]
