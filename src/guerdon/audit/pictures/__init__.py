"""Measures of pictures: how different samples are from each other, how far from real data; and grids of them.

A measure is a frozen spec; ``open()`` reads the real data it names and gives a function from a rollout to named figures. A plan
lists them in ``Evaluation(measures=...)``.
"""

from guerdon.audit.pictures._base import Figures as Figures
from guerdon.audit.pictures._base import Measure as Measure
from guerdon.audit.pictures._data import PictureFile
from guerdon.audit.pictures._features import Pixels
from guerdon.audit.pictures._frechet import FrechetDistance, frechet_distance
from guerdon.audit.pictures._grid import Grid as Grid
from guerdon.audit.pictures._grid import frames_shown, grid
from guerdon.audit.pictures._look import frames_of, share_beyond, told
from guerdon.audit.pictures._off_data import OffDataDistance
from guerdon.audit.pictures._pairwise import PairwiseDistance, pairwise_distance
from guerdon.audit.pictures._vendi import CosineKernel, GaussianKernel, Vendi, vendi_score

__all__ = [
    "CosineKernel", "FrechetDistance", "GaussianKernel", "OffDataDistance", "PairwiseDistance", "PictureFile", "Pixels", "Vendi",
    "frames_of", "frames_shown", "frechet_distance", "grid", "pairwise_distance", "share_beyond", "told", "vendi_score",
]  # fmt: skip
