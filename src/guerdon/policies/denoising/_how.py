"""How a chain is walked: what a sampler may choose, and what a replay must know of it."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor

from guerdon.core.errors import DataError, PlanError, nearest
from guerdon.core.rollout import Behaviour
from guerdon.policies.denoising._kernels import DDIM, Kernel

Weight = Literal["elbo", "simple"]


@dataclass(frozen=True)
class Bound:
    """How given outputs were turned into rows: which weight their levels have, and how many each row has."""

    weight: Weight
    draws: int = 1

    def __post_init__(self) -> None:
        if self.weight not in ("elbo", "simple") or self.draws < 1:
            raise PlanError(
                f"rollout_from: expected weight 'elbo' or 'simple' and draws of at least 1, got {self.weight!r} and {self.draws}"
            )


@dataclass(frozen=True)
class How:
    """Settings of one sampling run; ``extra`` is how ``Behaviour`` keeps them.

    Args:
        steps: Levels from noise to data.
        kernel: The sampler, one of ``kernels``.
        guidance: Weight of the condition against none: 1: as it is.
        window: (first level, number of levels) that are noisy; the others are deterministic. None: all are noisy.
        level: Level that the rows begin at, 0: noise.
    """

    kernels: ClassVar[Any] = Kernel  # what may be a kernel
    still: ClassVar[Any] = DDIM(0.0)  # the one without noise

    steps: int
    kernel: Any = None
    guidance: float = 1.0
    window: tuple[int, int] | None = None
    level: int = 0

    def __post_init__(self) -> None:
        given: dict[str, Any] = {"steps": self.steps, "level": self.level}
        for name, value in given.items():
            if not isinstance(value, int) or isinstance(value, bool):
                raise PlanError(f"{name} must be a whole number, got {value!r}")
        if self.steps < 1:
            raise PlanError(f"steps must be at least 1, got {self.steps}")
        strength: Any = self.guidance
        if not isinstance(strength, int | float) or not math.isfinite(strength):
            raise PlanError(f"guidance must be a finite number, got {strength!r}")
        if not 0 <= self.level < self.steps:
            raise PlanError(f"level must be from 0 (noise) to {self.steps - 1}, got {self.level}")
        if self.window is not None:
            window: Any = self.window
            window = tuple(window) if isinstance(window, list) else window
            object.__setattr__(self, "window", window)
            whole = isinstance(window, tuple) and len(window) == 2 and all(isinstance(w, int) for w in window)
            if not (whole and 0 <= window[0] < self.steps and 1 <= window[1] <= self.steps - window[0]):
                raise PlanError(f"window is (first level, how many) among {self.steps} steps, got {window!r}")
        if self.kernel is not None and not isinstance(self.kernel, self.kernels):
            raise PlanError(f"kernel is {self.kernel!r}; expected one such as {self.still!r}")

    def changed(self, asked_by: str, **controls: Any) -> How:
        """With some settings replaced; None leaves one as it is.

        Raises:
            PlanError: for an unknown control, with the nearest known one.
        """
        deterministic = controls.pop("deterministic", False)
        known = [f.name for f in dataclasses.fields(self)]
        for name in controls:
            if name not in known:
                raise PlanError(f"{asked_by}: no control {name!r}; {nearest(name, [*known, 'deterministic', 'outputs'])}")
        if deterministic:
            controls["kernel"] = self.still
        return dataclasses.replace(self, **{k: v for k, v in controls.items() if v is not None})

    @property
    def extra(self) -> tuple[tuple[str, Any], ...]:
        """What a replay must know, as sorted (name, value) pairs. Rows themselves say which of their steps were noisy."""
        return (("guidance", self.guidance), ("kernel", self.kernel), ("steps", self.steps))

    @classmethod
    def of(cls, behaviour: Behaviour) -> tuple[How, Bound | None]:
        """The settings that ``behaviour`` keeps, and those of the bound where rows were given.

        Raises:
            DataError: where another kind of policy acted.
        """
        kept = dict(behaviour.extra)
        try:
            how = cls(kept["steps"], kept["kernel"], kept["guidance"])
        except KeyError as e:
            who = behaviour.policy or "an unknown policy"
            raise DataError(f"rows of {who!r} do not say their {e.args[0]}: no denoising policy walked them") from None
        return how, Bound(kept["bound"], kept["draws"]) if "bound" in kept else None

    def kernel_at(self, level: Tensor) -> Any:
        """The sampler of a level; outside the window, the ODE."""
        if self.window is None or not len(level) or self.window[0] <= int(level[0]) < sum(self.window):
            return self.kernel
        return self.still
