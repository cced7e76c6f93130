"""What a next state is worth: the right-hand side of a Bellman equation, from a target network."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from guerdon.core import PlanError, Streams, nearest

if TYPE_CHECKING:
    from guerdon.run.plan import Plan


def noise_of(head: Any, rows: int, streams: Streams) -> Tensor:
    """[rows, head.noise] random numbers for one action of each row."""
    return getattr(streams("action"), head.kind)(rows * head.noise).reshape(rows, head.noise)


@dataclass(frozen=True)
class Expected:
    r"""$V(s) = \mathbb{E}_{a \sim \pi} [\min_c Q_c(s, a) - \alpha \log \pi(a \mid s)]$ under the present policy.

    Exact over numbered actions; one sampled action for vectors. With $\alpha = 0$ it evaluates the policy ($Q^\pi$, expected
    SARSA), with $\alpha > 0$ entropy counts as reward (soft actor-critic).

    Args:
        alpha: Price of a nat, in units of return: a number, or the name of the ``run.Improve`` learner whose alpha holds.

    Source: SAC (arXiv:1801.01290), for numbered actions arXiv:1910.07207.
    """

    alpha: float | str = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.alpha, str) and not (math.isfinite(self.alpha) and self.alpha >= 0):
            raise PlanError(f"Expected: alpha must be at least 0, or the name of a run.Improve learner, got {self.alpha}")

    def check(self, plan: Plan) -> None:
        """Raises PlanError where there is no learner of that name with an alpha."""
        if isinstance(self.alpha, str):
            known = [n for n, s in plan.learners.items() if hasattr(s, "alpha")]
            if self.alpha not in known:
                raise PlanError(f"Expected: alpha names learner {self.alpha!r}, and the plan has no run.Improve of that name; "
                                f"{nearest(self.alpha, known)}")  # fmt: skip

    def check_actions(self, discrete: bool) -> None:
        """Any will do."""

    def __call__(self, states: Tensor, policy: Any, online: Any, target: Any, streams: Streams, run: Any) -> Tensor:
        """[N] values of states [N, ...]."""
        alpha = run.learners[self.alpha].alpha if isinstance(self.alpha, str) else self.alpha
        features, head = policy.features(states), policy.head
        if target.discrete:
            lp = head.log_probs(features)
            q = target.value(states).amin(0)
            gain = q if alpha == 0 else q - alpha * lp.clamp(min=torch.finfo(lp.dtype).min)
            return (lp.exp() * gain).sum(-1)
        action, logp = head.draw(features, noise_of(head, len(states), streams), None)
        q = target.value(states, head.to_world(action)).amin(0)
        return q - alpha * logp


@dataclass(frozen=True)
class Greedy:
    r"""$V(s) = Q'(s, \arg\max_a Q(s, a))$ over numbered actions.

    Args:
        double: The action is chosen by the network that learns and valued by the target network $Q'$ (double DQN); otherwise the
            target network does both, which overestimates (DQN).

    Source: DQN (arXiv:1312.5602), double DQN (arXiv:1509.06461).
    """

    double: bool = True

    def check(self, plan: Plan) -> None:
        """Nothing to tell before the policy is built."""

    def check_actions(self, discrete: bool) -> None:
        """Raises PlanError for actions that cannot be compared one by one."""
        if not discrete:
            raise PlanError("Greedy: it takes the best of numbered actions, and the actions are vectors; take run.Expected")

    def __call__(self, states: Tensor, policy: Any, online: Any, target: Any, streams: Streams, run: Any) -> Tensor:
        """[N] values of states [N, ...]."""
        q = target.value(states).amin(0)
        best = online.value(states).amin(0).argmax(-1) if self.double else q.argmax(-1)
        return q.gather(-1, best[:, None])[:, 0]


Backup = Expected | Greedy
