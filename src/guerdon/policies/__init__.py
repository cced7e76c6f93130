"""What acts: language models and black boxes, the copies they are compared with, and the critics that foresee their returns."""

from guerdon.policies._load import LoRA
from guerdon.policies.blackbox import BlackBox
from guerdon.policies.causal_lm import CausalLM
from guerdon.policies.critics import FromReward, HeadOnPolicy, OwnTrunk
from guerdon.policies.references import EMA, AdaptersOff, Frozen, Snapshot

__all__ = ["EMA", "AdaptersOff", "BlackBox", "CausalLM", "FromReward", "Frozen", "HeadOnPolicy", "LoRA", "OwnTrunk", "Snapshot"]
