"""What runs in the judge's child: it holds one test, and asks programs for plain values over channels.

A program can answer, be silent, or end; it has no other way in here. Standard library only: the zygote executes this text.
"""

from __future__ import annotations

import ast
import builtins
import dis
import hashlib
import linecache
import random
import socket
import sys
import types
from collections.abc import Iterator
from typing import Any

from guerdon.rewards.sandbox import wire

TEST, GIVEN = "<test>", "<task>"
MESSAGE = 1 << 16  # bytes of what the driver asks


class Gone(BaseException):
    """The program ended, or answered what nobody asked; no test can go on, nor catch this as an Exception."""


class ProgramError(Exception):
    """An exception of a class that Python itself does not have, raised by the program."""


class Unfit(Exception):
    """The test itself cannot be used; says why."""


class Channel:
    """Calls into the program."""

    def __init__(self, sock: socket.socket, limit: int):
        self.sock, self.limit = sock, limit
        self.calls = 0
        self.gone = ""
        self.loaded = False
        self.classes: dict[str, type[BaseException]] = {}  # exceptions that the program defines

    def start(self, names: list[str]) -> dict[str, Any]:
        """Let the program load; what it has of some names.

        Raises:
            Gone: where it does not load.
        """
        self._send({"names": names})
        answer = self._receive()
        if "value" not in answer:
            self.end(f"does not load: {_said(answer)}")
        self.loaded = True
        return self._receive()

    def ask(self, call: dict[str, Any], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        """One call; its value, or its exception raised."""
        self.calls += 1
        packed = {k: wire.pack(v, self._own) for k, v in (kwargs or {}).items()}
        self._send({**call, "args": [wire.pack(a, self._own) for a in args], "kwargs": packed})
        answer = self._receive()
        if "value" in answer:
            return self.value(answer["value"])
        raised = self._raised(answer)
        if isinstance(raised, StopIteration | StopAsyncIteration) and call.get("do") != "next":
            raised = ProgramError(f"{type(raised).__name__}: {raised}")  # else it would end a loop of the test's without a word
        raise raised

    def value(self, said: Any) -> Any:
        try:
            return wire.unpack(said, self._remote)
        except wire.Unreadable as e:
            self.end(f"answered what cannot be read: {e}")

    def end(self, why: str) -> Any:
        self.gone = self.gone or why
        raise Gone(why)

    def _send(self, message: Any) -> None:
        if self.gone:
            raise Gone(self.gone)
        try:
            wire.send(self.sock, message)
        except OSError:
            self.end("ended before its test did")

    def _receive(self) -> dict[str, Any]:
        try:
            answer = wire.receive(self.sock, self.limit)
        except wire.Unreadable as e:
            self.end(f"answered what cannot be read: {e}")
        except OSError:
            answer = None
        if answer is None:
            self.end("ended before its test did")
        if not isinstance(answer, dict):
            self.end("answered what cannot be read")
        return answer

    def _own(self, value: Any) -> Any:
        if isinstance(value, Remote):
            return {"h": [value._handle, value._kind]}
        raise Unfit(f"the test hands the program a value of type {type(value).__name__}, which is no plain data")

    def _remote(self, said: Any) -> Any:
        if list(said) != ["h"]:
            raise wire.Unreadable("not plain data")
        handle, kind = said["h"]
        return Remote(self, int(handle), wire.line(kind))

    def _raised(self, answer: dict[str, Any]) -> BaseException:
        names = [answer.get("raised"), *(answer.get("bases") or [])]
        message = str(answer.get("message", ""))[:500]
        for name in names:
            cls = self.classes.get(name) if isinstance(name, str) else None
            found = cls or (getattr(builtins, name, None) if isinstance(name, str) else None)
            if isinstance(found, type) and issubclass(found, Exception) and found is not Exception:
                try:
                    return found(message)
                except TypeError:  # UnicodeDecodeError and its like need more than a message
                    continue
        return ProgramError(f"{wire.line(names[0])}: {message}")


class Function:
    """A name of the program's, to be called."""

    def __init__(self, channel: Channel, name: str):
        self._channel, self.__name__ = channel, name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._channel.ask({"name": self.__name__}, args, kwargs)


class Remote:
    """An object that stays with the program. What it does is asked there; equal it is to itself only, and whether something is in
    it is found out by going through it.
    """

    def __init__(self, channel: Channel, handle: int, kind: str):
        self._channel, self._handle, self._kind = channel, handle, kind

    def _do(self, what: str, *args: Any, **kwargs: Any) -> Any:
        return self._channel.ask({"of": {"h": [self._handle, self._kind]}, "do": what}, args, kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._do("get", name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._do("call", *args, **kwargs)

    def __iter__(self) -> Iterator[Any]:
        found = self._do("iter")
        if not isinstance(found, Remote):
            raise TypeError(f"{self._kind!r} object is not iterable")
        return found

    def __next__(self) -> Any:
        return self._do("next")

    def __len__(self) -> int:
        return self._plain("len", int)

    def __getitem__(self, key: Any) -> Any:
        return self._do("item", key)

    def __bool__(self) -> bool:
        return self._plain("bool", bool)

    def __str__(self) -> str:
        return self._plain("str", str)

    def __repr__(self) -> str:
        return self._plain("repr", str)

    def __float__(self) -> float:
        return self._plain("float", float)

    def __int__(self) -> int:
        return self._plain("int", int)

    def _plain(self, what: str, kind: type) -> Any:
        found = self._do(what)
        if type(found) is not kind:
            self._channel.end(f"{what}() of its {self._kind} gave no {kind.__name__}")
        return found

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Remote) and other._handle == self._handle

    def __hash__(self) -> int:
        return hash(self._handle)


def serve(line: socket.socket, test: str, given: str, call: str) -> None:
    """Hold one test; run it against each program that the driver sends a channel to, and say what came of it."""
    exam: Exam | None = None
    unfit = ""
    try:
        exam = Exam(test, given, call)
    except Unfit as e:
        unfit = str(e)
    while True:
        asked, fds = wire.receive_with_fds(line, MESSAGE)
        if asked is None:
            return
        with socket.socket(fileno=fds[0]) as sock:
            if exam is None:
                said = {"passed": False, "note": "", "unfit": unfit, "loads": False, "calls": 0}
            else:
                said = exam.run(Channel(sock, asked["limit"]))
        said["stays"] = len(sys._current_frames()) == 1  # a test that left threads behind is not kept
        wire.send(line, said)


class Exam:
    """One test, ready to be run again and again, each time from the start.

    Args:
        test: Code that raises where the program is wrong.
        given: Code of the task itself: its imports and helpers.
        call: The function asked for; then ``check(<call>)`` is the test's last line.

    Raises:
        Unfit: for code that does not compile.
    """

    def __init__(self, test: str, given: str, call: str):
        self.call = call
        self.seed = hashlib.sha256(test.encode("utf8", "surrogatepass")).digest()  # fixed, and not to be guessed by a program
        self.given = _compiled(_helpers(given, call), GIVEN, "the task's own code")
        tree = _parsed(test)
        if call:
            tree.body.append(ast.parse(f"check({call})").body[0])
            ast.increment_lineno(tree.body[-1], test.count("\n") + 1)
        self.code = _compiled(tree, TEST, "the test")
        self.names = _names(self.code)
        linecache.cache[TEST] = (len(test), None, test.splitlines(keepends=True), TEST)

    def run(self, channel: Channel) -> dict[str, Any]:
        """{"passed", "note", "unfit", "loads", "calls"} for the program at the other end."""
        note, unfit = "", ""
        try:
            self._run(channel)
        except Gone as e:
            note = str(e)
        except Unfit as e:
            unfit = str(e)
        except BaseException as e:  # noqa: BLE001  a test fails by raising whatever it likes
            note = _where(e)
        passed = not (note or unfit or channel.gone)
        return {
            "passed": passed, "note": note or channel.gone, "unfit": unfit, "loads": channel.loaded, "calls": channel.calls,
        }  # fmt: skip

    def _run(self, channel: Channel) -> None:
        space: dict[str, Any] = {"__name__": "test", "__builtins__": builtins}
        random.seed(self.seed)
        try:
            exec(self.given, space)
        except Exception as e:  # noqa: BLE001  the task is at fault, not the program
            raise Unfit(f"the task's own code fails: {_short(e)}") from None
        # A name of Python's own stays Python's, unless it is what the program was asked to define.
        asked = dict.fromkeys((*self.names, self.call))
        wanted = [n for n in asked if n and n not in space and (n == self.call or not hasattr(builtins, n))]
        for name, said in channel.start(wanted).items():
            if name not in wanted or not isinstance(said, dict):
                channel.end("answered what cannot be read")
            if "value" in said:
                space[name] = channel.value(said["value"])
            elif "exception" in said:
                space[name] = channel.classes[name] = type(name, (ProgramError,), {})
            else:
                space[name] = Function(channel, name)
        if self.call and self.call not in space:
            channel.end(f"defines no {self.call}")
        exec(self.code, space)


def _helpers(given: str, call: str) -> ast.Module:
    """What a task gives beside the function to write: its imports, helpers and constants."""
    for end in ("", "\n    pass\n"):  # a prompt may stop right behind the line that is to be continued
        try:
            tree = ast.parse(given + end)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        return ast.Module([s for s in tree.body if not (isinstance(s, _DEFINITIONS) and s.name == call)], [])
    raise Unfit("the task's own code cannot be parsed")  # else its helpers would be the program's


_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def _parsed(test: str) -> ast.Module:
    try:
        return ast.parse(test, TEST)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as e:
        raise Unfit(f"the test cannot be parsed: {_short(e)}") from None


def _compiled(tree: ast.Module, file: str, what: str) -> types.CodeType:
    try:
        return compile(tree, file, "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as e:
        raise Unfit(f"{what} does not compile: {_short(e)}") from None


def _names(code: types.CodeType) -> list[str]:
    """Names that a test looks up without ever setting them: it may want them of the program, which learns no others."""
    found: dict[str, None] = {}
    own: set[str] = set()
    parts = [code]
    while parts:
        part = parts.pop()
        for step in dis.get_instructions(part):
            if step.opname in ("LOAD_NAME", "LOAD_GLOBAL"):
                found[step.argval] = None
            elif step.opname in ("STORE_NAME", "STORE_GLOBAL") and (part is code or step.opname == "STORE_GLOBAL"):
                own.add(step.argval)
        parts += [c for c in part.co_consts if isinstance(c, types.CodeType)]
    return [n for n in found if n not in own]


def _where(error: BaseException) -> str:
    """What went wrong in a test, and on which of its lines."""
    line, trace = 0, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == TEST:
            line = trace.tb_lineno
        trace = trace.tb_next
    source = linecache.cache.get(TEST)
    text = source[2][line - 1].strip()[:200] if source and len(source) == 4 and 0 < line <= len(source[2]) else ""
    what = "assertion failed" if type(error) is AssertionError else _short(error)
    return f"{what}{f' in line {line}: {text}' if text else ''}"


def _said(answer: dict[str, Any]) -> str:
    return f"{wire.line(answer.get('raised'))}: {wire.line(answer.get('message', ''))}"


def _short(error: BaseException) -> str:
    text = wire.line(error)
    kind = wire.line(type(error).__name__)
    return f"{kind}: {text}" if text else kind
