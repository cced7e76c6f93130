"""PolicyGradient: the clipped surrogate family, PPO, GRPO, GSPO, DAPO, SAPO and CISPO."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from guerdon.core.batch import Batch
from guerdon.core.errors import PlanError
from guerdon.core.policy import PolicyOutput
from guerdon.core.protocols import Need
from guerdon.core.reduction import Unit
from guerdon.objectives._base import behaviour_logp, counted, entropy_of, main_advantage, new_logp, ref_logp
from guerdon.objectives.policy_gradient._clip import CISPO, Clip, SoftClip, unclipped
from guerdon.objectives.policy_gradient._kl import KL
from guerdon.objectives.policy_gradient._ratio import SequenceRatio, TokenRatio


@dataclass(frozen=True)
class PolicyGradient:
    r"""$L_t = w_t \cdot \mathrm{clip}(r_t, A_t) + \beta\,\widehat{\mathrm{KL}}_t - c\,H_t$ at every chosen step.

    Published losses are choices of these parts and of the Term's ``over``, which says what the sum is divided by:

    | loss | parts | over |
    |---|---|---|
    | PPO | ``Clip(0.2, 0.2)`` | ``"step"`` |
    | GRPO | ``Clip(0.2, 0.2)``, ``KL(0.04)`` | ``"sample"`` |
    | Dr. GRPO | ``Clip(0.2, 0.2)`` | longest length (int) |
    | DAPO | ``Clip(0.2, 0.28)`` | ``"step"`` |
    | GSPO | ``SequenceRatio()``, ``Clip(3e-4, 4e-4)`` | ``"sample"`` |
    | CISPO | ``CISPO()`` | ``"step"`` |
    | SAPO | ``SoftClip()`` | ``"sample"`` |

    Args:
        ratio: What is compared with the policy that acted: ``TokenRatio()`` or ``SequenceRatio()``.
        clip: How the ratio is bounded: ``Clip``, ``SoftClip``, ``CISPO``, or None for the bare product. A number is short for
            ``Clip(number, number)``.
        kl: Distance to a reference in the loss. A number is short for ``KL(number)``; None: none.
        truncate: Where the sampler's numbers differ from the trainer's (another engine, low precision): ratios are then taken
            against the trainer's own log-probs at draw time, ``refs["old"]``, and every step's surrogate is weighted by
            $w_t = \min\left(\pi_{\mathrm{old}} / \pi_{\mathrm{acted}}, \mathrm{truncate}\right)$, a constant. None: not at all.
        entropy: Bonus $c$ per nat of entropy.

    Returns:
        [B, T] loss per step, 0 where nothing counts.

    Raises:
        PlanError: for bounds that make no sense, or a batch that lacks what is needed.

    Example:
        >>> from guerdon.testing import example_batch, example_output
        >>> batch = example_batch()
        >>> loss = PolicyGradient(clip=Clip(0.2, 0.28), kl=KL(0.01))(example_output(batch), batch)
        >>> loss.shape
        torch.Size([12, 8])

    Sources: PPO (arXiv:1707.06347), GRPO (arXiv:2402.03300), GSPO (arXiv:2507.18071), DAPO (arXiv:2503.14476).
    """

    unit: ClassVar[Unit] = "step"

    ratio: TokenRatio | SequenceRatio = TokenRatio()
    clip: Clip | SoftClip | CISPO | float | None = Clip()
    kl: KL | float | None = None
    truncate: float | None = None
    entropy: float = 0.0

    def __post_init__(self) -> None:
        if _is_number(self.clip):
            object.__setattr__(self, "clip", Clip(self.clip, self.clip))  # type: ignore[arg-type]
        if _is_number(self.kl):
            object.__setattr__(self, "kl", KL(self.kl) if self.kl else None)  # type: ignore[arg-type]
        if self.truncate is not None and not self.truncate > 0:
            raise PlanError(f"PolicyGradient: truncate must be above 0, got {self.truncate}")
        if not math.isfinite(self.entropy):
            raise PlanError(f"PolicyGradient: entropy must be finite, got {self.entropy}")
        kinds = {"ratio": (TokenRatio, SequenceRatio), "clip": (Clip, SoftClip, CISPO, type(None)), "kl": (KL, type(None))}
        for name, kind in kinds.items():
            if not isinstance(getattr(self, name), kind):
                expected = ", ".join("None" if k is type(None) else k.__name__ for k in kind)
                raise PlanError(f"PolicyGradient: {name} is {getattr(self, name)!r}; expected one of {expected}")

    @property
    def needs(self) -> frozenset[Need]:
        needs: set[Need] = {"exact_logp", "advantage"}
        if self.kl is not None:
            needs.add("reference")
        if self.truncate is not None:
            needs.add("old")
        if self.entropy:
            needs.add("entropy")
        return frozenset(needs)

    @property
    def reference(self) -> str:
        """Name of the reference that is needed, where one is."""
        return self.kl.reference if isinstance(self.kl, KL) else "reference"

    def __call__(self, new: PolicyOutput, batch: Batch) -> Tensor:
        me, keep = "PolicyGradient", counted(batch)
        logp, advantage = new_logp(new, keep), main_advantage(batch, keep, me)
        acted = behaviour_logp(batch, keep, me)
        old = acted if self.truncate is None else ref_logp(batch, "old", keep, me)
        log_ratio = self.ratio(logp - old, keep)
        if self.clip is None:
            loss = unclipped(log_ratio, advantage)
        else:
            assert not isinstance(self.clip, float)
            loss = self.clip(log_ratio, advantage, logp)
        if self.truncate is not None:
            loss = loss * (old - acted).exp().clamp(max=self.truncate)
        if isinstance(self.kl, KL):
            ratio = log_ratio.exp() if self.kl.corrected else log_ratio
            loss = loss + self.kl.penalty(logp, ref_logp(batch, self.kl.reference, keep, me), ratio)
        if self.entropy:
            loss = loss - self.entropy * entropy_of(new, keep)
        return loss


def _is_number(x: object) -> bool:
    return isinstance(x, int | float) and not isinstance(x, bool)
