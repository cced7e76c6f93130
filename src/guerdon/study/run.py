"""run_study: every arm at every seed, then the verdict."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from guerdon.core.errors import PlanError, RunError
from guerdon.study.book import Book, Progress
from guerdon.study.budget import Budget
from guerdon.study.expectation import Judged, Verdict, judge_all, verdict_of
from guerdon.study.study import PILOT_SEEDS, VERDICT_SEEDS, Study
from guerdon.study.trial import Task, Trial
from guerdon.study.workers import Here, Runner, Workers


@dataclass(frozen=True)
class Outcome:
    """What a study found.

    Args:
        study: Which.
        budget: At what budget.
        seeds: The paired seeds, in order.
        trials: arm -> its trials, one for each seed.
        judged: Every expectation with its effect and interval; empty where a trial it needs has failed.
        verdict: None where nothing was judged: at the tiny budget, with pilot seeds, and where a trial failed.
        settings: arm -> what it was tuned to.
        tuning: The trials that tuned them.
        seconds: Wall-clock time in all, those of an interrupted call included.
        prepared: Seconds of them for shared warm starts.
        workers: Processes side by side.
        pilot: Whether the seeds were pilot seeds.
    """

    study: Study
    budget: Budget
    seeds: Sequence[int]
    trials: Mapping[str, Sequence[Trial]]
    judged: Sequence[Judged]
    verdict: Verdict | None
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    tuning: Sequence[Trial] = ()
    seconds: float = 0.0
    prepared: float = 0.0
    workers: int = 1
    pilot: bool = False

    @property
    def failed(self) -> list[Trial]:
        """Trials that did not end with numbers."""
        return [t for rows in self.trials.values() for t in rows if not t.ok]

    def values(self, arm: str, metric: str | None = None) -> list[float]:
        """A metric of an arm, in the order of the seeds; failed trials are left out."""
        name = metric or self.study.metric
        return [t.metrics[name] for t in self.trials[arm] if t.ok and name in t.metrics]


def run_study(
    study: Study,
    *,
    budget: Budget | str = "default",
    seeds: int | None = None,
    pilot: bool = False,
    source: str | None = None,
    workers: int | None = None,
    kept: Path | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """Runs a study and judges it.

    A trial that fails leaves no verdict: an arm that fails where it does badly would otherwise look good.

    Args:
        study: What to run.
        budget: How much to spend; ``"tiny"`` gives no verdict.
        seeds: Number of paired seeds, at least 2 (None: the study's; 2 at the tiny budget).
        pilot: Look around with pilot seeds, from which no verdict comes.
        source: ``module:name`` or ``file.py:name`` of the study, so that trials can run in processes of their own; None: here,
            one after another.
        workers: Processes (None: one for each core that may be used, at most 8).
        kept: A file to which trials are written as they end, and from which an interrupted study goes on.
        progress: Called after every trial.

    Raises:
        PlanError: for fewer than two seeds, or more than there are.
        RunError: where the warm starts cannot be made, or an arm fails with every setting that it is tuned over.

    Example:
        >>> from guerdon.study import Expect
        >>> arms = {"two": lambda seed, budget: {"x": seed % 7 + 2.0}, "one": lambda seed, budget: {"x": seed % 7 + 1.0}}
        >>> found = run_study(Study(arms, "x", [Expect("two", "higher", "one", by=0.5)], seeds=4))
        >>> found.verdict, found.judged[0].effect, list(found.seeds)
        ('reproduced', 1.0, [1000, 1001, 1002, 1003])
    """
    budget = Budget(budget) if isinstance(budget, str) else budget  # type: ignore[arg-type]
    count = (2 if budget.name == "tiny" else study.seeds) if seeds is None else seeds
    of = PILOT_SEEDS if pilot or budget.name == "tiny" else VERDICT_SEEDS
    if not 2 <= count <= len(of):
        raise PlanError(f"{count} seeds; from 2 to {len(of):,} are possible")
    chosen = list(of[:count])
    arms = list(study.arms_at(budget))
    tunes = 0 if budget.name == "tiny" or pilot else len(study.tuned) * len(study.settings) * study.pilots
    side_by_side = 1
    with ExitStack() as stack:
        runner: Runner = Here(study)
        if source is not None:
            side_by_side = workers or min(8, _cores())
            runner = stack.enter_context(Workers(source, side_by_side))
        book = Book(kept, runner, budget, 1 + tunes + len(arms) * count, progress)
        first = book.run([Task("", 0)])[0]
        if not first.ok:
            raise RunError(f"the warm starts could not be made: {first.reason}")
        settings, tuning = _tune(study, book) if tunes else (dict.fromkeys(study.tuned, study.settings[0]), [])
        # A few seeds at a time, so that what is there when it is stopped is paired; of one seed one after another, so that two
        # processes do not make the same warm start of that seed at once.
        blocks = [chosen[k : k + side_by_side] for k in range(0, count, side_by_side)]
        tasks = [Task(name, seed, settings.get(name, {})) for block in blocks for name in arms for seed in block]
        found = {(t.task.arm, t.task.seed): t for t in book.run(tasks)}
    trials = {name: [found[name, seed] for seed in chosen] for name in arms}
    judged: list[Judged] = []
    if all(t.ok for e in study.expect for n in (e.arm, e.than) for t in trials[n]):
        judged = judge_all(study.expect, study.metric, {name: [t.metrics for t in rows] for name, rows in trials.items()})
    verdict = verdict_of(judged) if judged and budget.name != "tiny" and not pilot else None
    return Outcome(
        study, budget, chosen, trials, judged, verdict, settings, tuning, book.seconds, book.prepared, side_by_side, pilot
    )


def _cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # Linux: fewer than there are, in a container or under taskset
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _tune(study: Study, book: Book) -> tuple[dict[str, dict[str, Any]], list[Trial]]:
    """What each arm does best with on the pilot seeds; settings that fail there are passed over."""
    tasks = [
        Task(name, seed, setting)
        for name in study.tuned for setting in study.settings for seed in PILOT_SEEDS[: study.pilots]
    ]  # fmt: skip
    trials = book.run(tasks)
    sign = 1 if study.best == "higher" else -1
    chosen: dict[str, dict[str, Any]] = {}
    for name in study.tuned:
        score = []
        for setting in study.settings:
            rows = [t for task, t in zip(tasks, trials, strict=True) if task.arm == name and task.setting == setting]
            if all(t.ok for t in rows):
                score.append((sign * sum(t.metrics[study.metric] for t in rows), setting))
        if not score:
            raise RunError(f"arm {name!r} failed at every setting: {next(t.reason for t in trials if t.task.arm == name)}")
        chosen[name] = max(score, key=lambda pair: pair[0])[1]
    return chosen, trials
