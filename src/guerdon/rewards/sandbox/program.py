"""What runs in the child of the program under test, and so is in the program's hands: all it says is only the program's word.

Standard library only: the zygote executes this text.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import socket
import sys
import types
from collections.abc import Callable
from typing import Any

from guerdon.rewards.sandbox import wire

NAME = "solution"
FILES = {NAME: "solution.py", "__main__": "main.py"}  # as tracebacks name them


class Loader:
    """Says a module's source."""

    def __init__(self, source: str):
        self.source = source

    def get_source(self, name: str) -> str:
        return self.source


def load(source: str, name: str) -> types.ModuleType:
    """The program as a module; raises whatever it raises."""
    import random  # by now loaded without what it does after each fork

    module = types.ModuleType(name)
    sys.modules[name] = module  # dataclasses and others look their module up there
    file = FILES[name]
    module.__loader__ = Loader(source)  # type: ignore[assignment]  # what tracebacks and ``inspect`` ask for the text
    random.seed(0)  # the same program gets the same verdict
    exec(compile(source, file, "exec", dont_inherit=True), module.__dict__)
    return module


def serve(channel: socket.socket, source: str, limit: int) -> None:
    """Load the program, then answer calls until the channel ends."""
    kept: dict[int, Any] = {}

    def keep(value: Any) -> Any:
        kept[len(kept)] = value
        return {"h": [len(kept) - 1, type(value).__name__]}

    def find(said: Any) -> Any:
        return kept[said["h"][0]]

    def say(make: Callable[[], Any]) -> None:
        try:
            answer = {"value": wire.pack(make(), keep)}
        except BaseException as e:  # noqa: BLE001  whatever it raises is its answer
            answer = {"raised": type(e).__name__, "bases": [c.__name__ for c in type(e).__mro__][1:8], "message": _short(e)}
        wire.send(channel, answer)

    asked = wire.receive(channel, limit)
    if asked is None:
        return
    module: list[types.ModuleType] = []
    say(lambda: module.append(load(source, NAME)))
    if not module:
        return
    known = vars(module[0])
    wire.send(channel, {n: _kind(known[n], keep) for n in asked["names"] if n in known})
    while (call := wire.receive(channel, limit)) is not None:
        say(lambda: _do(known, call, find))


def _do(known: dict[str, Any], call: Any, find: Callable[[Any], Any]) -> Any:
    args = [wire.unpack(a, find) for a in call["args"]]
    kwargs = {k: wire.unpack(v, find) for k, v in call["kwargs"].items()}
    if "name" in call:
        return known[call["name"]](*args, **kwargs)
    target = find(call["of"])
    return _DEEDS[call["do"]](target, *args, **kwargs)


_DEEDS: dict[str, Callable[..., Any]] = {
    "call": lambda o, *a, **k: o(*a, **k),
    "get": getattr,
    "iter": iter,
    "next": next,
    "len": len,
    "item": lambda o, k: o[k],
    "bool": bool,
    "str": str,
    "repr": repr,
    "float": float,
    "int": int,
}


def _kind(value: Any, keep: Callable[[Any], Any]) -> Any:
    if isinstance(value, type) and issubclass(value, BaseException):
        return {"exception": value.__name__}
    if callable(value) or isinstance(value, types.ModuleType):
        return {"callable": callable(value)}
    try:
        return {"value": wire.pack(value, keep)}
    except Exception:  # noqa: BLE001  its own property may raise
        return {"callable": False}


def _short(error: BaseException) -> str:
    with contextlib.suppress(Exception):
        return str(error)[:500]
    return ""


def script(source: str) -> int:
    """The program as ``__main__``, with what Python does at the end of one; its exit code."""
    sys.path.insert(0, os.getcwd())
    code = 0
    try:
        load(source, "__main__")
    except SystemExit as e:
        code = e.code if isinstance(e.code, int) else 0 if e.code is None else 1
        if code and not isinstance(e.code, int):
            sys.stderr.write(f"{e.code}\n")
    except BaseException as e:  # noqa: BLE001  it is told as Python tells it
        import traceback  # here and below: what each child would carry along

        code = 1
        trace = e.__traceback__
        while trace is not None and trace.tb_frame.f_code.co_filename != FILES["__main__"]:
            trace = trace.tb_next
        traceback.print_exception(e.with_traceback(trace))
    if "threading" in sys.modules:
        sys.modules["threading"]._shutdown()  # waits for the threads it started
    atexit._run_exitfuncs()
    return code
