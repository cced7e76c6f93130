"""What samplers share: items rolled out part by part and scored beside it, and the scoring of what is only foreseen."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from guerdon.core import Behaviour, Items, PlanError, RewardOutput, Rollout, mix
from guerdon.core.protocols import Draw
from guerdon.core.stepper import Walk


def in_chunks(draw: Draw, items: Items, chunk: int | None, roll: Callable[[Items], Rollout]) -> tuple[Rollout, RewardOutput]:
    """``roll`` for ``chunk`` items at a time; one part is scored while the next is rolled out, where the scope allows it."""
    parts = (roll(items[i]) for i in torch.arange(len(items)).split(chunk or len(items)))
    if draw.scope == "batch":
        rollout = Rollout.cat(list(parts))
        return rollout, draw.score(rollout).result()
    rollouts, pending = [], []
    for part in parts:
        rollouts.append(part)
        pending.append(draw.score(part))
    return Rollout.cat(rollouts), RewardOutput.cat([p.result() for p in pending])


def judged(draw: Draw, walk: Walk, outputs: Tensor | Sequence[Any], each: int = 1) -> RewardOutput:
    """Rewards [N * each] of what the walk's N rows might end in, ``each`` outputs of a row behind each other.

    They have identities of their own, so that a journal keeps their verdicts apart from those of the rows that come of it.
    """
    row = torch.arange(len(walk.uid)).repeat_interleave(each)
    asked = walk.items[row]
    return draw.score(
        Rollout(
            contexts=asked.contexts, outputs=outputs, actions=torch.zeros(len(row), 1, dtype=torch.long),
            mask=torch.ones(len(row), 1, dtype=torch.bool), group=walk.group.cpu()[row], info=asked.info,
            uid=mix(walk.uid.cpu()[row], "foreseen", walk.at, torch.arange(each).repeat(len(walk.uid))),
            behaviour=(Behaviour(engine="foreseen"),),
        )
    ).result()  # fmt: skip


def steered(rollout: Rollout, by: str) -> Rollout:
    """Rows whose steps the policy proposed and something else chose: without log-probs, as nobody knows those of the choice."""
    marked = (replace(b, engine="steered", extra=tuple(sorted((*b.extra, ("steered_by", by))))) for b in rollout.behaviour)
    return rollout.replace(logp=None, behaviour=tuple(marked))


def check_counts(name: str, **counts: Any) -> None:
    """Whole numbers of at least 1.

    Raises:
        PlanError: naming the first that is none.
    """
    for field, value in counts.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise PlanError(f"{name}: {field} must be a whole number of at least 1, got {value!r}")


def check_scope(draw: Draw, name: str, allowed: Collection[str]) -> None:
    """Before anything is sampled.

    Raises:
        PlanError: where the reward judges more rows together than the sampler has at hand.
    """
    if draw.scope not in allowed:
        expected = " or ".join(repr(a) for a in allowed)
        raise PlanError(f"{name} judges unfinished rows, so it needs a reward of scope {expected}, not {draw.scope!r}")
