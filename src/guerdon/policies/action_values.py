"""ActionValue: a critic of actions, and the networks of its copies."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from guerdon.core import ModelError, PlanError, Policy, PolicyOutput, Rollout
from guerdon.core.policy import Want
from guerdon.core.world import Box, Discrete, Space
from guerdon.policies.control._bodies import CNN, GRU, MLP, Body, BodySpec, orthogonal
from guerdon.policies.control._front import Front
from guerdon.policies.control._heads import CategoricalHead
from guerdon.policies.control.policy import Control
from guerdon.policies.control.value import states_read
from guerdon.policies.heads import Scalar, ValueHead


@dataclass(frozen=True)
class ActionValue:
    r"""$Q(s, a)$: what an action in a state is worth. Trained by ``run.TD``, read by ``run.Improve``.

    Numbered actions: one value for each. Vectors: the action, scaled to [-1, 1] where the box is bounded, is read together with
    the observation; with pixels it joins their features before one more layer.

    Args:
        body: ``MLP`` or ``CNN``, one for each copy.
        head: How outputs stand for a value: ``Scalar``, ``HLGauss`` or ``GaussianValue``.
        copies: Independent networks; the smallest of their values counts (arXiv:1802.09477).
        normalise: Scale observations by running statistics of its own (``run.ObservationStatistics`` moves them).
        seed: Of the initial weights.

    Example:
        >>> from guerdon.policies import Control
        >>> from guerdon.worlds import GridWorld
        >>> policy = Control.of(GridWorld("corridor"))
        >>> critic = ActionValue(copies=3).build(policy)
        >>> critic.estimator.value(torch.tensor([0, 1])).shape                 # copies, states, actions
        torch.Size([3, 2, 4])
    """

    body: MLP | CNN = MLP((256, 256), "relu")
    head: ValueHead = Scalar()
    copies: int = 2
    normalise: bool = False
    seed: int = 1

    def __post_init__(self) -> None:
        if self.copies < 1:
            raise PlanError(f"ActionValue: copies must be at least 1, got {self.copies}")
        if isinstance(self.body, GRU):
            raise PlanError("ActionValue: transitions are read one by one, so a recurrent body has nothing to remember")

    def build(self, policy: Policy) -> ActionValueNetwork:
        if not isinstance(policy, Control):
            raise ModelError(f"ActionValue reads observations, and {type(policy).__name__} has none")
        generator = torch.Generator().manual_seed(self.seed)
        front = Front(policy.front.space, self.normalise, policy.dtype)
        copies = [_Copy(front, policy.world.action, self.body, self.head, generator) for _ in range(self.copies)]
        return ActionValueNetwork(ActionValues(front, copies, self.head, policy.world.action), policy).to(policy.device)


class ActionValues(nn.Module):
    """What ``run.TD`` trains: raw outputs of C copies for given actions, or for all of n.

    Args:
        front: What turns observations into inputs; shared by the copies.
        copies: Their networks.
        head: What their outputs mean.
        action: What is chosen.
    """

    def __init__(self, front: Front, copies: Collection[nn.Module], head: ValueHead, action: Space) -> None:
        super().__init__()
        self.front, self.copies, self.head = front, nn.ModuleList(copies), head
        self.discrete = isinstance(action, Discrete)

    def raw(self, observation: Tensor, action: Tensor | None = None) -> Tensor:
        """[C, N, K] outputs for observations [N, ...] and actions [N, ...] as the world takes them.

        Without actions, where these are numbered: [C, N, n, K].
        """
        x = self.front(observation)
        if not self.discrete:
            if action is None:
                raise ValueError("the values of vector actions need an action")
            return torch.stack([copy(x, action) for copy in self.copies])
        every = torch.stack([copy(x) for copy in self.copies])
        if action is None:
            return every
        return every[:, torch.arange(len(action), device=every.device), action.long()]

    def value(self, observation: Tensor, action: Tensor | None = None) -> Tensor:
        """[C, N] values, or [C, N, n] of all numbered actions."""
        return self.head.value(self.raw(observation, action))


class _Copy(nn.Module):
    """One network: [N, ...] inputs, and vector actions, to [N, K] or [N, n, K] outputs."""

    low: Tensor
    high: Tensor

    def __init__(self, front: Front, action: Space, spec: BodySpec, head: ValueHead, generator: torch.Generator) -> None:
        super().__init__()
        self.box = action if isinstance(action, Box) else None
        self.pixels = front.pixels
        extra = 0 if self.box is None else self._bounds(self.box)
        shape = front.shape
        flat = int(torch.Size(shape).numel())
        self.body: Body = spec.build(shape if self.pixels or not extra else (flat + extra,), generator)
        width = self.body.width
        self.join = nn.Sequential(nn.Linear(width + extra, width), nn.ReLU()) if self.pixels and extra else None
        if self.join is not None:
            orthogonal(self.join[0], 2**0.5, generator)  # type: ignore[arg-type]
        self.n = 1 if self.box is not None else action.n  # type: ignore[union-attr]
        self.last = nn.Linear(width, self.n * head.outputs)
        orthogonal(self.last, 0.01, generator)  # nearly the same value for all at the start
        with torch.no_grad():
            self.last.bias.copy_(head.bias().repeat(self.n))
        self.to(front.dtype)

    def _bounds(self, box: Box) -> int:
        low, high = (b.flatten() for b in box.bounds())
        bounded = torch.isfinite(low) & torch.isfinite(high)
        self.register_buffer("low", torch.where(bounded, low, -1.0), persistent=False)
        self.register_buffer("high", torch.where(bounded, high, 1.0), persistent=False)
        return len(low)

    def forward(self, x: Tensor, action: Tensor | None = None) -> Tensor:
        if self.box is None:
            return self.last(self.body(x)).unflatten(-1, (self.n, -1))
        assert action is not None
        a = 2 * (action.flatten(1).to(x) - self.low) / (self.high - self.low) - 1
        if self.pixels:
            features = torch.cat([self.body(x), a], -1)
            return self.last(features if self.join is None else self.join(features))
        return self.last(self.body(torch.cat([x.flatten(1), a], -1)))


class ActionValueNetwork(nn.Module):
    """``ActionValues`` as a critic of a policy: ``values`` are what it expects of the policy's own choices."""

    def __init__(self, estimator: ActionValues, policy: Control) -> None:
        super().__init__()
        self.estimator = estimator
        self._policy = (policy,)  # in a tuple: its parameters belong to the policy

    @torch.no_grad()
    def values(self, rollout: Rollout) -> Tensor:
        """[B, T+1] the smallest copy's values: the policy's mean over numbered actions, or that of its likeliest vector."""
        assert rollout.states is not None
        inside = states_read(rollout)
        policy, states = self._policy[0], rollout.states[inside].to(next(self.parameters()).device)
        features = policy.body(policy.front(states))
        if isinstance(policy.head, CategoricalHead):
            probability = policy.head.log_probs(features).exp()
            value = (probability * self.estimator.value(states).amin(0)).sum(-1)
        else:
            action = policy.head.to_world(policy.head.draw(features, None, None).action)
            value = self.estimator.value(states, action).amin(0)
        return value.new_zeros(inside.shape).masked_scatter(inside.to(value.device), value)

    def forward(self, rollout: Rollout, *, want: Collection[Want] = ("value",)) -> PolicyOutput:
        return PolicyOutput(value=self.values(rollout))
