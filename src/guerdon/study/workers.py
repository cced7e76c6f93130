"""Workers: trials side by side, each worker a process with one thread of arithmetic."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, Protocol

from guerdon.study.budget import Budget
from guerdon.study.study import Study
from guerdon.study.trial import Task, Trial, perform

# One thread each: tiny models gain nothing from a second one, and two trials at once gain everything.
_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "TOKENIZERS_PARALLELISM": "false"}


class Runner(Protocol):
    """Runs tasks and yields their trials as they end."""

    def __call__(self, tasks: Iterable[Task], budget: Budget) -> Iterator[Trial]: ...


class Here:
    """Runs trials in this process, one after another; for studies without a file, and for tests.

    Args:
        study: Whose arms.
    """

    def __init__(self, study: Study):
        self.study = study

    def __call__(self, tasks: Iterable[Task], budget: Budget) -> Iterator[Trial]:
        for task in tasks:
            yield perform(self.study, task, budget)


class Workers:
    """Runs trials in processes of their own. Use as a context manager: they end with it.

    A process that dies (out of memory, a crash in native code) is a failed trial, and is replaced.

    Args:
        source: ``module:name`` or ``file.py:name`` of the study.
        count: Processes.
    """

    def __init__(self, source: str, count: int = 2):
        self.source, self.count = source, count
        self._idle: SimpleQueue[_Process | None] = SimpleQueue()
        self._all: list[_Process] = []
        self._ended, self._lock = False, threading.Lock()

    def __enter__(self) -> Workers:
        for _ in range(self.count):
            self._idle.put(None)
        return self

    def __exit__(self, *error: object) -> None:
        with self._lock:  # after this no thread begins another
            self._ended = True
        for process in self._all:
            process.end()

    def __call__(self, tasks: Iterable[Task], budget: Budget) -> Iterator[Trial]:
        pool = ThreadPoolExecutor(self.count)
        try:
            for done in as_completed([pool.submit(self._one, task, budget) for task in tasks]):
                yield done.result()
        finally:  # also when nobody wants the rest: what has not begun never does
            pool.shutdown(wait=False, cancel_futures=True)

    def _one(self, task: Task, budget: Budget) -> Trial:
        process = self._idle.get()
        try:
            with self._lock:
                if self._ended:
                    return Trial(task, False, reason="it was stopped")
                if process is None or not process.alive():
                    process = _Process(self.source)
                    self._all.append(process)
            return process.run(task, budget)
        finally:
            self._idle.put(process)


class _Process:
    """One worker."""

    def __init__(self, source: str) -> None:
        self.busy = threading.Lock()
        self.said = tempfile.TemporaryFile("w+b")  # noqa: SIM115 (lives as long as the process)
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "guerdon.study.worker", source], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=self.said, text=True, encoding="utf8", env={**os.environ, **_ENVIRONMENT}, start_new_session=True,
        )  # fmt: skip

    def alive(self) -> bool:
        return self.process.poll() is None

    def run(self, task: Task, budget: Budget) -> Trial:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        order = {"task": {"arm": task.arm, "seed": task.seed, "setting": dict(task.setting)}, "budget": budget.name}
        with self.busy:
            if self.process.stdin.closed:  # ended between being chosen and being asked
                return Trial(task, False, reason="it was stopped")
            with suppress(BrokenPipeError):  # told below, with its reason
                self.process.stdin.write(json.dumps(order) + "\n")
                self.process.stdin.flush()
            answer = self.process.stdout.readline()
            if not answer:
                return Trial(task, False, reason=self._why())
            return trial_of(json.loads(answer))

    def _why(self) -> str:
        code = self.process.wait()
        self.said.seek(0)
        lines = [line for line in self.said.read().decode("utf8", "replace").splitlines() if line.strip()]
        cause = f"killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        return f"its process was {cause}" if code < 0 else f"its process {cause}: {lines[-1] if lines else 'nothing said'}"

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        with self.busy:  # whoever waits for an answer now learns that there is none
            for pipe in (self.process.stdin, self.process.stdout, self.said):
                with suppress(BrokenPipeError):
                    pipe.close()  # type: ignore[union-attr]


def trial_of(tree: dict[str, Any]) -> Trial:
    """The trial that plain data describes."""
    return Trial(**{**tree, "task": Task(**tree["task"])})
