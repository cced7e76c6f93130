"""The hull around a design: a module with the ports that the task gives, which lets values in and out and nothing else."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from guerdon.rewards.verifiers.verilog_source import Refused, Token, Unreadable, own

DIRECTIONS = ("input", "output", "inout")
NETS = ("wire", "reg", "logic", "bit", "var", "tri", "uwire", "unsigned")  # left out: the hull's own ports are unsigned wires
WIDTHS = {"byte": 8, "shortint": 16, "int": 32, "integer": 32, "longint": 64}


class Port(NamedTuple):
    """A port.

    Attributes:
        direction: "input", "output" or "inout".
        type: Sign and ranges of a wire that holds it: "", "[7:0]", "signed [31:0]".
        name: As written.
    """

    direction: str
    type: str
    name: str


class Header(NamedTuple):
    """What of a module is seen from outside.

    Attributes:
        ports: In order.
        parameters: Names of the parameters in ``#(...)``.
        declared: The parameters' declarations as written, of ``#(...)`` and, for ports declared in the body, of the body.
    """

    ports: tuple[Port, ...]
    parameters: tuple[str, ...] = ()
    declared: tuple[str, str] = ("", "")


def header(tokens: Sequence[Token], module: str) -> Header:
    """The header of a module, with its ports declared in the list or in the body.

    Raises:
        Unreadable: for a module that is not there, or whose ports cannot be told.

    >>> from guerdon.rewards.verifiers.verilog_source import read
    >>> header(read("module m(input wire [3:0] a, b, output reg signed q); endmodule"), "m").ports[1:]
    (Port(direction='input', type='[3:0]', name='b'), Port(direction='output', type='signed', name='q'))
    >>> header(read("module m(a, q); parameter N = 4; input [N-1:0] a; output reg q; endmodule"), "m").declared[1]
    'parameter N = 4;'
    """
    solid = _without_attributes([t for t in tokens if t.kind not in ("space", "directive")])
    places = [k for k, t in enumerate(solid[1:], 1) if t.text == module and solid[k - 1].text in ("module", "macromodule")]
    if not places:
        raise Unreadable(f"it defines no module {module}")
    at = places[0] + 1
    hashed: list[Token] = []
    if at < len(solid) and solid[at].text == "#":
        hashed, at = _inside(solid, at + 1)
    listed: list[Token] = []
    if at < len(solid) and solid[at].text == "(":
        listed, at = _inside(solid, at)
    parameters = tuple(n for n in (_name(_before(item, "=")) for item in _split(hashed)) if n)
    items = _split(listed)
    if not items or items[0][0].text in DIRECTIONS:
        return Header(_ports(items), parameters, (_text(hashed), ""))
    body = _statements(solid[at + 1 :])
    ports = [p for s in body if s[0].text in DIRECTIONS for p in _ports(_split(s))]
    order = [_name(item) for item in items]
    known = {p.name: p for p in ports}
    if missing := [n for n in order if n not in known]:
        raise Unreadable(f"port {missing[0] or _text(items[0])} of module {module} has no direction")
    constants = " ".join(_text(s) + ";" for s in body if s[0].text in ("parameter", "localparam"))
    return Header(tuple(known[n] for n in order), parameters, (_text(hashed), constants))


def hull(module: str, head: Header, prefix: str, inner: str, *, one_way: bool = False, parameters: bool = False) -> str:
    """Source of ``module``: an instance of ``prefix + module`` with the hull's ports as its own.

    Joined directly, ports are one net on both sides, and the simulator wakes who waits for it in the same order as without a
    hull (testbenches that change inputs at the clock edge itself depend on that). ``one_way`` puts an assignment between.

    Args:
        module: Name of the module.
        head: Its ports.
        prefix: Before every name of the design.
        inner: Before every name of the hull's own; port ``k`` has the wire ``inner + k`` where it is one-way.
        one_way: Whether values cannot come out of an input.
        parameters: Whether the header's parameters are handed on.
    """
    lines = [f"module {module}{f' #({head.declared[0]})' if head.declared[0] else ''} ({', '.join(p.name for p in head.ports)});"]
    lines.append(head.declared[1])
    joined = []
    for k, p in enumerate(head.ports):
        lines.append(f"{p.direction} {p.type} {p.name};")
        wire = p.name
        if one_way and p.direction != "inout":
            wire = f"{inner}{k}"
            lines.append(f"wire {p.type} {wire};")
            lines.append(f"assign {wire} = {p.name};" if p.direction == "input" else f"assign {p.name} = {wire};")
        joined.append(f".{own(p.name, prefix)}({wire})")
    given = ", ".join(f".{own(n, prefix)}({n})" for n in head.parameters) if parameters else ""
    lines.append(f"{own(module, prefix)} {f'#({given}) ' if given else ''}{inner}design ({', '.join(joined)});")
    return "\n".join([*filter(None, lines), "endmodule", ""])


def own_word(head: Header) -> None:
    """Check a header that comes from the design itself, as its text stands in the hull under its own names.

    Raises:
        Refused: for an inout port, and for hierarchical names and calls in parameters and ranges.
    """
    if any(p.direction == "inout" for p in head.ports):
        raise Refused("an inout port, for which nothing but the design's own word speaks")
    said = " ".join([*head.declared, *(p.type for p in head.ports)])
    if re.search(r"(?<!\d)\.|::|(?<![\w$])[A-Za-z_\\][\w$]*\s*\(", said):
        raise Refused("a name of another place or a call in the header")


def driven(netlist: str, head: Header, inner: str) -> list[str]:
    r"""Inputs that the design drives, from the lines of a one-way hull's wires in the compiled netlist.

    The wire of an input has one driver, the hull's assignment ("L_"). A design that assigns to its input adds another ("RS_" in
    its place) or, through a bidirectional port, makes it one side of a switch ("p"). In a plain simulation that net is the
    testbench's own, and the reference, fed with X, answers X, which VerilogEval's comparison takes for equal to anything.

    >>> head = Header((Port("input", "", "a"), Port("input", "[3:0]", "v")))
    >>> driven('v0x5_0 .net "hull_0", 0 0, L_0x8;  1 drivers\nv0x6_0 .net "hull_1", 3 0, RS_0x9;  2 drivers\n', head, "hull_")
    ['v']
    """
    found = []
    for k, p in enumerate(head.ports):
        lines = re.findall(rf'^v0x[0-9a-f]+_0 \.net(?:/s)? "{inner}{k}",(.*)$', netlist, re.MULTILINE)
        if p.direction == "input" and not (
            len(lines) == 1 and re.fullmatch(r" -?\d+ -?\d+, L_0x[0-9a-f]+;  1 drivers", lines[0])
        ):
            found.append(p.name)
    return found


def _without_attributes(tokens: Sequence[Token]) -> list[Token]:
    """Without ``(* ... *)``."""
    kept: list[Token] = []
    inside = False
    for k, t in enumerate(tokens):
        after = [n.text for n in tokens[k + 1 : k + 3]]
        inside = inside or (t.text == "(" and after[:1] == ["*"] and after != ["*", ")"])
        if not inside:
            kept.append(t)
        inside = inside and not (t.text == ")" and tokens[k - 1].text == "*")
    return kept


def _ports(items: Sequence[Sequence[Token]]) -> tuple[Port, ...]:
    ports: list[Port] = []
    for item in items:
        said = _before(item, "=")
        if said and said[-1].text == "]" and (unpacked := [t for t in said if t.kind in ("name", "escaped")]):
            raise Unreadable(f"port {unpacked[-1].text} is an array, which no testbench can join through a hull")
        name, rest = _name(said), list(said[:-1])
        if not name:
            raise Unreadable(f"a port cannot be read: {_text(item)}")
        direction = ports[-1].direction if ports else ""
        inherits = not rest
        if rest and rest[0].text in DIRECTIONS:
            direction, rest = rest[0].text, rest[1:]
        if not direction:
            raise Unreadable(f"port {name} has no direction")
        kind = ports[-1].type if inherits and ports else _text([t for t in rest if t.text not in NETS])
        kind = f"signed [{WIDTHS[kind] - 1}:0]" if kind in WIDTHS else kind
        if not re.fullmatch(r"(?:signed)?\s*(?:\[.*\])?", kind):
            raise Unreadable(f"port {name} has a type that a hull does not know: {kind}")
        ports.append(Port(direction, kind, name))
    return tuple(ports)


def _name(item: Sequence[Token]) -> str:
    return item[-1].text if item and item[-1].kind in ("name", "escaped") else ""


def _text(tokens: Sequence[Token]) -> str:
    # Signs stay together: `[3 : 0]` and `[3:0]` are equal, `= =` and `==` are not. Escaped names need a space behind.
    words = "".join(t.text if t.kind == "sign" else f" {t.text} " for t in tokens)
    return " ".join(words.split()).replace("[ ", "[").replace(" ]", "]").replace(" :", ":").replace(": ", ":").replace(" ;", ";")


def _inside(tokens: Sequence[Token], at: int) -> tuple[list[Token], int]:
    """What is between the bracket at ``at`` and its partner, and the place behind that."""
    depth = 0
    for k in range(at, len(tokens)):
        depth += {"(": 1, ")": -1}.get(tokens[k].text, 0)
        if depth == 0:
            return list(tokens[at + 1 : k]), k + 1
    raise Unreadable(f"line {tokens[min(at, len(tokens) - 1)].line}: a bracket that does not end")


def _split(tokens: Sequence[Token]) -> list[list[Token]]:
    """Parts between the commas that are in no bracket."""
    parts: list[list[Token]] = [[]]
    depth = 0
    for t in tokens:
        depth += {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}.get(t.text, 0)
        if t.text == "," and depth == 0:
            parts.append([])
        else:
            parts[-1].append(t)
    return [p for p in parts if p]


def _before(tokens: Sequence[Token], sign: str) -> Sequence[Token]:
    places = [k for k, t in enumerate(tokens) if t.text == sign]
    return tokens[: places[0]] if places else tokens


def _statements(tokens: Sequence[Token]) -> list[list[Token]]:
    """Parts up to each semicolon, within the module; port and parameter declarations are among them."""
    found: list[list[Token]] = [[]]
    for t in tokens:
        if t.text == "endmodule":
            break
        if t.text == ";":
            found.append([])
        else:
            found[-1].append(t)
    return [s for s in found if s]
