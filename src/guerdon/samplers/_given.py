"""Given: recorded answers instead of sampled ones."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from guerdon.core import Items, PlanError, RewardOutput, Rollout
from guerdon.core.protocols import Draw


@dataclass(frozen=True)
class Given:
    """Rows read from columns of the source: demonstrations, or the two answers of a comparison.

    Args:
        columns: Which columns hold answers; all answers of one context form a group. ``info["preferred"]`` is 1 for rows of
            the first column and 0 for the others.
        contexts: Contexts per draw.
    """

    columns: tuple[str, ...] = ("completion",)
    contexts: int = 16

    def __post_init__(self) -> None:
        if not self.columns:
            raise PlanError("Given: at least one column is needed")

    def __call__(self, draw: Draw) -> tuple[Rollout, RewardOutput]:
        items = draw.items(self.contexts)
        if missing := [c for c in self.columns if c not in items.info]:
            raise PlanError(f"Given: the source has no column {missing[0]!r}; it has: {', '.join(sorted(items.info)) or 'none'}")
        k = len(self.columns)
        outputs = [items.info[c][i] for i in range(len(items)) for c in self.columns]
        info = {n: v for n, v in items.info.items() if n not in self.columns}
        rows = Items(items.contexts, items.uid, info).repeat(k)
        preferred = torch.tensor([1.0] + [0.0] * (k - 1)).repeat(len(items))
        rollout = draw.read(rows.replace(info={**rows.info, "preferred": preferred}), outputs)
        return rollout, draw.score(rollout).result()
