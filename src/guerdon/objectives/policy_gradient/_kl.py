"""KL: the distance to a reference as a part of the loss."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import get_args

from torch import Tensor

from guerdon.core.errors import PlanError, nearest
from guerdon.core.stats import Estimator, kl_estimate


@dataclass(frozen=True)
class KL:
    r"""Adds $\beta\,\widehat{\mathrm{KL}}(\pi_\theta \| \pi_{\mathrm{ref}})$ at every step, with gradients through the estimate.

    What is differentiated matters, not only what is estimated: on fresh samples the expected gradient of ``"k1"`` is 0 (it
    measures and does nothing), that of ``"k2"`` is the gradient of the reverse KL, that of ``"k3"`` is the gradient of the
    forward KL, which GRPO uses.

    Args:
        beta: Price in reward units per nat; above 0.
        estimator: ``"k1"`` $\ell$, ``"k2"`` $\ell^2/2$, ``"k3"`` $e^{-\ell} - 1 + \ell$, with
            $\ell = \log \pi_\theta - \log \pi_{\mathrm{ref}}$.
        reference: Which of ``batch.refs``.
        corrected: Multiply by the ratio to the policy that acted, so that stale samples estimate the new policy's KL.

    Example:
        >>> import torch
        >>> KL(beta=2.0, estimator="k2").penalty(torch.tensor(-0.5), torch.tensor(-1.0), torch.tensor(1.0)).item()
        0.25

    Source: GRPO (arXiv:2402.03300).
    """

    beta: float = 0.04
    estimator: Estimator = "k3"
    reference: str = "reference"
    corrected: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.beta) and self.beta > 0):
            raise PlanError(f"KL: beta must be above 0, got {self.beta}; for no penalty set kl to None")
        if self.estimator not in get_args(Estimator):
            raise PlanError(f"KL: estimator is {self.estimator!r}; {nearest(self.estimator, get_args(Estimator))}")

    def penalty(self, logp: Tensor, reference: Tensor, ratio: Tensor) -> Tensor:
        """[B, T] penalty at every step, given log-probs under both and the ratio."""
        kl = kl_estimate(logp - reference, self.estimator)
        return self.beta * (kl * ratio if self.corrected else kl)
