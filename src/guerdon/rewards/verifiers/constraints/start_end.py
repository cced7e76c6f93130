"""Constraints on how a text begins and ends, and on its commas."""

from __future__ import annotations

from guerdon.rewards.verifiers.constraints.kind import TEXT, Kind


def end_checker(text: str, *, end_phrase: str) -> bool:
    """The text ends with the phrase, in any case; quotation marks around the text do not count."""
    return text.strip().strip('"').lower().endswith(end_phrase.strip().lower())


def quotation(text: str) -> bool:
    """The whole text stands in straight double quotation marks."""
    text = text.strip()
    return len(text) > 1 and text[0] == text[-1] == '"'


def no_comma(text: str) -> bool:
    """No ``,`` anywhere; commas of other scripts are allowed."""
    return "," not in text


KINDS = {
    "startend:end_checker": Kind(end_checker, {"end_phrase": TEXT}),
    "startend:quotation": Kind(quotation),
    "punctuation:no_comma": Kind(no_comma),
}
