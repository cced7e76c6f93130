"""Replay: a source that remembers the transitions of its draws."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from guerdon.core import Batch, Items, PlanError, Rollout, Streams
from guerdon.core.batch import rewards
from guerdon.run.sources._memory import Memory


@dataclass(frozen=True)
class Replay:
    r"""Fresh items of another source, and a memory of what became of them that off-policy learners draw from.

    Every chosen step of a draw is stored as a transition when the draw is over, with its reward after the plan's transforms;
    rows that failed are not. The oldest give way to the newest. Each observation is stored once, as the world gave it (pixels
    as uint8), so that a transition takes about ``observation + action + 29`` bytes, and one more observation for every piece
    that does not go on where an earlier one of its slot stopped. The memory is part of every checkpoint, and a resumed run
    draws the same transitions. Memory is reserved at the first draw and used as it fills.

    Args:
        of: Where fresh items come from, such as ``run.Fragments(world)``.
        capacity: Transitions.

    Example:
        >>> from guerdon.run import Fragments, Replay
        >>> from guerdon.worlds import GridWorld
        >>> memory = Replay(Fragments(GridWorld("corridor")), capacity=1000).open(seed=0)
        >>> len(memory)
        0

    Source: experience replay, Lin 1992; DQN (arXiv:1312.5602).
    """

    of: Any
    capacity: int = 100_000

    def __post_init__(self) -> None:
        if not hasattr(self.of, "open") and not hasattr(self.of, "draw"):
            raise PlanError(f"Replay: expected a source of fresh items such as run.Fragments(world), got {self.of!r}")
        if self.capacity < 1:
            raise PlanError(f"Replay: capacity must be at least 1, got {self.capacity}")

    def open(self, seed: int = 0, folder: str | Path | None = None) -> LiveReplay:
        return LiveReplay(self.of.open(seed) if hasattr(self.of, "open") else self.of, self.capacity)


class LiveReplay:
    """``Replay`` at work."""

    def __init__(self, of: Any, capacity: int) -> None:
        self.of, self.memory = of, Memory(capacity)

    def __len__(self) -> int:
        """Transitions that can be drawn."""
        return len(self.memory)

    @property
    def lost(self) -> dict[int, str]:
        """As the inner source has it."""
        return getattr(self.of, "lost", {})

    def draw(self, n: int, *, streams: Streams) -> Items:
        """Fresh items."""
        return self.of.draw(n, streams=streams)

    def tell(self, batch: Batch) -> None:
        """Store a draw's transitions.

        Raises:
            PlanError: where the rows have no states.
        """
        rollout = batch.rollout.to("cpu")
        if rollout.states is None:
            raise PlanError(
                "Replay stores transitions between states, and these rows have none; take run.Fragments or run.Episodes"
            )
        self.memory.add(rollout, rewards(batch).cpu(), batch.reward.ok.cpu())
        self.of.tell(batch)

    def sample(self, n: int, *, streams: Streams, policy: Any = None, steps: int = 1, gamma: float = 1.0) -> Rollout:
        """``n`` transitions at random, with replacement, as rows of one step: ``states`` [n, 2, ...], ``actions`` [n, 1, ...].

        Args:
            n: How many.
            streams: Where the randomness comes from.
            policy: Whose rows these are; they are stored in its form already.
            steps: Environment steps that a transition spans, at most: its reward is their discounted sum, its next state the last
                one's. Their actions are those of older policies, which one-step transitions never assume anything about.
            gamma: Discount of a step.

        Returns:
            Rows with ``trace["reward"]`` and ``trace["discount"]`` [n, 1]; ``terminal`` where nothing comes after the next state.
        """
        return self.memory.sample(n, streams, steps, gamma)

    def state_dict(self) -> dict[str, Any]:
        inner = self.of.state_dict() if hasattr(self.of, "state_dict") else None
        return {"of": inner, "memory": self.memory.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if state["of"] is not None:
            self.of.load_state_dict(state["of"])
        self.memory.load_state_dict(state["memory"])
        for slot in self.lost:  # it begins a new episode, which does not go on from the old one
            self.memory.open.pop(slot, None)

    def close(self) -> None:
        if hasattr(self.of, "close"):
            self.of.close()
