"""One output and what was said of it: whether it is good, how good, or that it shows how."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from guerdon.core.errors import nearest
from guerdon.core.feedback import Demonstration, Rating
from guerdon.feedback.messages import answer_of, conversation, is_conversation, kind, prompt_of
from guerdon.feedback.readers.cells import OUTPUTS, Cells, is_missing, number_of, shown, unpacked
from guerdon.feedback.readers.shapes import Format

_TRUTH = {"true": True, "false": False, "1": True, "0": False, "1.0": True, "0.0": False, "yes": True, "no": False}
ATTRIBUTES = (
    "overall", "overall_score", "rating", "score", "helpfulness", "correctness", "coherence", "complexity", "verbosity",
    "harmlessness", "honesty", "truthfulness", "instruction_following", "quality", "fluency", "relevance", "consistency",
)  # fmt: skip
_OVERALL = ("overall", "overall_score", "rating", "score")


def truth(value: Any, name: str) -> bool:
    """Yes or no, as JSON, as a number or as a word.

    Raises:
        ValueError: for anything else.

    >>> truth("False", "label"), truth(1, "label")
    (False, True)
    """
    text = str(value).strip().casefold() if isinstance(value, str | int | float) and abs_small(value) else ""
    if text not in _TRUTH:
        raise ValueError(f"{name!r} is {shown(value)}, expected true or false")
    return _TRUTH[text]


def abs_small(value: Any) -> bool:
    """Whether a value is a text, or a number that is written in few digits."""
    return isinstance(value, str) or -2 < value < 2


def _read_completion(cells: Cells) -> Iterator[Rating]:
    """TRL's unpaired preference: a rating of 1 or 0."""
    context = cells.context()
    output = cells.output("completion")
    good = truth(cells.take("label"), "label")
    yield Rating(context=context, output=output, scores={"overall": float(good)}, low=0.0, high=1.0, **cells.common())


def _read_rating(cells: Cells) -> Iterator[Rating]:
    """A rating of all attributes that have a number; none where no attribute has one."""
    name = cells.find(tuple(n for n in OUTPUTS if n not in cells.settings.scores))
    if name is None:
        raise ValueError(f"no column {OUTPUTS[0]!r}, {OUTPUTS[1]!r} or {OUTPUTS[2]!r}; {nearest('output', map(str, cells.row))}")
    output = cells.output(name)
    found = _scores(cells)
    context = cells.context()
    alone = len(found) == 1 and next(iter(found)) in _OVERALL
    scores = {"overall" if alone else n: number_of(v, n) for n, v in found.items() if not is_missing(v)}
    low, high = cells.settings.scale or (None, None)
    in_row = [cells.maybe(n) for n in ("low", "high")]
    low, high = (b if a is None else number_of(a, n) for a, b, n in zip(in_row, (low, high), ("low", "high"), strict=True))
    if scores:
        yield Rating(context=context, output=output, scores=scores, low=low, high=high, **cells.common())


def _scores(cells: Cells) -> Mapping[str, Any]:
    """Attribute -> the cell."""
    if cells.settings.scores:
        return {n: cells.take(n) for n in cells.settings.scores}
    if "scores" in cells.row:
        found = unpacked(cells.take("scores"))
        if not isinstance(found, Mapping):
            raise ValueError(f"'scores' is {kind(found)}, expected a mapping of attributes to numbers")
        return {str(k): v for k, v in found.items()}
    names = [n for n in ATTRIBUTES if n in cells.row]
    if not names:
        numbers = [str(n) for n, v in cells.row.items() if isinstance(v, int | float) and not isinstance(v, bool)]
        hint = f"; columns with numbers: {', '.join(numbers)}" if numbers else ""
        raise ValueError(f"no column that is known to hold scores; name them with columns={{'scores': [...]}}{hint}")
    return {n: cells.take(n) for n in names}


def demonstration_of(row: Mapping[str, Any]) -> tuple[Any, str, tuple[str, ...]]:
    """(prompt, answer, columns that were used) of a row: ``prompt`` and ``completion``, ``messages``, or ``text`` alone.

    Raises:
        ValueError: saying what is wrong with the row.

    >>> demonstration_of({"messages": [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}]})
    ([{'role': 'user', 'content': '2 + 2?'}], '4', ('messages',))
    """
    if "messages" in row and "prompt" not in row:
        if not is_conversation(row["messages"]):
            raise ValueError(f"'messages' is {kind(row['messages'])}, expected a list of messages")
        messages = conversation(row["messages"], "messages")
        if len(messages) < 2 or messages[-1]["role"] != "assistant":
            raise ValueError("'messages' must end with an answer of the assistant to something")
        return messages[:-1], answer_of(messages[-1:], "messages"), ("messages",)
    if "text" in row and "prompt" not in row:
        return "", answer_of(row["text"], "text"), ("text",)
    if "prompt" not in row:
        raise ValueError(f"no column 'prompt' (with 'completion'), 'messages' or 'text'; {nearest('prompt', map(str, row))}")
    if "completion" not in row:
        raise ValueError(f"no column 'completion'; {nearest('completion', map(str, row))}")
    return prompt_of(row["prompt"], "prompt"), answer_of(row["completion"], "completion"), ("prompt", "completion")


def _read_demonstration(cells: Cells) -> Iterator[Demonstration]:
    context, output, used = demonstration_of(cells.row)
    cells.taken |= set(used)
    yield Demonstration(context=context, output=output, **cells.common())


def _shows_how(row: Mapping[str, Any]) -> bool:
    """Whether a row is a demonstration; a ``text`` beside other columns may be anything."""
    return "prompt" in row or "messages" in row or len(row) == 1


COMPLETIONS = Format(
    "completions",
    "a completion and whether it is good: a rating of 1 or 0 (TRL's unpaired preference, KTO)",
    {"prompt": "2 + 2 =", "completion": "4", "label": True},
    ((("completion",), ("label",)),),
    _read_completion,
)
RATINGS = Format(
    "ratings",
    "an output and its scores: a mapping, or a column for each attribute",
    {"prompt": "2 + 2 =", "response": "4", "helpfulness": 4, "correctness": "5", "verbosity": "N/A"},
    ((OUTPUTS, ("scores", *ATTRIBUTES)),),
    _read_rating,
    options=("scale", "scores"),
)
DEMONSTRATION = Format(
    "demonstration",
    "an answer to imitate: prompt and completion, messages, or text",
    {"messages": [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}]},
    ((("prompt",), ("completion",)), (("messages",),), (("text",),)),
    _read_demonstration,
    _shows_how,
)
