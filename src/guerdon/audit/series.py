"""Arrays that checks look at, and when something in them begins, doubles and ends.

All of it is causal: what is said of a step depends on that step and earlier ones only, so the same functions serve a run that is
going on and one that is over.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from guerdon.audit.events import History, as_number

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Series:
    """Named columns over steps.

    Args:
        steps: [N] draws done.
        columns: name -> [N], NaN where unknown.
    """

    steps: NDArray[np.int64]
    columns: Mapping[str, Floats] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.steps)

    def __getitem__(self, name: str) -> Floats:
        """The column; all NaN where there is none."""
        column = self.columns.get(name)
        return np.full(len(self), math.nan) if column is None else column

    def known(self, *names: str) -> str | None:
        """The first of these names that has a number."""
        return next((n for n in names if n in self.columns and np.isfinite(self.columns[n]).any()), None)


def draws_so_far(rows: Sequence[Mapping[str, Any]], step: int, names: Sequence[str]) -> Series:
    """The draws of a run that is going on: these names of its metric rows, the last of which belongs to ``step``.

    A name that ends in ``*`` stands for every name with that beginning in the last rows.
    """
    wanted = {n for n in names if not n.endswith("*")}
    for prefix in (n[:-1] for n in names if n.endswith("*")):
        wanted |= {k for r in rows[-20:] for k in r if k.startswith(prefix)}
    columns = {n: _column([r.get(n) for r in rows]) for n in wanted}
    return Series(np.arange(step - len(rows) + 1, step + 1), columns)


def evals_so_far(evaluations: Sequence[Mapping[str, Any]]) -> Series:
    """The evaluations of a run that is going on: rows with ``step`` and ``metrics``."""
    metrics = [e["metrics"] for e in evaluations]
    columns = {n: _column([m.get(n) for m in metrics]) for n in {k for m in metrics for k in m}}
    return Series(np.array([e["step"] for e in evaluations], dtype=np.int64), columns)


def _column(values: Sequence[Any]) -> Floats:
    """Numbers as an array, NaN for all else. Called at every draw, so the usual case, numbers and None, is the fast one."""
    try:
        x = np.array(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        x = np.array([math.nan if (v := as_number(raw)) is None else v for raw in values])
    x[~np.isfinite(x)] = math.nan
    return x


def draws_of(history: History) -> Series:
    """The draws of a recorded run."""
    return Series(history.steps, history.metrics)


def evals_of(history: History) -> Series:
    """The evaluations of a recorded run."""
    names = {k for e in history.evals for k in e.metrics}
    columns = {n: np.array([e.metrics.get(n, math.nan) for e in history.evals]) for n in names}
    return Series(np.array([e.step for e in history.evals], dtype=np.int64), columns)


def trailing(x: Floats, window: int, least: int | None = None) -> Floats:
    """Mean over the last ``window`` positions, NaN left out; NaN where fewer than ``least`` (default: ``window``) are known.

    >>> trailing(np.array([1.0, 3.0, math.nan, 5.0]), 2, least=1).tolist()
    [1.0, 2.0, 3.0, 5.0]
    """
    known = np.isfinite(x)
    total = np.cumsum(np.concatenate([[0.0], np.where(known, x, 0.0)]))
    number = np.cumsum(np.concatenate([[0], known]))
    start = np.maximum(np.arange(len(x)) + 1 - window, 0)
    n = number[1:] - number[start]
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = (total[1:] - total[start]) / n
    return np.where(n >= (window if least is None else least), mean, math.nan)


def trailing_median(x: Floats, window: int, least: int) -> Floats:
    """Median over the last ``window`` positions: one wild estimate does not move it. NaN where fewer than ``least`` are known.

    >>> trailing_median(np.array([1.0, 2.0, 90.0, 3.0]), 3, least=2).tolist()
    [nan, 1.5, 2.0, 3.0]
    """
    if not len(x):
        return x
    rows = np.lib.stride_tricks.sliding_window_view(np.concatenate([np.full(window - 1, math.nan), x]), window)
    number = np.isfinite(rows).sum(1)
    ordered = np.sort(rows, 1)  # NaN last
    i, low, high = np.arange(len(x)), np.maximum(number - 1, 0) // 2, number // 2
    return np.where(number >= least, (ordered[i, low] + ordered[i, np.minimum(high, window - 1)]) / 2, math.nan)


class Against(NamedTuple):
    """A column against its own beginning.

    Args:
        base: Mean of the first ``window`` known values; NaN where there are not that many.
        now: [N] mean of the last ``window`` values, NaN until it no longer overlaps the base.
        noise: [N] standard error of ``now - base`` by the spread within the two windows.
    """

    base: float
    now: Floats
    noise: Floats


def against_start(x: Floats, window: int) -> Against:
    """How a column compares with its first ``window`` known values.

    >>> a = against_start(np.array([1.0, 1.0, 2.0, 2.0]), 2)
    >>> a.base, a.now.tolist()
    (1.0, [nan, nan, nan, 2.0])
    """
    position = np.flatnonzero(np.isfinite(x))
    none = np.full(len(x), math.nan)
    if len(position) < 2 * window:
        return Against(math.nan, none, none)
    first = x[position[:window]]
    now = trailing(x, window, least=max(1, window // 2))
    now[: position[2 * window - 1]] = math.nan
    spread = np.maximum(trailing(np.where(np.isfinite(x), x, math.nan) ** 2, window, least=max(1, window // 2)) - now**2, 0.0)
    noise = np.sqrt((first.var() + spread) / window)
    return Against(float(first.mean()), now, noise)


class Moment(NamedTuple):
    """Something worth saying once: at which position, and where the episode it belongs to began."""

    at: int
    kind: Literal["began", "grew", "ended"]
    since: int


def episodes(severity: Floats, *, patience: int = 1, strong: float = math.inf, release: float = 0.8) -> list[Moment]:
    """When a trouble begins, doubles and ends, so that it is told at those moments and not at every step between.

    Args:
        severity: [N], 1 at the threshold; NaN: not known, which changes nothing.
        patience: Readings in a row before a beginning or an end is believed.
        strong: A reading this severe is believed at once.
        release: It has ended below this; between ``release`` and 1 nothing changes, so that noise at the threshold is quiet.

    Example:
        >>> [(m.kind, m.at) for m in episodes(np.array([0.2, 1.1, 1.0, 0.9, 1.2, 2.4, 1.3, 0.5, 0.4]))]
        [('began', 1), ('grew', 5), ('ended', 7)]
        >>> episodes(np.array([0.2, 1.1, 0.5, 1.1, 0.2]), patience=2)
        []
    """
    moments: list[Moment] = []
    active, run, since, told = False, 0, 0, 0.0
    if not (severity >= 1).any():
        return moments
    for i, s in enumerate(severity.tolist()):
        if s != s:
            continue
        if not active:
            run = run + 1 if s >= 1 else 0
            if s >= 1 and (run >= patience or s >= strong):
                active, run, since, told = True, 0, i, s
                moments.append(Moment(i, "began", i))
            continue
        run = run + 1 if s < release else 0
        if run >= patience:
            active, run = False, 0
            moments.append(Moment(i, "ended", since))
        elif s >= 2 * told:
            told = s
            moments.append(Moment(i, "grew", since))
    return moments
