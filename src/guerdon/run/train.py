"""Train: the learner of anything with a ``forward`` over rollouts, policies and critics alike."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from guerdon.core import Batch, Due, Objective, PlanError, Policy, PolicyOutput, Rollout, Streams, Term
from guerdon.core.reduction import components, denominator, micro_batches, reduce
from guerdon.core.stats import whitened
from guerdon.core.steps import one_step_rows
from guerdon.run.optim import AdamW, load_optimizer_state, optimizer_state

STEPS_AT_ONCE = (
    1024  # of a micro-batch on a CPU: few enough for the caches, and for memory that is used again; enough for the calls
)


@dataclass(frozen=True)
class Train:
    """Gradient steps on one network, from every draw.

    Args:
        terms: An objective, a Term, or several of them: summed, under one optimiser step.
        optim: How weights move.
        of: What is trained: ``"policy"``, a critic's name, or ``("policy", critic)`` for both at once on shared features.
        epochs: Passes over each draw.
        minibatches: Optimiser steps per pass.
        by: What minibatches are made of: ``"row"``, whole trajectories, or ``"step"``, single steps of policies that read each
            step by itself (control without memory). Value targets are then an advantage: ``ValueLoss(target="return")``.
        whiten: Advantages with mean 0 and deviation 1 in every minibatch, as common PPO code has it (``advantages.Whiten`` does
            it over the draw).
        rows: Rows computed at once (None: all, or on a CPU as many as are fastest); changes memory and speed, never the gradient.
        max_grad_norm: Gradients are scaled down to this norm (None: never).
        due: When this learner learns.
    """

    terms: Any
    optim: AdamW = AdamW()
    of: str | tuple[str, str] = "policy"
    epochs: int = 1
    minibatches: int = 1
    by: Literal["row", "step"] = "row"
    whiten: bool = False
    rows: int | None = None
    max_grad_norm: float | None = 1.0
    due: Due = Due()

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.minibatches < 1:
            raise PlanError("Train: epochs and minibatches must be at least 1")
        if self.rows is not None and self.rows < 1:
            raise PlanError(f"Train: rows must be at least 1, got {self.rows}")
        if self.by not in ("row", "step"):
            raise PlanError(f"Train: by is {self.by!r}; expected 'row' or 'step'")
        if self.by == "step":
            for term in self.all_terms():
                self._check_step(term)

    def all_terms(self) -> tuple[Term, ...]:
        many: Sequence[Any] = self.terms if isinstance(self.terms, tuple | list) else (self.terms,)
        for term in many:
            if not isinstance(term, Term) and not (callable(term) and hasattr(term, "unit")):
                raise PlanError(f"Train: terms must be objectives or {{use: run.Term, objective: ...}}, got {term!r}")
        return tuple(t if isinstance(t, Term) else Term(t) for t in many)

    @staticmethod
    def _check_step(term: Term) -> None:
        name, unit = type(term.objective).__name__, term.objective.unit
        if unit != "step":
            raise PlanError(f"Train(by='step'): {name} gives one loss per {unit}, which single steps do not have; take by='row'")
        if getattr(getattr(term.objective, "ratio", None), "whole_rows", False):
            raise PlanError(f"Train(by='step'): {name} takes one ratio per trajectory, and single steps have none; take by='row'")
        if term.rows is not None:
            raise PlanError("Train(by='step'): rows= chooses among whole trajectories; take by='row'")
        if term.over != "step":
            raise PlanError(f"Train(by='step'): over={term.over!r} needs whole trajectories; take over='step' or by='row'")
        if "reward" in term.objective.needs:
            raise PlanError(f"Train(by='step'): {name} reads rewards along a trajectory; give it target='return' and the plan "
                            "advantage: {return: advantages.LambdaReturns}")  # fmt: skip

    def build(self, network: nn.Module) -> Trainer:
        return Trainer(self, network)


class Trainer:
    """A ``Train`` at work: it holds the optimiser and nothing else that lasts."""

    def __init__(self, spec: Train, network: nn.Module):
        self.spec, self.network, self.due = spec, network, spec.due
        self.terms = spec.all_terms()
        self.units = [t.objective.unit for t in self.terms]
        if spec.by == "step" and not all(getattr(m, "markov", not isinstance(m, Policy)) for m in network.modules()):
            raise PlanError(f"learner of {spec.of!r}: by='step' shuffles steps, and this policy remembers; take by='row'")
        named = [(n, p) for n, p in network.named_parameters() if p.requires_grad]
        self.names, self.parameters = [n for n, _ in named], [p for _, p in named]
        if not named:
            raise PlanError(f"learner of {spec.of!r}: it has no trainable parameters")
        self.optimizer = spec.optim.build(self.parameters)
        wants = {"value" if n == "value" else "entropy" for t in self.terms for n in t.objective.needs & {"value", "entropy"}}
        if any({"logp", "exact_logp"} & t.objective.needs for t in self.terms):
            wants.add("logp")
        self.wants = tuple(sorted(wants or {"logp"}))

    def update(self, batch: Batch, run: Any) -> dict[str, float]:
        """All optimiser steps of one draw; the figures for the log."""
        rate = self.spec.optim.rate(batch.progress)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        figures = _Figures()
        first = True
        if self.spec.by == "step":
            batch = one_step_rows(batch)
        for epoch in range(self.spec.epochs):
            for part in self._minibatches(batch, run.streams.fork("minibatch", run.step, epoch)):
                self._step(part, figures, measure_mismatch=first)
                first = False
        return {**figures.mean(), "lr": rate}

    def _minibatches(self, batch: Batch, streams: Streams) -> Iterator[Batch]:
        if self.spec.minibatches == 1:
            yield batch
            return
        label = components(batch, self.units)
        units, rows = label.unique(return_inverse=True)
        order = streams("order").permutation(len(units))
        place = torch.empty_like(order)
        place[order] = torch.arange(len(order))
        for chosen in rows_of_parts(place[rows], len(units), self.spec.minibatches):
            yield batch[chosen]

    def _step(self, part: Batch, figures: _Figures, measure_mismatch: bool) -> None:
        if self.spec.whiten:
            names = {t.advantage for t in self.terms if "advantage" in t.objective.needs} & part.advantage.keys()
            keep = part.rollout.mask & part.live[:, None]
            part = part.replace(advantage={**part.advantage, **{n: whitened(part.advantage[n], keep) for n in names}})
        totals = [denominator(part, t.objective.unit, t.over, t.rows) for t in self.terms]
        if not any(totals):
            figures.add("skipped/empty", 1.0)
            return
        self.optimizer.zero_grad(set_to_none=True)
        sums: dict[str, float] = defaultdict(float)
        for micro in micro_batches(part, self.units, self.spec.rows or self._fastest(part)):
            new: PolicyOutput = self.network(micro.rollout, want=self.wants)
            loss = self._loss(new, micro, totals, sums)
            if loss.requires_grad:
                loss.backward()
            figures.watch(new, micro, measure_mismatch, self.terms)
        norm = nn.utils.clip_grad_norm_(self.parameters, self.spec.max_grad_norm or math.inf)
        if not torch.isfinite(norm):  # one poisoned step would destroy the weights; it is counted, not hidden
            figures.add("skipped/not_finite", 1.0)
            return
        self.optimizer.step()
        figures.add("grad_norm", float(norm))
        for name, value in sums.items():
            figures.add(name, value)

    def _fastest(self, part: Batch) -> int | None:
        """Rows of parts that hold about ``STEPS_AT_ONCE`` steps each (fewer where the network says so); None: all at once."""
        if self.parameters[0].device.type != "cpu" or not len(part):
            return None
        most = min(STEPS_AT_ONCE, getattr(self.network, "steps_at_once", STEPS_AT_ONCE))
        parts = round(int(part.rollout.lengths.sum()) / most)
        return math.ceil(len(part) / max(parts, 1))

    def _loss(self, new: PolicyOutput, micro: Batch, totals: list[float], sums: dict[str, float]) -> Tensor:
        loss = torch.zeros((), device=micro.weight.device)
        for term, total in zip(self.terms, totals, strict=True):
            view, objective = term.view(micro), term.objective
            value = reduce(objective(new, view), view, total, objective.unit, term.over, term.rows)
            name = "loss" if len(self.terms) == 1 else f"loss/{_short(objective)}"
            sums[name] += float(value.detach())
            loss = loss + term.weight * value
        return loss

    def state_dict(self) -> dict[str, Any]:
        return {"optimizer": optimizer_state(self.optimizer, self.names)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        load_optimizer_state(self.optimizer, self.names, state["optimizer"])


def rows_of_parts(place: Tensor, units: int, parts: int) -> list[Tensor]:
    """Rows by the part their unit falls into, when ``units`` units in a new order are cut into ``parts``; rows stay in order.

    >>> [r.tolist() for r in rows_of_parts(torch.tensor([2, 0, 0, 1]), 3, 2)]
    [[1, 2, 3], [0]]
    """
    size = math.ceil(units / parts)
    part = place // size
    order = part.argsort(stable=True)
    return list(order.split(part.bincount(minlength=1).tolist()))


def _short(objective: Objective) -> str:
    return type(objective).__name__.lower()


class _Figures:
    """Running means and maxima of what a learner reports; a mean over micro-batches is weighted by what each one holds."""

    def __init__(self) -> None:
        self.values: dict[str, list[float]] = defaultdict(list)
        self.weights: dict[str, list[float]] = defaultdict(list)

    def add(self, name: str, value: float, weight: float = 1.0) -> None:
        self.values[name].append(value)
        self.weights[name].append(weight)

    def watch(self, new: PolicyOutput, micro: Batch, mismatch: bool, terms: Sequence[Term]) -> None:
        rollout, weight = micro.rollout, int(micro.rollout.mask.sum())
        if mismatch and new.logp is not None and has_behaviour_logp(rollout) and weight:
            gap = (new.logp.detach() - rollout.logp).abs()[rollout.mask]  # type: ignore[operator]
            self.add("mismatch/max", float(gap.max()))
            self.add("mismatch/mean", float(gap.mean()), weight)
        for term in terms:
            describe = getattr(term.objective, "describe", None)
            if describe is not None:
                with torch.no_grad():
                    for name, value in describe(new.detach(), term.view(micro)).items():
                        self.add(name, float(value), len(micro))

    def mean(self) -> dict[str, float]:
        return {k: (max(v) if k.endswith("/max") else sum(v) if k.startswith("skipped") else self._mean(k))
                for k, v in self.values.items()}  # fmt: skip

    def _mean(self, name: str) -> float:
        values, weights = self.values[name], self.weights[name]
        return sum(v * w for v, w in zip(values, weights, strict=True)) / sum(weights)


def has_behaviour_logp(rollout: Rollout) -> bool:
    """Whether every row's log-probs are those of the policy that acted (recorded rows have none)."""
    return rollout.logp is not None and all(b.engine != "recorded" for b in rollout.behaviour)
