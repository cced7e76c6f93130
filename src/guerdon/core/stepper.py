"""Stepper: trajectories under way, one step at a time, so that a sampler may look, choose, branch and go back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, Self

from torch import Tensor

from guerdon.core.rollout import Items, Rollout
from guerdon.core.streams import Stream, Streams


class Proposal(Protocol):
    """Where one step may go, for N rows."""

    @property
    def chosen(self) -> Tensor:
        """[N] bool; False where the step is a plain map."""
        ...

    @property
    def clean(self) -> Tensor:
        """[N, ...] the final state as the policy foresees it from here."""
        ...

    def draw(self, stream: Stream, start: int) -> Tensor:
        """[N, ...] next states, from numbers of the stream at positions that belong to ``start`` alone."""
        ...

    def logp(self, after: Tensor) -> Tensor:
        """[N] float64 nats of going to ``after`` [N, ...]; 0 where nothing was chosen."""
        ...

    def entropy(self) -> Tensor:
        """[N] float64 nats; 0 where nothing is chosen."""
        ...


class Walk(Protocol):
    """N trajectories, all at the same step. It moves; what it has walked so far stays as it is.

    A policy's ``begin(items, n, streams=..., **controls)`` gives one, and its ``sample`` is ``begin(...).finish()``.
    """

    items: Items
    uid: Tensor
    group: Tensor
    streams: Streams
    at: int
    steps: int

    @property
    def done(self) -> bool:
        """Whether no step is left."""
        ...

    @property
    def state(self) -> Tensor:
        """[N, ...] where the rows are."""
        ...

    def propose(self) -> Proposal:
        """Where they may go; computed once, until the walk moves."""
        ...

    def advance(self, after: Tensor | None = None) -> None:
        """Go to ``after`` [N, ...], or (None) to a draw of the walk's own."""
        ...

    def candidates(self, m: int) -> Tensor:
        """[N, m, ...] independent draws of the next step."""
        ...

    def foresee(self, states: Tensor) -> Tensor | Sequence[Sequence[Any]]:
        """[N, m, ...] (or N lists of m) outputs that the policy foresees if the rows went to ``states`` [N, m, ...] now."""
        ...

    @property
    def foreseen(self) -> Tensor | Sequence[Any]:
        """[N, ...] outputs that the policy foresees from where the rows are; the outputs themselves at the end."""
        ...

    def fork(self, n: int) -> Self:
        """Every row ``n`` times in a row, each with a uid of its own from here on."""
        ...

    def take(self, rows: Tensor) -> Self:
        """Some rows, in any order and number; a row taken twice goes on as two."""
        ...

    def finish(self, **changes: Any) -> Rollout:
        """Walk to the end; the rows."""
        ...
