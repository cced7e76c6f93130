"""Selection: after scoring, which rows are trained on (``weight``) and how they are compared (``pairs``)."""

from guerdon.selection._best_of_n import BestOfN, TopFraction
from guerdon.selection._filters import DropDeadGroups, Threshold
from guerdon.selection._given_pairs import GivenPairs
from guerdon.selection._max_variance import MaxVariance
from guerdon.selection._pairs import AllPairs, BestVsWorst, RandomPairs

__all__ = [
    "AllPairs", "BestOfN", "BestVsWorst", "DropDeadGroups", "GivenPairs", "MaxVariance", "RandomPairs", "Threshold",
    "TopFraction",
]  # fmt: skip
