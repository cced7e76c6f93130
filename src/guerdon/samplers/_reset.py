"""Reset: rows that begin from given outputs, partly turned back into noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from guerdon.core import DataError, Items, PlanError, RewardOutput, Rollout, nearest
from guerdon.core.protocols import Draw
from guerdon.samplers._parts import check_counts, in_chunks


@dataclass(frozen=True)
class Reset:
    """``n`` rows for each context, each from a given output that was noised to ``level`` and is walked back from there.

    The further back, the freer: at level 1 of 20 almost nothing of the output is left, at level 19 almost all. Only the walked
    steps are rows' steps, so a training step costs as much less. Where a row begins was not chosen by the policy; from there on
    the rows are its own, with log-probs.

    Args:
        level: Level to begin at, counted from noise (0) to data; a policy of 20 steps has 20 - level left to walk.
        column: Column of the source that holds the outputs (it stays in ``info``, so that a reward can compare); None: the
            contexts' own ``source`` (``policies.Edit``).
        contexts: Contexts per draw.
        n: Rows per context; they form a group.
        chunk: Contexts walked at once (None: all); results do not depend on it.
        controls: How to act: ``steps``, ``kernel``, ``window`` (levels count from noise here, too), ``shared_start`` (the n rows
            begin in the same noise) ...

    Raises:
        PlanError: for a column that the source does not have.
        DataError: for contexts without a source.

    Example:
        >>> Reset(level=8, column="clip", controls={"steps": 20})  # InstructVideo: the last 12 of 20 steps
        Reset(level=8, column='clip', contexts=8, n=8, chunk=None, controls={'steps': 20})

    Sources: SDEdit (arXiv:2108.01073), InstructVideo (arXiv:2312.12490).
    """

    walks: ClassVar[bool] = True

    level: int
    column: str | None = None
    contexts: int = 8
    n: int = 8
    chunk: int | None = None
    controls: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_counts("Reset", level=self.level, contexts=self.contexts, n=self.n, chunk=1 if self.chunk is None else self.chunk)

    def __call__(self, draw: Draw) -> tuple[Rollout, RewardOutput]:
        items = draw.items(self.contexts)
        self._given(items)
        return in_chunks(draw, items, self.chunk, lambda part: draw.begin(
            part, self.n, outputs=self._given(part), level=self.level, **self.controls).finish())  # fmt: skip

    def _given(self, items: Items) -> Sequence[Any]:
        """[N] outputs to begin from."""
        if self.column is not None:
            if self.column not in items.info:
                raise PlanError(f"Reset: the source has no column {self.column!r}; {nearest(self.column, items.info)}")
            return items.info[self.column]
        for context in items.contexts:
            if getattr(context, "source", None) is None:
                raise DataError(f"Reset: a context of type {type(context).__name__} has no source; name the column of outputs")
        return [context.source for context in items.contexts]
