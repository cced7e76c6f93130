"""Losses of sampled actions, weighted by how much better they were than expected."""

from guerdon.objectives.policy_gradient._clip import CISPO, Clip, SoftClip
from guerdon.objectives.policy_gradient._kl import KL
from guerdon.objectives.policy_gradient._policy_gradient import PolicyGradient
from guerdon.objectives.policy_gradient._ratio import SequenceRatio, TokenRatio
from guerdon.objectives.policy_gradient._reinforce import Reinforce
from guerdon.objectives.policy_gradient._stats import ratio_stats

__all__ = ["CISPO", "KL", "Clip", "PolicyGradient", "Reinforce", "SequenceRatio", "SoftClip", "TokenRatio", "ratio_stats"]
