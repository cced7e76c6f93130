"""Every trajectory of a small world, once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from guerdon.core.errors import PlanError
from guerdon.core.world import Episode
from guerdon.worlds.exact.policy import as_policy
from guerdon.worlds.mdp import MDP, Array

MOST = 200_000


@dataclass(frozen=True, eq=False)
class Trajectories:
    """N trajectories, padded with 0 behind their last step.

    Args:
        mdp: Their world.
        states: [N, T+1].
        actions: [N, T].
        rewards: [N, T].
        length: [N] steps.
        terminated: [N] bool, ended by itself (False: cut off).
        dynamics: [N] the world's part of their probability: that of the first state and of every transition.
    """

    mdp: MDP
    states: Array
    actions: Array
    rewards: Array
    length: Array
    terminated: Array
    dynamics: Array

    def __len__(self) -> int:
        return len(self.states)

    def probability(self, policy: Any) -> Array:
        """[N] under a policy [S, A]; they sum to 1."""
        pi = as_policy(self.mdp, policy)
        inside = np.arange(self.actions.shape[1]) < self.length[:, None]
        chosen: Array = np.where(inside, pi[self.states[:, :-1], self.actions], 1.0)
        return self.dynamics * chosen.prod(1)

    def episodes(self) -> list[Episode]:
        """Each as an ``Episode``, for ``rollout_from``."""
        return [
            Episode(torch.from_numpy(s[: n + 1]), torch.from_numpy(a[:n]), torch.from_numpy(r[:n]), bool(end))
            for s, a, r, n, end in zip(self.states, self.actions, self.rewards, self.length, self.terminated, strict=True)
        ]


def trajectories(mdp: MDP, steps: int) -> Trajectories:
    """All trajectories of at most ``steps`` steps that the world allows; longer ones are cut off there.

    Args:
        mdp: The world.
        steps: At least 1.

    Raises:
        PlanError: for more than 200 000.

    Example:
        >>> coin = MDP([[[0.5, 0.5]], [[0, 1]]], [[1], [0]], [1, 0], [False, True])
        >>> all_three = trajectories(coin, 2)  # ends at once; goes on and ends; goes on twice
        >>> all_three.length.tolist(), all_three.terminated.tolist(), all_three.probability([[1], [1]]).tolist()
        ([1, 2, 2], [True, False, True], [0.5, 0.25, 0.25])
    """
    if steps < 1:
        raise PlanError(f"trajectories: steps must be at least 1, got {steps}")
    where = np.flatnonzero(mdp.start)
    states = np.zeros((len(where), steps + 1), dtype=np.int64)
    states[:, 0] = where
    actions, rewards = np.zeros((len(where), steps), dtype=np.int64), np.zeros((len(where), steps))
    dynamics = mdp.start[where]
    done: list[Trajectories] = []
    for t in range(steps):
        row, action, after = np.nonzero(mdp.transitions[states[:, t]])
        if len(row) + sum(map(len, done)) > MOST:
            raise PlanError(f"trajectories: more than {MOST}; take fewer steps or a smaller world")
        before = states[row, t]
        states, actions, rewards = states[row], actions[row], rewards[row]
        states[:, t + 1], actions[:, t] = after, action
        rewards[:, t] = mdp.rewards[before, action] if mdp.rewards.ndim == 2 else mdp.rewards[before, action, after]
        dynamics = dynamics[row] * mdp.transitions[before, action, after]
        over = mdp.terminal[after] | (t == steps - 1)
        length = np.full(int(over.sum()), t + 1)
        done.append(
            Trajectories(mdp, states[over], actions[over], rewards[over], length, mdp.terminal[after][over], dynamics[over])
        )
        states, actions, rewards, dynamics = states[~over], actions[~over], rewards[~over], dynamics[~over]
    names = ("states", "actions", "rewards", "length", "terminated", "dynamics")
    return Trajectories(mdp, *(np.concatenate([getattr(d, name) for d in done]) for name in names))
