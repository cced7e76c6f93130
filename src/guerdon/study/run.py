"""run_study: every arm at every seed, then the verdict."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from guerdon.core.errors import RunError
from guerdon.study.budget import Budget
from guerdon.study.expectation import Judged, Verdict, judge_all, verdict_of
from guerdon.study.study import PILOT_SEEDS, VERDICT_SEEDS, Study
from guerdon.study.trial import Task, Trial
from guerdon.study.workers import Here, Runner, Workers, trial_of

Progress = Callable[[int, int, Trial], None]  # (trials done, trials in all, the last one)


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
        seeds: Number of paired seeds (None: the study's; 2 at the tiny budget).
        pilot: Look around with pilot seeds, from which no verdict comes.
        source: ``module:name`` or ``file.py:name`` of the study, so that trials can run in processes of their own; None: here,
            one after another.
        workers: Processes (None: one for each core, at most 8).
        kept: A file to which trials are written as they end, and from which an interrupted study goes on.
        progress: Called after every trial.

    Raises:
        RunError: where the warm starts cannot be made.

    Example:
        >>> from guerdon.study import Expect
        >>> arms = {"two": lambda seed, budget: {"x": seed % 7 + 2.0}, "one": lambda seed, budget: {"x": seed % 7 + 1.0}}
        >>> found = run_study(Study(arms, "x", [Expect("two", "higher", "one", by=0.5)], seeds=4))
        >>> found.verdict, found.judged[0].effect, list(found.seeds)
        ('reproduced', 1.0, [1000, 1001, 1002, 1003])
    """
    begin = time.monotonic()
    budget = Budget(budget) if isinstance(budget, str) else budget  # type: ignore[arg-type]
    count = seeds or (2 if budget.name == "tiny" else study.seeds)
    chosen = list((PILOT_SEEDS if pilot else VERDICT_SEEDS)[:count])
    arms = list(study.arms_at(budget))
    tunes = 0 if budget.name == "tiny" or pilot else len(study.tuned) * len(study.settings) * study.pilots
    with ExitStack() as stack:
        runner: Runner = Here(study)
        if source is not None:
            runner = stack.enter_context(Workers(source, workers or max(1, min(8, os.cpu_count() or 1))))
        book = _Book(kept, runner, budget, 1 + tunes + len(arms) * count, progress)
        first = book.run([Task("", 0)])[0]
        if not first.ok:
            raise RunError(f"the warm starts could not be made: {first.reason}")
        settings, tuning = _tune(study, book) if tunes else (dict.fromkeys(study.tuned, study.settings[0]), [])
        # Seed by seed, so that what is there when it is stopped is paired.
        tasks = [Task(name, seed, settings.get(name, {})) for seed in chosen for name in arms]
        found = {(t.task.arm, t.task.seed): t for t in book.run(tasks)}
    trials = {name: [found[name, seed] for seed in chosen] for name in arms}
    judged: list[Judged] = []
    if all(t.ok for e in study.expect for n in (e.arm, e.than) for t in trials[n]):
        judged = judge_all(study.expect, study.metric, {name: [t.metrics for t in rows] for name, rows in trials.items()})
    verdict = verdict_of(judged) if judged and budget.name != "tiny" and not pilot else None
    seconds = time.monotonic() - begin + book.before / getattr(runner, "count", 1)
    return Outcome(study, budget, chosen, trials, judged, verdict, settings, tuning, seconds, first.seconds)


def _tune(study: Study, book: _Book) -> tuple[dict[str, dict[str, Any]], list[Trial]]:
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
            rows = [t for t in trials if t.task.arm == name and dict(t.task.setting) == setting]
            if all(t.ok for t in rows):
                score.append((sign * sum(t.metrics[study.metric] for t in rows), setting))
        if not score:
            raise RunError(f"arm {name!r} failed at every setting: {next(t.reason for t in trials if t.task.arm == name)}")
        chosen[name] = max(score, key=lambda pair: pair[0])[1]
    return chosen, trials


class _Book:
    """Trials as they end: on the disk, so that nothing is run twice."""

    def __init__(self, path: Path | None, runner: Runner, budget: Budget, total: int, progress: Progress | None):
        self.path, self.runner, self.budget, self.total, self.progress = path, runner, budget, total, progress
        self.known: dict[str, Trial] = {}
        self.done, self.before = 0, 0.0
        if path is not None and path.exists():
            for line in path.read_text(encoding="utf8").splitlines():
                if line.endswith("}"):  # the last line may be cut short
                    trial = trial_of(json.loads(line))
                    self.known[_key(trial.task)] = trial
                    self.before += trial.seconds

    def run(self, tasks: Iterable[Task]) -> list[Trial]:
        tasks = list(tasks)
        found = {_key(t): self.known[_key(t)] for t in tasks if _key(t) in self.known}
        for trial in found.values():
            self._tell(trial)
        for trial in self.runner([t for t in tasks if _key(t) not in found], self.budget):
            found[_key(trial.task)] = trial
            if self.path is not None and trial.ok:  # one that failed may have failed for a passing cause
                self.path.parent.mkdir(parents=True, exist_ok=True)
                with open(self.path, "a", encoding="utf8") as f:
                    f.write(json.dumps(asdict(trial)) + "\n")
            self._tell(trial)
        return [found[_key(t)] for t in tasks]

    def _tell(self, trial: Trial) -> None:
        self.done += 1
        if self.progress is not None:
            self.progress(self.done, self.total, trial)


def _key(task: Task) -> str:
    return json.dumps([task.arm, task.seed, dict(task.setting)], sort_keys=True, default=str)
