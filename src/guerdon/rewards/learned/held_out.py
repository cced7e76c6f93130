"""What held-out feedback says of a reward; ``audit`` says it with intervals, by subset and beside baselines."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from guerdon.core.calibration import brier, confidence, ece, fit_temperature, log_loss
from guerdon.rewards.learned.data import Units
from guerdon.rewards.learned.model import RewardModel


def finite_temperature(delta: Tensor, label: Tensor) -> float | None:
    """``fit_temperature``; None where the best one is 0 or infinite, as when all pairs are told apart."""
    t = fit_temperature(delta, label)
    return t if 2e-6 < t < 5e5 else None


def pair_figures(delta: Tensor, held: Units) -> dict[str, float | int | None]:
    """Figures of [P] differences of rewards: accuracy without ties (equal rewards count half), calibration with them.

    ``..._calibrated`` are with a temperature from the other half of the contexts, so that no pair is judged by a temperature it
    helped to choose; they are left out where a half fixes none.
    """
    label = held.label
    decided = label != 0.5
    ahead = torch.where(delta == 0, 0.5, ((delta > 0) == (label > 0.5)).double())[decided]
    figures: dict[str, float | int | None] = {
        "pairs": len(label), "ties": int((~decided).sum()), "contexts": len(set(held.contexts)),
        "accuracy": float(ahead.mean()) if len(ahead) else None, "log_loss": log_loss(delta, label),
        "brier": brier(torch.sigmoid(delta), label), "ece": ece(*confidence(torch.sigmoid(delta), label)),
    }  # fmt: skip
    half = torch.tensor(
        [hashlib.blake2b(c.encode("utf8", "surrogatepass"), digest_size=1).digest()[0] % 2 for c in held.contexts]
    )
    other = [finite_temperature(delta[half != side], label[half != side]) for side in (0, 1)]
    if 0 < int(half.sum()) < len(half) and None not in other:
        scaled = delta / torch.tensor(other, dtype=delta.dtype)[half.long()]
        figures |= {
            "log_loss_calibrated": log_loss(scaled, label),
            "ece_calibrated": ece(*confidence(torch.sigmoid(scaled), label)),
        }
    return figures


@torch.no_grad()
def rating_figures(members: Sequence[RewardModel], held: Units) -> dict[str, dict[str, float | int]]:
    """attribute -> root mean squared error in the units of the ratings, beside that of always saying the training mean."""
    scores = torch.stack([m.in_units(m.logits(held.rows)).double().cpu() for m in members]).mean(0)[held.index[:, 0]]
    found: dict[str, dict[str, float | int]] = {}
    for k, name in enumerate(members[0].attributes):
        rated = ~held.label[:, k].isnan()
        x, y = scores[rated, k], held.label[rated, k]
        if len(x):
            mean = members[0].units[name][0]
            rmse, base = (float((v - y).square().mean().sqrt()) for v in (x, torch.full_like(y, mean)))
            found[name] = {"ratings": len(x), "rmse": rmse, "rmse_of_training_mean": base}
    return found
