"""What a consistency model learns from: a teacher's steps along its paths, or the data alone."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from guerdon.core import PlanError, Streams
from guerdon.policies.denoising._how import How
from guerdon.policies.denoising._kernels import DDIM

if TYPE_CHECKING:
    from guerdon.policies.denoising._chain import GaussianDenoising
    from guerdon.policies.denoising.consistency import Consistency


@dataclass(frozen=True)
class Distillation:
    r"""How a consistency model is drawn to agree with itself along a path.

    For data $x_0$ noised to a random level $t$ of ``points`` and the level $u$ after it, the loss is
    $d\left(f_\theta(x_t, t), f_{\bar\theta}(x_u, u)\right)$ where $x_u$ is the teacher's step along the ODE, $\bar\theta$ an
    average of the weights, and $d$ the pseudo-Huber distance: the mean over dimensions of $\sqrt{\delta^2 + h^2} - h$. Without
    a teacher $x_u$ is the same data with the same noise at level $u$ (consistency training), which is right only as the levels
    lie close together.

    Args:
        points: Levels of the path.
        guidance: Of the teacher; its effect becomes part of the map.
        huber: $h$; small: absolute differences, large: squared ones.
        ema: Share of the average that an update keeps.

    Example:
        >>> Distillation(points=1)
        Traceback (most recent call last):
        ...
        guerdon.core.errors.PlanError: Distillation: points must be at least 2, got 1

    Sources: consistency models (arXiv:2303.01469), LCM (arXiv:2310.04378); pseudo-Huber distance (arXiv:2310.14189).
    """

    points: int = 50
    guidance: float = 1.0
    huber: float = 1e-3
    ema: float = 0.95

    def __post_init__(self) -> None:
        if self.points < 2:
            raise PlanError(f"Distillation: points must be at least 2, got {self.points}")
        if not (math.isfinite(self.huber) and self.huber > 0):
            raise PlanError(f"Distillation: huber must be above 0, got {self.huber}")
        if not 0 <= self.ema < 1:
            raise PlanError(f"Distillation: ema must be at least 0 and below 1, got {self.ema}")


class Distiller:
    """A ``Distillation`` at work: the student, its teacher, and the average that is the target.

    Args:
        student: What is trained.
        teacher: Whose path is followed; None: consistency training.
        spec: How.

    Raises:
        PlanError: for a teacher whose states or schedule are not the student's.
    """

    def __init__(self, student: Consistency, teacher: GaussianDenoising | None, spec: Distillation) -> None:
        if teacher is not None and (teacher.shape, teacher.schedule) != (student.shape, student.schedule):
            raise PlanError(
                f"the student walks states of shape {student.shape} along {student.schedule}, its teacher {teacher.shape} along "
                f"{teacher.schedule}: make it with policies.Consistency.like(teacher)"
            )
        self.student, self.teacher, self.spec = student, teacher, spec
        self.target = copy.deepcopy(student).requires_grad_(False)
        self.levels = student.levels(spec.points)

    def loss(self, contexts: Sequence[Any], data: Tensor, streams: Streams, uid: Tensor) -> Tensor:
        """[N] distances of the rows, with gradients to the student.

        Args:
            contexts: [N] what was asked.
            data: [N, *shape] final states.
            streams: For levels and noise.
            uid: [N] identities that the levels and the noise belong to.
        """
        level = streams("level", uid).integers(self.spec.points, 1)[:, 0]
        here, there = self.levels.at(level), self.levels.at(level + 1)
        how = How(self.spec.points, DDIM(0.0), self.spec.guidance)
        state = self.student.noised(contexts, data, level, how, streams, uid)
        with torch.no_grad():
            if self.teacher is None:
                after = self.student.noised(contexts, data, level + 1, how, streams, uid)
            else:
                asked = self.teacher.ask(contexts, how)
                after = self.teacher.proposal(state.to(self.teacher.dtype), level, asked, how).mean.to(state)
            plain = How(self.spec.points)
            goal = self.target.mapped(after, there, self.target.ask(contexts, plain))
        gap = self.student.mapped(state, here, self.student.ask(contexts, plain)) - goal
        return ((gap.square() + self.spec.huber**2).sqrt() - self.spec.huber).flatten(1).mean(1)

    @torch.no_grad()
    def follow(self) -> None:
        """Move the average, after an update."""
        for ours, theirs in zip(self.target.parameters(), self.student.parameters(), strict=True):
            ours.lerp_(theirs.to(ours), 1 - self.spec.ema)
        for kept, live in zip(self.target.buffers(), self.student.buffers(), strict=True):
            kept.copy_(live)

    def state_dict(self) -> dict[str, Any]:
        return {n: p.detach().clone() for n, p in self.target.named_parameters()}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name, ours in self.target.named_parameters():
            ours.copy_(state[name])
