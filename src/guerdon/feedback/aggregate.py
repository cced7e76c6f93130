"""Many votes on a pair as one comparison."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from guerdon.core.errors import DataError, nearest
from guerdon.core.feedback import Comparison
from guerdon.feedback.dawid_skene import dawid_skene
from guerdon.feedback.votes import Votes, sides, votes_of

Method = Literal["majority", "mean", "dawid-skene"]
Floats = NDArray[np.float64]


def aggregate(comparisons: Iterable[Comparison], method: Method = "majority") -> list[Comparison]:
    """One comparison per pair of outputs, in the order of their first records.

    ``"majority"``: what most say of first, tie and second; a tie where the most frequent verdicts are equally many.
    ``"mean"``: the mean of the labels, a soft label.
    ``"dawid-skene"``: P(first) + P(tie) / 2 under Dawid and Skene's model, which trusts annotators as far as they agree
    with the rest; a soft label (``dawid_skene`` gives the confusion matrices).

    Orders of presentation are brought together, the last vote of an annotator on a pair counts, and soft labels are votes for
    the side they are on (except by the mean). Context, outputs, uids and info are those of the first record;
    ``info["votes"]`` counts the verdicts. Names of the annotators are not kept.

    Args:
        comparisons: Records.
        method: How.

    Raises:
        DataError: for an unknown method.

    Example:
        >>> said = [Comparison(first="x", second="y", annotator="ann"), Comparison(first="y", second="x", annotator="bob"),
        ...         Comparison(first="x", second="y", annotator="cat")]
        >>> one, = aggregate(said)
        >>> one.first, one.label, one.annotator, one.info["votes"]
        ('x', 1.0, 'aggregate:majority', {'first': 2, 'tie': 0, 'second': 1})
    """
    methods = {"majority": _majority, "mean": _mean, "dawid-skene": _dawid_skene}
    if method not in methods:
        raise DataError(f"unknown method {method!r}; {nearest(str(method), methods)}")
    votes = votes_of(comparisons)
    if not votes.pairs:
        return []
    counts = _count(votes)
    return [
        pair.replace(
            label=float(label),
            margin=None,
            annotator=f"aggregate:{method}",
            time=None,
            info={**pair.info, "votes": dict(zip(("first", "tie", "second"), map(int, count), strict=True))},
        )
        for pair, label, count in zip(votes.pairs, methods[method](votes), counts, strict=True)
    ]


def _count(votes: Votes) -> Floats:
    """[U, 3] votes for first, tie, second."""
    verdicts = sides(votes.labels)
    return np.stack([(verdicts == v).sum(0) for v in (1.0, 0.5, 0.0)], 1).astype(float)


def _majority(votes: Votes) -> Floats:
    counts = _count(votes)
    top = counts == counts.max(1, keepdims=True)
    return np.where(top.sum(1) == 1, np.array([1.0, 0.5, 0.0])[top.argmax(1)], 0.5)


def _mean(votes: Votes) -> Floats:
    return np.nanmean(votes.labels, 0)


def _dawid_skene(votes: Votes) -> Floats:
    fit = dawid_skene(sides(votes.labels))
    return np.clip(fit.posterior @ fit.classes, 0.0, 1.0)
