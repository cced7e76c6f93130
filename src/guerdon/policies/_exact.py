"""Float64 all the way: models round to float32 inside their norms, where a last bit may fall to either side."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class _Exact:
    """Mixed into a norm's own class: ``(offset + w) * x / rms(x)``, of ``x`` less its mean where it is centred."""

    weight: Tensor
    shape_of: tuple[float, bool, float]

    def forward(self, x: Tensor) -> Tensor:
        return _norm(x, self.weight, *self.shape_of)


def _norm(x: Tensor, weight: Tensor, offset: float, centred: bool, eps: float) -> Tensor:
    x = x - x.mean(-1, keepdim=True) if centred else x
    return (weight + offset) * (x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps))


def exact_norms(model: nn.Module) -> int:
    """Lets the norms of a float64 model work in float64; returns how many did not before.

    Norms of another shape than ``_Exact``'s stay as they are.
    """
    changed = 0
    for module in model.modules():
        norm: Any = module
        eps = getattr(norm, "variance_epsilon", getattr(norm, "eps", None))
        weight = getattr(norm, "weight", None)
        named = type(norm).__name__.endswith("Norm") and type(norm) is not nn.LayerNorm
        if isinstance(norm, _Exact) or not named or eps is None or weight is None or weight.dtype != torch.float64:
            continue
        x = torch.linspace(-1, 2, weight.numel(), dtype=torch.float64, device=weight.device).view(1, *weight.shape)
        with torch.no_grad():
            for shape in ((offset, centred, float(eps)) for offset in (0.0, 1.0) for centred in (False, True)):
                if torch.allclose(norm(x), _norm(x, weight, *shape), 1e-5, 1e-6):
                    norm.shape_of = shape
                    norm.__class__ = type(type(norm).__name__, (_Exact, type(norm)), {})
                    changed += 1
                    break
    return changed
