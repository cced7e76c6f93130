"""A run: the plan, the loop, the learners, and what is left on disk."""

from guerdon.core.protocols import Due, Term
from guerdon.run.execute import Result, load_policy, run
from guerdon.run.optim import AdamW
from guerdon.run.plan import Evaluation, Plan, Scoring, Stop
from guerdon.run.reward_learner import RewardLearner
from guerdon.run.reward_tree import build_reward
from guerdon.run.sources import Demonstrations, File, Preferences, Prompts
from guerdon.run.spec import Lazy, lazy
from guerdon.run.stage import stage
from guerdon.run.train import Train

__all__ = [
    "AdamW", "Demonstrations", "Due", "Evaluation", "File", "Lazy", "Plan", "Preferences", "Prompts", "Result",
    "RewardLearner", "Scoring", "Stop", "Term", "Train", "build_reward", "lazy", "load_policy", "run", "stage",
]  # fmt: skip
