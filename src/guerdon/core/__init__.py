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
from guerdon.core.steps import one_step_rows, transitions
from guerdon.core.streams import Stream, Streams, mix
from guerdon.core.world import Box, Discrete, Episode, Slot, Space, Spaces, Start, Stepped, World, WorldSpec

__all__ = [
    "Advantage", "Batch", "Behaviour", "Box", "Check", "Comparison", "Correction", "Critic", "Critique", "DataError",
    "Demonstration", "Discrete", "Draw", "Due", "Episode", "Feedback", "Finding", "GuerdonError", "Head", "ImplicitFeedback",
    "Items", "Learner", "ModelError", "Objective", "Pairs", "PlanError", "Policy", "PolicyOutput", "Ranking", "Rating",
    "Reward", "RewardError", "RewardOutput", "Rollout", "Rows", "RubricLabel", "RunError", "Sampler", "Select", "Slot",
    "Source", "Space", "Spaces", "SpanLabel", "Start", "Stateful", "Stepped", "Stream", "Streams", "Term", "Transform",
    "World", "WorldSpec", "by_group", "components", "denominator", "gaussian_logp", "last_step", "micro_batches", "mix",
    "nearest", "one_step_rows", "pack", "pad", "recorded", "reduce", "returns", "rewards", "selected_logp", "transitions",
    "unit_weight",
]  # fmt: skip
