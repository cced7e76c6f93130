"""The program of a reward process, and how a user's function is called; standard library only, so that it starts in milliseconds.

The parent runs this file by its path (`guerdon` itself is never imported here). Requests and answers are lines of JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib.util
import inspect
import json
import math
import os
import queue
import signal
import sys
import threading
import zlib
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

Verdict = list[Any]  # [total, {part: value}, reason]; the reason of a scored row is ""
Call = tuple[list[Any], dict[str, Any], int | None]  # positional and named arguments; rows of a call with lists, None for one row
Replies = Generator[tuple[list[Verdict], bool], None, None]  # for every call: its rows' verdicts, and whether it raised
GRACE = 5.0  # seconds by which the parent may be late before a hung process ends itself


_entered: list[str] = []  # folders of user files, the last one first


def _enter(folder: str) -> None:
    """Make the neighbours in a folder importable, and found before those of the same name in folders entered earlier."""
    if folder in sys.path and folder not in _entered:
        return  # it was there before us
    others = [f for f in _entered if f != folder]
    for name, module in list(sys.modules.items()):
        if str(Path(getattr(module, "__file__", None) or "?").parent) in others and not name.startswith("_guerdon_"):
            del sys.modules[name]
    sys.path[:] = [p for p in sys.path if p not in (folder, *others)] + [folder, *others]
    _entered[:] = [folder, *others]


def load_module(file: str) -> Any:
    """A Python file, executed. Its folder goes to the end of ``sys.path``, so that it can import its neighbours."""
    _enter(str(Path(file).parent))
    name = f"_guerdon_{zlib.crc32(file.encode()):08x}_{Path(file).stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up there
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def reason_of(error: BaseException) -> str:
    """A raised exception as a short reason: its first line.

    >>> reason_of(ValueError("no number in the answer"))
    'ValueError: no number in the answer'
    """
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


def number(value: Any) -> float:
    """A float from a bool, a number, or a tensor of one element; a TypeError for anything else."""
    if isinstance(value, str | bytes | bytearray) or not (hasattr(value, "__float__") or hasattr(value, "__index__")):
        raise TypeError(f"returned {type(value).__name__}, expected a number")
    try:
        return float(value.item() if hasattr(value, "item") else value)
    except (TypeError, ValueError, RuntimeError, OverflowError) as e:
        raise TypeError(f"returned a {type(value).__name__} that is not one number") from e


def verdict(value: Any) -> Verdict:
    """What a function returned for one row.

    >>> verdict({"correct": True, "short": 0.5}), verdict(float("nan")), verdict("7")
    ([1.5, {'correct': 1.0, 'short': 0.5}, ''], [0.0, {}, 'reward is nan'], [0.0, {}, 'returned str, expected a number'])
    """
    if value is None:
        return [0.0, {}, "returned None"]
    try:
        if isinstance(value, dict):
            parts = {str(k): number(v) for k, v in value.items() if k != "total"}
            total = number(value["total"]) if "total" in value else sum(parts.values())
        else:
            parts, total = {}, number(value)
    except TypeError as e:
        return [0.0, {}, str(e)]
    for name, part in parts.items():
        if not math.isfinite(part):
            return [0.0, {}, f"part {name!r} is {part}"]
    return [total, parts, ""] if math.isfinite(total) else [0.0, {}, f"reward is {total}"]


def verdicts(value: Any, rows: int) -> list[Verdict]:
    """What a function of lists returned for ``rows`` rows.

    >>> [v[2] for v in verdicts([1.0, None, 2.0], 2)]
    ['returned 3 rewards for 2 outputs', 'returned 3 rewards for 2 outputs']
    """
    try:
        found = None if isinstance(value, str | bytes | dict) else list(value)
    except TypeError:  # not iterable, or a tensor without dimensions
        found = None
    if found is None:
        return [[0.0, {}, f"returned {type(value).__name__}, expected a list of {rows} rewards"]] * rows
    if len(found) != rows:
        return [[0.0, {}, f"returned {len(found)} rewards for {rows} outputs"]] * rows
    return [verdict(v) for v in found]


def is_async(function: Callable[..., Any]) -> bool:
    """Whether calling it gives a coroutine: an async function, a partial of one, or an object with an async ``__call__``."""
    while isinstance(function, functools.partial):
        function = function.func
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004


def ignored(*_: Any) -> None:
    """Stands in for the logging callbacks that TRL hands to its reward functions."""


def add_callbacks(function: Callable[..., Any], call: Call) -> dict[str, Any]:
    """The named arguments, with TRL's two logging callbacks where the function could ask for them."""
    if call[2] is None:
        return call[1]
    known = inspect.signature(function).parameters.values()
    every = any(p.kind is p.VAR_KEYWORD for p in known)
    asked = {p.name for p in known} | ({"log_extra", "log_metric"} if every else set())
    return {**{k: ignored for k in ("log_extra", "log_metric") if k in asked}, **call[1]}


def stream(function: Callable[..., Any], calls: Sequence[Call], limit: float | None) -> Replies:
    """For every call in turn: the verdicts of its rows, and whether it raised. Async calls run side by side."""
    if is_async(function):
        yield from asyncio.run(_together(function, calls, limit))
        return
    for call in calls:
        try:
            value = function(*call[0], **add_callbacks(function, call))
        except (Exception, SystemExit) as e:  # noqa: BLE001  a user's code may raise anything; the row keeps the reason
            yield [[0.0, {}, reason_of(e)]] * (call[2] or 1), True
        else:
            yield ([verdict(value)] if call[2] is None else verdicts(value, call[2])), False


async def _together(function: Callable[..., Any], calls: Sequence[Call], limit: float | None) -> list[tuple[list[Verdict], bool]]:
    async def one(call: Call) -> tuple[list[Verdict], bool]:
        rows = call[2] or 1
        try:
            value = await asyncio.wait_for(function(*call[0], **add_callbacks(function, call)), limit)
        except TimeoutError:
            return [[0.0, {}, late(limit)]] * rows, True
        except (Exception, SystemExit) as e:  # noqa: BLE001  as above
            return [[0.0, {}, reason_of(e)]] * rows, True
        return ([verdict(value)] if call[2] is None else verdicts(value, call[2])), False

    return list(await asyncio.gather(*map(one, calls)))


def late(limit: float | None) -> str:
    """The reason of a call that did not come back."""
    return f"timed out after {limit:g} s"


def serve() -> None:
    """Answers requests until the parent is gone. The user's prints go to standard error, away from the answers."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.dup(1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    inbox: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(requests, inbox), daemon=True).start()

    def answer(value: Any) -> None:
        rest = memoryview(json.dumps(value).encode() + b"\n")
        while rest:
            rest = rest[os.write(answers, rest) :]

    start = json.loads(inbox.get())
    sys.path[:] = start["path"]
    try:
        module = load_module(start["file"])
        function = getattr(module, start["name"])
        function = function() if isinstance(function, type) else function
        if start["prepare"]:
            getattr(module, start["prepare"])()
    except (Exception, SystemExit) as e:  # noqa: BLE001  the parent reports it
        answer({"error": reason_of(e)})
        return
    answer({})
    while True:
        request = json.loads(inbox.get())
        limit = request["limit"]
        replies = stream(function, request["calls"], limit)
        for _ in request["calls"]:
            if limit is not None:  # the kernel ends this process where the parent no longer can
                signal.setitimer(signal.ITIMER_REAL, limit + GRACE)
            reply = next(replies)
            signal.setitimer(signal.ITIMER_REAL, 0)
            answer(reply)


def _listen(requests: Any, inbox: queue.SimpleQueue[bytes]) -> None:
    """Hands requests on; when the parent is gone, ends this process and whatever it started, even in mid-call."""
    for line in requests:
        inbox.put(line)
    if os.getsid(0) == os.getpid():
        with contextlib.suppress(OSError):
            os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(0)


if __name__ == "__main__":
    serve()
