"""What the processes behind ``Maths`` run: parse and compare with math-verify, without any time limit of its own."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING or __package__:
    from guerdon.rewards.verifiers import maths_text
else:  # in a process of its own, which never imports guerdon; by its path, as a user's file could have the same name
    _spec = importlib.util.spec_from_file_location("_guerdon_maths_text", Path(__file__).with_name("maths_text.py"))
    maths_text = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(maths_text)

_SET = re.compile(r"(?:\\left\s*)?\\\{")


class UnreadableAnswer(Exception):
    """The answer given with the data has no mathematical value, so nothing can be said of the output."""


class Incomparable(Exception):
    """Both answers were read, and comparing them failed."""


def prepare() -> None:
    """Load what takes long, and read one expression, before any clock runs."""
    logging.getLogger("math_verify").setLevel(logging.CRITICAL)
    logging.getLogger("latex2sympy2_extended").setLevel(logging.CRITICAL)
    sys.set_int_max_str_digits(0)  # a long number is read as a number, or takes too long: never as nothing
    sys.setrecursionlimit(20_000)  # deep nesting likewise
    judge(r"\boxed{\frac{1}{2}}", "0.5")


def judge(output: str, gold: str) -> dict[str, float]:
    """Whether the output's final answer equals the gold one, and whether it has one that can be read."""
    stated, claimed = maths_text.marked(gold), maths_text.marked(output)
    stated = gold.strip() if stated is None else stated
    claimed = maths_text.alone(output) if claimed is None else claimed
    formula = maths_text.last_formula(output) if claimed is None else ""
    said = formula or (output.strip() if len(output) <= maths_text.FORMULA else "") if claimed is None else claimed
    if re.search(r"\w", said) and maths_text.written(said) == maths_text.written(stated):  # no need to compute either
        return {"total": 1.0, "parsed": 1.0}
    if maths_text.clock(stated) and maths_text.clock(said):
        return {"total": float(maths_text.clock(stated) == maths_text.clock(said)), "parsed": 1.0}
    wanted = read(maths_text.shown(stated))
    if not can_be_read(wanted):
        raise UnreadableAnswer(f"no mathematical value in the data's answer {gold[:80]!r}")
    found = read(maths_text.symbols(output[-maths_text.TAIL :]) if claimed is None else maths_text.shown(claimed))
    if texts_of(wanted) & texts_of(found):
        return {"total": 1.0, "parsed": 1.0}
    readable = can_be_read(found)
    broken: Incomparable | None = None
    for left, right in readings(wanted, stated, found, [formula] * bool(formula) + maths_text.others(said)):
        readable = readable or can_be_read(right)
        try:
            if equal(left, right, stated, said):
                return {"total": 1.0, "parsed": 1.0}
        except Incomparable as e:
            broken = e
    if broken and readable:
        raise broken
    return {"total": 0.0, "parsed": float(readable)}


def readings(wanted: list[Any], stated: str, found: list[Any], more: list[str]) -> Iterator[tuple[list[Any], list[Any]]]:
    """What the two answers may mean, the usual meaning first: an output is right in any sense that it can have."""
    yield wanted, found
    if "i" in names(wanted) | names(found):
        yield imaginary(wanted), imaginary(found)
    values = [read(maths_text.shown(text)) for text in more]
    for value in values:
        yield wanted, value
    for gold in maths_text.others(stated):
        again = read(maths_text.shown(gold))
        for value in (found, *values):
            yield again, value


def can_be_read(values: list[Any]) -> bool:
    """Whether an expression is among them, and not only a text."""
    return any(not isinstance(v, str) for v in values)


def names(values: list[Any]) -> set[str]:
    """Names of the variables in what was read."""
    return {s.name for v in values if not isinstance(v, str) for s in v.free_symbols}


def imaginary(values: list[Any]) -> list[Any]:
    """With i as the root of -1; math-verify reads a variable of that name."""
    root = importlib.import_module("sympy").I
    return [v if isinstance(v, str) else v.xreplace({s: root for s in v.free_symbols if s.name == "i"}) for v in values]


def equal(wanted: list[Any], found: list[Any], stated: str, said: str) -> bool:
    """math-verify's answer, corrected where it goes by six decimals alone or by the letters of a set."""
    from math_verify import verify

    try:
        same = bool(verify(wanted, found, timeout_seconds=None, raise_on_error=True, allow_set_relation_comp=True))
        if same and stated.startswith("(") and _SET.match(said):
            return False  # a pair is no set
        return near(wanted, found, same)
    except (RecursionError, MemoryError):
        raise
    except Exception as e:
        raise Incomparable(f"{type(e).__name__} while comparing with {stated[:80]!r}") from e


def near(wanted: list[Any], found: list[Any], same: bool) -> bool:
    """Constants by their values: with decimals near zero they must agree relatively too, and equal ones need not look equal."""
    sympy = importlib.import_module("sympy")
    for a in wanted:
        for b in found:
            if not isinstance(a, sympy.Expr) or not isinstance(b, sympy.Expr) or a.free_symbols or b.free_symbols:
                continue
            decimals = a.has(sympy.Float) or b.has(sympy.Float)
            if (same and not decimals) or (a.is_Rational and b.is_Rational):
                continue
            x, y = a.doit().evalf(40), b.doit().evalf(40)
            if not x.is_number or not y.is_number or not x.is_finite or not y.is_finite:
                continue
            gap, size = abs(x - y), max(abs(x), abs(y))
            if same:
                return not bool(size < 1e-2 and gap > 1e-2 * size)
            if bool(gap <= size * (1e-9 if decimals else sympy.Float("1e-30", 40))):
                return True
    return same


def texts_of(values: list[Any]) -> set[str]:
    """The texts behind the expressions that were read."""
    return {v.strip() for v in values if isinstance(v, str)} - {""}


def read(text: str) -> list[Any]:
    """Expressions and, behind them, how they were written; a boxed answer goes before any other."""
    from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse

    try:
        kinds = [LatexExtractionConfig(boxed_match_priority=0), ExprExtractionConfig()]
        return list(parse(text, kinds, parsing_timeout=None, raise_on_error=True))
    except (RecursionError, MemoryError):
        raise
    except Exception:  # noqa: BLE001  text that its grammars stumble over is text without an answer
        return []
