"""Constraints on the whole answer: two responses, the request repeated first."""

from __future__ import annotations

from guerdon.rewards.verifiers.constraints.kind import TEXT, Kind


def two_responses(text: str) -> bool:
    """Two different responses with ``******`` between them. The mark may also stand first or last.

    >>> two_responses("Yes.******No."), two_responses("Yes.******Yes.")
    (True, False)
    """
    parts = [p.strip() for p in text.split("******")]
    full = [p for p in parts if p]
    return all(parts[1:-1]) and len(full) == 2 and full[0] != full[1]


def repeat_prompt(text: str, *, prompt_to_repeat: str) -> bool:
    """The text begins with the request, in any case."""
    return text.strip().lower().startswith(prompt_to_repeat.strip().lower())


KINDS = {
    "combination:two_responses": Kind(two_responses),
    "combination:repeat_prompt": Kind(repeat_prompt, {"prompt_to_repeat": TEXT}),
}
