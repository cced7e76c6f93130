"""What a record says, in words made of its own figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def summary_of(record: Mapping[str, Any]) -> str:
    """What was found, in one sentence made of the record's own figures."""
    if (failed := failures(record)) and record["verdict"] is None:
        return f"No verdict: {len(failed)} of {_trials(record)} trials failed; {failed[0]}."
    if record["verdict"] is None:
        what = "pilot seeds are for looking around" if record["pilot"] else "the tiny budget only shows that everything runs"
        return f"No verdict: {what}."
    each = [in_words(e) for e in record["expectation"]]
    if len(each) > 1:  # which of them decided
        each = [f"{text}, {e['verdict']}" for text, e in zip(each, record["expectation"], strict=True)]
    return f"{record['verdict'].capitalize()} over {len(record['seeds'])} paired seeds: {'; '.join(each)}."


def in_words(expectation: Mapping[str, Any]) -> str:
    """An expectation with its effect and interval.

    >>> in_words({"text": "a higher than b by at least 0.1", "effect": 0.25, "ci": [0.2, 0.3]})
    'a higher than b by at least 0.1: +0.25 (+0.2 to +0.3)'
    """
    low, high = expectation["ci"]
    return f"{expectation['text']}: {signed(expectation['effect'])} ({signed(low)} to {signed(high)})"


def signed(value: float | None) -> str:
    """A difference for people: three digits and its sign.

    >>> signed(0.123456), signed(-2.0), signed(1234.5), signed(None)
    ('+0.123', '-2', '+1234', '–')
    """
    if value is None:
        return "–"
    return f"{value:+.0f}" if abs(value) >= 1000 else f"{value:+.3g}"


def failures(record: Mapping[str, Any]) -> list[str]:
    """Every trial that failed, with its reason."""
    return [f"{name}, {reason}" for name, arm in record["arms"].items() for reason in arm["failed"]]


def _trials(record: Mapping[str, Any]) -> int:
    return sum(len(arm["seconds"]) for arm in record["arms"].values())
