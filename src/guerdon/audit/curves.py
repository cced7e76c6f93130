"""Learning curves of several seeds: the interquartile mean over environment steps, with a bootstrap band."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from guerdon.audit.across_seeds import choices, percentiles
from guerdon.audit.interquartile import Floats, iqm

RESAMPLES = 2000


class Curve(NamedTuple):
    """What several runs do on the way.

    Attributes:
        x: [points] environment steps.
        middle: [points] interquartile mean over the runs.
        lo: [points] lower edge of its 95 % interval; NaN for a single run.
        hi: [points] upper edge.
        runs: How many.
    """

    x: Floats
    middle: Floats
    lo: Floats
    hi: Floats
    runs: int


def band(runs: Sequence[tuple[ArrayLike, ArrayLike]], *, points: int = 120, level: float = 0.95, resamples: int = RESAMPLES,
         seed: int = 0, expand: bool = False) -> Curve:  # fmt: skip
    """Runs on common points, from where the last of them begins to where the first of them ends, and their interval there.

    Between its readings a run is interpolated linearly. Each resample draws whole runs, the same ones at all points; the interval
    is one of each point by itself, not of the curve as a whole.

    Args:
        runs: (x, y) of each run, x increasing; readings that are not finite are left out.
        points: How many.
        level: Coverage at each point.
        resamples: How many.
        seed: Of the resampling.
        expand: Widen the interval for few runs (see ``across_seeds``).

    Returns:
        The curve; without points where the runs have no step in common.

    Example:
        >>> curve = band([([0, 10], [0.0, 10.0]), ([0, 20], [0.0, 40.0])], points=3)
        >>> curve.x.tolist(), curve.middle.tolist()                       # at step 5: 5 and 10
        ([0.0, 5.0, 10.0], [0.0, 7.5, 15.0])

    Source: arXiv:2108.13264 (sample-efficiency curves).
    """
    known = [(x[ok], y[ok]) for a, b in runs for x, y in [(np.asarray(a, dtype=float), np.asarray(b, dtype=float))]
             if (ok := np.isfinite(x) & np.isfinite(y)).any()]  # fmt: skip
    begin, end = max((x[0] for x, _ in known), default=0.0), min((x[-1] for x, _ in known), default=-1.0)
    if end < begin:
        none = np.zeros(0)
        return Curve(none, none, none, none, len(known))
    grid = np.linspace(begin, end, points if end > begin else 1)
    values = np.stack([np.interp(grid, x, y) for x, y in known], -1)  # [points, runs]
    if len(known) < 2:
        unknown = np.full(len(grid), math.nan)
        return Curve(grid, iqm(values), unknown, unknown, len(known))
    at = choices([len(known)], resamples, seed)[0]
    block = max(1, 1_000_000 // at.size)
    drawn = np.concatenate([iqm(values[k : k + block, at]) for k in range(0, len(grid), block)])  # [points, resamples]
    lo, hi = percentiles(drawn.T, level, len(known) if expand else None)
    return Curve(grid, iqm(values), lo, hi, len(known))
