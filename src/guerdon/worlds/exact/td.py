r"""What TD($\lambda$) computes in expectation."""

from __future__ import annotations

from typing import Any

import numpy as np

from guerdon.core.errors import PlanError
from guerdon.worlds.exact.policy import chain, check_ends, check_gamma, occupancy
from guerdon.worlds.mdp import MDP, Array


def lambda_returns(mdp: MDP, policy: Any, values: Any, gamma: float = 1.0, lam: float = 0.95) -> Array:
    r"""[S] expected $\lambda$-returns, $G = (I - \gamma \lambda P_\pi)^{-1} (r_\pi + \gamma (1 - \lambda) P_\pi V)$.

    It solves $G(s) = \mathbb{E}[r + \gamma((1 - \lambda) V(s') + \lambda G(s'))]$: the mean of ``core.credit.td_lambda_returns``
    over episodes that end by themselves.

    Args:
        mdp: The world.
        policy: [S, A] probabilities.
        values: [S] what the critic says; it is taken as 0 at terminal states.
        gamma: Discount per step.
        lam: 0: one step and then the critic; 1: no critic.

    Example:
        >>> coin = MDP([[[0.5, 0.5]], [[0, 1]]], [[1], [0]], [1, 0], [False, True])
        >>> one = np.ones((2, 1))
        >>> [lambda_returns(coin, one, [4.0, 9.0], lam=lam)[0].item() for lam in (0.0, 1.0)]  # 1 + 4 / 2; V itself
        [3.0, 2.0]

    Source: TD(lambda), Sutton 1988 (doi:10.1007/BF00115009).
    """
    moves, gains = chain(mdp, policy)
    _check(gamma, lam)
    check_ends(mdp, moves, gamma * lam)
    critic = np.where(mdp.terminal, 0.0, np.asarray(values, dtype=np.float64))
    return np.linalg.solve(np.eye(mdp.states) - gamma * lam * moves, gains + gamma * (1 - lam) * moves @ critic)


def td_fixed_point(mdp: MDP, policy: Any, features: Any, gamma: float = 1.0, lam: float = 0.95) -> Array:
    r"""[d] weights at which linear TD($\lambda$) on the policy's own episodes comes to rest.

    With features $\Phi$, occupancy $D$ and $M = (I - \gamma \lambda P_\pi)^{-1}$ they solve
    $\Phi^\top D M (I - \gamma P_\pi) \Phi\,w = \Phi^\top D M r_\pi$. Where the features tell all states apart, $\Phi w = V^\pi$
    at any $\lambda$; elsewhere $\lambda$ decides between the best fit (1) and a fit of one-step differences (0).

    Args:
        mdp: The world.
        policy: [S, A] probabilities.
        features: [S, d]; those of terminal states are taken as 0.
        gamma: Discount per step.
        lam: Between 0 and 1.

    Raises:
        PlanError: where the equations have no single solution, such as for features of states that are never visited.

    Example:
        >>> coin = MDP([[[0.5, 0.5]], [[0, 1]]], [[1], [0]], [1, 0], [False, True])
        >>> td_fixed_point(coin, np.ones((2, 1)), [[2.0], [0.0]], lam=0.3).tolist()  # half of V, as the feature is 2
        [1.0]

    Source: Tsitsiklis & Van Roy 1997 (doi:10.1109/9.580874).
    """
    moves, gains = chain(mdp, policy)
    _check(gamma, lam)
    visits = np.where(mdp.terminal, 0.0, occupancy(mdp, policy))
    phi = np.where(mdp.terminal[:, None], 0.0, np.asarray(features, dtype=np.float64))
    traced = np.linalg.solve(np.eye(mdp.states) - gamma * lam * moves, np.column_stack([phi - gamma * moves @ phi, gains]))
    sides = (phi * visits[:, None]).T @ traced
    try:
        return np.linalg.solve(sides[:, :-1], sides[:, -1])
    except np.linalg.LinAlgError:
        raise PlanError(
            "td_fixed_point: the features do not determine their weights on the states that the policy visits"
        ) from None


def _check(gamma: float, lam: float) -> None:
    check_gamma(gamma)
    if not 0 <= lam <= 1:
        raise PlanError(f"lam must be between 0 and 1, got {lam}")
