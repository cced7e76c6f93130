"""How far apart samples are: the mean distance of two of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from guerdon.audit.pictures._base import Figures, seen
from guerdon.audit.pictures._features import Pixels, built
from guerdon.core import Rollout


@dataclass(frozen=True)
class PairwiseDistance:
    """Mean distance of two samples in a feature space, among those that answer the same caption, and among all.

    Opened, it gives ``diversity/pairwise`` (within captions, the mean over captions that have at least two samples) and
    ``diversity/pairwise_all`` (over all pairs). A policy that draws one picture per caption keeps the second and loses the
    first.

    Args:
        features: What distances are measured in: a callable [N, C, H, W] -> [N, D], or a spec with ``build()`` that gives one.

    Example:
        >>> from guerdon.core import recorded
        >>> black, white = -torch.ones(3, 8, 8), torch.ones(3, 8, 8)
        >>> figures = PairwiseDistance().open()(recorded(["a", "a", "b", "b"], [black, white, white, white]))
        >>> figures["diversity/pairwise"], round(figures["diversity/pairwise_all"], 3)       # (2 + 0) / 2; 3 of 6 pairs differ
        (1.0, 1.0)
    """

    features: Any = Pixels()

    def open(self) -> Callable[[Rollout], Figures]:
        """The measure, ready for rollouts."""
        embed = built(self.features)

        def measure(rollout: Rollout) -> Figures:
            x, group, _ = seen(rollout, embed, "PairwiseDistance")
            return {"diversity/pairwise": pairwise_distance(x, group), "diversity/pairwise_all": pairwise_distance(x)}

        return measure


def pairwise_distance(features: Tensor, group: Tensor | None = None) -> float:
    r"""Mean Euclidean distance of two different rows.

    $\frac{1}{G} \sum_g \frac{2}{n_g (n_g - 1)} \sum_{i<j \in g} \lVert f_i - f_j \rVert$ over the groups of at least two rows.

    Args:
        features: [N, D].
        group: [N] int64; None: all rows are one group.

    Returns:
        NaN where no group has two rows.

    Example:
        >>> x = torch.tensor([[0.0], [1.0], [4.0]])
        >>> round(pairwise_distance(x), 4), pairwise_distance(x, torch.tensor([0, 0, 1]))    # (1 + 4 + 3) / 3; 1
        (2.6667, 1.0)
    """
    group = torch.zeros(len(features), dtype=torch.long) if group is None else group
    means = []
    for g in group.unique():
        rows = features[group == g].double()
        if len(rows) > 1:
            means.append(float(torch.nn.functional.pdist(rows).mean()))
    return sum(means) / len(means) if means else float("nan")
