"""Losses and gradients equal those of TRL, computed by TRL's own code or, without it, by numbers it once gave."""

import functools
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor
from trl_problem import ROWS, VARIANTS, Variant, batch_of, entropy_of, logp_of, problem

from guerdon.core import Batch, PolicyOutput, denominator, micro_batches, reduce

GOLDEN = Path(__file__).parent / "golden" / "trl.json"


def ours(variant: Variant, rows: int | None, batch: Batch | None = None) -> tuple[float, Tensor]:
    """Loss over all micro-batches and its gradient with respect to the logits."""
    p = problem()
    batch = batch_of(p, variant) if batch is None else batch
    logits = p.logits.clone().requires_grad_()
    objective = variant.objective
    total = denominator(batch, objective.unit, variant.over)
    loss = 0.0
    for micro in micro_batches(batch, [objective.unit], rows):
        r = micro.rollout
        table = logits[r.uid][:, : r.steps]
        new = PolicyOutput(logp=logp_of(table, r.actions, r.mask), entropy=entropy_of(table, r.mask))
        part = reduce(objective(new, micro), micro, total, objective.unit, variant.over)
        part.backward()
        loss += float(part.detach())
    assert logits.grad is not None
    return loss, logits.grad


def relative(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max() / b.abs().max())


@functools.cache
def golden() -> dict:
    return json.loads(GOLDEN.read_text(encoding="utf-8"))


@pytest.mark.parametrize("rows", [None, 3])
@pytest.mark.parametrize("name", VARIANTS)
def test_equal_to_the_numbers_trl_gave(name, rows):
    loss, gradient = ours(VARIANTS[name], rows)
    entry = golden()["variants"][name]
    assert loss == pytest.approx(entry["loss"], rel=1e-6)
    assert relative(gradient, torch.tensor(entry["gradient"], dtype=torch.double).reshape(golden()["shape"])) < 1e-6


@pytest.mark.parametrize("name", VARIANTS)
def test_equal_to_trl_itself(name):
    pytest.importorskip("trl")
    import trl_peer

    loss, gradient = trl_peer.loss_and_gradient(problem(), VARIANTS[name])
    mine, my_gradient = ours(VARIANTS[name], 2)
    assert mine == pytest.approx(loss, rel=1e-6)
    assert relative(my_gradient, gradient) < 1e-6


def test_trl_averages_bnpo_over_micro_batches():
    """Its bnpo loss depends on how rows are split; each micro-batch by itself is ours."""
    pytest.importorskip("trl")
    import trl_peer

    variant = VARIANTS["bnpo"]
    split = Variant(variant.objective, "step", "grpo", variant.options, micro=4)
    loss, gradient = trl_peer.loss_and_gradient(problem(), split)
    parts = [ours(variant, None, batch_of(problem(), variant)[rows]) for rows in torch.arange(ROWS).chunk(4)]
    assert sum(part for part, _ in parts) / 4 == pytest.approx(loss, rel=1e-6)
    assert relative(sum(g for _, g in parts) / 4, gradient) < 1e-6
    assert ours(variant, None)[0] != pytest.approx(loss, rel=1e-3)


def test_the_problem_is_hard_enough():
    """Ragged masks with holes, ratios on both sides of the bounds, and a clip that matters under either sign."""
    p = problem()
    ratio = (logp_of(p.logits, p.ids, p.mask) - p.old)[p.mask].exp()
    side = p.advantage[:, None].expand(p.mask.shape)[p.mask]
    assert ((ratio > 1.3) & (side > 0)).any()
    assert ((ratio > 1.3) & (side < 0)).any()
    assert ((ratio < 0.8) & (side < 0)).any()
    assert ((p.old - p.sampler)[p.mask].exp() > 1.1).any()
    assert len(set(p.mask.sum(1).tolist())) > 2
    inside = p.attention[:, 3:] & ~p.mask[:, 3:]
    assert inside.any()
