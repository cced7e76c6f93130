"""Words of SystemVerilog (IEEE 1800-2017): what a design may use of them, and what it may not."""

from __future__ import annotations


def _set(*lines: str) -> frozenset[str]:
    return frozenset(" ".join(lines).split())


# Reserved words that a design for hardware needs. Every other one is refused: a list of the harmful ones is never complete.
DESIGN_WORDS = _set(
    "always always_comb always_ff always_latch and assign automatic begin bit break buf bufif0 bufif1 byte case casex",
    "casez const continue default defparam disable do else end endcase endfunction endgenerate endmodule endpackage",
    "endtask enum event for foreach forever function generate genvar if iff import initial inout input inside int",
    "integer localparam logic longint macromodule module nand negedge nor not notif0 notif1 or output package packed",
    "parameter posedge priority real realtime reg repeat return shortint signed static struct supply0 supply1",
    "task time tri tri0 tri1 triand trior type typedef union unique unique0 unsigned uwire var void wait wand while wire",
    "wor xnor xor",
)
OTHER_WORDS = _set(
    "accept_on alias assert assume before bind bins binsof cell chandle checker class clocking cmos config constraint",
    "context cover covergroup coverpoint cross deassign design dist edge endchecker endclass endclocking endconfig",
    "endgroup endinterface endprimitive endprogram endproperty endsequence endspecify endtable eventually expect export",
    "extends extern final first_match force fork forkjoin global highz0 highz1 ifnone ignore_bins illegal_bins",
    "implements implies incdir include instance interconnect interface intersect join join_any join_none large let",
    "liblist library local matches medium modport nettype new nexttime nmos noshowcancelled null pmos primitive program",
    "property protected pull0 pull1 pulldown pullup pulsestyle_ondetect pulsestyle_onevent pure rand randc randcase",
    "randsequence rcmos ref reject_on release restrict rnmos rpmos rtran rtranif0 rtranif1 s_always s_eventually",
    "s_nexttime s_until s_until_with scalared sequence shortreal showcancelled small soft solve specify specparam strong",
    "strong0 strong1 string super sync_accept_on sync_reject_on table tagged this throughout timeprecision timeunit tran",
    "tranif0 tranif1 until until_with untyped use vectored virtual wait_order weak weak0 weak1 wildcard with within",
)
WORDS = DESIGN_WORDS | OTHER_WORDS
# Functions of their arguments alone: no output, no files, no time, no random state, no control of the simulation.
PURE = _set(
    "$bits $ceil $clog2 $countbits $countones $dimensions $exp $floor $high $increment $isunknown $itor $left $ln $log10",
    "$low $onehot $onehot0 $pow $right $rtoi $signed $size $sqrt $unpacked_dimensions $unsigned",
)
METHODS = _set("first last len name next num prev size")  # of enums and arrays
# Directives. What is ignored says nothing about what the design does.
IGNORED = _set("`timescale `default_nettype `resetall `celldefine `endcelldefine")
REFUSED = _set(
    "`include `line `pragma `begin_keywords `end_keywords `unconnected_drive `nounconnected_drive `protect `protected `uselib",
    "`__FILE__ `__LINE__",
)
