"""Distil: a few-step consistency model learned from a many-step teacher."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from guerdon.core import Batch, Due, PlanError
from guerdon.core.rows import take
from guerdon.run.optim import AdamW, load_optimizer_state, optimizer_state

if TYPE_CHECKING:
    from guerdon.run.plan import Plan


@dataclass(frozen=True)
class Distil:
    """Consistency distillation on given data (``samplers.Given``): the policy is a ``policies.Consistency``.

    Args:
        teacher: ``lazy(policies.Diffusion.from_pretrained, path_or_name=...)`` or a live policy; None: consistency training,
            from the data alone.
        how: ``policies.Distillation(...)``: points of the path, guidance of the teacher, distance, average; None: its defaults.
        updates: Per draw, each at fresh levels with fresh noise.
        optim: How weights move.
        max_grad_norm: Gradients are scaled down to this norm (None: never).
        of: Always ``"policy"``.
        due: When it learns.

    Example:
        >>> from guerdon.policies import Diffusion, Distillation
        >>> from guerdon.run import lazy
        >>> teacher = lazy(Diffusion.from_pretrained, path_or_name="runs/teacher/policy")
        >>> learner = Distil(teacher, Distillation(points=16), updates=4)

    Sources: consistency models (arXiv:2303.01469), LCM (arXiv:2310.04378).
    """

    teacher: Any
    how: Any = None
    updates: int = 1
    optim: AdamW = AdamW(lr=1e-3)
    max_grad_norm: float | None = 1.0
    of: str = "policy"
    due: Due = Due()

    def __post_init__(self) -> None:
        if self.of != "policy":
            raise PlanError(f"Distil: it trains the policy, so of must be 'policy', got {self.of!r}")
        if self.updates < 1:
            raise PlanError(f"Distil: updates must be at least 1, got {self.updates}")

    def check_plan(self, plan: Plan) -> None:
        """What can be told before anything is built.

        Raises:
            PlanError: where rows are sampled by the student itself.
        """
        if not getattr(plan.sampler, "columns", ()):
            raise PlanError("Distil learns from data: take samplers.Given over a source of it (the teacher's samples will do)")

    def build(self, network: nn.Module) -> DistilTrainer:
        return DistilTrainer(self, network)


class DistilTrainer:
    """A ``Distil`` at work: the target's average, the optimiser, and how many updates there were."""

    def __init__(self, spec: Distil, network: Any) -> None:
        self.spec, self.policy, self.due = spec, network, spec.due
        if not hasattr(network, "distiller"):
            raise PlanError(f"Distil trains a policies.Consistency, got a {type(network).__name__}")
        self.distiller = network.distiller(spec.teacher, spec.how)
        named = [(n, p) for n, p in network.named_parameters() if p.requires_grad]
        self.names, self.parameters = [n for n, _ in named], [p for _, p in named]
        if not named:
            raise PlanError("Distil: the policy has no trainable parameters")
        self.optimizer = spec.optim.build(self.parameters)
        self.count = 0

    def update(self, batch: Batch, run: Any) -> dict[str, float]:
        """All updates of one draw; the figures for the log."""
        rate = self.spec.optim.rate(batch.progress)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        index = batch.live.nonzero()[:, 0].cpu()
        if not len(index):
            return {"lr": rate, "skipped/empty": 1.0}
        data, contexts = self.policy.encoded(take(batch.rollout.outputs, index)), take(batch.rollout.contexts, index)
        uid, weight = take(batch.rollout.uid, index), take(batch.weight, index).double()
        losses, norms, skipped = 0.0, 0.0, 0.0
        for _ in range(self.spec.updates):
            streams = run.streams.fork("distil", self.count)
            self.count += 1
            rows = self.distiller.loss(contexts, data, streams, uid)
            loss = (rows * weight.to(rows)).sum() / weight.sum().to(rows)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            norm = nn.utils.clip_grad_norm_(self.parameters, self.spec.max_grad_norm or math.inf)
            if not torch.isfinite(norm):
                skipped += 1
                continue
            self.optimizer.step()
            self.distiller.follow()
            losses, norms = losses + float(loss.detach()), norms + float(norm)
        done = max(self.spec.updates - skipped, 1.0)
        figures = {"lr": rate, "loss": losses / done, "grad_norm": norms / done}
        return figures | ({"skipped/not_finite": skipped} if skipped else {})

    def state_dict(self) -> dict[str, Any]:
        target = self.distiller.state_dict()
        return {"count": self.count, "target": target, "optimizer": optimizer_state(self.optimizer, self.names)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.count = int(state["count"])
        self.distiller.load_state_dict(state["target"])
        load_optimizer_state(self.optimizer, self.names, state["optimizer"])
