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
from guerdon.policies.heads import GaussianValue, HLGauss, Scalar
from guerdon.policies.q_heads import Boltzmann, EpsilonGreedy
from guerdon.policies.references import EMA, AdaptersOff, Frozen, Snapshot

__all__ = [
    "CNN", "EMA", "GRU", "MLP", "ActionValue", "AdaptersOff", "BlackBox", "Boltzmann", "Categorical", "CausalLM", "Control",
    "EpsilonGreedy", "FromReward", "Frozen", "Gaussian", "GaussianValue", "HLGauss", "HeadOnPolicy", "LoRA", "OwnTrunk",
    "SB3Value", "Scalar", "Snapshot", "StateDependentGaussian", "StateValue", "TanhGaussian",
]  # fmt: skip
