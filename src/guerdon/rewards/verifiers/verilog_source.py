"""SystemVerilog as tokens: what a design may say, and its names made its own, so that none of them can mean anything outside."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from guerdon.rewards.verifiers.verilog_words import DESIGN_WORDS, IGNORED, METHODS, PURE, REFUSED, WORDS


class Unreadable(ValueError):
    """A source that is not SystemVerilog; the message names the line."""


class Refused(Unreadable):
    """A source that says what no design needs to say."""


class Token(NamedTuple):
    """One token.

    Attributes:
        kind: "word" (reserved), "name", "escaped", "system", "directive", "number", "string", "space", "sign", or what is not
            Verilog: "run" (a number that runs into letters), "open" (a comment that does not end).
        text: As it is written to the compiler: comments are spaces, numbers have no spaces inside.
        line: Line of the source, from 1.
    """

    kind: str
    text: str
    line: int


# Digits are listed per base and must not run into a letter: what the compiler would read as a number and then a name must not
# pass here as one number, with a name in it that was never looked at.
_BASED = (
    r"(?:\d[\d_]*\s*)?'[sS]?(?:[bB]\s*[01xXzZ?_]+|[oO]\s*[0-7xXzZ?_]+|[dD]\s*(?:\d[\d_]*|[xXzZ?]_*)|[hH]\s*[\da-fA-FxXzZ?_]+)"
)
_PLAIN = r"\d[\d_]*(?:\.\d[\d_]*)?(?:[eE][+-]?\d[\d_]*)?(?:[munpf]?s)?"
_TOKEN = re.compile(
    rf"""(?P<comment>//[^\n]*|/\*.*?\*/)
    |(?P<open>/\*.*)
    |(?P<space>\s+)
    |(?P<string>"(?:[^"\\\n]|\\[^\n])*")
    |(?P<directive>`timescale\s+\d+\s*[munpf]?s\s*/\s*\d+\s*[munpf]?s\b|`default_nettype\s+\w+|`\w+)
    |(?P<number>(?:{_BASED}|'[01xXzZ]|{_PLAIN})(?![\w$]))
    |(?P<escaped>\\[!-~]+)
    |(?P<system>\$[A-Za-z_][\w$]*)
    |(?P<name>[A-Za-z_][\w$]*)
    |(?P<run>\d[\w$]*)
    |(?P<sign>[][(){{}}<>=+*/%&|^~!?:;,.@#'-])
    """,
    re.VERBOSE | re.DOTALL | re.ASCII,
)
_ESCAPED = re.compile(
    r"\\[\w$.:<>\[\]+-]+"
)  # without quotes, slashes and backquotes, which the preprocessor might read otherwise
_STRING = re.compile(r"[ -\[\]-_a-~]*")  # printable, without escapes and backquotes


def read(source: str) -> list[Token]:
    """The tokens of a trusted source; characters that are no Verilog become signs.

    >>> [t.text for t in read("assign q = 4 'h F; // four") if t.kind != "space"]
    ['assign', 'q', '=', "4'hF", ';']
    """
    tokens, at, line = [], 0, 1
    while at < len(source):
        match = _TOKEN.match(source, at)
        kind, text = (match.lastgroup or "sign", match.group()) if match else ("sign", source[at])
        at += len(text)
        lines = text.count("\n")
        if kind in ("comment", "space"):
            written, kind = "\n" * lines or " ", "space"
        elif kind == "number":
            written = "".join(text.split())
        else:
            written = text
        tokens.append(Token("word" if kind == "name" and text in WORDS else kind, written, line))
        if lines and kind != "space":  # inside a number or directive; the lines below keep their numbers
            tokens.append(Token("space", "\n" * lines, line))
        line += lines
    return tokens


def design(source: str) -> list[Token]:
    """The tokens of a source that nobody vouches for, without macros.

    Raises:
        Unreadable: for what is no Verilog at all.
        Refused: for words, system calls and directives that a design does not need.

    >>> design("module m; initial $finish; endmodule")
    Traceback (most recent call last):
    guerdon.rewards.verifiers.verilog_source.Refused: line 1: $finish is not allowed in a design
    """
    tokens = read(source)
    for t in tokens:
        if t.kind == "open":
            raise Unreadable(f"line {t.line}: a comment that does not end")
        if t.kind == "run" or t.kind == "sign" and not _TOKEN.match(t.text):
            raise Unreadable(f"line {t.line}: {t.text[:40]!r} is no Verilog here")
        if t.kind == "string" and not _STRING.fullmatch(t.text) or t.kind == "escaped" and not _ESCAPED.fullmatch(t.text):
            raise Refused(f"line {t.line}: {t.text} has characters that are not allowed in a design")
        allowed = {"system": PURE, "word": DESIGN_WORDS, "directive": IGNORED}.get(t.kind)
        if allowed is not None and t.text.split()[0] not in allowed:
            raise Refused(f"line {t.line}: {t.text} is not allowed in a design")
    solid = [t for t in tokens if t.kind != "space"]
    for t, after in itertools.pairwise(solid):
        if t.text == "import" and after.kind == "string":
            raise Refused(f"line {t.line}: import {after.text} is not allowed in a design")
    return tokens


def has_macros(source: str) -> bool:
    """Whether the preprocessor must expand something first.

    Raises:
        Refused: for directives that a design does not need.
    """
    found = [t for t in read(source) if t.kind == "directive"]
    for t in found:
        if t.text in REFUSED:
            raise Refused(f"line {t.line}: {t.text} is not allowed in a design")
    return any(t.text.split()[0] not in IGNORED for t in found)


def own(name: str, prefix: str) -> str:
    r"""A name behind a prefix.

    >>> own("q", "own_"), own(r"\q[0]", "own_")
    ('own_q', '\\own_q[0] ')
    """
    return f"\\{prefix}{name[1:]} " if name.startswith("\\") else prefix + name


def renamed(tokens: Sequence[Token], prefix: str) -> str:
    """The source with ``prefix`` before every name, on the same lines; directives are dropped.

    >>> renamed(read("module Top(input a, output q); assign q = tb.good.q & $signed(a); endmodule"), "own_")
    'module own_Top(input own_a, output own_q); assign own_q = own_tb.own_good.own_q & $signed(own_a); endmodule'
    """
    written: list[str] = []
    following = iter([*(t.text for t in tokens if t.kind != "space"), ""])
    next(following, "")
    before, dot = Token("sign", "", 0), False  # the last two tokens that are no space
    for t in tokens:
        if t.kind == "space":
            written.append(t.text)
            continue
        # A method of an enum or an array: `state.next()`, and not the port of `.next(x)`.
        method = next(following, "") == "(" and dot and t.text in METHODS
        if t.kind in ("name", "escaped") and not method:
            written.append(own(t.text, prefix))
        else:
            written.append(" " if t.kind == "directive" else t.text)
        dot = t.text == "." and (before.kind in ("name", "escaped") or before.text == "]")
        before = t
    return "".join(written)


def fresh(prefix: str, *texts: str) -> str:
    """``prefix``, with a number where one of the texts has it already.

    >>> fresh("own_", "module own_q; endmodule")
    'own1_'
    """
    stem, number = prefix.rstrip("_"), 0
    while any(prefix in text for text in texts):
        number += 1
        prefix = f"{stem}{number}_"
    return prefix


def defined(tokens: Iterable[Token]) -> list[str]:
    """Names of the modules that are defined, in order.

    >>> defined(read("module a; b u(); endmodule module b; endmodule"))
    ['a', 'b']
    """
    solid = [t for t in tokens if t.kind != "space"]
    pairs = itertools.pairwise(solid)
    return [n.text for t, n in pairs if t.text in ("module", "macromodule") and n.kind in ("name", "escaped")]


def roots(tokens: Sequence[Token]) -> list[str]:
    """Modules that are defined and not mentioned again: what a simulation starts from."""
    names = [t.text for t in tokens if t.kind in ("name", "escaped")]
    return [m for m in defined(tokens) if names.count(m) == 1]
