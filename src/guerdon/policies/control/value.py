"""StateValue: a critic of states with a network of its own."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from guerdon.core import ModelError, PlanError, Policy, PolicyOutput, Rollout
from guerdon.core.policy import Want
from guerdon.policies.control._bodies import CNN, GRU, MLP, Body, orthogonal
from guerdon.policies.control._front import Front
from guerdon.policies.control.policy import Control
from guerdon.policies.critics import PolicyAndValue
from guerdon.policies.heads import Scalar, ValueHead


@dataclass(frozen=True)
class StateValue:
    """A network from observations to expected returns that shares nothing with the policy.

    Args:
        body: ``MLP`` or ``CNN``. For a policy with a memory take ``policies.HeadOnPolicy``, which reads the policy's.
        head: How outputs stand for a value: ``Scalar``, ``HLGauss`` or ``GaussianValue``; ``ValueLoss(head=...)`` fits it.
        normalise: Scale observations by running statistics of its own (``run.ObservationStatistics`` moves them).
        seed: Of the initial weights.

    Example:
        >>> from guerdon.policies import Control
        >>> from guerdon.worlds import GridWorld
        >>> critic = StateValue().build(Control.of(GridWorld("corridor")))
        >>> sum(p.numel() for p in critic.parameters()) > 0
        True
    """

    body: MLP | CNN = MLP()
    head: ValueHead = Scalar()
    normalise: bool = False
    seed: int = 1

    def __post_init__(self) -> None:
        if isinstance(self.body, GRU):
            raise PlanError("StateValue: a recurrent critic has no memory of its own; take policies.HeadOnPolicy")

    def build(self, policy: Policy) -> StateValueNetwork:
        if not isinstance(policy, Control):
            raise ModelError(f"StateValue reads observations, and {type(policy).__name__} has none; take policies.OwnTrunk")
        generator = torch.Generator().manual_seed(self.seed)
        front = Front(policy.front.space, self.normalise, policy.dtype)
        network = StateValueNetwork(front, self.body.build(front.shape, generator), self.head, generator)
        return network.to(policy.device)


class StateValueNetwork(nn.Module):
    r"""$V(s_t)$ for the state before every step.

    ``value`` [B, T+1]: behind a row's last chosen step there is one more state: 0 where the row ended by itself, its value where
    it was cut off. Everything behind that is 0. ``value_raw`` [B, T+1, K] are the outputs of a head that is not ``Scalar``.
    """

    def __init__(self, front: Front, body: Body, head: ValueHead, generator: torch.Generator) -> None:
        super().__init__()
        self.front, self.body, self.head = front, body.to(front.dtype), head
        self.last = nn.Linear(body.width, head.outputs)
        orthogonal(self.last, 1.0, generator)
        with torch.no_grad():
            self.last.bias.copy_(head.bias())
        self.last.to(front.dtype)

    def raw(self, observation: Tensor) -> Tensor:
        """[N, K] outputs for [N, ...] observations."""
        return self.last(self.body(self.front(observation.to(self.last.weight.device))))

    def forward(self, rollout: Rollout, *, want: Collection[Want] = ("value",)) -> PolicyOutput:
        assert rollout.states is not None
        inside = states_read(rollout)
        raw = self.raw(rollout.states[inside])
        value = raw.new_zeros(inside.shape).masked_scatter(inside.to(raw.device), self.head.value(raw))
        if isinstance(self.head, Scalar):
            return PolicyOutput(value=value)
        wide = raw.new_zeros(*inside.shape, raw.shape[-1])
        return PolicyOutput(value=value, value_raw=wide.masked_scatter(inside.to(raw.device)[..., None], raw))

    def with_policy(self, policy: nn.Module) -> PolicyAndValue:
        """Both as one network, for one learner."""
        return PolicyAndValue(policy, self)

    @torch.no_grad()
    def values(self, rollout: Rollout) -> Tensor:
        """[B, T+1], without gradients."""
        return self(rollout).need("value")


def states_read(rollout: Rollout) -> Tensor:
    """[B, T+1] bool: the states of each row, up to the one it was cut off in (one that ended by itself has no value)."""
    ends = rollout.lengths + (~rollout.terminal).long()
    return torch.arange(rollout.steps + 1, device=ends.device) < ends[:, None]
