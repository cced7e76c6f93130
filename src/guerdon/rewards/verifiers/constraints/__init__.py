"""Verifiable kinds of constraint on a text: the 25 of IFEval (arXiv 2311.07911), by their names there."""

from collections.abc import Mapping

from guerdon.rewards.verifiers.constraints import combination, format, language, length, start_end, words
from guerdon.rewards.verifiers.constraints.kind import Kind, Parameter, Unusable

KINDS: Mapping[str, Kind] = {
    **words.KINDS,
    **language.KINDS,
    **length.KINDS,
    **format.KINDS,
    **combination.KINDS,
    **start_end.KINDS,
}

__all__ = ["KINDS", "Kind", "Parameter", "Unusable"]
