"""Losses of critics."""

from guerdon.objectives.value._value_loss import ValueLoss

__all__ = ["ValueLoss"]
