"""The run in numbers and sentences: what summary.json holds and what the page's head says."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from guerdon.audit.checks import all_findings
from guerdon.audit.events import History
from guerdon.audit.formats import duration, fixed, number, percent, plain, plural
from guerdon.audit.measures import Interval
from guerdon.audit.outcome import Change, Of, change
from guerdon.audit.overoptimisation import RLCurve, rl_curve
from guerdon.audit.report import control, pictures
from guerdon.audit.verdict import HackingVerdict, hacking
from guerdon.core.protocols import Finding

State = Literal["finished", "stopped early", "not ended", "empty"]


class Verdict(NamedTuple):
    """One sentence on the whole run; ``tone`` colours it."""

    tone: Literal["good", "bad", "neutral"]
    text: str


class Facts(NamedTuple):
    """What the page and summary.json are made from.

    ``world``: the run acted in a world; ``pays_itself``: and what that pays is all it was trained on. ``pictures``: it makes
    pictures.
    """

    history: History
    name: str
    task: str
    state: State
    planned: int | None
    changes: dict[Of, Change]
    findings: list[Finding]
    verdict: Verdict
    headline: str
    hacking: HackingVerdict
    world: bool = False
    pays_itself: bool = False
    pictures: bool = False


def facts_of(history: History) -> Facts:
    """Everything that is said about a run, worked out once."""
    plan = plan_of(history)
    changes: dict[Of, Change] = {of: change(history, of) for of in get_args(Of)}
    found = all_findings(history)
    steps = plan.get("steps")
    planned = steps if isinstance(steps, int) and not isinstance(steps, bool) and steps >= 0 else None
    name = str(plan.get("name") or history.path.resolve().parent.name or "run")[:120]
    name = history.path.resolve().parent.name if name == "run" else name
    task = str(history.start.get("task") or "").strip()[:300]
    state = state_of(history)
    hacked = hacking(history)
    verdict = verdict_of(state, history, changes, found, hacked)
    text = headline_of(history, state, planned, changes)
    world, alone = control.in_a_world(history), control.pays_itself(history)
    task = "" if task == name else task
    return Facts(
        history, name, task, state, planned, changes, found, verdict, text, hacked, world, alone, pictures.drawn(history)
    )


def plan_of(history: History) -> Mapping[str, Any]:
    """The plan as it was run, from the events."""
    plan = history.start.get("plan")
    return plan if isinstance(plan, Mapping) else {}


def state_of(history: History) -> State:
    """How far the run came."""
    if not len(history):
        return "empty"
    if history.end is None:
        return "not ended"
    return "finished" if history.end.get("reason") in ("finished", None, "") else "stopped early"


def diversity(changes: Mapping[Of, Change]) -> tuple[str, Change]:
    """(name, change) of the diversity measure that is known: distinct-2, else distinct-1."""
    two = changes["distinct_2"]
    return ("distinct-2", two) if two else ("distinct-1", changes["distinct_1"])


def verdict_of(
    state: State, history: History, changes: Mapping[Of, Change], found: Sequence[Finding], hacked: HackingVerdict
) -> Verdict:
    """The one sentence that a reader with ten seconds takes home."""
    reward, held = changes["reward"], changes["held_out"]
    if state == "empty":
        return Verdict("neutral", "No draw was finished, so there is nothing to judge yet.")
    failed = any(f.check == "FailingReward" and f.level == "error" for f in found)
    if control.pays_itself(history) and (changes["return"] or not failed):
        doubt = _doubt(history, found)
        tone, text = ("bad", doubt) if doubt else control.verdict(changes)
        return Verdict(tone, text)  # type: ignore[arg-type]
    if not reward:
        failing = any(f.check == "FailingReward" for f in found)
        return Verdict("bad", "Nothing could be scored.") if failing else Verdict("neutral", "Nothing was scored in this run.")
    if doubt := _doubt(history, found):
        return Verdict("bad", doubt)
    if hacked.outcome == "hacking seen" and not hacked.recovered:
        after = "then fell" if held.direction == "rose" else "fell"
        return Verdict("bad", f"Over-optimised: the training reward went on rising while the held-out reward {after}.")
    if any(f.check == "OffData" and f.level == "error" for f in found) and reward.direction != "fell":
        return Verdict("bad", "The reward rose, and the samples left the data: it is not to be had from real ones.")
    if reward.direction == "fell":
        return Verdict("bad", "The reward fell.")
    if reward.direction == "unclear":
        return Verdict("neutral", "No clear change: the interval of the reward's difference includes zero.")
    if reward.direction == "unknown":
        moved = "" if math.isnan(reward.difference.mean) else " Too few draws to say whether the reward changed."
        return Verdict("neutral", moved.strip() or "One reading of the reward: nothing to compare it with.")
    if held and held.direction == "fell":
        return Verdict("bad", "The reward rose, but a held-out reward, never trained on, fell.")
    if alike := next((f.check for f in found if f.check in ("DiversityLoss", "SampleCollapse") and f.level != "info"), ""):
        also = " and a held-out reward" if held and held.direction == "rose" else ""
        what = "samples" if alike == "SampleCollapse" else "answers"
        return Verdict("bad", f"The reward{also} rose, at the price of diversity: the {what} became more alike.")
    if held and held.direction == "rose":
        return Verdict("good", "The reward rose, and a held-out reward, never trained on, rose with it.")
    if held:
        return Verdict("neutral", "The reward rose; the held-out reward shows no clear change.")
    return Verdict("neutral", "The reward rose; without a held-out reward, nothing here confirms it.")


def _doubt(history: History, found: Sequence[Finding]) -> str:
    """Why the numbers themselves cannot be trusted, if so."""
    errors = {f.check for f in found if f.level == "error"}
    ok = history.metrics.get("reward/ok")
    if "FailingReward" in errors and ok is not None:
        return f"Not to be trusted: {percent(float(1 - np.nanmean(ok)))} of the training answers could not be scored."
    if "LogpMismatch" in errors:
        return "Not to be trusted: sampler and trainer disagree on how likely the sampled answers were."
    return ""


def headline_of(history: History, state: State, planned: int | None, changes: Mapping[Of, Change]) -> str:
    """What ran and what came of it, in one or two sentences."""
    if state == "empty":
        return "The run wrote no draw."
    of = f" of {planned:,}" if planned and planned != history.draws else ""
    size = history.start.get("parameters")
    what = f" of a policy with {_size(size)} parameters" if isinstance(size, int) and size > 0 else ""
    device = str(history.start.get("device") or "")[:40]
    where = f" on {'CPU' if device == 'cpu' else device}" if device else ""
    time = f" in {duration(history.elapsed)}" if history.elapsed > 0 else ""
    ran = f"{plural(history.draws, 'draw')}{of}{control.size_of(history)}{what}{where}{time}"
    outcome = _outcome(changes, control.pays_itself(history), history)
    return f"{ran}: {outcome}." if outcome else f"{ran}."


def _outcome(changes: Mapping[Of, Change], pays_itself: bool, history: History) -> str:
    gain, reward, held, kl = changes["return"], changes["reward"], changes["held_out"], changes["kl"]
    reward = Change() if pays_itself else reward
    parts = []
    if gain and gain.step_after > gain.step_before:
        parts.append(f"the return went {_ends(gain)}")
    elif gain:
        parts.append(f"the return was {fixed(gain.after.mean, gain.decimals)}")
    if reward and reward.step_after > reward.step_before:
        parts.append(f"the reward went {_ends(reward)}")
    elif reward:
        parts.append(f"the reward was {fixed(reward.after.mean, reward.decimals)}")
    if held and held.step_after > held.step_before:
        parts.append(f"the held-out reward {_ends(held)}")
    name, spread = diversity(changes)
    last = []
    if spread and math.isfinite(spread.kept):
        last.append(f"{percent(spread.kept)} of its diversity ({name}) was kept")
    if kl and math.isfinite(kl.after.mean):
        last.append(f"the policy moved {number(kl.after.mean)} nats from its reference")
    if where := pictures.left_the_data(history):
        last.append(where)
    text = ", ".join(parts)
    return text + ("; " if text and last else "") + " and ".join(last)


def _ends(c: Change) -> str:
    return f"from {fixed(c.before.mean, c.decimals)} to {fixed(c.after.mean, c.decimals)}"


def _size(n: int) -> str:
    """A parameter count.

    >>> _size(3_745_984), _size(124_000_000), _size(900)
    ('3.7 million', '124 million', '900')
    """
    for unit, name in ((1e12, "trillion"), (1e9, "billion"), (1e6, "million")):
        if n >= unit:
            return f"{n / unit:.{1 if n < 10 * unit else 0}f} {name}"
    return f"{n:,}"


def summary_of(facts: Facts) -> dict[str, Any]:
    """What summary.json holds: plain values, null where nothing is known."""
    h = facts.history
    ok = h.metrics.get("reward/ok")
    best = (h.end or {}).get("best_step")
    tree = {
        "format": 1,
        "name": facts.name, "task": facts.task, "state": facts.state, "reason": str((h.end or {}).get("reason") or ""),
        "draws": h.draws, "planned": facts.planned, "seconds": h.elapsed,
        **({"environment_steps": control.environment_steps(h), "episodes": control.episodes_seen(h)} if facts.world else {}),
        "verdict": {"tone": facts.verdict.tone, "text": facts.verdict.text}, "headline": facts.headline,
        "hacking": facts.hacking.tree(), "over_optimisation": _curve(rl_curve(h)),
        "changes": {k: _change(c) for k, c in facts.changes.items() if c},
        "diversity_kept": diversity(facts.changes)[1].kept,
        "failed_fraction": float(1 - np.nanmean(ok)) if ok is not None else None, "failures": dict(h.failures),
        "findings": [{"check": f.check, "level": f.level, "step": f.step, "message": f.message, "evidence": dict(f.evidence),
                      "advice": f.advice} for f in facts.findings],
        "evaluations": len(h.evals), "best_step": best if isinstance(best, int) else None,
        "seconds_by_phase": {k: float(np.nansum(v)) for k, v in h.seconds.items()},
        "seed": h.start.get("seed"), "hash": h.start.get("hash"), "device": h.start.get("device"),
        "parameters": h.start.get("parameters"), "versions": h.start.get("versions"), "references": h.start.get("references"),
        "resumed": h.restarts, "unread_lines": h.unread,
    }  # fmt: skip
    return {k: plain(v) for k, v in tree.items()}


def _curve(c: RLCurve) -> dict[str, Any] | None:
    """The over-optimisation curve in short; null without readings of both rewards."""
    if c.peak is None:
        return None
    fit = {k: v for k, v in vars(c.fit).items() if k != "reason"} if c.fit else {}
    return {"best_step": int(c.steps[c.peak]), "best_kl": float(c.kl[c.peak]), "best": float(c.gold[c.peak]),
            "last": float(c.gold[-1]), "fit": fit or None, "not_fitted": c.fit.reason}  # fmt: skip


def _change(c: Change) -> dict[str, Any]:
    def ends(i: Interval) -> dict[str, Any]:
        return {"mean": i.mean, "lo": i.lo, "hi": i.hi, "n": i.n}

    return {"before": ends(c.before), "after": ends(c.after), "difference": ends(c.difference), "direction": c.direction,
            "source": c.source, "method": c.method, "step_before": c.step_before, "step_after": c.step_after}  # fmt: skip
