"""What came of a run in the sandbox."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from guerdon.rewards.sandbox import wire
from guerdon.rewards.sandbox.limits import Limits

Cause = Literal["", "exit", "signal", "time", "memory", "output", "files", "stopped", "sandbox"]


@dataclass(frozen=True)
class Ended:
    """How a program ended.

    Args:
        cause: "" where it ended by itself with code 0; else what ended it. "stopped": nobody needed it any more. "sandbox": the
            sandbox itself failed, and nothing is known of the program.
        reason: The same for people, one line; "" where ``cause`` is.
        code: Exit code; None where it was killed.
        stdout: What it wrote, at most ``Limits.output`` bytes, read as UTF-8.
        stderr: The same for standard error.
        seconds: Wall time.
        cpu: Seconds of processor time.
        memory: Largest resident size, bytes.
    """

    cause: Cause = ""
    reason: str = ""
    code: int | None = 0
    stdout: str = ""
    stderr: str = ""
    seconds: float = 0.0
    cpu: float = 0.0
    memory: int = 0

    @property
    def ok(self) -> bool:
        return not self.cause


@dataclass(frozen=True)
class Returned:
    """A call that returned; ``value`` is plain data made by us, never an object of the program's."""

    value: Any


@dataclass(frozen=True)
class Raised:
    """A call that raised: name of the exception's class and its message."""

    kind: str
    message: str = ""


@dataclass(frozen=True)
class Called:
    """Answers to the calls made of a program, in order; shorter than the calls where it ended before."""

    answers: tuple[Returned | Raised, ...]
    ended: Ended


@dataclass(frozen=True)
class Examined:
    """The verdict of a test that ran outside the program.

    Args:
        passed: Whether the test ran to its end without an error.
        note: Why it did not pass, one line.
        ended: How the program ended. Where its ``cause`` is "sandbox", there is no verdict.
        loads: Whether the program loaded: its text compiles, and running it to its end raised nothing.
        calls: Calls that the test made of the program.
    """

    passed: bool
    note: str
    ended: Ended
    loads: bool = False
    calls: int = 0


def ending(raw: Mapping[str, Any], limits: Limits, stdout: str = "", stderr: str = "") -> Ended:
    """What a zygote says of an ended program, in words.

    >>> ending({"cause": "", "code": -11, "seconds": 0.1, "cpu": 0.1, "memory": 0}, Limits()).reason
    'ended by SIGSEGV'
    """
    cause, reason = _why(raw["cause"], raw["code"], stderr, limits)
    code = raw["code"] if raw["code"] >= 0 and cause in ("", "exit", "memory") else None
    return Ended(cause, reason, code, stdout, stderr, raw["seconds"], raw["cpu"], raw["memory"])


def _why(cause: str, code: int, stderr: str, limits: Limits) -> tuple[Cause, str]:
    last = wire.line(stderr.strip().rpartition("\n")[2])
    said = f": {last}" if last else ""
    slow = f"used more than {limits.cpu:g} s of processor time"
    large = f"wrote more than {limits.scratch} bytes into files"
    known: dict[str, tuple[Cause, str]] = {
        "stopped": ("stopped", "no longer needed"),
        "unprepared": ("sandbox", f"a child could not be confined{said}"),
        "time": ("time", f"timed out after {limits.wall:g} s"),
        "cpu": ("time", slow),
        "output": ("output", f"wrote more than {limits.output} bytes"),
        "count": ("files", f"made more than {limits.files} files"),
        "files": ("files", large),
    }
    if cause:
        return known[cause]
    if code == 0:
        return "", ""
    if code > 0:
        return "memory" if last.startswith("MemoryError") else "exit", f"exit code {code}{said}"
    if -code in (signal.SIGXCPU, signal.SIGXFSZ):
        return ("time", slow) if -code == signal.SIGXCPU else ("files", large)
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    return "signal", f"ended by {name}{said}"
