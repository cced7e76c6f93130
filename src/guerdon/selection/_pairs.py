"""BestVsWorst, AllPairs and RandomPairs: comparisons within groups, from the rows' own rewards."""

from __future__ import annotations

from dataclasses import dataclass

from guerdon.core.batch import Batch
from guerdon.core.errors import PlanError
from guerdon.core.streams import Streams
from guerdon.selection._base import MakesPairs, best_first, check_gap, groups_of, ordered_pairs, pairs_by_score, score_of


@dataclass(frozen=True)
class BestVsWorst(MakesPairs):
    """One pair per group, its best row against its worst, where their returns differ by more than 0 and at least ``margin``.

    Returns are those after the transforms. Among equal rows the smaller uid is taken, at both ends. Failed rows and rows
    of weight 0 take no part. ``pairs.margin`` holds the difference.

    Args:
        margin: Least difference in reward units.

    Example:
        >>> from guerdon.core import Streams
        >>> from guerdon.testing import example_batch
        >>> len(BestVsWorst()(example_batch(), Streams(0)).pairs)
        3
    """

    margin: float = 0.0

    def __post_init__(self) -> None:
        check_gap("BestVsWorst", "margin", self.margin)

    def __call__(self, batch: Batch, streams: Streams) -> Batch:
        score, uid = score_of(batch, None, "BestVsWorst"), batch.rollout.uid
        win, lose = [], []
        for rows in groups_of(batch):
            best = rows[best_first(score[rows], uid[rows])[:1]]
            worst = rows[best_first(-score[rows], uid[rows])[:1]]
            gap = float(score[best] - score[worst])
            if gap > 0 and gap >= self.margin:
                win.append(best)
                lose.append(worst)
        return batch.replace(pairs=pairs_by_score(score, win, lose))


@dataclass(frozen=True)
class AllPairs(MakesPairs):
    """Every two rows of a group whose returns differ by more than 0 and at least ``min_gap``, the better one preferred.

    Order: groups by value, then from the best row down, equal rows by uid. ``pairs.margin`` holds the difference.

    Args:
        min_gap: Least difference in reward units.

    Example:
        >>> from guerdon.core import Streams
        >>> from guerdon.testing import example_batch
        >>> len(AllPairs()(example_batch(fail=0.0), Streams(0)).pairs)  # six in each of three groups of four
        18
    """

    min_gap: float = 0.0

    def __post_init__(self) -> None:
        check_gap("AllPairs", "min_gap", self.min_gap)

    def __call__(self, batch: Batch, streams: Streams) -> Batch:
        score, uid = score_of(batch, None, "AllPairs"), batch.rollout.uid
        pairs = [ordered_pairs(rows, score, uid, self.min_gap) for rows in groups_of(batch)]
        return batch.replace(pairs=pairs_by_score(score, [better for better, _ in pairs], [worse for _, worse in pairs]))


@dataclass(frozen=True)
class RandomPairs(MakesPairs):
    """``k`` different pairs of every group, drawn evenly from those that ``AllPairs`` would make.

    The draw depends on the group's own stream, not on the batch around it. A group with fewer pairs gives all it has.

    Args:
        k: Pairs per group.
        min_gap: Least difference in reward units.

    Example:
        >>> from guerdon.core import Streams
        >>> from guerdon.testing import example_batch
        >>> len(RandomPairs(2)(example_batch(fail=0.0), Streams(0)).pairs)
        6
    """

    k: int = 1
    min_gap: float = 0.0

    def __post_init__(self) -> None:
        if self.k < 1:
            raise PlanError(f"RandomPairs: k must be at least 1, got {self.k}")
        check_gap("RandomPairs", "min_gap", self.min_gap)

    def __call__(self, batch: Batch, streams: Streams) -> Batch:
        score, uid, group = score_of(batch, None, "RandomPairs"), batch.rollout.uid, batch.rollout.group
        win, lose = [], []
        for rows in groups_of(batch):
            better, worse = ordered_pairs(rows, score, uid, self.min_gap)
            drawn = streams("selection.pairs", group[rows[:1]]).permutation(len(better))[: self.k].sort().values
            drawn = drawn.to(better.device)
            win.append(better[drawn])
            lose.append(worse[drawn])
        return batch.replace(pairs=pairs_by_score(score, win, lose))
