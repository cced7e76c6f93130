"""Consistency: a few steps, each from noise straight to the data and part of the way back."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from guerdon.core import Items, PlanError, Streams
from guerdon.policies.denoising._asked import Asked
from guerdon.policies.denoising._chain import GaussianDenoising
from guerdon.policies.denoising._distillation import Distillation, Distiller
from guerdon.policies.denoising._how import How
from guerdon.policies.denoising._kernels import Kernel, Renoise
from guerdon.policies.denoising._levels import Cosine, Levels, Noise
from guerdon.policies.denoising._predictions import Predict
from guerdon.policies.denoising.networks import UNet

_DATA = 0.5  # deviation of the data that c_skip and c_out reckon with (arXiv:2303.01469, arXiv:2310.04378)


class Consistency(GaussianDenoising):
    r"""A map $f(x_t, t)$ to the data at the end of $x_t$'s path, $f(x_t, t) = c_\mathrm{skip} x_t + c_\mathrm{out} F(x_t, t)$.

    A chain maps to the data, adds noise of the next level, and maps again: $x_u \sim \mathcal{N}(a_u f(x_t, t), s_u^2 I)$. So
    every step but the last is a Gaussian choice with an exact log-prob, and two to eight steps are a whole chain.

    With $c_\mathrm{skip}$ and $c_\mathrm{out}$, $f(x, 0) = x$ whatever the network says. For a network that predicts the
    velocity, the flow or the noise, the data that follows from it is of this form already; for one that predicts the data,
    $c_\mathrm{skip} = d^2 a^2 / (s^2 + d^2 a^2)$ and $c_\mathrm{out} = s / \sqrt{s^2 + d^2 a^2}$ with $d = 0.5$.

    Example:
        >>> from guerdon.core import Items, Streams
        >>> from guerdon.policies.denoising import DenoiserMLP
        >>> policy, streams = Consistency.of((2,), network=DenoiserMLP((16,)), steps=3), Streams(0)
        >>> rollout = policy.sample(Items(["anything"], streams.uids(1)), 2, streams=streams)
        >>> rollout.states.shape, rollout.mask[0].tolist()
        (torch.Size([2, 4, 2]), [True, True, False])

    Sources: consistency models (arXiv:2303.01469), LCM (arXiv:2310.04378), their steps as a decision process: RLCM
    (arXiv:2404.03673).
    """

    kind: ClassVar[str] = "consistency"
    predictions: ClassVar[tuple[Predict, ...]] = ("velocity", "flow", "noise", "data")

    @classmethod
    def of(
        cls,
        shape: Sequence[int],
        *,
        network: Any = UNet(),
        condition: Any = None,
        noise: Noise = Cosine(),
        predict: Predict = "velocity",
        kernel: Kernel = Renoise(),
        steps: int = 4,
        guidance: float = 1.0,
        clip: float | None = None,
        seed: int = 0,
        dtype: Literal["float32", "float64"] = "float32",
    ) -> Consistency:
        """A new model with fresh weights; ``run.Distil`` trains it.

        Args:
            shape: Of a sample: (channels, height, width), (frames, channels, height, width), or (numbers,).
            network: ``UNet`` or ``DenoiserMLP``.
            condition: What contexts are: ``Labels``, ``Words`` or ``Edits``; None: nothing is asked.
            noise: ``Cosine``, ``Linear`` or ``Straight``; a student's is its teacher's.
            predict: What the network's output stands for. ``"noise"`` divides by what is left of the data at the first level.
            kernel: ``Renoise()``.
            steps: Of a chain.
            guidance: Weight of the condition against none; 1: as it is. Guidance of the teacher is distilled into the map.
            clip: Foreseen data is kept in [-clip, clip]; None: not.
            seed: Of the weights.
            dtype: Number format.

        Raises:
            PlanError: for parts that do not fit each other.
        """
        return cls._built(
            shape, network, condition, seed, dtype, noise=noise, predict=predict, kernel=kernel, steps=steps,
            guidance=guidance, clip=clip,
        )  # fmt: skip

    @classmethod
    def like(cls, teacher: GaussianDenoising, *, steps: int = 4, predict: Predict | None = None) -> Consistency:
        """A student with a copy of its teacher's weights, schedule and conditions, before any distillation.

        Args:
            teacher: A ``Diffusion`` or ``Flow``.
            steps: Of the student's chains.
            predict: What its network's output stands for; None: as the teacher's, but ``"velocity"`` for the noise, from which
                the data cannot be told at the noisiest level.
        """
        chosen: Predict = predict or ("velocity" if teacher.predict == "noise" else teacher.predict)
        return cls(
            teacher.shape, copy.deepcopy(teacher.network), copy.deepcopy(teacher.condition), noise=teacher.schedule,
            predict=chosen, kernel=Renoise(), steps=steps, clip=teacher.clip, spec=teacher.spec,
        )  # fmt: skip

    @classmethod
    def distilled_from(
        cls,
        teacher: GaussianDenoising,
        items: Items,
        outputs: Sequence[Any] | Tensor,
        *,
        streams: Streams,
        student: Consistency | None = None,
        steps: int = 4,
        updates: int = 1000,
        batch: int = 128,
        lr: float = 1e-3,
        spec: Distillation = Distillation(),
    ) -> Consistency:
        """A student of a trained teacher, in one call; within a plan, ``run.Distil`` does the same.

        Args:
            teacher: A ``Diffusion`` or ``Flow``.
            items: What was asked for the data.
            outputs: [len(items)] data: what the teacher was trained on, or samples of its own.
            streams: Where all randomness comes from.
            student: To begin with; None: ``Consistency.like(teacher)``.
            steps: Of the student's chains.
            updates: Optimiser steps of AdamW, whose rate falls to 0 over the second half of them.
            batch: Rows of an update, drawn with replacement.
            lr: Learning rate.
            spec: Points of the path, guidance, loss and the average that is the target.

        Returns:
            The average of the student's weights.
        """
        pupil = student or cls.like(teacher, steps=steps)
        distiller = Distiller(pupil, teacher, spec)
        trained = [p for p in pupil.parameters() if p.requires_grad] or list(pupil.requires_grad_(True).parameters())
        optimizer = torch.optim.AdamW(trained, lr, weight_decay=0.0)
        data = pupil.encoded(outputs)
        for k in range(updates):
            optimizer.param_groups[0]["lr"] = lr * min(1.0, 2 * (1 - k / updates))
            fork = streams.fork("distil", k)
            rows = fork("rows").integers(len(items), batch)[0]
            loss = distiller.loss([items.contexts[i] for i in rows.tolist()], data[rows], fork, fork.uids(batch)).mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            distiller.follow()
        return distiller.target.requires_grad_(True)

    def distiller(self, teacher: GaussianDenoising | None, spec: Distillation | None = None) -> Distiller:
        """What trains this model; ``run.Distil`` asks for it."""
        return Distiller(self, teacher, spec or Distillation())

    def mapped(self, state: Tensor, here: Levels, asked: Asked, guidance: float = 1.0) -> Tensor:
        """[N, *shape] f of the rows: the data at the end of their paths."""
        said = self.predicted(state, here.time, asked, guidance)
        skip, out = (c.to(state).reshape(-1, *[1] * (state.dim() - 1)) for c in boundary(self.predict, here))
        data = skip * state + out * said
        return data if self.clip is None else data.clamp(-self.clip, self.clip)

    def foreseen(self, state: Tensor, here: Levels, asked: Asked, guidance: float) -> tuple[Tensor, Tensor]:
        """([N, *shape] data, [N, *shape] noise that leads from it to the rows)."""
        data = self.mapped(state, here, asked, guidance)
        a, s = (c.to(state).reshape(-1, *[1] * (state.dim() - 1)) for c in (here.a, here.s))
        return data, (state - a * data) / s

    def bound(self, state: Tensor, data: Tensor, level: Tensor, asked: Asked, how: How, weight: str) -> Tensor:
        """A map to the end of a path is no mean over where it may end, so it has no denoising bound."""
        raise PlanError("Consistency has no denoising bound on given outputs: run.Distil trains it on them, and objectives over "
                        "log-probs on its own samples")  # fmt: skip


def boundary(predict: Predict, here: Levels) -> tuple[Tensor, Tensor]:
    """([N] c_skip, [N] c_out) float64 at levels: 1 and 0 where no noise is left.

    >>> from guerdon.policies.denoising._levels import Straight
    >>> [boundary(p, Straight().levels(2).at(torch.tensor([2]))) == (1, 0) for p in ("velocity", "flow", "noise", "data")]
    [True, True, True, True]
    """
    a, s = here.a, here.s
    if predict == "data":
        both = s.square() + (_DATA * a).square()
        return (_DATA * a).square() / both, s / both.sqrt()
    return {"velocity": (a, -s), "flow": (torch.ones_like(a), -s), "noise": (1 / a, -s / a)}[predict]
