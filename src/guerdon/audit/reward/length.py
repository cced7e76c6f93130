"""What a reward owes to length: balanced accuracy, accuracy by the difference in length, correlations with the score."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from guerdon.audit.reward.estimates import NOTHING, Estimate, Floats, Resampler
from guerdon.audit.reward.scored import Scored, text_of, value_key

Unit = Literal["characters", "words"]


class Balance(NamedTuple):
    """Accuracy apart from length.

    Attributes:
        longer: Accuracy where the preferred side is the longer one.
        shorter: Accuracy where it is the shorter one.
        balanced: Mean of the two: what accuracy would be if longer sides were preferred half the time.
        drop: Balanced accuracy minus the accuracy on the same pairs, paired.
        agreement: Share of pairs whose longer side the reward scores higher.
        excess: How much more often the reward expects the longer side to win than it does, at the temperature that fits best.
        equal: Pairs of equal length, left out of all of these.
    """

    longer: Estimate = NOTHING
    shorter: Estimate = NOTHING
    balanced: Estimate = NOTHING
    drop: Estimate = NOTHING
    agreement: Estimate = NOTHING
    excess: Estimate = NOTHING
    equal: int = 0


class Bin(NamedTuple):
    """Accuracy among pairs of similar difference in length.

    Attributes:
        lo: Smallest difference, length of the preferred side minus that of the other.
        hi: Largest one.
        mean: Mean difference.
        accuracy: Of the reward.
    """

    lo: float
    hi: float
    mean: float
    accuracy: Estimate


class Correlation(NamedTuple):
    """How scores follow length.

    Attributes:
        overall: Spearman's correlation over all distinct rows.
        within: The same between ranks within a context, where contexts have several rows.
        explained: Share of the variance of scores that a straight line in length explains.
    """

    overall: Estimate = NOTHING
    within: Estimate = NOTHING
    explained: Estimate = NOTHING


def lengths_of(scored: Scored, unit: Unit) -> Floats:
    """[P, 2] lengths of the two sides; NaN for outputs that are no text."""
    out = np.full((len(scored), 2), np.nan)
    for k, c in enumerate(scored.comparisons):
        for side, output in enumerate((c.first, c.second)):
            text = text_of(output)
            if text is not None:
                out[k, side] = len(text.split()) if unit == "words" else len(text)
    return out


def length_hits(lengths: Floats, better: NDArray[np.bool_]) -> Floats:
    """[P] what "longer is better" scores on pairs: 1, 0, or 1/2 where both are equally long.

    Args:
        lengths: [P, 2].
        better: [P] True where the first side is preferred.
    """
    difference = np.where(better, 1, -1) * (lengths[:, 0] - lengths[:, 1])
    return 0.5 * (1 + np.sign(difference))


def balance(hits: Floats, preferred_longer: Floats, margin_longer: Floats, temperature: float, resampler: Resampler) -> Balance:
    """Accuracy apart from length, all intervals from the same draws of contexts.

    Args:
        hits: [n] 1, 0 or 1/2.
        preferred_longer: [n] length of the preferred side minus that of the other.
        margin_longer: [n] score of the longer side minus that of the shorter.
        temperature: That fits the reward's differences best.
        resampler: Of these pairs.
    """
    up, down = preferred_longer > 0, preferred_longer < 0
    both = up | down
    equal = int((preferred_longer == 0).sum())
    longer, shorter = (resampler.mean(hits, w, share=True) for w in (up, down))
    agreement = resampler.mean(0.5 * (1 + np.sign(margin_longer)), both, share=True)
    expected = 0.5 * (1 + np.tanh(margin_longer / temperature / 2))
    excess = resampler.mean(expected - up, both, level=0.99)
    if not up.any() or not down.any():
        return Balance(longer, shorter, NOTHING, NOTHING, agreement, excess, equal)
    sums = resampler.drawn(hits * up, up, hits * down, down)
    sums = sums[(sums[:, 1] > 0) & (sums[:, 3] > 0)]
    draws = (sums[:, 0] / sums[:, 1] + sums[:, 2] / sums[:, 3]) / 2
    plain = (sums[:, 0] + sums[:, 2]) / (sums[:, 1] + sums[:, 3])
    value, n = (longer.value + shorter.value) / 2, longer.n + shorter.n
    clusters = int((resampler.sums(both) > 0).sum())
    balanced = resampler.around(value, draws, n, clusters)
    balanced = balanced._replace(lo=max(0.0, balanced.lo), hi=min(1.0, balanced.hi))
    drop = resampler.around(value - float(hits[both].mean()), draws - plain, n, clusters, level=0.99)
    return Balance(longer, shorter, balanced, drop, agreement, excess, equal)


def by_difference(hits: Floats, preferred_longer: Floats, resampler: Resampler, bins: int = 8) -> tuple[Bin, ...]:
    """Accuracy in bins of (nearly) equal count by how much longer the preferred side is; equal lengths have their own bin."""
    known = np.isfinite(preferred_longer)
    found: list[NDArray[np.bool_]] = []
    for side in (preferred_longer < 0, preferred_longer == 0, preferred_longer > 0):
        values = preferred_longer[side]
        if not len(values):
            continue
        pieces = max(1, min(bins // 2, len(values) // 20)) if values[0] != 0 else 1
        edges = np.unique(np.quantile(values, np.linspace(0, 1, pieces + 1)[1:-1]))
        place = np.searchsorted(edges, preferred_longer, side="left")
        found += [side & known & (place == k) for k in range(len(edges) + 1)]
    out = [
        Bin(float(d.min()), float(d.max()), float(d.mean()), resampler.mean(hits, m, share=True))
        for m in found
        for d in [preferred_longer[m]]
        if len(d)
    ]
    return tuple(sorted(out))


def correlation(scored: Scored, lengths: Floats, seed: int) -> Correlation:
    """Spearman's correlation of score and length over distinct rows, overall and within contexts."""
    known: dict[tuple[str, str], tuple[float, float, int]] = {}
    cluster_of = scored.cluster
    for k, c in enumerate(scored.comparisons):
        for side, output in enumerate((c.first, c.second)):
            if scored.ok[k, side] and math.isfinite(lengths[k, side]):
                key = (value_key(c.context), value_key(output))
                known.setdefault(key, (float(scored.score[k, side]), float(lengths[k, side]), int(cluster_of[k])))
    if len(known) < 3:
        return Correlation()
    score, length, cluster = (np.array(v) for v in zip(*known.values(), strict=True))
    resampler = Resampler(cluster, seed=seed)
    overall = _pearson(ranks(score), ranks(length), resampler)
    line = _pearson(score, length, resampler)
    ends = (line.lo, line.hi) if math.isfinite(line.lo) else (math.nan, math.nan)
    lo = 0.0 if ends[0] <= 0 <= ends[1] else min(e * e for e in ends)
    explained = line._replace(value=line.value**2, lo=lo, hi=min(1.0, max(e * e for e in ends)))
    count = np.unique(cluster, return_counts=True)[1]
    several = [rows for rows in np.split(np.argsort(cluster, kind="stable"), np.cumsum(count)[:-1]) if len(rows) > 1]
    if not several:
        return Correlation(overall, NOTHING, explained)
    inner = [np.concatenate([_centred(ranks(v[rows])) for rows in several]) for v in (score, length)]
    within = _pearson(inner[0], inner[1], Resampler(cluster[np.concatenate(several)], seed=seed))
    return Correlation(overall, within, explained)


def ranks(x: Floats) -> Floats:
    """Ranks from 1; equal values share the mean of theirs.

    >>> ranks(np.array([3.0, 1.0, 3.0])).tolist()
    [2.5, 1.0, 2.5]
    """
    _, place, count = np.unique(x, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    return np.asarray((last - (count - 1) / 2)[place], dtype=np.float64)


def _centred(x: Floats) -> Floats:
    return x - x.mean()


def _pearson(x: Floats, y: Floats, resampler: Resampler) -> Estimate:
    """Pearson's correlation; the interval is that of the bootstrap over contexts."""

    def of(s: Floats) -> Floats:
        n, sx, sy, sxx, syy, sxy = s.T
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray((n * sxy - sx * sy) / np.sqrt((n * sxx - sx**2) * (n * syy - sy**2)))

    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return NOTHING
    x, y = _centred(x), _centred(y)
    columns = (np.ones_like(x), x, y, x * x, y * y, x * y)
    value = float(of(np.array([[c.sum() for c in columns]]))[0])
    draws = of(resampler.drawn(*columns))
    found = resampler.around(value, draws[np.isfinite(draws)], len(x), resampler.clusters)
    return found._replace(lo=max(-1.0, found.lo), hi=min(1.0, found.hi))
