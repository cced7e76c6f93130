"""A study's picture: what was claimed, every arm at every seed, its course, and what was found."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guerdon.core.files import replacing
from guerdon.study.panels import GRID, INK, ROW, SOFT, arms_of, curves_of, digits_of, number, paired_panel, trace_panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_VERDICT = {"reproduced": ("#0b7a63", "#e3f2ee"), "partly": ("#8a5a00", "#fbf0d9"), "not reproduced": ("#b23a00", "#fbe9e0")}
_NO_VERDICT = ("#59616b", "#eeece7")
_WIDTH, _EDGE, _LEFT, _GAP, _LINE = 7.2, 0.18, 3.72, 0.44, 0.165  # inches; it is shown about 700 pixels wide
_STYLE = {"svg.fonttype": "none", "svg.hashsalt": "guerdon", "font.family": ["DejaVu Sans"], "font.size": 8.5}


def draw(record: Mapping[str, Any], path: Path) -> Path:
    """Draw a study's record, as ``guerdon reproduce`` writes it.

    Left, every arm at every seed (a thin line joins what one seed gave), the mean with its 95 % interval, and, shaded, where the
    expectation wants the mean. Right, the traces: the mean over seeds, and a band from the lowest to the highest seed.

    Args:
        record: The content of ``reproductions/ID.json``, with or without a verdict.
        path: Ends in ``.svg`` or ``.png``; SVG is smaller. The ground is white, so that it can be read in dark mode too.

    Raises:
        OSError: where it cannot be written.

    Example:
        >>> import tempfile
        >>> arms = {"a": {"metrics": {"x": [1.0, 1.2, 1.1]}}, "b": {"metrics": {"x": [0.1, 0.2, 0.3]}}}
        >>> record = {"title": "A", "claim": "a beats b", "metric": "x", "seeds": [1000, 1001, 1002], "arms": arms}
        >>> draw(record, Path(tempfile.mkdtemp(), "a.svg")).read_text()[:5]
        '<?xml'
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    claim = textwrap.wrap(str(record.get("claim", "")), 108, max_lines=3, placeholder=" …")
    found = [(textwrap.wrap(str(e["text"]), 64), e) for e in record.get("expectation") or ()]
    names, curves = arms_of(record), curves_of(record)
    body = max(1.1, ROW * len(names), 1.0 * len(curves))
    below = 0.86 + sum(_LINE * len(lines) + 0.05 for lines, _ in found)  # of the panels
    height = 0.72 + _LINE * len(claim) + body + below
    with mpl.rc_context(_STYLE):  # type: ignore[arg-type]
        figure = Figure(figsize=(_WIDTH, height), facecolor="white", dpi=200)
        FigureCanvasAgg(figure)
        _head(figure, height, record, claim)
        if names:
            indent = 0.12 + 0.082 * max(min(len(name), 18) for name in names)
            wide = (_LEFT if curves else _WIDTH - 2 * _EDGE) - indent - 0.42
            paired_panel(_axes(figure, height, (_EDGE + indent, below, wide, body)), record, body)
        for k, name in enumerate(curves):
            x, each = _EDGE + _LEFT + _GAP, (body + 0.24) / len(curves)
            y = below + body - each * (k + 1) + 0.24
            trace_panel(_axes(figure, height, (x, y, _WIDTH - _EDGE - x, each - 0.24)), name, record, last=k == len(curves) - 1)
        _foot(figure, below - 0.62, record, found)
        out = io.BytesIO()
        kind = path.suffix.lstrip(".") or "svg"
        figure.savefig(out, format=kind, metadata={"Date": None} if kind == "svg" else None)
    with replacing(path) as f:
        f.write(out.getvalue())
    return path


def _axes(figure: Figure, height: float, place: tuple[float, float, float, float]) -> Axes:
    x, y, w, h = place
    axes = figure.add_axes((x / _WIDTH, y / height, w / _WIDTH, h / height))
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=SOFT, labelsize=8, length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    return axes


def _say(figure: Figure, x: float, y: float, words: str, **look: Any) -> None:
    """Text at inches from the lower left; a dollar sign is a dollar sign."""
    w, h = figure.get_size_inches()
    figure.text(x / w, y / h, words, parse_math=False, **{"color": INK, "fontsize": 8.5, "va": "baseline", **look})


def _head(figure: Figure, height: float, record: Mapping[str, Any], claim: Sequence[str]) -> None:
    word = record.get("verdict") or _no_verdict(record)
    ink, ground = _VERDICT.get(word, _NO_VERDICT)
    pill = {"boxstyle": "round,pad=0.35,rounding_size=0.5", "facecolor": ground, "edgecolor": "none"}
    _say(figure, _WIDTH - _EDGE - 0.06, height - 0.31, word, ha="right", color=ink, fontsize=9, fontweight="bold", bbox=pill)
    title = textwrap.shorten(str(record.get("title", "")), 82 - len(word), placeholder=" …")
    _say(figure, _EDGE, height - 0.32, title, fontsize=11.5 if len(title + word) < 70 else 9.8, fontweight="bold")
    for k, line in enumerate(claim):
        _say(figure, _EDGE, height - 0.56 - _LINE * k, line, color=SOFT)


def _no_verdict(record: Mapping[str, Any]) -> str:
    """Why there is none."""
    if any(arm.get("failed") for arm in record["arms"].values()):
        return "no verdict: runs failed"
    if record.get("budget") == "tiny":
        return "no verdict: tiny budget"
    return "no verdict: pilot seeds" if record.get("pilot") else "no verdict"


def _foot(figure: Figure, y: float, record: Mapping[str, Any], found: Sequence[tuple[list[str], Any]]) -> None:
    for lines, e in found:
        word = (record.get("verdict") and e.get("verdict")) or "not judged"
        measured = ""
        if e.get("effect") is not None:
            digits = digits_of(e["effect"], *e["ci"])
            low, high = (number(v, digits) for v in e["ci"])
            measured = f"{number(e['effect'], digits, sign=True)}  ({low} to {high})"
        _say(figure, _WIDTH - _EDGE, y, word, ha="right", fontweight="bold", color=_VERDICT.get(word, _NO_VERDICT)[0])
        _say(figure, _WIDTH - _EDGE - 1.16, y, measured, ha="right")
        for k, line in enumerate(lines):
            _say(figure, _EDGE, y - _LINE * k, line)
        y -= _LINE * len(lines) + 0.05
    seeds = len(record.get("seeds") or ())
    how = f"{seeds} seeds; thin lines join what one seed gave; bars: 95 %; shaded: where the claim wants the mean"
    _say(figure, _EDGE, 0.13, how, color=SOFT, fontsize=7.5)
    cost = [f"{record['budget']} budget"] if record.get("budget") else []
    if seconds := record.get("seconds"):
        cost.append(f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s")
    _say(figure, _WIDTH - _EDGE, 0.13, ", ".join(cost), color=SOFT, fontsize=7.5, ha="right")
