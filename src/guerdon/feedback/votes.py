"""Comparisons as a table of votes: who said what of which pair, whatever order it was shown in."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guerdon.core.contexts import key_of
from guerdon.core.feedback import Comparison

Floats = NDArray[np.float64]
Key = tuple[str, str, str]


@dataclass(frozen=True)
class Votes:
    """A table of annotators and pairs.

    Args:
        labels: [A, U] probability that the pair's first output is better; NaN where the annotator did not say.
        annotators: [A] names; votes of unknown persons are filled into ``unnamed-1``, ``unnamed-2`` ... pair by pair, which are
            not persons.
        pairs: [U] the first record of each pair, whose order of the two outputs is that of the row of labels.
        repeated: Votes that a later vote of the same annotator on the same pair replaced.
    """

    labels: Floats
    annotators: tuple[str, ...]
    pairs: tuple[Comparison, ...]
    repeated: int = 0


def pair_key(comparison: Comparison) -> tuple[Key, bool]:
    """(key of context and outputs that does not depend on their order, whether they are shown in the other order than the key).

    >>> a, b = Comparison(context="q", first="x", second="y"), Comparison(context="q", first="y", second="x")
    >>> pair_key(a)[0] == pair_key(b)[0], pair_key(a)[1], pair_key(b)[1]
    (True, False, True)
    """
    first, second = output_key(comparison.first), output_key(comparison.second)
    low, high = sorted((first, second))
    return (key_of(comparison.context), low, high), first > second


def output_key(output: Any) -> str:
    """The same text for equal outputs: unlike contexts, white space counts."""
    return output if isinstance(output, str) else json.dumps(output, sort_keys=True, default=repr)


def votes_of(comparisons: Iterable[Comparison]) -> Votes:
    """The table of what everybody said; of several votes of one annotator on one pair the last counts.

    >>> said = [Comparison(first="x", second="y", annotator="ann"), Comparison(first="y", second="x", annotator="bob")]
    >>> votes = votes_of(said)
    >>> votes.annotators, votes.labels.tolist()
    (('ann', 'bob'), [[1.0], [0.0]])
    """
    people: dict[str, int] = {}
    pairs: dict[Key, int] = {}
    shown: list[tuple[Comparison, bool]] = []
    unnamed: dict[int, int] = {}
    cells: dict[tuple[int, int], float] = {}
    repeated = 0
    for c in comparisons:
        key, turned = pair_key(c)
        unit = pairs.setdefault(key, len(pairs))
        if unit == len(shown):
            shown.append((c, turned))
        name = c.annotator
        if not name:
            unnamed[unit] = unnamed.get(unit, 0) + 1
            name = f"unnamed-{unnamed[unit]}"
        cell = people.setdefault(name, len(people)), unit
        repeated += cell in cells
        cells[cell] = c.label if turned == shown[unit][1] else 1 - c.label
    labels = np.full((len(people), len(pairs)), np.nan)
    for (person, unit), label in cells.items():
        labels[person, unit] = label
    return Votes(labels, tuple(people), tuple(c for c, _ in shown), repeated)


def sides(labels: Floats) -> Floats:
    """Labels as verdicts: 1 above a half, 0 below, 0.5 for ties; NaN stays.

    >>> sides(np.array([0.7, 0.5, 0.0, np.nan])).tolist()
    [1.0, 0.5, 0.0, nan]
    """
    return np.where(np.isnan(labels), np.nan, (np.sign(labels - 0.5) + 1) / 2)


def majority_of_others(verdicts: Floats) -> Floats:
    """[A, U] the verdict most of the other annotators gave; NaN where they gave none, or two equally often.

    >>> majority_of_others(np.array([[1.0], [1.0], [0.0]])).tolist()      # for the first two, the others are at odds
    [[nan], [nan], [1.0]]
    """
    values = np.unique(verdicts[~np.isnan(verdicts)])
    given = (verdicts[:, :, None] == values).astype(float)
    others = given.sum(0) - given
    top = others.max(-1, initial=0)
    clear = (top > 0) & ((others == top[..., None]).sum(-1) == 1)
    return np.where(clear, values[others.argmax(-1)] if len(values) else np.nan, np.nan)
