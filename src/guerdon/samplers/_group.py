"""Group: n samples for each of some contexts, scored while the next ones are drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from guerdon.core import Items, PlanError, RewardOutput, Rollout
from guerdon.core.protocols import Draw
from guerdon.samplers._parts import in_chunks


@dataclass(frozen=True)
class Group:
    """``n`` samples for each of ``contexts`` contexts.

    Args:
        contexts: Contexts per draw.
        n: Samples per context.
        chunk: Contexts sampled at once (None: all). A reward on single rows or groups scores one chunk while the policy samples
            the next. It decides which random numbers a row gets, and nothing
            else. Of pictures, the parts and what they are joined into are held at once.
        controls: How to act: ``max_tokens``, ``temperature``, ``top_p`` ...
    """

    contexts: int = 8
    n: int = 8
    chunk: int | None = None
    controls: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("contexts", "n"):
            if getattr(self, name) < 1:
                raise PlanError(f"Group: {name} must be at least 1, got {getattr(self, name)}")
        if self.chunk is not None and self.chunk < 1:
            raise PlanError(f"Group: chunk must be at least 1, got {self.chunk}")

    def __call__(self, draw: Draw) -> tuple[Rollout, RewardOutput]:
        return sample_and_score(draw, draw.items(self.contexts), self.n, self.controls, self.chunk)


def sample_and_score(
    draw: Draw, items: Items, n: int, controls: Mapping[str, Any], chunk: int | None
) -> tuple[Rollout, RewardOutput]:
    """Rollouts of all items with their rewards; chunks are scored in the background where the reward's scope allows."""
    return in_chunks(draw, items, chunk, lambda part: draw.sample(part, n, **controls))
