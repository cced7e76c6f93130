"""Krippendorff's alpha: agreement of any number of annotators, with missing labels, on any scale; and its interval."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from guerdon.core.errors import DataError, nearest

Metric = Literal["nominal", "ordinal", "interval", "ratio"]
METRICS = ("nominal", "ordinal", "interval", "ratio")
Floats = NDArray[np.float64]


class Alpha(NamedTuple):
    """Alpha with a bootstrap interval over units.

    Attributes:
        alpha: Krippendorff's alpha of all units.
        lo: Lower end of the interval.
        hi: Upper end.
        units: Units with at least two labels, which are all that count.
    """

    alpha: float
    lo: float
    hi: float
    units: int


def krippendorff_alpha(labels: ArrayLike, metric: Metric = "nominal") -> float:
    r"""$\alpha = 1 - D_o / D_e$: 1 for full agreement, 0 for what chance would bring, below 0 for systematic disagreement.

    With the coincidences $o_{ck} = \sum_u n_{uc} (n_{uk} - [c = k]) / (m_u - 1)$ of values c and k within units, $m_u$ labels in
    unit u, margins $n_c = \sum_k o_{ck}$ and $n = \sum_c n_c$:
    $D_o = \frac{1}{n} \sum_{ck} o_{ck} \delta_{ck}^2$, $D_e = \frac{1}{n (n - 1)} \sum_{ck} n_c n_k \delta_{ck}^2$.
    The differences $\delta_{ck}^2$ are $[c \ne k]$ (nominal), $(\sum_{g=c}^{k} n_g - (n_c + n_k) / 2)^2$ over the values from c
    to k (ordinal), $(c - k)^2$ (interval), and $((c - k) / (c + k))^2$ (ratio; 0 where c + k = 0).

    Args:
        labels: [annotators, units] numbers, NaN where an annotator did not label a unit.
        metric: What the numbers mean: names, ranks, differences, or ratios.

    Returns:
        Alpha; NaN where it is not defined: no unit with two labels, or one value only.

    Raises:
        DataError: for a table of another shape, infinite labels, or an unknown metric.

    Example:
        >>> nan = float("nan")
        >>> round(krippendorff_alpha([[1, 1, 2, nan], [1, 2, 2, 1]]), 4)   # pairs 11, 12, 22: D_o = 1/3, D_e = 3/5
        0.4444

    Source: Krippendorff, Content Analysis (4th ed., 2018), chapter 12.
    """
    values, counts = _counts(labels, metric)
    return _alpha(values, counts, np.ones(len(counts)), metric)


def alpha_interval(
    labels: ArrayLike, metric: Metric = "nominal", *, level: float = 0.95, resamples: int = 1000, seed: int = 0
) -> Alpha:
    """Alpha and its percentile bootstrap interval: units are drawn with replacement, each with all its labels.

    Args:
        labels: [annotators, units] numbers, NaN where missing.
        metric: As of ``krippendorff_alpha``.
        level: Coverage of the interval.
        resamples: Tables drawn; those in which alpha is not defined are left out.
        seed: Of the drawing.

    Example:
        >>> alpha_interval([[0, 1, 0, 1], [0, 1, 0, 1]])
        Alpha(alpha=1.0, lo=1.0, hi=1.0, units=4)
    """
    values, counts = _counts(labels, metric)
    n = len(counts)
    alpha = _alpha(values, counts, np.ones(n), metric)
    generator = np.random.default_rng(seed)
    drawn = [
        _alpha(values, counts, np.bincount(generator.integers(0, n, n), minlength=n).astype(float), metric)
        for _ in range(resamples if n > 1 else 0)
    ]
    kept = [a for a in drawn if not math.isnan(a)]
    lo, hi = np.quantile(kept, [(1 - level) / 2, (1 + level) / 2]) if kept else (math.nan, math.nan)
    return Alpha(alpha, float(lo), float(hi), n)


def table(labels: ArrayLike) -> Floats:
    """[annotators, units] float64, after a look at it."""
    try:
        x = np.asarray(labels, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError("labels must be numbers of shape [annotators, units], with NaN where one is missing") from None
    if x.ndim != 2:
        raise DataError(f"labels must have the shape [annotators, units], got {x.shape}")
    if np.isinf(x).any():
        raise DataError("labels must be finite, or NaN where one is missing")
    return x


def value_counts(x: Floats) -> tuple[Floats, Floats]:
    """([V] different values in order, [U, V] how often each was given in each unit)."""
    known = ~np.isnan(x)
    values, index = np.unique(x[known], return_inverse=True)
    counts = np.zeros((x.shape[1], len(values)))
    np.add.at(counts, (np.nonzero(known)[1], index.reshape(-1)), 1.0)
    return values, counts


def _counts(labels: ArrayLike, metric: str) -> tuple[Floats, Floats]:
    """Values and counts of the units with at least two labels."""
    if metric not in METRICS:
        raise DataError(f"unknown metric {metric!r}; {nearest(str(metric), METRICS)}")
    values, counts = value_counts(table(labels))
    counts = counts[counts.sum(1) >= 2]
    return values, counts


def _alpha(values: Floats, counts: Floats, weight: Floats, metric: str) -> float:
    """Alpha, where unit u occurs ``weight[u]`` times."""
    per_unit = counts * (weight / (counts.sum(1) - 1))[:, None]
    coincidences = per_unit.T @ counts - np.diag(per_unit.sum(0))
    margin = coincidences.sum(0)
    n = margin.sum()
    distance = _distance(values, margin, metric)
    expected = float(margin @ distance @ margin)
    if not expected > 0:
        return math.nan
    return 1.0 - float((coincidences * distance).sum()) * float(n - 1) / expected


def _distance(values: Floats, margin: Floats, metric: str) -> Floats:
    """[V, V] squared differences."""
    a, b = values[:, None], values[None, :]
    if metric == "nominal":
        return (a != b).astype(float)
    if metric == "interval":
        return np.square(a - b)
    if metric == "ratio":
        return np.square(np.divide(a - b, a + b, out=np.zeros((len(values),) * 2), where=a + b != 0))
    middle = margin.cumsum() - margin / 2  # the sum from c to k less half of both ends is a difference of mid-ranks
    return np.square(middle[:, None] - middle[None, :])
