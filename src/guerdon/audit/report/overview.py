"""Several runs on one page: what each was optimised for, what became of the held-out reward, and what they write."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from markupsafe import Markup

from guerdon.audit.events import Evaluation, History, Sample, read_history
from guerdon.audit.formats import clip, count, fixed, number, visible
from guerdon.audit.outcome import Change, Of, change
from guerdon.audit.overoptimisation import BestOfN, RLCurve, rl_curve
from guerdon.audit.report.charts import HALF, Key, Panel, readings, responsive
from guerdon.audit.report.overoptimisation import best_of_n_panel, shared_axis, side_by_side, tone_of
from guerdon.audit.report.render import render, write_text
from guerdon.audit.report.svg import Dots, Frame, Line, chart
from guerdon.audit.verdict import HackingVerdict, hacking
from guerdon.core.errors import PlanError

COLOURS = ("held", "policy", "reward", "plain")
SHOWN, CHARACTERS = 4, 700
LEAD = (
    "The training reward is what a policy was pushed to raise; the held-out reward was never optimised. Where the first goes on "
    "rising and the second turns down, the policy exploits its reward."
)
_COLUMNS: tuple[Of, ...] = ("reward", "held_out", "kl", "length", "distinct_2")


class Step(NamedTuple):
    """What happened before the runs, as a tile.

    Attributes:
        name: What was done.
        value: One figure.
        lines: What the figure means.
        link: A page with more, as a path; "" for none.
    """

    name: str
    value: str
    lines: tuple[str, ...] = ()
    link: str = ""


class Shown(NamedTuple):
    """A run on the page.

    Attributes:
        name: Its name.
        about: What sets it apart, in a few words.
        colour: Of its curves by draw.
        history: Its events.
        curve: Its evaluations.
        verdict: On hacking.
        link: Its own page.
    """

    name: str
    about: str
    colour: str
    history: History
    curve: RLCurve
    verdict: HackingVerdict
    link: str

    @property
    def tone(self) -> str:
        """The colour of its verdict."""
        return tone_of(self.verdict)


class Answer(NamedTuple):
    """One text of one policy."""

    when: str
    output: str
    scores: tuple[tuple[str, str], ...]
    colour: str


def write_overview(
    runs: Mapping[str, str | Path], out: str | Path, *, about: Mapping[str, str] | None = None,
    best_of_n: Mapping[str, BestOfN] | None = None, title: str = "Over-optimisation", lead: str = LEAD,
    steps: Sequence[Step] = (),
) -> Path:  # fmt: skip
    """Several runs, and best-of-n curves, on one self-contained page: verdicts, curves on shared axes, figures, samples.

    Args:
        runs: Label -> folder of a run.
        out: File to write, ``.html``, or a folder, which gets ``overview.html``. Links to the runs' pages are relative to it.
        about: Label -> what sets this run apart.
        best_of_n: Label -> curve from scores alone (``best_of_n_curve``).
        title: Of the page.
        lead: A sentence or two beneath the title.
        steps: What happened before the runs, as tiles.

    Returns:
        Path of the page.

    Raises:
        DataError: where a folder has no events.jsonl.
        PlanError: where there is nothing to show.
    """
    page = Path(out) if Path(out).suffix == ".html" else Path(out) / "overview.html"
    shown = [_shown(str(n), (about or {}).get(n, ""), Path(f), COLOURS[k % 4], page) for k, (n, f) in enumerate(runs.items())]
    measured = [(s.name, s.curve, s.verdict) for s in shown if len(s.curve)]
    if not any(s.history.evals for s in shown) and not best_of_n:
        raise PlanError("write_overview: no run has an evaluation, and no best-of-n curve was given; there is nothing to show")
    page.parent.mkdir(parents=True, exist_ok=True)
    text = render(
        "overview.html", title=title, kind="overview", corner="", lead=lead,
        steps=[s._replace(link=_relative(Path(s.link), page)) if s.link else s for s in steps], runs=shown,
        by_draw=_by_draw(shown), by_distance=side_by_side(measured), note=shared_axis(measured).note, rows=_rows(shown),
        curves=[best_of_n_panel(label, b) for label, b in (best_of_n or {}).items()], samples=_samples(shown),
    )  # fmt: skip
    return write_text(page, text)


def _shown(name: str, about: str, folder: Path, colour: str, page: Path) -> Shown:
    history = read_history(folder)
    own = folder / "report.html"
    return Shown(name, about, colour, history, rl_curve(history), hacking(history), _relative(own, page) if own.exists() else "")


def _relative(target: Path, page: Path) -> str:
    return Path(os.path.relpath(target, page.parent)).as_posix()


def _by_draw(shown: Sequence[Shown]) -> list[Panel]:
    """Both rewards of all runs by draw; what is compared is the course, so each reward has its own panel."""
    keys = tuple(Key(s.colour, s.name) for s in shown)

    def draw(of: Of, name: str, about: str) -> Callable[[tuple[int, int]], Markup]:
        def one(size: tuple[int, int]) -> Markup:
            marks: list[Line | Dots] = []
            for s in shown:
                marks += readings(s.history.evals, of, s.colour, name, " ", join="line")
            return chart(marks, Frame(*size, about=about))

        return one

    panels = [
        Panel("What was optimised", responsive(draw("reward", "proxy/mean", "Training reward by draw"), HALF),
              note="the training reward, by draw", keys=keys),
        Panel("What was meant", responsive(draw("held_out", "held_out/mean", "Held-out reward by draw"), HALF),
              note="the held-out reward, by draw", keys=keys),
    ]  # fmt: skip
    return [p for p in panels if p.svg]


def _rows(shown: Sequence[Shown]) -> list[dict[str, str]]:
    """A row for each run: before, best and end of the held-out reward, and what else changed."""
    rows: list[dict[str, str]] = []
    for s in shown:
        found = {of: change(s.history, of) for of in _COLUMNS}
        start = {f"{k}_before": _cell(c, before=True) for k, c in found.items()}
        best = "–"
        if len(s.curve) and s.curve.peak is not None:
            at = int(s.curve.steps[s.curve.peak])
            best = f"{fixed(s.curve.gold[s.curve.peak], 2)} ({'start' if at == 0 else f'draw {count(at)}'})"
        rows.append({"name": s.name, "best": best, **start, **{k: _cell(c) for k, c in found.items()}})
    return rows


def _cell(c: Change, before: bool = False) -> str:
    value = c.before if before else c.after
    if not c or not math.isfinite(value.mean):
        return "–"
    return fixed(value.mean, c.decimals) if c.decimals is not None else number(value.mean)


def _samples(shown: Sequence[Shown]) -> list[tuple[str, list[Answer]]]:
    """The same contexts before training and at the end of every run."""
    ends: dict[str, tuple[Evaluation, Evaluation]] = {}
    for s in shown:
        kept = [e for e in s.history.evals if e.samples]
        if len(kept) >= 2:
            ends[s.name] = kept[0], kept[-1]
    if not ends:
        return []
    colour = {s.name: s.colour for s in shown}
    found = []
    for first in next(iter(ends.values()))[0].samples[:SHOWN]:
        answers = [_answer("before training", first, "plain")]
        for name, (_, last) in ends.items():
            answers += [_answer(name, t, colour[name]) for t in last.samples if t.context == first.context][:1]
        found.append((visible(first.context, 400), answers))
    return found


def _answer(when: str, s: Sample, colour: str) -> Answer:
    output, _ = clip(s.output.strip(), CHARACTERS)
    named = (("training reward", s.reward), ("held-out reward", s.held_out))
    return Answer(when, visible(output), tuple((k, fixed(v, 2)) for k, v in named if v is not None), colour)
