"""ObservationStatistics: the learner of what observations usually look like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from guerdon.core import Batch, Due, PlanError

_BUFFERS = {"mean", "var", "count"}


@dataclass(frozen=True)
class ObservationStatistics:
    """Moves the running mean and variance that networks normalise their observations with.

    Every module of the policy and the critics that keeps such statistics (``policies.Control.of(..., normalise=True)``) sees the
    states of the draw once each: those in which an action was chosen, of rows that did not fail. A fragment's last state is the
    next one's first and waits for it.

    List it after the learners of the weights: within a draw nothing moves, so that a log-prob replayed right after sampling is
    the sampled one. The new statistics hold from the next draw on.

    Args:
        due: When it learns.

    Example:
        >>> from guerdon.run import ObservationStatistics, Train
        >>> from guerdon.objectives import PolicyGradient
        >>> learners = {"policy": Train(PolicyGradient()), "observations": ObservationStatistics()}
    """

    due: Due = Due()

    def build(self, network: nn.Module) -> ObservationStatistics:
        return self

    def update(self, batch: Batch, run: Any) -> dict[str, float]:
        """Show the draw's states to every front module.

        Raises:
            PlanError: where no network normalises its observations, or the rollout has no states.
        """
        found = {id(m): m for network in run.modules().values() for m in network.modules() if keeps_statistics(m)}
        states, rollout = batch.rollout.states, batch.rollout
        if not found:
            raise PlanError("ObservationStatistics: no network normalises its observations; build one with normalise=True")
        if states is None:
            raise PlanError("ObservationStatistics: the rollout has no states")
        chosen = rollout.mask & batch.reward.ok[:, None].to(rollout.mask.device)
        seen = states[:, :-1][chosen]
        for module in found.values():
            with torch.no_grad():
                module.update(seen)
        return {"states": float(len(seen))}


def keeps_statistics(module: nn.Module) -> bool:
    """Whether a module has running statistics of its own and a way to move them."""
    return {n for n, _ in module.named_buffers(recurse=False)} >= _BUFFERS and callable(getattr(module, "update", None))
