"""What a run changed: numbers before and after, with intervals, from evaluations where there are any and from draws otherwise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from guerdon.audit.events import Evaluation, History
from guerdon.audit.formats import decimals_of
from guerdon.audit.measures import Interval, bootstrap, bootstrap_difference, normal_interval

Of = Literal["reward", "held_out", "kl", "kl_step", "entropy", "length", "terminal", "distinct_1", "distinct_2", "return"]
_EVAL = {"reward": "proxy/mean", "held_out": "held_out/mean", "return": "episode/return"}
_DRAW = {"reward": "reward/mean", "return": "episode/return"}
_STD = {"reward": "proxy/std", "held_out": "held_out/std", "return": "episode/return_std"}
_NONE = Interval(math.nan, math.nan, math.nan, 0)


@dataclass(frozen=True)
class Change:
    """One quantity before and after a run.

    Args:
        before: Its value at the start, with a 95 % interval where that is known.
        after: Its value at the end.
        difference: ``after - before`` with a 95 % interval where that is known.
        source: ``"evaluation"`` (same contexts both times), ``"draws"`` (means over ``draws`` draws at either end), "" for none.
        draws: Draws averaged, for ``source="draws"``.
        step_before: Draws done at the first reading.
        step_after: Draws done at the last reading.
        method: How the interval of the difference was found, "" where there is none.
    """

    before: Interval = _NONE
    after: Interval = _NONE
    difference: Interval = _NONE
    source: Literal["evaluation", "draws", ""] = ""
    draws: int = 0
    step_before: int = 0
    step_after: int = 0
    method: str = ""

    def __bool__(self) -> bool:
        """Whether there is any reading."""
        return bool(self.source)

    @property
    def kept(self) -> float:
        """``after / before``; NaN where that means nothing."""
        return self.after.mean / self.before.mean if self.before.mean > 0 else math.nan

    @property
    def decimals(self) -> int | None:
        """Decimals with which its numbers are worth showing."""
        d = self.difference
        return decimals_of((d.hi - d.lo) / 2, self.before.mean, self.after.mean)

    @property
    def direction(self) -> Literal["rose", "fell", "unclear", "unknown"]:
        """What the interval of the difference says; without an interval, unknown."""
        if math.isnan(self.difference.lo):
            return "unknown"
        return "rose" if self.difference.lo > 0 else "fell" if self.difference.hi < 0 else "unclear"


def change(history: History, of: Of) -> Change:
    """One quantity before and after: from the first and last evaluation, or from the first and last draws."""
    name = _EVAL.get(of, of)
    evals = [e for e in history.evals if name in e.metrics]
    if len(evals) >= 2 or (evals and not len(history)):
        return between(evals[0], evals[-1], of)
    return _from_draws(history, of)


def between(a: Evaluation, b: Evaluation, of: Of) -> Change:
    """One quantity at two evaluations."""
    name = _EVAL.get(of, of)
    before, after = mean_of(a, of), mean_of(b, of)
    difference, method = difference_of(a, b, of)
    if name not in a.metrics and name not in b.metrics:
        return Change()
    return Change(before, after, difference, "evaluation", 0, a.step, b.step, method)


def mean_of(e: Evaluation, of: Of) -> Interval:
    """A mean over an evaluation's samples; its interval from their spread where that is logged, or from the samples."""
    value, n, std = e.metrics.get(_EVAL.get(of, of), math.nan), size_of(e, of), _std(e, of)
    if std is not None and n > 1:
        return normal_interval(value, std, n)
    rows = rewards_of(e, of)
    if n == len(rows) >= 8:
        return bootstrap(rows)._replace(mean=value)
    return Interval(value, math.nan, math.nan, n)


def difference_of(a: Evaluation, b: Evaluation, of: Of) -> tuple[Interval, str]:
    """``b - a`` and how its interval was found: by bootstrap over all samples where they are kept, else from the spreads."""
    name = _EVAL.get(of, of)
    value = b.metrics.get(name, math.nan) - a.metrics.get(name, math.nan)
    x, y = rewards_of(a, of), rewards_of(b, of)
    if len(x) == size_of(a, of) >= 8 and len(y) == size_of(b, of) >= 8:
        paired = [s.context for s in a.samples] == [s.context for s in b.samples]
        found = bootstrap_difference(x, y, paired=paired)
        return found._replace(mean=value), f"{'paired ' if paired else ''}bootstrap over {min(len(x), len(y))} samples"
    stds = (_std(a, of), _std(b, of))
    n, m = size_of(a, of), size_of(b, of)
    if None not in stds and n > 1 and m > 1:
        half = 1.96 * math.sqrt(stds[0] ** 2 / n + stds[1] ** 2 / m)  # type: ignore[operator]
        return Interval(value, value - half, value + half, min(n, m)), f"normal approximation, {n} and {m} samples"
    return Interval(value, math.nan, math.nan, min(n, m)), ""


def size_of(e: Evaluation, of: Of) -> int:
    """Samples an evaluation is the mean of: those that could be scored, or episodes that came to their end."""
    if of == "return" and "episode/count" in e.metrics:
        return round(e.metrics["episode/count"])
    ok = e.metrics.get({"reward": "proxy/ok", "held_out": "held_out/ok"}.get(of, ""), 1.0)
    return round(ok * e.metrics.get("n", len(e.samples)))


def rewards_of(e: Evaluation, of: Of) -> list[float]:
    """The samples' own rewards; empty where some are missing, because a mean over the rest would be another mean."""
    if of not in ("reward", "held_out"):
        return []
    values = [s.reward if of == "reward" else s.held_out for s in e.samples]
    return [v for v in values if v is not None] if None not in values else []


def _std(e: Evaluation, of: Of) -> float | None:
    return e.metrics.get(_STD.get(of, f"{of}/std"))


def _from_draws(history: History, of: Of) -> Change:
    steps, values = history.metric(_DRAW.get(of, of))
    if of == "held_out" or not len(values):
        return Change()
    window = max(1, min(20, len(values) // 5))
    first, last = values[:window], values[-window:]
    found, method = (
        (bootstrap_difference(first, last), f"bootstrap over {window} draws at either end") if window >= 5 else (None, "")
    )
    middle = float(np.mean(last) - np.mean(first))
    return Change(
        bootstrap(first) if window >= 5 else Interval(float(np.mean(first)), math.nan, math.nan, window),
        bootstrap(last) if window >= 5 else Interval(float(np.mean(last)), math.nan, math.nan, window),
        found or Interval(middle if len(values) > 1 else math.nan, math.nan, math.nan, window),
        "draws", window, int(steps[0]), int(steps[-1]), method,
    )  # fmt: skip


def best_of_n(kl: float) -> int | None:
    """How many answers one would choose the best from to be this far from the reference, at least: ``log n - (n-1)/n = kl``.

    >>> best_of_n(0.0), best_of_n(math.log(16) - 15 / 16)
    (1, 16)

    Source: the bound of arXiv:2401.01879. None beyond ten million, and below zero.
    """
    if not 0 <= kl < 15:
        return None
    lo, hi = 1.0, math.exp(kl + 1)
    for _ in range(100):
        n = (lo + hi) / 2
        lo, hi = (n, hi) if math.log(n) - (n - 1) / n < kl else (lo, n)
    return round(hi)
