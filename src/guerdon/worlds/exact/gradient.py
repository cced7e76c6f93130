"""The exact policy gradient of a softmax policy with a logit per state and action."""

from __future__ import annotations

from typing import Any

from guerdon.worlds.exact.policy import action_values, as_policy, occupancy
from guerdon.worlds.exact.policy import values as values_of
from guerdon.worlds.exact.soft import log_ratio
from guerdon.worlds.mdp import MDP, Array


def policy_gradient(mdp: MDP, policy: Any, gamma: float = 1.0, *, reference: Any = None, beta: float = 0.0) -> Array:
    r"""$\partial J / \partial \theta_{sa} = d(s)\,\pi(a \mid s)\,(Q^\pi(s, a) - V^\pi(s))$, [S, A].

    Here $\pi = \mathrm{softmax}(\theta)$ and $J = \mathbb{E}\left[\sum_t \gamma^t r_t\right]$; with a reference $\rho$ the reward
    of a step is $r - \beta \log(\pi / \rho)$.

    Args:
        mdp: The world.
        policy: [S, A] probabilities.
        gamma: Discount per step; $d$ counts visits with it, as the gradient of the discounted return does.
        reference: [S, A] probabilities; None: no KL.
        beta: Price in reward units per nat.

    Example:
        >>> arms = MDP([[[0, 1], [0, 1]], [[0, 0], [0, 0]]], [[1, 0], [0, 0]], [1, 0], [False, True])  # a bandit with two arms
        >>> policy_gradient(arms, [[0.5, 0.5], [0.5, 0.5]])[0].tolist()  # 1/2 (1 - 1/2)
        [0.25, -0.25]

    Source: Sutton, McAllester, Singh & Mansour 1999, Policy gradient methods with function approximation.
    """
    pi = as_policy(mdp, policy)
    rewards = mdp.mean_rewards
    if reference is not None:
        rewards = rewards - beta * log_ratio(mdp, pi, as_policy(mdp, reference, "reference"))
    v = values_of(mdp, pi, gamma, rewards=rewards)
    q = action_values(mdp, v, gamma) + rewards - mdp.mean_rewards
    gradient: Array = occupancy(mdp, pi, gamma)[:, None] * pi * (q - v[:, None])
    gradient[mdp.terminal] = 0
    return gradient
