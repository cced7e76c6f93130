"""What scores a trajectory. Any callable becomes a reward (``as_reward``, ``load_reward``); ``Scorer`` computes it safely."""

from guerdon.core.rollout import recorded
from guerdon.rewards.child import close_pools
from guerdon.rewards.column import Column
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
    RaoKupper,
    RewardModel,
    SquaredError,
    fit_reward,
    load_learned,
)
from guerdon.rewards.length import Length
from guerdon.rewards.lift import Function, as_reward
from guerdon.rewards.load import load_reward
from guerdon.rewards.maths import Maths
from guerdon.rewards.mixture import Mixture
from guerdon.rewards.regex import Regex
from guerdon.rewards.scoring import Scorer
from guerdon.rewards.sentiment import Sentiment

__all__ = [
    "BradleyTerry", "Column", "Davidson", "Ensemble", "FitSettings", "Fitted", "Format", "Function", "GaussianNLL",
    "JSONSchema", "Journal", "Keywords", "Length", "Maths", "Mixture", "RaoKupper", "Regex", "RewardModel", "Scorer",
    "Sentiment", "SquaredError", "as_reward", "close_pools", "fit_reward", "load_learned", "load_reward", "recorded",
]  # fmt: skip
