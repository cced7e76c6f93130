"""The head of the page: its figures and its findings."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from guerdon.audit.checks import SeriesCheck, checks_of
from guerdon.audit.events import History
from guerdon.audit.formats import count, fixed, interval, number, percent, plural, visible
from guerdon.audit.outcome import Change, best_of_n
from guerdon.audit.report import control, pictures
from guerdon.audit.report.summary import Facts, diversity, plan_of
from guerdon.audit.series import draws_of, evals_of
from guerdon.core.protocols import Finding

SHOWN_FINDINGS = 20
_LEVELS = ("error", "warning", "info")


class Tile(NamedTuple):
    """A figure at the head of the page: a name, one number, two lines beneath, and a word with a tone."""

    name: str
    value: str
    lines: tuple[str, ...] = ()
    word: str = ""
    tone: str = "neutral"
    unit: str = ""


def tiles_of(facts: Facts) -> list[Tile]:
    """The four or five figures at the head of the page."""
    told = {f.check for f in facts.findings if f.level != "info"}
    tiles = _world_tiles(facts) if facts.world else []
    if not facts.pays_itself:
        tiles.append(_reward_tile("Reward", facts.changes["reward"]))
    if facts.changes["held_out"]:
        tiles.append(_reward_tile("Held-out reward", facts.changes["held_out"]))
    elif not facts.world:
        tiles.append(Tile("Held-out reward", "–", ("none in this run",), "not measured"))
    kl = facts.changes["kl"]
    if kl:
        n = best_of_n(kl.after.mean)
        like = f"as far as picking the best of {count(float(f'{n:.2g}'))}" if n and n > 1 else ""
        word, tone = ("over budget", "bad") if "KLBudget" in told else ("within budget", "neutral")
        tiles.append(Tile("KL to the reference", number(kl.after.mean), (like,) if like else (), word, tone, "nats"))
    elif not facts.world:
        tiles.append(Tile("KL to the reference", "–", ("no reference in this run",), "not measured"))
    name, spread = diversity(facts.changes)
    if spread and math.isfinite(spread.kept):
        word, tone = ("lost", "bad") if "DiversityLoss" in told else ("kept", "good" if spread.kept >= 0.9 else "neutral")
        lines: tuple[str, ...] = (f"{name} from {number(spread.before.mean)}", f"to {number(spread.after.mean)}")
        tiles.append(Tile("Diversity", percent(spread.kept), lines, word, tone))
    tiles += _picture_tiles(facts.history, told)
    serious = [f for f in facts.findings if f.level != "info"]
    names = sorted({f.check for f in serious}, key=lambda c: min(_LEVELS.index(f.level) for f in serious if f.check == c))
    lines = tuple(_words(n) for n in names[:2]) or ("by the checks below",)
    word, tone = (
        ("look below", "bad") if names else ("nothing found", "good") if facts.state != "empty" else ("not judged", "neutral")
    )
    tiles.append(Tile("Findings", str(len(names)), lines, word, tone))
    return tiles


def _world_tiles(facts: Facts) -> list[Tile]:
    """Return, episode length and environment steps of a run in a world."""
    tiles = [_reward_tile("Return", facts.changes["return"], "no episode ended")]
    for name, found in (
        ("Episode length", control.length_lines(facts.history)),
        ("Environment steps", control.steps_lines(facts.history)),
    ):
        if found is not None:
            tiles.append(Tile(name, found[0], found[1], unit="steps" if name == "Episode length" else ""))
    return tiles


def _picture_tiles(history: History, told: set[str]) -> list[Tile]:
    """Where samples lie, and how much they still differ."""
    outside, tiles = pictures.ends_of(history, "off_data/outside"), []
    if outside:
        word, tone = (
            ("left the data", "bad") if "OffData" in told else ("near the data", "good" if outside.after < 0.05 else "neutral")
        )
        lines = (f"of the samples, {percent(outside.before)} at first", "of real pictures, 1\u00a0%")
        tiles.append(Tile("Outside the data", percent(outside.after), lines, word, tone))
    name, spread = pictures.variety(history)
    if spread and math.isfinite(spread.kept):
        word, tone = ("lost", "bad") if "SampleCollapse" in told else ("kept", "good" if spread.kept >= 0.9 else "neutral")
        lines = (f"{name} from {number(spread.before)}", f"to {number(spread.after)}")
        tiles.append(Tile("Diversity", percent(spread.kept), lines, word, tone))
    return tiles


def _reward_tile(name: str, c: Change, missing: str = "never scored") -> Tile:
    if not c:
        return Tile(name, "–", (missing,), "not measured")
    d = c.decimals
    if c.step_after <= c.step_before:
        ends = interval(c.after.lo, c.after.hi, d)
        return Tile(name, fixed(c.after.mean, d), (f"95\u00a0% interval {ends}",) if ends else ("one reading",))
    words = {
        "rose": ("rose", "good"),
        "fell": ("fell", "bad"),
        "unclear": ("no clear change", "neutral"),
        "unknown": ("", "neutral"),
    }
    word, tone = words[c.direction]
    ends = interval(c.difference.lo, c.difference.hi, d)
    lines = (f"from {fixed(c.before.mean, d)}", fixed(c.difference.mean, d, sign=True) + (f" ({ends})" if ends else ""))
    return Tile(name, fixed(c.after.mean, d), lines, word, tone)


def tiles_note(facts: Facts) -> str:
    """Where the figures come from."""
    c = (facts.changes["return"] if facts.world else Change()) or facts.changes["reward"] or facts.changes["held_out"]
    if not c or c.step_after <= c.step_before:
        return ""
    brackets = " In brackets: 95\u00a0% intervals of the difference." if math.isfinite(c.difference.lo) else ""
    if c.source == "evaluation":
        n = (
            f" of {count(c.after.n)} {'episodes' if facts.world else 'samples' if facts.pictures else 'answers'}"
            if c.after.n
            else ""
        )
        of = "from the same starts" if facts.world else "to the same contexts"
        when = "before training" if c.step_before == 0 else f"after {plural(c.step_before, 'draw')}"
        return f"From evaluations{n} {of} {when} and after {plural(c.step_after, 'draw')}.{brackets}"
    ends = "the first draw and the last" if c.draws == 1 else f"the first {c.draws} draws and the last {c.draws}"
    if facts.world:
        return f"From the episodes of {ends}.{brackets}"
    what = "samples" if facts.pictures else "answers"
    return f"From the training {what} of {ends}; the contexts may differ.{brackets}"


def _words(camel: str) -> str:
    """A check's name as words.

    >>> _words("HeldOutDivergence"), _words("KLBudget")
    ('held-out divergence', 'KL budget')
    """
    parts = re.findall(r"[A-Z]+(?=[A-Z][a-z])|[A-Z][a-z]*|[a-z0-9]+", camel)
    text = " ".join(p if p.isupper() and len(p) > 1 else p.lower() for p in parts) or camel
    return text.replace("held out", "held-out").replace("not finite", "updates not finite")


@dataclass(frozen=True)
class FindingCard:
    """All findings of one check: the gravest in full, the rest as lines of a course."""

    name: str
    level: str
    message: str
    evidence: tuple[tuple[str, str], ...]
    advice: str
    course: tuple[tuple[str, str], ...]


def finding_cards(found: Sequence[Finding]) -> list[FindingCard]:
    """One card for each check that found something, the gravest first."""
    by_check: dict[str, list[Finding]] = {}
    for f in found:
        by_check.setdefault(f.check, []).append(f)
    cards = []
    for check, many in by_check.items():
        grave = min(many, key=lambda f: (_LEVELS.index(f.level), -(f.step or 0)))
        evidence = tuple((visible(str(k)), _value(v)) for k, v in grave.evidence.items())
        course = tuple((_at(f.step), visible(f.message)) for f in many if f is not grave)[:6]
        message = grave.message if grave.step is None else f"{grave.message.rstrip('.')} (draw {count(grave.step)})."
        cards.append(FindingCard(visible(_words(check)), grave.level, visible(message), evidence, visible(grave.advice), course))
    return sorted(cards, key=lambda c: _LEVELS.index(c.level))[:SHOWN_FINDINGS]


def _value(v: Any) -> str:
    """A piece of evidence as text."""
    if isinstance(v, bool | str) or not isinstance(v, int | float):
        return visible(str(v))
    return count(v).replace("-", "−") if float(v).is_integer() and abs(v) < 1e6 else number(v)


def _at(step: int | None) -> str:
    return "" if step is None else f"draw {count(step)}"


def checked(history: History) -> tuple[list[str], list[str]]:
    """(what was looked for, what could not be judged) in words."""
    draws, evals = draws_of(history), evals_of(history)
    world, drawn = control.in_a_world(history), pictures.drawn(history)
    yes: list[str] = []
    no: list[str] = []
    for c in checks_of(plan_of(history)):
        judged = c.judged(evals if c.of == "evaluations" else draws)
        if world and not judged and not _of_worlds(c, history):
            continue
        if not judged and not _of_this_kind(c, drawn):
            continue
        about = c.about.replace("answers", "episodes") if world else c.about.replace("answers", "samples") if drawn else c.about
        (yes if judged else no).append(about)
    return yes, no


def _of_this_kind(check: SeriesCheck, drawn: bool) -> bool:
    """Whether a check looks at what a run of pictures, or one of texts, logs; of the other kind nothing need be said."""
    first = check.reads[0] if check.reads else ""
    return not first.startswith(("distinct", "entropy")) if drawn else not first.startswith(("off_data/", "diversity/"))


def _of_worlds(check: SeriesCheck, history: History) -> bool:
    """Whether a run in a world logs what a check looks at first; what it does not log is of texts and their rewards."""
    if check.of == "evaluations":
        return any("held_out/mean" in e.metrics for e in history.evals)
    return bool(check.reads) and any(name.startswith(check.reads[0].rstrip("*")) for name in history.metrics)
