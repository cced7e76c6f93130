"""Preferences and Demonstrations: recorded answers, in the formats that TRL reads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from guerdon.core import nearest
from guerdon.run.sources.cycle import Cycle, Row
from guerdon.run.sources.file import check_limit, column, open_file
from guerdon.run.sources.messages import answer_of, conversation, is_conversation, kind, prompt_of


@dataclass(frozen=True)
class Preferences:
    """Two answers to one prompt, ``chosen`` and ``rejected``, as columns of these names.

    Each may be a text or messages. Without a ``prompt`` the two are whole conversations (or texts), and what they begin with
    in common is the prompt; a text is not cut inside a word. Other columns travel along.

    Args:
        path: The file, of a kind that ``File`` reads.
        limit: Rows used, from the first.
        shuffle: Whether each epoch has an order of its own.

    Raises:
        DataError: when it is opened; one line that names the file and the line.
    """

    path: str
    limit: int | None = None
    shuffle: bool = True

    def __post_init__(self) -> None:
        check_limit("Preferences", self.limit)

    def open(self, seed: int = 0, folder: str | Path | None = None) -> Cycle:
        """A running source, after the file was checked; a relative path begins in ``folder`` (None: the current one)."""
        return open_file(self.path, read_preference, self.limit, seed, self.shuffle, folder)

    def check(self, folder: str | Path | None = None) -> int:
        """Number of rows, after all were checked."""
        return len(self.open(folder=folder))


@dataclass(frozen=True)
class Demonstrations:
    """Good answers, in the column ``completion``: to imitate.

    A row has ``prompt`` and ``completion`` (texts or messages), or ``messages`` that end with an answer of the assistant, or
    ``text`` alone (then the prompt is empty). Other columns travel along.

    Args:
        path: The file, of a kind that ``File`` reads.
        limit: Rows used, from the first.
        shuffle: Whether each epoch has an order of its own.

    Raises:
        DataError: when it is opened; one line that names the file and the line.
    """

    path: str
    limit: int | None = None
    shuffle: bool = True

    def __post_init__(self) -> None:
        check_limit("Demonstrations", self.limit)

    def open(self, seed: int = 0, folder: str | Path | None = None) -> Cycle:
        """A running source, after the file was checked; a relative path begins in ``folder`` (None: the current one)."""
        return open_file(self.path, read_demonstration, self.limit, seed, self.shuffle, folder)

    def check(self, folder: str | Path | None = None) -> int:
        """Number of rows, after all were checked."""
        return len(self.open(folder=folder))


def read_preference(row: dict[str, Any]) -> Row:
    """A row as (prompt, {chosen, rejected, ...}).

    >>> read_preference({"chosen": "Hi, how are you?", "rejected": "Hi, how old are you?"})
    ('Hi, how', {'chosen': ' are you?', 'rejected': ' old are you?'})
    """
    chosen, rejected = column(row, "chosen"), column(row, "rejected")
    rest = {n: v for n, v in row.items() if n not in ("prompt", "chosen", "rejected")}
    for name, value in (("chosen", chosen), ("rejected", rejected)):
        if not isinstance(value, str) and not is_conversation(value):
            raise ValueError(f"{name!r} is {kind(value)}, expected a text or a list of messages")
    if isinstance(chosen, str) != isinstance(rejected, str):
        raise ValueError("'chosen' and 'rejected' must both be texts or both be messages")
    prompt = row.get("prompt")
    # A text beside whole conversations repeats their first turn: the conversations say it better.
    if prompt is None or (isinstance(prompt, str) and not isinstance(chosen, str) and len(chosen) > 1):
        prompt, chosen, rejected = split_common(chosen, rejected)
    answers = {"chosen": answer_of(chosen, "chosen"), "rejected": answer_of(rejected, "rejected")}
    return prompt_of(prompt, "prompt"), {**answers, **rest}


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
    if not length:
        raise ValueError("no 'prompt', and 'chosen' and 'rejected' begin with nothing in common")
    return chosen[:length], chosen[length:], rejected[length:]


def _inside(a: str, b: str, k: int) -> bool:
    """Whether position ``k`` is inside a word of either text."""
    return any(k < len(t) and t[k - 1].isalnum() and t[k].isalnum() for t in (a, b))


def read_demonstration(row: dict[str, Any]) -> Row:
    """A row as (prompt, {completion, ...}).

    >>> read_demonstration({"messages": [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}]})
    ([{'role': 'user', 'content': '2 + 2?'}], {'completion': '4'})
    """
    if "messages" in row and "prompt" not in row:
        if not is_conversation(row["messages"]):
            raise ValueError(f"'messages' is {kind(row['messages'])}, expected a list of messages")
        messages = conversation(row["messages"], "messages")
        if len(messages) < 2 or messages[-1]["role"] != "assistant":
            raise ValueError("'messages' must end with an answer of the assistant to something")
        rest = {n: v for n, v in row.items() if n != "messages"}
        return messages[:-1], {"completion": answer_of(messages[-1:], "messages"), **rest}
    if "text" in row and "prompt" not in row:
        rest = {n: v for n, v in row.items() if n != "text"}
        return "", {"completion": answer_of(row["text"], "text"), **rest}
    if "prompt" not in row:
        raise ValueError(f"no column 'prompt' (with 'completion'), 'messages' or 'text'; {nearest('prompt', row)}")
    completion = answer_of(column(row, "completion"), "completion")
    rest = {n: v for n, v in row.items() if n not in ("prompt", "completion")}
    return prompt_of(row["prompt"], "prompt"), {"completion": completion, **rest}
