"""A run: the plan, the loop, the learners, and what is left on disk."""

from guerdon.core.protocols import Due, Term
from guerdon.run.backups import Expected, Greedy
from guerdon.run.distil import Distil
from guerdon.run.drawn import drawn
from guerdon.run.execute import Result, load_policy, run
from guerdon.run.improve import EntropyTarget, Improve
from guerdon.run.observation_statistics import ObservationStatistics
from guerdon.run.optim import AdamW
from guerdon.run.pathwise import Pathwise
from guerdon.run.plan import Evaluation, Plan, Scoring, Stop
from guerdon.run.reward_learner import RewardLearner
from guerdon.run.reward_tree import build_reward
from guerdon.run.sources import Demonstrations, Episodes, File, Fragments, Pictures, Preferences, Prompts, Recorded, Replay
from guerdon.run.spec import Lazy, lazy
from guerdon.run.stage import stage
from guerdon.run.td import TD
from guerdon.run.train import Train

__all__ = [
    "TD", "AdamW", "Demonstrations", "Distil", "Due", "EntropyTarget", "Episodes", "Evaluation", "Expected", "File",
    "Fragments", "Greedy", "Improve", "Lazy", "ObservationStatistics", "Pathwise", "Pictures", "Plan", "Preferences",
    "Prompts", "Recorded", "Replay", "Result", "RewardLearner", "Scoring", "Stop", "Term", "Train", "build_reward", "drawn",
    "lazy", "load_policy", "run", "stage",
]  # fmt: skip
