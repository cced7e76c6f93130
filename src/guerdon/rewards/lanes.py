"""Where calls are computed (the caller itself, a thread, or a process: ``child``), and what happens when one goes wrong."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from guerdon.core.errors import RewardError
from guerdon.rewards import worker
from guerdon.rewards.worker import Call, Replies, Verdict, late

CHUNK = 16  # calls handed over at once
ABANDONED = 8  # threads that may hang at the same time before scoring gives up
T = TypeVar("T")


class Lane(Protocol):
    """Whatever computes calls one after the other."""

    def stream(self, calls: Sequence[Call], limit: float | None, slack: float = 0.0) -> Replies: ...


class Stopped(Exception):
    """The process or thread that was computing a call is gone; says why, and whether its time was up."""

    def __init__(self, reason: str, hung: bool = False):
        super().__init__(reason)
        self.hung = hung


class Patience:
    """How many calls in a row may hang before the rest of a scoring are not tried; shared by all that score it."""

    def __init__(self, limit: int | None = 5):
        self.limit, self.hung, self.reason = limit, 0, ""

    def note(self, stopped: Stopped | None) -> None:
        self.hung = self.hung + 1 if stopped is not None and stopped.hung else 0
        self.reason = str(stopped or "")

    @property
    def over(self) -> str:
        """Why to give up; empty where it goes on."""
        lost = self.limit is not None and self.hung >= self.limit
        return f"not tried: {self.hung} calls in a row {self.reason}" if lost else ""


@dataclass
class Abandoned:
    """Threads left behind in calls that did not come back; nothing can stop them, so there must not be many."""

    name: str
    threads: list[threading.Thread] = field(default_factory=list)

    def add(self, thread: threading.Thread) -> None:
        self.threads = [t for t in [*self.threads, thread] if t.is_alive()]
        if len(self.threads) >= ABANDONED:
            raise RewardError(
                f"{len(self.threads)} calls of {self.name} hang and cannot be stopped inside this process: "
                "put the function into a file of its own and name it as 'file.py:name', or set a longer time-out"
            )


def in_thread(make: Callable[[], Iterable[T]], count: int, limit: float | None, abandoned: Abandoned) -> Generator[T, None, None]:
    """``count`` values of an iterable that is worked through in a daemon thread, each awaited for at most ``limit`` seconds.

    Raises:
        Stopped: where one did not come in time; the thread is left behind.
    """
    found: queue.SimpleQueue[tuple[bool, Any]] = queue.SimpleQueue()
    left = threading.Event()

    def work() -> None:
        try:
            for value in make():
                found.put((True, value))
                if left.is_set():
                    return
        except BaseException as e:  # noqa: BLE001  raised again where it is awaited
            found.put((False, e))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        for _ in range(count):
            try:
                good, value = found.get(timeout=limit)
            except queue.Empty:
                abandoned.add(thread)
                raise Stopped(late(limit), hung=True) from None
            if not good:
                raise value
            yield value
        left.set()
        thread.join(1.0)  # it has nothing left to do; a thread that still ends while Python does may take the process down
    finally:
        left.set()


@dataclass(frozen=True)
class Inline:
    """Calls in the caller's own thread; only an async function has a time limit there."""

    function: Callable[..., Any]

    def stream(self, calls: Sequence[Call], limit: float | None, slack: float = 0.0) -> Replies:
        return worker.stream(self.function, calls, limit)


@dataclass(frozen=True)
class Threaded:
    """Calls in a daemon thread; one that hangs is left behind."""

    function: Callable[..., Any]
    abandoned: Abandoned

    def stream(self, calls: Sequence[Call], limit: float | None, slack: float = 0.0) -> Replies:
        late_by = None if limit is None else limit + slack
        return in_thread(lambda: worker.stream(self.function, calls, limit), len(calls), late_by, self.abandoned)


def run_calls(
    lane: Lane,
    calls: Sequence[Call],
    limit: float | None,
    *,
    slack: float = 0.0,
    split: bool = True,
    patience: Patience | None = None,
) -> list[list[Verdict]]:
    """The verdicts of every call. Whatever goes wrong in one call stays in it.

    A call that hangs or takes its process down fails with the reason, and the calls behind it go on in a new process. A call
    with several rows that failed so, or raised, is tried once more row by row, so that one row does not fail its neighbours.

    Args:
        lane: What computes: a Pool, a thread, or the caller itself.
        calls: What to call the function with.
        limit: Seconds per call.
        slack: Seconds the reply may be later than the limit, where the function watches the time itself.
        split: Whether calls may be taken apart into rows.
        patience: When to give up; None: never.
    """
    patience = patience or Patience(None)
    found: list[list[Verdict]] = [[] for _ in calls]
    todo = deque(enumerate(calls))
    again: deque[tuple[int, Call]] = deque()  # rows of calls that failed as a whole

    def settle(rows: list[Verdict], whole: bool) -> None:
        k, call = todo.popleft()
        if whole and split and (call[2] or 0) > 1:
            again.extend((k, row) for row in split_call(call))
        else:
            found[k] += rows

    while todo or again:
        if not todo:
            todo, again = again, todo
        if why := patience.over:
            settle([[0.0, {}, why]] * (todo[0][1][2] or 1), False)
            continue
        with contextlib.closing(lane.stream([c for _, c in todo], limit, slack)) as replies:
            try:
                for rows, raised in replies:
                    patience.note(None)
                    settle(rows, raised)
            except Stopped as e:
                patience.note(e)
                settle([[0.0, {}, str(e)]] * (todo[0][1][2] or 1), True)
    return found


def split_call(call: Call) -> list[Call]:
    """A call with lists as one call per row.

    >>> split_call(([], {"completions": ["a", "b"]}, 2))
    [([], {'completions': ['a']}, 1), ([], {'completions': ['b']}, 1)]
    """
    args, kwargs, rows = call
    return [([a[k : k + 1] for a in args], {n: v[k : k + 1] for n, v in kwargs.items()}, 1) for k in range(rows or 0)]


def run_side_by_side(
    lane: Lane, calls: Sequence[Call], limit: float | None, lanes: int, *, chunk: int = CHUNK, **options: Any
) -> list[list[Verdict]]:
    """As ``run_calls``, by up to ``lanes`` threads that each take the next ``chunk`` calls; results keep the order."""
    chunk = max(1, min(chunk, -(-len(calls) // (2 * lanes))))
    chunks = [calls[i : i + chunk] for i in range(0, len(calls), chunk)]
    if len(chunks) <= 1 or lanes <= 1:
        return [v for c in chunks for v in run_calls(lane, c, limit, **options)]
    found: list[list[list[Verdict]]] = [[] for _ in chunks]
    errors: list[BaseException] = []
    numbers = iter(range(len(chunks)))
    lock = threading.Lock()

    def work() -> None:
        while not errors:
            with lock:
                k = next(numbers, None)
            if k is None:
                return
            try:
                found[k] = run_calls(lane, chunks[k], limit, **options)
            except BaseException as e:  # noqa: BLE001  raised again in the caller's thread
                errors.append(e)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(lanes, len(chunks)))]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if errors:
        raise errors[0]
    return [v for c in found for v in c]
