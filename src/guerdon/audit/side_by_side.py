"""Two implementations of one method on one task: is the second as good as the first at the end of training?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from guerdon.audit.across_seeds import RESAMPLES, aggregate, choices, difference, percentiles, probability_of_improvement
from guerdon.audit.interquartile import Floats, middle
from guerdon.audit.measures import Interval
from guerdon.core.errors import DataError


@dataclass(frozen=True)
class SideBySide:
    """The ends of two sets of training runs.

    Args:
        a: Interquartile mean over seeds of each run's mean return in the last part of its training, with its interval.
        b: The same of the other implementation.
        difference: ``b - a`` of these, with its interval.
        improvement: How likely a run of ``b`` ends higher than one of ``a``.
        pooled_a: Interquartile mean over the last episodes of all seeds together; its interval resamples whole seeds.
        pooled_b: The same of the other.
        pooled_difference: ``pooled_b - pooled_a``.
        ends_a: [seeds] each run's mean return in the last part.
        ends_b: [seeds].
        paired: Whether runs of one seed were resampled together.
    """

    a: Interval
    b: Interval
    difference: Interval
    improvement: Interval
    pooled_a: Interval
    pooled_b: Interval
    pooled_difference: Interval
    ends_a: tuple[float, ...]
    ends_b: tuple[float, ...]
    paired: bool = False

    def relative(self, pooled: bool = False) -> Interval:
        """The difference and its interval as fractions of the size of the first one's interquartile mean (-0.05: 5 % worse)."""
        d, of = (self.pooled_difference, self.pooled_a) if pooled else (self.difference, self.a)
        size = abs(of.mean) or math.nan
        return Interval(d.mean / size, d.lo / size, d.hi / size, d.n)

    def as_good(self, margin: float = 0.05, pooled: bool = False) -> bool:
        """Whether the lower bound of the relative difference is above ``-margin``."""
        return self.relative(pooled).lo > -margin


def compare_returns(
    a: Sequence[ArrayLike], b: Sequence[ArrayLike], *, ends_a: Sequence[ArrayLike] | None = None,
    ends_b: Sequence[ArrayLike] | None = None, budget: float | None = None, last: float = 0.1, paired: bool = False,
    level: float = 0.95, resamples: int = RESAMPLES, seed: int = 0, expand: bool = False,
) -> SideBySide:  # fmt: skip
    """Compare two implementations by the returns of their training episodes.

    Args:
        a: Returns of every episode of each seed's run, in the order in which they ended.
        b: The same of the other implementation; as many seeds where ``paired``.
        ends_a: Environment step at which each of these episodes ended, of every run; None: parts are counted in episodes.
        ends_b: The same of the other.
        budget: Environment steps of a run; it is needed with ``ends_a`` and ``ends_b``.
        last: What part at the end counts: of the steps where they are known, else of the episodes.
        paired: Resample the runs of one seed together.
        level: Coverage of the intervals.
        resamples: How many.
        seed: Of the resampling.
        expand: Widen the intervals over seeds for few of them (see ``across_seeds``).

    Raises:
        DataError: where a run has no episode in that part, or the arguments do not fit together.

    Example:
        >>> runs = [np.full(50, 490.0), np.full(60, 500.0), np.full(55, 500.0), np.full(50, 480.0)]
        >>> found = compare_returns(runs, [r + 5 for r in runs], paired=True)
        >>> found.a.mean, found.difference[:3], found.as_good()
        (495.0, (5.0, 5.0, 5.0), True)
    """
    if (ends_a is None) != (ends_b is None) or (ends_a is not None and budget is None):
        raise DataError("compare_returns: ends_a, ends_b and budget go together")
    if paired and len(a) != len(b):
        raise DataError(f"compare_returns: paired runs must be equally many, got {len(a)} and {len(b)}")
    tails = [
        [tail(r, None if e is None else e[k], budget, last, f"run {k + 1} of {name}") for k, r in enumerate(runs)]
        for name, runs, e in (("a", a, ends_a), ("b", b, ends_b))
    ]
    x, y = ([float(t.mean()) for t in side] for side in tails)
    how = {"level": level, "resamples": resamples, "seed": seed}
    pooled = pooled_episodes(tails[0], tails[1], paired=paired, **how)  # type: ignore[arg-type]
    return SideBySide(
        aggregate(x, expand=expand, **how), aggregate(y, expand=expand, **how),  # type: ignore[arg-type]
        difference(x, y, paired=paired, expand=expand, **how),  # type: ignore[arg-type]
        probability_of_improvement(x, y, **how), *pooled, tuple(x), tuple(y), paired,  # type: ignore[arg-type]
    )  # fmt: skip


def tail(returns: ArrayLike, ends: ArrayLike | None, budget: float | None, last: float, name: str = "the run") -> Floats:
    """Returns of the episodes in the last part of a run, at least one.

    >>> tail([1.0, 2.0, 3.0, 4.0], None, None, 0.5).tolist()
    [3.0, 4.0]
    >>> tail([1.0, 2.0, 3.0, 4.0], [10, 20, 91, 100], 100, 0.1).tolist()
    [3.0, 4.0]
    """
    x = np.asarray(returns, dtype=np.float64).reshape(-1)
    if not len(x) or not np.isfinite(x).all():
        raise DataError(f"{name}: {'no episode' if not len(x) else 'a return that is not finite'}; expected finite returns")
    if ends is None or budget is None:
        return x[-max(1, round(last * len(x))) :]
    steps = np.asarray(ends, dtype=np.float64).reshape(-1)
    if len(steps) != len(x):
        raise DataError(f"{name}: {len(x)} returns and {len(steps)} ends")
    chosen = x[steps > (1 - last) * budget]
    if not len(chosen):
        raise DataError(f"{name}: no episode ended in the last {last:.0%} of {budget:g} steps; take a larger part")
    return chosen


def pooled_episodes(
    a: Sequence[Floats], b: Sequence[Floats], *, paired: bool, level: float, resamples: int, seed: int
) -> tuple[Interval, Interval, Interval]:
    """Interquartile means over the episodes of all seeds, and their difference; episodes of one seed are drawn together."""
    at_a = choices([len(a)], resamples, seed, "runs" if paired else "a")[0]
    at_b = at_a if paired else choices([len(b)], resamples, seed, "b")[0]
    values = [float(_weighted(s, np.ones((1, len(s))))[0]) for s in (a, b)]
    drawn = [_weighted(s, _counts(at, len(s))) for s, at in ((a, at_a), (b, at_b))]
    out = []
    for value, d, runs in ((values[0], drawn[0], len(a)), (values[1], drawn[1], len(b)),
                           (values[1] - values[0], drawn[1] - drawn[0], min(len(a), len(b)))):  # fmt: skip
        lo, hi = percentiles(d, level) if runs > 1 else (math.nan, math.nan)
        out.append(Interval(value, float(lo), float(hi), runs))
    return out[0], out[1], out[2]


def _counts(at: np.ndarray, n: int) -> Floats:
    """[resamples, n] how often each run was drawn."""
    return (at[:, :, None] == np.arange(n)).sum(1).astype(float)


def _weighted(runs: Sequence[Floats], counts: Floats, cells: int = 4_000_000) -> Floats:
    """[resamples] interquartile means over all episodes, each counted as often as its run; in blocks, for memory's sake."""
    pool = np.concatenate(runs)
    owner = np.repeat(np.arange(len(runs)), [len(r) for r in runs])
    order = np.argsort(pool, kind="stable")
    ordered, owner = pool[order], owner[order]
    block = max(1, cells // len(pool))
    return np.concatenate([middle(ordered, counts[k : k + block][:, owner]) for k in range(0, len(counts), block)])
