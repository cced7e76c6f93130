"""Where English sentences end: rules in plain code, no model and nothing to download."""

from __future__ import annotations

import re
from collections.abc import Iterator

BREAKS = ')";}*:@({[“”‘’«»' + "]"  # no word goes across them
END = re.compile(rf"[.?!](?=[\s?!'{re.escape(BREAKS)}])")  # where a sentence may end
BETWEEN = re.compile(rf"[{re.escape(BREAKS)}]")
SPACE = re.compile(r"\s")
NEXT = re.compile(r"\s*(\w+|\S)")
CLOSERS = re.compile(r"""["')\]}“”‘’«»]+(?:\s+|(?=--)|\Z)""")  # belong to the sentence before them
NUMBER = re.compile(r"-?[.,]?\d[\d,.-]*")
# With a full stop behind them no sentence ends, unless the next word opens one.
_TITLES = "mr mrs ms messrs dr prof st jr sr gen col maj lt adm sen rep reps"
_FIRMS = "inc ltd co corp cos bros cie"
_DATES = "jan feb aug sep sept oct nov dec tues wed fri"
_STATES = "ala ariz calif colo conn fla ga ill kan ky mich minn nev okla ore pa tenn va vt wash wis"
_OTHERS = "vs ave ft yr mg ok ph.d"
ABBREVIATIONS = frozenset(f"{_TITLES} {_FIRMS} {_DATES} {_STATES} {_OTHERS}".split())
LETTERS = frozenset("cdefghklmnprstvw")  # never end a sentence; others may, as in "So did I. The"
DOTTED = re.compile(r"[^\W\d_](\.[^\W\d_])+")  # u.s, p.m, j.r.r
ENDINGS = frozenset({"e.g", "i.e", "p.s", "p.p.s"})  # a full stop behind them ends a sentence, as in IFEval's checker
_OPENERS = (
    "a all also although an and another any as at because before but by do each even every finally first for from he her here "
    "his how however i if in indeed instead it its let many maybe meanwhile moreover most my nevertheless no not now of on once "
    "one only or our perhaps please she since so some still such that the their then there therefore these they this those "
    "though thus to today under until we what when where while who why with without yet you your"
)
OPENERS = frozenset(_OPENERS.split())


def sentences(text: str) -> Iterator[str]:
    """The sentences of a text, cut by the rules of Punkt (Kiss and Strunk 2006) with word lists in place of its trained model.

    A sentence ends at ``.``, ``?`` or ``!`` before a space, a quotation mark, a bracket or an asterisk. A full stop does not end
    one behind an abbreviation, an initial or an ellipsis, unless a word such as "The" follows; nor behind a number before a word
    in small letters. So "1. First" counts as two, as in IFEval's checker.

    >>> list(sentences('Dr. Smith left the U.S. at 5 p.m. on Monday. "Why?" I asked.'))
    ['Dr. Smith left the U.S. at 5 p.m. on Monday.', '"Why?"', 'I asked.']
    """
    text = text.rstrip()
    start = 0
    for first, last in _last_ends(text):
        behind = NEXT.match(text, last + 1)
        if behind is None or not _ends(text[first : last + 1], behind.group(1)):
            continue
        end, rest = last + 1, behind.start(1)
        if closers := CLOSERS.match(text, rest):
            end, rest = rest + len(closers.group().rstrip()), closers.end()
        yield text[start:end]
        start = rest
    if start < len(text):
        yield text[start:]


def _last_ends(text: str) -> Iterator[tuple[int, int]]:
    """Of each stretch without spaces: where it begins, and the last place in it at which a sentence may end."""
    behind = 0  # the last place of an earlier stretch, or the beginning of the text
    places = (m.start() for m in END.finditer(text))
    place = next(places, None)
    while place is not None:
        following = next(places, None)
        if following is None or text[place + 1].isspace() or SPACE.search(text, place + 1, following):
            before = text[behind:place]
            length = len(before.rsplit(None, 1)[-1]) if before and not before[-1].isspace() else 0
            yield place - length, place
            behind = place
        place = following


def _ends(word: str, behind: str) -> bool:
    """Whether a sentence ends within, or at the end of, a word that ends with a mark; ``behind``: the next word or character."""
    if "?" in word or "!" in word:
        return True
    if BETWEEN.search(word) is None:
        return _stops(word, behind)
    *pieces, last = BETWEEN.split(word)
    return any(p.endswith(".") and _stops(p, ")") for p in pieces) or _stops(last, behind)


def _stops(word: str, behind: str) -> bool:
    """Whether the full stop at the end of a word ends a sentence."""
    if word[:-1].lower() in ABBREVIATIONS or word.endswith(".."):
        return _opens(behind)
    word = word.rpartition("--")[2].lstrip("`&#-,")[:-1]
    if len(word) == 1 and word.isalpha():
        if word.lower() in LETTERS or behind[0].islower():
            return False
        return word.islower() or not behind[0].isupper() or _opens(behind)  # initials of names are capitals
    if NUMBER.fullmatch(word):
        return not behind[0].islower() and behind[0] not in ";:,.!?"
    return not _abbreviated(word.lower().rpartition("-")[2]) or _opens(behind)


def _abbreviated(word: str) -> bool:
    return word in ABBREVIATIONS or (DOTTED.fullmatch(word) is not None and word not in ENDINGS)


def _opens(behind: str) -> bool:
    """Whether the next word is one that has a capital at the beginning of a sentence only."""
    return behind[0].isupper() and behind.lower() in OPENERS
