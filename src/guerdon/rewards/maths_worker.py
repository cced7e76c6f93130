"""What the processes behind ``Maths`` run: parse and compare with math-verify, without any time limit of its own."""

from __future__ import annotations

import logging
import re
import sys
from typing import Any

_COUNTED = re.compile(r"[-$€£]*\s*\d[\d.,/]*\s*%?\s+(?!(?:sin|cos|tan|sqrt|log|exp)\b)[A-Za-z]{3,}[A-Za-z .]*")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)  # an escaped brace is no brace
_BOX = re.compile(r"\\f?box(?:ed)?\s*\{")
_BETWEEN = re.compile(r"(?:[\s,;$]|\\[ ,;]|\\q?quad|\\text\{\s*(?:and|or)\s*\}|\\\)|\\\(|and|or)*")


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
    from math_verify import verify

    wanted = read(boxed(marked(gold)))
    if not any(not isinstance(w, str) for w in wanted):
        raise UnreadableAnswer(f"no mathematical value in the data's answer {gold[:80]!r}")
    found = read(marked(output))
    texts = {w.strip() for w in wanted if isinstance(w, str)} - {""}
    if texts & {f.strip() for f in found if isinstance(f, str)}:  # written alike: no need to compute either
        return {"total": 1.0, "parsed": 1.0}
    if all(isinstance(f, str) for f in found):
        return {"total": 0.0, "parsed": 0.0}
    try:
        same = verify(wanted, found, timeout_seconds=None, raise_on_error=True)
    except (RecursionError, MemoryError):
        raise
    except Exception as e:
        raise Incomparable(f"{type(e).__name__} while comparing with {gold[:80]!r}") from e
    return {"total": float(same), "parsed": 1.0}


def marked(text: str) -> str:
    """The final answer where the text marks one: its last box, or boxes in a row, or what follows ``####`` (as in GSM8K)."""
    boxes = final_boxes(text)
    if boxes:
        return f"\\boxed{{{' and '.join(dict.fromkeys(boxes))}}}"
    _, mark, end = text.rpartition("####")
    return boxed(end.strip().partition("\n")[0]) if mark else text


def final_boxes(text: str) -> list[str]:
    r"""Contents of the last box, and of those before it with nothing but "and" or a comma between.

    >>> final_boxes(r"first \boxed{3}, no: \boxed{1} and $\boxed{\frac{1}{2}}$.")
    ['1', '\\frac{1}{2}']
    """
    end_of: dict[int, int] = {}
    opened: list[int] = []
    for found in _BRACE.finditer(text):
        if found[0] == "{":
            opened.append(found.start())
        elif found[0] == "}" and opened:
            end_of[opened.pop()] = found.start()
    boxes: list[str] = []
    after = None
    for found in reversed(list(_BOX.finditer(text))):
        end = end_of.get(found.end() - 1)
        if end is None or (after is not None and end > after):  # cut off, or around the one that counts
            continue
        if after is not None and not _BETWEEN.fullmatch(text, end + 1, after):
            break
        boxes.append(text[found.end() : end].strip())
        after = found.start()
    return boxes[::-1]


def boxed(text: str) -> str:
    """Said to be mathematics as a whole: of a bare LaTeX answer only the first number would be read, and in a box the words
    behind a number ("5 apples") would be read as variables.
    """
    if _COUNTED.fullmatch(text.strip()) or "\\boxed" in text:
        return text
    return f"\\boxed{{{text.strip()}}}"


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
