"""Words in capitals, by the rules that cut English text into words for treebanks."""

from __future__ import annotations

import re

ALONE = str.maketrans(dict.fromkeys(';@#$%&?!*[](){}<>"`«»“”„‘’‒–—―', " "))  # words of their own, never in capitals
SPLIT = re.compile(r"[:,](?!\d)|\.{2,}|--|''")
STOP = re.compile(r"\.(?='?(?:\s|\Z))")
ENDING = re.compile(r"(?<=[^'\s])('[sSmMdD]?)(?=\s|\Z)")  # Ann's, I'm, she'd, the dogs'
LONG_ENDING = re.compile(r"(?<=[^'\s])('ll|'LL|'re|'RE|'ve|'VE|n't|N'T)(?=\s|\Z)")
TWO_IN_ONE = re.compile(r"\b(can(?=not\b)|gim(?=me\b)|gon(?=na\b)|got(?=ta\b)|lem(?=me\b)|wan(?=na\b)|d(?='ye\b)|more(?='n\b)"
                        r"|(?<=\s')t(?=(?:is|was)\b))", re.IGNORECASE)  # fmt: skip


def capital_words(text: str) -> int:
    """How many words have capitals and no small letters. A hyphen joins; "DON'T" and "IT'S" are two words each.

    >>> capital_words("A U.S.A.-made GO-GO bar ISN'T what I'm after")
    5
    """
    text = STOP.sub(" ", " " + SPLIT.sub(" ", text).translate(ALONE))
    for ending in (ENDING, LONG_ENDING):
        text = ending.sub(r" \1", text)
    return sum(word.isupper() for word in TWO_IN_ONE.sub(r" \1 ", text).split())
