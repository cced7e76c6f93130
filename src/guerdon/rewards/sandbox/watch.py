"""Watching one job of a zygote: from its fork to the removal of its last process. Standard library only; runs in a zygote."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import time
from typing import Any

from guerdon.rewards.sandbox import child, scratch, wire

LARGEST = 1 << 30  # bytes of what the driver sends, which is trusted
TICK = 0.02  # seconds between two looks at what a job uses
BLIND = 0.002  # the same where the system does not tell of the end of a child


class Watch:
    """One job, from its fork to the removal of its last trace.

    What a program is and what it says never becomes an object of the zygote: later children inherit its memory, freed parts too.
    So the child itself reads the job, and output is kept in buffers that are blanked.
    """

    def __init__(self, zygote: Any, job: dict[str, Any], fds: list[int]):
        self.zygote, self.job, self.limits, self.fds = zygote, job, job["limits"], fds
        self.pipes: dict[int, Buffer] = {}

    def go(self) -> dict[str, Any]:
        inner = {}
        begun, inner["begun"] = os.pipe()
        for name in ("stdout", "stderr") if self.job["mode"] in ("script", "command") else ():
            out, inner[name] = os.pipe()
            os.set_blocking(out, False)
            self.pipes[out] = Buffer(name, self.limits["output"])
        start = time.monotonic()
        pid = os.fork()
        if pid == 0:
            child.live(self.zygote, self.job, self.fds, inner)
        for fd in (*inner.values(), *self.fds):  # the other end sees at once when the child is gone
            os.close(fd)
        try:
            cause = self._wait(pid, start)
        finally:
            code, usage = self.zygote.end(pid)
        if not cause and not os.read(begun, 1):
            cause = "unprepared"
        os.close(begun)
        for fd, buffer in self.pipes.items():
            while not buffer.full and buffer.read(fd):
                pass
            os.close(fd)
            if buffer.full:
                cause = "output"
        return {
            "job": self.job["job"],
            "cause": cause,
            "code": code,
            "seconds": time.monotonic() - start,
            "cpu": usage.ru_utime + usage.ru_stime if usage else 0.0,
            "memory": usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) if usage else 0,
            "sizes": {b.name: b.size for b in self.pipes.values()},
        }

    def hand_over(self) -> None:
        """What the program wrote, behind the answer; then it is forgotten."""
        for buffer in self.pipes.values():
            self.zygote.control.sendall(buffer.view[: buffer.size])
            buffer.blank()

    def _wait(self, pid: int, start: float) -> str:
        """Until it ends, takes too much, or nobody needs it any more: the cause, "" where it ended by itself."""
        limits, control = self.limits, self.zygote.control.fileno()
        deadline = start + limits["wall"]
        poll = select.poll()
        gone = os.pidfd_open(pid) if hasattr(os, "pidfd_open") else -1
        for fd in (gone, control, *self.pipes):
            if fd >= 0:
                poll.register(fd, select.POLLIN)
        tick = max(TICK, limits["wall"] / 10_000)
        look = time.monotonic() + tick
        try:
            while True:
                wait = min(deadline, look) - time.monotonic() if gone >= 0 else BLIND
                ready = [fd for fd, _ in poll.poll(max(0.0, wait) * 1000)]
                for fd in ready:
                    if fd in self.pipes:
                        if not self.pipes[fd].read(fd):
                            poll.unregister(fd)
                        if self.pipes[fd].full:
                            return "output"
                if control in ready and self._told():
                    return "stopped"
                if gone in ready or (gone < 0 and _ended(pid)):
                    return ""
                now = time.monotonic()
                if now >= deadline:
                    return "time"
                if now >= look:
                    look = now + tick
                    if cause := self._used(pid):
                        return cause
        finally:
            if gone >= 0:
                os.close(gone)

    def _used(self, pid: int) -> str:
        """What it has taken too much of."""
        with contextlib.suppress(OSError, OverflowError):
            if time.clock_gettime((~pid << 3) | 2) > self.limits["cpu"]:  # the clock of another process, all its threads
                return "cpu"
        size, count = scratch.used(self.zygote.scratch, self.limits["files"], self.zygote.alone)
        return "count" if count > self.limits["files"] else "files" if size > self.limits["scratch"] else ""

    def _told(self) -> bool:
        message, _ = wire.receive_with_fds(self.zygote.control, LARGEST)
        if message is None:
            self.zygote.end(0)
            os._exit(0)
        return bool(message.get("stop") == self.job["job"])


class Buffer:
    """What came through a pipe, up to a limit."""

    def __init__(self, name: str, limit: int):
        self.name, self.limit = name, limit
        self.size = 0
        self.view = memoryview(bytearray(1 << 12))

    @property
    def full(self) -> bool:
        return self.size > self.limit

    def read(self, fd: int) -> bool:
        """What is there now; whether more may come."""
        if self.size == len(self.view):
            larger = memoryview(bytearray(min(4 * self.size, self.limit + 1)))
            larger[: self.size] = self.view
            self.blank()
            self.size, self.view = len(self.view), larger
        try:
            got = os.readv(fd, [self.view[self.size :]])
        except BlockingIOError:
            return False
        self.size += got
        return got > 0

    def blank(self) -> None:
        self.view[:] = bytes(len(self.view))


def _ended(pid: int) -> bool:
    """Whether a child has ended; it is not reaped."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
