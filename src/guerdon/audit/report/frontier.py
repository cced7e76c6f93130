"""The reward-against-diversity picture of several runs: what a reward costs in variety, and which runs are beaten in both."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
from markupsafe import Markup

from guerdon.audit.compare import differing, flat
from guerdon.audit.events import as_number, read_history
from guerdon.audit.formats import fixed, interval, number
from guerdon.audit.outcome import Change, Of, change
from guerdon.audit.report.render import render, standalone, write_text
from guerdon.audit.report.summary import plan_of
from guerdon.audit.report.svg import Dots, Floats, Frame, Line, chart
from guerdon.core.errors import DataError, PlanError, nearest

NAMES = {
    "reward": "reward", "held_out": "held-out reward", "kl": "KL to the reference, nats", "kl_step": "KL per step, nats",
    "entropy": "entropy, nats per step", "length": "length, steps", "terminal": "share ended by themselves",
    "distinct_1": "distinct-1", "distinct_2": "distinct-2", "return": "return",
}  # fmt: skip


@dataclass(frozen=True)
class Point:
    """One run (or the policy before training) in the picture.

    Args:
        label: What sets it apart from the others.
        x: Its diversity; larger is better.
        y: Its reward; larger is better.
        lo: Lower end of the 95 % interval of ``y``, None where unknown.
        hi: Upper end.
        base: The policy before training.
        runs: Names of the folders of its runs: one, or several seeds whose mean this is.
        seeds: [(x, y)] of the single runs, where there are several.
    """

    label: str
    x: float
    y: float
    lo: float | None = None
    hi: float | None = None
    base: bool = False
    runs: tuple[str, ...] = ()
    seeds: tuple[tuple[float, float], ...] = ()


def on_front(points: Sequence[Point], less: bool = False) -> list[bool]:
    """Which runs no other run beats (as good in both, better in one), by their means; with ``less``, a smaller x is better.

    >>> on_front([Point("a", 1, 3), Point("b", 2, 2), Point("c", 1, 1)])
    [True, True, False]
    """
    sign = -1 if less else 1

    def beaten(p: Point) -> bool:
        return any(sign * q.x >= sign * p.x and q.y >= p.y and (q.x != p.x or q.y > p.y) for q in points)

    return [not beaten(p) for p in points]


def frontier(
    points: Sequence[Point | tuple[str, float, float]],
    *,
    x_label: str = "distinct-2",
    y_label: str = "reward",
    size: tuple[int, int] = (720, 420),
    here: str = "",
    less: bool = False,
) -> Markup:
    """The picture as SVG: a dot for each run, a line through those no other run beats; "" without a point.

    Args:
        points: Runs, or plain (label, x, y).
        x_label: What x is.
        y_label: What y is.
        size: Width and height in pixels.
        here: Name of a run's folder; its point is stressed.
        less: A smaller x is better, such as a KL.

    Example:
        >>> frontier([("kl 0.1", 0.7, 0.2), ("kl 0.01", 0.5, 0.6)]).count("<circle")
        2
    """
    known = [p for p in map(_point, points) if math.isfinite(p.x) and math.isfinite(p.y)]
    if not known:
        return Markup("")
    runs = [p for p in known if not p.base]
    best = sorted((p.x, p.y) for p, front in zip(runs, on_front(runs, less), strict=True) if front)
    marks: list[Line | Dots] = []
    if len(best) > 1:
        x, y = np.array(best).T
        marks.append(Line(x, y, "hair-strong", end=False))
    groups = (
        ("plain", [p for p in known if p.base]),
        ("policy", [p for p in runs if here not in p.runs]),
        ("held", [p for p in runs if here in p.runs]),
    )
    beaten = {id(p) for p, front in zip(runs, on_front(runs, less), strict=True) if not front}
    for colour, some in groups:
        marks += _dots(some, colour, [p.base or id(p) in beaten for p in some])
    about = f"{y_label} against {x_label} of {len(runs)} runs"
    frame = Frame(*size, x_label=x_label, y_label=y_label, about=about, whole_x=False, x_zero=False, end_values=False)
    return chart(marks, frame)


def _point(p: Point | tuple[str, float, float]) -> Point:
    return p if isinstance(p, Point) else Point(*p)


def _dots(points: Sequence[Point], colour: str, hollow: Sequence[bool]) -> list[Dots]:
    """The points of one colour: single runs small and pale behind the means of several."""

    def column(name: str) -> Floats:
        return np.array([math.nan if (v := getattr(p, name)) is None else v for p in points], dtype=float)

    if not points:
        return []
    seeds = np.array([s for p in points for s in p.seeds], dtype=float).reshape(-1, 2)
    behind = [Dots(seeds[:, 0], seeds[:, 1], f"{colour}-pale", radius=3.0)] if len(seeds) else []
    titles = [f"{p.label}: {number(p.y)} at {number(p.x)}" for p in points]
    names = [p.label for p in points]
    lo, hi = column("lo"), column("hi")
    return [*behind, Dots(column("x"), column("y"), colour, lo, hi, titles=titles, hollow=hollow, names=names, radius=5.0)]


def write_frontier(
    run_dirs: Sequence[str | Path], out: str | Path, *, x: Of = "distinct_2", y: Of = "reward", labels: Sequence[str] = ()
) -> Path:
    """Write the picture of several runs into a folder: ``frontier.html`` (self-contained), ``.png``, ``.svg`` and ``.json``.

    Runs whose plans differ only in their seeds become one point, their mean, with the single runs behind it. A copy of
    ``frontier.json`` in a run's folder makes that run's report show the picture too.

    Args:
        run_dirs: Folders of the runs.
        out: Folder to write into, made where it is missing; or a path that ends in ``.html``, whose name the files take.
        x: What is drawn to the right.
        y: What is drawn upwards.
        labels: A name for each run; without them, the one or two settings in which the plans differ, or the folders' names.

    Returns:
        Path of the page.

    Raises:
        PlanError: for an unknown quantity.
        DataError: where a run has no events.jsonl, or none of them has both quantities.
    """
    for name in (x, y):
        if name not in get_args(Of):
            raise PlanError(f"write_frontier: unknown quantity {name!r}; {nearest(name, get_args(Of))}")
    if labels and len(labels) != len(run_dirs):
        raise PlanError(f"write_frontier: {len(labels)} labels for {len(run_dirs)} runs")
    points, rows = points_of(run_dirs, x, y, labels)
    if not points:
        raise DataError(f"none of the {len(run_dirs)} runs has both {NAMES[x]} and {NAMES[y]}")
    page = Path(out) if Path(out).suffix == ".html" else Path(out) / "frontier.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    less = x in ("kl", "kl_step")
    tree = {"format": 1, "x": NAMES[x], "y": NAMES[y], "less": less, "points": [asdict(p) for p in points]}
    write_text(page.with_suffix(".json"), json.dumps(tree, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    svg = frontier(points, x_label=NAMES[x], y_label=NAMES[y], less=less)
    write_text(page.with_suffix(".svg"), standalone(svg))
    from guerdon.audit.report.picture import write_png

    write_png(points, page.with_suffix(".png"), NAMES[x], NAMES[y], less=less)
    picture = _responsive(points, NAMES[x], NAMES[y], less)
    text = render(
        "frontier.html", title="Frontier · guerdon", kind="several runs", corner="", svg=picture,
        x=NAMES[x], y=NAMES[y], less=less, varied=x in ("distinct_1", "distinct_2", "entropy"), rows=rows, note=_note(points),
    )  # fmt: skip
    return write_text(page, text)


def points_of(
    run_dirs: Sequence[str | Path], x: Of, y: Of, labels: Sequence[str] = ()
) -> tuple[list[Point], list[dict[str, str]]]:
    """Points of runs (and, first, of the policy before training), and rows of a table about them."""
    histories = [read_history(d) for d in run_dirs]
    folders = [h.path.resolve().parent.name for h in histories]
    labels = labels or labels_of([plan_of(h) for h in histories], folders)
    groups: dict[str, list[Point]] = {}
    rows: list[dict[str, str]] = []
    base: list[Point] = []
    for h, label, run in zip(histories, labels, folders, strict=True):
        cx, cy, kl = change(h, x), change(h, y), change(h, "kl")
        if cx.step_before == cy.step_before == 0 and cx.step_after > 0 and not base:
            base = [_as_point("before training", cx, cy, before=True)]
        if math.isfinite(cx.after.mean) and math.isfinite(cy.after.mean):
            groups.setdefault(label, []).append(replace(_as_point(label, cx, cy), runs=(run,)))
        ends = interval(cy.after.lo, cy.after.hi, cy.decimals)
        row = {"label": label, "run": run, "y": fixed(cy.after.mean, cy.decimals), "y_interval": ends}
        rows.append({**row, "x": number(cx.after.mean), "kl": number(kl.after.mean), "draws": f"{h.draws:,}"})
    points = [_mean(some) for some in groups.values()]
    return [*(base if points else []), *points], rows


def _mean(points: Sequence[Point]) -> Point:
    """Several seeds of one setting as one point; their spread is shown by themselves, not by an interval."""
    if len(points) == 1:
        return points[0]
    x, y = (float(np.mean([getattr(p, n) for p in points])) for n in ("x", "y"))
    return Point(points[0].label, x, y, runs=tuple(r for p in points for r in p.runs), seeds=tuple((p.x, p.y) for p in points))


def _as_point(label: str, cx: Change, cy: Change, before: bool = False) -> Point:
    at_x, at_y = (cx.before, cy.before) if before else (cx.after, cy.after)
    lo, hi = (v if math.isfinite(v) else None for v in (at_y.lo, at_y.hi))
    return Point(label, at_x.mean, at_y.mean, lo, hi, before)


def labels_of(plans: Sequence[Mapping[str, Any]], folders: Sequence[str]) -> list[str]:
    """What sets each plan apart, seeds aside: the one or two keys they differ in, or the folder's name.

    >>> labels_of([{"kl": {"coef": 0.1}, "seed": 1}, {"kl": {"coef": 0.2}, "seed": 1}], ["a", "b"])
    ['coef 0.1', 'coef 0.2']
    """
    trees = [flat({k: v for k, v in p.items() if k != "name"}) for p in plans]
    keys = differing(trees)
    keys = [k for k in keys if k != "seed"] or keys
    if len(plans) < 2 or not 1 <= len(keys) <= 2:
        return [str(f) for f in folders]
    return [", ".join(f"{k.rsplit('.', 1)[-1]} {t.get(k, 'default')}"[:40] for k in keys) for t in trees]


def _responsive(points: Sequence[Point], x_label: str, y_label: str, less: bool, here: str = "") -> Markup:
    wide = frontier(points, x_label=x_label, y_label=y_label, size=(1040, 440), here=here, less=less)
    narrow = frontier(points, x_label=x_label, y_label=y_label, size=(340, 320), here=here, less=less)
    return Markup('<div class="wide">{}</div><div class="narrow">{}</div>').format(wide, narrow)


def _note(points: Sequence[Point]) -> str:
    bars = " Bars are 95\u00a0% intervals over the answers." if any(p.lo is not None for p in points) else ""
    seeds = " Small dots are single seeds, large ones their means." if any(p.seeds for p in points) else ""
    return f"The line joins the settings that no other beats in both; rings are beaten.{seeds}{bars}"


def frontier_of_run(folder: Path) -> tuple[Markup, str]:
    """The picture for a run's page, where its folder holds a readable frontier.json; otherwise nothing."""
    try:
        tree = json.loads((folder / "frontier.json").read_text(encoding="utf8"))
        rows = tree["points"][:200]
        points = [_read_point(r) for r in rows if as_number(r.get("x")) is not None and as_number(r.get("y")) is not None]
        x, y = str(tree.get("x") or "diversity")[:60], str(tree.get("y") or "reward")[:60]
    except (OSError, UnicodeDecodeError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return Markup(""), ""
    here = folder.resolve().name
    mine = " This run's setting is the orange one." if any(here in p.runs for p in points) else ""
    return (_responsive(points, x, y, tree.get("less") is True, here), _note(points) + mine) if points else (Markup(""), "")


def _read_point(row: Mapping[str, Any]) -> Point:
    runs, seeds = row.get("runs"), row.get("seeds")
    return Point(
        str(row.get("label") or "")[:60], float(row["x"]), float(row["y"]), as_number(row.get("lo")), as_number(row.get("hi")),
        bool(row.get("base")), tuple(map(str, runs)) if isinstance(runs, list) else (),
        tuple((float(a), float(b)) for a, b in seeds[:50]) if isinstance(seeds, list) else (),
    )  # fmt: skip
