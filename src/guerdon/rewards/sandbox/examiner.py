"""The driver's end of a judge: one test, held by one confined process, put to program after program."""

from __future__ import annotations

from dataclasses import replace
from socket import socketpair
from typing import Any

from guerdon.rewards.sandbox import wire
from guerdon.rewards.sandbox.lane import Zygote
from guerdon.rewards.sandbox.limits import Limits
from guerdon.rewards.sandbox.results import Ended

EXAMS = 200  # held by one process
LATER = 2.0  # seconds a test may go on when the program's time is up
HOUR = 3600.0  # seconds that a process may live; each exam has a limit of its own


class Judge:
    """Puts tests to programs. A test keeps its process while it is asked for again; another test gets another process.

    Args:
        zygote: Who forks the processes.
    """

    def __init__(self, zygote: Zygote):
        self.zygote, self.layout = zygote, zygote.layout
        self.holder: _Holder | None = None

    def examine(self, channel: int, test: str, given: str, call: str, limits: Limits) -> dict[str, Any] | Ended:
        """The report on the program at the other end of a channel; an ``Ended`` where the test itself took too much, or broke.

        Raises:
            Broken: where the zygote is gone.
        """
        key = (test, given, call, limits)
        if self.holder is None or self.holder.key != key or self.holder.exams >= EXAMS:
            self._let_go()
            self.holder = _Holder(self.zygote, *key)
        report = self.holder.examine(channel)
        if report is None:
            return self._let_go() or Ended()
        if not report["stays"]:
            self._let_go()
        return report

    def _let_go(self) -> Ended | None:
        holder, self.holder = self.holder, None
        return None if holder is None else holder.end()

    def close(self) -> None:
        if self.holder is not None:
            self.holder.line.close()
        self.holder = None
        self.zygote.close()


class _Holder:
    """A process that holds a test."""

    def __init__(self, zygote: Zygote, test: str, given: str, call: str, limits: Limits):
        self.zygote, self.key, self.exams = zygote, (test, given, call, limits), 0
        self.wall = limits.wall + LATER
        self.late = False
        self.output = limits.output
        self.line, theirs = socketpair()
        with theirs:
            task = {"test": test, "given": given, "call": call}
            self.number = zygote.start("judge", task, replace(limits, cpu=HOUR, wall=HOUR), [theirs.fileno()])

    def examine(self, channel: int) -> dict[str, Any] | None:
        self.exams += 1
        self.line.settimeout(self.wall)
        try:
            wire.send(self.line, {"limit": self.output}, [channel])
            report = wire.receive(self.line, self.output)
        except TimeoutError:
            self.late = True
            return None
        except (OSError, wire.Unreadable):
            return None
        return report if _well_formed(report) else None

    def end(self) -> Ended:
        self.line.close()
        self.zygote.stop(self.number)
        ended = self.zygote.finish(self.number, Limits(wall=LATER))
        return Ended("time", f"timed out after {self.wall:g} s", None) if self.late else ended


_FORM = {"passed": bool, "note": str, "unfit": str, "loads": bool, "calls": int, "stays": bool}


def _well_formed(report: Any) -> bool:
    """Whether a report is one of ours; a test, which may be a stranger's, can write to the same socket."""
    return isinstance(report, dict) and {n: type(v) for n, v in report.items()} == _FORM
