"""Objectives: a loss per unit (step, sample, pair), the same for every kind of policy; ``core.reduce`` makes it a number."""

from guerdon.objectives._sft import SFT
from guerdon.objectives.divergences import Alpha, ForwardKL, JensenShannon, ReverseKL, kl_estimate
from guerdon.objectives.policy_gradient import (
    CISPO,
    KL,
    Clip,
    PolicyGradient,
    Reinforce,
    SequenceRatio,
    SoftClip,
    TokenRatio,
    ratio_stats,
)
from guerdon.objectives.preference import DPO, HingeLoss, IPOLoss, SigmoidLoss, displacement
from guerdon.objectives.value import ValueLoss

__all__ = [
    "CISPO", "DPO", "KL", "SFT", "Alpha", "Clip", "ForwardKL", "HingeLoss", "IPOLoss", "JensenShannon", "PolicyGradient",
    "Reinforce", "ReverseKL", "SequenceRatio", "SigmoidLoss", "SoftClip", "TokenRatio", "ValueLoss", "displacement",
    "kl_estimate", "ratio_stats",
]  # fmt: skip
