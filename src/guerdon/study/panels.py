"""The two panels of a study's picture: every arm at every seed, and the traces."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from guerdon.study.student import interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, SOFT, GRID, ZONE = "#1d2126", "#5c646e", "#ecebe7", "#e3f2ee"
ARMS = ("#0b7a63", "#59616b", "#0067b1", "#c8500a", "#8a4fa3", "#a37b00")  # the system's own first, then what it is compared with
DASHES: tuple[Any, ...] = ("-", (0, (4, 1.6)), (0, (1.2, 1.4)), (0, (5, 1.4, 1.2, 1.4)), (0, (7, 1.4)), (0, (2, 1.2)))
ROW = 0.34  # inches that an arm takes
MOST_BANDS = 3  # more of them cover one another


def arms_of(record: Mapping[str, Any]) -> dict[str, list[float | None]]:
    """Arm -> the study's metric at every seed, for the arms that have measured it; None where a run failed."""
    found = {name: list(arm["metrics"].get(record["metric"], ())) for name, arm in record["arms"].items()}
    return {name: values for name, values in found.items() if any(v is not None for v in values)}


def curves_of(record: Mapping[str, Any]) -> list[str]:
    """The traces there are to draw, three at most."""
    names = list(record.get("traces") or ())
    return [n for n in names[1:] if any(any(a.get("traces", {}).get(n, ())) for a in record["arms"].values())][:3]


def colour(record: Mapping[str, Any], arm: str) -> str:
    """The arm's colour, the same everywhere."""
    return ARMS[list(record["arms"]).index(arm) % len(ARMS)]


def label(record: Mapping[str, Any], name: str) -> str:
    """Words for a metric or a trace."""
    return str((record.get("labels") or {}).get(name, name.removesuffix("_curve").replace("_", " ")))


def digits_of(*values: float) -> int:
    """Decimals that give the largest value two or three digits.

    >>> digits_of(0.44, -0.0446), digits_of(1.38, 0.2), digits_of(120.0), digits_of(0.0)
    (2, 2, 0, 2)
    """
    size = max((abs(v) for v in values if math.isfinite(v)), default=0.0)
    return min(max(2 - math.floor(math.log10(size)) - (size < 1), 0), 6) if size else 2


def number(x: float, digits: int, *, sign: bool = False) -> str:
    """A number with a real minus sign.

    >>> number(-0.0446, 2), number(0.44, 2, sign=True), number(-0.001, 2)
    ('−0.04', '+0.44', '0.00')
    """
    text = f"{x:{'+' if sign else ''},.{digits}f}"
    return (text if text.strip("+-0.,") else text.lstrip("+-")).replace("-", "−")


def paired_panel(axes: Axes, record: Mapping[str, Any], tall: float) -> None:
    """Every arm at every seed, means with their interval, and where the expectation wants them.

    Args:
        axes: To draw on.
        record: The study's.
        tall: Height of the axes in inches.
    """
    from matplotlib.ticker import MaxNLocator

    arms = arms_of(record)
    rows = {name: -k for k, name in enumerate(arms)}
    known = {name: [v for v in values if v is not None] for name, values in arms.items()}
    found = {name: interval(values) for name, values in known.items()}
    for seed in zip(*arms.values(), strict=False):
        there = [(v, y) for v, y in zip(seed, rows.values(), strict=True) if v is not None]
        axes.plot([v for v, _ in there], [y for _, y in there], color="#8b929b", linewidth=0.7, alpha=0.6, zorder=2)
    digits = digits_of(*(mean for mean, *_ in found.values()))
    for name, y in rows.items():
        ink, (mean, low, high) = colour(record, name), found[name]
        axes.scatter(known[name], [y] * len(known[name]), s=13, color=ink, alpha=0.55, linewidth=0, zorder=3)
        if math.isfinite(high - low):
            axes.plot([low, high], [y, y], color=ink, linewidth=2.2, alpha=0.75, solid_capstyle="butt", zorder=3)
        axes.scatter([mean], [y], s=44, marker="D", facecolor=ink, edgecolor="white", linewidth=1, zorder=4)
        words: dict[str, Any] = {"color": ink, "fontsize": 8.5, "fontweight": "bold", "va": "center", "annotation_clip": False}
        axes.annotate(
            number(mean, digits), (1, y), (5, 0), xycoords=("axes fraction", "data"), textcoords="offset points", **words
        )
    aims = _aims(record, found)
    axes.set_xlim(*_limits([v for column in known.values() for v in column], list(found.values()), [edge for *_, edge in aims]))
    axes.set_ylim(-len(rows) + 0.45, 0.55)
    half = min(0.4, 0.42 * ROW * len(rows) / tall)
    for name, sign, edge in aims:
        span = [rows[name] - half, rows[name] + half]
        axes.fill_betweenx(span, edge, axes.get_xlim()[1 if sign > 0 else 0], color=ZONE, linewidth=0, zorder=0.5)
        axes.plot([edge, edge], span, color=ARMS[0], linewidth=1.1, linestyle=(0, (3, 2)), zorder=1)
        arrow = {"arrowstyle": "<-", "color": ARMS[0], "linewidth": 1.1, "shrinkA": 0, "shrinkB": 0}
        near = (edge, rows[name] + half)
        axes.annotate("", near, (sign * 11, 0), textcoords="offset points", arrowprops=arrow, annotation_clip=False)
    names = ["\n".join(textwrap.wrap(name, 18, max_lines=2, placeholder="…")) for name in rows]
    axes.set_yticks(list(rows.values()), names, parse_math=False)
    for name, tick in zip(rows, axes.get_yticklabels(), strict=True):
        tick.set(color=colour(record, name), fontsize=8.5, fontweight="bold")
    axes.grid(visible=False, axis="y")
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.set_xlabel(label(record, record["metric"]), color=SOFT, fontsize=8.5, parse_math=False)


def _aims(record: Mapping[str, Any], found: Mapping[str, tuple[float, float, float]]) -> list[tuple[str, int, float]]:
    """(arm, direction, the mean from which it counts) of each expectation of the study's metric."""
    aims = []
    for e in record.get("expectation") or ():
        if e["arm"] in found and e["than"] in found and (e.get("metric") or record["metric"]) == record["metric"]:
            sign = 1 if e["direction"] == "higher" else -1
            aims.append((e["arm"], sign, e.get("times", 1) * found[e["than"]][0] + sign * e["by"]))
    return aims


def _limits(values: Sequence[float], means: Sequence[tuple[float, float, float]], edges: Sequence[float]) -> tuple[float, float]:
    """Ends of the axis; an interval of two seeds would fill the picture, so it is cut where it leaves all values far behind."""
    low, high = min(values), max(values)
    reach = (high - low) / 2 or 0.5
    ends = [v for _, *both in means for v in both if math.isfinite(v)]
    low, high = max(min([low, *ends]), low - reach), min(max([high, *ends]), high + reach)
    low, high = min([low, *edges]), max([high, *edges])
    margin = 0.07 * (high - low) or 0.5
    return low - margin, high + margin


def trace_panel(axes: Axes, name: str, record: Mapping[str, Any], *, last: bool) -> None:
    """A trace over the first one: the mean over seeds and a band from the lowest to the highest.

    Args:
        axes: To draw on.
        name: Of the trace.
        record: The study's.
        last: Whether the axis is labelled.
    """
    from matplotlib.ticker import MaxNLocator

    across = record["traces"][0]
    judged = {n for e in record.get("expectation") or () for n in (e["arm"], e["than"])}
    for k, (arm, tree) in enumerate(record["arms"].items()):
        traces = tree.get("traces", {})
        there = zip(traces.get(across, ()), traces.get(name, ()), strict=False)
        runs = [
            ([math.nan if v is None else v for v in x], [math.nan if v is None else v for v in y]) for x, y in there if x and y
        ]
        look: dict[str, Any] = {"color": colour(record, arm), "linestyle": DASHES[k % len(DASHES)], "zorder": 4 - k / 10}
        length = min((min(len(x), len(y)) for x, y in runs), default=0)
        if runs and all(list(x[:length]) == list(runs[0][0][:length]) for x, _ in runs):
            x, columns = runs[0][0][:length], list(zip(*(y[:length] for _, y in runs), strict=True))
            if len(record["arms"]) <= MOST_BANDS or arm in judged:
                low, high = zip(*((min(c), max(c)) for c in columns), strict=True)
                axes.fill_between(x, low, high, color=look["color"], alpha=0.13, linewidth=0)
            axes.plot(x, [math.fsum(c) / len(c) for c in columns], linewidth=1.7, **look)
        else:  # no common x, so no mean: every seed by itself
            for x, y in runs:
                axes.plot(x[: len(y)], y[: len(x)], linewidth=0.9, alpha=0.7, **look)
    axes.margins(0.02, 0.08)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(3))
    axes.set_title(label(record, name), loc="left", color=SOFT, fontsize=8.5, pad=4, parse_math=False)
    if last:
        axes.set_xlabel(label(record, across), color=SOFT, fontsize=8.5, parse_math=False)
    else:
        axes.tick_params(labelbottom=False)
