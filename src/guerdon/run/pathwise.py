"""Pathwise: a policy moved along the gradient of a reward through its own samples."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from guerdon.core import Batch, Due, Items, PlanError, Rollout, Streams, by_group, nearest, returns
from guerdon.core.rows import take
from guerdon.run.climbing import climbed, tensor_of
from guerdon.run.optim import AdamW, load_optimizer_state, optimizer_state

if TYPE_CHECKING:
    from guerdon.run.plan import Plan


@dataclass(frozen=True)
class Pathwise:
    r"""Ascends a differentiable reward: no log-probs, no advantages, the reward's own gradient.

    Every row of the draw is sampled anew with ``rsample`` and scored, and
    $\mathbb{E}\left[r(x_0) - \beta \sum_k \mathrm{KL}(\pi_k \,\|\, \pi^\mathrm{ref}_k)\right]$ climbs along its gradient through
    the last ``grad_steps`` steps. Transforms of the plan apply where they need nothing but rewards. Rows that fail leave the
    loss.

    Args:
        grad_steps: Steps that keep their graph; (least, most): a number from that range, at random for each update.
        stop: (first, last) level at which chains end in one prediction, at random for each update; None: chains walk to the data.
        beta: Price of a nat between the policy's steps and the reference's, those that keep their graph.
        reference: Name of the plan's reference; read where beta is above 0.
        updates: Per draw, each on fresh samples.
        rows: Rows computed at once (None: all); changes memory, never the gradient.
        controls: How to sample, where it differs from the plan's sampler.
        optim: How weights move.
        max_grad_norm: Gradients are scaled down to this norm (None: never).
        of: Always ``"policy"``.
        due: When it learns.

    Example:
        >>> draft, refl = Pathwise(grad_steps=1), Pathwise(stop=(12, 15), beta=0.01)
        >>> align_prop = Pathwise(grad_steps=(1, 16))

    Sources: DRaFT (arXiv:2309.17400), AlignProp with its random number of steps (arXiv:2310.03739), ReFL (arXiv:2304.05977).
    """

    grad_steps: int | tuple[int, int] = 1
    stop: tuple[int, int] | None = None
    beta: float = 0.0
    reference: str = "reference"
    updates: int = 1
    rows: int | None = None
    controls: Mapping[str, Any] = field(default_factory=dict)
    optim: AdamW = AdamW(lr=1e-4)
    max_grad_norm: float | None = 1.0
    of: str = "policy"
    due: Due = Due()

    def __post_init__(self) -> None:
        if self.of != "policy":
            raise PlanError(f"Pathwise: it trains the policy, so of must be 'policy', got {self.of!r}")
        if not (math.isfinite(self.beta) and self.beta >= 0):
            raise PlanError(f"Pathwise: beta must be at least 0, got {self.beta}")
        if self.updates < 1 or (self.rows is not None and self.rows < 1):
            raise PlanError(f"Pathwise: updates and rows must be at least 1, got {self.updates} and {self.rows}")
        if isinstance(self.grad_steps, tuple | list):
            object.__setattr__(self, "grad_steps", tuple(self.grad_steps))
        if self.stop is not None:
            object.__setattr__(self, "stop", tuple(self.stop))
        for name, least in (("grad_steps", 1), ("stop", 0)):
            span = getattr(self, name)
            pair = span if isinstance(span, tuple) else (span, span)
            if span is not None and (len(pair) != 2 or not least <= pair[0] <= pair[1]):
                raise PlanError(f"Pathwise: {name} must be (least, most), from {least} on, got {span}")

    def check_plan(self, plan: Plan) -> None:
        """What can be told before anything is built.

        Raises:
            PlanError: for a transform that reads more than rewards, or a reference that is not there.
        """
        if plan.reward is None:
            raise PlanError("Pathwise: plan.reward is not set: there is nothing to climb")
        if self.beta > 0 and self.reference not in plan.references:
            raise PlanError(f"Pathwise: no reference {self.reference!r}; {nearest(self.reference, plan.references)}: "
                            f"add references: {{{self.reference}: policies.Frozen}}")  # fmt: skip
        for transform in plan.transforms:
            if getattr(transform, "needs", frozenset()):
                raise PlanError(f"Pathwise: {type(transform).__name__} reads more than rewards, which fresh samples do not have; "
                                "leave it out (Pathwise(beta=...) is the KL)")  # fmt: skip

    def build(self, network: nn.Module) -> PathwiseTrainer:
        return PathwiseTrainer(self, network)


class PathwiseTrainer:
    """A ``Pathwise`` at work: the optimiser, and how many updates there were."""

    def __init__(self, spec: Pathwise, network: Any) -> None:
        self.spec, self.policy, self.due = spec, network, spec.due
        if not hasattr(network, "rsample"):
            raise PlanError(f"Pathwise differentiates through samples, and {type(network).__name__} has no rsample: take a "
                            "policies.Diffusion, Flow or Consistency, or run.Train with an objective")  # fmt: skip
        named = [(n, p) for n, p in network.named_parameters() if p.requires_grad]
        self.names, self.parameters = [n for n, _ in named], [p for _, p in named]
        if not named:
            raise PlanError("Pathwise: the policy has no trainable parameters")
        self.optimizer = spec.optim.build(self.parameters)
        self.count = 0

    def check_run(self, run: Any) -> None:
        """What needs the built parts.

        Raises:
            PlanError: for a reward that cannot be differentiated, or a reference that is no policy of its own.
        """
        name = self.spec.reference
        if self.spec.beta > 0 and getattr(run.references[name], "policy", self.policy) is self.policy:
            raise PlanError(f"Pathwise: reference {name!r} is the policy itself under other settings, and a copy is needed: "
                            "take policies.Frozen")  # fmt: skip
        if not run.reward.differentiable:
            raise PlanError(f"Pathwise climbs the gradient of the reward, and {type(run.reward).__name__} says it has none "
                            "(differentiable = False): take run.Train with an objective over log-probs")  # fmt: skip

    def update(self, batch: Batch, run: Any) -> dict[str, float]:
        """All updates of one draw; the figures for the log."""
        rate = self.spec.optim.rate(batch.progress)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        sums: dict[str, float] = {}
        for _ in range(self.spec.updates):
            streams = run.streams.fork("pathwise", self.count)
            self.count += 1
            for name, value in self._step(batch, run, streams).items():
                sums[name] = sums.get(name, 0.0) + value
        mean = {k: v if k.startswith("skipped") else v / self.spec.updates for k, v in sums.items()}
        return {**mean, "lr": rate}

    def _step(self, batch: Batch, run: Any, streams: Streams) -> dict[str, float]:
        self.optimizer.zero_grad(set_to_none=True)
        index = (batch.weight > 0).nonzero()[:, 0].cpu()
        how = {**getattr(run.plan.sampler, "controls", {}), **self.spec.controls, **self._random(streams)}
        kl, reward, total, rows, steep = 0.0, 0.0, 0.0, 0, 0
        for part in self._parts(batch, index, run.reward.scope):
            fresh = self._fresh(batch, part, streams, how, run)
            shaped, gradient = climbed(fresh, batch, run)
            live = shaped.ok.to(gradient.device) & torch.isfinite(gradient.flatten(1)).all(1)
            steep += int((shaped.ok.to(live.device) & ~live).sum())
            weight = torch.where(live, take(batch.weight, part).to(live.device), 0.0).double()
            wide = weight.to(gradient).reshape(-1, *[1] * (gradient.dim() - 1))
            # Failed rows are cut off here: a NaN times 0 further down would still be NaN.
            upward = torch.where(wide > 0, wide * torch.nan_to_num(gradient), 0.0)
            nats = fresh.trace["kl"].sum(1) if "kl" in fresh.trace else None
            roots, grads = [tensor_of(fresh.outputs)], [-upward]
            if nats is not None and nats.requires_grad:
                roots.append(nats)
                grads.append(self.spec.beta * weight.to(nats))
            torch.autograd.backward(roots, grads)
            rows, total = rows + int(live.sum()), total + float(weight.sum())
            reward += float((weight * returns(Batch.of(fresh, shaped)).detach().double()).sum())
            kl += 0.0 if nats is None else float((weight.to(nats) * nats.detach()).sum())
        if not total:
            return {"skipped/empty": 1.0, "no_gradient": float(steep)}
        for parameter in self.parameters:  # how many rows count is known only now
            if parameter.grad is not None:
                parameter.grad /= total
        kl, reward = kl / total, reward / total
        norm = nn.utils.clip_grad_norm_(self.parameters, self.spec.max_grad_norm or math.inf)
        if not torch.isfinite(norm):
            return {"skipped/not_finite": 1.0}
        self.optimizer.step()
        found = {"loss": self.spec.beta * kl - reward, "fresh_reward": reward, "grad_norm": float(norm), "rows": float(rows)}
        return found | {"no_gradient": float(steep)} | ({"kl": kl} if self.spec.beta > 0 else {})

    def _random(self, streams: Streams) -> dict[str, Any]:
        """This update's number of steps with gradients, and the level where chains stop."""
        spec = self.spec

        def one(span: tuple[int, int], role: str) -> int:
            return span[0] + int(streams(role).integers(span[1] - span[0] + 1, 1))

        steps = spec.grad_steps if isinstance(spec.grad_steps, int) else one(spec.grad_steps, "grad_steps")
        return {"grad_steps": steps} | ({} if spec.stop is None else {"stop": one(spec.stop, "stop")})

    def _parts(self, batch: Batch, index: Tensor, scope: str) -> Iterator[Tensor]:
        """Rows to compute together; those that the reward compares stay together."""
        if self.spec.rows is None or scope == "batch":
            yield index
        elif scope == "group":
            group, n = by_group(batch.rollout.group[index].cpu())
            whole = [index[group == g] for g in range(n)]
            while whole:
                part = whole.pop(0)
                while whole and len(part) + len(whole[0]) <= self.spec.rows:
                    part = torch.cat([part, whole.pop(0)])
                yield part
        else:
            yield from index.split(self.spec.rows)

    def _fresh(self, batch: Batch, part: Tensor, streams: Streams, how: Mapping[str, Any], run: Any) -> Rollout:
        """A new sample for each of some rows; it answers the same item."""
        old = batch.rollout  # not its rows: they would copy all states
        items = Items(take(old.contexts, part), take(old.uid, part), take(old.info, part))
        reference = run.references[self.spec.reference].policy if self.spec.beta > 0 else None
        return self.policy.rsample(items, 1, streams=streams, reference=reference, **how).replace(group=take(old.group, part))

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count, "optimizer": optimizer_state(self.optimizer, self.names)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.count = int(state["count"])
        load_optimizer_state(self.optimizer, self.names, state["optimizer"])
