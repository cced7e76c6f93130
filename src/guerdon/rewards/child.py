"""Processes that can be killed: the only thing that stops a hung verifier. One mechanism for user code, mathematics and patterns.

Neither a signal handler nor a thread interrupts code that never comes back to the interpreter. So a row is handed to a warm
process (``worker.py``) as plain data; when its time is up the process group is killed and a new one takes the next row.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from guerdon.core import RewardError, RewardOutput
from guerdon.rewards import worker
from guerdon.rewards.lanes import Stopped, run_side_by_side
from guerdon.rewards.rows import assemble
from guerdon.rewards.worker import Call, Replies, late

START = 60.0  # seconds a process may take to load its function
LOOK = 0.1  # seconds between two looks at a process's memory


@dataclass(frozen=True)
class Target:
    """A function in a Python file.

    Args:
        file: Absolute path.
        name: Name of the function.
        prepare: Another function of the file, called once when a process starts.
        memory: Bytes of resident memory above which a process is killed (Linux); None: no limit.
    """

    file: str
    name: str
    prepare: str = ""
    memory: int | None = None


class Child:
    """One process around one function."""

    def __init__(self, target: Target):
        self.target = target
        self.buffer = bytearray()
        self.closing = threading.Lock()
        # A session of its own: Ctrl-C in the terminal reaches only us, and one signal ends it with all that it started.
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-P", worker.__file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,
            )
        except OSError as e:
            raise RewardError(f"no process can be started for {target.file}:{target.name} ({e.strerror})") from None
        _alive.add(self)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.stdin, self.stdout = self.process.stdin, self.process.stdout
        os.set_blocking(self.stdin.fileno(), False)
        self.readable, self.writable = selectors.DefaultSelector(), selectors.DefaultSelector()
        self.readable.register(self.stdout, selectors.EVENT_READ)
        self.writable.register(self.stdin, selectors.EVENT_WRITE)
        try:
            path = [p for p in sys.path if p]
            self.send({"path": path, "file": target.file, "name": target.name, "prepare": target.prepare}, START)
            started = self.receive(START)
        except Stopped as e:
            self.kill()
            raise RewardError(f"{target.file}:{target.name}: its process did not start: {e}") from None
        if "error" in started:
            self.kill()
            raise RewardError(f"{target.file}:{target.name}: its process did not start: {started['error']}")

    def stream(self, calls: Sequence[Call], limit: float | None, slack: float = 0.0) -> Replies:
        """The replies to some calls, one by one.

        Raises:
            Stopped: where the process did not answer in time, died, or took too much memory; it is gone then.
        """
        self.send({"calls": list(calls), "limit": limit}, None if limit is None else max(limit, START))
        for _ in calls:
            rows, raised = self.receive(limit, slack)
            yield rows, raised

    def send(self, message: Any, limit: float | None) -> None:
        rest = memoryview(json.dumps(message).encode() + b"\n")
        deadline = None if limit is None else time.monotonic() + limit
        while rest:
            if not self.writable.select(None if deadline is None else max(0.0, deadline - time.monotonic())):
                self.stop(late(limit), hung=True)
            try:
                rest = rest[os.write(self.stdin.fileno(), rest) :]
            except BlockingIOError:
                continue
            except OSError:
                self.stop()

    def receive(self, limit: float | None, slack: float = 0.0) -> Any:
        deadline = None if limit is None else time.monotonic() + limit + slack
        while (end := self.buffer.find(b"\n")) < 0:
            left = LOOK if deadline is None else deadline - time.monotonic()
            if left <= 0:
                self.stop(late(limit), hung=True)
            if not self.readable.select(min(left, LOOK) if self.target.memory else None if deadline is None else left):
                if self.target.memory and resident(self.process.pid) > self.target.memory:
                    self.stop(f"used more than {self.target.memory / 2**30:g} GiB of memory")
                continue
            got = os.read(self.stdout.fileno(), 1 << 20)
            if not got:
                self.stop()
            self.buffer += got
        line = bytes(self.buffer[:end])
        del self.buffer[: end + 1]
        try:
            return json.loads(line)
        except ValueError:
            self.stop("reward process gave an unreadable answer")

    def stop(self, reason: str = "", hung: bool = False) -> NoReturn:
        """Kill it and say why; without a reason it ended by itself."""
        if not reason:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(5)
            reason = f"reward process died (exit code {self.process.poll()})"
        self.kill()
        raise Stopped(reason, hung)

    def end(self) -> None:
        """End the process and whatever it started; from any thread. Who waits for its answer then sees it gone."""
        with self.closing:
            if self in _alive:
                with contextlib.suppress(OSError):
                    os.killpg(self.process.pid, signal.SIGKILL)

    def kill(self) -> None:
        """End it and free what it held; by the thread that uses it, as another may not close what that one waits on."""
        self.end()
        with self.closing:
            if self in _alive:
                _alive.discard(self)
                self.process.wait()
                for part in (self.readable, self.writable, self.stdin, self.stdout):
                    with contextlib.suppress(OSError):
                        part.close()


class Pool:
    """At most ``size`` warm processes around one function; started when first needed, shared by all threads."""

    def __init__(self, target: Target, size: int):
        self.target, self.size = target, size
        self.free: list[Child] = []
        self.taken: set[Child | object] = set()
        self.closed = False
        self.change = threading.Condition()

    def stream(self, calls: Sequence[Call], limit: float | None, slack: float = 0.0) -> Replies:
        """The replies to some calls from one process, which is free for others afterwards."""
        child = self._take()
        done = False
        try:
            yield from child.stream(calls, limit, slack)
            done = True
        except Stopped:
            self._check_open()
            raise
        finally:
            if not done:  # stopped, or left with answers unread: not a process to use again
                child.kill()
            self._give_back(child, child if done else None)

    def _take(self) -> Child:
        with self.change:
            self._check_open()
            while not self.free and len(self.taken) >= self.size:
                self.change.wait()
                self._check_open()
            if self.free:
                child = self.free.pop()
                self.taken.add(child)
                return child
            place = object()
            self.taken.add(place)
        try:
            child = Child(self.target)
        except BaseException:
            self._give_back(place, None)
            raise
        with self.change:
            self.taken.discard(place)
            self.taken.add(child)
        return child

    def _give_back(self, place: Child | object, child: Child | None) -> None:
        with self.change:
            self.taken.discard(place)
            if child is not None and not self.closed:
                self.free.append(child)
            elif child is not None:
                child.kill()
            self.change.notify()

    def _check_open(self) -> None:
        if self.closed:
            raise RewardError("scoring was closed before it was done")

    def close(self) -> None:
        """End all processes; calls still running raise RewardError."""
        with self.change:
            self.closed = True
            free, self.free = self.free, []
            self.change.notify_all()
            for child in self.taken:
                if isinstance(child, Child):
                    child.end()
        for child in free:
            child.kill()


def resident(pid: int) -> int:
    """Bytes of resident memory of a process; 0 where the system does not say."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return 0


def shared_pool(target: Target) -> Pool:
    """The pool of this process for a function of guerdon's own; made on first use."""
    with _lock:
        if target not in _pools:
            _pools[target] = Pool(target, max(1, min(8, os.cpu_count() or 1)))
        return _pools[target]


def score_texts(target: Target, outputs: Iterable[Any], named: Sequence[dict[str, Any]], limit: float) -> RewardOutput:
    """One call per row, ``function(output, **named)``, of a function of guerdon's own; outputs that are no texts fail."""
    outputs = list(outputs)
    found: list[Any] = [None if isinstance(o, str) else [0.0, {}, f"expected a text, got {type(o).__name__}"] for o in outputs]
    rows = [k for k, v in enumerate(found) if v is None]
    pool = shared_pool(target)
    calls: list[Call] = [([outputs[k]], named[k], None) for k in rows]
    for k, (verdict,) in zip(rows, run_side_by_side(pool, calls, limit, pool.size), strict=True):
        found[k] = verdict
    return assemble(found)


def close_pools() -> None:
    """End the shared processes; the next call starts new ones."""
    with _lock:
        closing = list(_pools.values())
        _pools.clear()
    for pool in closing:
        pool.close()


def _end_all() -> None:
    close_pools()
    for child in list(_alive):
        child.end()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.process.wait(1)


_alive: weakref.WeakSet[Child] = weakref.WeakSet()
_pools: dict[Target, Pool] = {}
_lock = threading.Lock()
atexit.register(_end_all)
