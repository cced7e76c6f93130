"""Policies that act on values they have learned: epsilon-greedy and Boltzmann heads over Q(s, .)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from guerdon.core import PlanError
from guerdon.core.world import Discrete, Space
from guerdon.policies.action_values import ActionValues
from guerdon.policies.control._heads import CategoricalHead
from guerdon.policies.control.policy import Control
from guerdon.policies.heads import Scalar, ValueHead


@dataclass(frozen=True)
class EpsilonGreedy:
    r"""The action of the highest value, or with probability $\epsilon$ any: how DQN acts.

    The policy is its own Q-network: train it with ``run.TD(of="policy")``, which also lets $\epsilon$ fall linearly from
    ``start`` to ``epsilon`` over the first ``fraction`` of the run.

    Args:
        epsilon: Probability of a random action, in the end.
        start: And in the beginning.
        fraction: Of the run.
        value: How outputs stand for a value: ``Scalar``, ``HLGauss`` or ``GaussianValue``.

    Example:
        >>> from guerdon.policies import Control
        >>> from guerdon.worlds import GridWorld
        >>> policy = Control.of(GridWorld("corridor"), head=EpsilonGreedy(epsilon=0.1, fraction=0.0))
        >>> policy.head.log_probs(torch.zeros(1, policy.width)).exp().max()    # 1 - 0.1 + 0.1 / 4
        tensor(0.9250)

    Source: DQN (arXiv:1312.5602).
    """

    epsilon: float = 0.05
    start: float = 1.0
    fraction: float = 0.1
    value: ValueHead = Scalar()

    def __post_init__(self) -> None:
        for name in ("epsilon", "start"):
            if not 0 < getattr(self, name) <= 1:
                raise PlanError(f"EpsilonGreedy: {name} must be above 0 and at most 1, got {getattr(self, name)}; "
                                "to act greedily, sample with temperature 0")  # fmt: skip
        if not 0 <= self.fraction <= 1:
            raise PlanError(f"EpsilonGreedy: fraction must be between 0 and 1, got {self.fraction}")

    def build(self, width: int, space: Space, generator: torch.Generator) -> EpsilonGreedyHead:
        return EpsilonGreedyHead(width, _actions("EpsilonGreedy", space), self, generator)

    def at(self, progress: float) -> float:
        """Epsilon at ``progress`` (0..1) of the run.

        >>> [round(EpsilonGreedy(epsilon=0.1, fraction=0.5).at(p), 2) for p in (0.0, 0.25, 0.5, 1.0)]
        [1.0, 0.55, 0.1, 0.1]
        """
        done = 1.0 if progress >= self.fraction else progress / self.fraction
        return self.start + done * (self.epsilon - self.start)


@dataclass(frozen=True)
class Boltzmann:
    r"""$\pi(a \mid s) \propto \exp(Q(s, a) / \alpha)$: the policy that a soft Q-function stands for.

    The policy is its own Q-network: train it with ``run.TD(of="policy", backup=Expected(alpha=...))`` of the same $\alpha$, and
    that is soft Q-learning.

    Args:
        alpha: In units of return.
        value: How outputs stand for a value.

    Source: soft Q-learning (arXiv:1702.08165).
    """

    alpha: float = 0.1
    value: ValueHead = Scalar()

    def __post_init__(self) -> None:
        if not (math.isfinite(self.alpha) and self.alpha > 0):
            raise PlanError(f"Boltzmann: alpha must be above 0, got {self.alpha}")

    def build(self, width: int, space: Space, generator: torch.Generator) -> BoltzmannHead:
        return BoltzmannHead(width, _actions("Boltzmann", space), self, generator)


class _ValueHead(CategoricalHead):
    """A categorical head whose logits follow from the values of the actions."""

    def __init__(self, width: int, n: int, value: ValueHead, generator: torch.Generator) -> None:
        super().__init__(width, n * value.outputs, generator)
        self.n, self.of = n, value
        with torch.no_grad():
            self.logits.bias.copy_(value.bias().repeat(n))

    def raw(self, features: Tensor) -> Tensor:
        """[N, n, K]."""
        return self.logits(features).unflatten(-1, (self.n, -1))

    def values(self, features: Tensor) -> Tensor:
        """[N, n] of each action."""
        return self.of.value(self.raw(features))

    def log_probs(self, features: Tensor, temperature: Tensor | float | None = None) -> Tensor:
        logits = self._logits(self.values(features))
        if temperature is not None:
            logits = logits / (temperature[:, None] if isinstance(temperature, Tensor) else temperature)
        return logits.log_softmax(-1)

    def _logits(self, values: Tensor) -> Tensor:
        raise NotImplementedError

    def estimator(self, policy: Control) -> ActionValues:
        """The policy as what ``run.TD`` trains; its weights are the policy's."""
        return ActionValues(policy.front, [_Reads(policy.body, self)], self.of, policy.world.action)


class EpsilonGreedyHead(_ValueHead):
    """``EpsilonGreedy`` at work. Of equal values the first one's action is taken."""

    epsilon: Tensor

    def __init__(self, width: int, n: int, spec: EpsilonGreedy, generator: torch.Generator) -> None:
        super().__init__(width, n, spec.value, generator)
        self.spec = spec
        self.register_buffer("epsilon", torch.tensor(spec.at(0.0), dtype=torch.float64))

    def _logits(self, values: Tensor) -> Tensor:
        best = nn.functional.one_hot(values.argmax(-1), self.n)
        return ((1 - self.epsilon) * best + self.epsilon / self.n).log().to(values)

    def progress(self, done: float) -> None:
        """Explore as much as is due at ``done`` (0..1) of the run."""
        self.epsilon.fill_(self.spec.at(done))


class BoltzmannHead(_ValueHead):
    """``Boltzmann`` at work."""

    def __init__(self, width: int, n: int, spec: Boltzmann, generator: torch.Generator) -> None:
        super().__init__(width, n, spec.value, generator)
        self.alpha = spec.alpha

    def _logits(self, values: Tensor) -> Tensor:
        return values / self.alpha


class _Reads(nn.Module):
    """Body and head of a policy in one."""

    def __init__(self, body: nn.Module, head: _ValueHead) -> None:
        super().__init__()
        self.body, self.head = body, head

    def forward(self, x: Tensor) -> Tensor:
        return self.head.raw(self.body(x))


def _actions(name: str, space: Space) -> int:
    if not isinstance(space, Discrete):
        raise PlanError(
            f"{name}: it compares numbered actions, and the actions are {space}; take policies.TanhGaussian and run.Improve"
        )
    return space.n
