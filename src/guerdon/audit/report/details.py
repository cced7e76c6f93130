"""The page's samples and tables: answers side by side, plan, failures, time, origin."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
import yaml

from guerdon.audit.events import Evaluation, History, Sample
from guerdon.audit.formats import clip, count, decimals_of, duration, fixed, percent, plural, visible
from guerdon.audit.report.summary import Facts, plan_of

SHOWN_SAMPLES, PLAN_CHARACTERS = 8, 60_000


class Text(NamedTuple):
    """One answer as shown."""

    output: str
    hidden: int
    scores: tuple[tuple[str, str], ...]
    failed: str


@dataclass(frozen=True)
class Pair:
    """A context with the answer before and the one after; either may be missing."""

    context: str
    before: Text | None
    after: Text | None


@dataclass(frozen=True)
class Samples:
    """Answers side by side, and where they come from; ``context`` is the one they all share, None where they differ."""

    pairs: tuple[Pair, ...] = ()
    before_label: str = ""
    after_label: str = ""
    note: str = ""
    context: str | None = None


def samples_of(history: History, limit: int = SHOWN_SAMPLES, characters: int = 1200) -> Samples:
    """The same contexts before and after; from training draws where there was no evaluation."""
    with_text = [e for e in history.evals if e.samples]
    source = "the evaluations, same contexts each time"
    if not with_text:
        with_text, source = list(history.samples), "training draws, so contexts may differ"
    if not with_text:
        return Samples()
    first, last = with_text[0], with_text[-1]
    before = "Before training" if first.step == 0 else f"After {plural(first.step, 'draw')}"
    if first is last:
        pairs = [Pair(visible(s.context, 600), _text(s, characters), None) for s in first.samples[:limit]]
        return Samples(tuple(pairs), before, "", f"From {source}; shown in their order, not chosen.")
    pairs = _paired(first, last, limit, characters)
    shared = pairs[0].context if len(pairs) > 1 and len({p.context for p in pairs}) == 1 else None
    of = f"The first {len(pairs)} of {len(last.samples)} kept rows" if len(last.samples) > len(pairs) else "All kept rows"
    return Samples(
        tuple(pairs), before, f"After {plural(last.step, 'draw')}", f"{of} from {source}; in their order, not chosen.", shared
    )


def peak_samples(history: History, limit: int = 4, characters: int = 600) -> Samples:
    """Answers at the best held-out reward beside those at the end: what was lost.

    Empty where the best is the last or the first, which the page's other samples show, or its texts were not kept.
    """
    known = [e for e in history.evals if "held_out/mean" in e.metrics]
    if len(known) < 3:
        return Samples()
    best = max(known, key=lambda e: (e.metrics["held_out/mean"], -e.step))
    last = known[-1]
    if not best.samples or not last.samples or best in (known[0], last):
        return Samples()
    pairs = _paired(best, last, limit, characters)
    shared = pairs[0].context if len(pairs) > 1 and len({p.context for p in pairs}) == 1 else None
    labels = f"Best held-out reward, after {plural(best.step, 'draw')}", f"At the end, after {plural(last.step, 'draw')}"
    note = "The same contexts at the best held-out reward and at the end, in their order, not chosen."
    return Samples(tuple(pairs), *labels, note, shared)


def _paired(first: Evaluation, last: Evaluation, limit: int, characters: int) -> list[Pair]:
    later: dict[str, list[Sample]] = {}
    for s in last.samples:
        later.setdefault(s.context, []).append(s)
    pairs = []
    for s in first.samples[:limit]:
        match = later.get(s.context)
        pairs.append(Pair(visible(s.context, 600), _text(s, characters), _text(match.pop(0), characters) if match else None))
    rest = [s for many in later.values() for s in many]
    pairs += [Pair(visible(s.context, 600), None, _text(s, characters)) for s in rest[: max(0, limit - len(pairs))]]
    return pairs


def _text(s: Sample, characters: int) -> Text:
    output, hidden = clip(s.output.strip(), characters)
    named = [("reward", s.reward), ("held-out", s.held_out), *(list(s.parts.items())[:6] if len(s.parts) > 1 else ())]
    scores = [(visible(k, 40), fixed(v, decimals_of(math.nan, v, 1.0))) for k, v in named if v is not None]
    failed = "" if s.ok else s.reason or "could not be scored"
    return Text(visible(output), hidden + s.hidden, tuple(scores), visible(failed))


class PlanView(NamedTuple):
    """The plan as a short table and in full."""

    rows: tuple[tuple[str, str], ...]
    text: str
    cut: int


def plan_view(history: History, fallback: Mapping[str, Any] | None) -> PlanView:
    """The plan as it was run; from the folder's plan.yaml where the events do not hold it."""
    plan = plan_of(history) or fallback or {}
    rows = tuple(
        (str(k).replace("_", " "), clip(brief(v), 300)[0]) for k, v in list(plan.items())[:40] if v not in (None, {}, [], ())
    )
    text = yaml.safe_dump(dict(plan), sort_keys=False, allow_unicode=True, width=100) if plan else ""
    text, cut = clip(text, PLAN_CHARACTERS)
    return PlanView(tuple((k, visible(v)) for k, v in rows), visible(text), cut)


def brief(tree: Any) -> str:
    """A part of a plan in one line.

    >>> brief({"use": "objectives.PolicyGradient", "clip": 0.2})
    'PolicyGradient(clip=0.2)'
    >>> brief(["transforms.Center", {"use": "transforms.Clip", "hi": 1}])
    'Center → Clip(hi=1)'
    """
    if isinstance(tree, Mapping):
        if "use" in tree:
            name, inner = _name(str(tree["use"])), ", ".join(f"{k}={_argument(v)}" for k, v in tree.items() if k != "use")
            return f"{name}({inner})" if inner else name
        return ", ".join(f"{k}: {_argument(v)}" for k, v in tree.items())
    if isinstance(tree, list | tuple):
        atoms = any(isinstance(v, Mapping) or (isinstance(v, str) and _dotted(v)) for v in tree)
        if atoms:
            return " → ".join(brief(v) for v in tree)
        return ", ".join(brief(v) for v in tree[:4]) + (f" … ({len(tree)} in all)" if len(tree) > 4 else "")
    if isinstance(tree, str):
        return _name(tree) if _dotted(tree) else clip(tree, 80)[0] or '""'
    return str(tree)


def _argument(tree: Any) -> str:
    return f"{{{brief(tree)}}}" if isinstance(tree, Mapping) and "use" not in tree else brief(tree)


def _dotted(text: str) -> bool:
    return bool(re.fullmatch(r"[a-z_]+(\.[A-Za-z_]\w*)+", text)) and text.rsplit(".", 1)[-1][:1].isupper()


def _name(dotted: str) -> str:
    """The telling part of a dotted name: ``policies.CausalLM.from_pretrained`` is a ``CausalLM``."""
    parts = [p for p in dotted.split(".") if p[:1].isupper()]
    return parts[0] if parts else dotted


@dataclass(frozen=True)
class Bars:
    """A table with a bar in each row: (name, explanation, value text, share, second value text)."""

    rows: tuple[tuple[str, str, str, float, str], ...] = ()
    facts: tuple[tuple[str, str], ...] = field(default_factory=tuple)


def failure_bars(history: History) -> Bars:
    """Reasons why rows could not be scored, with their counts."""
    total = sum(history.failures.values())
    rows = tuple((visible(r), "", count(n), n / total, percent(n / total)) for r, n in history.failures.items()) if total else ()
    return Bars(rows)


_PHASES = {
    "sample": "the policy answers", "reward": "answers are scored", "reference": "what references say of them",
    "value": "critics estimate returns", "credit": "transforms, selection, advantages", "update": "learners learn",
    "evaluate": "held-out evaluation", "checkpoint": "the state is saved", "read": "given answers are read",
    "frames": "pictures are made for this page",
    "not timed": "start, logging and anything else",
}  # fmt: skip


_WORLD_PHASES = {"sample": "the policy acts in the world", "reward": "rewards are read or computed"}


def time_bars(history: History, world: bool = False) -> Bars:
    """Seconds by phase, and what is left of the time at work."""
    words = {**_PHASES, **(_WORLD_PHASES if world else {})}
    totals = {k: float(np.nansum(v)) for k, v in history.seconds.items()}
    known = sum(totals.values())
    rest = history.elapsed - known
    if known and rest > 0.005 * history.elapsed:
        totals["not timed"] = rest
    whole = sum(totals.values())
    order = sorted(((k, v) for k, v in totals.items() if v > 0), key=lambda kv: (kv[0] == "not timed", -kv[1]))
    rows = tuple((visible(k), words.get(k, ""), duration(v), v / whole, percent(v / whole)) for k, v in order)
    facts = [("at work", duration(history.elapsed))] if history.elapsed else []
    if history.elapsed and history.draws:
        facts.append(("per draw", duration(history.elapsed / history.draws)))
    return Bars(rows if whole else (), tuple(facts))


class Paper(NamedTuple):
    """A reference; ``url`` is "" unless the identifier is a real arXiv one."""

    title: str
    arxiv: str
    url: str
    used_for: str


def papers(history: History) -> list[Paper]:
    """Where the methods of this run come from."""
    listed = history.start.get("references")
    out = []
    for r in listed[:60] if isinstance(listed, list) else ():
        if isinstance(r, Mapping):
            number = str(r.get("arxiv") or "")[:40]
            url = f"https://arxiv.org/abs/{number}" if re.fullmatch(r"\d{4}\.\d{4,5}(v\d+)?", number) else ""
            out.append(
                Paper(visible(str(r.get("title") or ""))[:300], visible(number), url, visible(str(r.get("used_for") or ""))[:200])
            )
    return out


def origin(facts: Facts) -> list[tuple[str, str]]:
    """What it takes to repeat the run."""
    h, start = facts.history, facts.history.start
    versions = start.get("versions")
    rows = [("seed", start.get("seed")), ("plan hash", start.get("hash")), ("device", start.get("device"))]
    if isinstance(start.get("parameters"), int):
        trained = start.get("trainable")
        of = f", {trained:,} trained" if isinstance(trained, int) and trained != start["parameters"] else ""
        rows.append(("parameters", f"{start['parameters']:,}{of}"))
    if math.isfinite(h.began) and 0 < h.began < 32503680000:
        began = datetime.fromtimestamp(h.began, UTC)
        rows.append(("started", f"{began.day} {began:%B %Y, %H:%M} UTC"))
    if isinstance(versions, Mapping):
        rows.append(("versions", ", ".join(f"{k} {v}" for k, v in list(versions.items())[:30])))
    best = (h.end or {}).get("best_step")
    if isinstance(best, int):
        rows.append(("saved policy", f"that of draw {best:,}, the best evaluation" if h.evals else f"that of draw {best:,}"))
    if h.end is not None:
        rows.append(("ended", str(h.end.get("reason") or "finished")))
    rows.append(("resumed", plural(h.restarts, "time") if h.restarts else "never"))
    if h.unread:
        rows.append(("unread", f"{plural(h.unread, 'line')} of events.jsonl could not be read"))
    return [(k, visible(str(v))[:600]) for k, v in rows if v is not None]
