"""Shares of yes among answers about pairs, by annotator and in all, where every pair counts once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from guerdon.core.proportions import Proportion, wilson
from guerdon.feedback.votes import Key


class Tally:
    """Yes or no, said by annotators of pairs. Answers about the same pair are not independent, so their mean counts as one case.

    >>> t = Tally([("ann", ("q", "x", "y"), True), ("bob", ("q", "x", "y"), True), ("bob", ("p", "x", "y"), False)])
    >>> t.all().share, t.all().n, t.of("ann").share, t.others("ann").share
    (0.5, 2, 1.0, 0.5)
    """

    def __init__(self, answers: Iterable[tuple[str, Key, bool]]):
        self._of: dict[str, dict[Key, list[int]]] = defaultdict(lambda: defaultdict(lambda: [0, 0]))
        self._all: dict[Key, list[int]] = defaultdict(lambda: [0, 0])
        for name, key, yes in answers:
            for cell in (self._of[name][key], self._all[key]):
                cell[0] += yes
                cell[1] += 1
        self._sum = sum(h / n for h, n in self._all.values())

    @property
    def names(self) -> list[str]:
        """Annotators who answered, in the order of their first answers."""
        return list(self._of)

    def of(self, name: str, level: float = 0.95) -> Proportion:
        """One annotator's share."""
        cells = self._of[name].values()
        return wilson(sum(h / n for h, n in cells), len(cells), level)

    def all(self, level: float = 0.95) -> Proportion:
        """The share of all annotators together."""
        return wilson(self._sum, len(self._all), level)

    def others(self, name: str, level: float = 0.95) -> Proportion:
        """The share of all but one."""
        hits, pairs = self._sum, len(self._all)
        for key, (h, n) in self._of[name].items():
            every, count = self._all[key]
            hits -= every / count
            if count > n:
                hits += (every - h) / (count - n)
            else:
                pairs -= 1
        return wilson(min(max(hits, 0.0), pairs), pairs, level)
