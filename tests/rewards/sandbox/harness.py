"""Runs the attacks of a level against the sandbox, one after another, and says of each what it achieved.

    python harness.py --level LEVEL [--lanes N] [--kinds KIND ...] [--only TEXT] [--some N [--turn K]] [--honest] --out FILE

A line of JSON in FILE for each: kind, name, effects (what it must not have had; empty where all is well), cause, reason, seconds. After
each attack, an honest program must pass, and a wrong one fail, in the same lane. Started again, it goes on behind what was done.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import secrets
import signal
import sys
import time
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))


def without_torch() -> None:
    """Only the sandbox is needed: its packages without what they import, which takes seconds for every cell of the matrix."""
    spec = importlib.util.find_spec("guerdon")
    assert spec is not None and spec.submodule_search_locations
    place = Path(next(iter(spec.submodule_search_locations)))
    for name in ("guerdon", "guerdon.core", "guerdon.rewards"):
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].__path__ = [str(place.joinpath(*name.split(".")[1:]))]
    vars(sys.modules["guerdon.core"]).update(vars(importlib.import_module("guerdon.core.errors")))


without_torch()
from cases import HONEST, KINDS, SAME, TASKS, Attack, attacks, look_alikes, some  # noqa: E402
from effects import World  # noqa: E402

from guerdon.core import RewardError  # noqa: E402
from guerdon.rewards.sandbox import Ended, Limits, Sandbox  # noqa: E402
from guerdon.rewards.sandbox.level import level_named  # noqa: E402

HUNG = 100.0  # seconds after which a worker that says nothing is given up
SLACK = 3.0  # seconds that an attack may take beyond its limit


class Lane:
    """One lane of the sandbox with a world around it."""

    def __init__(self, level: str):
        self.world = World()
        os.environ.update(TMPDIR=str(self.world.tmp), HOME=str(self.world.home), KEY=self.world.secrets["ENV"])
        os.environ.pop("TEMP", None)
        import tempfile

        tempfile.tempdir = str(self.world.tmp)
        self.box = Sandbox(level=level, lanes=1)
        self.token = "TOKEN-" + secrets.token_hex(12)
        self.known = list(self.after())
        self.box.command([[sys.executable, "-c", "pass"]])
        self.world.ready()

    def after(self, task: str = "secret", limits: Limits | None = None) -> Iterator[str]:
        """What is wrong with the verdicts on an honest and on a wrong program."""
        given, test, call = TASKS[task]
        for digits, right in ((self.token.partition("-")[2], True), ("0" * 24, False)):
            program = HONEST.replace("@HEX@", digits)
            found = self.box.exam(program, test.replace("@TOKEN@", self.token), given=given, call=call, limits=limits)
            if found.passed != right or found.ended.cause == "sandbox":
                what = "an honest" if right else "a wrong"
                yield f"afterwards {what} program: passed {found.passed}, {found.note} ({found.ended.cause} {found.ended.reason})"

    def run(self, attack: Attack) -> dict[str, Any]:
        limits = Limits(**attack.use())
        source = attack.program(self.world.constants() | {"ALLOWED": self.allowed(limits)})
        began = time.monotonic()
        try:
            ended, told, effects, seconds = self.put(attack, source, limits)
        except Exception as e:  # noqa: BLE001  whatever it was, it must not come out
            ended, told, effects, seconds = Ended(), "", [f"raised {type(e).__name__}: {str(e)[:200]}"], time.monotonic() - began
        told += ended.stdout + ended.stderr + ended.reason
        written = len(ended.stdout) + len(ended.stderr)
        count = len(re.findall("^STARTED ", told, re.M))
        reached = dict.fromkeys(m[1][:200] for m in re.finditer(r"(?:^|Exception: )REACHED (.*)$", told, re.M))
        effects += [f"output of {written}"] * (written > 2 * limits.output + 1000)
        effects += ["cannot be checked: " + ended.reason] * (ended.cause == "sandbox" and attack.how != "test")
        effects += [*_note(ended.reason), *list(reached)[:5]]
        effects += [f"started {count} processes"] * (count > self.allowed(limits))
        effects += ["got out the token of the test"] * (self.token in told)
        effects += [f"took {seconds:.1f} s, allowed are {limits.wall + SLACK:g}"] * (seconds > limits.wall + SLACK)
        effects += self.world.effects(told)
        if attack.task in SAME:  # the same test again: its judge may have been kept
            effects += self.after(attack.task, limits)
        self.token = "TOKEN-" + secrets.token_hex(12)
        effects += self.after()
        if self.world.settled():
            self.box.command([[sys.executable, "-c", "pass"]])
        effects += self.world.settled()
        return result(attack.kind, attack.name, effects, ended, seconds, self.world.replaced())

    def put(self, attack: Attack, source: str, limits: Limits) -> tuple[Ended, str, list[str], float]:
        """How an attack ended, what else it said, what it achieved at once, and how long it took (the last time, if repeated)."""
        began = time.monotonic()
        if attack.how == "exam":
            given, test, call = TASKS[attack.task]
            for _ in range(attack.repeat):
                began = time.monotonic()
                found = self.box.exam(source, test.replace("@TOKEN@", self.token), given=given, call=call, limits=limits)
                if found.passed:
                    break
            seconds = time.monotonic() - began
            return found.ended, found.note, ["PASSED"] * found.passed + _note(found.note), seconds
        if attack.how == "test":  # a stranger's: it may say of its own task what it likes, and do nothing else
            call = "solve" if attack.task == "solve" else ""
            found = self.box.exam("def solve(n):\n    return n\n", source, call=call, limits=limits)
            seconds = time.monotonic() - began
            effects = _note(found.note) + self.world.idle()
            effects += self.after()  # another test, so the judge that held this one goes
            return found.ended, str(found.note), effects, seconds
        if attack.how == "calls":
            called = self.box.calls(source, [("solve", [n], {}) for n in range(2, 6)], limits=limits)
            strange = [f"an answer is no plain data: {type(a)}" for a in called.answers if _strange(a)]
            return called.ended, repr(called.answers)[:10_000], strange, time.monotonic() - began
        if attack.how == "script":
            ended = self.box.script(source, limits=limits)
        else:
            ended = self.box.command([[sys.executable, "-I", "-c", source]], limits=limits)[-1]
        return ended, "", [], time.monotonic() - began

    def look_alike(self, case: dict[str, Any]) -> dict[str, Any]:
        """A legitimate program that does what attacks do."""
        limits = Limits(**case.get("limits", {}))
        self.world.constants()
        effects = []
        if "test" in case:
            found = self.box.exam(
                case["source"], case["test"], given=case.get("given", ""), call=case.get("call", ""), limits=limits
            )
            ended = found.ended
            effects += [] if found.passed else [f"{found.note} ({ended.cause}: {ended.reason})"]
        else:
            ended = self.box.script(case["source"], stdin=case.get("stdin", ""), files=case.get("files", {}), limits=limits)
            good = ended.ok and ended.stdout == case.get("stdout", "ok\n").replace("@99999", "x" * 99_999 + "\n")
            effects += [] if good else [f"{ended.cause}: {ended.reason}, printed {ended.stdout[-200:]!r} {ended.stderr[-300:]!r}"]
        effects += self.world.effects("") + self.world.settled()
        return result("honest", case["name"], effects, ended)

    def allowed(self, limits: Limits) -> int:
        """Processes that a program may have started in its time. Resource limits do not tell threads from processes."""
        return 2 * (limits.threads + limits.processes + 8) if limits.processes or self.box.level.name == "rlimits" else 0

    def close(self) -> list[str]:
        self.box.close()
        return self.world.close()


def _note(text: Any) -> list[str]:
    good = isinstance(text, str) and len(text) < 1000 and all(c.isprintable() for c in text)
    return [] if good else [f"a note that is not one printable line: {text[:100]!r}"]


def _strange(answer: Any) -> bool:
    value = getattr(answer, "value", None)
    return value is not None and type(value).__module__ not in ("builtins", "collections", "decimal", "fractions", "datetime")


def result(
    kind: str, name: str, effects: list[str], ended: Ended | None = None, seconds: float = 0.0, replaced: int = 0
) -> dict[str, Any]:
    """One line of the outcome."""
    cause, reason = (ended.cause, ended.reason[:120]) if ended else ("", "")
    return {
        "kind": kind,
        "name": name,
        "effects": effects,
        "cause": cause,
        "reason": reason,
        "seconds": round(seconds, 2),
        "replaced": replaced,
    }


def named(case: Attack | dict[str, Any]) -> list[str]:
    return [case.kind, case.name] if isinstance(case, Attack) else ["honest", case["name"]]


def work(level: str, cases: list[Any], out: Path) -> None:
    """One worker: its cases, one after another; each is announced before it runs."""
    with out.open("a", buffering=1) as file:

        def say(line: dict[str, Any]) -> None:
            file.write(json.dumps(line) + "\n")

        lane = Lane(level)
        if lane.known:
            say(result("start", "start", lane.known))
        for case in cases:
            say({"begin": named(case)})
            found = lane.run(case) if isinstance(case, Attack) else lane.look_alike(case)
            say(found)
            if any("changed in guerdon" in e or "no longer what it was" in e for e in found["effects"]):
                break  # a fresh worker goes on
        if left := lane.close():
            say(result("end", "close", left))


def done(out: Path) -> tuple[list[dict[str, Any]], list[list[str]]]:
    """Results so far, and what was begun without a result."""
    lines = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
    results = [x for x in lines if "effects" in x]
    ended = [[r["kind"], r["name"]] for r in results]
    return results, [x["begin"] for x in lines if "begin" in x and x["begin"] not in ended]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--level", required=True)
    parser.add_argument("--lanes", type=int, default=2)
    parser.add_argument("--kinds", nargs="*", default=[])
    parser.add_argument("--only", default="")
    parser.add_argument("--some", type=int, default=0, help="of every kind at most so many")
    parser.add_argument("--turn", type=int, default=0, help="which ones: another number, another choice")
    parser.add_argument("--honest", action="store_true")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    private = os.environ.get("PRIVATE_PROCESSES") == "1"
    try:
        level = level_named(None if args.level == "best" else args.level)
    except RewardError as e:
        args.out.write_text(json.dumps({"missing": str(e)}) + "\n")
        return
    cases: list[Any] = [a for a in attacks() if (not args.kinds or a.kind in args.kinds) and args.only in a.name]
    chosen = [a for a in cases if private or not (a.wide or a.kind not in level.stops)]
    alike = [c for c in (look_alikes() if args.honest else []) if args.only in c["name"]]
    if args.some:
        quick = [a for a in chosen if not a.slow or a.kind in level.stops]
        chosen = [a for kind in KINDS for a in some([c for c in quick if c.kind == kind], args.some, args.turn)]
        alike = some(alike, 2 * args.some, args.turn)
    open_ones = [a for a in chosen if a.kind not in level.stops]
    cases = [a for a in chosen if a.kind in level.stops] + alike
    files = [args.out.with_suffix(f".{k}") for k in range(args.lanes + 1)]
    # What the level stops runs side by side; what it does not stop may hit the neighbours, so it runs alone, at the end.
    plans = [(files[k], cases[k :: args.lanes]) for k in range(args.lanes)]
    side_by_side(level.name, plans)
    side_by_side(level.name, [(files[-1], open_ones)])
    head = {"level": level.name, "stops": [k for k in KINDS if k in level.stops], "note": level.note, "private": private}
    results = [r for f in files if f.exists() for r in done(f)[0]]
    args.out.write_text("".join(json.dumps(r) + "\n" for r in [head, *results]))


def side_by_side(level: str, plans: list[tuple[Path, list[Any]]]) -> None:
    running: dict[int, tuple[Path, list[Any]]] = {}
    tries: dict[tuple[Path, int], int] = {}

    def start(out: Path, cases: list[Any]) -> None:
        results, lost = done(out)
        with out.open("a") as file:
            file.writelines(json.dumps(result(*name, ["guerdon's process died"])) + "\n" for name in lost)
        past = [[r["kind"], r["name"]] for r in results] + lost
        left = [c for c in cases if named(c) not in past]
        tries[out, len(left)] = tries.get((out, len(left)), 0) + 1
        if not left or tries[out, len(left)] > 2:
            return
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            code = 1
            try:
                work(level, left, out)
                code = 0
            except BaseException:  # noqa: BLE001  said on standard error; the plan goes on behind it
                import traceback

                traceback.print_exc()
            finally:
                os._exit(code)
        running[pid] = (out, cases)

    for plan in plans:
        start(*plan)
    while running:
        pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
        if pid and os.WIFSTOPPED(status):  # an attack did that; its effect is told by what comes late
            os.kill(pid, signal.SIGCONT)
        elif pid in running:
            out, cases = running.pop(pid)
            start(out, cases)
        elif not pid:
            time.sleep(0.05)
            for worker, (out, _) in running.items():
                if out.exists() and time.time() - out.stat().st_mtime > HUNG:
                    os.kill(worker, signal.SIGKILL)


if __name__ == "__main__":
    main()
