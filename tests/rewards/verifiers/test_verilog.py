"""Verilog designs under a testbench: what passes, what is wrong, what cannot be checked, and what tries to forge a verdict."""

import gzip
import json
import re
import shutil
from pathlib import Path

import pytest

from guerdon.core import PlanError, RewardError
from guerdon.rewards import recorded
from guerdon.rewards.sandbox import Limits, shared_sandbox
from guerdon.rewards.verifiers.verilog import Verilog
from guerdon.rewards.verifiers.verilog_bench import tally

pytestmark = pytest.mark.skipif(shutil.which("iverilog") is None, reason="needs iverilog: apt install iverilog")

# In the form of VerilogEval's: comparison in which X of the reference equals anything, the verdict in a final block.
# 39 samples, two per clock; q is b where a is set, and s sums it up.
TEST = """`timescale 1 ps/1 ps
module stimulus_gen(input clk, output reg a, output reg [1:0] b);
  initial begin
    a <= 0; b <= 0;
    repeat (20) @(posedge clk) begin a <= ~a; b <= b + 1; end
    #1 $finish;
  end
endmodule
module tb();
  typedef struct packed { int errors; int clocks; } stats;
  stats stats1;
  reg clk = 0;
  initial forever #5 clk = ~clk;
  logic a; logic [1:0] b; logic [1:0] q_ref, q_dut; logic [3:0] s_ref, s_dut;
  task wedge; stats1.errors = 0; endtask
  initial begin $dumpfile("wave.vcd"); $dumpvars(1, clk, a, b); end
  stimulus_gen stim1(.clk, .*, .a, .b);
  RefModule good1(.clk, .a, .b, .q(q_ref), .s(s_ref));
  TopModule top_module1(.clk, .a, .b, .q(q_dut), .s(s_dut));
  wire tb_match = ({q_ref, s_ref} === ({q_ref, s_ref} ^ {q_dut, s_dut} ^ {q_ref, s_ref}));
  always @(posedge clk, negedge clk) begin
    stats1.clocks++;
    if (!tb_match) stats1.errors++;
  end
  final begin
    $display("Hint: Total mismatched samples is %1d out of %1d samples\\n", stats1.errors, stats1.clocks);
    $display("Mismatches: %1d in %1d samples", stats1.errors, stats1.clocks);
  end
  initial begin #100000 $display("TIMEOUT"); $finish(); end
endmodule
"""
PORTS = "input clk, input a, input [1:0] b, output [1:0] q, output reg [3:0] s"
BODY = "assign q = b & {2{a}}; initial s = 0; always @(posedge clk) if (a) s <= s + b;"
REFERENCE = f"module RefModule({PORTS});\n{BODY}\nendmodule\n"
HONEST = REFERENCE.replace("RefModule", "TopModule")
CHECK = Verilog(timeout=10.0)
SHARE = Verilog(timeout=10.0, partial=True)


def judged(source: str, verifier: Verilog = CHECK, test: str = TEST, reference: str = REFERENCE):
    return verifier.check(source, test=test, reference=reference)


def top(body: str, ports: str = PORTS, more: str = "") -> str:
    return f"module TopModule({ports});\n{body}\nendmodule\n{more}"


def unguarded(source: str) -> str:
    """What the testbench prints where a design simply is compiled with it, design first, as is usual."""
    steps = [["/usr/bin/env", "TMPDIR=.", "iverilog", "-g2012", "-o", "sim", "d.sv", "t.sv", "r.sv"], ["vvp", "-n", "sim"]]
    files = {"d.sv": source, "t.sv": TEST, "r.sv": REFERENCE}
    return shared_sandbox().command(steps, files=files, limits=Limits(processes=8))[-1].stdout


def test_an_honest_design_passes_and_the_parts_say_so():
    checked = judged(HONEST)
    assert (checked.total, checked.reason, checked.note) == (1.0, "", "")
    assert dict(checked.parts) == {"compiles": 1.0, "share": 1.0, "refused": 0.0}


@pytest.mark.parametrize(
    ("change", "share"),
    [
        (("b & {2{a}}", "~b & {2{a}}"), None),
        (("b & {2{a}}", "b | {2{a}}"), None),
        (("s <= s + b", "s <= s - b"), None),
        (("s <= s + b;", "s <= 0;"), None),
        # a is set after the rising edges 1, 3, ..., 19, and b is odd there, so that q is not 0 until the next rising edge: at the
        # falling edge between, and at that rising edge, where the sample sees what was before it. Two samples for each of 10.
        (("b & {2{a}}", "0"), 1 - 20 / 39),
    ],
)
def test_a_mutated_reference_gets_less(change, share):
    mutated = HONEST.replace(*change)
    assert mutated != HONEST
    exact, partial = judged(mutated), judged(mutated, SHARE)
    assert exact.total == 0
    assert 0 <= partial.total < 1
    assert "differ" in partial.note
    assert exact.parts["share"] == partial.total
    if share is not None:
        assert partial.total == pytest.approx(share)


LOOK_ALIKES = {
    "comments and strings about forbidden things": top(
        f'// $finish; force tb.x\n/* `include "x" */ parameter M = "a /* b"; {BODY}'
    ),
    "macros": "`timescale 1ns/1ps\n`define ON(x) ((x) == 1'b1)\n`ifdef SIM\ninitial $display(1);\n`endif\n"
    + top("assign q = `ON(a) ? b : 2'd0; initial s = 0; always @(posedge clk) if (`ON(a)) s <= s + b;"),
    "a helper named as the reference": top(
        "RefModule u(a, b, q); initial s = 0; always @(posedge clk) s <= s + q;",
        more="module RefModule(input a, input [1:0] b, output [1:0] q); assign q = a ? b : 0; endmodule",
    ),
    "names of the testbench's": top(f"wire tb, good1, stats1; assign tb = good1; assign good1 = stats1; {BODY}"),
    "an enum with methods": top(
        "typedef enum logic [1:0] {A, B, C, D} kind; kind next; initial next = A; "
        f"always @(posedge clk) next <= next.next(); {BODY}"
    ),
    "a struct": top(
        "struct packed { logic [1:0] first; logic name; } p; assign p.first = b; assign p.name = a;"
        "assign q = p.first & {2{p.name}}; initial s = 0; always @(posedge clk) if (p.name) s <= s + p.first;"
    ),
    "ports declared in the body": "module TopModule(clk, a, b, q, s);\ninput clk, a; input [1:0] b;\n"
    f"output [1:0] q; output [3:0] s; reg [3:0] s;\n{BODY}\nendmodule",
    "generated instances": top(
        "genvar i; generate for (i = 0; i < 2; i = i + 1) begin : bits cell_t u(.x(b[i]), .y(a), .z()); assign q[i] = bits[i].u.z; end "
        "endgenerate initial s = 0; always @(posedge clk) s <= s + q;",
        more="module cell_t(input x, y, output z); and (z, x, y); endmodule",
    ),
    "functions, loops, casez": top(
        "function automatic [1:0] mask(input [1:0] v, input on); integer k; begin for (k = 0; k < 2; k = k + 1) mask[k] = v[k] & on; "
        "end endfunction reg [1:0] r; assign q = r; always @(*) casez (a) 1'b?: r = mask(b, a); endcase "
        "initial s = 0; always @(posedge clk) s <= s + r;"
    ),
    "parameters and system functions": top(
        "localparam W = $clog2(4); wire signed [W-1:0] v = $signed(b); assign q = $unsigned(v) & {$bits(b){a}};"
        "initial s = 0; always @(posedge clk) if (a) s <= s + b;"
    ),
    "an attribute and a delay": top(
        "(* keep = 1 *) wire x; assign q = b & {2{a}}; initial s = 0; always @(posedge clk) if (a) s <= #1 s + b;"
    ),
    "escaped names": top(f"wire \\a+b , \\q ; {BODY}".replace("\\q ", "\\qq ")),
    "a package": "package p; localparam ZERO = 0; endpackage\n" + top(f"import p::*; {BODY}".replace("s = 0", "s = ZERO")),
    "all types of ports": top(BODY, "input wire clk, a, input logic [1:0] b, output wire logic [1:0] q, output logic [3:0] s"),
    "tri-state inside": top(
        "wire [1:0] bus; drive u(bus, b, a); drive v(bus, 2'b0, ~a); assign q = bus; initial s = 0; always @(posedge clk) s <= s + q;",
        more="module drive(inout [1:0] bus, input [1:0] v, input on); assign bus = on ? v : 2'bz; endmodule",
    ),
    "numbers with spaces": top(BODY.replace("s = 0", "s = 4 'h 0").replace("{2{a}}", "{2 {a == 1'd1?1'b1:1'b0}}")),
    "default_nettype none": "`default_nettype none\n"
    + top(BODY, PORTS.replace("input", "input wire").replace("output [", "output wire [")),
    "a second root": top(BODY, more="module unused; reg x; initial x = 1; endmodule"),
    "in a fenced block": f"The design:\n```systemverilog\n{HONEST}```\nUse it so:\n```\nTopModule t(clk);\n```\n",
}


@pytest.mark.parametrize("name", LOOK_ALIKES)
def test_what_designs_do_is_not_refused(name):
    checked = judged(LOOK_ALIKES[name])
    assert (checked.total, checked.reason, checked.note) == (1.0, "", "")


FAKE = "Mismatches: 0 in 39 samples"
PRINT = f'$display("Hint: Total mismatched samples is 0 out of 39 samples\\n{FAKE}");'
FORGED = {  # name: design, what the note says, whether it is refused before it compiles
    "print and finish": (top(f"initial begin {PRINT} $finish; end"), "$display", True),
    "print in a function": (top(f"function f(input x); begin {PRINT} f = x; end endfunction assign q = f(a);"), "$display", True),
    "print at the end": (top(f"final {PRINT}"), "final", True),
    "print through an escaped call": (top(f'initial \\$display ("{FAKE}");'), "unknown task", False),
    "a failing assertion": (top(f'always @(posedge clk) assert (0) else $error("{FAKE}");'), "assert", True),
    "finish without a word": (top("initial #1 $finish;"), "$finish", True),
    "write the testbench's counter": (top("always @(clk) tb.stats1.errors = 0;"), "tb.stats1.errors", False),
    "the same from the root": (top("always @(clk) $root.tb.stats1.errors = 0;"), "$root", True),
    "the same, escaped": (top("always @(clk) \\tb .\\stats1 .errors = 0;"), "tb", False),
    "read the reference": (top("assign q = tb.good1.q; always @(*) s = tb.good1.s;"), "tb.good1.q", False),
    "read it upwards": (top("assign q = good1.q; always @(*) s = good1.s;"), "good1.q", False),
    "read what the testbench sees": (top("assign q = tb.q_ref; always @(*) s = tb.s_ref;"), "tb.q_ref", False),
    "instantiate the reference": (top("RefModule u(clk, a, b, q, s);", PORTS.replace("reg ", "")), "RefModule", False),
    "define the testbench": (top(BODY, more=f"module tb; initial begin {PRINT} $finish; end endmodule"), "$display", True),
    "define the reference": (top("", more="module RefModule(input clk, a, input [1:0] b, output [1:0] q, output [3:0] s); endmodule"),
                             "differ", False),
    "call the testbench's task": (top("always @(clk) wedge;"), "wedge", False),
    "disable the testbench's block": (top("initial disable tb.wedge;"), "tb.wedge", False),
    "force": (top("initial force tb.tb_match = 1;"), "force", True),
    "force by a macro": ("`define F for``ce\n" + top("initial `F tb.tb_match = 1;"), "force", True),
    "bind": (top("") + "bind tb evil e(); module evil; endmodule", "bind", True),
    "defparam": (top("defparam tb.good1.N = 1;"), "differ", False),
    "DPI": (top('import "DPI-C" function int system(int s); initial system(1);'), "import", True),
    "a shell": (top('initial $system("true");'), "$system", True),
    "a file": (top('reg [7:0] m [0:9]; initial $readmemh("test.sv", m);'), "$readmemh", True),
    "write a file": (top('integer f; initial f = $fopen("bench", "w");'), "$fopen", True),
    "include": ('`include "reference.sv"\n' + top("RefModule u(clk, a, b, q, s);", PORTS.replace("reg ", "")), "`include", True),
    "include by pasting": ('`define I(x) `x "/etc/passwd"\n' + top("`I(include)"), "", False),
    "a macro for the testbench": ("`define errors clocks\n`define RefModule TopModule\n" + top(""), "differ", False),
    "an open comment": (top("") + "/*", "comment", False),
    "an open macro": (top("") + "`define endmodule", "differ", False),
    "an open string": (top("") + 'parameter x = "', "no Verilog", False),
    "a string of the netlist's": (top('parameter P = "a\\" 0 0;\\n";'), "characters", True),
    "an open module": (top("") + "module more(", "error", False),
    "the stimulus's random numbers": (top("initial s = $urandom(7);"), "$urandom", True),
    "the time": (top("always @(*) s = $time;"), "$time", True),
    "a time unit": ("timeunit 1s;\n" + top(""), "timeunit", True),
    "a class": (top("") + "class c; endclass", "class", True),
    "arguments of the simulator": (top('reg x; initial x = $test$plusargs("x");'), "$test$plusargs", True),
    "drive an input": (top("assign a = 0; assign b = 0;"), "drives its input a", True),
    "drive it from a gate": (top("not (a, clk);"), "drives its input a", True),
    "drive it by an instance": (top("evil u(a);", more="module evil(output x); assign x = 0; endmodule"), "drives its input a", True),
    "drive it both ways": (top("evil u(b[1:0]);", more="module evil(inout [1:0] x); assign x = 2'bx; endmodule"), "input b", True),
    "drive it by a join": (top("evil u({b, a});", more="module evil(inout [2:0] x); assign x = 0; endmodule"), "drives its input", True),
    "call an input an output": (top("assign b = 0;", PORTS.replace("input [", "output [")), "drives its input b", True),
    "call an input both": (top("assign b = 2'bx;", PORTS.replace("input [1:0]", "inout [3:0]")), "drives its input b", True),
    "a net that holds itself": (top("", PORTS.replace("input a", "input tri1 a")), "drives its input a", True),
    "supply": (top("", PORTS.replace("input a", "input supply0 a")), "drives its input a", True),
    "a switch": (top("supply0 z; tran (z, a);"), "tran", True),
    "X everywhere": (top("assign q = 'x; initial s = 'x;"), "differ", False),
    "Z everywhere": (top("assign q = 'z; initial s = 'z;"), "differ", False),
    "no module": ("assign q = 0;", "no module TopModule", False),
    "no words": ("", "no module TopModule", False),
    "prose": ("I can't write this design, sorry.", "no module TopModule", False),
}  # fmt: skip


@pytest.mark.parametrize("name", FORGED)
def test_no_design_forges_a_verdict(name):
    source, note, refused = FORGED[name]
    checked = judged(source, SHARE)
    assert checked.reason == ""
    assert checked.total < 0.9
    assert note in checked.note
    assert checked.note
    assert checked.parts["refused"] == refused
    assert checked.parts["share"] < 1


def test_the_forgeries_work_where_nothing_stops_them():
    """Or the test above would say nothing."""
    verdict = re.compile(r"^Mismatches: 0 in \d+ samples$", re.MULTILINE)
    for name in (
        "print and finish",
        "read what the testbench sees",
        "instantiate the reference",
        "write the testbench's counter",
    ):
        assert verdict.search(unguarded(FORGED[name][0])), name
    # Nothing but ports: the reference's inputs become X, its outputs become X, and X equals anything.
    blind = top("evil u({b, a}); assign q = 0; initial s = 0;", more="module evil(inout [2:0] x); assign x = 0; endmodule")
    assert tally(unguarded(blind)) == (0, 39)
    assert judged(blind).note == "the design drives its input a"


def test_the_note_names_the_line():
    assert judged(top("\n\ninitial $finish;")).note == "line 4: $finish is not allowed in a design"
    assert judged(top("\n\nassign q = nothing;")).note.startswith("line 4: error: Unable to bind wire/reg/memory `nothing'")
    assert judged("`define X 1\n" + top("\nassign q = `X +* 2;")).note.startswith("line 4: syntax error")


HUNG = {
    "no time passes": top("reg x = 0; always @(x) x <= ~x; initial x = 1;"),
    "a loop": top("initial forever begin : spin integer k; k = k + 1; end"),
    "a memory": top("reg [1023:0] m [0:(1<<28)-1]; integer k; initial for (k = 0; k < 1 << 28; k = k + 1) m[k] = k;"),
    "modules in themselves": top("TopModule u(clk, a, b, q, s);"),
    "macros in macros": "".join(f"`define A{k} `A{k - 1} `A{k - 1} `A{k - 1} `A{k - 1}\n" for k in range(1, 14))
    + "`define A0 wire x;\n" + top("`A13"),
}  # fmt: skip


@pytest.mark.parametrize("name", HUNG)
def test_a_design_that_takes_too_much_is_wrong_and_the_next_is_judged(name):
    checked = judged(HUNG[name], Verilog(timeout=1.0))
    assert (checked.total, checked.reason) == (0.0, "")
    assert checked.note
    assert judged(HONEST).total == 1


@pytest.mark.parametrize(
    ("test", "reference", "why"),
    [
        ("", REFERENCE, "no testbench"),
        (TEST, "module Other; endmodule", "no module RefModule"),
        (TEST, REFERENCE.replace("endmodule", ""), "does not compile"),
        (TEST.replace("endtask", ""), REFERENCE, "does not compile"),
        (TEST, REFERENCE.replace("output [1:0] q,", ""), "does not compile"),
        (TEST.replace("Mismatches: %1d", "Missed: %1d"), REFERENCE, "no line"),
        (TEST.replace("final begin", "final begin $display(\"Mismatches: 0 in 1 samples\");"), REFERENCE, "printed 2 times"),
        (TEST.replace("stats1.clocks);\n  end", "stats1.clocks); $display(\"bye\");\n  end"), REFERENCE, "after the verdict"),
        (TEST.replace("stats1.clocks++;", ""), REFERENCE, "0 mismatches in 0 samples"),
        (TEST.replace("if (!tb_match)", "if (tb_match)"), REFERENCE, "the reference itself differs in"),
        (TEST.replace("$finish", "$write"), REFERENCE, "does not end"),
        (TEST, REFERENCE.replace(PORTS, PORTS.replace("input a", "input real a")), "type"),
        (TEST, "", "module RefModule that is not there"),
    ],
)  # fmt: skip
def test_a_testbench_that_cannot_be_used_is_nobodys_fault(test, reference, why):
    checked = judged(HONEST, Verilog(timeout=1.0), test, reference)
    assert why in checked.reason
    assert checked.total == 0


ALONE = """module tb; reg [7:0] x; wire [7:0] y; int n = 0, bad = 0; Twice #(.W(8)) dut(x, y);
initial begin for (int k = 0; k < 10; k++) begin x = k; #1 n++; if (y !== 8'(2 * k)) bad++; end
$display("Mismatches: %0d in %0d samples", bad, n); $finish; end endmodule"""


def test_a_testbench_without_a_reference():
    twice = "module Twice #(parameter W = 4)(input [W-1:0] x, output [W-1:0] y); assign y = x << 1; endmodule"
    test = ALONE.replace("8'(2 * k)", "2 * k")
    verifier = Verilog(top="Twice", reference="", partial=True)
    assert verifier.check(twice, test=test).total == 1
    assert verifier.check(twice.replace("<< 1", "+ 4"), test=test).total == pytest.approx(0.1)  # only at x = 4
    assert verifier.check(twice.replace("assign", "initial $finish; assign"), test=test).parts["refused"] == 1
    assert verifier.check("module Twice(input [7:0] x); endmodule", test=test).total == 0
    assert verifier.check(twice.replace("output", "inout"), test=test).parts["refused"] == 1
    assert "syntax error" in verifier.check(twice, test=test.replace("begin x", "begn x")).reason
    assert "no line" in verifier.check(twice, test=test.replace("Mis", "mis")).reason
    named = Verilog(top="Twice", reference="", interface="ports")
    assert named.columns() == {"test": "test", "interface": "ports"}
    assert (
        named.check(twice, test=test, interface="module Twice #(parameter W = 4)(input [W-1:0] x, output [W-1:0] y);").total == 1
    )
    for header_of_its_own in ("W = tb.n", "W = f(1)", "W = \\tb .n", "W = p::X"):
        assert verifier.check(twice.replace("W = 4", header_of_its_own), test=test).parts["refused"] == 1
    assert verifier.check(twice.replace("W = 4", "W = $clog2(16)"), test=test).total == 1
    # A design that is another one with the parameters of the testbench than with its own.
    sly = twice.replace("assign", "generate if (W == 8) assign x = 4; endgenerate assign")
    assert named.check(sly, test=test, interface="module Twice #(parameter W = 4)(input [W-1:0] x, output [W-1:0] y);").total == 0


def test_samples_that_a_design_skips_are_mismatches():
    test = TEST.replace("repeat (20) @(posedge clk) begin", "repeat (20) @(posedge clk) if (tb.s_dut !== 15) begin")
    test = test.replace("#1 $finish;", "#1 $finish; end initial begin #11 if (tb.s_dut === 15) $finish;")
    stops = top("assign q = 0; initial s = 15;")
    bad = judged(stops, SHARE, test)
    assert "samples were not reached" in bad.note
    assert bad.total < 0.1
    assert judged(HONEST, SHARE, test).total == 1


def test_rows_of_a_rollout():
    rollout = recorded(["q"] * 3, [HONEST, top(""), "?"], {"tests": [TEST] * 3, "golds": [REFERENCE, REFERENCE, None]})
    out = Verilog(test="tests", reference="golds")(rollout)
    assert out.total.tolist() == [1.0, 0.0, 0.0]
    assert out.ok.tolist() == [True, True, True]
    assert out.parts["compiles"].tolist() == [1.0, 1.0, 0.0]
    with pytest.raises(RewardError, match="no column 'test'; did you mean 'tests'"):
        Verilog()(rollout)


def test_plans_that_cannot_work(monkeypatch):
    with pytest.raises(PlanError, match="timeout must be above 0 s, got 0"):
        Verilog(timeout=0)
    with pytest.raises(PlanError, match="top must be the name of a module, got 'a b'"):
        Verilog(top="a b")
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(PlanError, match="apt install iverilog"):
        Verilog()


def test_verilog_eval(shared_data: Path):
    """References pass but where iverilog 11 cannot compile the task at all; every tenth here."""
    with gzip.open(shared_data / "verifiable" / "verilog_eval_v2.jsonl.gz", "rt") as lines:
        tasks = [json.loads(line) for line in lines]
    assert len(tasks) == 156
    chosen = [t for k, t in enumerate(tasks) if k % 10 == 5 or t["task_id"][:7] in ("Prob099", "Prob151")]
    answers = [t["ref_sv"].replace("RefModule", "TopModule") for t in chosen]
    rollout = recorded(
        ["q"] * len(chosen), answers, {"test_sv": [t["test_sv"] for t in chosen], "ref_sv": [t["ref_sv"] for t in chosen]}
    )
    out = Verilog(test="test_sv", reference="ref_sv")(rollout)
    for task, total, ok, reason in zip(chosen, out.total.tolist(), out.ok.tolist(), out.reason, strict=True):
        if task["task_id"][:7] in ("Prob099", "Prob151", "Prob156"):
            assert not ok
            assert "does not compile with its reference" in reason
        else:
            assert (total, reason) == (1.0, ""), task["task_id"]
