"""The record of a study: what ``guerdon reproduce`` writes, and what tables, pages and pictures are made from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from guerdon.study import Expect, Judged, Outcome, Trial, verdict_of
from guerdon.study.expectation import judge_all
from guerdon.systems._find import Found
from guerdon.systems._provenance import commit_of, source_hash
from guerdon.systems._summary import summary_of
from guerdon.systems._system import Paper, System

Record = dict[str, Any]


def record_of(found: Found, system: System, outcome: Outcome) -> Record:
    """Plain data of everything that a verdict rests on, so that it can be computed again from the figures of each seed.

    Args:
        found: The system's file.
        system: What is in it.
        outcome: What its study found.
    """
    from guerdon.run.execute import versions

    study = outcome.study
    judged: Sequence[Judged | None] = list(outcome.judged) or [None] * len(study.expect)
    first = judged[0]
    record: Record = {
        "id": found.id,
        "family": found.family,
        "title": system.name,
        "claim": system.claim,
        "paper": paper_tree(system.paper),
        "verdict": outcome.verdict,
        "summary": "",
        "metric": study.metric,
        "effect": None if first is None else first.effect,
        "ci": None if first is None else [first.low, first.high],
        "expectation": [_expectation(e, j, outcome) for e, j in zip(study.expect, judged, strict=True)],
        "swapped": None,
        "seeds": list(outcome.seeds),
        "pilot": outcome.pilot,
        "arms": {name: _arm(name, rows, outcome) for name, rows in outcome.trials.items()},
        "tuning": [_tuned(t) for t in outcome.tuning],
        "traces": list(study.traces),
        "labels": dict(study.labels),
        "tried": system.tried,
        "seconds": round(outcome.seconds, 1),
        "prepared": round(outcome.prepared, 1),
        "budget": outcome.budget.name,
        "workers": outcome.workers,
        "commit": commit_of([found.path]),
        "versions": versions(),
        "source": source_hash(found.path),
    }
    if outcome.verdict is not None:
        record["swapped"] = judge_again(record, swapped=True)[0]
    return {**record, "summary": summary_of(record)}


def _expectation(expect: Expect, judged: Judged | None, outcome: Outcome) -> dict[str, Any]:
    return {
        "text": str(expect), "arm": expect.arm, "direction": expect.direction, "than": expect.than, "by": expect.by,
        "metric": expect.metric or outcome.study.metric, "times": expect.times,
        "verdict": None if judged is None or outcome.verdict is None else judged.verdict,
        "effect": None if judged is None else judged.effect,
        "ci": None if judged is None else [judged.low, judged.high],
    }  # fmt: skip


def _arm(name: str, rows: Sequence[Trial], outcome: Outcome) -> dict[str, Any]:
    """What an arm measured: of each seed in order, None where its trial failed."""
    metrics = dict.fromkeys(m for t in rows for m in t.metrics)
    traces = dict.fromkeys(m for t in rows for m in t.traces)
    return {
        "about": about_arm(outcome.study.arms_at(outcome.budget)[name]),
        "setting": dict(outcome.settings.get(name, {})),
        "metrics": {m: [t.metrics.get(m) for t in rows] for m in metrics},
        "traces": {m: [None if m not in t.traces else [_short(v) for v in t.traces[m]] for t in rows] for m in traces},
        "seconds": [round(t.seconds, 2) for t in rows],
        "failed": [f"seed {t.task.seed}: {t.reason}" for t in rows if not t.ok],
    }


def _tuned(trial: Trial) -> dict[str, Any]:
    task = trial.task
    return {
        "arm": task.arm, "seed": task.seed, "setting": dict(task.setting), "metrics": dict(trial.metrics), "failed": trial.reason,
    }  # fmt: skip


def about_arm(arm: Any) -> str:
    """What sets an arm apart, in a line: the arguments of a partial, or the first line of a function's docstring.

    >>> from functools import partial
    >>> about_arm(partial(print, sep="-", file=None)), about_arm(lambda seed, budget: {})
    ('sep=-, file=None', '')
    """
    if isinstance(arm, partial):
        return ", ".join(f"{name}={_short_text(value)}" for name, value in arm.keywords.items())
    lines = (arm.__doc__ or "").strip().splitlines()
    return lines[0] if lines else ""


def _short_text(value: Any) -> str:
    text = value if isinstance(value, str) else getattr(value, "__name__", repr(value))
    return text if len(text) <= 60 else f"{text[:57]}..."


def paper_tree(paper: Paper) -> dict[str, Any]:
    """A paper as plain data."""
    return {"title": paper.title, "authors": list(paper.authors), "year": paper.year, "link": paper.link}


def _short(value: float) -> float | None:
    """Four significant digits: enough for a curve, and a small file."""
    return float(f"{value:.4g}") if math.isfinite(value) else None


def judge_again(record: Mapping[str, Any], *, swapped: bool = False) -> tuple[str, list[Judged]]:
    """The verdict that follows from the figures of each seed in a record.

    Args:
        record: Of a study without failed trials.
        swapped: With the two labels of every expectation exchanged.

    Returns:
        The verdict of the study, and that of every expectation.
    """
    expect = [Expect(e["arm"], e["direction"], e["than"], e["by"], e["metric"], e["times"]) for e in record["expectation"]]
    rows = {
        name: [{m: values[k] for m, values in arm["metrics"].items()} for k in range(len(record["seeds"]))]
        for name, arm in record["arms"].items()
    }
    judged = judge_all([e.swapped() for e in expect] if swapped else expect, record["metric"], rows)
    return verdict_of(judged), judged
