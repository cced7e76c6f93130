"""Conversations as lists of messages ``{"role": ..., "content": ...}``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def is_conversation(value: Any) -> bool:
    """Whether a value is meant as a list of messages."""
    return isinstance(value, list | tuple) and bool(value) and isinstance(value[0], Mapping)


def conversation(value: Any, name: str) -> list[dict[str, Any]]:
    """The messages as plain dicts.

    Raises:
        ValueError: naming the message that is none.

    >>> conversation([{"role": "user"}], "prompt")
    Traceback (most recent call last):
    ValueError: 'prompt' message 1 has no 'content'
    """
    for k, message in enumerate(value, 1):
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            raise ValueError(f"{name!r} message {k} has no 'role'")
        if not isinstance(message.get("content"), str | list) and not message.get("tool_calls"):
            raise ValueError(f"{name!r} message {k} has no 'content'")
    return [dict(m) for m in value]


def prompt_of(value: Any, name: str) -> Any:
    """A text or a list of messages, as a context; a number becomes a text.

    Raises:
        ValueError: for anything else.

    >>> prompt_of("2 + 2", "prompt"), prompt_of(42, "prompt")
    ('2 + 2', '42')
    """
    if is_text(value):
        return str(value)
    if is_conversation(value):
        return conversation(value, name)
    raise ValueError(f"{name!r} is {kind(value)}, expected a text or a list of messages")


def output_of(value: Any, name: str) -> Any:
    """An output: a text or number as text, one message of the assistant as its text, several turns as messages.

    Raises:
        ValueError: for anything else, or turns that do not begin with one of the assistant.
    """
    if is_text(value):
        return str(value)
    if not is_conversation(value):
        raise ValueError(f"{name!r} is {kind(value)}, expected a text or a message of the assistant")
    messages = conversation(value, name)
    if messages[0]["role"] != "assistant":
        turns = ", ".join(m["role"] for m in messages)
        raise ValueError(f"{name!r} must be one turn of the assistant, got {len(messages)}: {turns}")
    content = messages[0].get("content")
    return content if len(messages) == 1 and isinstance(content, str) else messages


def answer_of(value: Any, name: str) -> str:
    """The text of an answer: a text, or one message of the assistant.

    Raises:
        ValueError: for anything else, such as several turns.
    """
    output = output_of(value, name)
    if isinstance(output, str):
        return output
    if len(output) > 1:
        turns = ", ".join(m["role"] for m in output)
        raise ValueError(f"{name!r} must be one turn of the assistant, got {len(output)}: {turns}")
    raise ValueError(f"{name!r} has content that is not a text")


def is_text(value: Any) -> bool:
    """Whether a value is a text, or a number, true or false that stands where a text belongs.

    Answers such as "42" and "True" lose their quotes easily on the way through tables; ``str`` gives them back.

    >>> is_text("a"), is_text(1.5), is_text(True), is_text(float("nan"))
    (True, True, True, False)
    """
    return isinstance(value, str) or (isinstance(value, int | float) and value == value)


def kind(value: Any) -> str:
    """What a JSON value is, in words.

    >>> kind(None), kind([]), kind({}), kind(3.5)
    ('missing', 'an empty list', 'an object', 'a number')
    """
    if value is None or value != value:
        return "missing"
    if isinstance(value, list | tuple):
        return "a list" if value else "an empty list"
    names = {dict: "an object", bool: "true or false", int: "a number", float: "a number", str: "a text"}
    return names.get(type(value), f"a {type(value).__name__}")
