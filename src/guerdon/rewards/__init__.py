"""What scores a trajectory. Any callable becomes a reward (``as_reward``, ``load_reward``); ``Scorer`` computes it safely."""

from guerdon.core.rollout import recorded
from guerdon.rewards.child import close_pools
from guerdon.rewards.column import Column
from guerdon.rewards.environment import Environment
from guerdon.rewards.flipped import Flipped
from guerdon.rewards.format import Format
from guerdon.rewards.journal import Journal
from guerdon.rewards.json_schema import JSONSchema
from guerdon.rewards.keywords import Keywords
from guerdon.rewards.learned import (
    BradleyTerry,
    Davidson,
    Ensemble,
    FitSettings,
    Fitted,
    GaussianNLL,
    ProcessReward,
    RaoKupper,
    RewardModel,
    SquaredError,
    fit_process_reward,
    fit_reward,
    load_learned,
    step_accuracy,
)
from guerdon.rewards.length import Length
from guerdon.rewards.lift import Function, as_reward
from guerdon.rewards.load import load_reward
from guerdon.rewards.mixture import Mixture
from guerdon.rewards.reasoning_pattern import ReasoningPattern
from guerdon.rewards.regex import Regex
from guerdon.rewards.rouge import Rouge
from guerdon.rewards.sandbox import Limits
from guerdon.rewards.scoring import Scorer
from guerdon.rewards.sentiment import Sentiment
from guerdon.rewards.verifiers import (
    SQL,
    InputOutput,
    Instructions,
    Maths,
    Molecules,
    ToolCalls,
    UnitTests,
    Verilog,
)

__all__ = [
    "SQL", "BradleyTerry", "Column", "Davidson", "Ensemble", "Environment", "FitSettings", "Fitted", "Flipped", "Format",
    "Function", "GaussianNLL", "InputOutput", "Instructions", "JSONSchema", "Journal", "Keywords", "Length", "Limits",
    "Maths", "Mixture", "Molecules", "ProcessReward", "RaoKupper", "ReasoningPattern", "Regex", "RewardModel", "Rouge",
    "Scorer", "Sentiment", "SquaredError", "ToolCalls", "UnitTests", "Verilog", "as_reward", "close_pools",
    "fit_process_reward", "fit_reward", "load_learned", "load_reward", "recorded", "step_accuracy",
]  # fmt: skip
