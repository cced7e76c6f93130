"""Over-optimisation in pictures: the section of a run's page, and the panels of several runs and of best-of-n."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup

from guerdon.audit.formats import count, interval, number, plural
from guerdon.audit.overoptimisation import BestOfN, Fit, RLCurve
from guerdon.audit.report.charts import HALF, Key, Panel, responsive
from guerdon.audit.report.svg import Dots, Floats, Frame, Line, chart
from guerdon.audit.verdict import HackingVerdict

KEYS = (Key("reward", "training reward (optimised)"), Key("held", "held-out reward (never optimised)"))
LAW = Key("held-pale", "law fitted to it")
DRAWN = 0.5  # share of the variance a law must explain to be drawn
MOST = 60  # readings drawn


class Axis(NamedTuple):
    """How both rewards share an axis: each minus ``start``, over ``unit``."""

    proxy: tuple[float, float]
    gold: tuple[float, float]
    note: str

    def of(self, y: Floats, which: str) -> Floats:
        start, unit = self.proxy if which == "reward" else self.gold
        return (y - start) / unit


RAW = Axis((0.0, 1.0), (0.0, 1.0), "")


def axis_of(c: RLCurve) -> Axis | None:
    """As they are where their scales agree, else in standard deviations from the start; None where neither works."""
    if comparable(c.proxy, c.gold):
        return RAW
    if c.proxy_unit > 0 and c.gold_unit > 0:
        note = "both in standard deviations between the first evaluation's answers, from where they started"
        axis = Axis((float(c.proxy[0]), c.proxy_unit), (float(c.gold[0]), c.gold_unit), note)
        if comparable(axis.of(c.proxy, "reward"), axis.of(c.gold, "held"), 8):
            return axis
    return None


def comparable(a: Floats, b: Floats, times: float = 4) -> bool:
    """Whether two rewards can share an axis without flattening one of them."""
    if not len(a) or not len(b):
        return False
    spans = [float(np.ptp(v)) for v in (a, b)]
    return float(np.ptp(np.concatenate([a, b]))) <= times * max(min(spans), 0.25 * max(spans), 1e-12)


@dataclass(frozen=True)
class Section:
    """What the page says of over-optimisation."""

    verdict: HackingVerdict
    panels: tuple[Panel, ...] = ()
    notes: tuple[str, ...] = ()


def section_of(curve: RLCurve, verdict: HackingVerdict, saved: int | None = None) -> Section:
    """The section of a run's page; without readings, the verdict alone.

    Args:
        curve: The run's evaluations.
        verdict: What ``hacking`` says of them.
        saved: Draw whose policy was saved.
    """
    if not len(curve):
        return Section(verdict)
    return Section(verdict, tuple(panels_of(curve)), tuple(notes_of(curve, saved)))


def panels_of(c: RLCurve) -> list[Panel]:
    """Both rewards over the run, and over the distance from the reference with the fitted law."""
    axis, draws = axis_of(c), c.steps.astype(float)
    peak = None if c.peak is None or len(c) < 2 else c.peak
    best = None if peak is None else float(draws[peak])

    def over_run(size: tuple[int, int], which: tuple[str, ...] = ("held", "reward"), axis: Axis = axis or RAW) -> Markup:
        frame = Frame(*size, about="Training and held-out reward by draw", mark=best, mark_label="best held-out")
        return chart([m for w in which for m in dots_of(c, draws, axis, w, " ")], frame)

    if axis is None:
        note = "on its own axis: the two rewards have different scales"
        halves = [Panel(k.text[0].upper() + k.text[1:], _responsive(over_run, (k.colour,), RAW), note=note) for k in KEYS]
        return [p for p in halves if p.svg]
    panels = [Panel("Over the run", responsive(over_run, HALF), note=axis.note, keys=KEYS)]
    if np.isfinite(c.kl).sum() >= 2:
        svg = responsive(lambda size: against_kl(c, axis, size), HALF)
        keys = (*KEYS, LAW) if shows_law(c.fit) else KEYS
        note = "from left to right the policy leaves its reference" if not axis.note else axis.note
        panels.append(Panel("Against the distance moved", svg, note=note, keys=keys))
    return [p for p in panels if p.svg]


def _responsive(draw: Callable[..., Markup], *rest: Any) -> Markup:
    return responsive(lambda size: draw(size, *rest), HALF)


def shows_law(fit: Fit) -> bool:
    """Whether a law fits well enough to be drawn."""
    return bool(fit) and fit.r2 >= DRAWN


def against_kl(
    c: RLCurve, axis: Axis, size: tuple[int, int], reach: tuple[float, ...] = (), reach_x: tuple[float, ...] = ()
) -> Markup:
    """Proxy and gold over KL, in the order of the run: where the curves part, the reward is being exploited."""
    known = np.isfinite(c.kl)
    marks: list[Line | Dots] = []
    if shows_law(c.fit):
        x = np.linspace(0.0, float(np.nanmax(c.kl)), 80)
        marks.append(Line(x, axis.of(c.fit.at(x), "held"), "held-pale", dash=True, end=False))
    marks += [m for which in ("held", "reward") for m in dots_of(c, c.kl, axis, which)]
    best = float(c.kl[c.peak]) if c.peak is not None and known[c.peak] and len(c) > 1 else None
    words = "best held-out" if best is not None else ""
    frame = Frame(*size, x_label="nats", about="Training and held-out reward against KL", whole_x=False, mark=best,
                  mark_label=words, reach=reach, reach_x=reach_x)  # fmt: skip
    return chart(marks, frame)


def dots_of(c: RLCurve, x: Floats, axis: Axis, which: str, label: str = "") -> list[Dots]:
    """The readings of one reward with their intervals, joined in the order of the run."""
    y, ends = (c.proxy, c.proxy_ends) if which == "reward" else (c.gold, c.gold_ends)
    pick = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
    if not len(pick):
        return []
    if len(pick) > MOST:
        pick = pick[np.unique(np.linspace(0, len(pick) - 1, MOST).astype(int))]
    at = x[pick]
    forward = bool((np.diff(at) >= 0).all())  # a path that goes back is only hinted at
    within = [f" (95\u00a0% interval {t})" if (t := interval(*ends[k])) else "" for k in pick]
    titles = [f"after {plural(int(c.steps[k]), 'draw')}: {number(y[k])}{w}" for k, w in zip(pick, within, strict=True)]
    lo, hi = (axis.of(ends[pick, side], which) for side in (0, 1))
    radius = 3.4 if len(pick) <= MOST // 2 else 2.6
    return [Dots(at, axis.of(y[pick], which), which, lo, hi, "line" if forward else "raw", titles, label, radius=radius)]


def notes_of(c: RLCurve, saved: int | None = None) -> list[str]:
    """Where the held-out reward was best, and what the law says of it."""
    notes = []
    if c.peak is not None:
        at = f", {number(c.kl[c.peak])} nats from the reference" if math.isfinite(c.kl[c.peak]) else ""
        when = "before training" if c.steps[c.peak] == 0 else f"after {plural(int(c.steps[c.peak]), 'draw')}"
        tail = " The saved policy is that one." if saved == c.steps[c.peak] else ""
        notes.append(f"The held-out reward was highest {when}{at}, at {number(c.gold[c.peak])}.{tail}")
    if not np.isfinite(c.kl).any():
        notes.append("There is no reference policy in this run, so the distance moved is not known.")
    elif not c.fit:
        notes.append(f"The law of over-optimisation, R(d) = R₀ + d (α − β log d) with d = √KL, cannot be fitted: {c.fit.reason}.")
    elif not shows_law(c.fit):
        r2 = number(max(c.fit.r2, 0.0), 2)
        notes.append(f"The law R(d) = R₀ + d (α − β log d) with d = √KL explains little here (R² = {r2}).")
    else:
        reach = float(np.nanmax(c.kl))
        law = str(c.fit).split("; ")[0]
        if c.fit.peak_kl is None:
            where = "it has no highest point within reach"
        elif c.fit.peak_kl > reach:
            where = f"its highest point, at {number(c.fit.peak_kl)} nats, lies beyond what was measured"
        else:
            where = f"it is highest at {number(c.fit.peak_kl)} nats"
        notes.append(f"Dashed: {law}; {where}.")
    return notes


Curves = Sequence[tuple[str, RLCurve, HackingVerdict]]


def shared_axis(shown: Curves) -> Axis:
    """One axis for all runs, by the first one's start and spread where the two rewards need it."""
    if not shown:
        return RAW
    first = shown[0][1]
    return RAW if all(comparable(c.proxy, c.gold) for _, c, _ in shown) else axis_of(first) or RAW


def side_by_side(shown: Curves) -> list[Panel]:
    """A panel for each run, over the distance moved; all on the same axes."""
    axis = shared_axis(shown)
    both = [(y, which) for _, c, _ in shown for y, which in ((c.proxy, "reward"), (c.proxy_ends, "reward"))]
    both += [(y, which) for _, c, _ in shown for y, which in ((c.gold, "held"), (c.gold_ends, "held"))]
    values = [axis.of(y.reshape(-1), which) for y, which in both]
    ys = np.concatenate(values) if values else np.zeros(0)
    far = [float(np.nanmax(c.kl)) for _, c, _ in shown if np.isfinite(c.kl).any()]
    reach, reach_x = ((float(np.nanmin(ys)), float(np.nanmax(ys))) if len(ys) else ()), ((0.0, max(far)) if far else ())
    panels = []
    for label, c, _ in shown:
        if np.isfinite(c.kl).sum() >= 2:
            svg = responsive(lambda size, c=c: against_kl(c, axis, size, reach, reach_x), HALF)  # type: ignore[misc]
        else:
            marks = [m for which in ("held", "reward") for m in dots_of(c, c.steps.astype(float), axis, which)]
            svg = responsive(lambda size, marks=marks: chart(marks, Frame(*size, reach=reach)), HALF)  # type: ignore[misc]
        panels.append(Panel(label, svg, keys=(*KEYS, LAW) if shows_law(c.fit) else KEYS))
    return panels


def tone_of(v: HackingVerdict) -> str:
    """The colour of a verdict."""
    return {"hacking seen": "bad", "no hacking seen": "good"}.get(v.outcome, "neutral")


def best_of_n_panel(label: str, b: BestOfN) -> Panel:
    """Proxy and gold of the best of n over the KL bound, with the fitted law."""
    unit = [float(np.ptp(y)) or 1.0 for y in (b.proxy, b.gold)]
    axis = RAW if comparable(b.proxy, b.gold) else Axis((float(b.proxy[0]), unit[0]), (float(b.gold[0]), unit[1]), "")

    def draw(size: tuple[int, int]) -> Markup:
        marks: list[Line | Dots] = []
        if shows_law(b.fit):
            x = np.linspace(0.0, float(b.kl[-1]), 80)
            marks.append(Line(x, axis.of(b.fit.at(x), "held"), "held-pale", dash=True, end=False))
        some = ["" for _ in b.n[1:]] + [f"n = {count(b.n[-1])}"]
        for which, y, lo, hi in (("held", b.gold, b.gold_lo, b.gold_hi), ("reward", b.proxy, b.proxy_lo, b.proxy_hi)):
            titles = [f"best of {count(n)}: {number(v)}" for n, v in zip(b.n, y, strict=True)]
            marks.append(Dots(b.kl, axis.of(y, which), which, axis.of(lo, which), axis.of(hi, which), "line", titles,
                              names=some if which == "reward" else ()))  # fmt: skip
        at = float(b.kl[int(np.flatnonzero(b.n == b.peak)[0])])
        best = f"best gold, n = {count(b.peak)}"
        frame = Frame(*size, x_label="nats at most", about=f"Best of n: {label}", whole_x=False, mark=at, mark_label=best,
                      end_values=False)  # fmt: skip
        return chart(marks, frame)

    ends = interval(b.drop.lo, b.drop.hi)
    fell = f"From its peak at n = {count(b.peak)} the gold reward falls by {number(b.drop.mean)}{f' ({ends})' if ends else ''}."
    held = "The gold reward is highest at the largest n." if b.peak == int(b.n[-1]) else fell
    scales = "" if axis is RAW else " Each curve is drawn over its own range."
    keys = (Key("reward", "proxy (chooses)"), Key("held", "gold (judges)"), *((LAW,) if shows_law(b.fit) else ()))
    of = f"{plural(b.contexts, 'context')}, up to {count(b.n[-1])} answers each"
    return Panel(label, responsive(draw, HALF), note=f"{held} {of}.{scales} {'Law' if b.fit else 'The law'} {b.fit}.", keys=keys)
