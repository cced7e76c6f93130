"""The interval of a mean difference over few seeds: Student's t, exact for whole degrees of freedom."""

from __future__ import annotations

import math
from collections.abc import Sequence


def two_sided(t: float, freedom: int) -> float:
    """P(|T| < t) of Student's t with a whole number of degrees of freedom, by its finite series.

    >>> round(two_sided(2.776445105, 4), 6), round(two_sided(12.7062047, 1), 6)
    (0.95, 0.95)
    """
    angle = math.atan(t / math.sqrt(freedom))
    sine, square = math.sin(angle), math.cos(angle) ** 2
    if freedom % 2:
        term = total = math.cos(angle) if freedom > 1 else 0.0
        for k in range(3, freedom - 1, 2):
            term *= square * (k - 1) / k
            total += term
        return 2 / math.pi * (angle + sine * total)
    term = total = 1.0
    for k in range(2, freedom - 1, 2):
        term *= square * (k - 1) / k
        total += term
    return sine * total


def quantile(level: float, freedom: int) -> float:
    """The t with P(|T| < t) = level, by bisection.

    >>> [round(quantile(0.95, n), 4) for n in (1, 2, 7, 30)]
    [12.7062, 4.3027, 2.3646, 2.0423]
    """
    low, high = 0.0, 1.0
    while two_sided(high, freedom) < level:
        high *= 2
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if two_sided(middle, freedom) < level else (low, middle)
    return high


def interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float, float]:
    """Mean of independent values and its two-sided confidence interval.

    Args:
        values: At least two, such as paired differences, one for each seed.
        level: Of confidence.

    Returns:
        Mean, lower and upper end; the ends are infinite for a single value.

    >>> [round(x, 3) for x in interval([1.0, 2.0, 3.0])]  # 2 +- 4.3027 * 1 / sqrt(3)
    [2.0, -0.484, 4.484]
    """
    n = len(values)
    mean = math.fsum(values) / n
    if n < 2:
        return mean, -math.inf, math.inf
    deviation = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n - 1))
    half = quantile(level, n - 1) * deviation / math.sqrt(n)
    return mean, mean - half, mean + half
