"""Two outputs and what was said of them: who of one or several annotators found which better."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from guerdon.core.errors import DataError
from guerdon.core.feedback import Comparison
from guerdon.feedback.readers.cells import Cells, number_of, shown
from guerdon.feedback.readers.shapes import Format

MEANINGS = {"first": 1.0, "second": 0.0, "tie": 0.5}
LABELS = ("label", "preference", "winner", "choice", "preferred")
_STEMS = ("response", "output", "answer", "completion", "text", "candidate", "model", "assistant")
_TAGS = (("1", "2"), ("a", "b"), ("A", "B"), ("0", "1"))
PAIRS = (
    ("first", "second"),
    *((f"{s}{join}{a}", f"{s}{join}{b}") for s in _STEMS[:6] for join in ("_", " ", "", "-") for a, b in _TAGS),
)
FIRSTS, SECONDS = tuple(a for a, _ in PAIRS), tuple(b for _, b in PAIRS)
_ANNOTATOR = re.compile(r"annotator[ _-]?(\d+|[a-z])")
_NAMES = tuple(f"annotator{join}{tag}" for join in ("", "_", " ", "-") for tag in ("1", "0", "a", "A"))
_CODES = ("codes",)
ZERO_TIE = {"0": 0.5, "1": 1.0, "2": 0.0}
TWO_TIE = {"0": 1.0, "1": 0.0, "2": 0.5}
ONE_TWO = {"1": 1.0, "2": 0.0}
ORDER = {"a>b": 1.0, "b>a": 0.0, "a=b": 0.5, "b=a": 0.5}


def pair_of(row: Mapping[str, Any]) -> tuple[str, str] | None:
    """The columns of the two outputs; None where there are none, or three."""
    found = [p for p in PAIRS if p[0] in row and p[1] in row]
    return found[0] if len(found) == 1 else None


def spelled(value: Any) -> str:
    """A label as it is looked up: numbers without ".0", texts without case, "_" and space.

    >>> spelled(1), spelled("1.0"), spelled("Response 1"), spelled(True)
    ('1', '1', 'response1', 'true')
    """
    if isinstance(value, bool):
        return str(value).casefold()
    text = str(value).strip().casefold() if isinstance(value, str | int | float) else ""
    if re.fullmatch(r"[-+]?\d{1,15}(\.0*)?", text):
        return str(int(float(text)))
    return re.sub(r"[ _-]+", "", text)


@functools.lru_cache(maxsize=64)
def words(first: str, second: str) -> Mapping[str, float]:
    """What words mean beside two columns: their names, their letters, "first", "second" and "tie"."""
    tags = [("a", "b")] if spelled(second)[-1:] == "1" else [("1", "2"), ("a", "b")]  # with 0 and 1, "response1" is the other
    known = {f"{stem}{tag}": p for stem in _STEMS for pair in tags for tag, p in zip(pair, (1.0, 0.0), strict=True)}
    known |= {"a": 1.0, "b": 0.0, "first": 1.0, "second": 0.0, "tie": 0.5, "tied": 0.5, "equal": 0.5, "same": 0.5, "draw": 0.5}
    return known | ORDER | {spelled(first): 1.0, spelled(second): 0.0}


def label_of(cells: Cells, value: Any, name: str, pair: tuple[str, str], code: Mapping[str, float] | None) -> float:
    """P(first better) that a label means. Numbers mean nothing without a code.

    Raises:
        ValueError: for a label that the code does not have.
    """
    given = cells.settings.codes
    known = dict(given) if given is not None else {**words(*pair), **(code or {})}
    found = spelled(value)
    if found in known:
        return known[found]
    if given is None and code is None and re.fullmatch(r"-?\d+|true|false", found):
        raise ValueError(
            f"{name!r} is {shown(value)}, and the columns do not say which output that is; name the format: 'auto-j' (0 first, "
            "1 second, 2 tie) or 'llmbar' (1 first, 2 second), or give codes={'1': 'first', '2': 'second', '0': 'tie'}"
        )
    if given is not None or code is not None:
        shown_codes = ", ".join(f"{k} {_meaning(p)}" for k, p in (given or code or {}).items())
        raise ValueError(f"{name!r} is {shown(value)}, expected one of: {shown_codes}")
    raise ValueError(f"{name!r} is {shown(value)}, expected {pair[0]!r}, {pair[1]!r}, 'A', 'B', 'A>B', 'B>A' or 'tie'")


def _meaning(p: float) -> str:
    return next((f"({word})" for word, q in MEANINGS.items() if q == p), f"({p:g})")


def _taken(cells: Cells) -> tuple[tuple[str, str], dict[str, Any]]:
    pair = pair_of(cells.row)
    if pair is None:
        raise ValueError("expected exactly two outputs, such as 'response_1' and 'response_2'; name them with "
                         "columns={'first': ..., 'second': ...}")  # fmt: skip
    outputs = {"first": cells.output(pair[0]), "second": cells.output(pair[1])}
    return pair, {"context": cells.context(), **outputs}


def _labelled(code: Mapping[str, float] | None) -> Callable[[Cells], Iterator[Comparison]]:
    def read(cells: Cells) -> Iterator[Comparison]:
        pair, known = _taken(cells)
        name = cells.find(LABELS) or "label"
        label = label_of(cells, cells.take(*LABELS), name, pair, code)
        yield Comparison(**known, label=label, **cells.common())

    return read


def _read_soft(cells: Cells) -> Iterator[Comparison]:
    """AlpacaEval: 1 is the first output, 2 the second, between is a probability."""
    pair, known = _taken(cells)
    name = cells.find(("preference", *LABELS)) or "preference"
    value = cells.take("preference", *LABELS)
    if cells.settings.codes is not None:
        label = label_of(cells, value, name, pair, None)
    else:
        found = number_of(value, name)
        if not 1 <= found <= 2:
            raise ValueError(f"{name!r} is {shown(value)}, expected a number from 1 (the first output) to 2 (the second)")
        label = 2 - found
    yield Comparison(**known, label=label, **cells.common())


def annotators_of(row: Mapping[str, Any]) -> list[str]:
    """The columns that hold one annotator's labels each."""
    return [n for n in row if _ANNOTATOR.fullmatch(str(n).casefold())]


def _read_annotators(cells: Cells) -> Iterator[Comparison]:
    """One comparison for each annotator who said something."""
    given = cells.settings.annotator
    if isinstance(given, str):
        raise ValueError(f"annotator={given!r} is one name, and each column is an annotator: give a mapping of columns to names")
    columns = [n for n in given if n in cells.row] if given else annotators_of(cells.row)
    if not columns:
        raise ValueError("no column of an annotator, such as 'annotator1'; name them with annotator={column: name}")
    pair, known = _taken(cells)
    said = [(n, cells.maybe(n)) for n in columns]
    common = cells.common()
    for name, value in said:
        if value is not None:
            label = label_of(cells, value, name, pair, ZERO_TIE)
            yield Comparison(**known, label=label, **{**common, "annotator": given[name] if given else name})


def _pair(row: Mapping[str, Any]) -> bool:
    return pair_of(row) is not None


def _several(row: Mapping[str, Any]) -> bool:
    return bool(annotators_of(row))


def codes_of(codes: Mapping[Any, Any] | None) -> Mapping[str, float] | None:
    """Codes as the caller gives them, checked.

    Raises:
        DataError: for a meaning that is none.

    >>> codes_of({1: "first", "B": "second", "both": 0.5})
    {'1': 1.0, 'b': 0.0, 'both': 0.5}
    """
    if codes is None:
        return None
    found = {}
    for code, meaning in codes.items():
        p = MEANINGS.get(meaning) if isinstance(meaning, str) else meaning
        if not isinstance(p, int | float) or isinstance(p, bool) or not 0 <= p <= 1:
            raise DataError(f"codes: {code!r} means {meaning!r}, expected 'first', 'second', 'tie' or P(first better) in [0, 1]")
        found[spelled(code)] = float(p)
    return found


_ONE = {"prompt": "2 + 2 =", "response 1": "4", "response 2": "5", "label": 0}
FORMATS = (
    Format(
        "annotators",
        "two outputs and a column per annotator: 0 tie, 1 first, 2 second, or words (PandaLM)",
        {"instruction": "Add.", "input": "2 + 2", "response1": "4", "response2": "5", "annotator1": 1, "annotator2": "tie"},
        ((FIRSTS, SECONDS, _NAMES),),
        _read_annotators,
        _several,
        options=_CODES,
    ),
    Format(
        "alpaca-eval",
        "two outputs and a number from 1 (the first is better) to 2 (the second)",
        {"instruction": "2 + 2 =", "output_1": "4", "output_2": "5", "preference": 1.25, "annotator": "judge"},
        ((("output_1",), ("output_2",), ("preference",)),),
        _read_soft,
        options=_CODES,
    ),
    Format(
        "auto-j",
        "two outputs and a label: 0 first, 1 second, 2 tie",
        _ONE,
        ((("response 1",), ("response 2",), ("label",)),),
        _labelled(TWO_TIE),
        options=_CODES,
    ),
    Format(
        "llmbar",
        "two outputs and a label: 1 first, 2 second",
        {"input": "2 + 2 =", "output_1": "4", "output_2": "5", "label": 1},
        ((("output_1",), ("output_2",), ("label",)),),
        _labelled(ONE_TWO),
        options=_CODES,
    ),
    Format(
        "judgebench",
        "two outputs and a label: A>B, B>A or A=B",
        {"question": "2 + 2 =", "response_A": "4", "response_B": "5", "label": "A>B"},
        ((("response_A",), ("response_B",), ("label",)),),
        _labelled(ORDER),
        options=_CODES,
    ),
    Format(
        "labelled-pair",
        "two outputs and a label in words (A, response_1, tie, A>B), or in numbers with codes={...}",
        {"question": "2 + 2 =", "answer_a": "4", "answer_b": "5", "winner": "A"},
        ((FIRSTS, SECONDS, LABELS),),
        _labelled(None),
        _pair,
        options=_CODES,
    ),
)
