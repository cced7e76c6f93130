"""The best a world allows, by policy iteration."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from guerdon.core.errors import PlanError
from guerdon.worlds.exact.policy import action_values, check_ends, uniform, values
from guerdon.worlds.mdp import MDP, Array

MOST_ROUNDS = 10_000


class Solution(NamedTuple):
    """An optimal policy and what it is worth.

    Attributes:
        values: [S] V*.
        action_values: [S, A] Q*.
        policy: [S, A] probabilities.
    """

    values: Array
    action_values: Array
    policy: Array


def optimum(mdp: MDP, gamma: float = 1.0) -> Solution:
    r"""$V^*(s) = \max_a Q^*(s, a)$, to machine precision.

    Policy iteration from the uniform policy: evaluate exactly, then change the action only where another one is strictly better.
    So a policy that comes to an end stays one that does, also without a discount, where going in circles may look as good. Where
    all actions are equally good from the first round on, the policy stays uniform.

    Args:
        mdp: The world.
        gamma: Discount per step.

    Raises:
        PlanError: without a discount, where some state never ends, or where going in circles pays for ever.

    Example:
        >>> line = MDP([[[1, 0], [0, 1]], [[0, 0], [0, 0]]], [[0.1, 1], [0, 0]], [1, 0], [False, True])  # stay (0.1), or end (1)
        >>> optimum(line, gamma=0.5).policy[0].tolist(), optimum(line, gamma=0.99).values[0].round(6).item()  # 0.1 / (1 - 0.99)
        ([0.0, 1.0], 10.0)

    Source: Howard 1960, Dynamic Programming and Markov Processes; without a discount Bertsekas & Tsitsiklis 1991
    (doi:10.1287/moor.16.3.580).
    """
    policy, every = uniform(mdp), np.arange(mdp.states)
    for _ in range(MOST_ROUNDS):
        v = _worth(mdp, policy, gamma)
        q = action_values(mdp, v, gamma)
        best = q.argmax(-1)
        better = q[every, best] > v + 1e-11 * max(1.0, float(np.abs(v).max()))
        if not better.any():
            return Solution(v, q, policy)
        policy[better] = np.eye(mdp.actions)[best[better]]
    raise PlanError(f"no optimal policy after {MOST_ROUNDS} rounds")


def _worth(mdp: MDP, policy: Array, gamma: float) -> Array:
    try:
        return values(mdp, policy, gamma)
    except PlanError:
        check_ends(mdp, uniform_moves(mdp), gamma)  # its message, where even the uniform policy does not end
        raise PlanError("without a discount the best return is endless: going in circles pays; use gamma < 1") from None


def uniform_moves(mdp: MDP) -> Array:
    """[S, S] next-state probabilities of the uniform policy."""
    return mdp.transitions.mean(1)
