"""Exact solutions of finite MDPs: plain functions on an ``MDP``, such as ``GridWorld("four-rooms").mdp``.

Policies are [S, A] probabilities. A world's time limit is not part of its MDP: where it matters, pass ``steps=world.horizon``.
"""

from guerdon.worlds.exact.enumerate import Trajectories, trajectories
from guerdon.worlds.exact.gradient import policy_gradient
from guerdon.worlds.exact.optimum import Solution, optimum
from guerdon.worlds.exact.policy import action_values, expected_return, occupancy, uniform, values
from guerdon.worlds.exact.soft import soft_optimum, soft_values
from guerdon.worlds.exact.td import lambda_returns, td_fixed_point
from guerdon.worlds.exact.unroll import unrolled

__all__ = [
    "Solution", "Trajectories", "action_values", "expected_return", "lambda_returns", "occupancy", "optimum", "policy_gradient",
    "soft_optimum", "soft_values", "td_fixed_point", "trajectories", "uniform", "unrolled", "values",
]  # fmt: skip
