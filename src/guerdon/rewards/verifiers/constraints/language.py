"""Constraints on the language, as the package langdetect finds it, and on letter case."""

from __future__ import annotations

import functools
import importlib.util
import threading
from pathlib import Path
from typing import Any

from guerdon.core.errors import nearest
from guerdon.rewards.verifiers.constraints.kind import COUNT, RELATION, TEXT, Kind, Relation, Unusable, compare
from guerdon.rewards.verifiers.constraints.tokens import capital_words

READ = 40_000  # characters that langdetect gets to see: it uses 10,000 after it has removed addresses, at a cost per character
_lock = threading.Lock()


def response_language(text: str, *, language: str) -> bool:
    """The language that is found, as its ISO 639-1 code ("zh-cn" and "zh-tw" for Chinese).

    Raises:
        Unusable: for a language that langdetect does not know, or without langdetect.
    """
    known = _factory().get_lang_list()
    if language not in known:
        raise Unusable(f"language {language!r} is not known to langdetect; {nearest(language, known)}")
    return detected(text) == language


def english_capital(text: str) -> bool:
    """English, and every letter is a capital."""
    return text.isupper() and detected(text) == "en"


def english_lowercase(text: str) -> bool:
    """English, and no letter is a capital."""
    return text.islower() and detected(text) == "en"


def capital_word_frequency(text: str, *, capital_frequency: int, capital_relation: Relation) -> bool:
    """So many words in capitals, as ``capital_words`` counts them."""
    return compare(capital_words(text), capital_relation, capital_frequency)


def detected(text: str) -> str:
    """Code of the most probable language, the same each time; "" where the text has nothing that tells one.

    Raises:
        Unusable: without langdetect.
    """
    factory = _factory()
    from langdetect import LangDetectException

    detector = factory.create()
    detector.seed = 0  # it draws letters at random
    try:
        detector.append(text[:READ])
        return str(detector.detect())
    except LangDetectException:
        return ""


def _factory() -> Any:
    with _lock:  # two threads must not read the profiles at the same time
        return _profiles()


@functools.cache
def _profiles() -> Any:
    # A factory of our own: the package's own one has a seed that is shared with everybody else.
    if importlib.util.find_spec("langdetect") is None:
        raise Unusable("needs the package langdetect: pip install 'guerdon[text]'")
    from langdetect.detector_factory import PROFILES_DIRECTORY, DetectorFactory

    factory = DetectorFactory()
    factory.load_profile(str(Path(PROFILES_DIRECTORY)))
    return factory


KINDS = {
    "language:response_language": Kind(response_language, {"language": TEXT}),
    "change_case:english_capital": Kind(english_capital),
    "change_case:english_lowercase": Kind(english_lowercase),
    "change_case:capital_word_frequency": Kind(
        capital_word_frequency, {"capital_frequency": COUNT, "capital_relation": RELATION}
    ),
}
