"""Verilog: a hardware design that does what its testbench asks."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from guerdon.core import PlanError
from guerdon.rewards.sandbox import Ended
from guerdon.rewards.verifiers.verifier import Checked, Verifier
from guerdon.rewards.verifiers.verilog_bench import STEPS, Bench, Stopped, Task, bench_for, first_error, preprocessed, tally
from guerdon.rewards.verifiers.verilog_ports import Header, driven, header, own_word
from guerdon.rewards.verifiers.verilog_source import Refused, Unreadable, defined, design, read, renamed

_FENCED = re.compile(r"^[ \t]*(`{3,}|~{3,})[^\n]*\n(.*?)(?:^[ \t]*\1|\Z)", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Verilog(Verifier):
    """1 where a SystemVerilog module behaves as its testbench asks in every sample, else 0; the part ``share`` is the share.

    The output is the source, or has it in fenced blocks (the last one that defines the module). The testbench prints
    ``Mismatches: M in N samples`` as its last line, once (as VerilogEval's do, arXiv 2309.07544, 2408.11053); samples that the
    reference reaches and the design does not are mismatches.

    A design runs in the same simulation as its testbench, so it is read before it runs. It is total 0 with a note, and part
    ``refused`` 1, for system calls beside pure functions (``$signed``, ``$clog2``), reserved words that designs do not need
    (``force``, ``bind``, ``import "DPI-C"``), and directives such as ``include``. Every name in it gets a prefix that the
    testbench and the reference do not use, so that none of their modules, signals and tasks can be named, upward or downward.
    A design that drives its own inputs is refused, as these are the reference's inputs too: the compiled netlist shows it.

    What stays possible: a design may count clock edges and answer from a table, as the stimulus is the same each time; it may be
    no hardware (delays, ``initial``, loops that end within the time limit); it may drive an ``inout`` port at any time. Where a
    task has neither reference nor interface, the design's own word counts for which of its ports are inputs. The time scale and
    default net type that a design sets are ignored. A fault of the simulator itself that lets a design run code of its own would
    forge a verdict; it stays in the sandbox.

    A row is not ok where the testbench itself cannot be used: it does not compile, does not end, prints no count, or the
    reference has mismatches under it. This is tried once per task, with the reference as the design.

    Args:
        test: Column with the testbenches.
        reference: Column with the reference modules, "" for none; entries may be empty.
        interface: Column with the module's header where the reference has other ports, "" for none.
        top: Name of the module that is asked for.
        reference_top: Name of the module in the reference.
        partial: Whether the reward is the share of samples without a mismatch. Off, as it is in the benchmark, because a design
            that does nothing gets much of it: with all outputs at 0 the share over VerilogEval is 0.37 on average.
        timeout: Seconds of processor time, at most. A design has 5 s and 20 times what the reference took, if that is less.

    Raises:
        PlanError: where iverilog is missing.

    Example:
        >>> from guerdon.rewards import recorded
        >>> test = '''module tb; reg a = 0; wire good, q; int n, bad; RefModule r(a, good); TopModule t(a, q);
        ...   initial begin repeat (8) begin #1 n++; if (q !== good) bad++; a = ~a; end
        ...     $display("Mismatches: %0d in %0d samples", bad, n); $finish; end endmodule'''
        >>> inverter = "module RefModule(input a, output q); assign q = ~a; endmodule"
        >>> answers = [f"module TopModule(input a, output q); {gate} (q, a); endmodule" for gate in ("not", "buf")]
        >>> Verilog()(recorded(["invert a"] * 2, answers, {"test": [test] * 2, "reference": [inverter] * 2})).total.tolist()
        [1.0, 0.0]
    """

    test: str = "test"
    reference: str = "reference"
    interface: str = ""
    top: str = "TopModule"
    reference_top: str = "RefModule"
    partial: bool = False
    timeout: float = 60.0
    side_by_side: ClassVar[int] = max(1, min(4, os.cpu_count() or 1))

    def __post_init__(self) -> None:
        if not self.timeout > 0:
            raise PlanError(f"Verilog: timeout must be above 0 s, got {self.timeout}")
        for name in ("top", "reference_top"):
            if not re.fullmatch(r"[A-Za-z_]\w*", value := getattr(self, name)):
                raise PlanError(f"Verilog: {name} must be the name of a module, got {value!r}")
        for program in ("iverilog", "vvp"):
            if shutil.which(program) is None:
                raise PlanError(f"Verilog needs the program {program}: apt install iverilog")

    def columns(self) -> Mapping[str, str]:
        """The testbench, and the reference and interface where they have a column."""
        named = {"test": self.test, "reference": self.reference, "interface": self.interface}
        return {argument: column for argument, column in named.items() if column}

    def check(self, output: str, *, test: str, reference: str | None = None, interface: str | None = None) -> Checked:  # type: ignore[override]
        """The verdict on one output."""
        if not str(test or "").strip():
            return Checked(reason=f"there is no testbench in column {self.test!r}")
        bench = bench_for(Task(test, reference or "", interface or "", self.top, self.reference_top, self.timeout))
        if bench.reason:
            return Checked(reason=bench.reason)
        try:
            source = preprocessed(code_of(output, self.top), bench.limits)
            if self.top not in defined(read(source)):  # before it is refused for a word of its prose
                raise Unreadable(f"it defines no module {self.top}")
            tokens = design(source)
            head = bench.header or header(tokens, self.top)
            if not bench.header:
                own_word(head)
        except Stopped as e:
            return _stopped(e.ended, "preprocessing")
        except Unreadable as e:
            return _zero(str(e), refused=isinstance(e, Refused))
        return self._run(bench, head, renamed(tokens, bench.prefix))

    def _run(self, bench: Bench, head: Header, source: str) -> Checked:
        steps = bench.run(head, source)
        ended = steps[-1]
        if len(steps) >= 2 and steps[1].ok and (inputs := driven(steps[1].stdout, head, bench.inner)):
            return _zero(f"the design drives its input {inputs[0]}", refused=True)
        if not ended.ok and len(steps) < STEPS:
            unknown = re.search(r"Unknown module type: (\S+)", ended.stderr)
            if unknown and not unknown[1].lstrip("\\").startswith(bench.prefix):  # not a name of the design's
                return Checked(reason=f"the testbench needs a module {unknown[1]} that is not there")
            return _stopped(ended, "compiling", bench.prefix)
        if not ended.ok:
            return _stopped(ended, "the simulation", bench.prefix, compiles=1.0)
        found = tally(ended.stdout)
        if isinstance(found, str):
            if not bench.samples:  # nothing has shown that this testbench ever prints a count
                return Checked(reason=f"the testbench gives no verdict: {found}")
            return Checked(0.0, _parts(compiles=1.0), note=found)
        bad, seen = found
        lost = max(0, bench.samples - seen)
        share = 1 - (bad + lost) / (seen + lost)
        note = f"{bad} of {seen} samples differ" if bad else ""
        if lost:
            note = f"{note or 'the simulation ended early'}; {lost} samples were not reached"
        return Checked(share if self.partial else float(share == 1), _parts(compiles=1.0, share=share), note=note)


def code_of(output: str, top: str) -> str:
    r"""The last fenced block that defines the module, or the whole output where none does.

    >>> code_of("Here:\n```verilog\nmodule TopModule; endmodule\n```\nDone.", "TopModule")
    'module TopModule; endmodule\n'
    """
    blocks = [m[2] for m in _FENCED.finditer(output)]
    wanted = re.compile(rf"\bmodule\s+\\?{re.escape(top)}\b")
    return next((b for b in reversed(blocks) if wanted.search(b)), output)


def _parts(compiles: float = 0.0, share: float = 0.0, refused: float = 0.0) -> dict[str, float]:
    return {"compiles": compiles, "share": share, "refused": refused}


def _zero(note: str, refused: bool) -> Checked:
    return Checked(0.0, _parts(refused=float(refused)), note=note)


def _stopped(ended: Ended, what: str, prefix: str = "", compiles: float = 0.0) -> Checked:
    if ended.cause == "sandbox":
        return Checked(reason=ended.reason)
    if ended.cause == "exit":
        said = first_error(ended.stderr or ended.stdout)
        note = (said or f"{what} failed: {ended.reason}").replace(prefix or "\0", "")
    else:
        note = f"{what}: {ended.reason}"
    return Checked(0.0, _parts(compiles=compiles), note=note, lasting=ended.cause != "time")
