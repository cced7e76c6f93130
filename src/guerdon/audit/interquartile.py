"""The interquartile mean: as robust as the median against a run that failed or shone, and half as noisy."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def iqm(x: ArrayLike, weight: ArrayLike | None = None) -> Floats:
    r"""Mean of the middle half of the values, along the last axis.

    In order of size, n values share the unit interval equally; what lies between 1/4 and 3/4 counts, the two values at the edges
    by the part of their share that lies inside. So every size has exactly half of its mass in the mean, and the result moves
    smoothly with the values. For n divisible by 4 it is ``scipy.stats.trim_mean(x, 0.25)``, which is rliable's IQM; for other n
    that function drops ``floor(n / 4)`` whole values at either end, which keeps more than half (3 of 5).

    Args:
        x: [..., n] numbers; NaN are left out, and leave a mean over the others.
        weight: [..., n] >= 0, how often each value counts; None: once.

    Returns:
        [...] means; NaN where nothing counts.

    Example:
        >>> float(iqm([1.0, 2.0, 4.0, 90.0]))                           # (2 + 4) / 2
        3.0
        >>> float(iqm([0.0, 10.0, 20.0, 30.0, 900.0]))                  # (0.75 * 10 + 20 + 0.75 * 30) / 2.5
        20.0

    Source: arXiv:2108.13264.
    """
    values = np.atleast_1d(np.asarray(x, dtype=np.float64))
    known = np.isfinite(values)
    mass = known.astype(float) if weight is None else np.where(known, np.asarray(weight, dtype=np.float64), 0.0)
    order = np.argsort(np.where(known, values, np.inf), axis=-1, kind="stable")
    values, known = np.take_along_axis(values, order, -1), np.take_along_axis(known, order, -1)
    return middle(np.where(known, values, 0.0), np.take_along_axis(np.broadcast_to(mass, order.shape), order, -1))


def middle(ordered: Floats, mass: Floats) -> Floats:
    """[...] interquartile means of values that are in order already.

    Args:
        ordered: [..., n] increasing; values without mass may be anything finite.
        mass: [..., n] how much each counts; it broadcasts with ``ordered``.

    >>> float(middle(np.array([1.0, 2.0, 7.0]), np.array([2.0, 1.0, 1.0])))        # as of 1 1 2 7
    1.5
    """
    upper = np.cumsum(mass, axis=-1)
    total = upper[..., -1:]
    inside = np.clip(np.minimum(upper, 0.75 * total) - np.maximum(upper - mass, 0.25 * total), 0.0, None)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((inside * ordered).sum(-1) / (total[..., 0] / 2))
