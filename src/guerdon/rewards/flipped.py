"""Flipped: a verifier that says the opposite in a share of cases."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from guerdon.core import PlanError, RewardOutput, Rollout, Streams, mix, nearest
from guerdon.core.reward import Scope
from guerdon.rewards.lift import as_reward

Per = Literal["group", "sample", "question"]


@dataclass(frozen=True)
class Flipped:
    r"""A reward in [0, 1] that is replaced by $1 - s$ with probability ``p``.

    On average it says $(1 - 2p)\,s + p$: below ``p = 0.5`` the right answer still pays more, at 0.5 nothing is left of it.
    Flips depend on the seed and on the rows' identities alone, neither on batching nor on what was answered. The part ``flipped``
    says where they fell, ``true`` what the reward had said.

    Args:
        reward: What is flipped; its totals must lie in [0, 1], other rows fail.
        p: Probability of a flip.
        per: What shares one decision. ``"group"``: the samples of one context in one draw, decided anew at every draw, so that
            the advantages of the whole group change their signs. ``"sample"``: every row its own. ``"question"``: every
            context's text, for ever; such an error can be learned by heart.
        spare: Name of a part; rows in which it is 0 keep their reward. So an answer that cannot be read gets 0 at any ``p``.
        seed: Of the flips.

    Example:
        >>> from guerdon.rewards import Keywords, recorded
        >>> out = Flipped(Keywords(("four",)), p=1.0)(recorded(["2+2"] * 2, ["four", "five"]))
        >>> out.total.tolist(), out.parts["true"].tolist()
        ([0.0, 1.0], [1.0, 0.0])

    Source: The Climb Carves Wisdom Deeper Than the Summit (arXiv:2505.22653); its code flips per group and spares unreadable
    answers.
    """

    reward: Any
    p: float
    per: Per = "group"
    spare: str = ""
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "reward", as_reward(self.reward))
        p: Any = self.p
        if isinstance(p, bool) or not isinstance(p, int | float) or not 0 <= p <= 1:
            raise PlanError(f"Flipped: p must be a probability, got {p!r}")
        if self.per not in get_args(Per):
            raise PlanError(f"Flipped: per is {self.per!r}; {nearest(str(self.per), get_args(Per))}")

    @property
    def scope(self) -> Scope:
        return self.reward.scope

    @property
    def differentiable(self) -> bool:
        return False

    def __call__(self, rollout: Rollout) -> RewardOutput:
        inner: RewardOutput = self.reward(rollout)
        outside = inner.ok & ((inner.total < 0) | (inner.total > 1))
        flip = self.flips(rollout).to(inner.total.device)
        if self.spare:
            if self.spare not in inner.parts:
                raise PlanError(f"Flipped: the reward has no part {self.spare!r}; {nearest(self.spare, inner.parts)}")
            flip = flip & (inner.parts[self.spare] != 0)
        total = torch.where(flip, 1 - inner.total, inner.total)
        reason = [
            f"Flipped: the reward is {t:.3g}, and 1 - s needs it in [0, 1]" if bad else r
            for bad, t, r in zip(outside.tolist(), inner.total.tolist(), inner.reason, strict=True)
        ]
        parts = {**inner.parts, "true": inner.total, "flipped": flip.to(inner.total)}
        return inner.replace(total=total, ok=inner.ok & ~outside, reason=reason, parts=parts).checked()

    def flips(self, rollout: Rollout) -> Tensor:
        """[B] bool: the rows whose reward is to be flipped."""
        if self.per == "question":
            key = torch.stack([mix("question", repr(c)) for c in rollout.contexts]) if len(rollout) else rollout.uid.cpu()
        else:
            key = (rollout.group if self.per == "group" else rollout.uid).cpu()
        return Streams(self.seed)("flip", key).uniform(1)[:, 0] <= self.p
