"""What the page of a run in a world says in place of what it says of texts: returns, episodes, environment steps."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from guerdon.audit.events import History
from guerdon.audit.formats import count, interval, number, percent, plural
from guerdon.audit.outcome import Change, Of
from guerdon.audit.report.charts import BUCKETS, LONG, SPAN, Key, Panel, responsive, window_of
from guerdon.audit.report.svg import Dots, Floats, Frame, Line, chart, envelope, smooth

QUARTILES = ("episode/return_q25", "episode/return_q75")


def in_a_world(history: History) -> bool:
    """Whether the run acted in a world, so that it has episodes and returns."""
    return "episode/count" in history.metrics or any("episode/return" in e.metrics for e in history.evals)


def pays_itself(history: History) -> bool:
    """Whether what was trained on is what the world pays, so that there is no other reward to speak of."""
    if not in_a_world(history):
        return False
    if any("held_out/mean" in e.metrics for e in history.evals):
        return False
    scored = [e.metrics for e in history.evals if "proxy/mean" in e.metrics and "episode/return" in e.metrics]
    if scored:
        return all(math.isclose(m["proxy/mean"], m["episode/return"], rel_tol=1e-3, abs_tol=1e-6) for m in scored)
    return "reward/mean" not in history.metrics


def environment_steps(history: History) -> int | None:
    """Environment steps of the run so far; None where they were not counted."""
    _, steps = history.metric("env/steps")
    return int(steps[-1]) if len(steps) else None


def episodes_seen(history: History) -> int:
    """Episodes that ended during training."""
    counts = history.metrics.get("episode/count")
    return 0 if counts is None else int(np.nansum(counts))


def size_of(history: History) -> str:
    """How much was done, in brackets behind the draws.

    >>> from pathlib import Path
    >>> size_of(History(Path("events.jsonl")))
    ''
    """
    steps, episodes = environment_steps(history), episodes_seen(history)
    parts = [plural(steps, "environment step")] if steps else []
    parts += [plural(episodes, "episode")] if episodes else []
    return f" ({', '.join(parts)})" if parts else ""


def verdict(changes: Mapping[Of, Change]) -> tuple[str, str]:
    """(tone, sentence) on a run that is paid by its world."""
    gain = changes["return"]
    if not gain:
        return "neutral", "No episode came to its end, so there is no return to judge by."
    if gain.direction == "rose":
        return "good", "The return rose."
    if gain.direction == "fell":
        return "bad", "The return fell."
    if gain.direction == "unclear":
        return "neutral", "No clear change: the interval of the return's difference includes zero."
    moved = "Too few episodes to say whether the return changed."
    return "neutral", "One reading of the return: nothing to compare it with." if math.isnan(gain.difference.mean) else moved


# ---------------------------------------------------------------- the learning curve
def learning_curve(history: History) -> Panel | None:
    """Returns over environment steps: of training episodes as a line with the band of their middle half, evaluations as dots."""
    line, dots = training_line(history), evaluation_dots(history)
    marks: list[Line | Dots] = [*line, *dots]
    known = environment_steps(history) is not None
    label = "environment steps" if known else "draws"

    def draw(size: tuple[int, int]) -> object:
        short = label if size[0] > 400 or not known else "steps"
        return chart(marks, Frame(*size, x_label=short, about=f"Return by {label}"))

    svg = responsive(draw)  # type: ignore[arg-type]
    if not svg:
        return None
    keys = (Key("reward", "episodes of training"), Key("held", "evaluation")) if line and dots else ()
    return Panel(f"Return by {label}", svg, note=_reading(bool(line), history, bool(dots)), keys=keys)


def places(history: History, steps: np.ndarray) -> Floats:
    """Where draws lie on the axis: environment steps done by then, or the draws themselves where these were not counted."""
    at, taken = history.metric("env/steps")
    if not len(at):
        return steps.astype(float)
    found = np.searchsorted(at, steps, side="right") - 1
    return np.where(found >= 0, taken[np.clip(found, 0, None)], 0.0)


def training_line(history: History) -> list[Line]:
    """Mean return of the episodes that ended in each draw, averaged over neighbouring draws by their number of episodes."""
    steps, mean = history.metric("episode/return")
    if not len(mean):
        return []
    row = np.searchsorted(history.steps, steps)
    n = _column(history, "episode/count", row, 1.0)
    lo, hi = (_column(history, name, row, math.nan) for name in QUARTILES)
    x = places(history, steps)
    if len(x) > LONG:
        total = envelope(x, n, BUCKETS)[1]
        middle = envelope(x, mean, BUCKETS)[0]
        mean, lo, hi = (envelope(x, v * n, BUCKETS)[1] / total for v in (mean, lo, hi))
        x, n, window = middle, total, SPAN
    else:
        window = window_of(len(x))
    weight = smooth(n, window)
    mean, lo, hi = (smooth(v * n, window) / weight for v in (mean, lo, hi))
    wide = bool(np.median(n) >= 4)  # quartiles of two episodes are the two episodes
    return [Line(x, mean, "reward", lo if wide else None, hi if wide else None)]


def _column(history: History, name: str, row: np.ndarray, missing: float) -> Floats:
    values = history.metrics.get(name)
    return np.full(len(row), missing) if values is None else np.where(np.isfinite(values[row]), values[row], missing)


def evaluation_dots(history: History) -> list[Dots]:
    """Mean returns of the evaluations, with 95 % intervals over their episodes."""
    from guerdon.audit.outcome import mean_of

    chosen = [e for e in history.evals if "episode/return" in e.metrics]
    if not chosen:
        return []
    if len(chosen) > 200:
        chosen = [chosen[i] for i in np.unique(np.linspace(0, len(chosen) - 1, 200).astype(int))]
    found = [mean_of(e, "return") for e in chosen]
    x = places(history, np.array([e.step for e in chosen]))
    ends = [f" (95\u00a0% interval {t})" if (t := interval(i.lo, i.hi)) else "" for i in found]
    titles = [f"after {count(v)} steps: {number(i.mean)}{t}" for v, i, t in zip(x, found, ends, strict=True)]
    lo, hi = np.array([i.lo for i in found]), np.array([i.hi for i in found])
    return [Dots(x, np.array([i.mean for i in found]), "held", lo, hi, "raw", titles, " ")]


def _reading(line: bool, history: History, dots: bool) -> str:
    """How to read the curve."""
    window = SPAN * len(history) // BUCKETS if len(history) > LONG else window_of(len(history))
    parts = []
    if line:
        over = f"averaged over about {plural(window, 'draw')}" if window > 1 else "by draw"
        counts = history.metrics.get("episode/count")
        wide = counts is not None and np.nanmedian(counts) >= 4
        band = "; band: the middle half of the episodes" if wide else ""
        parts.append(f"Line: mean return of the episodes that ended, {over}{band}.")
    if dots:
        n = next((round(e.metrics["episode/count"]) for e in reversed(history.evals) if "episode/count" in e.metrics), 0)
        of = f" of {plural(n, 'episode')}" if n else ""
        parts.append(f"Dots: evaluations{of} from the same starts each time, with 95\u00a0% intervals.")
    return " ".join(parts)


# ---------------------------------------------------------------- figures at the head of the page
def length_lines(history: History) -> tuple[str, tuple[str, ...]] | None:
    """(episode length at the end, lines beneath it); None where no episode ended."""
    evals = [e.metrics for e in history.evals if "episode/length" in e.metrics]
    _, drawn = history.metric("episode/length")
    if len(evals) >= 2:
        first, last = evals[0]["episode/length"], evals[-1]["episode/length"]
        ended = evals[-1].get("episode/terminated")
    elif len(drawn):
        window = max(1, min(20, len(drawn) // 5))
        first, last = float(drawn[:window].mean()), float(drawn[-window:].mean())
        ended = None
    else:
        return None
    cut = (f"{percent(1 - ended)} cut off at a limit",) if ended is not None and ended < 1 else ()
    return number(last), (f"from {number(first)} steps", *cut)


def steps_lines(history: History) -> tuple[str, tuple[str, ...]] | None:
    """(environment steps, lines beneath them); None where they were not counted."""
    steps = environment_steps(history)
    if not steps:
        return None
    episodes = episodes_seen(history)
    lines = (plural(episodes, "episode") + " ended",) if episodes else ()
    speed = steps / history.elapsed if history.elapsed > 0 else 0.0
    return count(steps), (*lines, *((f"{count(float(f'{speed:.2g}'))} a second",) if speed >= 1 else ()))
