"""Shares with intervals: Wilson's for one share, Newcombe's for the difference of two."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import NamedTuple


class Proportion(NamedTuple):
    """A share of counted cases with its interval.

    Attributes:
        share: hits / n; NaN for n = 0.
        lo: Lower end.
        hi: Upper end.
        n: Cases.
    """

    share: float
    lo: float
    hi: float
    n: float


def wilson(hits: float, n: float, level: float = 0.95) -> Proportion:
    r"""Wilson's score interval: the shares $p$ that a two-sided test would not reject.

    $\frac{\hat p + z^2 / 2n \pm z \sqrt{\hat p (1 - \hat p) / n + z^2 / 4 n^2}}{1 + z^2 / n}$. It stays inside [0, 1] and has a
    width even where all cases agree.

    Args:
        hits: Cases that count; a half for a tie is fine.
        n: All cases; fewer than were counted where they are not independent.
        level: Coverage of the interval.

    Example:
        >>> [round(x, 3) for x in wilson(8, 10)[:3]]
        [0.8, 0.49, 0.943]

    Source: Wilson, JASA 22 (1927).
    """
    if n == 0:
        return Proportion(math.nan, 0.0, 1.0, 0)
    z, p = NormalDist().inv_cdf((1 + level) / 2), hits / n
    middle, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    lo, hi = ((middle + s * half) / (1 + z * z / n) for s in (-1, 1))
    # At the ends the formula gives 0 and 1 but for rounding.
    return Proportion(p, 0.0 if hits == 0 else max(0.0, lo), 1.0 if hits == n else min(1.0, hi), n)


def newcombe(a: Proportion, b: Proportion) -> tuple[float, float, float]:
    r"""(difference, lower, upper) of two independent shares a - b, from their Wilson intervals.

    Lower: $d - \sqrt{(\hat a - l_a)^2 + (u_b - \hat b)^2}$; upper: $d + \sqrt{(u_a - \hat a)^2 + (\hat b - l_b)^2}$.

    Example:
        >>> [round(x, 3) for x in newcombe(wilson(56, 70), wilson(48, 80))]
        [0.2, 0.052, 0.334]

    Source: Newcombe, Statistics in Medicine 17 (1998), method 10.
    """
    gap = a.share - b.share
    return gap, gap - math.hypot(a.share - a.lo, b.hi - b.share), gap + math.hypot(a.hi - a.share, b.share - b.lo)
