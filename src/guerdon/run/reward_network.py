"""One network of a learned reward at work: its optimiser step, and how well it predicts what it has not seen."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from guerdon.core import Streams
from guerdon.core.feedback import Comparison
from guerdon.rewards import BradleyTerry, FitSettings
from guerdon.rewards.learned.data import pairs_of
from guerdon.rewards.learned.training import Training
from guerdon.run.optim import load_optimizer_state, optimizer_state


class Network:
    """One reward model with what moves it: the optimiser step is that of ``rewards.fit_reward``.

    Args:
        reward: Trained in place.
        spec: How (a ``RewardLearner``).
        streams: For its order.
    """

    def __init__(self, reward: Any, spec: Any, streams: Streams):
        self.reward = reward
        settings = FitSettings(clip=spec.max_grad_norm, micro_batch=spec.micro_batch, train_layers=spec.layers)
        nothing = pairs_of((), reward.template)
        self.training = Training(reward, nothing, nothing, settings, spec.loss or BradleyTerry(), streams)
        self.names = [n for n, p in reward.named_parameters() if p.requires_grad] + [f"loss/{n}" for n in self.training.extra]
        self.optimizer = Careful(spec.optim.build(self.training.parameters))
        self.training.optimizer = self.optimizer  # type: ignore[assignment]

    def step(self, said: Sequence[Comparison], rate: float) -> float:
        """One optimiser step; its loss in nats, nan where that or the gradient was not finite and nothing has moved."""
        units = pairs_of(said, self.reward.template)
        self.training.units = units
        loss, _ = self.training.step(torch.arange(len(units)), rate)
        return loss if self.optimizer.moved else math.nan

    def state_dict(self) -> dict[str, Any]:
        extra = {n: p.detach() for n, p in self.training.extra.items()}
        return {"optimizer": optimizer_state(self.optimizer.inner, self.names), "loss": extra}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        load_optimizer_state(self.optimizer.inner, self.names, state["optimizer"])
        with torch.no_grad():
            for name, p in self.training.extra.items():
                p.copy_(state["loss"][name])


class Careful:
    """An optimiser that does not move when a gradient is not finite: one poisoned step would destroy the weights.

    Args:
        inner: What moves the weights otherwise.
    """

    def __init__(self, inner: torch.optim.Optimizer):
        self.inner, self.moved = inner, False

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        return self.inner.param_groups

    def zero_grad(self, set_to_none: bool = True) -> None:
        self.inner.zero_grad(set_to_none)

    def step(self) -> None:
        gradients = [p.grad for g in self.param_groups for p in g["params"] if p.grad is not None]
        self.moved = all(bool(torch.isfinite(g).all()) for g in gradients)
        if self.moved:
            self.inner.step()


def prequential(said: Sequence[Comparison], scores: Tensor, temperature: float = 1.0) -> dict[str, float]:
    """How well rewards predict comparisons that they have not learned from (ties count for the loss alone).

    Args:
        said: [N] comparisons.
        scores: [2, N] rewards of their first and second outputs.
        temperature: Of the reward's probabilities.

    >>> scores = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    >>> found = prequential([Comparison(first="a", second="b"), Comparison(first="c", second="d")], scores)
    >>> round(found["loss"], 4), found["accuracy"]
    (0.5032, 0.75)
    """
    gap = (scores[0] - scores[1]).double() / temperature
    label = torch.tensor([c.label for c in said], dtype=torch.double)
    loss = -(label * nn.functional.logsigmoid(gap) + (1 - label) * nn.functional.logsigmoid(-gap))
    out = {"loss": float(loss.mean())}
    decided = label != 0.5
    if bool(decided.any()):
        right = ((gap > 0) == (label > 0.5)).double().masked_fill(gap == 0, 0.5)
        out["accuracy"] = float(right[decided].mean())
    return out
