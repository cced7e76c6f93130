"""Rewards learned from feedback: models, ensembles of them, and the fit."""

from guerdon.rewards.learned.ensemble import Ensemble, load_learned
from guerdon.rewards.learned.fit import FitSettings, Fitted, fit_reward
from guerdon.rewards.learned.losses import BradleyTerry, Davidson, GaussianNLL, RaoKupper, SquaredError, centring
from guerdon.rewards.learned.model import RewardModel
from guerdon.rewards.learned.text import PLAIN

__all__ = [
    "PLAIN", "BradleyTerry", "Davidson", "Ensemble", "FitSettings", "Fitted", "GaussianNLL", "RaoKupper", "RewardModel",
    "SquaredError", "centring", "fit_reward", "load_learned",
]  # fmt: skip
