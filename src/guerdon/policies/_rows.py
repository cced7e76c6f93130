"""Rows in parts of similar length: little padding is computed, and memory stays bounded."""

from __future__ import annotations

from collections.abc import Callable, Collection

import torch
from torch import Tensor

from guerdon.core import PolicyOutput, Rollout
from guerdon.core.policy import Want

_TOKENS = 1 << 14  # steps computed at once


def by_length(
    rollout: Rollout, network: Callable[..., PolicyOutput], want: Collection[Want] = ("logp",), tokens: int = _TOKENS
) -> PolicyOutput:
    """``network(rollout, want=want)``, computed in parts and put together again in the rollout's order and length.

    >>> r = Rollout(["q"] * 3, ["a"] * 3, torch.zeros(3, 2), torch.ones(3, 2).bool(), torch.zeros(3), torch.arange(3))
    >>> by_length(r, lambda part, want: PolicyOutput(part.uid[:, None] * torch.ones(1, part.steps)), tokens=4).logp[:, 0].tolist()
    [0.0, 1.0, 2.0]
    """
    lengths = rollout.lengths.cpu()
    order = lengths.argsort(stable=True)
    parts: list[list[int]] = []
    part: list[int] = []
    for k in order.tolist():
        if part and (len(part) + 1) * max(int(lengths[k]), 1) > tokens:
            parts.append(part)
            part = []
        part.append(k)
    outputs = [network(rollout[p].trim(), want=want) for p in [*parts, part]]
    back = order.argsort()

    def join(name: str, steps: int) -> Tensor | None:
        found = [getattr(o, name) for o in outputs]
        if any(f is None for f in found):
            return None
        wide = [torch.cat([f, f.new_zeros(len(f), steps - f.shape[1], *f.shape[2:])], 1) for f in found]
        return torch.cat(wide)[back]

    return PolicyOutput(join("logp", rollout.steps), join("entropy", rollout.steps), join("hidden", rollout.steps),
                        join("value", rollout.steps + 1), join("value_raw", rollout.steps + 1))  # fmt: skip
