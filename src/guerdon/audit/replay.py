"""Acting a recorded episode again, to see it: nothing needs to be rendered while episodes are drawn."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from guerdon.core.world import Episode, Start, World, WorldSpec

Picture = NDArray[np.uint8]
TOLERANCE = 1e-3  # relative and absolute; actions in float32 and another machine's arithmetic stay far below it


class Film(NamedTuple):
    """Pictures of an episode.

    Attributes:
        pictures: [H, W, 3] uint8 each; empty where there are none.
        at: The step each was taken at, 0 being the start.
        reason: Why there are none, ``""`` where there are.
    """

    pictures: tuple[Picture, ...] = ()
    at: tuple[int, ...] = ()
    reason: str = ""


def film(start: Start, episode: Episode, frames: int = 8) -> Film:
    """Pictures of an episode, evenly spaced, from acting its actions again in a fresh world.

    Every state is compared with the recorded one: where they differ, the pictures would show another episode, and the reason
    says at which step it parts.

    Args:
        start: The state it began in; its world makes the pictures.
        episode: Its actions, and what was observed.
        frames: How many pictures, the first and the last state included.

    Example:
        >>> from guerdon.worlds import GridWorld
        >>> world, slot = GridWorld("corridor"), torch.tensor([0])
        >>> first, _ = world.open(1).reset(slot, torch.tensor([7]))
        >>> film(Start(world, 7), Episode(first, torch.zeros(0, dtype=torch.long))).at       # nothing was done yet
        (0,)
        >>> film(Start(world, 7), Episode(first + 1, torch.zeros(0, dtype=torch.long))).reason
        'acted again from its seed, the episode parts from the recorded one at step 0'
    """
    return films([(start, episode)], frames)[0]


def films(episodes: Sequence[tuple[Start, Episode]], frames: int = 8) -> list[Film]:
    """``film`` of several episodes; neighbours in the same world share one, because a renderer may take seconds to begin."""
    found: list[Film] = []
    spec: WorldSpec | None = None
    world: World | None = None
    for start, episode in episodes:
        try:
            if world is None or start.world != spec:
                _close(world)
                spec, world = start.world, None
                world = spec.open(1)
            found.append(_acted(world, start.seed, episode, spread(len(episode), frames)))
        except Exception as e:  # noqa: BLE001  pictures are an extra: whatever a renderer raises becomes the reason why there are none
            lines = str(e).strip().splitlines()
            found.append(Film(reason=f"rendering raised {type(e).__name__}{f': {lines[0][:200]}' if lines else ''}"))
    _close(world)
    return found


def spread(steps: int, frames: int) -> tuple[int, ...]:
    """States 0 to ``steps`` to look at, evenly spaced, both ends among them.

    >>> spread(100, 5), spread(2, 8)
    ((0, 25, 50, 75, 100), (0, 1, 2))
    """
    return tuple(sorted({round(v) for v in np.linspace(0, steps, max(2, frames)).tolist()}))


def _acted(world: World, seed: int, episode: Episode, at: tuple[int, ...]) -> Film:
    slot = torch.tensor([0])
    observation, failed = world.reset(slot, torch.tensor([seed]))
    if failed[0]:
        return Film(reason=f"the world did not begin again: {failed[0]}")
    pictures: list[Picture] = []
    for t in range(len(episode) + 1):
        if not same(observation[0], episode.observations[t]):
            return Film(reason=f"acted again from its seed, the episode parts from the recorded one at step {t:,}")
        if t in at:
            picture = world.render(0)
            if picture is None:
                return Film(reason="the world has no pictures")
            pictures.append(np.asarray(picture))
        if t < len(episode):
            done = world.step(slot, episode.actions[t : t + 1])
            if done.failed[0]:
                return Film(reason=f"acted again, the world broke at step {t:,}: {done.failed[0]}")
            observation = done.observation
    odd = next(
        (p for p in pictures if p.ndim != 3 or p.shape[2] != 3 or p.dtype != np.uint8 or p.shape != pictures[0].shape), None
    )
    if odd is not None:
        return Film(reason=f"a picture is {odd.dtype} of shape {odd.shape}, expected uint8 [H, W, 3], all of one size")
    return Film(tuple(pictures), at)


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether two observations are the same but for rounding.

    >>> same(torch.tensor([1.0]), torch.tensor([1.00001])), same(torch.tensor(3), torch.tensor(4))
    (True, False)
    """
    if a.shape != b.shape:
        return False
    return bool(torch.allclose(a.double(), b.double(), rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True))


def _close(world: World | None) -> None:
    if world is not None:
        with contextlib.suppress(Exception):  # it was only opened for pictures, and these are taken
            world.close()
