"""The loop that fits one model: whole optimiser steps out of micro-batches, in an order that follows from the seed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from guerdon.core import ModelError, Streams
from guerdon.rewards.learned import backbone
from guerdon.rewards.learned.data import Units
from guerdon.rewards.learned.losses import PairLoss, RatingLoss, centring
from guerdon.rewards.learned.model import RewardModel

if TYPE_CHECKING:
    from guerdon.rewards.learned.fit import FitSettings


class Training:
    """One model, its data, and what moves its weights.

    Args:
        reward: What is fitted, in place.
        units: What it is fitted to.
        held: Held-out units; may be none.
        settings: How.
        loss: Of pairs or of ratings.
        streams: For the order.
        caches: Features of training and held-out rows, shared by the members of an ensemble that train a head alone.
    """

    def __init__(
        self, reward: RewardModel, units: Units, held: Units, settings: FitSettings, loss: PairLoss | RatingLoss,
        streams: Streams, caches: list[Tensor | None] | None = None,
    ):  # fmt: skip
        self.reward, self.units, self.held, self.settings, self.loss, self.streams = reward, units, held, settings, loss, streams
        self.caches: list[Tensor | None] = [None, None] if caches is None else caches
        named = backbone.train_only(reward.model, settings.train_layers)
        start: Mapping[str, Any] = loss.parameters if isinstance(loss, PairLoss) else loss.parameters_of(len(reward.attributes))
        self.extra = {n: nn.Parameter(torch.tensor(v, dtype=torch.double, device=reward.device)) for n, v in start.items()}
        self.parameters = [p for _, p in named] + list(self.extra.values())
        self.peak = settings.lr or (1e-2 if settings.train_layers == "head" else 1e-4)
        groups = [
            {"params": [p for p in self.parameters if p.dim() > 1], "weight_decay": settings.weight_decay},
            {"params": [p for p in self.parameters if p.dim() < 2], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, self.peak)
        if settings.train_layers == "head":
            for k, part in enumerate((units, held)):
                if self.caches[k] is None and len(part.rows):
                    self.caches[k] = reward.features(part.rows)
            if self.caches[0] is not None:
                self._check_head(self.caches[0])

    def _check_head(self, cache: Tensor) -> None:
        some = self.units.rows[:4]
        with torch.no_grad():
            whole = self.reward.logits(some)
            far = (backbone.head_of(self.reward.model)(cache[: len(some)]) - whole).abs().max()
        if not float(far) <= 0.05 * float(whole.abs().max()) + 1e-6:
            raise ModelError(
                f"{type(self.reward.model).__name__}: its head cannot be trained alone; use train_layers: 1 or 'all'"
            )

    # -- one step

    def scores(self, rows: Tensor, part: int = 0) -> Tensor:
        """[len(rows), K] what the head says of rows of the training (0) or held-out (1) data."""
        cache, data = self.caches[part], (self.units, self.held)[part]
        if self.settings.train_layers == "head" and cache is not None:
            return backbone.head_of(self.reward.model)(cache[rows.to(cache.device)]).float().to(_wide(cache))
        return self.reward.logits([data.rows[k] for k in rows.tolist()])

    def losses(self, unit: Tensor, part: int = 0) -> tuple[Tensor, Tensor]:
        """([U] losses, [U] differences of rewards; ratings have losses [U, K] and scores in that place)."""
        data = (self.units, self.held)[part]
        rows, back = data.index[unit].unique(return_inverse=True)
        scores = self.scores(rows, part)[back.to(self.reward.device)]
        label = data.label[unit].to(scores)
        if isinstance(self.loss, PairLoss):
            raw = scores @ self._mixture(scores)
            delta = raw[:, 0] - raw[:, 1]
            assert data.margin is not None
            loss = self.loss(delta, label, data.margin[unit].to(scores), self.extra.get("tie"))
            return loss + self.settings.centring * centring(raw[:, 0], raw[:, 1]), delta.detach()
        table = torch.tensor([self.reward.units[a] for a in self.reward.attributes], dtype=scores.dtype, device=scores.device)
        return self.loss(scores[:, 0], (label - table[:, 0]) / table[:, 1], self.extra.get("log_sd")), scores[:, 0].detach()

    def _mixture(self, scores: Tensor) -> Tensor:
        weights = self.reward.weights or {self.reward.attributes[0]: 1.0}
        return scores.new_tensor([weights.get(a, 0.0) for a in self.reward.attributes])

    def step(self, unit: Tensor, rate: float) -> tuple[float, float]:
        """One optimiser step over the given units; (mean loss, accuracy).

        The denominator is that of the whole step, so the gradient is the same in any number of micro-batches.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        label = self.units.label[unit]
        total = max(float((~label.isnan()).sum()), 1.0)
        longest = torch.tensor([max(len(self.units.rows[r].ids) for r in rows) for rows in self.units.index[unit].tolist()])
        ordered, size, value, right = unit[longest.argsort(stable=True)], self.settings.micro_batch or len(unit), 0.0, 0.0
        for chunk in ordered.split(size):
            loss, delta = self.losses(chunk)
            share = loss.sum() / total
            share.backward()
            value += float(share.detach())
            if delta.dim() == 1:
                right += float(_right(delta.cpu(), self.units.label[chunk]).sum())
        if self.settings.clip is not None:
            nn.utils.clip_grad_norm_(self.parameters, self.settings.clip)
        self.optimizer.step()
        return value, right

    # -- the run

    def run(self, tell: Callable[[float, Mapping[str, float]], Any]) -> list[dict[str, float]]:
        """All epochs; figures of each."""
        s, n, history = self.settings, len(self.units), []
        steps = s.epochs * math.ceil(n / s.batch)
        done, best, best_loss, waited = 0, None, math.inf, 0
        for epoch in range(s.epochs):
            value = right = decided = 0.0
            for unit in self.order(epoch):
                loss, hits = self.step(unit, self._rate((done + 0.5) / steps))
                if not math.isfinite(loss):
                    raise ModelError(
                        f"the loss is {loss} after {done} steps of {steps}; try a lower learning rate than {self.peak:g}"
                    )
                done, value, right = done + 1, value + loss * len(unit), right + hits
                decided += float((self.units.label[unit] != 0.5).sum())
                tell(done / steps, {"loss": loss})
            figures = {"epoch": epoch + 1, "loss": value / n}
            if self.units.pairs:
                figures["accuracy"] = right / max(decided, 1)
            if len(self.held):
                figures["held_out_loss"] = self.held_out_loss()
            figures |= {name: float(p.detach().mean()) for name, p in self.extra.items()}
            history.append(figures)
            if s.patience is not None and len(self.held):
                if figures["held_out_loss"] < best_loss:
                    best, best_loss, waited = [p.detach().clone() for p in self.parameters], figures["held_out_loss"], 0
                else:
                    waited += 1
                if waited >= s.patience:
                    break
        if best is not None:
            with torch.no_grad():
                for p, kept in zip(self.parameters, best, strict=True):
                    p.copy_(kept)
        for p in self.reward.parameters():
            p.requires_grad_(True)
            p.grad = None
        return history

    def order(self, epoch: int) -> Iterator[Tensor]:
        """Units of every optimiser step of an epoch."""
        n = len(self.units)
        order = self.streams("order", epoch).permutation(n)
        if self.settings.bootstrap:
            order = self.streams("bootstrap").integers(n, n)[0][order]
        return iter(order.split(self.settings.batch))

    def _rate(self, progress: float) -> float:
        warmup = self.settings.warmup
        if progress < warmup:
            return self.peak * progress / warmup
        rest = (progress - warmup) / (1 - warmup)
        return (
            self.peak * {"constant": 1.0, "linear": 1 - rest, "cosine": 0.5 * (1 + math.cos(math.pi * rest))}[self.settings.decay]
        )

    @torch.no_grad()
    def held_out_loss(self) -> float:
        """Mean loss of the held-out units, without the centring."""
        value = 0.0
        for unit in torch.arange(len(self.held)).split(256):
            loss, delta = self.losses(unit, part=1)
            if isinstance(self.loss, PairLoss):
                data = self.held
                assert data.margin is not None
                loss = self.loss(delta, data.label[unit].to(delta), data.margin[unit].to(delta), self.extra.get("tie"))
            value += float(loss.sum())
        return value / max(float((~self.held.label.isnan()).sum()), 1.0)

    @torch.no_grad()
    def all_scores(self, part: int) -> Tensor:
        """[R, K] what the head says of every row of the training (0) or held-out (1) data."""
        rows = torch.arange(len((self.units, self.held)[part].rows))
        return torch.cat([self.scores(some, part) for some in rows.split(1024)])


def _right(delta: Tensor, label: Tensor) -> Tensor:
    """[U] 1 where the better one is ahead, 1/2 where neither is; ties of the label count 0."""
    ahead = torch.where(delta == 0, 0.5, ((delta > 0) == (label > 0.5)).double())
    return torch.where(label == 0.5, 0.0, ahead)


def _wide(cache: Tensor) -> torch.dtype:
    return torch.float64 if cache.dtype == torch.float64 else torch.float32
