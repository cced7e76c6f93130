"""How far a held-out reward has fallen from its best, in standard errors, at every evaluation: what hacking is told by."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from guerdon.audit.series import Floats, Series, trailing_median

Indices = NDArray[np.int64]

WINDOWS = (1, 2, 4, 8)  # evaluations averaged on either side of a comparison
LAGS = (0, 1, 2, 4, 8)  # evaluations left out before them: right after its best a training reward has not yet clearly risen
SHARED = 0.5  # correlation granted to evaluations in a row: same contexts, a policy that hardly moved
LOOKS, GROWTH = 8, 7.0  # from the eighth evaluation on, the bound grows with the number of looks
OF_SPREAD, OF_GAIN = 0.3, 0.2  # of the spread between answers and of what was gained: a smaller fall is no matter
SCATTER = 64  # second differences the scatter is estimated from
ALONE = 1.7  # the scatter counts for more where nothing else is known: a few readings estimate it badly


class Divergence(NamedTuple):
    """The most telling comparison of each evaluation with an earlier one.

    Attributes:
        level: [N] how far beyond the bound, 1 at it; NaN where nothing can be said yet.
        errors: [N] standard errors by which the held-out reward is below its best.
        bound: [N] standard errors needed by then.
        window: [N] evaluations averaged on either side.
        best: [N] last evaluation of the best ones.
        held_then: [N] held-out reward at its best, averaged.
        held_now: [N] held-out reward, averaged.
        proxy_then: [N] training reward at that best, averaged.
        proxy_now: [N] training reward, averaged.
        spread: [N] standard deviation of the held-out reward between answers; NaN where unknown.
    """

    level: Floats
    errors: Floats
    bound: Floats
    window: Indices
    best: Indices
    held_then: Floats
    held_now: Floats
    proxy_then: Floats
    proxy_now: Floats
    spread: Floats


def bound(errors: float, looks: Any) -> Any:
    """Standard errors needed at the ``looks``-th evaluation: every look is another chance to be fooled.

    >>> [round(float(bound(3.0, n)), 2) for n in (4, 8, 20, 40)]
    [3.0, 3.0, 3.93, 4.5]
    """
    return np.sqrt(errors**2 + GROWTH * np.log(np.maximum(np.asarray(looks) / LOOKS, 1.0)))


def divergence(s: Series, errors: float) -> Divergence:
    r"""Every evaluation against the best earlier one, singly and averaged over 2, 4 and 8 evaluations.

    The error of a difference is $\sqrt{(s_a^2 / n_a + s_b^2 / n_b)\, f_k}$ with $f_k = \rho + (1 - \rho) / k$: averaging over k
    evaluations helps less than k fresh samples would. It is never taken below the scatter between evaluations (the median of
    squared second differences, once there are nine), which also holds what the policy itself wobbles; that scatter alone serves
    where no spread is logged. A fall counts only where the training reward rose by more than its own error.

    Args:
        s: Evaluations.
        errors: Standard errors needed within the first eight evaluations; ``bound`` says what is needed later.
    """
    known = np.flatnonzero(np.isfinite(s["held_out/mean"]) & np.isfinite(s["proxy/mean"]))
    held, proxy, spread = (s[k][known] for k in ("held_out/mean", "proxy/mean", "held_out/std"))
    variance, proxy_variance = _error(s, "held_out")[known], _error(s, "proxy")[known]
    needed = bound(errors, np.arange(1, len(known) + 1))
    alone, scatter = scatter_of(held, 5), scatter_of(held, 9)
    level, found = np.full(len(known), math.nan), np.full(len(known), math.nan)
    window, best = np.ones(len(known), dtype=np.int64), np.arange(len(known))
    for k in WINDOWS:
        if len(known) < 2 * k:
            break
        h, p, v, q = (_mean(x, k) for x in (held, proxy, variance, proxy_variance))
        highest = _highest(h)
        shrink = SHARED + (1 - SHARED) / k
        for lag in LAGS:
            now = np.arange(k + lag, len(h))  # first positions of windows
            then = highest[: len(now)]
            i, b = now + k - 1, then + k - 1  # and their last ones
            drop, error = h[then] - h[now], v[now] + v[then]
            noise = np.sqrt(np.where(np.isfinite(error), np.fmax(error, 2 * scatter[i]), 2 * ALONE**2 * alone[i]) * shrink)
            rose = p[now] - p[then] > np.nan_to_num(np.sqrt((q[now] + q[then]) * shrink))
            floor = np.fmax(OF_GAIN * (h[then] - held[0]), OF_SPREAD * np.nan_to_num(spread[b]))
            with np.errstate(divide="ignore", invalid="ignore"):
                z = np.where(drop > 0, drop / noise, 0.0)
                beyond = np.minimum(z / needed[i], np.where(floor > 0, drop / floor, math.inf))
            beyond = np.where(np.isnan(noise), math.nan, np.where((drop > 0) & rose, beyond, 0.0))
            better = np.isnan(level[i]) | (beyond > level[i])
            at = i[better]
            level[at], found[at], window[at], best[at] = beyond[better], z[better], k, b[better]
    here = np.arange(len(known))
    return _spread_out(
        len(s), known, level, found, needed, window, best, _ending(held, best, window), _ending(held, here, window),
        _ending(proxy, best, window), _ending(proxy, here, window), spread[best],
    )  # fmt: skip


def _spread_out(n: int, known: Indices, *columns: NDArray[Any]) -> Divergence:
    """Columns of the known evaluations as columns of all."""
    out: list[Any] = []
    for name, x in zip(Divergence._fields, columns, strict=True):
        column = np.zeros(n, dtype=np.int64) if name in ("window", "best") else np.full(n, math.nan)
        column[known] = known[x] if name == "best" else x
        out.append(column)
    return Divergence(*out)


def _ending(x: Floats, at: Indices, window: Indices) -> Floats:
    """Means over the ``window`` entries that end at each position."""
    total = np.concatenate([[0.0], np.cumsum(x)])
    return np.asarray((total[at + 1] - total[at + 1 - window]) / window)


def size_of(s: Series, name: str) -> Floats:
    """[N] answers that could be scored; NaN where unknown."""
    ok = s[f"{name}/ok"]
    return s["n"] * np.where(np.isfinite(ok), ok, 1.0)


def _error(s: Series, name: str) -> Floats:
    """[N] squared standard error of a mean; NaN where the spread or the number of answers is not logged."""
    with np.errstate(divide="ignore", invalid="ignore"):
        out = s[f"{name}/std"] ** 2 / np.maximum(size_of(s, name) - 1, 0.0)
    return np.where(np.isfinite(out), out, math.nan)


def _mean(x: Floats, k: int) -> Floats:
    """Means over ``k`` neighbours."""
    return np.lib.stride_tricks.sliding_window_view(x, k).mean(1)


def _highest(x: Floats) -> Indices:
    """Position of the largest entry so far, the earliest of equals.

    >>> _highest(np.array([1.0, 3.0, 2.0, 3.0, 4.0])).tolist()
    [0, 1, 1, 1, 4]
    """
    top = np.maximum.accumulate(x)
    new = np.concatenate([[True], x[1:] > top[:-1]])
    return np.maximum.accumulate(np.where(new, np.arange(len(x)), 0))


def scatter_of(x: Floats, least: int) -> Floats:
    """[N] variance of single entries about a smooth course, from the median of ``least`` or more squared second differences.

    A trend leaves none and a single fall does not move it: second differences have variance 6 sigma^2, and the median of a
    squared normal is 0.4549 of its variance.

    >>> scatter_of(np.arange(8.0), 5).tolist()
    [nan, nan, nan, nan, nan, nan, 0.0, 0.0]
    """
    out = np.full(len(x), math.nan)
    if len(x) > 2:
        out[2:] = trailing_median(np.diff(x, 2) ** 2, SCATTER, least) / (6 * 0.4549)
    return out
