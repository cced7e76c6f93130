"""Scenes: one coloured shape on a plain background, as words and as numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from guerdon.core.errors import DataError, nearest

COLOURS = {  # 8-bit RGB
    "red": (225, 35, 40), "green": (30, 165, 70), "blue": (40, 75, 235), "yellow": (250, 215, 40),
    "purple": (160, 50, 200), "cyan": (60, 210, 230), "orange": (245, 130, 20), "pink": (250, 130, 190),
}  # fmt: skip
BACKGROUNDS = {"black": (12, 12, 16), "white": (244, 244, 240), "grey": (128, 128, 132)}
FORMS = ("circle", "square", "triangle", "cross", "diamond", "ring")
SIZES = {"small": 0.15, "large": 0.235}  # radius of the circle of the same area, as a share of the picture's width
PLACES = {  # centre from the left and from the top, as shares of the picture
    "left": (0.29, 0.5), "right": (0.71, 0.5), "top": (0.5, 0.29), "bottom": (0.5, 0.71), "middle": (0.5, 0.5),
    "top left": (0.29, 0.29), "top right": (0.71, 0.29), "bottom left": (0.29, 0.71), "bottom right": (0.71, 0.71),
}  # fmt: skip
WHERE = {p: {"left": "on the left", "right": "on the right", "middle": "in the middle"}.get(p, f"at the {p}") for p in PLACES}
ATTRIBUTES = ("shape", "colour", "place", "size", "background")
GLUE = ("a", "on", "the", "at", "in")  # the other words of captions
_WORD = re.compile(r"[\w'-]+")
_AMONG: dict[str, Sequence[str]] = {
    "shape": FORMS, "colour": tuple(COLOURS), "size": tuple(SIZES), "background": tuple(BACKGROUNDS),
}  # fmt: skip
_SIDES = ("top", "bottom", "left", "right", "middle")


class Scene(NamedTuple):
    """One shape on a background, by the names of its attributes.

    Attributes:
        shape: One of ``FORMS``.
        colour: One of ``COLOURS``.
        place: One of ``PLACES``.
        size: One of ``SIZES``.
        background: One of ``BACKGROUNDS``.
    """

    shape: str
    colour: str
    place: str
    size: str
    background: str


def caption(scene: Scene, asked: Sequence[str] = ATTRIBUTES) -> str:
    """A scene in words; only the attributes ``asked`` are mentioned.

    >>> caption(Scene("circle", "red", "left", "small", "white"))
    'a small red circle on the left, on white'
    >>> caption(Scene("circle", "red", "left", "small", "white"), ("shape", "place"))
    'a circle on the left'
    """
    words = ["a", *(getattr(scene, n) for n in ("size", "colour", "shape") if n in asked)]
    if "shape" not in asked:
        words.append("shape")
    text = " ".join([*words, WHERE[scene.place]] if "place" in asked else words)
    return f"{text}, on {scene.background}" if "background" in asked else text


def said(text: str, also: Sequence[str] = ()) -> dict[str, str]:
    """attribute -> value of everything that a caption mentions, in any order and wording.

    Args:
        text: The caption.
        also: Further words that are allowed and mean none of these.

    Raises:
        DataError: for a word that says nothing here (with the nearest that does), or two values of one attribute.

    >>> said("a red circle at the top left")
    {'colour': 'red', 'shape': 'circle', 'place': 'top left'}
    """
    found: dict[str, str] = {}
    sides = []
    for word in _WORD.findall(text.lower()):
        if word in _SIDES:
            sides.append(word)
            continue
        name = next((n for n, values in _AMONG.items() if word in values), None)
        if name is not None:
            if found.setdefault(name, word) != word:
                raise DataError(f"caption {text!r} names two: {found[name]} and {word}")
        elif word not in (*GLUE, "shape", *also):
            known = [*(w for values in _AMONG.values() for w in values), *_SIDES]
            raise DataError(f"caption {text!r}: {word!r} says nothing here; {nearest(word, known)}")
    if sides:
        place = " ".join(sorted(set(sides), key=_SIDES.index))
        if place not in PLACES:
            raise DataError(f"caption {text!r} names two places: {' and '.join(sides)}")
        found["place"] = place
    return found


def colour(name: str) -> tuple[float, float, float]:
    """RGB in [-1, 1] of a colour or a background.

    >>> [round(c, 2) for c in colour("red")]
    [0.76, -0.73, -0.69]
    """
    r, g, b = {**COLOURS, **BACKGROUNDS}[name]
    return r / 127.5 - 1, g / 127.5 - 1, b / 127.5 - 1


def vocabulary(values: Mapping[str, Sequence[str]], more: Sequence[str] = ()) -> tuple[str, ...]:
    """Every word that captions of a world with these values may use, in a fixed order."""
    words = [w for names in values.values() for name in names for w in name.split()]
    return tuple(dict.fromkeys([*GLUE, "shape", *words, *more]))
