"""Constraints on words and letters."""

from __future__ import annotations

import re

from guerdon.rewards.verifiers.constraints.kind import CHARACTER, COUNT, RELATION, TEXT, TEXTS, Kind, Relation, compare


def existence(text: str, *, keywords: tuple[str, ...]) -> bool:
    """Every keyword appears, in any case, also inside a word.

    >>> existence("A Concatenation.", keywords=("cat", "nation"))
    True
    """
    return all(_anywhere(k).search(text) for k in keywords)


def frequency(text: str, *, keyword: str, frequency: int, relation: Relation) -> bool:
    """The keyword appears so many times, in any case, also inside words; occurrences do not overlap."""
    return compare(sum(1 for _ in _anywhere(keyword.strip()).finditer(text)), relation, frequency)


def forbidden_words(text: str, *, forbidden_words: tuple[str, ...]) -> bool:
    """None of the words appears as a whole word, in any case.

    >>> forbidden_words("A concatenation.", forbidden_words=("cat",))
    True
    """
    return not any(re.search(rf"\b{re.escape(w)}\b", text, re.IGNORECASE) for w in forbidden_words)


def letter_frequency(text: str, *, letter: str, let_frequency: int, let_relation: Relation) -> bool:
    """The character, in either case, appears so many times."""
    return compare(text.lower().count(letter.lower()), let_relation, let_frequency)


def _anywhere(keyword: str) -> re.Pattern[str]:
    # Taken literally, so that no task can hold a pattern that never ends.
    return re.compile(re.escape(keyword), re.IGNORECASE)


KINDS = {
    "keywords:existence": Kind(existence, {"keywords": TEXTS}),
    "keywords:frequency": Kind(frequency, {"keyword": TEXT, "frequency": COUNT, "relation": RELATION}),
    "keywords:forbidden_words": Kind(forbidden_words, {"forbidden_words": TEXTS}),
    "keywords:letter_frequency": Kind(letter_frequency, {"letter": CHARACTER, "let_frequency": COUNT, "let_relation": RELATION}),
}
