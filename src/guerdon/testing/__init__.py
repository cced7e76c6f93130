"""Contracts that every atom meets, as functions anyone can run on their own policies, rewards, transforms and objectives.

``example_policies()`` and its siblings give tiny instances by name; the project's own tests iterate over them, so an atom that
is added to its list is held to every contract.
"""

from guerdon.testing._annotators import check_annotator, example_annotated, example_annotators
from guerdon.testing._atoms import (
    example_advantages,
    example_batch,
    example_objectives,
    example_output,
    example_selects,
    example_transforms,
)
from guerdon.testing._base import ContractError
from guerdon.testing._check_atoms import check_advantage, check_learner, check_objective, check_select, check_transform
from guerdon.testing._check_policy import check_policy
from guerdon.testing._check_reward import check_reward
from guerdon.testing._learned import tiny_process_reward, tiny_reward_model
from guerdon.testing._models import tiny_lm, tiny_model, tiny_tokenizer
from guerdon.testing._policies import example_policies
from guerdon.testing._rewards import example_rewards

__all__ = [
    "ContractError", "check_advantage", "check_annotator", "check_learner", "check_objective", "check_policy", "check_reward",
    "check_select", "check_transform", "example_advantages", "example_annotated", "example_annotators", "example_batch",
    "example_objectives", "example_output", "example_policies", "example_rewards", "example_selects", "example_transforms",
    "tiny_lm", "tiny_model", "tiny_process_reward", "tiny_reward_model", "tiny_tokenizer",
]  # fmt: skip
