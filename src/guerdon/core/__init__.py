"""The types of the loop: the only folder a newcomer must read.

``Items -> Policy.sample -> Rollout -> Reward -> RewardOutput -> Batch -> Objective -> reduce``.
"""

from guerdon.core.batch import Batch, Pairs, by_group, returns, rewards
from guerdon.core.errors import DataError, GuerdonError, ModelError, PlanError, RewardError, RunError, nearest
from guerdon.core.feedback import (
    Comparison,
    Correction,
    Critique,
    Demonstration,
    Feedback,
    ImplicitFeedback,
    Ranking,
    Rating,
    RubricLabel,
    SpanLabel,
)
from guerdon.core.logprob import Head, gaussian_logp, selected_logp
from guerdon.core.padding import pack, pad
from guerdon.core.policy import Policy, PolicyOutput
from guerdon.core.protocols import (
    Advantage,
    Check,
    Critic,
    Draw,
    Due,
    Finding,
    Learner,
    Objective,
    Sampler,
    Select,
    Source,
    Stateful,
    Term,
    Transform,
)
from guerdon.core.reduction import components, denominator, micro_batches, reduce, unit_weight
from guerdon.core.reward import Reward, RewardOutput
from guerdon.core.rollout import Behaviour, Items, Rollout, last_step, recorded
from guerdon.core.rows import Rows
from guerdon.core.streams import Stream, Streams, mix

__all__ = [
    "Advantage", "Batch", "Behaviour", "Check", "Comparison", "Correction", "Critic", "Critique", "DataError",
    "Demonstration", "Draw", "Due", "Feedback", "Finding", "GuerdonError", "Head", "ImplicitFeedback", "Items", "Learner",
    "ModelError", "Objective", "Pairs", "PlanError", "Policy", "PolicyOutput", "Ranking", "Rating", "Reward", "RewardError",
    "RewardOutput", "Rollout", "Rows", "RubricLabel", "RunError", "Sampler", "Select", "Source", "SpanLabel", "Stateful",
    "Stream", "Streams", "Term", "Transform", "by_group", "components", "denominator", "gaussian_logp", "last_step",
    "micro_batches", "mix", "nearest", "pack", "pad", "recorded", "reduce", "returns", "rewards", "selected_logp", "unit_weight",
]  # fmt: skip
