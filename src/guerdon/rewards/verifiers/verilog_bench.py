"""A testbench, tried once with its reference before it judges any design."""

from __future__ import annotations

import hashlib
import re
import shutil
import threading
from collections import OrderedDict
from dataclasses import dataclass, field, replace

from guerdon.rewards.sandbox import Ended, Limits, shared_sandbox
from guerdon.rewards.verifiers.verilog_ports import Header, driven, header, hull
from guerdon.rewards.verifiers.verilog_source import Unreadable, defined, fresh, has_macros, read, renamed, roots

REMEMBERED = 4096  # benches kept by one process
STEPS = 4  # of one run
_VERDICT = re.compile(r"^Mismatches: (\d+) in (\d+) samples[ \t]*$", re.MULTILINE)
_TOTAL = re.compile(r"Total mismatched samples is (\d+) out of (\d+) samples")
_AFTER = re.compile(r"(?:\s*|.*: \$finish called at .*)*")


@dataclass(frozen=True)
class Task:
    """What a bench is made from; see ``Verilog``."""

    test: str
    reference: str
    interface: str
    top: str
    reference_top: str
    timeout: float


@dataclass(frozen=True)
class Bench:
    """A testbench that is ready for designs.

    Args:
        task: What it was made from.
        reason: Why it cannot judge; "" where it can.
        header: Ports of the module that is asked for; None where the task does not give them.
        prefix: What no name of the testbench and the reference has in it.
        inner: The same for names of the hull.
        roots: Modules that the simulation starts from.
        samples: Samples that the reference was compared in; 0 where there is no reference.
        limits: What a design may use.
        lasting: Whether a second try would find the same.
    """

    task: Task
    reason: str = ""
    header: Header | None = None
    prefix: str = "own_"
    inner: str = "hull_"
    roots: tuple[str, ...] = ()
    samples: int = 0
    limits: Limits = field(default_factory=Limits)
    lasting: bool = True

    def run(self, head: Header, design: str) -> list[Ended]:
        """Compile the design alone in a one-way hull, look at the hull's wires, compile all, simulate.

        The design comes last: nothing follows that an open end of it could take in.
        """
        task = self.task
        # With parameters the design may be another one than the one that was looked at, so the hull stays one-way.
        given = bool(head.parameters) and re.search(rf"\b{task.top}\s*#", task.test) is not None
        alone, joined = (
            "`default_nettype wire\n" + hull(task.top, head, self.prefix, self.inner, one_way=way, parameters=given)
            for way in (True, given)
        )
        files = {
            "test.sv": task.test,
            "reference.sv": "" if task.top in defined(read(task.reference)) else task.reference,
            "joined.sv": joined,
            "alone.sv": alone,
            "design.sv": design,
        }
        starts = [a for r in self.roots for a in ("-s", r)]
        steps = [
            compiler("-s", task.top, "-o", "alone", "alone.sv", "design.sv"),
            [shutil.which("grep") or "grep", "-F", f'"{self.inner}', "alone"],
            compiler(*starts, "-o", "bench", "test.sv", "reference.sv", "joined.sv", "design.sv"),
            [shutil.which("vvp") or "vvp", "-n", "bench", "-none"],  # without a waveform file
        ]
        return shared_sandbox().command(steps, files=files, limits=self.limits)


def bench_for(task: Task) -> Bench:
    """The bench of a task, from memory where it was tried before."""
    key = hashlib.blake2b(repr(task).encode("utf8", "surrogatepass"), digest_size=16).digest()
    with _lock:
        if key in _known:
            _known.move_to_end(key)
            return _known[key]
        mine = _making.setdefault(key, threading.Lock())
    with mine:
        with _lock:
            if key in _known:
                return _known[key]
        bench = tried(task)
        with _lock:
            _making.pop(key, None)
            if bench.lasting:
                _known[key] = bench
                while len(_known) > REMEMBERED:
                    _known.popitem(last=False)
    return bench


def tried(task: Task) -> Bench:
    """The bench of a task, after a run of the reference as the design (or, without one, after compiling the testbench)."""
    texts = (task.test, task.reference, task.interface)
    bench = Bench(task, prefix=fresh("own_", *texts), inner=fresh("hull_", *texts), limits=_limits(task.timeout))
    bench = replace(bench, roots=tuple(roots(read(task.test))))
    reference = read(task.reference)
    name = next((n for n in (task.reference_top, task.top) if n in defined(reference)), "")
    if task.reference.strip() and not name:
        return replace(bench, reason=f"the reference defines no module {task.reference_top}")
    try:
        reference = read(preprocessed(task.reference, bench.limits))
        if task.interface.strip():
            bench = replace(bench, header=header(read(task.interface), task.top))
        elif name:
            bench = replace(bench, header=header(reference, name))
    except Unreadable as e:
        return replace(bench, reason=f"the reference or the interface cannot be used: {e}")
    except Stopped as e:
        return _unusable(bench, e.ended, "the reference cannot be preprocessed")
    if not name:
        starts = [a for r in bench.roots for a in ("-s", r)]
        command = compiler("-i", *starts, "-o", "bench", "test.sv")  # -i: without the modules that are missing
        ended = shared_sandbox().command([command], files={"test.sv": task.test}, limits=bench.limits)[-1]
        return bench if ended.ok else _unusable(bench, ended, "the testbench does not compile")
    assert bench.header is not None
    # The reference once more as the design, under names of its own.
    again = renamed([t._replace(text=task.top) if t.text == name and t.kind == "name" else t for t in reference], bench.prefix)
    steps = bench.run(bench.header, again)
    if not steps[-1].ok:
        return _unusable(
            bench, steps[-1], f"the testbench does not {'end' if len(steps) == STEPS else 'compile'} with its reference"
        )
    if inputs := driven(steps[1].stdout, bench.header, bench.inner):
        return replace(bench, reason=f"the reference drives its input {inputs[0]}, or this iverilog's netlist has another form")
    found = tally(steps[-1].stdout)
    if isinstance(found, str):
        return replace(bench, reason=f"the testbench gives no verdict on its reference: {found}")
    if found[0]:
        return replace(bench, reason=f"the reference itself differs in {found[0]} of {found[1]} samples")
    spent = sum(s.cpu or s.seconds for s in steps)
    return replace(bench, samples=found[1], limits=_limits(min(task.timeout, 5 + 20 * spent)))


class Stopped(Exception):
    """A source whose preprocessing ended as ``ended`` says."""

    def __init__(self, ended: Ended):
        super().__init__(ended.reason)
        self.ended = ended


def preprocessed(source: str, limits: Limits) -> str:
    """The source with its macros expanded, if it has any, with nothing else beside it.

    Raises:
        Refused: for directives that a design does not need.
        Stopped: where the preprocessor failed or took too much.
    """
    if not has_macros(source):
        return source
    plain = {"design.sv": source.encode("ascii", "replace").decode()}
    ended = shared_sandbox().command([compiler("-E", "-o", "-", "design.sv")], files=plain, limits=limits)[-1]
    if not ended.ok:
        raise Stopped(ended)
    return ended.stdout


def tally(stdout: str) -> tuple[int, int] | str:
    r"""(mismatches, samples) of a verdict, or why there is none. It must be there once, at the end, and agree with itself.

    >>> tally("Mismatches: 1 in 20 samples\n"), tally("Mismatches: 0 in 20 samples\nMismatches: 1 in 20 samples\n")
    ((1, 20), 'the verdict was printed 2 times')
    """
    lines = list(_VERDICT.finditer(stdout))
    if len(lines) != 1:
        return f"the verdict was printed {len(lines)} times" if lines else "no line 'Mismatches: M in N samples' was printed"
    if not _AFTER.fullmatch(stdout[lines[0].end() :]):
        return "something was printed after the verdict"
    bad, seen = int(lines[0][1]), int(lines[0][2])
    if any((int(m[1]), int(m[2])) != (bad, seen) for m in _TOTAL.finditer(stdout)):
        return "the totals of the verdict differ"
    return (bad, seen) if 0 <= bad <= seen and seen else f"{bad} mismatches in {seen} samples"


def compiler(*arguments: str) -> list[str]:
    """The command that compiles; its temporary files go to the scratch folder."""
    return ["/usr/bin/env", "TMPDIR=.", shutil.which("iverilog") or "iverilog", "-g2012", *arguments]


def first_error(text: str) -> str:
    r"""The first line that says what is wrong, with the design's line number.

    >>> first_error("design.sv:3: warning: x\ndesign.sv:4: error: y\n")
    'line 4: error: y'
    """
    lines = [line for line in text.splitlines() if line.strip()]
    wrong = [line for line in lines if re.search(r"error|sorry", line)] or lines
    return re.sub(r"^design\.sv:", "line ", wrong[0])[:200] if wrong else ""


def _limits(seconds: float) -> Limits:
    return Limits(cpu=seconds, wall=4 * seconds, scratch=64 << 20, processes=8)


def _unusable(bench: Bench, ended: Ended, what: str) -> Bench:
    said = first_error(ended.stderr).replace(bench.prefix, "") if ended.cause == "exit" else ""
    return replace(bench, reason=f"{what}: {said or ended.reason}", lasting=ended.cause != "sandbox")


_known: OrderedDict[bytes, Bench] = OrderedDict()
_making: dict[bytes, threading.Lock] = {}
_lock = threading.Lock()
