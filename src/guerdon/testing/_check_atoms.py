"""The contracts of transforms, selections, advantages, objectives and learners."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from guerdon.core import Advantage, Batch, Objective, PolicyOutput, RewardOutput, Select, Streams, Term, Transform
from guerdon.core.reduction import denominator, micro_batches, reduce, unit_weight
from guerdon.testing._base import TableNetwork, demand, demand_close, padded, shuffled, with_failures


def _snapshot(batch: Batch) -> Batch:
    return copy.deepcopy(batch)


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and a.shape == b.shape and bool(torch.equal(torch.nan_to_num(a), torch.nan_to_num(b)))
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(_same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(_same(x, y) for x, y in zip(a, b, strict=True))
    if hasattr(a, "__dict__"):
        return _same(vars(a), vars(b))
    return bool(a == b)


def check_transform(transform: Transform, batch: Batch) -> RewardOutput:
    """Apply a transform to healthy and damaged batches; returns its reward for ``batch``.

    Checked: nothing is changed in place, failed rows stay failed, garbage in them reaches no other row, the result does not
    depend on the order of rows, and the state survives a checkpoint.

    Raises:
        ContractError: saying what is broken.
    """
    name = type(transform).__name__
    before = _snapshot(batch)
    state, out = transform.apply(transform.init(), batch)
    demand(_same(vars(batch), vars(before)), f"{name}: the batch was changed in place")
    demand(out.total.shape == batch.reward.total.shape, f"{name}: total changed its shape")
    demand(bool((~out.ok | batch.reward.ok).all()), f"{name}: a failed row became ok")
    spoiled, calm = with_failures(batch), with_failures(batch, garbage=0.0)
    _, a = transform.apply(transform.init(), spoiled)
    _, b = transform.apply(transform.init(), calm)
    demand(torch.equal(a.ok, b.ok) and not bool(a.ok[~spoiled.reward.ok].any()), f"{name}: a failed row became ok")
    demand_close(a.total[a.ok], b.total[b.ok], f"{name}: numbers of failed rows reach other rows")
    order = shuffled(len(batch))
    _, moved = transform.apply(transform.init(), batch[order])
    demand_close(out.total[order], moved.total, f"{name}: the result depends on the order of rows")
    _, first = transform.apply(_stored(state), batch)
    _, second = transform.apply(state, batch)
    demand_close(first.total, second.total, f"{name}: the state does not survive a checkpoint")
    return out


def _stored(state: Any) -> Any:
    from guerdon.run.state import load_state, save_state

    with tempfile.TemporaryDirectory() as folder:
        save_state(Path(folder) / "state", {"state": state})
        return load_state(Path(folder) / "state")["state"]


def check_advantage(advantage: Advantage, batch: Batch) -> Tensor:
    """Compute an advantage on healthy and damaged batches; returns it for ``batch`` ([B, T]).

    Checked: shape, zeros outside the mask and on failed rows, independence of garbage there, of padding and of row order.

    Raises:
        ContractError: saying what is broken.
    """
    name, mask = type(advantage).__name__, batch.rollout.mask
    before = _snapshot(batch)
    out = advantage(batch)
    demand(_same(vars(batch), vars(before)), f"{name}: the batch was changed in place")
    demand(out.shape == mask.shape, f"{name}: shape {tuple(out.shape)}, expected {tuple(mask.shape)}")
    demand(bool((out[~mask] == 0).all()), f"{name}: not 0 where the policy did not choose")
    demand(bool((out[~batch.reward.ok] == 0).all()), f"{name}: not 0 on failed rows")
    spoiled = advantage(with_failures(batch))
    demand(bool(torch.isfinite(spoiled).all()), f"{name}: garbage in failed rows reaches the result")
    demand_close(spoiled, advantage(with_failures(batch, garbage=0.0)), f"{name}: numbers of failed rows reach other rows")
    order = shuffled(len(batch))
    demand_close(out[order], advantage(batch[order]), f"{name}: depends on the order of rows")
    demand_close(out, advantage(padded(batch))[:, : mask.shape[1]], f"{name}: depends on padding")
    return out


def check_select(select: Select, batch: Batch) -> Batch:
    """Apply a selection; returns its batch.

    Checked: only ``weight`` and ``pairs`` change, weights are at least 0, pairs join two different ok rows, the same streams
    give the same choice, and garbage in failed rows changes nothing.

    Raises:
        ContractError: saying what is broken.
    """
    name, streams, batch = type(select).__name__, Streams(5), batch.replace(pairs=None)
    before = _snapshot(batch)
    out = select(batch, streams)
    demand(_same(vars(batch), vars(before)), f"{name}: the batch was changed in place")
    again = select(batch, streams)
    demand(_same(out.weight, again.weight) and _same(out.pairs, again.pairs), f"{name}: the same streams gave another choice")
    demand(bool((out.weight >= 0).all()) and out.weight.shape == (len(batch),), f"{name}: weights must be [B] and at least 0")
    for candidate in (out, select(with_failures(batch), streams)):
        pairs = candidate.pairs
        if pairs is not None and len(pairs.win):
            both = candidate.reward.ok[pairs.win] & candidate.reward.ok[pairs.lose]
            demand(bool(both.all()), f"{name}: a pair holds a failed row")
            demand(bool((pairs.win != pairs.lose).all()), f"{name}: a pair holds the same row twice")
            demand(bool(((pairs.label >= 0) & (pairs.label <= 1)).all()), f"{name}: a label lies outside [0, 1]")
    a, b = select(with_failures(batch), streams), select(with_failures(batch, garbage=0.0), streams)
    live = a.reward.ok
    demand(_same(a.weight[live], b.weight[live]) and _same(a.pairs, b.pairs), f"{name}: numbers of failed rows change the choice")
    return out


def check_objective(objective: Objective, batch: Batch) -> float:
    """Reduce an objective's loss in many ways that must agree; returns the loss.

    Checked: one loss per declared unit, declared needs are all it reads, and loss and gradient (1e-6 relative) do not change
    with micro-batch size, padding, row order, or with NaN in failed rows and rows of weight 0.

    Raises:
        ContractError: saying what is broken.
    """
    name = type(objective).__name__
    network = TableNetwork(batch.rollout)
    loss, gradient = _loss_and_gradient(objective, batch, network, None)
    demand(torch.isfinite(loss), f"{name}: the loss is {float(loss)}")
    stripped = _without_undeclared(objective, batch)
    demand_close(
        _loss_and_gradient(objective, stripped, network, None)[0], loss, f"{name}: reads something it does not declare in needs"
    )
    for rows in (1, 3, 8):
        l2, g2 = _loss_and_gradient(objective, batch, network, rows)
        demand_close(loss, l2, f"{name}: the loss changes at micro-batch {rows}")
        demand_close(gradient, g2, f"{name}: the gradient changes at micro-batch {rows}")
    order = shuffled(len(batch))
    for change, other in (("in another row order", batch[order]), ("under padding", padded(batch))):
        l2, g2 = _loss_and_gradient(objective, other, network, 3)
        demand_close(loss, l2, f"{name}: the loss changes {change}")
        demand_close(gradient, g2, f"{name}: the gradient changes {change}")
    _check_failures(objective, batch, network, name)
    return float(loss)


def _check_failures(objective: Objective, batch: Batch, network: TableNetwork, name: str) -> None:
    spoiled = with_failures(batch)
    garbage = {
        k: torch.where(spoiled.reward.ok[:, None], v, torch.full_like(v, float("nan"))) for k, v in spoiled.advantage.items()
    }
    l1, g1 = _loss_and_gradient(objective, spoiled.replace(advantage=garbage), network, None)
    alive = spoiled[spoiled.reward.ok]
    if not float(unit_weight(alive, objective.unit).sum()):
        return
    l2, g2 = _loss_and_gradient(objective, alive, network, None)
    demand_close(l1, l2, f"{name}: failed rows change the loss")
    demand_close(g1, g2, f"{name}: failed rows change the gradient")


def _without_undeclared(objective: Objective, batch: Batch) -> Batch:
    needs = objective.needs
    changes: dict[str, Any] = {}
    if "values" not in needs:
        changes["values"] = {}
    if "advantage" not in needs:
        changes["advantage"] = {}
    refs = {k: v for k, v in batch.refs.items() if k in needs or (k == "reference" and "reference" in needs)}
    return batch.replace(refs=refs, **changes)


def _loss_and_gradient(objective: Objective, batch: Batch, network: nn.Module, rows: int | None) -> tuple[Tensor, Tensor]:
    term = Term(objective)
    total = denominator(batch, objective.unit, term.over)
    network.zero_grad()
    loss = torch.zeros((), dtype=torch.double)
    for micro in micro_batches(batch, [objective.unit], rows):
        new: PolicyOutput = network(micro.rollout)
        part = reduce(objective(new, micro), micro, total, objective.unit, term.over)
        if part.requires_grad:
            part.backward()
        loss += part.detach()
    (parameter,) = network.parameters()
    gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.clone()
    return loss, gradient


def check_learner(make: Callable[[], tuple[Any, nn.Module]], batch: Batch, run: Any) -> dict[str, float]:
    """Let a learner learn twice; returns its figures.

    Checked: the same start gives the same bits, its network moves, and saving, loading into a fresh learner and going on gives
    the same bits as never having stopped.

    Args:
        make: Gives a fresh (learner, network), the same at every call.
        batch: What to learn from.
        run: What the learner is given as ``run`` (needs ``streams`` and ``step``).

    Raises:
        ContractError: saying what is broken.
    """
    learner, network = make()
    start = [p.detach().clone() for p in network.parameters()]
    figures = dict(learner.update(batch, run))
    demand(
        any(not torch.equal(a, b) for a, b in zip(start, network.parameters(), strict=True)),
        "learner: update() moved no parameter",
    )
    state, weights = copy.deepcopy(learner.state_dict()), copy.deepcopy(network.state_dict())
    learner.update(batch, run)
    fresh, other = make()
    other.load_state_dict(weights)
    fresh.load_state_dict(_stored(state))
    fresh.update(batch, run)
    for a, b in zip(network.parameters(), other.parameters(), strict=True):
        demand(torch.equal(a, b), "learner: after saving and loading it learns something else")
    return figures
