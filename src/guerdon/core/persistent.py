"""Persistent: environments that live on between draws, so that a fragment goes on where the last one stopped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from guerdon.core.errors import GuerdonError, RunError
from guerdon.core.guarded import guarded_reset, guarded_step, reason_of
from guerdon.core.streams import mix
from guerdon.core.world import Stepped, World, WorldSpec


class Persistent:
    """An open world with where each slot's episode stands. It is what ``Slot.live`` points to, and a source keeps it.

    Args:
        spec: The world.
        n: Slots.
        seed: Addresses the episodes: number k of slot i always begins from the same seed.

    Attributes:
        observation: [n, ...] present state of every slot.
        running: [n] bool, within an episode; a slot that is not begins one at the next fragment.
        memory: [n, H] of a recurrent policy, None until one acts.
        total: [n] float64 return of the running episode so far.
        length: [n] its steps so far.
        episode: [n] episodes begun so far.
        lost: Slots whose episode could not be put back after a resume, with the reason; they begin a new one.
    """

    def __init__(self, spec: WorldSpec, n: int, seed: int) -> None:
        self.spec, self.n, self.seed = spec, n, seed
        self.space = spec.observation
        self.observation = torch.zeros(n, *self.space.shape, dtype=self.space.dtype)
        self.running = torch.zeros(n, dtype=torch.bool)
        self.memory: Tensor | None = None
        self.total = torch.zeros(n, dtype=torch.float64)
        self.length = torch.zeros(n, dtype=torch.long)
        self.episode = torch.zeros(n, dtype=torch.long)
        self.lost: dict[int, str] = {}
        self._world: World | None = None

    @property
    def world(self) -> World:
        """The open world; it is opened at the first step.

        Raises:
            RunError: where it cannot be opened.
        """
        if self._world is None:
            try:
                self._world = self.spec.open(self.n)
            except GuerdonError:
                raise
            except Exception as e:  # a user's world may raise anything
                raise RunError(f"{self.spec}: cannot be opened: {reason_of(e)}") from e
        return self._world

    def begin(self, slots: Tensor) -> list[str]:
        """Begin the next episode in each slot; [k] why not, ``""`` where it began."""
        observation, failed = guarded_reset(self.world, self.space, slots, self._seeds(slots))
        self.episode[slots] += 1
        self.observation[slots] = observation
        self.running[slots] = torch.tensor([not f for f in failed], dtype=torch.bool)
        self.total[slots], self.length[slots] = 0.0, 0
        if self.memory is not None:
            self.memory[slots] = 0
        return failed

    def step(self, slots: Tensor, actions: Tensor) -> Stepped:
        """One step of each slot, whose episode goes on from what it shows; actions as the world takes them."""
        done = guarded_step(self.world, self.space, slots, actions)
        self.observation[slots] = done.observation
        self.total[slots] += done.reward
        self.length[slots] += 1
        return done

    def _seeds(self, slots: Tensor) -> Tensor:
        return mix(self.seed, "episode", slots, self.episode[slots]) & 0x7FFFFFFF

    def state_dict(self) -> dict[str, Any]:
        running = self.running.nonzero()[:, 0]
        why = f"{self.spec} cannot save its state"
        try:
            saved = self.world.snapshot(running) if len(running) else []
        except Exception as e:  # noqa: BLE001  a user's world may raise anything; a resumed run says why its episodes are lost
            saved, why = None, f"{why}: {reason_of(e)}"
        return {
            "n": self.n, "running": self.running, "observation": self.observation, "memory": self.memory, "total": self.total,
            "length": self.length, "episode": self.episode, "worlds": None if saved is None else list(saved),
            "why": why if saved is None else "",
        }  # fmt: skip

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on as saved; slots whose environment cannot be put back begin a new episode, and ``lost`` says why."""
        for name in ("running", "observation", "memory", "total", "length", "episode"):
            value = state[name]
            setattr(self, name, value.clone() if isinstance(value, Tensor) else value)
        self.lost = {}
        running = self.running.nonzero()[:, 0]
        if not len(running):
            return
        if state["worlds"] is None:
            why = [state["why"]] * len(running)
        else:
            try:
                why = list(self.world.restore(running, state["worlds"]))
            except GuerdonError:
                raise
            except Exception as e:  # noqa: BLE001  as above
                why = [f"restore raised {reason_of(e)}"] * len(running)
        self.lost = {int(k): w for k, w in zip(running, why, strict=True) if w}
        gone = torch.tensor(sorted(self.lost), dtype=torch.long)
        self.running[gone] = False

    def close(self) -> None:
        if self._world is not None:
            self._world.close()
            self._world = None
