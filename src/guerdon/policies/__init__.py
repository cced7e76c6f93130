"""What acts: language models and black boxes, the copies they are compared with, and the critics that foresee their returns."""

from guerdon.policies._load import LoRA
from guerdon.policies.action_values import ActionValue
from guerdon.policies.blackbox import BlackBox
from guerdon.policies.causal_lm import CausalLM
from guerdon.policies.control import (
    CNN,
    GRU,
    MLP,
    Categorical,
    Control,
    Gaussian,
    SB3Value,
    StateDependentGaussian,
    StateValue,
    TanhGaussian,
)
from guerdon.policies.critics import FromReward, HeadOnPolicy, OwnTrunk
from guerdon.policies.denoising import (
    CPS,
    DDIM,
    DDPM,
    Ancestral,
    ByConfidence,
    Condition,
    Consistency,
    Cosine,
    DenoiserMLP,
    Denoising,
    Diffusion,
    Distillation,
    Edit,
    Edits,
    Fill,
    Flow,
    FlowSDE,
    Greedy,
    Labels,
    Linear,
    MaskedDiffusion,
    RandomOrder,
    Renoise,
    Straight,
    TokenMLP,
    TokenTable,
    TokenTransformer,
    UNet,
    Words,
)
from guerdon.policies.heads import GaussianValue, HLGauss, Scalar
from guerdon.policies.q_heads import Boltzmann, EpsilonGreedy
from guerdon.policies.references import EMA, AdaptersOff, Frozen, Snapshot

__all__ = [
    "CNN", "CPS", "DDIM", "DDPM", "EMA", "GRU", "MLP", "ActionValue", "AdaptersOff", "Ancestral", "BlackBox", "Boltzmann",
    "ByConfidence", "Categorical", "CausalLM", "Condition", "Consistency", "Control", "Cosine", "DenoiserMLP", "Denoising",
    "Diffusion", "Distillation", "Edit", "Edits", "EpsilonGreedy", "Fill", "Flow", "FlowSDE", "FromReward", "Frozen",
    "Gaussian", "GaussianValue", "Greedy", "HLGauss", "HeadOnPolicy", "Labels", "Linear", "LoRA", "MaskedDiffusion", "OwnTrunk",
    "RandomOrder", "Renoise", "SB3Value", "Scalar", "Snapshot", "StateDependentGaussian", "StateValue", "Straight",
    "TanhGaussian", "TokenMLP", "TokenTable", "TokenTransformer", "UNet", "Words",
]  # fmt: skip
