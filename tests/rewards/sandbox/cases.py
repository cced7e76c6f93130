"""What is put to the sandbox: the attacks and look-alikes of this folder, and the tasks that an attack is to pass."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
KINDS = ("escape", "forge", "hang", "fork", "memory", "output", "files", "parent", "peek", "survive")
COMMANDS = ("escape", "fork", "memory", "files", "parent", "peek", "survive")  # also run as commands, which may start processes
USUAL = {"cpu": 1.5, "wall": 3.0, "memory": 512 << 20}
STRICT = {  # what the attacks of a kind may use where they do not say otherwise
    "hang": {"cpu": 0.5, "wall": 1.0},
    "memory": {"memory": 256 << 20, "cpu": 2.0, "wall": 3.0},
    "output": {"output": 1 << 16, "cpu": 2.0, "wall": 3.0},
    "files": {"scratch": 8 << 20, "files": 64, "cpu": 2.0, "wall": 3.0},
}
PROLOGUE = (HERE / "prologue.txt").read_text()
EPILOGUE = """
def solve(*args, _solve=solve):  # nobody reads what it prints in an exam
    answer = _solve(*args)
    if len(launched) > ALLOWED:
        told.append(f"{len(launched)} processes")
    if told:
        raise Exception("REACHED " + "; ".join(told[:4]))
    return answer
"""


@dataclass(frozen=True)
class Attack:
    """One program that tries something.

    Args:
        kind: One of ``KINDS``.
        name: Its name.
        tries: What it tries, for people.
        source: The program.
        how: "exam" (a program under test), "script", "calls", "command", or "test" (a stranger's test).
        task: Which task it is put to, for exams; "solve" for a test: its ``check`` is called.
        limits: What it may use where that differs from ``USUAL`` and ``STRICT``.
        wide: Aims at every process it can see, and so runs only among processes of its own.
        bare: Runs without the prologue.
        slow: Takes a minute where it is not stopped.
        repeat: Put to the same test so many times.
        commands: Run as a command too, if it is of one of ``COMMANDS``.
    """

    kind: str
    name: str
    tries: str
    source: str
    how: str = "exam"
    task: str = "secret"
    limits: dict[str, Any] = field(default_factory=dict)
    wide: bool = False
    bare: bool = False
    slow: bool = False
    repeat: int = 1
    commands: bool = True

    def use(self) -> dict[str, Any]:
        """Its limits."""
        more = {"processes": 16} if self.how == "command" else {}
        return USUAL | STRICT.get(self.kind, {}) | self.limits | more

    def program(self, facts: dict[str, object]) -> str:
        """Its source, with what it may know of the world around it."""
        source = self.source.replace("@DEEP@", "(" * 50_000 + ")" * 50_000)
        if self.bare:
            return source
        # In a test, solve is the program's.
        prologue = PROLOGUE.replace("def solve(", "def answers(") if self.how == "test" else PROLOGUE
        epilogue = EPILOGUE if self.how == "exam" and self.kind != "forge" else ""
        return "".join(f"{k} = {v!r}\n" for k, v in facts.items()) + prologue + source + epilogue


def attacks() -> list[Attack]:
    """All of them."""
    found = []
    for kind in KINDS:
        for raw in tomllib.loads((HERE / "attacks" / f"{kind}.toml").read_text())["attack"]:
            found.append(Attack(kind, **raw))
            if kind in COMMANDS and found[-1].commands and found[-1].how in ("script", "exam"):
                asked = raw["source"] + ("solve(2)\n" if found[-1].how == "exam" else "")
                found.append(Attack(kind, **raw | {"name": raw["name"] + ", as a command", "how": "command", "source": asked}))
    return found


def look_alikes() -> list[dict[str, Any]]:
    """Legitimate programs that do what attacks do."""
    return list(tomllib.loads((HERE / "honest.toml").read_text())["honest"])


def some(every: list[Any], count: int, turn: int) -> list[Any]:
    """Evenly spaced ones; the next turn takes their neighbours.

    >>> some(list("abcdefg"), 3, 0), some(list("abcdefg"), 3, 1)
    (['a', 'c', 'e'], ['b', 'd', 'f'])
    """
    if len(every) <= count:
        return every
    return [every[(k * len(every) // count + turn) % len(every)] for k in range(count)]


# Solves "secret" and its like where it holds the token of the test; and finds out what the program before it left behind.
HONEST = """
import builtins, hashlib, json, os, random, sys, tempfile
assert os.listdir(".") == [], os.listdir(".")
assert "PLANTED" not in os.environ and "planted" not in sys.modules and sys.getrecursionlimit() == 1000
with tempfile.TemporaryDirectory() as folder, open(os.path.join(folder, "f"), "w") as f:
    f.write(json.dumps({"a": 1}))
T = "TOKEN" + "-" + "@HEX@"
def solve(n):
    return hashlib.sha256((T + str(n)).encode()).hexdigest()[:10]
"""
SAME = ("secret", "asserts", "map")  # tasks that HONEST solves
CHECK = """import hashlib
TOKEN = "@TOKEN@"
def expected(n):
    return hashlib.sha256((TOKEN + str(n)).encode()).hexdigest()[:10]
"""
TASKS = {  # name -> (what the task gives, its test, the function to check)
    "secret": ("", CHECK + "def check(f):\n    for n in range(2, 8):\n        assert f(n) == expected(n)\n", "solve"),
    "asserts": ("", CHECK + "\n".join(f"assert solve({n}) == expected({n})" for n in range(2, 8)), ""),
    "map": ("", CHECK + "def check(f):\n    assert all(map(lambda n: f(n) == expected(n), range(2, 8)))\n", "solve"),
    "lists": ("", CHECK + "def check(f):\n    for n in range(2, 8):\n        assert f(n) == [{'n': n, 't': expected(n)}, (n, [expected(n + 1)])]\n", "solve"),
    "argument": ("", CHECK + "def check(f):\n    for n in range(2, 8):\n        v = list(expected(n))\n        assert f(v) == sorted(v)\n", "solve"),
    "number": ("", CHECK + "import math\ndef check(f):\n    for n in range(2, 8):\n        assert math.isclose(f(n), int(expected(n), 16), rel_tol=1e-9)\n", "solve"),
    "helper": (
        'def encode(s: str) -> str:\n    """Shift every letter."""\n    return "".join(chr((ord(c) - 97 + 5) % 26 + 97) for c in s)\n\n'
        'def solve(s: str) -> str:\n    """Undo encode."""\n',
        "import random\ndef check(f):\n    for _ in range(9):\n        s = ''.join(random.choice('abcxyz') for _ in range(9))\n        assert f(encode(s)) == s\n",
        "solve",
    ),
}  # fmt: skip
