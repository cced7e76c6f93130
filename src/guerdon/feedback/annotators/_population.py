"""Population: many people, in groups that like different things."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from guerdon.core import PlanError, Rollout, Streams, mix
from guerdon.feedback.annotators._base import Annotator, Judgement, checked_pairs, pair_key
from guerdon.feedback.annotators._scale import RatingScale
from guerdon.feedback.annotators._utility import number_of


@dataclass(frozen=True)
class Population(Annotator):
    """A crowd of ``people`` persons, divided among ``members`` by ``shares``; every pair goes to ``votes`` of them at random.

    Persons of one group like the same and err independently. Person 3 of group 1 is called ``group-1/3``. People are numbered
    through; the k-th belongs to the group in which (k + 1/2) / people falls when shares are laid end to end.

    Args:
        members: What the persons of each group are: annotators such as ``BradleyTerry``, with rewards of their own where
            groups disagree.
        shares: How large each group is, in any unit; None: all alike.
        people: Persons in all.
        votes: Different persons asked about each pair (or each row that is rated).
        by: Whether ``"pair"`` by pair somebody else is asked, or a whole ``"context"`` goes to the same persons.
        name: First part of the names.

    Example:
        >>> from guerdon.core import Streams, recorded
        >>> from guerdon.feedback import BradleyTerry
        >>> rollout = recorded(["q"] * 2, ["good", "bad"], {"gold": [1.0, 0.0]})
        >>> def gold(rollout): return torch.tensor(rollout.info["gold"])
        >>> crowd = Population((BradleyTerry(gold, 0), BradleyTerry(lambda r: -gold(r), 0)), shares=(2, 1), people=3, votes=3)
        >>> sorted((c.annotator, c.label) for c in crowd.compare(rollout, torch.tensor([[0, 1]]), Streams(0)))
        [('group-0/0', 1.0), ('group-0/1', 1.0), ('group-1/0', 0.0)]
    """

    members: Sequence[Annotator]
    shares: Sequence[float] | None = None
    people: int = 100
    votes: int = 1
    by: Literal["pair", "context"] = "pair"
    name: str = "group"

    def __post_init__(self) -> None:
        object.__setattr__(self, "members", tuple(self.members))
        if self.shares is not None:
            object.__setattr__(self, "shares", tuple(self.shares))
        members: Any = self.members
        if not members or not all(isinstance(m, Annotator) and m.voices == 1 for m in members):
            raise PlanError("Population: members must be annotators such as feedback.BradleyTerry, with one vote each")
        for share in self.weights:
            number_of("Population", "each share", share)
        if len(self.weights) != len(self.members) or min(self.weights) <= 0:
            raise PlanError(f"Population: shares must be {len(self.members)} numbers above 0, got {self.shares}")
        if not 1 <= self.votes <= self.people:
            raise PlanError(f"Population: votes must be between 1 and people ({self.people}), got {self.votes}")
        if self.by not in ("pair", "context"):
            raise PlanError(f"Population: by must be 'pair' or 'context', got {self.by!r}")
        if empty := set(range(len(self.members))) - set(self.groups().tolist()):
            raise PlanError(f"Population: group {min(empty)} has nobody in it; more people than {self.people} are needed")

    @property
    def weights(self) -> tuple[float, ...]:
        """The size of each group, in the unit of ``shares``."""
        return tuple([1.0] * len(self.members) if self.shares is None else self.shares)

    @property
    def voices(self) -> int:
        return self.votes

    def groups(self) -> Tensor:
        """[people] int64: the group of every person.

        >>> from guerdon.feedback import BradleyTerry
        >>> one = BradleyTerry(lambda rollout: rollout.info["gold"])
        >>> Population((one, one), shares=(3, 1), people=4).groups().tolist()
        [0, 0, 0, 1]
        """
        sizes = torch.tensor(self.weights, dtype=torch.double)
        ends = sizes.cumsum(0) / sizes.sum()
        middle = (torch.arange(self.people) + 0.5) / self.people
        return torch.searchsorted(ends, middle.double(), right=True).clamp(max=len(self.members) - 1)

    def label(self, rollout: Rollout, pairs: Tensor, streams: Streams, who: Tensor | int = 0) -> Judgement:
        pairs = checked_pairs(pairs, rollout)
        key = rollout.group.cpu()[pairs[:, 0]] if self.by == "context" else pair_key(rollout, pairs)[0]
        return self._asked(pairs, key, streams, who, lambda m, rows, w: m.label(rollout, rows, streams, w))

    def score(self, rollout: Rollout, rows: Tensor, streams: Streams, scale: RatingScale, who: Tensor | int = 0) -> Judgement:
        key = (rollout.group if self.by == "context" else rollout.uid).cpu()[rows]
        return self._asked(rows[:, None], key, streams, who, lambda m, r, w: m.score(rollout, r[:, 0], streams, scale, w))

    def _asked(
        self,
        rows: Tensor,
        key: Tensor,
        streams: Streams,
        who: Tensor | int,
        ask: Callable[[Annotator, Tensor, Tensor], Judgement],
    ) -> Judgement:
        """Every item's verdicts by ``votes`` persons, items in order."""
        outer = mix(who, self.name).expand(len(rows))
        person = distinct(streams("annotator.person", mix(key, outer)).uniform(self.votes), self.people).reshape(-1)
        rows, outer = rows.repeat_interleave(self.votes, 0), outer.repeat_interleave(self.votes)
        group = self.groups()
        number = torch.arange(self.people) - torch.searchsorted(group, group)  # persons of a group stand side by side
        parts, places = [], []
        for k, member in enumerate(self.members):
            place = (group[person] == k).nonzero()[:, 0]
            one = ask(member, rows[place], mix(outer[place], k, number[person[place]]))
            names = [f"{self.name}-{k}/{n}" for n in number[person[place]].tolist()]
            parts.append(one.replace(annotator=names))
            places.append(place)
        return Judgement.cat(parts)[torch.cat(places).argsort()]


def distinct(u: Tensor, n: int) -> Tensor:
    """[P, k] different numbers of 0..n-1 in every row, all choices alike, from uniform numbers [P, k] in (0, 1].

    >>> distinct(torch.tensor([[0.1, 0.1, 0.1], [0.9, 0.9, 0.9]]), 3).tolist()
    [[0, 1, 2], [2, 1, 0]]
    """
    found = torch.zeros(u.shape, dtype=torch.long)
    for k in range(u.shape[1]):
        x = (u[:, k] * (n - k)).long().clamp(max=n - k - 1)
        for earlier in found[:, :k].sort(1).values.unbind(1):  # the x-th of those that are left
            x = x + (x >= earlier).long()
        found[:, k] = x
    return found
