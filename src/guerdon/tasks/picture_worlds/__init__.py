"""Worlds of pictures: what they show, what reads them back, and how base models of them are made."""

from guerdon.tasks.picture_worlds._denoiser import DenoiserStart, TrainedDenoiser, train_denoiser
from guerdon.tasks.picture_worlds._digits import Digits, DigitsReward
from guerdon.tasks.picture_worlds._edit import ShapesEdit, ShapesEditReward
from guerdon.tasks.picture_worlds._hackable import Brightness, Compressibility, Redness
from guerdon.tasks.picture_worlds._oracle import Reading, ShapesOracle
from guerdon.tasks.picture_worlds._reader import PictureFeatures, Reader
from guerdon.tasks.picture_worlds._ready_made import GRPOSettings, picture_world, pictures
from guerdon.tasks.picture_worlds._render import render
from guerdon.tasks.picture_worlds._scene import Scene
from guerdon.tasks.picture_worlds._shapes import Shapes, ShapesReward
from guerdon.tasks.picture_worlds._task import Examples, PicturePrompts, PictureTask, RealPictures
from guerdon.tasks.picture_worlds._video import Motion, ShapesVideo, ShapesVideoReward, motion

__all__ = [
    "Brightness", "Compressibility", "DenoiserStart", "Digits", "DigitsReward", "Examples", "GRPOSettings", "Motion",
    "PictureFeatures", "PicturePrompts", "PictureTask", "Reader", "Reading", "RealPictures", "Redness", "Scene", "Shapes",
    "ShapesEdit", "ShapesEditReward", "ShapesOracle", "ShapesReward", "ShapesVideo", "ShapesVideoReward", "TrainedDenoiser",
    "motion", "picture_world", "pictures", "render", "train_denoiser",
]  # fmt: skip
