"""Which charts a run's page shows, and what each is drawn from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from markupsafe import Markup

from guerdon.audit.events import Evaluation, History
from guerdon.audit.formats import count, interval, number
from guerdon.audit.outcome import Of, mean_of
from guerdon.audit.report.svg import Dots, Frame, Line, chart, envelope, smooth

LONG = 400  # draws beyond which a curve is drawn as its envelope
BUCKETS, SPAN = 240, 9  # the envelope's pieces, and how many of them the line averages
SMALL, NARROW, WIDE, HALF = (340, 176), (340, 220), (1040, 290), (510, 270)


class Key(NamedTuple):
    """An entry of a chart's legend."""

    colour: str
    text: str


@dataclass(frozen=True)
class Panel:
    """A chart with its words.

    Args:
        title: What it shows.
        svg: The drawing.
        unit: Of its y axis.
        note: One half-sentence that says what it means.
        keys: What the colours mean, where there are several.
    """

    title: str
    svg: Markup
    unit: str = ""
    note: str = ""
    keys: tuple[Key, ...] = ()


class Small(NamedTuple):
    """One small chart: a draw metric, the same of evaluations, and its words."""

    name: str
    title: str
    unit: str
    note: str
    colour: str = "policy"
    zero: bool = True
    ceiling: float | None = None


POLICY = (
    Small("kl", "KL to the reference", "nats per sample", "how far the policy has moved; 0 is where it started", zero=True),
    Small("kl_dim", "KL per dimension", "nats per step", "comparable between sizes and numbers of steps"),
    Small("entropy", "Entropy", "nats per step", "how open its choices are; 0 would be no choice at all"),
    Small("distinct_2", "Distinct-2", "share", "different token pairs among all; lower means more alike", ceiling=1.0),
    Small("distinct_1", "Distinct-1", "share", "different tokens among all", ceiling=1.0),
    Small("length", "Length", "steps", "what the policy chose per answer"),
    Small("terminal", "Ended by itself", "share", "answers that were not cut off", ceiling=1.0),
    Small("episode/length", "Episode length", "steps", "how long the episodes last"),
    Small("episode/terminated", "Ended by itself", "share", "episodes that no time limit cut off", ceiling=1.0),
    Small(
        "differential_entropy",
        "Differential entropy",
        "nats per step",
        "how wide its actions spread; below 0 is narrow",
        zero=False,
    ),
    Small("groups/dead", "Groups without signal", "share", "all answers to a context got the same reward", ceiling=1.0),
    Small("reward/ok", "Scored", "share", "answers the reward could score", ceiling=1.0),
    Small("reward/uncertainty", "Uncertainty", "", "how far the reward's members disagree on the answers", "reward"),
    Small("reward/std", "Spread of the reward", "", "standard deviation between the answers of a draw", "reward"),
    Small("shaped/mean", "Reward after transforms", "", "what the learners were given", "reward", zero=False),
    Small("mismatch/mean", "Sampler against trainer", "nats", "mean difference of their log-probs; 0 is perfect"),
    Small("clipped", "Clipped", "share", "steps whose ratio left the trust region", ceiling=1.0),
)


def responsive(draw: Callable[[tuple[int, int]], Markup], wide: tuple[int, int] = WIDE) -> Markup:
    """The same chart for wide and for narrow screens; the page's style shows one of them."""
    big = draw(wide)
    if not big:
        return Markup("")
    return Markup('<div class="wide">{}</div><div class="narrow">{}</div>').format(big, draw(NARROW))


def trend(history: History, name: str, colour: str, end: bool = True) -> list[Line]:
    """A draw metric as a curve: every draw pale, a moving average over it; long runs as an envelope."""
    steps, values = history.metric(name)
    if not len(values):
        return []
    x = steps.astype(float)
    if len(values) > LONG:
        middle, mean, lo, hi = envelope(x, values, BUCKETS)
        return [Line(middle, smooth(mean, SPAN), colour, lo, hi, end=end)]
    window = window_of(len(values))
    return [Line(x, smooth(values, window), colour, raw=(x, values) if window > 1 else None, end=end)]


def window_of(draws: int) -> int:
    """Draws of the moving average."""
    return 1 if draws < 12 else max(3, draws // 15 | 1)


def readings(
    evals: Sequence[Evaluation], of: Of, colour: str, name: str, label: str = "", join: Literal["", "line", "raw"] = ""
) -> list[Dots]:
    """Evaluations as dots with their 95\u00a0% intervals."""
    chosen = [e for e in evals if name in e.metrics]
    if not chosen:
        return []
    if len(chosen) > 200:
        chosen = [chosen[i] for i in np.unique(np.linspace(0, len(chosen) - 1, 200).astype(int))]
    found = [mean_of(e, of) for e in chosen]
    ends = [f" (95\u00a0% interval {t})" if (t := interval(i.lo, i.hi)) else "" for i in found]
    titles = [f"after {count(e.step)} draws: {number(i.mean)}{t}" for e, i, t in zip(chosen, found, ends, strict=True)]
    return [
        Dots(
            np.array([float(e.step) for e in chosen]), np.array([i.mean for i in found]), colour,
            np.array([i.lo for i in found]), np.array([i.hi for i in found]), join, titles, label,
        )
    ]  # fmt: skip


def reward_chart(history: History) -> Markup:
    """The training reward over the run."""
    dots = readings(history.evals, "reward", "reward", "proxy/mean", " ")
    marks: list[Line | Dots] = [*trend(history, "reward/mean", "reward", end=not dots), *dots]
    _, values = history.evaluated("proxy/mean")
    level = float(values[0]) if len(values) else None

    def draw(size: tuple[int, int]) -> Markup:
        frame = Frame(
            *size, about="Training reward by draw", level=level, level_label="at the start" if level is not None else ""
        )
        return chart(marks, frame)

    return responsive(draw)


def part_panels(history: History, limit: int = 9) -> list[Panel]:
    """One small chart for each named part of the reward."""
    names = sorted(n for n in history.metrics if n.startswith("part/"))[:limit]
    panels = [
        Panel(n[5:], chart(trend(history, n, "reward"), Frame(*SMALL, about=f"Part {n[5:]} of the reward by draw")))
        for n in names
    ]
    return [p for p in panels if p.svg]


def policy_panels(history: History) -> list[Panel]:
    """Small charts of what the policy does: distance, entropy, diversity, length and so on, where known."""
    panels = []
    denoised = "kl_dim" in history.metrics or bool(history.grids)
    for s in POLICY:
        if s.name == "reward/ok" and not history.failures:
            continue
        if denoised and (s.name == "differential_entropy" or _constant(history, s.name)):
            continue  # given by the noise schedule, not by the policy
        evaluated = s.name in ("kl", "entropy", "length", "terminal")  # distinct-n depends on how many answers are pooled
        dots = readings(history.evals, s.name, s.colour, s.name, " ") if evaluated else []  # type: ignore[arg-type]
        marks: list[Line | Dots] = [*trend(history, s.name, s.colour, end=not dots), *dots]
        frame = Frame(*SMALL, about=f"{s.title} by draw", zero=s.zero, ceiling=s.ceiling)
        if svg := chart(marks, frame):
            note = s.note.replace("answers", "episodes, or parts of them,") if "episode/count" in history.metrics else s.note
            note = note.replace("per answer", "per sample").replace("answers", "samples") if denoised else note
            panels.append(Panel(s.title, svg, s.unit, note))
    return [*panels, *displacement_panel(history)]


def _constant(history: History, name: str) -> bool:
    """Whether a length never changed: the number of noisy steps, as the plan says it."""
    _, values = history.metric(name)
    return name == "length" and len(set(values.tolist())) < 2


def displacement_panel(history: History) -> list[Panel]:
    """Where the log-prob of preferred and other answers has gone since the reference, for learners on pairs."""
    marks: list[Line | Dots] = []
    for side, colour in (("chosen", "policy"), ("rejected", "plain")):
        name = next((n for n in sorted(history.metrics) if n.startswith("displacement/") and n.endswith(side)), None)
        marks += trend(history, name, colour) if name else []
    frame = Frame(*SMALL, about="Log-prob of preferred and other answers against the reference, by draw", level=0.0)
    keys = (Key("policy", "preferred"), Key("plain", "others"))
    note = "both often fall; the preferred ones should not fall far"
    return [Panel("Likelihood of the answers compared", svg, "nats", note, keys)] if (svg := chart(marks, frame)) else []


def learner_panels(history: History, limit: int = 12) -> list[Panel]:
    """Losses, gradient norms and learning rates of every learner."""
    words = {"loss": "Loss", "grad_norm": "Gradient norm", "lr": "Learning rate"}
    names = [n for head in words for n in sorted(history.metrics) if n.split("/")[0] == head]
    panels = []
    for n in names[:limit]:
        head, _, tail = n.partition("/")
        frame = Frame(*SMALL, about=f"{words[head]} of {tail} by draw", zero=head != "loss")
        panels.append(Panel(f"{words[head]}{f' · {tail}' if tail else ''}", chart(trend(history, n, "plain"), frame)))
    return [p for p in panels if p.svg]


def time_chart(history: History) -> Markup:
    """Seconds per draw."""
    phases = list(history.seconds.values())
    if not phases:
        return Markup("")
    total = np.nansum(phases, 0)
    timed = History(history.path, steps=history.steps, metrics={"seconds": total})
    return chart(trend(timed, "seconds", "plain"), Frame(*SMALL, about="Seconds by draw", zero=True))
