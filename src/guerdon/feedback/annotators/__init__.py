"""Simulated annotators: what they like (a reward), how they choose (a model of choice), what goes wrong (flips), who they are."""

from guerdon.feedback.annotators._base import Annotator, Judgement, Skipped, Verdicts
from guerdon.feedback.annotators._choice import BradleyTerry, Davidson, RaoKupper
from guerdon.feedback.annotators._flips import Flips
from guerdon.feedback.annotators._pairs import all_pairs, random_pairs
from guerdon.feedback.annotators._population import Population
from guerdon.feedback.annotators._scale import RatingScale
from guerdon.feedback.annotators._utility import Advantages, Biased, Regret

__all__ = [
    "Advantages", "Annotator", "Biased", "BradleyTerry", "Davidson", "Flips", "Judgement", "Population", "RaoKupper",
    "RatingScale", "Regret", "Skipped", "Verdicts", "all_pairs", "random_pairs",
]  # fmt: skip
