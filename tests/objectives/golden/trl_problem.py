"""A small fixed training problem, in float64, that this library and a peer are both given; and the variants that are compared.

Eight rows: prompts of ragged length padded on the left, answers of ragged length with holes (tool output), one free logit per
row, position and id. Numbers come from counter-based streams, so they are the same on every machine and torch version.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from guerdon import objectives as o
from guerdon.core import Batch, Pairs, PolicyOutput, RewardOutput, Rollout, Streams

ROWS, PROMPT, ANSWER, VOCAB, LENGTH = 8, 3, 6, 5, 9
LONGEST = 11  # the fixed length of Dr. GRPO


@dataclass(frozen=True)
class Problem:
    ids: Tensor  # [B, L] prompt and answer
    attention: Tensor  # [B, L] bool, no padding
    mask: Tensor  # [B, L] bool, chosen
    logits: Tensor  # [B, L, V]: logits[b, t] are those of ids[b, t + 1]
    reference_logits: Tensor
    old: Tensor  # [B, L] log-probs of the policy that acted, 0 where not chosen
    sampler: Tensor  # [B, L] what another engine said of it
    advantage: Tensor  # [B]
    step_advantage: Tensor  # [B, L]


def problem() -> Problem:
    rows = torch.arange(ROWS)
    streams = Streams(20)

    def normal(role: str, *shape: int) -> Tensor:
        return streams(role, rows).normal(int(torch.tensor(shape).prod())).reshape(ROWS, *shape)

    position = torch.arange(LENGTH)
    prompt = streams("prompt", rows).integers(PROMPT, 1) + 1
    answer = streams("answer", rows).integers(ANSWER - 2, 1) + 3
    attention = (position >= PROMPT - prompt) & (position < PROMPT + answer)
    hole = (streams("hole", rows).uniform(LENGTH) < 0.3) & (position > PROMPT) & (position < PROMPT + answer - 1)
    mask = attention & (position >= PROMPT) & ~hole
    ids = streams("ids", rows).integers(VOCAB, LENGTH)
    logits, reference = (
        normal("logits", LENGTH, VOCAB),
        normal("logits", LENGTH, VOCAB) + 0.4 * normal("reference", LENGTH, VOCAB),
    )
    new = logp_of(logits, ids, mask)
    old = torch.where(mask, new + 0.3 * normal("old", LENGTH), 0.0)
    return Problem(
        ids, attention, mask, logits, reference, old,
        sampler=torch.where(mask, old + 0.2 * normal("sampler", LENGTH), 0.0),
        advantage=normal("advantage", 1)[:, 0], step_advantage=normal("step", LENGTH),
    )  # fmt: skip


def logp_of(logits: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
    """[B, L] log-prob of every id given those before it, 0 where not chosen; plain log-softmax."""
    before = torch.cat([torch.zeros_like(logits[:, :1]), logits[:, :-1]], 1)
    return torch.where(mask, before.log_softmax(-1).gather(-1, ids[..., None])[..., 0], 0.0)


def entropy_of(logits: Tensor, mask: Tensor) -> Tensor:
    before = torch.cat([torch.zeros_like(logits[:, :1]), logits[:, :-1]], 1).log_softmax(-1)
    return torch.where(mask, -(before.exp() * before).sum(-1), 0.0)


def batch_of(p: Problem, variant: "Variant") -> Batch:
    """The problem as this library sees it."""
    truncated = isinstance(variant.objective, o.PolicyGradient) and variant.objective.truncate is not None
    rollout = Rollout(
        contexts=[""] * ROWS, outputs=[""] * ROWS, actions=p.ids, mask=p.mask, group=torch.arange(ROWS) // 2,
        uid=torch.arange(ROWS), logp=p.sampler if truncated else p.old,
    ).check()  # fmt: skip
    refs = {
        "reference": PolicyOutput(logp=logp_of(p.reference_logits, p.ids, p.mask)),
        "old": PolicyOutput(logp=p.old),
    }
    advantage = p.step_advantage if variant.per_step else p.advantage[:, None].expand(ROWS, LENGTH)
    batch = Batch.of(rollout, RewardOutput.of(torch.zeros(ROWS, dtype=torch.double))).replace(
        advantage={"main": torch.where(p.mask, advantage, 0.0)}, refs=refs, weight=torch.ones(ROWS, dtype=torch.double)
    )
    even = torch.arange(0, ROWS, 2)
    one = torch.ones(ROWS // 2, dtype=torch.double)
    return batch.replace(pairs=Pairs(even, even + 1, label=one, weight=one))


@dataclass(frozen=True)
class Variant:
    """One loss in both languages.

    Args:
        objective: Ours.
        over: What ours is divided by.
        trainer: ``"grpo"`` or ``"dpo"``.
        options: The peer's attributes.
        micro: Micro-batches the peer accumulates over; 1 where its own result depends on how rows are split.
        per_step: Advantages that differ between steps.
    """

    objective: o.PolicyGradient | o.DPO
    over: str | int
    trainer: str
    options: dict = field(default_factory=dict)
    micro: int = 4
    per_step: bool = False


def _grpo(loss_type: str, **options) -> dict:
    return {"loss_type": loss_type, "epsilon_low": 0.2, "epsilon_high": 0.2, **options}


CLIP = o.Clip(0.2, 0.2)
VARIANTS = {
    "grpo": Variant(o.PolicyGradient(clip=CLIP), "sample", "grpo", _grpo("grpo")),
    "bnpo": Variant(o.PolicyGradient(clip=CLIP), "step", "grpo", _grpo("bnpo"), micro=1),
    "dr_grpo": Variant(o.PolicyGradient(clip=CLIP), LONGEST, "grpo", _grpo("dr_grpo")),
    "dapo": Variant(o.PolicyGradient(clip=o.Clip(0.2, 0.28)), "step", "grpo", _grpo("dapo", epsilon_high=0.28)),
    "grpo_kl": Variant(o.PolicyGradient(clip=CLIP, kl=o.KL(0.1)), "sample", "grpo", _grpo("grpo", beta=0.1)),
    "bnpo_kl": Variant(o.PolicyGradient(clip=CLIP, kl=o.KL(0.1)), "step", "grpo", _grpo("bnpo", beta=0.1), micro=1),
    "dr_grpo_kl": Variant(o.PolicyGradient(clip=CLIP, kl=o.KL(0.1)), LONGEST, "grpo", _grpo("dr_grpo", beta=0.1)),
    "dapo_kl": Variant(o.PolicyGradient(clip=CLIP, kl=o.KL(0.1)), "step", "grpo", _grpo("dapo", beta=0.1)),
    "grpo_kl_corrected": Variant(
        o.PolicyGradient(clip=CLIP, kl=o.KL(0.1, corrected=True)), "sample", "grpo",
        _grpo("grpo", beta=0.1, use_bias_correction_kl=True),
    ),
    "grpo_per_step": Variant(o.PolicyGradient(clip=CLIP), "sample", "grpo", _grpo("grpo"), per_step=True),
    "grpo_dual": Variant(o.PolicyGradient(clip=o.Clip(0.2, 0.2, dual=1.3)), "sample", "grpo", _grpo("grpo", delta=1.3)),
    "gspo": Variant(
        o.PolicyGradient(ratio=o.SequenceRatio(), clip=o.Clip(0.05, 0.06)), "sample", "grpo",
        _grpo("grpo", epsilon_low=0.05, epsilon_high=0.06, importance_sampling_level="sequence"),
    ),
    "cispo": Variant(o.PolicyGradient(clip=o.CISPO(high=0.25)), "step", "grpo", _grpo("cispo", epsilon_high=1.25)),
    "sapo": Variant(o.PolicyGradient(clip=o.SoftClip(1.0, 1.05)), "sample", "grpo", _grpo("sapo")),
    "dapo_truncated": Variant(
        o.PolicyGradient(clip=CLIP, truncate=1.1, kl=o.KL(0.1)), "step", "grpo", _grpo("dapo", beta=0.1, truncate=1.1),
    ),
    "bnpo_entropy": Variant(
        o.PolicyGradient(clip=CLIP, entropy=0.05), "step", "grpo", _grpo("bnpo", entropy_coef=0.05), micro=1,
    ),
    "dpo": Variant(o.DPO(beta=0.3), "step", "dpo", {"loss_types": ["sigmoid"]}),
    "dpo_hinge": Variant(o.DPO(beta=0.3, loss=o.HingeLoss()), "step", "dpo", {"loss_types": ["hinge"]}),
    "dpo_ipo": Variant(o.DPO(beta=0.3, loss=o.IPOLoss(), average=True), "step", "dpo", {"loss_types": ["ipo"]}),
    "dpo_average": Variant(o.DPO(beta=0.3, average=True), "step", "dpo", {"loss_types": ["sigmoid_norm"]}),
    "dpo_jensen_shannon": Variant(
        o.DPO(beta=0.3, divergence=o.JensenShannon()), "step", "dpo",
        {"loss_types": ["sigmoid"], "f_divergence_type": "js_divergence"},
    ),
    "dpo_forward_kl": Variant(
        o.DPO(beta=0.3, divergence=o.ForwardKL()), "step", "dpo", {"loss_types": ["sigmoid"], "f_divergence_type": "forward_kl"},
    ),
}  # fmt: skip
