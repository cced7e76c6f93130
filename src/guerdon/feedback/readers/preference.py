r"""Chosen and rejected answers: TRL's preference formats, and the dialogues of HH-RLHF (Bai et al., arXiv:2204.05862)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from guerdon.core.errors import nearest
from guerdon.core.feedback import Comparison
from guerdon.feedback.messages import conversation, is_conversation, is_text, kind, output_of, prompt_of
from guerdon.feedback.readers.cells import Cells, number_of
from guerdon.feedback.readers.shapes import Format

_TURN = re.compile(r"(?:\A\s*|\n\n)(Human|Assistant):")
_ROLES = {"Human": "user", "Assistant": "assistant"}


def preference_of(row: Mapping[str, Any], dialogue: bool | None = None) -> tuple[Any, Any, Any]:
    r"""(prompt, chosen, rejected) of a row: texts, or messages where a prompt is a conversation or an answer has several turns.

    Without a ``prompt``, what ``chosen`` and ``rejected`` begin with in common is the prompt: whole messages up to a turn of the
    assistant, or characters up to the space before the first difference, not inside a word.

    Args:
        row: With the columns ``chosen``, ``rejected`` and perhaps ``prompt``.
        dialogue: Whether texts are dialogues of HH-RLHF; None: where they look like it.

    Raises:
        ValueError: saying what is wrong with the row.

    >>> preference_of({"chosen": "Hi, how are you?", "rejected": "Hi, how old are you?"})
    ('Hi, how', ' are you?', ' old are you?')
    >>> preference_of({"chosen": "\n\nHuman: 2 + 2?\n\nAssistant: 4", "rejected": "\n\nHuman: 2 + 2?\n\nAssistant: 5"})
    ([{'role': 'user', 'content': '2 + 2?'}], '4', '5')
    """
    for name in ("chosen", "rejected"):
        if name not in row:
            raise ValueError(f"no column {name!r}; {nearest(name, map(str, row))}")
        if not is_text(row[name]) and not is_conversation(row[name]):
            raise ValueError(f"{name!r} is {kind(row[name])}, expected a text or a list of messages")
    prompt, chosen, rejected = row.get("prompt"), row["chosen"], row["rejected"]
    texts = is_text(chosen)
    if texts != is_text(rejected):
        raise ValueError("'chosen' and 'rejected' must both be texts or both be messages")
    if texts:
        chosen, rejected = str(chosen), str(rejected)
        if dialogue or (dialogue is None and is_dialogue(row)):
            chosen, rejected, texts = messages_of(chosen, "chosen"), messages_of(rejected, "rejected"), False
    else:
        chosen, rejected = conversation(chosen, "chosen"), conversation(rejected, "rejected")
    # A text beside whole conversations repeats their first turn: the conversations say it better.
    if prompt is None or (is_text(prompt) and not texts and len(chosen) > 1):
        prompt, chosen, rejected = split_common(chosen, rejected)
    else:
        prompt = prompt_of(prompt, "prompt")
        if isinstance(prompt, list) and not texts and chosen[: len(prompt)] == prompt == rejected[: len(prompt)]:
            chosen, rejected = chosen[len(prompt) :], rejected[len(prompt) :]
    return prompt, output_of(chosen, "chosen"), output_of(rejected, "rejected")


def split_common(chosen: Any, rejected: Any) -> tuple[Any, Any, Any]:
    """(what both begin with, the rest of each): whole messages, or characters up to the space before the first difference.

    Raises:
        ValueError: where they do not differ, or begin with nothing in common.
    """
    length = next((k for k, (a, b) in enumerate(zip(chosen, rejected, strict=False)) if a != b), min(len(chosen), len(rejected)))
    if length == len(chosen) == len(rejected):
        raise ValueError("'chosen' and 'rejected' are the same")
    if isinstance(chosen, str):
        while length and _inside(chosen, rejected, length):
            length -= 1
        if length and chosen[length - 1] == " ":
            length -= 1
    else:
        while length and not _answered(chosen, rejected, length):
            length -= 1
    if not length:
        raise ValueError("no 'prompt', and 'chosen' and 'rejected' begin with nothing in common")
    return chosen[:length], chosen[length:], rejected[length:]


def _inside(a: str, b: str, k: int) -> bool:
    """Whether position ``k`` is inside a word of either text."""
    return any(k < len(t) and t[k - 1].isalnum() and t[k].isalnum() for t in (a, b))


def _answered(a: list[dict[str, Any]], b: list[dict[str, Any]], k: int) -> bool:
    """Whether both conversations go on with a turn of the assistant."""
    return all(k < len(t) and t[k]["role"] == "assistant" for t in (a, b))


def is_dialogue(row: Mapping[str, Any]) -> bool:
    """Whether a row looks like HH-RLHF's: two texts without a prompt that begin with a turn of Human."""
    texts = [row.get("chosen"), row.get("rejected")]
    return row.get("prompt") is None and all(
        isinstance(t, str) and t.lstrip().startswith("Human:") and "\n\nAssistant:" in t for t in texts
    )


def messages_of(text: str, name: str) -> list[dict[str, str]]:
    r"""A dialogue as messages; white space around a turn is no part of it.

    Raises:
        ValueError: for turns that do not go Human, Assistant, Human, Assistant ...

    >>> messages_of("\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: Bye", "chosen")
    Traceback (most recent call last):
    ValueError: 'chosen' ends with a turn of Human (turn 3), expected Assistant
    """
    before, *parts = _TURN.split(text)
    if before.strip() or parts[:1] != ["Human"]:
        raise ValueError(f"{name!r} begins with {text.strip()[:20]!r}, expected 'Human:' and then '\\n\\nAssistant:'")
    found = []
    for k, (who, said) in enumerate(zip(parts[::2], parts[1::2], strict=True)):
        expected = ("Human", "Assistant")[k % 2]
        if who != expected:
            raise ValueError(
                f"{name!r} has {who} where {expected} should speak (turn {k + 1}); Human begins, then they alternate"
            )
        found.append({"role": _ROLES[who], "content": said.strip()})
    if len(found) % 2:
        raise ValueError(f"{name!r} ends with a turn of Human (turn {len(found)}), expected Assistant")
    return found


def read_preference(cells: Cells, dialogue: bool | None = False) -> Iterator[Comparison]:
    """The comparison of a row, ``chosen`` first."""
    prompt, chosen, rejected = preference_of(cells.row, dialogue)
    cells.taken |= {"prompt", "chosen", "rejected"}
    label = cells.maybe("label")
    margin = cells.maybe("margin")
    better, worse = cells.row.get("score_chosen"), cells.row.get("score_rejected")  # they stay among the info
    if label is not None:
        label = float(label) if isinstance(label, bool) else number_of(label, "label")
        if not 0 <= label <= 1:
            raise ValueError(f"'label' is {label:g}, expected P(chosen better) in [0, 1]")
    if margin is not None:
        margin = number_of(margin, "margin")
        if margin < 0:
            raise ValueError(f"'margin' is {margin:g}, expected at least 0")
    elif better is not None and worse is not None:
        margin = number_of(better, "score_chosen") - number_of(worse, "score_rejected")
        if margin < 0:
            raise ValueError(f"'score_chosen' ({better}) is below 'score_rejected' ({worse})")
    yield Comparison(
        context=prompt, first=chosen, second=rejected, label=1.0 if label is None else label, margin=margin, **cells.common()
    )


def _read_dialogue(cells: Cells) -> Iterator[Comparison]:
    return read_preference(cells, dialogue=True)


FORMATS = (
    Format(
        "hh",
        "two dialogues of HH-RLHF; what they share is the prompt",
        {"chosen": "\n\nHuman: 2 + 2?\n\nAssistant: 4", "rejected": "\n\nHuman: 2 + 2?\n\nAssistant: 5"},
        ((("chosen",), ("rejected",)),),
        _read_dialogue,
        is_dialogue,
    ),
    Format(
        "preference",
        "chosen and rejected, texts or messages, with or without a prompt (TRL)",
        {"prompt": "2 + 2 =", "chosen": "4", "rejected": "5"},
        ((("chosen",), ("rejected",)),),
        read_preference,
    ),
)
