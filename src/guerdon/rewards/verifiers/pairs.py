"""Input/output pairs as data sets have them: APPS and TACO, CodeContests, LiveCodeBench, and those made of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from guerdon.core import DataError


class Pairs(NamedTuple):
    """A row's pairs.

    Attributes:
        inputs: What the program is given, one entry per run or call.
        outputs: What is expected, as many.
        function: Name of the function to call; "" for standard input.
    """

    inputs: list[Any]
    outputs: list[Any]
    function: str = ""


def pairs_in(value: Any) -> Pairs:
    """Pairs in one value: a mapping, a list of mappings, or JSON text of either.

    A mapping has ``inputs`` and ``outputs`` (or ``input`` and ``output``) as lists, and ``fn_name`` where a function is called.
    In a list each mapping has one ``input`` and ``output``; where they name a function, all name the same.

    Raises:
        DataError: for anything else.

    >>> pairs_in('{"inputs": [[1], [2]], "outputs": [2, 3], "fn_name": "add_one"}')
    Pairs(inputs=[[1], [2]], outputs=[2, 3], function='add_one')
    >>> pairs_in([{"input": "1", "output": "2"}, {"input": "2", "output": "3"}])
    Pairs(inputs=['1', '2'], outputs=['2', '3'], function='')
    """
    if isinstance(value, str):
        value = _json(value)
    if isinstance(value, Mapping):
        inputs, outputs = (value.get(n, value.get(n[:-1])) for n in ("inputs", "outputs"))
        return checked(inputs, outputs, value.get("fn_name"))
    if isinstance(value, list) and all(isinstance(v, Mapping) and "input" in v and "output" in v for v in value):
        names = {v.get("fn_name") or "" for v in value}
        if len(names) > 1:
            raise DataError(f"pairs of one row must call one function, got {', '.join(sorted(repr(n) for n in names))}")
        return checked([v["input"] for v in value], [v["output"] for v in value], *names)
    raise DataError(f"pairs must have inputs and outputs, got {short(value)}")


def checked(inputs: Any, outputs: Any, function: Any = "") -> Pairs:
    """Pairs, as many inputs as outputs.

    Raises:
        DataError: where they are not.
    """
    for name, value in (("inputs", inputs), ("outputs", outputs)):
        if not isinstance(value, list):
            raise DataError(f"{name} must be a list, got {type(value).__name__}")
    if len(inputs) != len(outputs) or not inputs:
        raise DataError(f"expected one output for each input, got {len(inputs)} inputs and {len(outputs)} outputs")
    function = function or ""
    if not isinstance(function, str) or (function and not function.isidentifier()):
        raise DataError(f"fn_name must be a Python name, got {function!r}")
    return Pairs(inputs, outputs, function)


def lines(value: Any, what: str) -> str:
    """A text, or lines put together to one."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(v, str) for v in value):
        return "\n".join(value)
    raise DataError(f"an {what} must be a text or a list of lines, got {short(value)}; are fn_name's rows empty?")


def arguments(value: Any) -> list[Any]:
    """Arguments of a call: a list of them, or a text with one JSON value per line (LiveCodeBench)."""
    if isinstance(value, list):
        return value
    if isinstance(value, str):
        return [_json(line) for line in value.splitlines() if line.strip()]
    raise DataError(f"an input must be a list of arguments, got {short(value)}")


def expected(wanted: Any, given: Any) -> Any:
    """The value expected of a call: JSON in a text where the arguments are."""
    return _json(wanted) if isinstance(given, str) and isinstance(wanted, str) else wanted


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise DataError(f"expected a JSON value, got {short(text)}") from None


def short(value: Any) -> str:
    """A value for people, in one line; a program may return one that has no text."""
    try:
        text = value.strip() if isinstance(value, str) else repr(value)
    except (ValueError, RecursionError):  # an integer of more digits than Python writes, or lists in lists
        return f"a {type(value).__name__} too large to show"
    return repr(text if len(text) <= 60 else f"{text[:57]}...") if isinstance(value, str) else text[:60]
