"""Small charts as inline SVG: text stays text, colours come from the page's CSS variables, nothing is loaded from anywhere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray

from guerdon.audit.formats import number

Floats = NDArray[np.float64]
_CHAR = 6.1  # width of a digit at 11 px, generously


@dataclass(frozen=True)
class Line:
    """A curve.

    Args:
        x: [n] increasing.
        y: [n].
        colour: Name of a CSS variable of the page, such as ``"reward"``.
        lo: [n] lower edge of a band around it, with ``hi``.
        hi: [n] upper edge.
        raw: (x, y) drawn thin and pale behind it.
        label: Written at its right end, after its last value.
        dash: Dashed.
        end: Whether its last value is written at the right.
    """

    x: Floats
    y: Floats
    colour: str = "ink"
    lo: Floats | None = None
    hi: Floats | None = None
    raw: tuple[Floats, Floats] | None = None
    label: str = ""
    dash: bool = False
    end: bool = True


@dataclass(frozen=True)
class Dots:
    """Single readings, with intervals where they are known.

    Args:
        x: [n].
        y: [n].
        colour: Name of a CSS variable of the page.
        lo: [n] lower end of each reading's interval, NaN where unknown.
        hi: [n] upper end.
        join: Connect them in order, by a strong ("line") or a pale ("raw") line.
        titles: [n] shown when pointed at.
        label: Written at the last one.
        hollow: [n] bool, drawn as rings.
        names: [n] written beside each.
        radius: Of the dots.
    """

    x: Floats
    y: Floats
    colour: str = "ink"
    lo: Floats | None = None
    hi: Floats | None = None
    join: Literal["", "line", "raw"] = ""
    titles: Sequence[str] = ()
    label: str = ""
    hollow: Sequence[bool] = ()
    names: Sequence[str] = ()
    radius: float = 3.4


@dataclass(frozen=True)
class Frame:
    """Size, axes and words of a chart.

    Args:
        width: Pixels at scale 1.
        height: Pixels at scale 1.
        x_label: Under the right end of the x axis.
        y_label: Above the upper end of the y axis.
        about: What it shows, for readers who cannot see it.
        zero: The y axis begins at 0.
        ceiling: Largest value that has a meaning (1 for fractions).
        level: A value marked by a dotted line.
        level_label: What it is.
        whole_x: Ticks of the x axis at whole numbers only.
        end_values: Room for the last values at the right.
        x_zero: The x axis begins at 0.
        mark: A place on the x axis marked by a dotted line.
        mark_label: What it is.
        reach: Values that the y axis includes, so that several charts share a scale.
        reach_x: Values that the x axis includes.
    """

    width: int = 340
    height: int = 180
    x_label: str = "draws"
    y_label: str = ""
    about: str = ""
    zero: bool = False
    ceiling: float | None = None
    level: float | None = None
    level_label: str = ""
    whole_x: bool = True
    end_values: bool = True
    x_zero: bool = True
    mark: float | None = None
    mark_label: str = ""
    reach: tuple[float, ...] = ()
    reach_x: tuple[float, ...] = ()


def ticks(lo: float, hi: float, target: int = 4, whole: bool = False) -> list[float]:
    """Round numbers between ``lo`` and ``hi``, about ``target`` of them.

    >>> ticks(0.0, 1.0), ticks(-0.13, 0.8), ticks(0, 120, 3, whole=True)
    ([0.0, 0.25, 0.5, 0.75, 1.0], [0.0, 0.2, 0.4, 0.6, 0.8], [0.0, 40.0, 80.0, 120.0])
    """
    span = hi - lo
    if not span > 0 or not math.isfinite(span):
        return [lo]
    power = 10.0 ** math.floor(math.log10(span / target))
    steps = [m * power for m in (1, 2, 2.5, 4, 5, 10)]
    if whole:
        steps = sorted({float(max(1, round(s))) for s in steps})

    def badness(step: float) -> float:  # as many ticks as wanted; a step that meets the end is worth one of them
        inside = math.floor(hi / step + 1e-9) - math.ceil(lo / step - 1e-9)
        return abs(inside - target) - (1.1 if whole and abs(hi / step - round(hi / step)) < 1e-9 else 0.0)

    step = min(steps, key=lambda s: (badness(s), -s))
    first = math.ceil(lo / step - 1e-9)
    count = math.floor(hi / step + 1e-9) - first + 1
    return [round((first + k) * step, 12) + 0.0 for k in range(max(count, 0))]


def tick_text(values: Sequence[float]) -> list[str]:
    """Ticks with equally many decimals.

    >>> tick_text([0.0, 0.25, 0.5]), tick_text([0.0, 5000.0]), tick_text([0.0, 2e-5])
    (['0', '0.25', '0.50'], ['0', '5,000'], ['0', '2 × 10⁻⁵'])
    """
    most = max((abs(v) for v in values), default=0.0)
    if most and (most < 1e-3 or most >= 1e7):
        digits = 1 if all(float(f"{v:.0e}") == v for v in values) else 2
        return [number(v, digits) if v else "0" for v in values]
    decimals = next((d for d in range(7) if all(abs(v * 10**d - round(v * 10**d)) < 1e-6 for v in values)), 6)
    return ["0" if v == 0 else f"{v:,.{decimals}f}".replace("-", "−") for v in values]


def chart(marks: Sequence[Line | Dots], frame: Frame) -> Markup:
    """The SVG of a chart; "" where no mark has a finite point."""
    xs = _finite([m.x[np.isfinite(m.y)] for m in marks])
    edges = [e for m in marks for e in (m.y, m.lo, m.hi, m.raw[1] if isinstance(m, Line) and m.raw else None) if e is not None]
    ys = _finite(edges)
    if not len(xs) or not len(ys):
        return Markup("")
    return _Chart(marks, frame, _finite([xs, np.array(frame.reach_x)]), _finite([ys, np.array(frame.reach)])).draw()


class _Chart:
    """One chart's scales and the pieces drawn so far."""

    def __init__(self, marks: Sequence[Line | Dots], frame: Frame, xs: Floats, ys: Floats):
        self.marks, self.f = marks, frame
        self.x0, self.x1 = min(0.0, float(xs.min())) if frame.x_zero else float(xs.min()), float(xs.max())
        if frame.x_zero and self.x1 <= 0:
            self.x1 = 1.0
        if not frame.x_zero:
            room = (self.x1 - self.x0 or abs(self.x1) or 1.0) * 0.12
            self.x0, self.x1 = self.x0 - room, self.x1 + room
        level = [] if frame.level is None else [frame.level]
        self.y0, self.y1 = min([float(ys.min()), *level]), max([float(ys.max()), *level])
        if frame.zero:
            self.y0, self.y1 = min(0.0, self.y0), max(self.y1, 0.0)
            self.y0 = 0.0 if self.y0 > -1e-3 * self.y1 else self.y0  # rounding below zero is no reason for another axis
        room = (self.y1 - self.y0) * 0.08 or abs(self.y1) * 0.1 or 1.0
        self.y1 = self.y1 + room if frame.ceiling is None or self.y1 < frame.ceiling else frame.ceiling
        self.y0 = self.y0 if frame.zero and self.y0 >= 0 else self.y0 - room
        self.y_ticks = ticks(self.y0, self.y1, 3 if frame.height < 240 else 4)
        labels = tick_text(self.y_ticks)
        ends = [self._end_text(m) for m in marks] if frame.end_values else []
        self.left = max(len(t) for t in labels) * _CHAR + 12
        self.right = max([len(t) * _CHAR + 14 for t in ends if t] or [10.0])
        self.top, self.bottom = 26.0 if frame.y_label else 10.0, 24.0
        self.labels, self.out = labels, [""]

    def _end_text(self, m: Line | Dots) -> str:
        known = np.flatnonzero(np.isfinite(m.y))
        if not len(known) or not (m.end if isinstance(m, Line) else m.label):
            return ""
        return f"{number(float(m.y[known[-1]]))}{' ' + m.label if m.label else ''}"

    def x(self, v: float) -> float:
        return round(self.left + (v - self.x0) / (self.x1 - self.x0) * (self.f.width - self.left - self.right), 1)

    def y(self, v: float) -> float:
        return round(
            self.f.height - self.bottom - (v - self.y0) / (self.y1 - self.y0) * (self.f.height - self.bottom - self.top), 1
        )

    def add(self, piece: str) -> None:
        self.out.append(piece)

    def draw(self) -> Markup:
        f = self.f
        self.axes()
        for mark in self.marks:
            self.line(mark) if isinstance(mark, Line) else self.dots(mark)
        self.names()
        self.ends()
        self.out[0] = (
            f'<svg class="chart" viewBox="0 0 {f.width} {f.height}" width="{f.width}" height="{f.height}" role="img" '
            f'aria-label="{escape(f.about)}" xmlns="http://www.w3.org/2000/svg">'
        )
        return Markup("".join(self.out) + "</svg>")  # built from numbers and escaped text only

    def axes(self) -> None:
        f, floor = self.f, self.f.height - self.bottom
        for value, text in zip(self.y_ticks, self.labels, strict=True):
            y = self.y(value)
            self.add(f'<path class="grid" d="M{self.left:.1f} {y}H{f.width - self.right:.1f}"/>')
            self.add(f'<text class="tick" x="{self.left - 7:.1f}" y="{y + 3.8:.1f}" text-anchor="end">{text}</text>')
        self.add(f'<path class="axis" d="M{self.left:.1f} {floor:.1f}H{f.width - self.right:.1f}"/>')
        values = ticks(self.x0, self.x1, max(2, min(6, f.width // 110)), f.whole_x)
        label = escape(f.x_label)
        for k, (value, text) in enumerate(zip(values, tick_text(values), strict=True)):
            x = self.x(value)
            last = k == len(values) - 1
            anchor = "middle"
            label = Markup("draw") if label == "draws" and text == "1" else label
            words = f"{text} {label}" if last and label else text
            if last and label:  # the unit follows the last tick, pulled in where it would leave the picture
                width = len(words) * _CHAR
                anchor, x = ("end", f.width - 2) if x + width > f.width and x + width / 2 > f.width - 2 else (anchor, x)
                if anchor == "end" and len(values) > 1 and x - width < self.x(values[-2]) + len(tick_text(values)[-2]) * _CHAR:
                    words = str(label)
            self.add(f'<text class="tick" x="{x}" y="{floor + 17:.1f}" text-anchor="{anchor}">{words}</text>')
        if f.y_label:
            self.add(f'<text class="tick" x="2" y="10">{escape(f.y_label)}</text>')
        if f.mark is not None and math.isfinite(f.mark):
            self.mark(f.mark, f.mark_label)
        if f.level is not None and math.isfinite(f.level):
            y = self.y(f.level)
            self.add(f'<path class="level" d="M{self.left:.1f} {y}H{f.width - self.right:.1f}"/>')
            if f.level_label:
                words = escape(f.level_label)
                self.add(f'<text class="tick" x="{f.width - self.right:.1f}" y="{y - 5:.1f}" text-anchor="end">{words}</text>')

    def mark(self, at: float, label: str) -> None:
        """A dotted line upwards, its words on the side with more room."""
        x, floor = self.x(at), self.f.height - self.bottom
        self.add(f'<path class="level" d="M{x} {self.top:.1f}V{floor:.1f}"/>')
        if label:
            right = x + 5 + len(label) * _CHAR < self.f.width - self.right or x < self.f.width / 2
            dx, anchor = (5, "start") if right else (-5, "end")
            self.add(f'<text class="tick" x="{x + dx:.1f}" y="{floor - 6:.1f}" text-anchor="{anchor}">{escape(label)}</text>')

    def path(self, x: Floats, y: Floats) -> str:
        """Runs of finite points; a gap where one is missing."""
        pieces, pen = [], "M"
        for a, b in zip(x.tolist(), y.tolist(), strict=True):
            if not (math.isfinite(a) and math.isfinite(b)):
                pen = "M"
                continue
            pieces.append(f"{pen}{self.x(a)} {self.y(b)}")
            pen = "L"
        return "".join(pieces)

    def line(self, m: Line) -> None:
        colour = f"var(--{m.colour})"
        if m.lo is not None and m.hi is not None:
            known = np.isfinite(m.lo) & np.isfinite(m.hi)
            if known.sum() > 1:
                there, back = self.path(m.x[known], m.hi[known]), self.path(m.x[known][::-1], m.lo[known][::-1])
                self.add(f'<path class="band" style="fill:{colour}" d="{there}L{back[1:]}Z"/>')
        if m.raw is not None:
            self.add(f'<path class="raw" style="stroke:{colour}" d="{self.path(*m.raw)}"/>')
        dash = " dash" if m.dash else ""
        self.add(f'<path class="line{dash}" style="stroke:{colour}" d="{self.path(m.x, m.y)}"/>')
        if int(np.isfinite(m.y).sum()) == 1:
            k = int(np.flatnonzero(np.isfinite(m.y))[0])
            self.add(
                f'<circle class="dot" style="fill:{colour}" cx="{self.x(float(m.x[k]))}" cy="{self.y(float(m.y[k]))}" r="3.2"/>'
            )

    def dots(self, m: Dots) -> None:
        colour = f"var(--{m.colour})"
        if m.join:
            self.add(f'<path class="{m.join}" style="stroke:{colour}" d="{self.path(m.x, m.y)}"/>')
        for k, (a, b) in enumerate(zip(m.x.tolist(), m.y.tolist(), strict=True)):
            if not (math.isfinite(a) and math.isfinite(b)):
                continue
            x, y = self.x(a), self.y(b)
            title = f"<title>{escape(m.titles[k])}</title>" if k < len(m.titles) else ""
            if m.lo is not None and m.hi is not None and math.isfinite(m.lo[k]) and math.isfinite(m.hi[k]):
                self.add(
                    f'<path class="whisker" style="stroke:{colour}" d="M{x} {self.y(float(m.lo[k]))}V{self.y(float(m.hi[k]))}"/>'
                )
            ring = k < len(m.hollow) and m.hollow[k]
            style = f"fill:var(--paper);stroke:{colour}" if ring else f"fill:{colour}"
            self.add(
                f'<circle class="{"ring" if ring else "dot"}" style="{style}" cx="{x}" cy="{y}" r="{m.radius}">{title}</circle>'
            )

    def names(self) -> None:
        """Every point's name beside it, where it covers no other."""
        named = [(self.x(float(m.x[k])), self.y(float(m.y[k])), n) for m in self.marks if isinstance(m, Dots)
                 for k, n in enumerate(m.names)]  # fmt: skip
        places = place([(x, y, len(n) * 6.4) for x, y, n in named], self.f.width)
        for (x, y, n), (anchor, dx, dy) in zip(named, places, strict=True):
            self.add(f'<text class="name" x="{x + dx:.1f}" y="{y + dy + 4:.1f}" text-anchor="{anchor}">{escape(n)}</text>')

    def ends(self) -> None:
        """The last values at the right, pushed apart where they would touch."""
        if not self.f.end_values:
            return
        spots: list[tuple[float, str, str]] = []
        for m in self.marks:
            if text := self._end_text(m):
                k = int(np.flatnonzero(np.isfinite(m.y))[-1])
                spots.append((self.y(float(m.y[k])), text, m.colour))
        floor = -math.inf
        for spot, text, colour in sorted(spots):
            floor = max(spot, floor + 14)
            x = self.f.width - self.right + 7
            self.add(f'<text class="end" style="fill:var(--{colour})" x="{x:.1f}" y="{floor + 4:.1f}">{escape(text)}</text>')


def place(spots: Sequence[tuple[float, float, float]], width: float) -> list[tuple[str, float, float]]:
    """Where names go: (anchor, dx, dy) for each (x, y, length of its name), right above its point unless that covers something.

    >>> place([(60, 50, 40), (80, 44, 40), (190, 10, 40)], 200)
    [('end', -7, -10), ('start', 7, -10), ('end', -7, -10)]
    """
    taken = [(x - 5, x + 5, y - 5, y + 5) for x, y, _ in spots]
    out: list[tuple[str, float, float]] = []
    for k, (x, y, long) in enumerate(spots):
        right, left = x + 7, x - 7 - long
        options = (("start", 7, -10, right), ("end", -7, -10, left), ("start", 7, 11, right), ("end", -7, 11, left))
        boxes = [(left, left + long, y + dy - 7, y + dy + 7) for _, _, dy, left in options]
        others = [t for i, t in enumerate(taken) if i != k]
        hits = [sum(_overlap(b, t) for t in others) + 9 * (b[0] < 0 or b[1] > width) for b in boxes]
        best = hits.index(min(hits))
        taken.append(boxes[best])
        out.append(options[best][:3])
    return out


def _overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    return a[0] < b[1] and b[0] < a[1] and a[2] < b[3] and b[2] < a[3]


def _finite(parts: Sequence[Floats]) -> Floats:
    flat = np.concatenate([np.asarray(p, dtype=float).reshape(-1) for p in parts]) if parts else np.zeros(0)
    return flat[np.isfinite(flat)]


def envelope(x: Floats, y: Floats, buckets: int = 240) -> tuple[Floats, Floats, Floats, Floats]:
    """(x, mean, min, max) of at most ``buckets`` runs of neighbouring points, so that no spike is lost however long the series.

    >>> [v.tolist() for v in envelope(np.arange(4.0), np.array([1.0, 3.0, 5.0, 9.0]), 2)]
    [[0.5, 2.5], [2.0, 7.0], [1.0, 5.0], [3.0, 9.0]]
    """
    if not len(x):
        return x.astype(float), y, y, y
    edges = np.unique(np.linspace(0, len(x), min(buckets, len(x)) + 1).astype(int))[:-1]
    size = np.diff(np.append(edges, len(x)))
    mean = np.add.reduceat(y, edges) / size
    return np.add.reduceat(x.astype(float), edges) / size, mean, np.minimum.reduceat(y, edges), np.maximum.reduceat(y, edges)


def smooth(y: Floats, window: int) -> Floats:
    """Centred moving average; near the ends over what is there.

    >>> smooth(np.array([0.0, 3.0, 0.0, 3.0]), 3).tolist()
    [1.5, 1.0, 2.0, 1.5]
    """
    half = max(0, (window - 1) // 2)
    total = np.concatenate([[0.0], np.cumsum(y)])
    i = np.arange(len(y))
    lo, hi = np.maximum(i - half, 0), np.minimum(i + half + 1, len(y))
    return (total[hi] - total[lo]) / (hi - lo)
