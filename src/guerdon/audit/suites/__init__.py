"""Benchmarks of rewards, recomputed from stored scores: they only measure, and run no model."""

from guerdon.audit.suites.rewardmath import Model, OneToMany, aggregate, math_prm, one_to_many, rewardmath

__all__ = ["Model", "OneToMany", "aggregate", "math_prm", "one_to_many", "rewardmath"]
