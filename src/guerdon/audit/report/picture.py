"""The frontier as a PNG, for README files and papers, in the pages' colours."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guerdon.audit.report.render import write_bytes
from guerdon.audit.report.svg import place

if TYPE_CHECKING:
    from guerdon.audit.report.frontier import Point

_INK, _SOFT, _GRID, _POLICY, _PLAIN, _LINE = "#1d2126", "#5c646e", "#ecebe7", "#0b7a63", "#59616b", "#b9c9c4"


def write_png(points: Sequence[Point], path: Path, x_label: str, y_label: str, *, less: bool = False, dpi: int = 200) -> Path:
    """Draw the points as ``frontier`` does; 1,440 pixels wide at 200 dpi."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from guerdon.audit.report.frontier import on_front

    figure = Figure(figsize=(7.2, 4.4), dpi=dpi, facecolor="white", layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    runs = [p for p in points if not p.base]
    front = on_front(runs, less)
    best = sorted((p.x, p.y) for p, f in zip(runs, front, strict=True) if f)
    if len(best) > 1:
        axes.plot([x for x, _ in best], [y for _, y in best], color=_LINE, linewidth=1.6, zorder=1)
    filled = {id(p) for p, f in zip(runs, front, strict=True) if f}
    for p in points:
        for sx, sy in p.seeds:
            axes.scatter([sx], [sy], s=14, color=_POLICY, alpha=0.4, linewidth=0, zorder=2)
        colour = _PLAIN if p.base else _POLICY
        if p.lo is not None and p.hi is not None:
            axes.plot([p.x, p.x], [p.lo, p.hi], color=colour, linewidth=1.1, alpha=0.5, zorder=2)
        axes.scatter(
            [p.x], [p.y], s=38, facecolor=colour if id(p) in filled else "white", edgecolor=colour, linewidth=1.4, zorder=3
        )
    axes.margins(0.14, 0.1)
    axes.set_xlabel(x_label, color=_SOFT, fontsize=9.5)
    axes.set_ylabel(y_label, color=_SOFT, fontsize=9.5)
    axes.grid(color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=_SOFT, labelsize=8.5, length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    canvas.draw()
    scale = dpi / 72  # pixels per point
    spots = [tuple(axes.transData.transform((p.x, p.y)) / scale) for p in points]
    width, height = (float(v) * 72 for v in figure.get_size_inches())
    flipped = [(x, height - y, len(p.label) * 5.4) for (x, y), p in zip(spots, points, strict=True)]
    sides = {"start": "left", "end": "right", "middle": "center"}
    for p, (anchor, dx, dy) in zip(points, place(flipped, width), strict=True):
        words: dict[str, Any] = {"fontsize": 9, "color": _INK, "ha": sides[anchor], "va": "center", "annotation_clip": False}
        axes.annotate(p.label, (p.x, p.y), (dx, -dy), textcoords="offset points", **words)
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return write_bytes(path, out.getvalue())
