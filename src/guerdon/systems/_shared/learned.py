"""A reward learned from comparisons in a world whose hidden preference is known: made once, then kept in the cache."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from guerdon import feedback, tasks
from guerdon.rewards import FitSettings, fit_reward
from guerdon.run.spec import to_tree
from guerdon.tasks.cache import cached

VERSION = 1  # to be raised with any change below that changes the weights


def plausible_verdicts(task: tasks.Task, *, temperature: float = 0.05, flips: float = 0.25) -> feedback.Annotator:
    """Annotators who know the hidden preference, are unsure where it hardly differs, and err outright in a share of cases.

    Args:
        task: The world.
        temperature: In units of the hidden preference.
        flips: Share of verdicts that are inverted.
    """
    return feedback.Flips(feedback.BradleyTerry(task.reward(), temperature), flips)


def learned_reward(
    task: tasks.Task,
    annotator: feedback.Annotator,
    *,
    comparisons: int,
    seed: int,
    members: int = 1,
    settings: FitSettings | None = None,
) -> Path:
    """The folder of a Bradley-Terry reward, fitted to comparisons of the base model's answers; ``Ensemble`` or ``RewardModel``
    load it.

    Args:
        task: The world; the reward starts from its base model.
        annotator: Who compares.
        comparisons: Prompts, each with one pair of answers.
        seed: Of the comparisons and of the fit.
        members: Rewards that differ by their seeds.
        settings: Of the fit, its seed and device excepted.
    """
    from dataclasses import replace

    settings = replace(settings or FitSettings(epochs=1, lr=1e-3, batch=32), seed=seed, device="cpu")
    recipe = {
        "world": task.recipe(), "annotator": to_tree(annotator), "comparisons": comparisons, "seed": seed, "members": members,
        "settings": asdict(settings), "version": VERSION,
    }  # fmt: skip

    def make() -> Callable[[Path], Mapping[str, Any]]:
        found = tasks.read_comparisons(tasks.compared(task, annotator, comparisons, seed=seed))
        fitted = fit_reward(found, str(task.base()), settings=settings, members=members)

        def write(folder: Path) -> Mapping[str, Any]:
            fitted.save(folder / "reward")
            return {}

        return write

    return cached(f"{task.name}-reward", recipe, make) / "reward"
