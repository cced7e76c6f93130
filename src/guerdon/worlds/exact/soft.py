"""The KL-regularised optimum: what a policy should become that is paid a reward and charged for leaving a reference."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from guerdon.core.errors import PlanError
from guerdon.worlds.exact.optimum import Solution
from guerdon.worlds.exact.policy import action_values, as_policy, values
from guerdon.worlds.mdp import MDP, Array

MOST_ROUNDS = 1_000


def soft_values(mdp: MDP, policy: Any, reference: Any, beta: float, gamma: float = 1.0, steps: int | None = None) -> Array:
    r"""$V^\pi(s) = \mathbb{E}_\pi\left[\sum_t \gamma^t \left(r_t - \beta \log \frac{\pi}{\rho}(a_t \mid s_t)\right)\right]$, [S].

    The dense reward is the one that ``transforms.TokenKL(beta)`` leaves, so ``mdp.start @ soft_values(...)`` is what a policy
    maximises that is trained with it.

    Args:
        mdp: The world.
        policy: [S, A] probabilities.
        reference: [S, A] probabilities of $\rho$.
        beta: Price in reward units per nat.
        gamma: Discount per step.
        steps: Only the first so many steps count (None: all).

    Raises:
        PlanError: where the policy takes an action that the reference never takes.

    Example:
        >>> arms = MDP([[[0, 1], [0, 1]], [[0, 0], [0, 0]]], [[1, 0], [0, 0]], [1, 0], [False, True])  # a bandit with two arms
        >>> soft_values(arms, [[1, 0], [1, 0]], [[0.5, 0.5], [0.5, 0.5]], beta=1.0)[0].round(4).item()  # 1 - log 2
        0.3069
    """
    pi, ref = as_policy(mdp, policy), as_policy(mdp, reference, "reference")
    return values(mdp, pi, gamma, steps, rewards=mdp.mean_rewards - beta * log_ratio(mdp, pi, ref))


def log_ratio(mdp: MDP, policy: Array, reference: Array) -> Array:
    r"""[S, A] $\log \pi / \rho$, 0 where the policy never goes."""
    taken = (policy > 0) & ~mdp.terminal[:, None]
    if (reference[taken] <= 0).any():
        s, a = np.argwhere(taken & (reference <= 0))[0]
        raise PlanError(f"the policy takes action {a} in state {s}, which the reference never takes: their KL is infinite")
    return np.log(np.where(taken, policy, 1.0)) - np.log(np.where(taken, reference, 1.0))


def soft_optimum(mdp: MDP, reference: Any, beta: float, gamma: float = 1.0) -> Solution:
    r"""The policy that maximises $\mathbb{E}\left[\sum_t \gamma^t (r_t - \beta\,\mathrm{KL}_t(\pi \| \rho))\right]$.

    $\pi^*(a \mid s) \propto \rho(a \mid s)\,e^{Q^*(s, a) / \beta}$ and
    $V^*(s) = \beta \log \sum_a \rho(a \mid s)\,e^{Q^*(s, a) / \beta}$, found to machine precision by soft policy iteration from
    the reference (Newton's method on this equation): evaluate exactly, then tilt.

    Args:
        mdp: The world.
        reference: [S, A] probabilities of $\rho$.
        beta: Price in reward units per nat, above 0.
        gamma: Discount per step.

    Raises:
        PlanError: for a price of 0 (``optimum`` is for that), or where no finite optimum exists.

    Example:
        >>> arms = MDP([[[0, 1], [0, 1]], [[0, 0], [0, 0]]], [[1, 0], [0, 0]], [1, 0], [False, True])  # a bandit with two arms
        >>> best = soft_optimum(arms, [[0.5, 0.5], [0.5, 0.5]], beta=1.0)
        >>> best.policy[0].round(4).tolist(), best.values[0].round(4).item()  # e / (e + 1); log((e + 1) / 2)
        ([0.7311, 0.2689], 0.6201)

    Sources: Ziebart 2010 (maximum causal entropy); Reinforcement Learning with Deep Energy-Based Policies (arXiv:1702.08165).
    """
    if not (math.isfinite(beta) and beta > 0):
        raise PlanError(f"soft_optimum: beta must be above 0, got {beta}")
    ref = as_policy(mdp, reference, "reference")
    policy, v = ref, soft_values(mdp, ref, ref, beta, gamma)
    for _ in range(MOST_ROUNDS):
        q = action_values(mdp, v, gamma)
        tilted = ref * np.exp((q - q.max(-1, keepdims=True)) / beta)
        new = tilted / tilted.sum(-1, keepdims=True)
        if np.abs(new - policy).max() < 1e-13:
            return Solution(v, q, new)
        policy = new
        try:
            v = soft_values(mdp, policy, ref, beta, gamma)
        except PlanError:  # the way out has become so unlikely that its probability is 0
            break
    raise PlanError("soft_optimum: no finite optimum; does going in circles pay more than its KL costs? Use gamma < 1")
