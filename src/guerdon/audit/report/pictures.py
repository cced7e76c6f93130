"""Pictures on the page: the same samples before training, at the best and at the end, and how far they are from real data."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from markupsafe import Markup

from guerdon.audit.events import Grid, History, Pictured
from guerdon.audit.formats import count, number, percent, plural, visible
from guerdon.audit.report.charts import SMALL, Key, Panel, readings
from guerdon.audit.report.frames import png_size
from guerdon.audit.report.svg import Dots, Frame, Line, chart

FILE_LIMIT, TEXT_LIMIT = 400_000, 900_000  # bytes of one grid's file, characters of all grids on a page
_NAME = re.compile(r"pictures/step-\d+\.png")
_PREFIXES = ("off_data/", "diversity/")


class View(NamedTuple):
    """One sample at one evaluation.

    Attributes:
        when: Before training, at the best, at the end.
        cells: Style of each frame; empty where there is no picture.
        scores: (name, number) of its rewards.
        reason: Why it was not scored, or has no picture.
    """

    when: str
    cells: tuple[Markup, ...]
    scores: tuple[tuple[str, str], ...]
    reason: str


class Sampled(NamedTuple):
    """One sample over the run: what was asked, the picture to edit where there is one (its style), and its views."""

    context: str
    source: Markup
    views: tuple[View, ...]


@dataclass(frozen=True)
class Album:
    """The grids of a run, sample by sample.

    Args:
        samples: In the order of the evaluation.
        note: A sentence on them; also where there are none, and why.
        sheets: CSS variables that hold the pictures.
        frames: Frames of a sample; above 1 they are shown in rows.
        sharp: Better shown with hard edges.
        more: A sentence on what cannot be seen.
    """

    samples: tuple[Sampled, ...] = ()
    note: str = ""
    sheets: Markup = Markup("")
    frames: int = 1
    sharp: bool = False
    more: str = ""


def drawn(history: History) -> bool:
    """Whether the run made pictures, or measured what it made against real ones."""
    return bool(history.grids) or any(n.startswith(_PREFIXES) for e in history.evals for n in e.metrics)


def album_of(history: History, folder: Path) -> Album:
    """The samples of the kept evaluations; nothing where there are no grids.

    The last evaluation comes first when room is given away, then the first, then the best.
    """
    grids = list(history.grids)
    if not grids:
        return Album()
    sheets, room, lost = {}, TEXT_LIMIT, ""
    for g in sorted(grids, key=lambda g: (g is not grids[-1], g is not grids[0])):
        png = _read(folder, g.file)
        text, size = base64.b64encode(png).decode(), png_size(png)
        if g.reason or size is None:
            lost = g.reason or "the grids are not in the run's folder"
        elif len(text) > room:
            lost = f"{g.file} would make this page too large"
        else:
            sheets[g.step], room = (text, size), room - len(text)
    if not sheets:
        return Album(note=f"There are no pictures to show: {visible(lost)}.")
    shown = [g for g in grids if g.step in sheets]
    samples = tuple(_sampled(k, shown, {s: v[1] for s, v in sheets.items()}) for k in range(max(len(g.samples) for g in shown)))
    variables = Markup("; ").join(
        Markup("--sheet-{}: url(data:image/png;base64,{})").format(k, sheets[g.step][0]) for k, g in enumerate(shown)
    )
    same = "the same captions and noise each time, so that differences are the policy's"
    note = f"The first {plural(len(samples), 'sample')} of the evaluations, not chosen; {same}."
    last = shown[-1]
    return Album(
        samples, note, variables, last.span - last.source, last.sharp and last.span - last.source <= 12,
        more=" ".join(filter(None, (_beyond(shown), f"Some pictures are not shown: {visible(lost)}." if lost else ""))),
    )  # fmt: skip


def _sampled(row: int, grids: Sequence[Grid], sizes: dict[int, tuple[int, int]]) -> Sampled:
    views, context, source = [], "", Markup("")
    for k, g in enumerate(grids):
        if row >= len(g.samples):
            continue
        cells = [_cell(k, g, row * g.span + c, sizes[g.step]) for c in range(g.span)]
        context = context or visible(g.samples[row].context, 300)
        source = source or (cells[0] if g.source else source)
        views.append(
            View(_when(g, grids), tuple(cells[1:] if g.source else cells), _scores(g.samples[row]), _why(g.samples[row]))
        )
    return Sampled(context, source, tuple(views))


def _cell(sheet: int, g: Grid, k: int, size: tuple[int, int]) -> Markup:
    """The style that shows cell ``k`` of a grid alone: the sheet enlarged and pushed to its place."""
    (width, height), (w, h) = size, g.size
    x, y = (k % g.columns) * (w + g.gap), (k // g.columns) * (h + g.gap)
    at = [100 * place / (whole - cell) if whole > cell else 0.0 for place, whole, cell in ((x, width, w), (y, height, h))]
    return Markup("--sheet: var(--sheet-{}); --at: {:.4f}% {:.4f}%; --size: {:.3f}% {:.3f}%; --ratio: {:.0f} / {:.0f}").format(
        sheet, *at, 100 * width / w, 100 * height / h, w, h
    )


def _scores(s: Pictured) -> tuple[tuple[str, str], ...]:
    named = (("reward", s.reward), ("held-out", s.held_out))
    return tuple((k, number(v)) for k, v in named if v is not None)


def _why(s: Pictured) -> str:
    return visible(s.reason)


def _when(g: Grid, grids: Sequence[Grid]) -> str:
    """When a grid was made, in two or three words.

    >>> _when(Grid(0, True, "", (1, 1), 0, 1, 1, False, False, 0.0, ()), [])
    'Before training'
    """
    if g.step == 0:
        return "Before training"
    best = next((h for h in reversed(grids) if h.best), None)
    words = [w for w, h in (("best", best), ("last", grids[-1])) if h is g] if len(grids) > 1 else []
    text = " and ".join(words) + ", " if words else ""
    return f"{text}draw {count(g.step)}".capitalize()


def _beyond(grids: Sequence[Grid]) -> str:
    """What was cut off so that values could be shown as colours."""
    first, last = grids[0].beyond, grids[-1].beyond
    if max(first, last) < 0.001:
        return ""
    then = f", {percent(first)} before training" if len(grids) > 1 else ""
    return (
        f"Values outside [−1, 1] are cut to be shown. {percent(last)} were more than 0.05 outside at the last evaluation{then}."
    )


def _read(folder: Path, name: str) -> bytes:
    """A grid's file, if it is one of the run's own."""
    if not _NAME.fullmatch(name):
        return b""
    try:
        with open(folder / name, "rb") as f:
            png = f.read(FILE_LIMIT)
    except OSError:
        return b""
    return png if len(png) < FILE_LIMIT else b""


# ---------------------------------------------------------------- figures
class Drawn(NamedTuple):
    """One small chart of an evaluated figure."""

    name: str
    title: str
    unit: str
    note: str
    colour: str = "policy"
    level: str = ""
    level_label: str = "real data"
    ceiling: float | None = None


MEASURES = (
    Drawn("off_data/outside", "Outside the data", "share of samples", "farther off than 99 % of real pictures are", "held",
          "0.01", ceiling=1.0),
    Drawn("off_data/ratio", "Distance from the data", "real data = 1", "to the nearest real pictures", "held", "1"),
    Drawn("off_data/frechet", "Frechet distance", "", "of features; few samples make it large, so compare with real data", "held",
          "off_data/frechet_data", "as many real pictures"),
    Drawn("diversity/vendi", "Vendi score", "samples", "how many equally different samples these are worth", "policy",
          "diversity/vendi_data", "as many real pictures"),
)  # fmt: skip

PAIRWISE = {"diversity/pairwise": ("policy", "of one caption"), "diversity/pairwise_all": ("plain", "of any captions")}


def measure_panels(history: History) -> list[Panel]:
    """The rewards and, on the same draws, what was measured of the evaluated samples; nothing where nothing was measured."""
    known = {n for e in history.evals for n in e.metrics if n.startswith(_PREFIXES)}
    if not known:
        return []
    panels = [_measured(history, m) for m in MEASURES if m.name in known]
    panels.append(_distances(history))
    named = {m.name for m in MEASURES} | {m.level for m in MEASURES} | set(PAIRWISE)
    panels += [_measured(history, Drawn(n, visible(n, 40), "", "")) for n in sorted(known - named)]
    return [p for p in (*_rewards(history), *panels) if p.svg]


def _rewards(history: History) -> list[Panel]:
    held = readings(history.evals, "held_out", "held", "held_out/mean", " ", join="line")
    proxy = readings(history.evals, "reward", "reward", "proxy/mean", " ", join="line")
    keys = (Key("reward", "training reward"), Key("held", "held-out reward")) if held and proxy else ()
    frame = Frame(*SMALL, about="Reward of the evaluated samples by draw")
    return [Panel("Reward", chart([*proxy, *held], frame), note="" if keys else "what was optimised", keys=keys)]


def _distances(history: History) -> Panel:
    """How far samples are apart, within captions and among all."""
    marks = [d for name, (colour, _) in PAIRWISE.items() for d in _dots(history, name, colour)]
    keys = tuple(Key(colour, words) for colour, words in PAIRWISE.values()) if len(marks) > 1 else ()
    frame = Frame(*SMALL, about="Distance between samples by draw", zero=True)
    return Panel("Distance between samples", chart(marks, frame), note="" if keys else "lower means more alike", keys=keys)


def _dots(history: History, name: str, colour: str) -> list[Line | Dots]:
    steps, values = history.evaluated(name)
    titles = [f"after {count(s)} draws: {number(v)}" for s, v in zip(steps, values, strict=True)]
    return [Dots(steps.astype(float), values, colour, join="line", titles=titles, label=" ")] if len(steps) else []


def _measured(history: History, m: Drawn) -> Panel:
    marks = _dots(history, m.name, m.colour)
    level = _level(history, m.level)
    frame = Frame(
        *SMALL, about=f"{m.title} by draw", zero=True, ceiling=m.ceiling, level=level,
        level_label=m.level_label if level is not None else "",
    )  # fmt: skip
    return Panel(m.title, chart(marks, frame), m.unit, m.note)


def _level(history: History, name: str) -> float | None:
    """A number as it is given, or the last reading of the figure of this name."""
    if not name:
        return None
    if name[0].isdigit():
        return float(name)
    _, values = history.evaluated(name)
    return float(values[-1]) if len(values) else None


class Ends(NamedTuple):
    """A figure at the first and the last evaluation."""

    before: float
    after: float

    def __bool__(self) -> bool:
        return math.isfinite(self.before) and math.isfinite(self.after)

    @property
    def kept(self) -> float:
        """``after / before``; NaN where that means nothing."""
        return self.after / self.before if self.before > 0 else math.nan


def ends_of(history: History, name: str) -> Ends:
    """A figure's first and last reading; NaN where there are no two."""
    steps, values = history.evaluated(name)
    if len(steps) < 2 or not np.isfinite(values[[0, -1]]).all():
        return Ends(math.nan, math.nan)
    return Ends(float(values[0]), float(values[-1]))


def variety(history: History) -> tuple[str, Ends]:
    """(name, first and last reading) of the diversity measure of which least is left: distance, or Vendi."""
    near = "diversity/pairwise" if ends_of(history, "diversity/pairwise") else "diversity/pairwise_all"
    words = "distance within captions" if near == "diversity/pairwise" else "distance between samples"
    known = [(w, e) for w, name in ((words, near), ("Vendi score", "diversity/vendi")) if (e := ends_of(history, name))]
    return min(known, key=lambda pair: pair[1].kept if pair[1].kept == pair[1].kept else math.inf,
               default=("", Ends(math.nan, math.nan)))  # fmt: skip


def left_the_data(history: History) -> str:
    """One clause on where the samples ended, "" where that was not measured."""
    outside = ends_of(history, "off_data/outside")
    return f"{percent(outside.after)} of the samples lie outside the data ({percent(outside.before)} at first)" if outside else ""
