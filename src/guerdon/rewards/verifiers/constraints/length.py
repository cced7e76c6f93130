"""Constraints on how long a text is: words, sentences, paragraphs."""

from __future__ import annotations

import re
from itertools import islice

from guerdon.rewards.verifiers.constraints.kind import COUNT, RELATION, TEXT, Kind, Relation, Unusable, compare
from guerdon.rewards.verifiers.constraints.sentences import sentences


def number_words(text: str, *, num_words: int, relation: Relation) -> bool:
    """So many words, where a word is a run of letters, digits and underscores: "don't" and "well-known" are two each.

    >>> number_words("Don't.", num_words=2, relation="at least")
    True
    """
    return compare(sum(1 for _ in re.finditer(r"\w+", text)), relation, num_words)


def number_sentences(text: str, *, num_sentences: int, relation: Relation) -> bool:
    """So many sentences, as ``sentences`` counts them."""
    found = sum(1 for _ in islice(sentences(text), min(num_sentences, len(text))))  # more would change nothing
    return compare(found, relation, num_sentences)


def number_paragraphs(text: str, *, num_paragraphs: int) -> bool:
    r"""Exactly so many paragraphs with ``***`` between them. A divider may stand first or last; two in a row are wrong.

    >>> number_paragraphs("One.\n***\nTwo.", num_paragraphs=2), number_paragraphs("One.\n\nTwo.", num_paragraphs=2)
    (True, False)
    """
    full = [bool(p.strip()) for p in text.split("***")]
    return all(full[1:-1]) and sum(full) == num_paragraphs


def nth_paragraph_first_word(text: str, *, num_paragraphs: int, nth_paragraph: int, first_word: str) -> bool:
    r"""Exactly so many paragraphs with an empty line between them, of which the n-th begins with the word (in any case).

    Quotation marks before the word and punctuation behind it do not count.

    >>> nth_paragraph_first_word('Hi.\n\n"Dear, you."', num_paragraphs=2, nth_paragraph=2, first_word="dear")
    True
    """
    if not 1 <= nth_paragraph <= num_paragraphs:
        raise Unusable(f"nth_paragraph must be from 1 to num_paragraphs = {num_paragraphs}, got {nth_paragraph}")
    parts = text.split("\n\n")
    if sum(1 for p in parts if p.strip()) != num_paragraphs:
        return False
    words = parts[nth_paragraph - 1].split(maxsplit=1)  # empty ones are counted here: three line ends make one
    return bool(words) and re.split("[.,?!'\"]", words[0].lstrip("'").lstrip('"'), maxsplit=1)[0].lower() == first_word.lower()


KINDS = {
    "length_constraints:number_words": Kind(number_words, {"num_words": COUNT, "relation": RELATION}),
    "length_constraints:number_sentences": Kind(number_sentences, {"num_sentences": COUNT, "relation": RELATION}),
    "length_constraints:number_paragraphs": Kind(number_paragraphs, {"num_paragraphs": COUNT}),
    "length_constraints:nth_paragraph_first_word": Kind(
        nth_paragraph_first_word, {"num_paragraphs": COUNT, "nth_paragraph": COUNT, "first_word": TEXT}
    ),
}
