"""Which pairs of a draw an annotator is asked about, and who can be asked."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from guerdon.core import Rollout, Streams
from guerdon.core.errors import RewardError
from guerdon.core.feedback import Comparison

Pair = tuple[int, int]


@runtime_checkable
class Annotator(Protocol):
    """Whoever says which of two rows is better."""

    def compare(self, rollout: Rollout, pairs: Tensor, streams: Streams) -> Sequence[Comparison]:
        """A comparison for each pair of rows [P, 2], in order; fewer where there is nothing to say of some."""
        ...


@dataclass(frozen=True)
class UserAnnotator:
    """An annotator from a user's file, which remembers where it came from.

    Args:
        origin: ``file.py:name`` as the user wrote it.
        fn: ``f(rollout, pairs, streams)``; for each pair a ``Comparison``, the probability that the first row is better, or None.
        file: Absolute path of the file.
    """

    origin: str
    fn: Callable[..., Any] = field(repr=False, compare=False)
    file: str = ""

    def compare(self, rollout: Rollout, pairs: Tensor, streams: Streams) -> Sequence[Comparison]:
        said = self.fn(rollout, pairs, streams)
        if isinstance(said, str | Mapping) or not isinstance(said, Sequence):
            raise TypeError(f"{self.origin} returned {type(said).__name__}, expected a list")
        if all(isinstance(c, Comparison) for c in said):
            return said
        if len(said) != len(pairs):
            raise ValueError(f"{self.origin} returned {len(said)} labels for {len(pairs)} pairs")
        return [
            Comparison(context=rollout.contexts[i], first=rollout.outputs[i], second=rollout.outputs[j], label=float(label),
                       annotator=self.origin, uids=(int(rollout.uid[i]), int(rollout.uid[j])))
            for (i, j), label in zip(pairs.tolist(), said, strict=True) if label is not None
        ]  # fmt: skip


def load_annotator(spec: str, folder: str | Path | None = None) -> UserAnnotator:
    """The annotator that ``file.py:name`` stands for: a function, an object with ``compare``, or a class of such objects.

    Raises:
        RewardError: one line that names the file and what is wrong there.
    """
    from guerdon.rewards.load import load_name

    found, file, _ = load_name(spec, folder)
    compare = getattr(found, "compare", found)
    if not callable(compare):
        raise RewardError(f"{file}: {spec.rpartition(':')[2]} is a {type(found).__name__}, expected a function or an annotator")
    return UserAnnotator(spec, compare, str(file))


def candidates(rollout: Rollout, ok: Tensor) -> list[Pair]:
    """Pairs of different outputs that answer the same item, both scored; equal pairs of texts once.

    >>> from guerdon.core import recorded
    >>> rows = recorded(["q"] * 4 + ["p"], ["a", "b", "a", "", "c"])
    >>> candidates(rows, torch.tensor([True, True, True, False, True]))
    [(0, 1)]
    """
    groups: dict[int, dict[str, int]] = {}  # group -> output -> its first row
    for k, (group, fine) in enumerate(zip(rollout.group.tolist(), ok.tolist(), strict=True)):
        if fine:
            groups.setdefault(group, {}).setdefault(str(rollout.outputs[k]), k)
    return [pair for rows in groups.values() for pair in itertools.combinations(rows.values(), 2)]


def choose(pairs: Sequence[Pair], n: int, streams: Streams, spread: Tensor | None = None) -> Tensor:
    """[P, 2] at most ``n`` of the pairs, at random or those with the largest ``spread``; which row comes first is a coin toss.

    Args:
        pairs: Candidates.
        n: How many.
        streams: Where chance comes from.
        spread: [len(pairs)] what makes a pair worth asking about; equal ones in random order.
    """
    if not pairs:
        return torch.zeros(0, 2, dtype=torch.long)
    order = streams("pairs").permutation(len(pairs))
    if spread is not None:
        order = order[spread[order].argsort(descending=True, stable=True)]
    sides = streams("side").integers(2, min(n, len(pairs)))[0].tolist()
    chosen = [pairs[k] for k in order[:n].tolist()]
    return torch.tensor([(j, i) if side else (i, j) for (i, j), side in zip(chosen, sides, strict=True)])


def disagreement(scores: Tensor, pairs: Sequence[Pair]) -> Tensor:
    """[len(pairs)] standard deviation, over K members, of what each says the difference of two rows is.

    Adding a constant to a member's scores changes nothing: only differences are ever learned.

    >>> disagreement(torch.tensor([[0.0, 5.0], [1.0, 6.0], [3.0, 4.0]]), [(0, 1), (0, 2)]).tolist()
    [0.0, 2.0]
    """
    index = torch.tensor(list(pairs), dtype=torch.long).reshape(-1, 2)
    gap = scores.double()[index[:, 0]] - scores.double()[index[:, 1]]
    return gap.std(1, unbiased=False)
