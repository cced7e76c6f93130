"""The page of several runs in worlds: learning curves by setting, over seeds, and how they ended."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from guerdon.audit.across_seeds import aggregate, difference, probability_of_improvement
from guerdon.audit.compare import differing, flat
from guerdon.audit.curves import Curve, band
from guerdon.audit.events import History, read_history
from guerdon.audit.formats import count, decimals_of, fixed, interval, percent, plain
from guerdon.audit.measures import Interval
from guerdon.audit.report.charts import NARROW, Key, Panel
from guerdon.audit.report.control import evaluation_dots, in_a_world, training_line
from guerdon.audit.report.render import render, standalone, write_text
from guerdon.audit.report.summary import plan_of
from guerdon.audit.report.svg import Floats, Frame, Line, chart
from guerdon.core.errors import DataError, PlanError

COLOURS = ("policy", "held", "reward", "plain")
LAST = 0.1  # part of the environment steps that counts as the end


@dataclass(frozen=True)
class Setting:
    """The seeds of one setting.

    Args:
        label: What sets it apart.
        runs: Names of its runs' folders.
        ends: [runs] mean return of the episodes in the last tenth of each run's steps.
        end: Their interquartile mean with its interval.
        curve: Returns of training episodes over environment steps.
        evaluated: The same of evaluations; None where there were none.
    """

    label: str
    runs: tuple[str, ...]
    ends: tuple[float, ...]
    end: Interval
    curve: Curve
    evaluated: Curve | None


def write_curves(run_dirs: Sequence[str | Path], out: str | Path, *, labels: Sequence[str] = ()) -> Path:
    """Write learning curves of several runs into a folder: ``curves.html`` (self-contained), ``.svg`` and ``.json``.

    Runs whose plans differ only in their seeds are one setting: a line for the interquartile mean of their returns over
    environment steps, with a band for its 95 % bootstrap interval over seeds.

    Args:
        run_dirs: Folders of the runs.
        out: Folder to write into, made where it is missing; or a path that ends in ``.html``, whose name the files take.
        labels: A name for each run; without them, the one or two settings in which the plans differ, or the folders' names.

    Returns:
        Path of the page.

    Raises:
        PlanError: where labels and runs are not equally many.
        DataError: where a run has no events.jsonl, or no episode of a world ended in it.

    Source: arXiv:2108.13264.
    """
    if labels and len(labels) != len(run_dirs):
        raise PlanError(f"write_curves: {len(labels)} labels for {len(run_dirs)} runs")
    if not run_dirs:
        raise PlanError("write_curves: expected at least one run")
    settings = settings_of(run_dirs, labels)
    page = Path(out) if Path(out).suffix == ".html" else Path(out) / "curves.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    write_text(page.with_suffix(".json"), json.dumps(tree_of(settings), indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    write_text(page.with_suffix(".svg"), standalone(picture([s.curve for s in settings], [s.label for s in settings])))
    panels = [_panel("Training", "returns of the episodes that ended in training", settings, [s.curve for s in settings])]
    if all(s.evaluated is not None for s in settings):
        curves = [s.evaluated for s in settings if s.evaluated is not None]
        panels.append(_panel("Evaluation", "mean returns of the evaluations", settings, curves))
    text = render(
        "curves.html", title="Learning curves · guerdon", kind="several runs", corner="", panels=[p for p in panels if p.svg],
        rows=_rows(settings), pairs=_pairs(settings), note=_note(settings),
    )  # fmt: skip
    return write_text(page, text)


def settings_of(run_dirs: Sequence[str | Path], labels: Sequence[str] = ()) -> list[Setting]:
    """Runs grouped by what sets them apart, in order of appearance."""
    histories = [read_history(d) for d in run_dirs]
    for h in histories:
        if not in_a_world(h) or not training_line(h):
            raise DataError(f"{h.path.parent}: no episode of a world ended in this run, so it has no learning curve")
    folders = [h.path.resolve().parent for h in histories]
    names = [f"{f.parent.name}/{f.name}" if f.name.startswith("seed-") else f.name for f in folders]
    groups: dict[str, list[int]] = {}
    for k, label in enumerate(labels or setting_labels([plan_of(h) for h in histories], folders)):
        groups.setdefault(label, []).append(k)
    return [_setting(label, [histories[k] for k in group], [names[k] for k in group]) for label, group in groups.items()]


def setting_labels(plans: Sequence[Mapping[str, Any]], folders: Sequence[Path]) -> list[str]:
    """What sets each plan apart, seeds of any part aside; plans that differ in nothing else have the same label.

    It is the one or two keys they differ in; with more of them, the name of the folder of the setting's first run.

    >>> plans = [{"policy": {"seed": 0}, "lr": 0.1}, {"policy": {"seed": 1}, "lr": 0.1}, {"policy": {"seed": 0}, "lr": 0.2}]
    >>> setting_labels(plans, [Path("a/seed-0"), Path("a/seed-1"), Path("b")])
    ['lr 0.1', 'lr 0.1', 'lr 0.2']
    >>> setting_labels(plans[:2], [Path("a/seed-0"), Path("a/seed-1")])
    ['a', 'a']
    """
    trees = [
        {k: v for k, v in flat({n: p[n] for n in p if n != "name"}).items() if k.rsplit(".", 1)[-1] != "seed"} for p in plans
    ]
    keys = differing(trees)
    if 1 <= len(keys) <= 2:
        return [", ".join(f"{k.rsplit('.', 1)[-1]} {t.get(k, 'default')}"[:40] for k in keys) for t in trees]
    own = [f.parent.name if f.name.startswith("seed-") else f.name for f in folders]
    first: dict[str, str] = {}
    for tree, name in zip(trees, own, strict=True):
        identity = json.dumps(tree, sort_keys=True)
        if identity not in first:
            first[identity] = name if name not in first.values() else f"{name} ({len(first) + 1})"
    return [first[json.dumps(t, sort_keys=True)] for t in trees]


def _setting(label: str, histories: Sequence[History], names: Sequence[str]) -> Setting:
    lines = [training_line(h)[0] for h in histories]
    ends = tuple(end_of(h) for h in histories)
    dots = [evaluation_dots(h) for h in histories]
    evaluated = band([(d[0].x, d[0].y) for d in dots]) if all(dots) else None
    return Setting(label, tuple(names), ends, aggregate(ends), band([(m.x, m.y) for m in lines]), evaluated)


def end_of(history: History) -> float:
    """Mean return of the training episodes that ended in the last tenth of a run's environment steps.

    >>> h = History(Path("e"), steps=np.arange(1, 21), metrics={"env/steps": np.arange(1, 21) * 10.0,
    ...             "episode/return": np.arange(20.0), "episode/count": np.array([2.0] * 19 + [6.0])})
    >>> end_of(h)                                                # draws 19 and 20: (2 * 18 + 6 * 19) / 8
    18.75
    """
    steps, mean = history.metric("episode/return")
    row = np.searchsorted(history.steps, steps)
    taken = history.metrics.get("env/steps", history.steps.astype(float))
    n = history.metrics.get("episode/count", np.ones(len(history)))[row]
    last = taken[row] > (1 - LAST) * float(np.nanmax(taken))
    last = last if last.any() else np.arange(len(row)) == len(row) - 1
    return float((mean * n)[last].sum() / n[last].sum())


def picture(curves: Sequence[Curve], labels: Sequence[str], size: tuple[int, int] = (720, 380)) -> Markup:
    """The curves as SVG, each with its band and its last value."""
    marks = [
        Line(c.x, c.middle, colour, _known(c.lo), _known(c.hi), dash=dash)
        for c, (colour, dash) in zip(curves, _looks(len(curves)), strict=True)
    ]
    about = f"Return by environment steps of {', '.join(labels)}"
    return chart(marks, Frame(*size, x_label="environment steps" if size[0] > 400 else "steps", about=about))


def _known(edge: Floats) -> Floats | None:
    return edge if np.isfinite(edge).any() else None


def _looks(n: int) -> list[tuple[str, bool]]:
    """(colour, dashed) of each curve."""
    return [(COLOURS[k % len(COLOURS)], bool(k // len(COLOURS) % 2)) for k in range(n)]


def _panel(title: str, note: str, settings: Sequence[Setting], curves: Sequence[Curve]) -> Panel:
    labels = [s.label for s in settings]
    looks = zip(labels, _looks(len(labels)), strict=True)
    keys = tuple(Key(colour, label + (" (dashed)" if dash else "")) for label, (colour, dash) in looks)
    svg = Markup("")
    if wide := picture(curves, labels, (1040, 340)):
        svg = Markup('<div class="wide">{}</div><div class="narrow">{}</div>').format(wide, picture(curves, labels, NARROW))
    return Panel(title, svg, "return by environment steps", note, keys if len(keys) > 1 else ())


def _rows(settings: Sequence[Setting]) -> list[dict[str, str]]:
    """A row for each setting."""
    rows = []
    for s in settings:
        d = decimals_of((s.end.hi - s.end.lo) / 2, *s.ends)
        spread = f"{fixed(min(s.ends), d)} to {fixed(max(s.ends), d)}" if len(s.ends) > 1 else "–"
        rows.append({"label": s.label, "seeds": count(len(s.ends)), "end": fixed(s.end.mean, d),
                     "interval": interval(s.end.lo, s.end.hi, d) or "–", "spread": spread})  # fmt: skip
    return rows


def _pairs(settings: Sequence[Setting]) -> list[dict[str, str]]:
    """Every setting against the first."""
    out = []
    for s in settings[1:]:
        gap, better = difference(settings[0].ends, s.ends), probability_of_improvement(settings[0].ends, s.ends)
        d = decimals_of((gap.hi - gap.lo) / 2, *s.ends)
        clear = gap.lo > 0 or gap.hi < 0
        out.append({"label": s.label, "than": settings[0].label, "gap": fixed(gap.mean, d, sign=True),
                    "interval": interval(gap.lo, gap.hi, d) or "–", "better": percent(better.mean),
                    "word": ("higher" if gap.lo > 0 else "lower") if clear else "not clear"})  # fmt: skip
    return out


def _note(settings: Sequence[Setting]) -> str:
    least = min(len(s.ends) for s in settings)
    if least == 1:
        return "A setting with one run has no band: another seed may give another curve."
    share = {2: "half", 3: "three quarters"}.get(least, "nine tenths")  # simulated, with scores of several distributions
    narrow = f"such an interval is too narrow: in simulations it holds the true value in about {share} of all cases."
    few = f" With {least} seeds {narrow}" if least < 8 else ""
    return f"Lines: interquartile means over seeds; bands: their 95\u00a0% bootstrap intervals, at each point by itself.{few}"


def tree_of(settings: Sequence[Setting]) -> dict[str, Any]:
    """What curves.json holds."""

    def ends(i: Interval) -> dict[str, Any]:
        return {"iqm": i.mean, "lo": i.lo, "hi": i.hi, "runs": i.n}

    def curve(c: Curve | None) -> Any:
        return None if c is None else {k: np.asarray(getattr(c, k)).tolist() for k in ("x", "middle", "lo", "hi")}

    rows = [{"label": s.label, "runs": list(s.runs), "ends": list(s.ends), "end": ends(s.end), "training": curve(s.curve),
             "evaluation": curve(s.evaluated)} for s in settings]  # fmt: skip
    pairs = []
    for s in settings[1:]:
        better = probability_of_improvement(settings[0].ends, s.ends)
        pairs.append({"a": settings[0].label, "b": s.label, "difference": ends(difference(settings[0].ends, s.ends)),
                      "improvement": {"mean": better.mean, "lo": better.lo, "hi": better.hi}})  # fmt: skip
    return plain({"format": 1, "last": LAST, "settings": rows, "pairs": pairs})
