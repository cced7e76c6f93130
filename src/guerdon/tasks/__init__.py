"""Small worlds with verifiable rewards, and base models for them that are trained on this machine in seconds.

``tasks.get("arithmetic").base()`` is a Hugging Face folder; ``tasks.TaskPrompts`` and ``tasks.ArithmeticReward`` go into a plan.
For control there are whole plans instead: ``tasks.control("CartPole-v1")``. Worlds of pictures have both: ``tasks.Shapes()``, and
``tasks.pictures("shapes")`` as a plan.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from guerdon.core.errors import PlanError, nearest
from guerdon.core.files import cache_folder
from guerdon.tasks.arithmetic import Arithmetic, ArithmeticReward
from guerdon.tasks.compared import compared, read_comparisons
from guerdon.tasks.countdown import Countdown, CountdownReward, distinct_solutions, solutions
from guerdon.tasks.picture_worlds import (
    Brightness,
    Compressibility,
    DenoiserStart,
    Digits,
    DigitsReward,
    Examples,
    GRPOSettings,
    Motion,
    PictureFeatures,
    PicturePrompts,
    PictureTask,
    Reading,
    RealPictures,
    Redness,
    Scene,
    Shapes,
    ShapesEdit,
    ShapesEditReward,
    ShapesOracle,
    ShapesReward,
    ShapesVideo,
    ShapesVideoReward,
    motion,
    picture_world,
    pictures,
    render,
    train_denoiser,
)
from guerdon.tasks.picture_worlds._ready_made import WORLDS
from guerdon.tasks.ppo_settings import PPOSettings
from guerdon.tasks.ready_made import control, settings_of, world_of
from guerdon.tasks.stories import Stories, StoriesReward
from guerdon.tasks.summaries import Summaries, SummariesReward, read_facts
from guerdon.tasks.task import Problem, Split, Task, TaskPrompts, split_of
from guerdon.tasks.vocabulary import Characters, Words
from guerdon.tasks.warm_start import LMConfig, Trained, WarmStart, train_lm

__all__ = [
    "Arithmetic", "ArithmeticReward", "Brightness", "Characters", "Compressibility", "Countdown", "CountdownReward",
    "DenoiserStart", "Digits", "DigitsReward", "Examples", "GRPOSettings", "LMConfig", "Motion", "PPOSettings",
    "PictureFeatures", "PicturePrompts", "PictureTask", "Problem", "Reading", "RealPictures", "Redness", "Scene", "Shapes",
    "ShapesEdit", "ShapesEditReward", "ShapesOracle", "ShapesReward", "ShapesVideo", "ShapesVideoReward", "Split",
    "Stories", "StoriesReward", "Summaries", "SummariesReward", "Task", "TaskPrompts", "Trained", "WarmStart", "Words",
    "base_model", "cache_folder", "compared", "control", "distinct_solutions", "get", "motion", "names", "picture_world",
    "pictures", "read_comparisons", "read_facts", "render", "settings_of", "solutions", "split_of", "train_denoiser",
    "train_lm", "world_of",
]  # fmt: skip

_TASKS: dict[str, type[Task]] = {t.name: t for t in (Arithmetic, Countdown, Stories, Summaries)}


def names() -> list[str]:
    """The names of all worlds of text; those of pictures are in ``picture_world``.

    >>> names()
    ['arithmetic', 'countdown', 'stories', 'summaries']
    """
    return sorted(_TASKS)


def get(name: str, *, tiny: bool = False, **changes: Any) -> Task:
    """A world by its name, with some of its fields changed.

    Args:
        name: One of ``names()``.
        tiny: Start from the version that is made in seconds.
        changes: Fields of the world, such as ``high=20``.

    Raises:
        PlanError: for an unknown name or field, with the nearest known one.

    >>> get("countdown", count=4).count
    4
    """
    import dataclasses

    if name in WORLDS:
        raise PlanError(f"{name!r} is a world of pictures: tasks.picture_world({name!r}), or tasks.pictures({name!r}) for a plan")
    if name not in _TASKS:
        raise PlanError(f"no task {name!r}; {nearest(name, _TASKS)}")
    task = _TASKS[name].tiny() if tiny else _TASKS[name]()
    fields = [f.name for f in dataclasses.fields(task)]
    for key in changes:
        if key not in fields:
            raise PlanError(f"{type(task).__name__} has no field {key!r}; {nearest(key, fields)}")
    return dataclasses.replace(task, **changes)


def base_model(name: str, *, tiny: bool = False, **changes: Any) -> Path:
    """The Hugging Face folder of a world's base model, trained now when the cache lacks it; arguments as for ``get``."""
    return get(name, tiny=tiny, **changes).base()
