"""Shares and means with intervals that know that pairs of one context are not independent."""

from __future__ import annotations

import functools
import math
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from guerdon.core.proportions import wilson

Floats = NDArray[np.float64]
LEVEL, RESAMPLES, FEW = 0.95, 2000, 20
_KEPT = 2_000_000  # numbers of a table of resampling counts, of which a few are kept


class Estimate(NamedTuple):
    """A mean with its interval.

    Attributes:
        value: The mean; NaN where there is nothing to average.
        lo: Lower end of the interval, NaN where it is not known.
        hi: Upper end.
        n: Values averaged.
        clusters: Contexts they come from.
    """

    value: float
    lo: float
    hi: float
    n: int
    clusters: int

    def plain(self) -> dict[str, Any]:
        """For JSON: None where there is no number."""
        return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in self._asdict().items()}


NOTHING = Estimate(math.nan, math.nan, math.nan, 0, 0)


def share_interval(share: float, n: float, level: float = LEVEL) -> tuple[float, float]:
    """Wilson's interval of a share of ``n`` independent trials; NaN ends where there are none.

    >>> [round(v, 4) for v in share_interval(0.5, 10)], [round(v, 4) for v in share_interval(1.0, 5)]
    ([0.2366, 0.7634], [0.5655, 1.0])
    """
    if not n > 0 or not math.isfinite(share):
        return math.nan, math.nan
    found = wilson(share * n, n, level)
    return found.lo, found.hi


class Resampler:
    """Draws contexts with replacement, the same draws each time, so that statistics of the same pairs can be subtracted.

    Args:
        cluster: [n] any integers, equal for values of one context.
        resamples: How many draws.
        seed: Of the draws.
    """

    def __init__(self, cluster: ArrayLike, resamples: int = RESAMPLES, seed: int = 0):
        _, self.place = np.unique(np.asarray(cluster, dtype=np.int64), return_inverse=True)
        self.clusters = int(self.place.max()) + 1 if len(self.place) else 0
        self.resamples, self.seed = resamples, seed

    def __len__(self) -> int:
        return len(self.place)

    def sums(self, values: ArrayLike) -> Floats:
        """[clusters, ...] sum of the values of each context."""
        x = np.asarray(values, dtype=np.float64)
        out = np.zeros((self.clusters, *x.shape[1:]))
        np.add.at(out, self.place, x)
        return out

    def drawn(self, *columns: ArrayLike) -> Floats:
        """[resamples, len(columns)] sums of columns [n] over the contexts of each draw."""
        per_cluster = self.sums(np.stack([np.asarray(c, dtype=np.float64) for c in columns], axis=1))
        if self.resamples * self.clusters <= _KEPT:
            return np.asarray(_kept_counts(self.clusters, self.resamples, self.seed) @ per_cluster)
        generator = np.random.default_rng(self.seed)
        rows = max(1, _KEPT // self.clusters)
        blocks = [min(rows, self.resamples - k) for k in range(0, self.resamples, rows)]
        return np.concatenate([_counts(generator, self.clusters, n) @ per_cluster for n in blocks])

    def mean(self, values: ArrayLike, weight: ArrayLike | None = None, *, level: float = LEVEL, share: bool = False) -> Estimate:
        r"""The mean $\sum w x / \sum w$ with a percentile bootstrap interval over contexts.

        Few contexts make a bootstrap interval too short: a share of fewer than 20 contexts, or one of exactly 0 or 1, gets
        Wilson's interval with contexts for trials; other means are widened by Student's t.

        Args:
            values: [n].
            weight: [n] at least 0; None: all 1. Values of weight 0 do not count.
            level: Coverage of the interval.
            share: The values are in [0, 1], so that Wilson's interval has a meaning.
        """
        x = np.asarray(values, dtype=np.float64)
        w = np.ones_like(x) if weight is None else np.asarray(weight, dtype=np.float64)
        n, clusters = int((w > 0).sum()), int((self.sums(w > 0) > 0).sum()) if len(x) else 0
        if not n:
            return NOTHING
        value = float((w * x).sum() / w.sum())
        if share and (clusters < FEW or value in (0.0, 1.0)):
            return Estimate(value, *share_interval(value, clusters, level), n, clusters)
        top, bottom = self.drawn(w * x, w).T
        return self.around(value, top[bottom > 0] / bottom[bottom > 0], n, clusters, level)

    def around(self, value: float, draws: Floats, n: int, clusters: int, level: float = LEVEL) -> Estimate:
        """An estimate from resampled values of the statistic."""
        if clusters < 2 or not len(draws) or not math.isfinite(value):
            return Estimate(value, math.nan, math.nan, n, clusters)
        lo, hi = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
        wider = _student(clusters - 1, level) * math.sqrt(clusters / (clusters - 1)) if clusters < FEW else 1.0
        return Estimate(value, value - wider * (value - float(lo)), value + wider * (float(hi) - value), n, clusters)


def _counts(generator: np.random.Generator, clusters: int, rows: int) -> Floats:
    """[rows, clusters] how often each of ``clusters`` is drawn."""
    picks = generator.integers(0, clusters, (rows, clusters)) + np.arange(rows)[:, None] * clusters
    return np.bincount(picks.ravel(), minlength=rows * clusters).reshape(rows, -1).astype(np.float64)


@functools.lru_cache(maxsize=6)
def _kept_counts(clusters: int, resamples: int, seed: int) -> Floats:
    return _counts(np.random.default_rng(seed), clusters, resamples)


def _student(df: int, level: float) -> float:
    """Student's quantile over the normal one, to second order in 1 / df (Cornish and Fisher)."""
    z = NormalDist().inv_cdf((1 + level) / 2)
    return (z + (z**3 + z) / (4 * df) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * df**2)) / z


def effective(values: ArrayLike, resampler: Resampler) -> float:
    r"""Independent trials that a share's clustered values are worth: $n$ over the design effect, at most $n$.

    The design effect is the clustered variance of the mean over the variance $\hat p (1 - \hat p) / n$ of independent trials.

    >>> pairs = [1, 1, 0, 0] * 10                                        # 20 contexts, each pair of labels twice the same
    >>> round(effective(pairs, Resampler(sorted([*range(20)] * 2))), 6)
    19.0
    """
    x = np.asarray(values, dtype=np.float64)
    n, c = len(x), resampler.clusters
    if n == 0 or c < 2:
        return float(min(n, c))
    p = float(x.mean())
    if p in (0.0, 1.0):
        return float(c)
    clustered = float((resampler.sums(x - p) ** 2).sum()) / n**2 * c / (c - 1)
    return n / max(1.0, clustered / (p * (1 - p) / n))
