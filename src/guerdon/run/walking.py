"""Trajectories under way as a sampler of a run sees them: moved without gradients, their seconds counted."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, cast

import torch

from guerdon.core import PlanError, Policy
from guerdon.core.stepper import Walk

_WALKERS = ("Consistency", "Diffusion", "Flow", "MaskedDiffusion")


def begin_of(policy: Policy, asked_by: str) -> Callable[..., Walk]:
    """The policy's ``begin``.

    Raises:
        PlanError: for a policy that gives finished rows only.
    """
    begin = getattr(policy, "begin", None)
    if begin is None:
        known = ", ".join(f"policies.{n}" for n in _WALKERS)
        raise PlanError(
            f"{asked_by} walks step by step, and {type(policy).__name__} gives finished rows only: take one of {known}"
        )
    return cast(Callable[..., Walk], begin)


class _Timed:
    """Passes everything on; what it calls counts as time of a phase."""

    def __init__(self, walk: Walk, phase: Callable[[], AbstractContextManager[None]]):
        self._walk, self._phase = walk, phase

    def __getattr__(self, name: str) -> Any:
        with self._phase(), torch.no_grad():  # a property may ask the network as well
            found = getattr(self._walk, name)
        if not callable(found):
            return found

        def call(*args: Any, **kwargs: Any) -> Any:
            with self._phase(), torch.no_grad():
                out = found(*args, **kwargs)
            return _Timed(out, self._phase) if name in ("fork", "take") else out

        return call


def timed(walk: Walk, phase: Callable[[], AbstractContextManager[None]]) -> Walk:
    """The same walk, the seconds of its moves counted in ``phase``."""
    return cast(Walk, _Timed(walk, phase))
