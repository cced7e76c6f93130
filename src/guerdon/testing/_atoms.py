"""Every public atom once, as a tiny instance by name; and a random valid batch to try them on."""

from __future__ import annotations

import torch
from torch import Tensor

from guerdon.core import (
    Advantage,
    Batch,
    Behaviour,
    Objective,
    Pairs,
    PolicyOutput,
    RewardOutput,
    Rollout,
    Select,
    Streams,
    Transform,
    last_step,
)
from guerdon.core.streams import mix


def example_transforms() -> dict[str, Transform]:
    """One tiny instance of every public transform, by name; a second one where an option changes what it does."""
    from guerdon import transforms as t

    return {
        "AdaptiveKL": t.AdaptiveKL(target=2.0, horizon=100, init_beta=0.1),
        "AgainstReferences": t.AgainstReferences(t.Sigmoid(2.0), column="rating"),
        "Center": t.Center(),
        "Center.group": t.Center(over="group"),
        "Chain": t.Chain((t.TokenKL(0.1), t.Center(), t.RunningNormalise(), t.Clip(-1.0, 1.0))),
        "Clip": t.Clip(lo=-0.5, hi=0.5),
        "ClipUpper": t.ClipUpper(ends="fluency"),
        "Delta": t.Delta(ends="fluency"),
        "Gate": t.Gate("correct", threshold=1.0, floor=-1.0),
        "LengthPenalty": t.LengthPenalty(0.1, free=1),
        "Lift": t.Lift("quality", weight=0.5),
        "LogSigmoidCentred": t.LogSigmoidCentred(column="rating"),
        "NormaliseParts": t.NormaliseParts({"quality": 1.0, "correct": 0.5}),
        "On.part": t.On("part/quality", t.Standardise()),
        "On.step": t.On("step", t.Chain((t.Center(over="group"), t.RunningNormalise(clip=2.0)))),
        "OverlongPenalty": t.OverlongPenalty(limit=5, buffer=3),
        "Pessimism": t.Pessimism(0.5),
        "Ramp": t.Ramp(0.0, 2.0),
        "RunningMinMax": t.RunningMinMax(),
        "RunningNormalise": t.RunningNormalise(clip=3.0),
        "Scale": t.Scale(2.0),
        "ScaleByReturn": t.ScaleByReturn(gamma=0.9, clip=2.0),
        "Sigmoid": t.Sigmoid(scale=2.0, shift=0.1),
        "Standardise": t.Standardise(),
        "Standardise.group": t.Standardise(over="group"),
        "TokenKL": t.TokenKL(0.1),
        "TokenKL.k3": t.TokenKL(0.1, estimator="k3"),
        "WeightedParts": t.WeightedParts({"quality": 1.0, "correct": -0.5, "fluency": 0.1}),
    }


def example_advantages() -> dict[str, Advantage]:
    """One tiny instance of every public advantage, by name; a second one where an option changes what it does."""
    from guerdon import advantages as a

    return {
        "BatchNorm": a.BatchNorm(),
        "GAE": a.GAE(gamma=0.9, lam=0.8),
        "GroupNorm": a.GroupNorm(),
        "GroupNorm.batch_std": a.GroupNorm(std="batch"),
        "GroupNorm.no_std": a.GroupNorm(std=False, trained_only=True),
        "LambdaReturns": a.LambdaReturns(gamma=0.9, lam=0.8),
        "PerPart": a.PerPart(a.GroupNorm(), {"quality": 1.0, "fluency": 0.5}),
        "RLOO": a.RLOO(),
        "Remax": a.Remax(),
        "Returns": a.Returns(gamma=0.9),
        "Tree": a.Tree(),
        "Tree.siblings": a.Tree("siblings", std=False),
        "Whiten": a.Whiten(a.GAE(gamma=0.9)),
    }


def example_selects() -> dict[str, Select]:
    """One tiny instance of every public selection, by name; a second one where an option changes what it does."""
    from guerdon import selection as s

    return {
        "AllPairs": s.AllPairs(min_gap=0.1),
        "BestOfN": s.BestOfN(k=2),
        "BestVsWorst": s.BestVsWorst(margin=0.1),
        "DropDeadGroups": s.DropDeadGroups(),
        "GivenPairs": s.GivenPairs(),
        "GivenPairs.rating": s.GivenPairs(column="rating", label=None),
        "MaxVariance": s.MaxVariance(k=2),
        "RandomPairs": s.RandomPairs(k=2),
        "Threshold": s.Threshold(0.0),
        "TopFraction": s.TopFraction(0.5),
        "TopFraction.group": s.TopFraction(0.5, over="group"),
    }


def example_objectives() -> dict[str, Objective]:
    """One tiny instance of every public objective, by name; a further one for every part that can be swapped."""
    from guerdon import objectives as o

    return {
        "DPO": o.DPO(beta=0.5, label_smoothing=0.1, margin_scale=0.1),
        "DPO.f_divergence": o.DPO(beta=0.5, divergence=o.JensenShannon()),
        "DPO.hinge": o.DPO(beta=0.5, loss=o.HingeLoss()),
        "DPO.ipo": o.DPO(beta=0.5, loss=o.IPOLoss(), average=True),
        "DPO.simpo": o.DPO(beta=2.0, reference=None, average=True, margin=0.5),
        "PolicyGradient": o.PolicyGradient(),
        "PolicyGradient.cispo": o.PolicyGradient(clip=o.CISPO(high=1.0)),
        "PolicyGradient.dual": o.PolicyGradient(clip=o.Clip(0.2, 0.28, dual=2.0), entropy=0.01),
        "PolicyGradient.gspo": o.PolicyGradient(ratio=o.SequenceRatio(), clip=o.Clip(0.05, 0.05)),
        "PolicyGradient.gspo_token": o.PolicyGradient(ratio=o.SequenceRatio(per_step=True), clip=o.Clip(0.05, 0.05)),
        "PolicyGradient.kl": o.PolicyGradient(kl=o.KL(0.1)),
        "PolicyGradient.kl_corrected": o.PolicyGradient(kl=o.KL(0.1, estimator="k2", corrected=True)),
        "PolicyGradient.sapo": o.PolicyGradient(clip=o.SoftClip()),
        "PolicyGradient.truncated": o.PolicyGradient(truncate=1.1),
        "PolicyGradient.unclipped": o.PolicyGradient(clip=None),
        "Reinforce": o.Reinforce(entropy=0.01),
        "SFT": o.SFT(),
        "ValueLoss": o.ValueLoss(gamma=0.9, lam=0.8),
        "ValueLoss.clip": o.ValueLoss(gamma=0.9, lam=0.8, clip=0.2),
        "ValueLoss.target": o.ValueLoss(target="other"),
    }


def example_batch(
    seed: int = 0,
    groups: int = 3,
    n: int = 4,
    steps: int = 8,
    fail: float = 0.25,
    holes: bool = True,
    dtype: torch.dtype = torch.double,
) -> Batch:
    """A random valid batch that has everything an atom may read.

    Its rows differ in length, begin with steps that were not chosen (a prompt), may have holes (tool output), and end in padding
    that holds arbitrary numbers. Row k*n + j is sample j of group k.

    Args:
        seed: Another batch.
        groups: Contexts.
        n: Samples of each.
        steps: T, at least 4.
        fail: Fraction of rows that could not be scored, rounded down; never two rows of one group if there are enough groups.
        holes: Whether chosen steps may be interrupted.
        dtype: Of all floating-point tensors.

    Returns:
        Parts ``quality``, ``correct`` (0 or 1) and ``fluency`` ([B, T]); info ``baseline``, ``preferred`` (bool), ``rating``;
        refs ``reference`` and ``old``; values ``critic``; advantages ``main`` and ``other``; pairs with labels, margins, weights.

    Example:
        >>> batch = example_batch(seed=3)
        >>> len(batch), int((~batch.reward.ok).sum())
        (12, 3)
    """
    rows = groups * n
    streams = Streams(seed).fork("example")
    uid = streams.samples(streams.uids(groups), n)

    def normal(role: str, width: int = 1) -> Tensor:
        return streams(role, uid).normal(width).to(dtype)

    mask = _mask(streams, uid, steps, holes)
    acted = torch.where(mask, -normal("logp", steps).abs() - 0.1, 0.0)
    rollout = Rollout(
        contexts=[f"question {k // n}" for k in range(rows)],
        outputs=[f"answer {k}" for k in range(rows)],
        actions=streams("action", uid).integers(11, steps),
        mask=mask,
        group=streams.uids(groups).repeat_interleave(n),
        uid=uid,
        logp=acted,
        node=mask.long().cumsum(1),
        terminal=streams("terminal", uid).uniform(1)[:, 0] < 0.6,
        behaviour=(Behaviour(policy="example"),),
        info={
            "baseline": normal("baseline")[:, 0],
            "preferred": [j % 2 == 0 for _ in range(groups) for j in range(n)],
            "rating": normal("rating")[:, 0],
        },
    ).check()
    correct = (streams("correct", uid).uniform(1)[:, 0] < 0.5).to(dtype)
    fluency = torch.where(mask, normal("fluency", steps), 0.0)
    ok = torch.ones(rows, dtype=torch.bool)
    places = [k * n + j for j in range(n) for k in range(groups)]  # spread over groups first
    ok[places[: int(fail * rows)]] = False
    raw = RewardOutput(
        total=normal("total")[:, 0],
        ok=ok,
        reason=["" if k else "the judge gave no verdict" for k in ok.tolist()],
        step=torch.where(mask, 0.1 * normal("step", steps), 0.0),
        parts={"quality": normal("quality")[:, 0], "correct": correct, "fluency": fluency},
        std=normal("std")[:, 0].abs(),
    ).checked()
    refs = {
        name: PolicyOutput(logp=torch.where(mask, acted + scale * normal(name, steps), 0.0))
        for name, scale in (("reference", 0.3), ("old", 0.05))
    }
    inside = torch.arange(steps + 1) <= last_step(mask)[:, None] + 1
    batch = Batch(
        rollout, raw, raw, refs=refs,
        advantage={name: torch.where(mask & ok[:, None], normal(name, steps), 0.0) for name in ("main", "other")},
        values={"critic": torch.where(inside, normal("value", steps + 1), 0.0)},
        weight=torch.ones(rows, dtype=dtype), progress=0.25,
    )  # fmt: skip
    return batch.replace(pairs=_pairs(batch, streams, n))


def example_output(batch: Batch, seed: int = 0, scale: float = 0.3) -> PolicyOutput:
    """What a slightly moved policy might say of the batch: log-probs near those of the policy that acted, entropy and values.

    Args:
        batch: The rows.
        seed: Another output.
        scale: Deviation of the log-ratios in nats.

    Returns:
        Leaves that require gradients, so that ``output.logp.grad`` is there after a backward pass.

    Example:
        >>> bool((example_output(example_batch()).logp <= 0).all())
        True
    """
    rollout = batch.rollout
    streams, dtype = Streams(seed).fork("output"), batch.weight.dtype
    assert rollout.logp is not None
    moved = rollout.logp + scale * streams("logp", rollout.uid).normal(rollout.steps).to(dtype)
    entropy = streams("entropy", rollout.uid).uniform(rollout.steps).to(dtype)
    value = streams("value", rollout.uid).normal(rollout.steps + 1).to(dtype)
    fields = (torch.where(rollout.mask, moved.clamp(max=-1e-3), 0.0), torch.where(rollout.mask, entropy, 0.0), value)
    logp, entropy, value = (x.requires_grad_() for x in fields)
    return PolicyOutput(logp=logp, entropy=entropy, value=value)


def _mask(streams: Streams, uid: Tensor, steps: int, holes: bool) -> Tensor:
    """Chosen steps between a prompt of one or two steps and a length of their own; at least two in every row."""
    position = torch.arange(steps)
    first = streams("prompt", uid).integers(2, 1) + 1
    length = streams("length", uid).integers(steps - 3, 1) + 4
    mask = (position >= first) & (position < length)
    if not holes:
        return mask
    hole = streams("hole", uid).uniform(steps) < 0.3
    return mask & (~hole | (position == first) | (position == length - 1))


def _pairs(batch: Batch, streams: Streams, n: int) -> Pairs:
    """Two pairs of every group with at least four rows, else one; some with failed rows, which must then not count."""
    rows = torch.arange(len(batch)).reshape(-1, n)
    couples = [(0, 1), (2, 3)] if n >= 4 else [(0, 1)] if n >= 2 else []
    win = torch.cat([torch.zeros(0, dtype=torch.long), *(rows[:, a] for a, _ in couples)])
    lose = torch.cat([torch.zeros(0, dtype=torch.long), *(rows[:, b] for _, b in couples)])
    key = mix(streams.seed, "pairs", torch.arange(len(win)))
    drawn = streams("pairs", key).uniform(3).to(batch.weight.dtype)
    return Pairs(win, lose, label=0.5 + 0.5 * drawn[:, 0], margin=drawn[:, 1], weight=0.5 + drawn[:, 2])
