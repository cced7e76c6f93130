"""Which rows are put side by side: pairs within groups."""

from __future__ import annotations

import torch
from torch import Tensor

from guerdon.core import DataError, Rollout, Streams


def all_pairs(rollout: Rollout) -> Tensor:
    """[P, 2] int64: every two rows of a group, the earlier row first; groups in the order of their identities.

    >>> from guerdon.core import recorded
    >>> all_pairs(recorded(["q", "q", "p", "q"], list("abcd"))).tolist()
    [[0, 1], [0, 3], [1, 3]]
    """
    return torch.cat([torch.zeros(0, 2, dtype=torch.long), *(torch.combinations(rows, 2) for rows in _groups(rollout))])


def random_pairs(rollout: Rollout, streams: Streams, per_context: int = 1) -> Tensor:
    """[P, 2] int64: ``per_context`` different pairs of every group, each shown in a random order.

    A group with fewer pairs gives all it has. What is drawn depends on the group and the uids of its rows, not on the batch
    around it or its order.

    >>> from guerdon.core import Streams, recorded
    >>> random_pairs(recorded(["q"] * 4 + ["p"] * 2, list("abcdef")), Streams(0), per_context=2).shape
    torch.Size([3, 2])
    """
    if per_context < 1:
        raise DataError(f"random_pairs: per_context must be at least 1, got {per_context}")
    found: list[tuple[int, Tensor]] = []
    by_size: dict[int, list[tuple[int, Tensor]]] = {}
    for place, rows in enumerate(_groups(rollout)):
        by_size.setdefault(len(rows), []).append((place, rows))
    for size, members in by_size.items():  # groups of one size together: a call per group would take most of the time
        rows = torch.stack([r for _, r in members])
        rows = rows.gather(1, rollout.uid.cpu()[rows].argsort(dim=1, stable=True))
        group = rollout.group.cpu()[rows[:, 0]]
        every = torch.combinations(torch.arange(size), 2)
        drawn = every[streams("pairs.draw", group).bits(len(every)).argsort(dim=1, stable=True)[:, :per_context]]  # [G, k, 2]
        pairs = rows[torch.arange(len(rows))[:, None, None], drawn]
        turn = streams("pairs.order", group).uniform(pairs.shape[1]) <= 0.5
        pairs = torch.where(turn[..., None], pairs.flip(2), pairs)
        found += [(place, p) for (place, _), p in zip(members, pairs, strict=True)]
    found.sort(key=lambda f: f[0])
    return torch.cat([torch.zeros(0, 2, dtype=torch.long), *(p for _, p in found)])


def _groups(rollout: Rollout) -> list[Tensor]:
    """The rows of every group that has at least two."""
    group = rollout.group.cpu()
    order = group.argsort(stable=True)
    counts = group[order].unique_consecutive(return_counts=True)[1]
    return [rows for rows in order.split(counts.tolist()) if len(rows) > 1]
