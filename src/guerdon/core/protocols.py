"""The roles of the loop as protocols. An atom is a frozen dataclass that meets one of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from torch import Tensor

from guerdon.core.batch import Batch
from guerdon.core.errors import PlanError
from guerdon.core.policy import PolicyOutput
from guerdon.core.reduction import Over, RowsOf, Unit
from guerdon.core.reward import RewardOutput, Scope
from guerdon.core.rollout import Items, Rollout
from guerdon.core.stepper import Walk
from guerdon.core.streams import Streams

Need = Literal["reference", "old", "logp", "exact_logp", "values", "value", "entropy", "pairs", "advantage", "reward"]


class Transform(Protocol):
    """Reshapes a reward: ``apply(init(), batch) -> (state, reward)``. State is explicit, so that it can be checkpointed."""

    @property
    def needs(self) -> frozenset[Need]: ...
    def init(self) -> Any: ...
    def apply(self, state: Any, batch: Batch) -> tuple[Any, RewardOutput]: ...


class Select(Protocol):
    """Decides after scoring what is trained on: returns the batch with ``weight`` or ``pairs`` set."""

    def __call__(self, batch: Batch, streams: Streams) -> Batch: ...


class Advantage(Protocol):
    """[B, T] credit of every step; pure. 0 where ``mask`` is False and on failed rows."""

    @property
    def needs(self) -> frozenset[Need]: ...
    def __call__(self, batch: Batch) -> Tensor: ...


class Objective(Protocol):
    """A loss per unit, pure, with declared needs that are checked before any compute."""

    @property
    def needs(self) -> frozenset[Need]: ...
    @property
    def unit(self) -> Unit: ...
    def __call__(self, new: PolicyOutput, batch: Batch) -> Tensor: ...


@dataclass(frozen=True)
class Term:
    """One loss among several on the same network, under one optimiser step.

    Args:
        objective: The loss.
        weight: Its factor.
        over: What the denominator counts, for losses per step: ``"step"``, ``"sample"`` or a fixed length.
        advantage: Which of ``batch.advantage`` the objective reads.
        rows: Which rows take part (None: all).
        dims: How log-probs of vector actions are read: ``"sum"`` over their dimensions, true densities whose ratios grow with
            them, or the ``"mean"``, a ratio per dimension (DDPO and Flow-GRPO clip that one). None: as the policy does. All terms
            of a plan's policy agree.
    """

    objective: Objective
    weight: float = 1.0
    over: Over = "step"
    advantage: str = "main"
    rows: RowsOf | None = None
    dims: Literal["sum", "mean"] | None = None

    def __post_init__(self) -> None:
        if self.dims not in (None, "sum", "mean"):
            raise PlanError(f"Term: dims is {self.dims!r}; expected 'sum', 'mean' or None")

    def view(self, batch: Batch) -> Batch:
        """The batch with this term's advantage in the place that objectives read."""
        if self.advantage == "main" or self.advantage not in batch.advantage:
            return batch
        return batch.replace(advantage={**batch.advantage, "main": batch.advantage[self.advantage]})


@dataclass(frozen=True)
class Due:
    """When a learner learns: from draw ``start`` to before ``stop``, at every ``every``-th draw, ``repeat`` times.

    >>> [k for k in range(8) if Due(every=2, start=3, stop=8).at(k)]
    [3, 5, 7]
    """

    every: int = 1
    repeat: int = 1
    start: int = 0
    stop: int | None = None

    def at(self, draw: int) -> bool:
        return draw >= self.start and (self.stop is None or draw < self.stop) and (draw - self.start) % self.every == 0


@runtime_checkable
class Stateful(Protocol):
    """Whatever changes during a run: saved in every checkpoint under its name in the plan.

    A state is a tree of dicts with string keys, lists, tensors, numbers, strings, bools and None.
    """

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: Mapping[str, Any]) -> Any: ...


class Pending(Protocol):
    """A reward that may still be computing."""

    def result(self) -> RewardOutput: ...


class Draw(Protocol):
    """What a sampler may do in one draw; every call has random streams of its own.

    ``step`` counts the draws before this one; ``begin`` gives trajectories under way instead of finished ones.
    """

    @property
    def scope(self) -> Scope: ...
    @property
    def step(self) -> int: ...
    def items(self, n: int) -> Items: ...
    def sample(self, items: Items, n: int, **controls: Any) -> Rollout: ...
    def begin(self, items: Items, n: int, **controls: Any) -> Walk: ...
    def read(self, items: Items, outputs: Sequence[Any]) -> Rollout: ...
    def score(self, rollout: Rollout) -> Pending: ...


class Sampler(Protocol):
    """Decides which trajectories are drawn, and has them scored."""

    def __call__(self, draw: Draw) -> tuple[Rollout, RewardOutput]: ...


class Source(Protocol):
    """Gives contexts, or recorded rollouts; hears what became of them."""

    def draw(self, n: int, *, streams: Streams) -> Items | Rollout: ...
    def tell(self, batch: Batch) -> None: ...


@dataclass(frozen=True)
class Finding:
    """One thing a check saw.

    Args:
        check: Name of the check.
        level: ``"info"``, ``"warning"`` or ``"error"``.
        message: One sentence for a reader who was not there.
        step: Draw at which it was seen, None for the run as a whole.
        evidence: Numbers and short texts that show it.
        advice: What to do about it.
    """

    check: str
    level: Literal["info", "warning", "error"]
    message: str
    step: int | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)
    advice: str = ""


class Learner(Protocol):
    """Anything that changes while the run goes on. ``run`` offers sample(), score(), streams."""

    due: Due

    def update(self, batch: Batch, run: Any) -> Mapping[str, float]: ...


class Critic(Protocol):
    """[B, T+1] expected return from every state on."""

    def values(self, rollout: Rollout) -> Tensor: ...


Check = Callable[[Batch, Any], Sequence[Finding]]
