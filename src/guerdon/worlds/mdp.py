"""MDP: a finite Markov decision process as arrays. Tabular worlds are stepped by it, exact solvers read it."""

from __future__ import annotations

import os
import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from guerdon.core.errors import DataError, PlanError

Array = np.ndarray
FIELDS = ("transitions", "rewards", "start", "terminal")


@dataclass(frozen=True, eq=False, repr=False)
class MDP:
    r"""$P(s' \mid s, a)$, $r(s, a, s')$, $\rho(s)$ and the states that end an episode. It knows no time limit and no discount.

    Arrays are checked and copied; nothing comes after a terminal state, so its transitions and rewards are set to 0 and the
    solvers find value 0 there.

    Args:
        transitions: [S, A, S] probabilities; a row of a state that does not end must sum to 1 (to 1e-6; it is then rescaled).
        rewards: [S, A], or [S, A, S] where it matters which state follows.
        start: [S] probabilities of the first state; 0 for terminal states.
        terminal: [S] bool.

    Raises:
        PlanError: naming the first state and action whose numbers make no sense.

    Example:
        >>> two = MDP([[[0, 1], [0.5, 0.5]], [[0, 0], [0, 0]]], [[1, 2], [0, 0]], [1, 0], [False, True])
        >>> two, two.mean_rewards[0].tolist()
        (MDP(2 states, 2 actions), [1.0, 2.0])
    """

    transitions: Any
    rewards: Any
    start: Any
    terminal: Any

    def __post_init__(self) -> None:
        try:
            p, r, start = (_array(x, np.float64) for x in (self.transitions, self.rewards, self.start))
            terminal = _array(self.terminal, bool)
        except (TypeError, ValueError):
            raise PlanError(
                "MDP: transitions, rewards, start and terminal must be arrays of numbers with rows of equal length"
            ) from None
        if p.ndim != 3 or p.shape[0] != p.shape[2] or 0 in p.shape:
            raise PlanError(f"MDP: transitions must be [S, A, S], got {list(p.shape)}")
        states, actions, _ = p.shape
        if r.shape not in ((states, actions), p.shape):
            raise PlanError(f"MDP: rewards must be {[states, actions]} or {list(p.shape)}, got {list(r.shape)}")
        for name, column in (("start", start), ("terminal", terminal)):
            if column.shape != (states,):
                raise PlanError(f"MDP: {name} must have an entry per state, [{states}], got {list(column.shape)}")
        p[terminal], r[terminal] = 0, 0
        _check_probabilities(p, terminal)
        if not np.isfinite(r).all():
            raise PlanError(f"MDP: the rewards of state {np.argwhere(~np.isfinite(r))[0][0]} are not all finite")
        if (start < 0).any() or not abs(start.sum() - 1) < 1e-6:
            raise PlanError(f"MDP: start must be probabilities that sum to 1, got a sum of {start.sum():.6g}")
        if start[terminal].any():
            raise PlanError(
                f"MDP: an episode would begin in state {np.flatnonzero(terminal & (start > 0))[0]}, which is terminal"
            )
        p /= np.where(terminal[:, None], 1.0, p.sum(-1))[..., None]
        for name, array in zip(FIELDS, (p, r, start / start.sum(), terminal), strict=True):
            array.setflags(write=False)
            object.__setattr__(self, name, array)

    @property
    def states(self) -> int:
        """S."""
        return int(self.transitions.shape[0])

    @property
    def actions(self) -> int:
        """A."""
        return int(self.transitions.shape[1])

    @cached_property
    def mean_rewards(self) -> Array:
        """[S, A] expected reward of a step."""
        rewards: Array = self.rewards
        return rewards if rewards.ndim == 2 else np.einsum("sat,sat->sa", self.transitions, rewards)

    def __repr__(self) -> str:
        return f"MDP({self.states} states, {self.actions} actions)"

    def save(self, path: str | os.PathLike[str]) -> None:
        """Its four arrays, compressed into one .npz file that ``load`` and ``worlds.TabularFile`` read."""
        np.savez_compressed(path, **{name: getattr(self, name) for name in FIELDS})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> MDP:
        """The MDP of an .npz file with the arrays transitions, rewards, start and terminal.

        Raises:
            DataError: for a file that is missing, is no .npz, or lacks one of them.
        """
        return cls(**read_arrays(path, FIELDS))


def read_arrays(path: str | os.PathLike[str], names: tuple[str, ...]) -> dict[str, Array]:
    """The named arrays of an .npz file; nothing in it is unpickled.

    Raises:
        DataError: for a file that is missing, is no .npz, or lacks one of them.
    """
    if not Path(path).is_file():
        raise DataError(f"{path}: no such file")
    try:
        with np.load(path, allow_pickle=False) as file:
            missing = [name for name in names if name not in file]
            if missing:
                raise DataError(f"{path}: has no array {missing[0]!r}; it holds {', '.join(file) or 'none'}")
            return {name: file[name] for name in names}
    except (ValueError, OSError, zipfile.BadZipFile, AttributeError, TypeError) as e:  # what numpy raises for foreign bytes
        raise DataError(f"{path}: is not an .npz file of plain arrays ({e})") from None


def _array(x: Any, kind: type) -> Array:
    return np.array(x.numpy() if isinstance(x, torch.Tensor) else x, dtype=kind)


def _check_probabilities(p: Array, terminal: Array) -> None:
    bad = ~((p.min(-1) >= 0) & (np.abs(p.sum(-1) - 1) < 1e-6)) & ~terminal[:, None]  # a NaN makes both comparisons False
    if bad.any():
        s, a = np.argwhere(bad)[0]
        what = f"sum to {p[s, a].sum():.6g}" if (p[s, a] >= 0).all() else "are not all at least 0"
        raise PlanError(f"MDP: the probabilities after action {a} in state {s} {what}; expected probabilities that sum to 1")
