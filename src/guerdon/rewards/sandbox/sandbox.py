"""Sandbox: programs that nobody vouches for, run in fresh confined processes."""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from socket import socketpair
from typing import Any, Self

from guerdon.core import RewardError
from guerdon.rewards.sandbox import wire
from guerdon.rewards.sandbox.examiner import LATER, Judge
from guerdon.rewards.sandbox.lane import WARM, Broken, Zygote, end_all, forget_all
from guerdon.rewards.sandbox.layout import command_layout, python_layout
from guerdon.rewards.sandbox.level import Level, level_named
from guerdon.rewards.sandbox.limits import Limits
from guerdon.rewards.sandbox.pool import Pool
from guerdon.rewards.sandbox.results import Called, Ended, Examined, Raised, Returned

_SIZES: dict[str, Any] = {"scratch_bytes": 256 << 20, "scratch_files": 4096}  # of a lane; a job's own limits are below


class Sandbox:
    r"""A pool of confined interpreters. Thread-safe: up to ``lanes`` runs at the same time, others wait.

    Every run gets a child of its own, forked from an interpreter that never ran a program. When the run is over, the child and
    whatever it started are killed and its scratch folder is emptied.

    Args:
        level: Name of a level (see ``levels``); None: the best that works here.
        lanes: Runs at the same time; None: one per processor.
        warm: More modules to load before the forks, such as "numpy"; those that are not installed are left out.

    Raises:
        RewardError: where the level cannot be had.

    Example:
        >>> with Sandbox(lanes=1) as box:
        ...     box.script("print(6 * 7)").stdout
        ...     box.calls("def double(x): return 2 * x", [("double", [21], {})]).answers
        ...     box.exam("def double(x): return x", "assert double(21) == 42").note
        '42\n'
        (Returned(value=42),)
        'assertion failed in line 1: assert double(21) == 42'
    """

    def __init__(self, *, level: str | None = None, lanes: int | None = None, warm: Sequence[str] = ()):
        if lanes is not None and lanes < 1:
            raise RewardError(f"a sandbox needs at least one lane, got {lanes}")
        self.level: Level = level_named(level)
        self.lanes = lanes or os.cpu_count() or 1
        layout = python_layout(**_SIZES)
        warm = (*WARM, *warm)
        self._programs = Pool(lambda: Zygote(self.level.name, layout, warm), self.lanes)
        self._judges = Pool(lambda: Judge(Zygote(self.level.name, layout, warm, more=["judge"])), self.lanes)
        self._commands: dict[frozenset[str], Pool[Zygote]] = {}  # by the programs they can see
        self._lock = threading.Lock()
        self.closed = False

    def script(
        self, source: str, *, stdin: str = "", files: Mapping[str, str] | None = None, limits: Limits | None = None
    ) -> Ended:
        """A Python program run as ``__main__`` in an empty folder.

        Args:
            source: The program.
            stdin: What it reads.
            files: Files in its folder: name -> text.
            limits: What it may use.
        """
        task = {"source": source, "stdin": stdin, "files": dict(files or {})}
        return self._alone(self._programs, "script", [task], limits or Limits())[-1]

    def command(
        self,
        steps: Sequence[Sequence[str]],
        *,
        stdin: str = "",
        files: Mapping[str, str] | None = None,
        limits: Limits | None = None,
    ) -> list[Ended]:
        """Other programs, one after another in one folder, up to the first that fails.

        Args:
            steps: A list of arguments for each program.
            stdin: What each reads.
            files: Files in their folder: name -> text.
            limits: What each may use; ``wall`` counts for all together.

        Raises:
            RewardError: where a program is not installed.
        """
        limits = limits or Limits()
        limits = replace(limits, processes=max(1, limits.processes))
        tasks: list[dict[str, Any]] = [{"argv": list(s), "stdin": stdin} for s in steps]
        tasks[0]["files"] = dict(files or {})
        return self._alone(self._seeing(frozenset(s[0] for s in steps)), "command", tasks, limits)

    def calls(
        self, source: str, calls: Sequence[tuple[str, Sequence[Any], Mapping[str, Any]]], *, limits: Limits | None = None
    ) -> Called:
        """Load a program and call its functions with plain values: (name, positional arguments, named arguments).

        Raises:
            RewardError: where an argument is no plain data.
        """
        limits = limits or Limits()
        try:
            asked = [
                {"name": n, "args": [wire.pack(a) for a in args], "kwargs": {k: wire.pack(v) for k, v in kwargs.items()}}
                for n, args, kwargs in calls
            ]
        except wire.Unsendable as e:
            raise RewardError(f"sandbox: {e}") from None

        def talk(zygote: Zygote) -> Called:
            ours, theirs = socketpair()
            with ours, theirs:
                number = zygote.start("program", {"source": source}, limits, [theirs.fileno()])
                theirs.close()
                ours.settimeout(limits.wall + LATER)
                answers, reason = _converse(ours, asked, limits)
            zygote.stop(number)
            ended = zygote.finish(number, limits)
            if ended.cause in ("", "stopped"):
                ended = replace(ended, cause="exit" if reason else "", reason=reason)
            return Called(tuple(answers), ended)

        try:
            return self._programs.use(talk)
        except Broken as e:
            return Called((), Ended("sandbox", str(e), None))

    def exam(self, program: str, test: str, *, given: str = "", call: str = "", limits: Limits | None = None) -> Examined:
        """Run a test, in Python, against a program, in Python. They live in two processes.

        Names that the test uses and does not define are taken from ``given``, and where that has none, are the program's: calling
        one calls the program with plain values, and gives a plain value. The program never sees the test.

        Args:
            program: The program under test.
            test: Its test: it passes where it runs to its end.
            given: Code of the task itself (imports, helpers); of it the function named ``call`` is not used.
            call: Where given, ``check(<call>)`` is the last line of the test.
            limits: What the program may use; the test has the same.
        """
        limits = limits or Limits()

        def talk(zygote: Zygote, judge: Judge) -> Examined:
            ours, theirs = socketpair()
            with ours, theirs:
                number = zygote.start("program", {"source": program}, limits, [ours.fileno()])
                ours.close()
                report = judge.examine(theirs.fileno(), test, given, call.strip(), limits)
            zygote.stop(number)
            return _examined(report, zygote.finish(number, limits))

        try:
            return self._programs.use(lambda p: self._judges.use(lambda j: talk(p, j)))
        except Broken as e:
            return Examined(False, str(e), Ended("sandbox", str(e), None))

    def _seeing(self, names: frozenset[str]) -> Pool[Zygote]:
        """Interpreters that can see some programs."""
        with self._lock:
            if names not in self._commands:
                try:
                    layout = command_layout(sorted(names), **_SIZES)
                except FileNotFoundError as e:
                    raise RewardError(str(e)) from None
                make = partial(Zygote, self.level.name, layout, (), layout.read)
                self._commands[names] = Pool(make, self.lanes)
            return self._commands[names]

    def _alone(self, pool: Pool[Zygote], mode: str, tasks: Sequence[Mapping[str, Any]], limits: Limits) -> list[Ended]:
        def talk(zygote: Zygote) -> list[Ended]:
            found: list[Ended] = []
            left = limits
            for task in tasks:
                number = zygote.start(mode, task, left, keep=task is not tasks[-1])
                ended = zygote.finish(number, left)
                found.append(ended)
                left = replace(left, wall=max(0.01, left.wall - ended.seconds))
                if not ended.ok:
                    break
            return found

        try:
            return pool.use(talk)
        except Broken as e:
            return [Ended("sandbox", str(e), None)]

    def close(self) -> None:
        """End the interpreters that wait, and each of the others when its run is over. Later runs raise RewardError."""
        self.closed = True
        pools: list[Pool[Any]] = [self._programs, self._judges, *self._commands.values()]
        for pool in pools:
            pool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _converse(sock: Any, asked: Sequence[dict[str, Any]], limits: Limits) -> tuple[list[Returned | Raised], str]:
    """The answers of a program to calls, and why there are no more of them."""
    answers: list[Returned | Raised] = []
    try:
        wire.send(sock, {"names": []})
        for call in [None, *asked]:
            if call is not None:
                wire.send(sock, call)
            answer = wire.receive(sock, limits.output)
            if answer is None:
                return answers, "ended before its answer"
            if "value" in answer:
                if call is None:
                    wire.receive(sock, limits.output)
                else:
                    answers.append(Returned(wire.unpack(answer["value"])))
                continue
            raised = Raised(wire.line(answer.get("raised")), str(answer.get("message", ""))[:500])
            if call is None:
                return answers, f"does not load: {raised.kind}: {wire.line(raised.message)}"
            answers.append(raised)
    except wire.Unreadable as e:
        return answers, f"answered what cannot be read: {e}"
    except (OSError, AttributeError, TypeError):
        return answers, "ended before its answer"
    return answers, ""


def _examined(report: dict[str, Any] | Ended, ended: Ended) -> Examined:
    """The judge's report, with what became of the program."""
    if ended.cause == "stopped":
        ended = replace(ended, cause="", reason="", code=None)
    if isinstance(report, Ended):
        if report.cause in ("time", "memory"):  # the test itself took too much, on what the program answered
            return Examined(False, f"the test {report.reason}", ended)
        reason = "the test gave no verdict" + (f": {report.reason}" if report.cause not in ("", "stopped") else "")
        return Examined(False, reason, replace(ended, cause="sandbox", reason=reason))
    passed, loads, calls = report["passed"], report["loads"], report["calls"]
    if unfit := wire.line(report["unfit"], 500):
        return Examined(False, unfit, replace(ended, cause="sandbox", reason=unfit), loads, calls)
    killed = not passed and ended.cause not in ("", "exit")
    return Examined(passed, ended.reason if killed else wire.line(report["note"], 500), ended, loads, calls)


_shared: Sandbox | None = None
_lock = threading.Lock()


def shared_sandbox() -> Sandbox:
    """The sandbox of this process, at the best level and with a lane per processor; made on first use."""
    global _shared
    with _lock:
        if _shared is None or _shared.closed:
            _shared = Sandbox()
        return _shared


def _forget() -> None:
    """In a fork of this process: what it has of the sandbox is still the parent's."""
    global _shared
    _shared = None
    forget_all()


atexit.register(end_all)
os.register_at_fork(after_in_child=_forget)
