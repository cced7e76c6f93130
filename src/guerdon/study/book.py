"""Book: the trials of a study as they end, kept so that an interrupted study goes on."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from guerdon.study.budget import Budget
from guerdon.study.trial import Task, Trial
from guerdon.study.workers import Runner, trial_of

Progress = Callable[[int, int, Trial], None]  # (trials done, trials in all, the last one)


class Book:
    """Trials as they end: on the disk, so that nothing is run twice, and with the time that passed until then.

    Args:
        path: A file, one line for each trial that ended with numbers; None: nothing is kept.
        runner: Runs what is not known yet.
        budget: At what budget.
        total: How many trials it will be, for the progress.
        progress: Called after every trial.
    """

    def __init__(self, path: Path | None, runner: Runner, budget: Budget, total: int, progress: Progress | None):
        self.path, self.runner, self.budget, self.total, self.progress = path, runner, budget, total, progress
        self.known: dict[str, Trial] = {}
        self.done, self.before, self.prepared, self.begin = 0, 0.0, 0.0, time.monotonic()
        for line in _whole_lines(path):
            trial = trial_of({k: v for k, v in line.items() if k != "elapsed"})
            self.before = line["elapsed"]
            if trial.task.arm:
                self.known[_key(trial.task)] = trial
            else:  # made again, for the cache may have been emptied since; at once done where it was not
                self.prepared += trial.seconds

    @property
    def seconds(self) -> float:
        """Since the first call began, without the time in which nothing ran."""
        return self.before + time.monotonic() - self.begin

    def run(self, tasks: Iterable[Task]) -> list[Trial]:
        """The trials of these tasks, in their order; those that are known are not run again."""
        tasks = list(tasks)
        found = {_key(t): self.known[_key(t)] for t in tasks if _key(t) in self.known}
        for trial in found.values():
            self._tell(trial)
        for trial in self.runner([t for t in tasks if _key(t) not in found], self.budget):
            found[_key(trial.task)] = trial
            if not trial.task.arm:
                self.prepared += trial.seconds
            if trial.ok:  # one that failed may have failed for a passing cause
                self._keep(trial)
            self._tell(trial)
        return [found[_key(t)] for t in tasks]

    def _keep(self, trial: Trial) -> None:
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "a", encoding="utf8") as f:
            f.write(json.dumps({**asdict(trial), "elapsed": self.seconds}) + "\n")

    def _tell(self, trial: Trial) -> None:
        self.done += 1
        if self.progress is not None:
            self.progress(self.done, self.total, trial)


def _key(task: Task) -> str:
    return json.dumps([task.arm, task.seed, dict(task.setting)], sort_keys=True, default=str)


def _whole_lines(path: Path | None) -> list[dict[str, Any]]:
    """What a file of trials holds; a last line that was cut short is taken away, so that the next begins at its start."""
    if path is None or not path.exists():
        return []
    text = path.read_bytes()
    whole = text[: text.rfind(b"\n") + 1]
    if whole != text:
        with open(path, "r+b") as f:
            f.truncate(len(whole))
    lines = []
    for line in whole.splitlines():
        with suppress(ValueError):  # not even a whole disk keeps its promises; the trial is run again
            lines.append(json.loads(line))
    return lines
