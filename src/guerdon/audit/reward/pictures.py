"""The charts of a reward's page: strips of a dot with its interval, reliability, accuracy by length."""

from __future__ import annotations

import math

import numpy as np
from markupsafe import Markup, escape

from guerdon.audit.formats import count, number, percent
from guerdon.audit.report.charts import responsive
from guerdon.audit.report.svg import Dots, Frame, Line, chart
from guerdon.audit.reward.estimates import Estimate
from guerdon.audit.reward.length import Bin
from guerdon.audit.reward.numbers import RewardAudit
from guerdon.audit.reward.probability import Calibration

HALF = (510, 290)


def strip(
    e: Estimate,
    lo: float,
    hi: float,
    *,
    mark: float | None = None,
    colour: str = "reward",
    other: float = math.nan,
    about: str = "",
) -> Markup:
    """One row of a dot plot: the value, its interval, a dotted mark, and another value as a ring.

    >>> "circle" in strip(Estimate(0.7, 0.6, 0.8, 9, 9), 0, 1, mark=0.5)
    True
    """
    width, height, room = 180, 18, 7

    def x(v: float) -> float:
        return round(room + (min(max(v, lo), hi) - lo) / (hi - lo) * (width - 2 * room), 1)

    if not math.isfinite(e.value):
        return Markup("")
    out = [
        f'<svg class="chart strip" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(about)}" '
        f'xmlns="http://www.w3.org/2000/svg"><path class="axis" d="M{room} 9H{width - room}"/>'
    ]
    if mark is not None:
        out.append(f'<path class="mark" d="M{x(mark)} 1V17"/>')
    if math.isfinite(e.lo) and math.isfinite(e.hi):
        out.append(f'<path class="reach" style="stroke:var(--{colour})" d="M{x(e.lo)} 9H{x(e.hi)}"/>')
    if math.isfinite(other):
        out.append(f'<circle class="ring" style="fill:var(--paper);stroke:var(--plain)" cx="{x(other)}" cy="9" r="3.4"/>')
    if lo <= e.value <= hi:
        out.append(f'<circle class="dot" style="fill:var(--{colour})" cx="{x(e.value)}" cy="9" r="4.2"/>')
    else:  # beyond the scale: an arrow head at its end
        way, at = (1, width - 1) if e.value > hi else (-1, 1)
        out.append(f'<path class="arrow" style="fill:var(--{colour})" d="M{at} 9L{at - 8 * way} 4V14Z"/>')
    return Markup("".join(out) + "</svg>")  # built from numbers and escaped text only


def reliability_chart(c: Calibration) -> Markup:
    """Stated against observed shares, with the diagonal."""
    table = c.table
    keep = (table.count > 0).numpy()
    x, y, n = (v.numpy()[keep] for v in (table.predicted, table.observed, table.count))
    half = 1.96 * np.sqrt(np.maximum(y * (1 - y), 0.25 / np.maximum(n, 1)) / n)
    titles = [f"{count(k)} pairs: stated {percent(a)}, right {percent(b)}" for a, b, k in zip(x, y, n, strict=True)]
    ideal = np.array([0.5, 1.0])
    marks: list[Line | Dots] = [
        Line(ideal, ideal, "faint", dash=True, end=False),
        Dots(x, y, "reward", np.maximum(y - half, 0), np.minimum(y + half, 1), "raw", titles, radius=4.2),
    ]

    def draw(size: tuple[int, int]) -> Markup:
        return chart(
            marks,
            Frame(
                *size,
                x_label="stated",
                about="Share of pairs that are right by stated probability",
                x_zero=False,
                whole_x=False,
                ceiling=1.0,
                end_values=False,
            ),
        )

    return responsive(draw, HALF)


def length_chart(bins: tuple[Bin, ...], unit: str) -> Markup:
    """Accuracy by how much longer the preferred side is."""
    if not bins:
        return Markup("")
    x, y, lo, hi = (np.array(v, dtype=float) for v in zip(*((b.mean, *b.accuracy[:3]) for b in bins), strict=True))
    titles = [
        f"preferred side {number(b.lo)} to {number(b.hi)} {unit} longer: "
        f"right on {percent(b.accuracy.value)} of {count(b.accuracy.n)}"
        for b in bins
    ]
    marks: list[Line | Dots] = [Dots(x, y, "reward", lo, hi, "line", titles, radius=4.2)]

    def draw(size: tuple[int, int]) -> Markup:
        return chart(
            marks,
            Frame(
                *size,
                x_label=unit,
                about="Accuracy by the difference in length",
                level=0.5,
                level_label="chance",
                whole_x=False,
                ceiling=1.0,
                end_values=False,
            ),
        )

    return responsive(draw, HALF)


def probe_scale(a: RewardAudit) -> float:
    """Right end of the probes' strips: the largest shift that is shown to scale."""
    sizes = [abs(v) for p in a.probes for v in (p.gaps.lo, p.gaps.hi) if math.isfinite(v)]
    return min(3.0, max(1.0, math.ceil(2 * max(sizes, default=1.0)) / 2))
