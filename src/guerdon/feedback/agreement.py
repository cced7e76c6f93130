"""How far annotators agree on comparisons, and who does not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from guerdon.core.feedback import Comparison
from guerdon.core.proportions import Proportion, newcombe, wilson
from guerdon.feedback.kappa import percent_agreement
from guerdon.feedback.krippendorff import Alpha, alpha_interval
from guerdon.feedback.votes import majority_of_others, sides, votes_of


@dataclass(frozen=True)
class Agreement:
    """Agreement of annotators on pairs that at least two of them compared.

    Args:
        nominal: Alpha of the verdicts first, tie, second, all equally different.
        ordinal: Alpha of the labels in order, a tie in the middle: first against second is a larger disagreement than either
            against a tie.
        percent: Share of all pairs of verdicts on the same outputs that are the same, ties among them, in [0, 1].
        votes: Verdicts given.
        with_others: annotator -> how often it says what most of the others say, over the pairs on which they have a majority.
    """

    nominal: Alpha
    ordinal: Alpha
    percent: float
    votes: int
    with_others: Mapping[str, Proportion]

    @property
    def outliers(self) -> list[str]:
        """Annotators who agree with the majority less often than the rest do, by more than chance explains.

        The difference between the annotator's share and that of all others together has a 95 % interval (Newcombe's, with
        Bonferroni's correction for the number of annotators) below 0.
        """
        level = 1 - 0.05 / max(1, len(self.with_others))
        found = []
        for name, own in self.with_others.items():
            rest = [p for other, p in self.with_others.items() if other != name and p.n]
            if not own.n or not rest:
                continue
            hits, n = sum(round(p.share * p.n) for p in rest), sum(p.n for p in rest)
            if newcombe(wilson(round(own.share * own.n), own.n, level), wilson(hits, n, level))[2] < 0:
                found.append(name)
        return found


def agreement(comparisons: Iterable[Comparison], *, resamples: int = 1000, seed: int = 0) -> Agreement:
    """Agreement of the annotators of some comparisons.

    A unit is a context with two outputs, in whatever order they were shown: labels are turned to the order in which the unit
    occurs first. Of several labels that one annotator gave to one unit the last counts. Labels of unnamed annotators count as
    those of different persons.

    Args:
        comparisons: Records; soft labels are read as the side they are on, except by ``ordinal``, which ranks them.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.

    Example:
        >>> def says(annotator, context, label):
        ...     return Comparison(context=context, first="x", second="y", label=label, annotator=annotator)
        >>> said = [says(who, q, label) for who in ("ann", "bob") for q, label in (("a", 1.0), ("b", 0.5), ("c", 0.0))]
        >>> found = agreement(said)
        >>> found.nominal.alpha, found.percent, found.with_others["ann"].n
        (1.0, 1.0, 3)
    """
    votes = votes_of(comparisons)
    labels, verdicts = votes.labels, sides(votes.labels)
    others = majority_of_others(verdicts)
    with_others = {}
    for k, name in enumerate(votes.annotators):
        known = ~(np.isnan(verdicts[k]) | np.isnan(others[k]))
        with_others[name] = wilson(int((verdicts[k] == others[k])[known].sum()), int(known.sum()))
    return Agreement(
        nominal=alpha_interval(verdicts, "nominal", resamples=resamples, seed=seed),
        ordinal=alpha_interval(labels, "ordinal", resamples=resamples, seed=seed),
        percent=percent_agreement(verdicts),
        votes=int((~np.isnan(labels)).sum()),
        with_others=with_others,
    )
