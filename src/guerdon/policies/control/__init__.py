"""Policies that act in worlds: fronts, bodies and heads, composed."""

from guerdon.policies.control._bodies import CNN, GRU, MLP
from guerdon.policies.control._gsde import StateDependentGaussian
from guerdon.policies.control._heads import Categorical, Gaussian, TanhGaussian
from guerdon.policies.control._sb3_value import SB3Value
from guerdon.policies.control.policy import Control
from guerdon.policies.control.value import StateValue

__all__ = [
    "CNN",
    "GRU",
    "MLP",
    "Categorical",
    "Control",
    "Gaussian",
    "SB3Value",
    "StateDependentGaussian",
    "StateValue",
    "TanhGaussian",
]
