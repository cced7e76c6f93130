"""Losses of comparisons between trajectories."""

from guerdon.objectives.preference._dpo import DPO, displacement
from guerdon.objectives.preference._losses import HingeLoss, IPOLoss, SigmoidLoss

__all__ = ["DPO", "HingeLoss", "IPOLoss", "SigmoidLoss", "displacement"]
