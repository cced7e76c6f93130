"""WithGreedy: a greedy answer beside the sampled ones, as a baseline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from guerdon.core import Batch, RewardOutput, Rollout, returns
from guerdon.core.protocols import Draw


@dataclass(frozen=True)
class WithGreedy:
    """As ``Group``, with the return of each context's greedy answer in ``info["baseline"]`` (ReMax, arXiv:2310.10505).

    The greedy rows are scored and dropped. A row whose greedy answer could not be scored fails.
    """

    contexts: int = 8
    n: int = 1
    controls: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, draw: Draw) -> tuple[Rollout, RewardOutput]:
        items = draw.items(self.contexts)
        rollout = draw.sample(items, self.n, **self.controls)
        greedy = draw.sample(items, 1, **{**self.controls, "temperature": 0.0})
        sampled, baseline = draw.score(rollout), draw.score(greedy).result()
        reward = sampled.result()
        value = returns(Batch.of(greedy, baseline))
        index = torch.arange(len(items)).repeat_interleave(self.n)
        again = baseline[index]
        reason = [r or (f"baseline: {b}" if b else "") for r, b in zip(reward.reason, again.reason, strict=True)]
        return rollout.replace(info={**rollout.info, "baseline": value[index]}), reward.replace(
            ok=reward.ok & again.ok, reason=reason
        )
