"""An open PointMaze: n points that are moved together, in numpy."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from guerdon.core.streams import Stream, mix
from guerdon.core.world import Stepped
from guerdon.worlds._maze_grid import Bools, Floats, Ints
from guerdon.worlds._maze_picture import Camera, picture

if TYPE_CHECKING:
    from guerdon.worlds.point_maze import PointMaze

_BLOCK = 64  # steps whose noise is drawn together
_TRAIL = 512  # last positions that a picture shows
_STATE = {"position": 2, "velocity": 2, "seed": None, "steps": None, "goal": None}  # of a snapshot; how many numbers


class OpenMaze:
    """``PointMaze.open(n)``; state is an array for each quantity, one row per slot."""

    def __init__(self, spec: PointMaze, n: int):
        self.spec, self.n, self.grid = spec, n, spec.grid
        self.position: Floats = np.zeros((n, 2))
        self.velocity: Floats = np.zeros((n, 2))
        self.seed: Ints = np.zeros(n, dtype=np.int64)
        self.steps: Ints = np.zeros(n, dtype=np.int64)
        self.wanted: Ints = np.zeros(n, dtype=np.int64)  # which goal counts; -1: any
        self.far: Floats = np.zeros(n)  # cells to the goal, where progress is paid
        self.live = np.zeros(n, dtype=bool)
        self._noise: Floats = np.zeros((n, _BLOCK, 2))
        self._block: Ints = np.full(n, -1)  # which block of the episode ``_noise`` holds
        self._trail = np.zeros((n, _TRAIL, 2), dtype=np.float32)
        self._since: Ints = np.zeros(n, dtype=np.int64)  # step at which the trail begins
        self._half = max(self.grid.width, self.grid.height) / 2
        self._middle = np.array([self.grid.width, self.grid.height]) / 2
        self._camera = Camera(self.grid, spec.pixels, spec.goal_radius) if spec.pixels else None

    def reset(self, slots: Tensor, seeds: Tensor) -> tuple[Tensor, Sequence[str]]:
        s, grid = slots.numpy(), self.grid
        u = Stream(mix(seeds.reshape(-1), "start")).uniform(4).numpy()
        cell = np.minimum((u[:, 0] * len(grid.starts)).astype(np.int64), len(grid.starts) - 1)
        self.position[s] = grid.starts[cell] + (2 * u[:, 1:3] - 1) * self.spec.spread
        self.velocity[s], self.seed[s], self.steps[s], self.live[s] = 0.0, seeds.numpy(), 0, True
        drawn = np.minimum((u[:, 3] * grid.goals).astype(np.int64), grid.goals - 1)
        one = grid.names.index(self.spec.goal) if self.spec.goal in grid.names else -1
        self.wanted[s] = drawn if self.spec.goal == "drawn" else one
        self._begin(s)
        return self._observe(s), [""] * len(s)

    def _begin(self, s: Ints) -> None:
        """What follows from a slot's state, after a reset or a restore."""
        self._block[s] = -1
        self._since[s] = self.steps[s]
        self._trail[s, self.steps[s] % _TRAIL] = self.position[s]
        self.far[s] = self._distance(self.position[s], self.wanted[s])

    def _distance(self, position: Floats, wanted: Ints) -> Floats | float:
        if self.spec.reward == "sparse":
            return 0.0
        measure = self.grid.straight if self.spec.reward == "straight" else self.grid.distance
        return measure(position, wanted)

    def step(self, slots: Tensor, actions: Tensor) -> Stepped:
        s, push = slots.numpy(), actions.detach().numpy().astype(np.float64)
        finite = np.isfinite(push).all(1)
        good = finite & self.live[s]
        if good.all():
            return self._stepped(s, self._move(s, push), [""] * len(s))
        whole = np.zeros(len(s)), np.zeros(len(s), dtype=bool), np.zeros(len(s), dtype=bool)
        for all_, some in zip(whole, self._move(s[good], push[good]), strict=True):
            all_[good] = some
        self.live[s[~good]] = False
        failed = ["" if g else "the episode has ended; reset the slot" if f else "the action is not finite"
                  for g, f in zip(good.tolist(), np.asarray(finite).tolist(), strict=True)]  # fmt: skip
        return self._stepped(s, whole, failed)

    def _move(self, s: Ints, push: Floats) -> tuple[Floats, Bools, Bools]:
        """([k] reward, [k] terminated, [k] truncated) of points pushed [k, 2]."""
        spec, grid = self.spec, self.grid
        if spec.noise:
            push = push + spec.noise * self._noise_of(s)
        velocity = spec.speed * np.minimum(np.maximum(push, -1.0), 1.0)
        if spec.inertia:
            velocity = spec.inertia * self.velocity[s] + (1 - spec.inertia) * velocity
        position, hit, crashed = grid.move(self.position[s], velocity)
        self.position[s] = position
        if spec.inertia:
            self.velocity[s] = np.where(hit | crashed[:, None], 0.0, velocity)
        self.steps[s] += 1
        steps, wanted = self.steps[s], self.wanted[s]
        self._trail[s, steps % _TRAIL] = position
        there = grid.goal(position, wanted, spec.goal_radius) & ~crashed
        reward = there + spec.crash * crashed
        if spec.reward != "sparse":
            far = self._distance(position, wanted)
            reward += self.far[s] - far
            self.far[s] = far
        terminated = crashed | there if spec.terminates else crashed
        cut_off = ~terminated & (steps >= (math.inf if spec.horizon is None else spec.horizon))
        self.live[s] = ~(terminated | cut_off)
        return reward, terminated, cut_off

    def _stepped(self, s: Ints, told: tuple[Floats, Bools, Bools], failed: Sequence[str]) -> Stepped:
        reward, terminated, truncated = (torch.from_numpy(a) for a in told)
        return Stepped(self._observe(s), reward, terminated, truncated, failed)

    def _noise_of(self, s: Ints) -> Floats:
        """[k, 2] standard normal numbers of the episode's own stream, by its seed and step."""
        block = self.steps[s] // _BLOCK
        for at in np.unique(block[self._block[s] != block]):
            stale = s[(block == at) & (self._block[s] != at)]
            stream = Stream(mix(torch.from_numpy(self.seed[stale]), "noise"))
            self._noise[stale] = stream.normal(2 * _BLOCK, 2 * _BLOCK * int(at)).numpy().reshape(-1, _BLOCK, 2)
            self._block[stale] = at
        return self._noise[s, self.steps[s] % _BLOCK]

    def _observe(self, s: Ints) -> Tensor:
        if self._camera is not None:
            return torch.from_numpy(self._camera(self.position[s], self.wanted[s]))
        parts = [(self.position[s] - self._middle) / self._half]
        if self.spec.inertia:
            parts.append(self.velocity[s] / self.spec.speed)
        if self.spec.goal == "drawn":
            parts.append((self.grid.goal_middles[self.wanted[s]] - self._middle) / self._half)
        seen = np.concatenate(parts, 1) if len(parts) > 1 else parts[0]
        return torch.from_numpy(seen.astype(np.float32))

    def render(self, slot: int) -> NDArray[np.uint8]:
        """[H, W, 3] the maze from above: walls, obstacles, goals, where the episode went and where the point is now.

        The trail of a slot begins at its last reset or restore, and shows at most its last 512 steps.
        """
        last = int(self.steps[slot])
        first = max(int(self._since[slot]), last - _TRAIL + 1)
        trail = self._trail[slot, np.arange(first, last + 1) % _TRAIL].astype(np.float64)
        return picture(self.grid, int(self.wanted[slot]), trail, self.spec.goal_radius)

    def snapshot(self, slots: Tensor) -> Sequence[Mapping[str, Any]]:
        return [
            {"position": self.position[k].tolist(), "velocity": self.velocity[k].tolist(), "seed": int(self.seed[k]),
             "steps": int(self.steps[k]), "goal": int(self.wanted[k]), "live": bool(self.live[k])}
            for k in slots.tolist()
        ]  # fmt: skip

    def restore(self, slots: Tensor, states: Sequence[Mapping[str, Any]]) -> Sequence[str]:
        why = [self._unfit(state) for state in states]
        for k, state, reason in zip(slots.tolist(), states, why, strict=True):
            self.live[k] = not reason and state["live"]
            if not reason:
                self.position[k], self.velocity[k] = state["position"], state["velocity"]
                self.seed[k], self.steps[k], self.wanted[k] = state["seed"], state["steps"], state["goal"]
        self._begin(slots.numpy()[[not reason for reason in why]])
        return why

    def _unfit(self, state: Mapping[str, Any]) -> str:
        """Why a saved state cannot be one of this maze."""
        if missing := sorted({*_STATE, "live"} - set(state)):
            return f"the saved state has no {missing[0]!r}"
        x, y = state["position"]
        if not (0 <= x <= self.grid.width and 0 <= y <= self.grid.height):
            return f"the saved position ({x:.3g}, {y:.3g}) is outside the maze"
        if self.grid.solid[self.grid.cell(np.array([[x, y]]))[0]]:
            return f"the saved position ({x:.3g}, {y:.3g}) is in a wall of this maze"
        if not -1 <= state["goal"] < self.grid.goals:
            return f"the saved goal {state['goal']} is none of this maze"
        return ""

    def close(self) -> None:
        """Nothing is held."""
