"""Rewards learned from feedback: models, ensembles of them, and the fit."""

from guerdon.rewards.learned.ensemble import Ensemble, load_learned
from guerdon.rewards.learned.fit import FitSettings, Fitted, fit_reward
from guerdon.rewards.learned.losses import BradleyTerry, Davidson, GaussianNLL, RaoKupper, SquaredError, centring
from guerdon.rewards.learned.model import RewardModel
from guerdon.rewards.learned.process import ProcessReward
from guerdon.rewards.learned.process_fit import fit_process_reward, step_accuracy
from guerdon.rewards.learned.text import PLAIN

__all__ = [
    "PLAIN", "BradleyTerry", "Davidson", "Ensemble", "FitSettings", "Fitted", "GaussianNLL", "ProcessReward", "RaoKupper",
    "RewardModel", "SquaredError", "centring", "fit_process_reward", "fit_reward", "load_learned", "step_accuracy",
]  # fmt: skip
