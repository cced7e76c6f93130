"""The base of all simulated annotators: verdicts as tensors (``label``, ``score``), and as records (``compare``, ``rate``)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

from guerdon.core import Comparison, DataError, Rating, Rollout, Rows, Streams, mix
from guerdon.feedback.annotators._scale import RatingScale

Record = TypeVar("Record", Comparison, Rating)


class Skipped(NamedTuple):
    """A pair, or a row, that got no verdict.

    Attributes:
        uids: Identities of its rows.
        reason: Why the reward behind the annotator failed on them.
    """

    uids: tuple[int, ...]
    reason: str


class Verdicts(list[Record], Generic[Record]):
    """A list of records that also says what got none: ``skipped``."""

    def __init__(self) -> None:
        super().__init__()
        self.skipped: list[Skipped] = []


@dataclass(frozen=True)
class Judgement(Rows):
    """Q verdicts as tensors.

    Args:
        rows: [Q, 2] int64 rows that were compared, or [Q, 1] that were rated.
        value: [Q] float64: probability in [0, 1] that the first row is better, or the rating; arbitrary where not ok.
        margin: [Q] float64 difference of the utilities, at least 0; 0 for ratings.
        who: [Q] int64 hash of who said it; random numbers of one person are independent of another's.
        ok: [Q] bool; False where the reward failed on a row.
        reason: [Q] why not ok.
        annotator: [Q] names.
    """

    rows: Tensor
    value: Tensor
    margin: Tensor
    who: Tensor
    ok: Tensor
    reason: Sequence[str]
    annotator: Sequence[str]


@dataclass(frozen=True)
class Annotator:
    """Base: whoever compares and rates the rows of a rollout. A subclass gives ``label`` and ``score``.

    A verdict depends on the rows' uids, the annotator and the streams, and on nothing else: not on the batch, its order, or the
    order in which the two rows of a pair are shown (the label of the swapped pair is 1 minus the label).
    """

    @property
    def voices(self) -> int:
        """How many verdicts each pair or row gets."""
        return 1

    def label(self, rollout: Rollout, pairs: Tensor, streams: Streams, who: Tensor | int = 0) -> Judgement:
        """Verdicts on pairs [P, 2] of rows; ``who`` ([P] or one number) tells persons of one kind apart."""
        raise NotImplementedError

    def score(self, rollout: Rollout, rows: Tensor, streams: Streams, scale: RatingScale, who: Tensor | int = 0) -> Judgement:
        """Ratings of rows [R]."""
        raise NotImplementedError

    def compare(self, rollout: Rollout, pairs: Tensor, streams: Streams, *, margins: bool = False) -> Verdicts[Comparison]:
        """One comparison per pair (and person), in the order of the pairs.

        Args:
            rollout: Rows; contexts, outputs, uid and whatever the reward reads.
            pairs: [P, 2] int64 row indices, in the order in which they are shown (``random_pairs`` makes some).
            streams: Randomness. Forked streams give second opinions of the same persons.
            margins: Whether records carry the difference of the utilities; ties never do.

        Returns:
            Records with ``source="simulated"``. A pair with a row on which the reward failed has no record: it is in
            ``.skipped``, with the reason.

        Raises:
            DataError: for pairs of another shape, rows that are not there, or rows with different contexts.
        """
        pairs = checked_pairs(pairs, rollout)
        _same_context(rollout, pairs)
        judged = self.label(rollout, pairs, streams)
        found: Verdicts[Comparison] = Verdicts()
        for rows, uids, label, margin, annotator in _told(judged, rollout, found.skipped):
            i, j = rows
            found.append(
                Comparison(
                    context=plain(rollout.contexts[i]),
                    first=plain(rollout.outputs[i]),
                    second=plain(rollout.outputs[j]),
                    label=label,
                    margin=margin if margins and label != 0.5 else None,
                    annotator=annotator,
                    source="simulated",
                    uids=uids,
                )
            )
        return found

    def rate(self, rollout: Rollout, streams: Streams, scale: RatingScale | None = None) -> Verdicts[Rating]:
        """One rating of every row (and person), with ``scores={"overall": ...}``; failed rows are in ``.skipped``."""
        scale = scale or RatingScale()
        judged = self.score(rollout, torch.arange(len(rollout)), streams, scale)
        found: Verdicts[Rating] = Verdicts()
        for rows, uids, score, _, annotator in _told(judged, rollout, found.skipped):
            k = rows[0]
            found.append(
                Rating(
                    context=plain(rollout.contexts[k]),
                    output=plain(rollout.outputs[k]),
                    scores={"overall": score},
                    low=float(scale.low),
                    high=float(scale.high),
                    annotator=annotator,
                    source="simulated",
                    uids=uids,
                )
            )
        return found


def checked_pairs(pairs: Tensor, rollout: Rollout) -> Tensor:
    """[P, 2] int64 on the CPU, after a look at it."""
    pairs = torch.as_tensor(pairs).cpu()
    if pairs.numel() == 0:
        return torch.zeros(0, 2, dtype=torch.long)
    if pairs.dim() != 2 or pairs.shape[1] != 2 or pairs.is_floating_point():
        raise DataError(f"pairs must be row indices of shape [P, 2], got {tuple(pairs.shape)} of {pairs.dtype}")
    low, high = int(pairs.min()), int(pairs.max())
    if low < 0 or high >= len(rollout):
        raise DataError(f"pairs name row {low if low < 0 else high}, the rollout has {len(rollout)} rows")
    return pairs.long()


def pair_key(rollout: Rollout, pairs: Tensor) -> tuple[Tensor, Tensor]:
    """([P] int64 key that does not depend on which row is shown first, [P] bool: shown in the other order than the key has)."""
    uid = rollout.uid.cpu()[pairs]
    swapped = uid[:, 0] > uid[:, 1]
    low, high = uid.min(1).values, uid.max(1).values
    return mix(low, high), swapped


def key_of_person(who: Tensor | int, name: str, count: int) -> Tensor:
    """[count] int64, another one for another name."""
    return mix(who, name).expand(count)


def plain(value: Any) -> Any:
    """Tensors and arrays as lists: records hold plain values."""
    return value.tolist() if hasattr(value, "tolist") else value


def _told(
    judged: Judgement, rollout: Rollout, skipped: list[Skipped]
) -> Iterator[tuple[list[int], tuple[int, ...], float, float, str]]:
    """(rows, uids, value, margin, annotator) of those that are ok; the others go to ``skipped``."""
    uids = rollout.uid.cpu()[judged.rows].tolist()
    numbers = (judged.rows.tolist(), uids, judged.value.tolist(), judged.margin.tolist(), judged.ok.tolist())
    for rows, uid, value, margin, ok, annotator, reason in zip(*numbers, judged.annotator, judged.reason, strict=True):
        if ok:
            yield rows, tuple(uid), value, margin, annotator
        else:
            skipped.append(Skipped(tuple(uid), reason))


def _same_context(rollout: Rollout, pairs: Tensor) -> None:
    group = rollout.group.cpu()[pairs]
    for i, j in pairs[group[:, 0] != group[:, 1]].tolist():
        if plain(rollout.contexts[i]) != plain(rollout.contexts[j]):
            raise DataError(
                f"rows {i} and {j} answer different contexts, so no comparison can hold both; "
                "what differs by row (such as a start state) belongs to the outputs"
            )
