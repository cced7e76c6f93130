"""The contract of a policy: what it says after acting is what it did."""

from __future__ import annotations

import copy
from typing import Any

import torch

from guerdon.core import Items, Policy, Rollout, Streams
from guerdon.testing._base import demand, shuffled

_TOLERANCE = {"float64": 1e-9, "float32": 1e-4}


def check_policy(
    policy: Policy,
    items: Items,
    *,
    n: int = 4,
    tolerance: float | None = None,
    micro: tuple[int, ...] = (1, 3, 8),
    **controls: Any,
) -> float:
    """Sample, replay, and compare; returns the largest difference of log-probs at a step, in nats.

    Checked: shapes and identities, the same bits from the same streams, log-probs of ``forward`` against those of ``sample`` at
    every micro-batch size, under padding and in another order, zeros outside the mask, and a gradient that reaches a parameter.

    Args:
        policy: Anything that can sample and replay. It is copied, never changed.
        items: What to sample for.
        n: Samples per item.
        tolerance: Nats a step; None: 1e-9 in float64, 1e-4 in float32 (give 1e-3 for continuous actions in float32).
        micro: Micro-batch sizes.
        controls: How to sample.

    Raises:
        ContractError: saying what is broken and by how much.

    Example:
        >>> from guerdon.testing import check_policy, example_policies
        >>> policy, items = example_policies()["tiny-text"]
        >>> check_policy(policy, items, temperature=0.7) < 1e-9
        True
    """
    name, streams = type(policy).__name__, Streams(11)

    def sample() -> Rollout:
        with torch.no_grad():
            return copy.deepcopy(policy).sample(items, n, streams=streams, **controls)

    rollout, again = sample().check(), sample()
    demand(torch.equal(rollout.actions, again.actions), f"{name}: the same streams gave different actions")
    demand(set(rollout.group.tolist()) <= set(items.uid.tolist()), f"{name}: rollout.group is not the items' uid")
    demand(len(rollout.uid.unique()) == len(rollout), f"{name}: two rows share a uid")
    demand(rollout.logp is not None, f"{name}: sample() kept no log-probs")
    dtype = next((str(p.dtype).removeprefix("torch.") for p in policy.parameters()), "float32")
    limit = tolerance if tolerance is not None else _TOLERANCE.get(dtype, 1e-4)
    worst = 0.0
    for size in micro:
        worst = max(worst, _gap(policy, [rollout[i] for i in torch.arange(len(rollout)).split(size)]))
        demand(worst <= limit, f"{name}: |delta logp| {worst:.3g} nats a step at micro-batch {size}, allowed {limit:.3g}")
    order = shuffled(len(rollout))
    worst = max(worst, _gap(policy, [rollout[order]]))
    demand(worst <= limit, f"{name}: |delta logp| {worst:.3g} nats a step in another row order, allowed {limit:.3g}")
    longer = Rollout.cat([rollout, _lengthened(rollout[:1])])[list(range(len(rollout)))]
    worst = max(worst, _gap(policy, [longer]))
    demand(worst <= limit, f"{name}: |delta logp| {worst:.3g} nats a step under padding, allowed {limit:.3g}")
    _check_gradient(policy, rollout, name)
    return worst


def _gap(policy: Policy, parts: list[Rollout]) -> float:
    worst = 0.0
    with torch.no_grad():
        for part in parts:
            logp = policy(part).need("logp")
            demand(logp.shape == part.mask.shape, f"{type(policy).__name__}: logp has shape {tuple(logp.shape)}")
            demand(bool((logp[~part.mask] == 0).all()), f"{type(policy).__name__}: logp is not 0 where the policy did not choose")
            assert part.logp is not None
            if part.mask.any():
                worst = max(worst, float((logp - part.logp).abs()[part.mask].max()))
    return worst


def _lengthened(row: Rollout) -> Rollout:
    def more(x: torch.Tensor | None) -> torch.Tensor | None:
        return None if x is None else torch.cat([x, torch.zeros_like(x[:, :1]).expand(-1, 5, *x.shape[2:])], 1)

    trace = {k: more(v) for k, v in row.trace.items()}
    return row.replace(actions=more(row.actions), mask=more(row.mask), logp=more(row.logp), states=more(row.states),
                       node=more(row.node), trace=trace)  # fmt: skip


def _check_gradient(policy: Policy, rollout: Rollout, name: str) -> None:
    trained = copy.deepcopy(policy)
    trained(rollout).need("logp").sum().backward()
    moved = [p for p in trained.parameters() if p.grad is not None and bool((p.grad != 0).any())]
    demand(moved, f"{name}: the gradient of logp reaches no parameter")
    demand(
        all(bool(torch.isfinite(p.grad).all()) for p in moved if p.grad is not None),
        f"{name}: the gradient of logp is not finite",
    )
