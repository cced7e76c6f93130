"""When printed text, or a value, counts as the expected one. All here is linear in what a program gave."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_INTEGER = re.compile(r"[+-]?[0-9]+")
LONGEST = 64  # characters of a number; longer words are compared as text


def same_text(got: str, wanted: str, tolerance: float = 0.0) -> bool:
    r"""Whether a program printed what was expected, but for white space at line ends and empty lines at the end.

    With a tolerance the words of each line are compared, numbers as numbers (``same_word``).

    >>> same_text("1 2 \n\n", "1 2"), same_text("1  2", "1 2"), same_text("0.3333", "0.33333333", 1e-3)
    (True, False, True)
    """
    ours, theirs = _lines(got), _lines(wanted)
    if len(ours) != len(theirs):
        return False
    if not tolerance:
        return ours == theirs
    for a, b in zip(ours, theirs, strict=True):
        if a != b:
            words = a.split(), b.split()
            if len(words[0]) != len(words[1]) or not all(same_word(x, y, tolerance) for x, y in zip(*words, strict=True)):
                return False
    return True


def same_word(got: str, wanted: str, tolerance: float) -> bool:
    """Whether a word equals the expected one, as numbers where both are.

    An expected number with a point or an exponent may be missed by ``tolerance`` or by that share of it. An expected integer must
    be met, though ``3.0`` meets ``3``.

    >>> same_word("2.0000001", "2.0", 1e-6), same_word("1000000008", "1000000007", 1e-6), same_word("3.0", "3", 1e-6)
    (True, False, True)
    """
    if got == wanted:
        return True
    if max(len(got), len(wanted)) > LONGEST or not _NUMBER.fullmatch(got) or not _NUMBER.fullmatch(wanted):
        return False
    if _INTEGER.fullmatch(wanted):
        if not _INTEGER.fullmatch(got):
            whole, _, rest = got.partition(".")
            if not _INTEGER.fullmatch(whole) or rest.strip("0"):
                return False
            got = whole
        return int(got) == int(wanted)
    return close(float(got), float(wanted), tolerance)


def close(got: float, wanted: float, tolerance: float) -> bool:
    """Whether two floats differ by at most ``tolerance``, or by that share of the expected one. Infinity equals itself only."""
    if got == wanted:
        return True
    return math.isfinite(got) and math.isfinite(wanted) and abs(got - wanted) <= tolerance * max(1.0, abs(wanted))


def same_value(got: Any, wanted: Any, tolerance: float = 0.0) -> bool:
    """Whether a value equals one that came from JSON: tuples are lists, keys of mappings are texts, floats have a tolerance.

    >>> same_value((1, {2: "a"}), [1, {"2": "a"}]), same_value({1}, [1]), same_value(0.1 + 0.2, 0.3, 1e-9)
    (True, False, True)
    """
    todo = [(got, wanted)]
    while todo:
        a, b = todo.pop()
        if isinstance(b, list | tuple):
            if not isinstance(a, list | tuple) or len(a) != len(b):
                return False
            todo += zip(a, b, strict=True)
        elif isinstance(b, Mapping):
            if not isinstance(a, Mapping) or len(a) != len(b):
                return False
            try:
                ours = {str(k): v for k, v in a.items()}
            except (ValueError, RecursionError):  # an integer of more digits than Python writes
                return False
            for k, v in b.items():
                if str(k) not in ours:
                    return False
                todo.append((ours[str(k)], v))
        elif isinstance(b, float) and isinstance(a, int | float):
            if not (a == b or tolerance and _close(a, b, tolerance)):
                return False
        elif isinstance(a, float) and isinstance(b, int):
            if a != b:
                return False
        elif type(a) is not type(b) and not (isinstance(a, int) and isinstance(b, int)) or a != b:
            return False
    return True


def _close(got: float, wanted: float, tolerance: float) -> bool:
    try:
        return close(float(got), wanted, tolerance)
    except OverflowError:  # an integer beyond all floats
        return False


def _lines(text: str) -> list[str]:
    lines = [line.rstrip() for line in text.split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    return lines
