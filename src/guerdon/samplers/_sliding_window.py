"""SlidingWindow: a sampler whose noisy steps move from draw to draw."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from guerdon.core import PlanError, RewardOutput, Rollout
from guerdon.core.protocols import Draw
from guerdon.samplers._parts import check_counts


@dataclass(frozen=True)
class SlidingWindow:
    """Noise in ``size`` steps in a row, the others following the ODE; the window moves ``stride`` steps every ``every`` draws.

    Only noisy steps are chosen by the policy, so only they are trained on. It begins at ``first`` (0: pure noise), and where the
    whole window no longer fits before ``last`` it begins anew.

    Args:
        sampler: What is moved: ``Group``, or anything else with ``controls``. The forks of a ``Branch`` move along: its ``at``
            counts from the window's first step here, so that ``Branch(at=(0, 1), n=(2, 2))`` is a tree inside the window.
        steps: Steps of a whole walk; the sampler's control of this name.
        size: Noisy steps.
        stride: Steps from one window to the next.
        every: Draws in one place.
        first: First step of the first window.
        last: Step before which every window ends (None: ``steps``). The last step of most chains has no noise in any case:
            ``steps - 1`` leaves it out.

    Raises:
        PlanError: for a window that does not fit, or a sampler whose own controls set one.

    Example:
        >>> from guerdon.samplers import Group
        >>> window = SlidingWindow(Group(contexts=4, n=12), steps=25, size=4, every=25)  # MixGRPO's setting
        >>> [window.window(draw) for draw in (0, 24, 25, 24 * 25, 22 * 25)]
        [(0, 4), (0, 4), (1, 4), (2, 4), (0, 4)]

    Source: MixGRPO (arXiv:2507.21802).
    """

    sampler: Any
    steps: int
    size: int = 4
    stride: int = 1
    every: int = 25
    first: int = 0
    last: int | None = None

    def __post_init__(self) -> None:
        check_counts("SlidingWindow", steps=self.steps, size=self.size, stride=self.stride, every=self.every)
        if not hasattr(self.sampler, "controls"):
            raise PlanError(f"SlidingWindow moves a sampler with controls, and {type(self.sampler).__name__} has none")
        if taken := {"steps", "window"} & set(self.sampler.controls):
            raise PlanError(
                f"SlidingWindow sets {sorted(taken)[0]!r}; take it out of the controls of {type(self.sampler).__name__}"
            )
        if not 0 <= self.first <= self.first + self.size <= self._end <= self.steps:
            raise PlanError(f"SlidingWindow: {self.size} steps do not fit from step {self.first} to {self._end} of {self.steps}")

    @property
    def _end(self) -> int:
        return self.steps if self.last is None else self.last

    @property
    def controls(self) -> Mapping[str, Any]:
        """How an evaluation samples: as many steps; which of them are noisy is its own choice."""
        return {**self.sampler.controls, "steps": self.steps}

    @property
    def walks(self) -> bool:
        """Whether the sampler goes step by step."""
        return bool(getattr(self.sampler, "walks", False))

    @property
    def exact_logp(self) -> bool:
        """Whether rows come with the log-probs of the policy that acted."""
        return bool(getattr(self.sampler, "exact_logp", True))

    def window(self, draw: int) -> tuple[int, int]:
        """(first step, how many) that are noisy in a draw, counted from 0."""
        places = (self._end - self.first - self.size) // self.stride + 1
        return self.first + draw // self.every % places * self.stride, self.size

    def __call__(self, draw: Draw) -> tuple[Rollout, RewardOutput]:
        window = self.window(draw.step)
        changes: dict[str, Any] = {"controls": {**self.controls, "window": window}}
        if hasattr(self.sampler, "at"):
            changes["at"] = tuple(window[0] + a for a in self.sampler.at)
        moved = dataclasses.replace(self.sampler, **changes)
        rollout, reward = moved(draw)
        return rollout, reward
