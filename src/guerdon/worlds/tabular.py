"""Tabular: finite MDPs as worlds. All slots step in one indexed draw, and an exact fork costs three numbers."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from guerdon.core.errors import PlanError
from guerdon.core.streams import Stream, mix
from guerdon.core.world import Discrete, Stepped
from guerdon.worlds.mdp import FIELDS, MDP

LARGEST = 1_000_000  # numbers that a plan may hold; more belong into a file
_BLOCK = 32  # numbers of an episode's stream that are made at once


class Finite:
    """What specs of finite MDPs share: numbered states and actions, and slots that draw from the same arrays."""

    horizon: int | None

    @property
    def mdp(self) -> MDP:
        """The numbers."""
        raise NotImplementedError

    @property
    def observation(self) -> Discrete:
        return Discrete(self.mdp.states)

    @property
    def action(self) -> Discrete:
        return Discrete(self.mdp.actions)

    def open(self, n: int) -> TabularWorld:
        return TabularWorld(self.mdp, n, self.horizon)


@dataclass(frozen=True, repr=False)
class Tabular(Finite):
    """An MDP written out in the plan. Arrays become nested tuples, so that equal numbers make equal (and hashable) worlds.

    Args:
        transitions: [S, A, S] probabilities.
        rewards: [S, A] or [S, A, S].
        start: [S] probabilities of the first state.
        terminal: [S] bool, states that end an episode.
        horizon: An episode is cut off after this many steps (None: never).

    Raises:
        PlanError: for numbers that make no MDP, or more than a plan should hold.

    Example:
        >>> coin = Tabular([[[0.5, 0.5]], [[0, 1]]], [[1.0], [0.0]], [1, 0], [False, True])  # half of the steps end it
        >>> world = coin.open(2)
        >>> world.reset(torch.tensor([0, 1]), torch.tensor([7, 7]))
        (tensor([0, 0]), ['', ''])
        >>> stepped = world.step(torch.tensor([0, 1]), torch.tensor([0, 0]))
        >>> bool(stepped.observation[0] == stepped.observation[1]), stepped.reward.tolist()  # equal seeds, equal episodes
        (True, [1.0, 1.0])
    """

    transitions: Any
    rewards: Any
    start: Any
    terminal: Any
    horizon: int | None = None

    def __post_init__(self) -> None:
        check_horizon("Tabular", self.horizon)
        size = self.mdp.transitions.size  # asked for now, so that numbers that make no MDP are found now
        if size > LARGEST:
            raise PlanError(f"Tabular: {size} transitions are too many for a plan; MDP.save them and name worlds.TabularFile")
        for name in FIELDS:
            object.__setattr__(self, name, _plain(getattr(self, name)))

    @cached_property
    def mdp(self) -> MDP:
        return MDP(self.transitions, self.rewards, self.start, self.terminal)

    def __repr__(self) -> str:
        digest = hashlib.sha256(repr([getattr(self, name) for name in FIELDS]).encode()).hexdigest()[:8]
        return f"Tabular({self.mdp.states} states, {self.mdp.actions} actions, {digest}{limit(self.horizon)})"


@dataclass(frozen=True)
class TabularFile(Finite):
    """An MDP in an .npz file with the arrays transitions, rewards, start and terminal (``MDP.save`` writes one).

    Args:
        path: The file.
        horizon: An episode is cut off after this many steps (None: never).
    """

    path: str
    horizon: int | None = None

    def __post_init__(self) -> None:
        check_horizon("TabularFile", self.horizon)

    @cached_property
    def mdp(self) -> MDP:
        return MDP.load(self.path)


class TabularWorld:
    """Slots in an MDP. Number 0 of an episode's own random stream chooses its first state, number t what its t-th step leads to.

    Args:
        mdp: Its dynamics.
        n: Slots.
        horizon: Steps after which an episode is cut off.
        pictures: [S, H, W, 3] uint8 what is observed of each state; None: its number.
        draw: A larger picture of a state, for people.
    """

    def __init__(self, mdp: MDP, n: int, horizon: int | None = None, pictures: Tensor | None = None, draw: Any = None):
        self.mdp, self.n, self.horizon, self.pictures, self.draw = mdp, n, horizon, pictures, draw
        self.state = np.full(n, -1)
        self.live = np.zeros(n, dtype=bool)
        self.t = np.zeros(n, dtype=np.int64)
        self.seed = np.zeros(n, dtype=np.int64)
        self._numbers = np.zeros((n, _BLOCK))

    def reset(self, slots: Tensor, seeds: Tensor) -> tuple[Tensor, Sequence[str]]:
        k = slots.numpy()
        self.seed[k], self.t[k], self.live[k] = seeds.numpy(), 0, True
        self.state[k] = _pick(np.broadcast_to(self.mdp.start, (len(k), self.mdp.states)), self._next_number(k))
        return self._seen(k), [""] * len(k)

    def step(self, slots: Tensor, actions: Tensor) -> Stepped:
        k, a = slots.numpy(), actions.numpy()
        failed = [self._refusal(*pair) for pair in zip(k.tolist(), a.tolist(), strict=True)]
        fine = np.array([not reason for reason in failed], dtype=bool)
        ok, chosen = k[fine], a[fine]
        before = self.state[ok]
        self.t[ok] += 1
        after = _pick(self.mdp.transitions[before, chosen], self._next_number(ok))
        self.state[ok] = after
        reward, ended, cut = np.zeros(len(k)), np.zeros(len(k), dtype=bool), np.zeros(len(k), dtype=bool)
        table = self.mdp.rewards
        reward[fine] = table[before, chosen] if table.ndim == 2 else table[before, chosen, after]
        ended[fine] = self.mdp.terminal[after]
        if self.horizon is not None:
            cut[fine] = (self.t[ok] >= self.horizon) & ~ended[fine]
        self.live[k] &= ~(ended | cut)
        return Stepped(self._seen(k), torch.from_numpy(reward), torch.from_numpy(ended), torch.from_numpy(cut), failed)

    def _refusal(self, slot: int, action: int) -> str:
        if not self.live[slot]:
            return f"slot {slot} is in no episode; reset it first"
        if not 0 <= action < self.mdp.actions:
            return f"action {action} is not one of 0 to {self.mdp.actions - 1}"
        return ""

    def _next_number(self, k: np.ndarray) -> np.ndarray:
        """[k] number t of each slot's stream, in (0, 1]."""
        self._refill(k[self.t[k] % _BLOCK == 0])
        return self._numbers[k, self.t[k] % _BLOCK]

    def _refill(self, k: np.ndarray) -> None:
        block = self.t[k] // _BLOCK
        for b in set(block.tolist()):
            rows = k[block == b]
            stream = Stream(mix("tabular", torch.from_numpy(self.seed[rows])))
            self._numbers[rows] = stream.uniform(_BLOCK, start=b * _BLOCK).numpy()

    def _seen(self, k: np.ndarray) -> Tensor:
        state = torch.from_numpy(self.state[k].clip(min=0))
        return state if self.pictures is None else self.pictures[state]

    def render(self, slot: int) -> np.ndarray | None:
        return None if self.draw is None or self.state[slot] < 0 else self.draw(int(self.state[slot]))

    def snapshot(self, slots: Tensor) -> Sequence[Mapping[str, Any]]:
        """Another ``seed`` in a saved state makes a fork whose future is drawn afresh."""
        return [
            {"state": int(self.state[k]), "seed": int(self.seed[k]), "t": int(self.t[k]), "live": bool(self.live[k])}
            for k in slots.tolist()
        ]

    def restore(self, slots: Tensor, states: Sequence[Mapping[str, Any]]) -> Sequence[str]:
        k = slots.numpy()
        for name in ("state", "seed", "t", "live"):
            getattr(self, name)[k] = [s[name] for s in states]
        self._refill(k)
        return [""] * len(k)

    def close(self) -> None:
        """Nothing is held."""


def _pick(p: np.ndarray, u: np.ndarray) -> np.ndarray:
    """[k] index drawn from each row of p [k, S] by u [k] in (0, 1]: the first whose cumulative probability reaches u."""
    total = p.cumsum(-1)
    return (total < (u * total[:, -1])[:, None]).sum(
        -1
    )  # a share of the row's own sum, so that rounding picks no last state of 0


def check_horizon(name: str, horizon: int | None) -> None:
    """Refuse a time limit that lets nobody take a step."""
    if horizon is not None and horizon < 1:
        raise PlanError(f"{name}: horizon must be at least 1, got {horizon}")


def limit(horizon: int | None) -> str:
    """How a name ends that tells of a time limit."""
    return "" if horizon is None else f", horizon={horizon}"


def _plain(x: Any) -> Any:
    """Arrays and nested sequences as nested tuples of Python numbers."""
    if isinstance(x, np.ndarray | Tensor):
        x = x.tolist()
    if isinstance(x, list | tuple):
        return tuple(_plain(y) for y in x)
    return x.item() if isinstance(x, np.generic) else x
