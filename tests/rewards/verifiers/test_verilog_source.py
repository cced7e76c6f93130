"""Reading Verilog: tokens, names, headers, and the verdict that a testbench prints. Needs no simulator."""

import contextlib
import time

import hypothesis
import pytest
from hypothesis import strategies as st

from guerdon.rewards.verifiers.verilog import code_of
from guerdon.rewards.verifiers.verilog_bench import tally
from guerdon.rewards.verifiers.verilog_ports import Port, driven, header, hull
from guerdon.rewards.verifiers.verilog_source import Refused, Unreadable, design, fresh, read, renamed


def test_the_verdict_is_read_strictly():
    good = "x\nHint: Total mismatched samples is 1 out of 20 samples\n\nMismatches: 1 in 20 samples\n\n"
    assert tally(good) == (1, 20)
    assert tally(good + "t.sv:9: $finish called at 5 (1ps)\n") == (1, 20)
    assert "printed 2 times" in tally(good + good)
    assert "after the verdict" in tally(good + "bye\n")
    assert "totals" in tally(good.replace("is 1 out", "is 0 out"))
    assert tally("Mismatches: 21 in 20 samples") == "21 mismatches in 20 samples"
    assert tally("Mismatches: 0 in 0 samples") == "0 mismatches in 0 samples"
    assert "no line" in tally("Mismatches: x in 20 samples\n Mismatches: 1 in 20 samples\n")


@hypothesis.given(st.lists(st.sampled_from(
    ["tb", ".", "good1", "\\tb ", "\\a+b ", "4'b1", "e", "'h", " FF", "4'hg", "1.5", "1e", "5ns", "x", "'", "(", ")", "[0]", "next", "$bits",
     "module ", "\n", " ", '"s"', "/", "//", "/*", "*/", "`timescale 1ns/1ps", "*", "?", "'0", "_", "9", "-", "import", "\\"]), max_size=12))  # fmt: skip
def test_no_name_leaves_without_its_prefix(parts):
    source = "".join(parts)
    try:
        tokens = design(source)
    except (Unreadable, Refused):
        return
    again = read(renamed(tokens, "own_"))
    names = [t.text.lstrip("\\") for t in again if t.kind in ("name", "escaped")]
    assert all(n.startswith("own_") or n == "next" for n in names)
    assert [t.text for t in again if t.kind in ("number", "word", "string")] == [
        t.text for t in tokens if t.kind in ("number", "word", "string")
    ]
    assert sum(t.text.count("\n") for t in again) == source.count("\n")


@pytest.mark.parametrize(
    "source", ["1" * 200_000 + "x", "/*" * 100_000, "a.next " * 30_000, '"\\"' * 60_000, "1 " * 30_000, "'h " * 20_000]
)
def test_no_source_takes_long_to_read(source):
    start = time.process_time()
    renamed(read(source), "own_")
    code_of(source, "TopModule")
    with contextlib.suppress(Unreadable):
        design(source)
    assert time.process_time() - start < 8


def test_headers():
    ports = header(read("module m #(parameter W=2)((* x *) input [W-1:0] a, b, output int n = 0, inout z, output reg q);"), "m")
    assert ports.parameters == ("W",)
    assert ports.ports == (
        Port("input", "[W - 1:0]", "a"), Port("input", "[W - 1:0]", "b"), Port("output", "signed [31:0]", "n"),
        Port("inout", "", "z"), Port("output", "", "q"))  # fmt: skip
    with pytest.raises(Unreadable, match="port b of module m has no direction"):
        header(read("module m(a, b); input a; endmodule"), "m")
    with pytest.raises(Unreadable, match="port a is an array"):
        header(read("module m(input a [3:0]); endmodule"), "m")
    with pytest.raises(Unreadable, match="no module m"):
        header(read("module n; endmodule"), "m")
    assert header(read("module m; endmodule"), "m").ports == ()
    assert "own_m hull_design (.own_a(hull_0), .own_b(hull_1), " in hull("m", ports, "own_", "hull_", one_way=True)
    assert driven("", header(read("module m(input a)"), "m"), "hull_") == ["a"]


def test_small_things():
    assert fresh("own_", "own_x own1_y") == "own2_"
    assert code_of("```\nmodule TopModule; // cut off", "TopModule") == "module TopModule; // cut off"
    assert code_of("module TopModule;", "TopModule") == "module TopModule;"
    two = "```\nmodule TopModule; a\n```\n~~~v\nmodule TopModule; b\n~~~\n"
    assert code_of(two, "TopModule") == "module TopModule; b\n"
