"""How weights move: the optimiser and its learning-rate schedule as one small record."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from guerdon.core.errors import PlanError


@dataclass(frozen=True)
class AdamW:
    """AdamW (arXiv:1711.05101) with warm-up and decay over the run.

    Args:
        lr: Peak learning rate.
        betas: Decay of the two moments.
        eps: Added to the denominator.
        weight_decay: Decoupled decay.
        warmup: Fraction of the run over which the rate rises linearly.
        decay: How it falls afterwards.
    """

    lr: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    warmup: float = 0.0
    decay: Literal["constant", "linear", "cosine"] = "constant"

    def __post_init__(self) -> None:
        if not self.lr >= 0:
            raise PlanError(f"AdamW: lr must be at least 0, got {self.lr}")
        if not 0 <= self.warmup < 1:
            raise PlanError(f"AdamW: warmup is a fraction of the run, at least 0 and below 1, got {self.warmup}")

    def build(self, parameters: Sequence[torch.nn.Parameter]) -> torch.optim.Optimizer:
        # not fused: that moves weights without counting their versions, which tell a learned reward that it has changed
        return torch.optim.AdamW(parameters, self.lr, self.betas, self.eps, self.weight_decay, foreach=True)

    def rate(self, progress: float) -> float:
        """Learning rate at ``progress`` (0..1) of the run.

        >>> [round(AdamW(lr=1.0, warmup=0.5, decay="linear").rate(p), 2) for p in (0.0, 0.25, 0.5, 0.75)]
        [0.0, 0.5, 1.0, 0.5]
        """
        if progress < self.warmup:
            return self.lr * progress / self.warmup
        rest = (progress - self.warmup) / (1 - self.warmup)
        fall = {"constant": 1.0, "linear": 1 - rest, "cosine": 0.5 * (1 + math.cos(math.pi * rest))}[self.decay]
        return self.lr * fall


def optimizer_state(optimizer: torch.optim.Optimizer, names: Sequence[str]) -> dict[str, Any]:
    """The moments by parameter name."""
    parameters = [p for g in optimizer.param_groups for p in g["params"]]
    return {n: dict(optimizer.state[p]) for n, p in zip(names, parameters, strict=True) if p in optimizer.state}


def load_optimizer_state(optimizer: torch.optim.Optimizer, names: Sequence[str], state: dict[str, Any]) -> None:
    """Put back what ``optimizer_state`` took."""
    full = optimizer.state_dict()
    full["state"] = {i: state[n] for i, n in enumerate(names) if n in state}
    optimizer.load_state_dict(full)
