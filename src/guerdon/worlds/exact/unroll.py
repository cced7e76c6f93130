"""A time limit written into the states."""

from __future__ import annotations

import numpy as np

from guerdon.worlds.mdp import MDP


def unrolled(mdp: MDP, steps: int) -> MDP:
    """The MDP whose states also tell the time and end after ``steps`` steps; state s at time t has number ``t * S + s``.

    On it every solver answers for episodes with a time limit, with policies that may depend on the time. It has ``steps + 1``
    times as many states, and its arrays grow with the square of that.

    Example:
        >>> from guerdon.worlds.exact import optimum
        >>> line = MDP([[[1, 0], [0, 1]], [[0, 0], [0, 0]]], [[0.6, 1], [0, 0]], [1, 0], [False, True])  # stay (0.6), or end (1)
        >>> best = optimum(unrolled(line, 2))
        >>> best.values[0].item(), best.policy[[0, 2]].tolist()  # stay once, then end
        (1.6, [[1.0, 0.0], [0.0, 1.0]])
    """
    states, layers = mdp.states, steps + 1
    p = np.zeros((layers, states, mdp.actions, layers, states))
    r = np.zeros_like(p) if mdp.rewards.ndim == 3 else np.zeros((layers, states, mdp.actions))
    for t in range(steps):
        p[t, :, :, t + 1] = mdp.transitions
        if mdp.rewards.ndim == 3:
            r[t, :, :, t + 1] = mdp.rewards
        else:
            r[t] = mdp.rewards
    start, terminal = np.zeros((layers, states)), np.tile(mdp.terminal, (layers, 1))
    start[0], terminal[-1] = mdp.start, True
    many = layers * states
    shape = (many, mdp.actions, many) if mdp.rewards.ndim == 3 else (many, mdp.actions)
    return MDP(p.reshape(many, mdp.actions, many), r.reshape(shape), start.ravel(), terminal.ravel())
