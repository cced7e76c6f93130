"""What a policy earns and where it goes, by linear equations."""

from __future__ import annotations

from typing import Any

import numpy as np

from guerdon.core.errors import PlanError
from guerdon.worlds.mdp import MDP, Array


def uniform(mdp: MDP) -> Array:
    """[S, A] the policy that takes every action equally often."""
    return np.full((mdp.states, mdp.actions), 1 / mdp.actions)


def values(mdp: MDP, policy: Any, gamma: float = 1.0, steps: int | None = None, *, rewards: Any = None) -> Array:
    r"""$V^\pi(s) = \mathbb{E}_\pi\left[\sum_t \gamma^t r_t \mid s_0 = s\right]$, from $(I - \gamma P_\pi) V = r_\pi$.

    Args:
        mdp: The world.
        policy: [S, A] probabilities.
        gamma: Discount per step.
        steps: Only the first so many steps count (None: all).
        rewards: [S, A] in place of the world's own.

    Returns:
        [S] in units of reward; 0 where an episode ends.

    Raises:
        PlanError: for a policy that is none, or with ``gamma=1`` and no ``steps`` a state from which it never ends.

    Example:
        >>> coin = MDP([[[0.5, 0.5]], [[0, 1]]], [[1], [0]], [1, 0], [False, True])  # 1 a step, half of the steps end it
        >>> values(coin, [[1], [1]]).tolist(), values(coin, [[1], [1]], steps=2).tolist()  # 1 + 1/2 + 1/4 + ..; 1 + 1/2
        ([2.0, 0.0], [1.5, 0.0])
    """
    moves, gains = chain(mdp, policy, rewards)
    check_gamma(gamma)
    if steps is None:
        check_ends(mdp, moves, gamma)
        return np.linalg.solve(np.eye(mdp.states) - gamma * moves, gains)
    v = np.zeros(mdp.states)
    for _ in range(steps):
        v = gains + gamma * moves @ v
    return v


def action_values(mdp: MDP, values: Array, gamma: float = 1.0) -> Array:
    r"""$Q(s, a) = r(s, a) + \gamma \sum_{s'} P(s' \mid s, a) V(s')$, [S, A].

    Example:
        >>> coin = MDP([[[0.5, 0.5]], [[0, 1]]], [[1], [0]], [1, 0], [False, True])
        >>> action_values(coin, np.array([2.0, 0.0])).tolist()
        [[2.0], [0.0]]
    """
    return mdp.mean_rewards + gamma * mdp.transitions @ values


def expected_return(mdp: MDP, policy: Any, gamma: float = 1.0, steps: int | None = None) -> float:
    """What an episode earns on average; arguments as for ``values``.

    Example:
        >>> coin = MDP([[[0.5, 0.5]], [[0, 1]]], [[1], [0]], [1, 0], [False, True])
        >>> expected_return(coin, [[1], [1]], gamma=0.5)  # 1 / (1 - 0.5 * 0.5)
        1.3333333333333333
    """
    return float(mdp.start @ values(mdp, policy, gamma, steps))


def occupancy(mdp: MDP, policy: Any, gamma: float = 1.0, steps: int | None = None) -> Array:
    r"""$d(s) = \sum_t \gamma^t \Pr(s_t = s)$: how often an episode is expected to be in each state, [S].

    Its sum over the states that do not end is the expected length of an episode; at a terminal state it is the chance of ending
    there. With ``steps``, t runs over 0 .. steps - 1.

    Example:
        >>> coin = MDP([[[0.5, 0.5]], [[0, 1]]], [[1], [0]], [1, 0], [False, True])
        >>> occupancy(coin, [[1], [1]]).tolist()
        [2.0, 1.0]
    """
    moves, _ = chain(mdp, policy)
    check_gamma(gamma)
    if steps is None:
        check_ends(mdp, moves, gamma)
        return np.linalg.solve(np.eye(mdp.states) - gamma * moves.T, mdp.start)
    now, total = mdp.start, np.zeros(mdp.states)
    for _ in range(steps):
        total, now = total + now, gamma * now @ moves
    return total


def chain(mdp: MDP, policy: Any, rewards: Any = None) -> tuple[Array, Array]:
    """([S, S] probabilities of the next state, [S] expected reward) under a policy."""
    pi = as_policy(mdp, policy)
    r = mdp.mean_rewards if rewards is None else np.where(mdp.terminal[:, None], 0.0, np.asarray(rewards, dtype=np.float64))
    return np.einsum("sa,sat->st", pi, mdp.transitions), (pi * r).sum(-1)


def as_policy(mdp: MDP, policy: Any, name: str = "policy") -> Array:
    """[S, A] float64, after it was found to be one.

    Raises:
        PlanError: naming the first state whose probabilities make no sense.
    """
    pi = np.asarray(policy, dtype=np.float64)
    if pi.shape != (mdp.states, mdp.actions):
        raise PlanError(f"{name} must be [{mdp.states}, {mdp.actions}] probabilities, got {list(pi.shape)}")
    bad = ~((pi >= 0).all(-1) & (np.abs(pi.sum(-1) - 1) < 1e-6)) & ~mdp.terminal
    if bad.any():
        raise PlanError(f"{name}: the probabilities of state {np.flatnonzero(bad)[0]} are not at least 0 with a sum of 1")
    return pi


def check_gamma(gamma: float) -> None:
    """Refuse what is no discount."""
    if not 0 <= gamma <= 1:
        raise PlanError(f"gamma must be between 0 and 1, got {gamma}")


def check_ends(mdp: MDP, moves: Array, gamma: float) -> None:
    """Refuse an endless sum: without a discount every state must lead to an end."""
    if gamma < 1:
        return
    ends = mdp.terminal.copy()
    frontier = ends
    while frontier.any():
        frontier = (moves[:, frontier] > 0).any(1) & ~ends
        ends |= frontier
    if not ends.all():
        state = np.flatnonzero(~ends)[0]
        raise PlanError(f"without a discount the return is endless: state {state} leads to no end; use gamma < 1, or steps")
