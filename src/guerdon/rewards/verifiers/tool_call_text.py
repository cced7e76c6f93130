"""Tool calls in a text or in data, in the formats that models write; bounded in time and depth whatever the text is."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from json.encoder import encode_basestring_ascii as _quoted
from typing import Any, NamedTuple

LONGEST = 1_000_000  # characters of a text with calls
DEEPEST = 100  # levels of nesting
MOST = 128  # calls in one output
NUMERAL = 1000  # digits of a number
OPEN, CLOSE = "<tool_call>", "</tool_call>"
_KEYS = ("name", "arguments", "parameters", "id", "type", "index")
_FENCED = re.compile(r"```\w*\n(.*)```", re.DOTALL)
_JSON = re.compile(r"\{|\[\s*(\{|\]\Z)")  # how a text begins that is meant as JSON calls, and not as prose
_SPACE = re.compile(r"[\s,]*")


class Unreadable(ValueError):
    """Something that was meant as calls and cannot be read; the message says why."""


class Call(NamedTuple):
    """One call.

    Attributes:
        name: The tool's name.
        arguments: Argument's name -> its value as a text that is the same for equal values.
    """

    name: str
    arguments: dict[str, str]

    @property
    def key(self) -> tuple[str, tuple[tuple[str, str], ...]]:
        return self.name, tuple(sorted(self.arguments.items()))


def calls_in(text: str, loose: bool = False) -> list[Call] | None:
    r"""The calls that a text makes, in their order; None where it makes none.

    Read are ``<tool_call>`` parts with one or several JSON objects or a list, or a text that is nothing but JSON (or one fenced
    block of it). What a ``<think>`` part says is not a call.

    Args:
        text: A model's output.
        loose: See ``canonical``.

    Raises:
        Unreadable: for calls that cannot be read.

    >>> [c.name for c in calls_in('<think>a <tool_call>?</think><tool_call>\n{"name": "f"}\n{"name": "g"}\n</tool_call>')]
    ['f', 'g']
    >>> calls_in("It is sunny.")
    """
    if len(text) > LONGEST:
        raise Unreadable(f"more than {LONGEST} characters")
    place, opened, thought = _thought_end(text), -1, -1
    found: list[Call] = []
    said: list[str] = []
    tagged = False
    while True:
        opened = opened if opened >= place else _find(text, OPEN, place)
        thought = thought if thought >= place else _find(text, "<think>", place)
        said.append(text[place : min(opened, thought)])
        if thought < opened:
            place = _find(text, "</think>", thought) + len("</think>")
            if place > len(text):
                raise Unreadable("a thought without an end")
        elif opened < len(text):
            tagged = True
            values, place = _values(text, opened + len(OPEN), CLOSE)
            if not values:
                raise Unreadable(f"nothing between {OPEN} and {CLOSE}")
            found += _calls(values, MOST - len(found), loose)
        else:
            break
    if tagged:
        return found
    rest = "".join(said).strip()
    if fenced := _FENCED.fullmatch(rest):
        rest = fenced[1].strip()
    if not _JSON.match(rest):
        return None
    return _calls(_values(rest, 0, "")[0], MOST, loose)


def calls_of(gold: Any, loose: bool = False) -> list[Call]:
    r"""The calls that a task asks for: a list of objects, one object, JSON text, or a text with tags (or a ``<response>`` only).

    Raises:
        Unreadable: for anything else.

    >>> calls_of({"name": "f", "parameters": {"x": 1.0}}) == calls_of('[{"name": "f", "arguments": "{\\"x\\": 1}"}]')
    True
    """
    if isinstance(gold, str):
        found = calls_in(gold, loose)
        if found is None and "<response>" not in gold:
            raise Unreadable("a text without calls")
        return found or []
    if not isinstance(gold, Mapping | list | tuple):
        raise Unreadable(f"expected a list of calls, got {type(gold).__name__}")
    return _calls([gold], MOST, loose)


def canonical(value: Any, loose: bool = False, depth: int = 0) -> str:
    """A text that is the same for values that are equal as JSON: 1 and 1.0 are, 1 and true or 1 and "1" are not.

    Args:
        value: What a JSON text can hold.
        loose: Whether texts (not keys) are compared without capitals and with every white space as one blank.
        depth: Levels around it.

    Raises:
        Unreadable: for what JSON cannot hold, and for more than ``DEEPEST`` levels.

    >>> canonical({"b": [1.0, "X  y"], "a": None}, loose=True)
    '{"a":null,"b":[1,"x y"]}'
    """
    if depth >= DEEPEST:
        raise Unreadable(f"nested deeper than {DEEPEST} levels")
    if isinstance(value, str):
        return _quoted(" ".join(value.casefold().split()) if loose else value)
    if value is None or isinstance(value, bool):
        return "null" if value is None else "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise Unreadable(f"{value} is no JSON number")
        return str(int(value)) if value.is_integer() else repr(value)
    if isinstance(value, Mapping):
        if not all(isinstance(k, str) for k in value):
            raise Unreadable("a key that is no text")
        return "{" + ",".join(f"{_quoted(k)}:{canonical(value[k], loose, depth + 1)}" for k in sorted(value)) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(canonical(v, loose, depth + 1) for v in value) + "]"
    raise Unreadable(f"{type(value).__name__} is no JSON value")


def _thought_end(text: str) -> int:
    """Behind a thought that the prompt opened: up to the first ``</think>`` without a ``<think>`` before it."""
    end = text.find("</think>")
    return 0 if end < 0 or text.find("<think>", 0, end) >= 0 else end + len("</think>")


def _find(text: str, mark: str, place: int) -> int:
    """Where a mark comes next; the length of the text where it does not."""
    found = text.find(mark, place)
    return len(text) if found < 0 else found


def _values(text: str, place: int, end: str) -> tuple[list[Any], int]:
    """(the JSON values from a place on up to a mark, the place behind the mark); the end of the text where the mark is empty."""
    values: list[Any] = []
    while True:
        place = _SPACE.match(text, place).end()  # type: ignore[union-attr]  # it matches nothing, too
        if (end and text.startswith(end, place)) or (not end and place == len(text)):
            return values, place + len(end)
        if place == len(text):
            raise Unreadable(f"no {end}")
        value, place = _parsed(partial(_DECODER.raw_decode, text, place))
        values.append(value)


def _parsed(parse: Callable[[], Any]) -> Any:
    try:
        return parse()
    except RecursionError:
        raise Unreadable(f"nested deeper than {DEEPEST} levels") from None
    except Unreadable:
        raise
    except ValueError as e:
        raise Unreadable(f"no valid JSON: {getattr(e, 'msg', e)}"[:200]) from None


def _calls(values: Sequence[Any], most: int, loose: bool) -> list[Call]:
    found: list[Call] = []
    for value in values:
        if isinstance(value, Mapping) and isinstance(value.get("tool_calls"), list | tuple):
            value = value["tool_calls"]
        for call in value if isinstance(value, list | tuple) else [value]:
            if len(found) == most:
                raise Unreadable(f"more than {MOST} calls")
            found.append(_call(call, loose))
    return found


def _call(value: Any, loose: bool) -> Call:
    if isinstance(value, Mapping) and isinstance(value.get("function"), Mapping):
        value = value["function"]
    if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
        raise Unreadable('a call is an object with a "name"')
    if unknown := [k for k in value if k not in _KEYS]:
        raise Unreadable(f"a call has no key {str(unknown[0])[:50]!r}; it has name and arguments")
    if "arguments" in value and "parameters" in value:
        raise Unreadable("a call with both arguments and parameters")
    given = value.get("arguments", value.get("parameters"))
    if isinstance(given, str):
        given = _parsed(partial(_DECODER.decode, given)) if given.strip() else {}
    if given is None:
        given = {}
    if not isinstance(given, Mapping) or not all(isinstance(k, str) for k in given):
        raise Unreadable("the arguments of a call are an object")
    return Call(value["name"], {k: canonical(v, loose) for k, v in given.items()})


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):  # readers differ in which one counts
        raise Unreadable("an object with the same key twice")
    return value


def _constant(name: str) -> Any:
    raise Unreadable(f"{name} is no JSON number")


def _numeral(kind: Callable[[str], Any]) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        if len(text) > NUMERAL:
            raise Unreadable(f"a number of more than {NUMERAL} digits")
        return kind(text)

    return read


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_constant=_constant, parse_int=_numeral(int), parse_float=_numeral(float)
)
