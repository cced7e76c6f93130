"""The one place where losses become a number: masks, failed rows, weights and denominators.

An optimiser step over many micro-batches must give the gradient of one big batch. So the denominator is that of the
whole step, taken before the first micro-batch; every micro-batch then adds ``sum of weighted losses / denominator``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor

from guerdon.core.batch import Batch, by_group

Unit = Literal["step", "sample", "group", "pair", "batch"]
Over = Literal["step", "sample"] | int
RowsOf = Callable[[Batch], Tensor]


def unit_weight(batch: Batch, unit: Unit, rows: RowsOf | None = None) -> Tensor:
    """How much each unit counts: [B, T] for steps, [B] samples, [G] groups, [P] pairs, [] the batch.

    Failed rows, rows of weight 0 and rows outside ``rows`` count nothing, in whatever unit they are part of.
    """
    weight = batch.weight * batch.reward.ok.to(batch.weight)
    if rows is not None:
        weight = weight * rows(batch).to(weight)
    mask = batch.rollout.mask.to(weight)
    if unit == "step":
        return weight[:, None] * mask
    weight = weight * mask.amax(1) if unit != "batch" and mask.shape[1] else weight
    if unit == "sample":
        return weight
    if unit == "pair":
        if batch.pairs is None:
            raise ValueError("an objective over pairs got a batch without pairs")
        both = weight[batch.pairs.win] * weight[batch.pairs.lose]
        return batch.pairs.weight.to(both) * both
    if unit == "group":
        group, n = by_group(batch.rollout.group)
        return torch.zeros(n, dtype=weight.dtype, device=weight.device).scatter_reduce(0, group, weight, "amax")
    return (weight.sum() > 0).to(weight)


def denominator(batch: Batch, unit: Unit, over: Over = "step", rows: RowsOf | None = None) -> float:
    """What the weighted sum of losses is divided by, for the whole optimiser step.

    Args:
        batch: All rows of the optimiser step.
        unit: The unit the objective returns losses for.
        over: For losses per step: ``"step"`` weighs every step equally (DAPO, arXiv:2503.14476), ``"sample"`` every trajectory
            (GRPO, arXiv:2402.03300), an int L divides by trajectories times L (Dr. GRPO, arXiv:2503.20783).
        rows: Which rows take part.
    """
    if unit != "step" or over == "step":
        return float(unit_weight(batch, unit, rows).double().sum())
    samples = float(unit_weight(batch, "sample", rows).double().sum())
    return samples if over == "sample" else samples * int(over)


def reduce(loss: Tensor, batch: Batch, total: float, unit: Unit, over: Over = "step", rows: RowsOf | None = None) -> Tensor:
    """A micro-batch's share of the loss: its weighted sum over the whole step's ``total`` denominator (scalar).

    Losses of units that count nothing are dropped before the sum, so that a NaN there cannot spread.

    Raises:
        ValueError: where the loss does not have one entry per unit.
    """
    weight = unit_weight(batch, unit, rows).to(loss)
    if loss.shape != weight.shape:
        raise ValueError(
            f"the objective returned a loss of shape {tuple(loss.shape)} for unit {unit!r}, expected {tuple(weight.shape)}"
        )
    if unit == "step" and over == "sample":
        weight = weight / batch.rollout.mask.sum(1, keepdim=True).clamp(min=1).to(weight)
    weighted = torch.where(weight > 0, loss, torch.zeros_like(loss)) * weight
    return weighted.sum() / total if total > 0 else weighted.sum() * 0


def components(batch: Batch, units: Sequence[Unit]) -> Tensor:
    """[B] label of the rows that must stay together under all the given units."""
    n = len(batch)
    label = torch.arange(n)
    if "batch" in units:
        return torch.zeros_like(label)
    edges = []
    if "group" in units:
        group, count = by_group(batch.rollout.group.cpu())
        first = torch.full((count,), n, dtype=torch.long).scatter_reduce(0, group, torch.arange(n), "amin")
        edges.append((torch.arange(n), first[group]))
    if "pair" in units and batch.pairs is not None:
        edges.append((batch.pairs.win.cpu(), batch.pairs.lose.cpu()))
    while edges:  # propagate the smallest label along all edges until nothing changes
        before = label
        for a, b in edges:
            low = torch.minimum(label[a], label[b])
            label = label.scatter_reduce(0, a, low, "amin").scatter_reduce(0, b, low, "amin")
        if torch.equal(label, before):
            break
    return label


def micro_batches(batch: Batch, units: Sequence[Unit], rows: int | None = None) -> Iterator[Batch]:
    """The batch in parts of about ``rows`` rows that split no unit, without rows that count nothing, padding trimmed.

    Rows are taken in order of length, so that little padding is computed. A unit larger than ``rows`` stays whole.
    """
    label = components(batch, units)
    used = batch.live.cpu() & batch.rollout.mask.any(1).cpu()
    if set(units) == {"pair"} and batch.pairs is not None:
        paired = torch.zeros_like(used)
        paired[torch.cat([batch.pairs.win.cpu(), batch.pairs.lose.cpu()])] = True
        used &= paired
    index = used.nonzero()[:, 0]
    if not len(index):
        return
    if len(index) == len(batch) and (rows is None or rows >= len(batch)):
        yield batch.trim()
        return
    length = batch.rollout.lengths.cpu()
    longest = torch.zeros(len(batch), dtype=torch.long).scatter_reduce(0, label, length, "amax")[label].tolist()
    group = label.tolist()
    order = sorted(index.tolist(), key=lambda k: (longest[k], group[k], k))
    part: list[int] = []
    for position, k in enumerate(order):
        part.append(k)
        ends = position + 1 == len(order) or group[order[position + 1]] != group[k]
        if ends and (position + 1 == len(order) or (rows is not None and len(part) >= rows)):
            yield batch[part].trim()
            part = []
