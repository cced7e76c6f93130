"""The page of a run: facts, charts and blocks put into the template, written so that no reader ever sees half of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from guerdon.audit.events import History, read_history
from guerdon.audit.formats import percent, plural
from guerdon.audit.overoptimisation import rl_curve
from guerdon.audit.report import blocks, charts, control, details, frames, overoptimisation, pictures
from guerdon.audit.report.frontier import frontier_of_run
from guerdon.audit.report.render import render, write_text
from guerdon.audit.report.summary import Facts, facts_of, plan_of, summary_of

MAX_BYTES = 5_000_000


def write_report(run_dir: str | Path) -> Path:
    """Write ``report.html`` and ``summary.json`` into a run's folder, from its events.jsonl and plan.yaml alone.

    The page is one file of at most 5 MB that loads nothing and runs no script; everything that was sampled is escaped. It can be
    made at any moment of a run, and again. A ``frontier.json`` in the folder (see ``write_frontier``) is shown on it.

    Args:
        run_dir: Folder of the run.

    Returns:
        Path of the page.

    Raises:
        DataError: where there is no events.jsonl.
        RunError: where the folder cannot be written.
    """
    folder = Path(run_dir)
    history = read_history(folder)
    facts = facts_of(history)
    write_text(folder / "summary.json", json.dumps(summary_of(facts), indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    for samples, characters in ((details.SHOWN_SAMPLES, 1200), (4, 300), (0, 0)):
        page = render_report(facts, folder, samples=samples, characters=characters)
        if len(page.encode("utf8", "replace")) <= MAX_BYTES:
            break
    return write_text(folder / "report.html", page)


def render_report(facts: Facts, folder: Path, *, samples: int, characters: int) -> str:
    """The page as text."""
    h = facts.history
    plan_file = None if plan_of(h) else read_plan(folder / "plan.yaml")
    looked_for, not_judged = blocks.checked(h)
    frontier_svg, frontier_note = frontier_of_run(folder)
    said = facts.hacking.text.partition(": ")[2]  # the outcome before it stands on a chip of its own
    said = said[:1].upper() + said[1:]
    section = overoptimisation.section_of(rl_curve(h), facts.hacking, (h.end or {}).get("best_step"))
    hacked = facts.hacking.outcome == "hacking seen"
    strips, strips_note = frames.strips_of(h, folder)
    album = pictures.album_of(h, folder) if characters else pictures.Album()
    lost = details.peak_samples(h, min(samples, 4), min(characters, 600)) if hacked and not album.samples else details.Samples()
    return render(
        "report.html", title=f"{facts.name} · guerdon run report", kind="run report", corner=corner(h), facts=facts, draws=len(h),
        state_note=state_note(facts), tiles=blocks.tiles_of(facts), tiles_note=blocks.tiles_note(facts),
        returns=control.learning_curve(h) if facts.world else None, strips=strips, strips_note=strips_note,
        album=album, measured=pictures.measure_panels(h),
        reward_svg="" if facts.pays_itself else charts.reward_chart(h), reading=reading(h), judged=not facts.pays_itself,
        frontier_svg=frontier_svg, frontier_note=frontier_note,
        findings=blocks.finding_cards(facts.findings), looked_for=looked_for, not_judged=not_judged,
        parts=charts.part_panels(h), section=section, hacking=facts.hacking, hacking_tone=overoptimisation.tone_of(facts.hacking),
        hacking_chip="hacking not measured" if facts.hacking.outcome == "not measured" else facts.hacking.outcome,
        hacking_text=said, hacking_line=said.split(". ")[0].rstrip(".") + ".", lost=lost,
        samples=details.Samples() if facts.world or album.samples else details.samples_of(h, samples, characters),
        policy=charts.policy_panels(h), diversity_note=diversity_note(facts),
        failures=details.failure_bars(h), failure_note=failure_note(h, facts.world, facts.pictures),
        time=details.time_bars(h, facts.world), time_svg=charts.time_chart(h),
        learners=charts.learner_panels(h), plan=details.plan_view(h, plan_file), papers=details.papers(h),
        origin=details.origin(facts), from_plan_file=bool(plan_file),
    )  # fmt: skip


def read_plan(path: Path) -> Mapping[str, Any] | None:
    """The plan in a folder, where the events hold none; None where it cannot be read."""
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError):
        return None
    return tree if isinstance(tree, Mapping) else None


def corner(h: History) -> str:
    """When it ran, for the page's upper right."""
    if not 0 < h.began < 32503680000:
        return ""
    began = datetime.fromtimestamp(h.began, UTC)
    return f"{began.day} {began:%B %Y}"


def state_note(facts: Facts) -> str:
    """A sentence on a run that is not simply over."""
    if facts.state == "not ended":
        return "The run has not ended: it is still going on, or was stopped and can be resumed. This page shows what there is."
    if facts.state == "stopped early":
        return f"Ended before its plan did: {str((facts.history.end or {}).get('reason'))[:300]}."
    return ""


def reading(h: History) -> str:
    """How to read the first chart."""
    steps, _ = h.metric("reward/mean")
    dots = (
        " Dots: evaluations on the same contexts each time, with 95\u00a0% intervals."
        if any("proxy/mean" in e.metrics for e in h.evals)
        else ""
    )
    if len(steps) > charts.LONG:
        run = len(steps) / charts.BUCKETS
        line = f"Line: moving average over about {plural(round(run * charts.SPAN), 'draw')}"
        return f"{line}; band: smallest to largest of every {round(run)} draws in a row.{dots}"
    window = charts.window_of(len(steps))
    if window > 1:
        return f"Pale line: mean reward of each draw; strong line: moving average over {window} draws.{dots}"
    return f"Line: mean reward of each draw.{dots}"


def diversity_note(facts: Facts) -> str:
    """A warning where distinct-n before and after were counted over differently many tokens."""
    length = facts.changes["length"]
    if not facts.changes["distinct_2"] or not length or not length.before.mean > 0:
        return ""
    if any("distinct_tokens" in e.metrics for e in facts.history.evals) or "distinct_tokens" in facts.history.metrics:
        return ""
    ratio = length.after.mean / length.before.mean
    if 0.8 <= ratio <= 1.25:
        return ""
    way = "rises" if ratio < 1 else "falls"
    return (
        f"Answers are {percent(ratio)} as long as at the start. Distinct-n {way} by itself when "
        f"{'fewer' if ratio < 1 else 'more'} tokens are pooled, so part of its change is due to length."
    )


def failure_note(h: History, world: bool = False, pictures: bool = False) -> str:
    """How many rows could not be scored."""
    what = "episode or part of one" if world else "sample" if pictures else "answer"
    ok = h.metrics.get("reward/ok")
    total = sum(h.failures.values())
    many = plural(total, what, "episodes or parts of them" if world else None)
    if ok is None or not len(ok[ok == ok]):
        return f"{many} could not be scored."
    return (
        f"{many} could not be scored, {percent(float(1 - ok[ok == ok].mean()))} of all. "
        "They are left out of every mean and every loss, never counted as 0."
    )
