"""Items (what is asked) and Rollout (what was done): the two records that policies read and write."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import torch
from torch import Tensor

from guerdon.core.rows import Index, Rows, cat, row_index, take, to_device


@dataclass(frozen=True)
class Behaviour:
    """Who acted and how. What must match between acting and replaying is here; the weights' ``version`` may differ.

    Args:
        policy: Identity of the policy (name or path, template, tokenizer).
        version: How many updates the weights had seen.
        temperature: Divisor of the logits (1: as is). Values below 1 sharpen.
        top_p: Nucleus mass kept (1: all).
        top_k: Number of actions kept (0: all).
        engine: What generated, such as ``"guerdon"``, ``"vllm"`` or ``"recorded"``.
        dtype: Number format the policy acted in.
        dims: Whether log-probs of vector actions are summed or averaged over dimensions.
        extra: Further settings that a modality needs to match (noise schedule, eta), as sorted (name, value) pairs.
    """

    policy: str = ""
    version: int = 0
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    engine: str = "guerdon"
    dtype: str = "float32"
    dims: Literal["sum", "mean"] = "sum"
    extra: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True)
class Items(Rows):
    """What a source draws: ``contexts`` with their columns and one identity each.

    Args:
        contexts: [N] prompts, conditionings, first observations, instances.
        uid: [N] int64 identities, from ``Streams.uids``.
        info: Columns of N entries (answers, tests, user ids); they travel to the rollout's ``info``.
    """

    contexts: Sequence[Any]
    uid: Tensor
    info: Mapping[str, Any] = field(default_factory=dict)

    def repeat(self, n: int) -> Items:
        """Every item ``n`` times in a row."""
        return self[torch.arange(len(self)).repeat_interleave(n)]


@dataclass(frozen=True)
class Rollout(Rows):
    """B trajectories of at most T steps. A step is a token, a denoising step, an environment step: nobody downstream asks.

    Rows start at step 0; whatever lies behind a row's last chosen step is padding and never read by a policy's ``forward``.

    Args:
        contexts: [B] what was asked.
        outputs: [B] decoded artefacts: text, image, episode, tour.
        actions: [B, T, ...]; for language models the whole id sequence (prompt, tool output, answer), never re-tokenised.
        mask: [B, T] bool, True where the policy chose; need not be contiguous.
        group: [B] int64, equal for rows that answer the same item (its uid).
        uid: [B] int64 row identity: random streams, caches, late verdicts, de-duplication.
        logp: [B, T] nats under the policy that acted, as it acted; 0 where it did not choose; None for a black box.
        states: [B, T+1, ...] observations or x_T .. x_0, None where actions tell all. Where actions are a view of
            ``states[:, 1:]``, they stay one in every copy: pictures are stored once.
        node: [B, T] int, one turn / sentence / solution step along a row; equal across rows for a shared prefix.
        terminal: [B] bool, ended by itself (True) or cut off (False).
        behaviour: Who acted and how.
        actor: [B] int64 index into ``behaviour``.
        info: Columns of B entries.
        trace: Columns [B, T, ...] beside the steps (environment rewards, kept sets).
    """

    contexts: Sequence[Any]
    outputs: Sequence[Any] | Tensor
    actions: Tensor
    mask: Tensor
    group: Tensor
    uid: Tensor
    logp: Tensor | None = None
    states: Tensor | None = None
    node: Tensor | None = None
    terminal: Tensor = field(default=None)  # type: ignore[assignment]
    behaviour: tuple[Behaviour, ...] = (Behaviour(),)
    actor: Tensor = field(default=None)  # type: ignore[assignment]
    info: Mapping[str, Any] = field(default_factory=dict)
    trace: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rows = self.mask.shape[0]
        if self.terminal is None:
            object.__setattr__(self, "terminal", torch.ones(rows, dtype=torch.bool))
        if self.actor is None:
            object.__setattr__(self, "actor", torch.zeros(rows, dtype=torch.long))

    def __len__(self) -> int:
        return self.mask.shape[0]

    @property
    def steps(self) -> int:
        """T, padding included."""
        return self.mask.shape[1]

    @property
    def lengths(self) -> Tensor:
        """[B] number of steps up to and including the last chosen one."""
        return last_step(self.mask) + 1

    def __getitem__(self, i: Index) -> Self:
        index = row_index(i, len(self))
        names = [f.name for f in dataclasses.fields(self) if f.name not in ("behaviour", "actions")]
        return self._copied({n: take(getattr(self, n), index) for n in names}, lambda: take(self.actions, index))

    @property
    def chained(self) -> bool:
        """Whether actions are a view of the states that follow."""
        a, s = self.actions, self.states
        if s is None or a.dtype != s.dtype or a.dim() != s.dim() or not a.numel():
            return False
        after = s[:, 1:]
        return a.data_ptr() == after.data_ptr() and a.shape == after.shape and a.stride() == after.stride()

    def _copied(self, kept: Mapping[str, Any], actions: Callable[[], Tensor]) -> Self:
        """With the fields ``kept``; actions are copied only where they are no view of the states."""
        chosen = kept["states"][:, 1:] if self.chained else actions()
        return type(self)(**{"behaviour": self.behaviour, "actions": chosen, **kept})

    def to(self, device: torch.device | str) -> Self:
        """On a device."""
        names = [f.name for f in dataclasses.fields(self) if f.name not in ("behaviour", "actions")]
        return self._copied({n: to_device(getattr(self, n), device) for n in names}, lambda: self.actions.to(device))

    @classmethod
    def cat(cls, parts: Sequence[Self]) -> Self:
        """Rows of several rollouts behind each other, shorter ones padded at the end; behaviours are merged.

        Raises:
            ValueError: for no parts, or columns that only some parts have.
        """
        if not parts:
            raise ValueError("no Rollout to concatenate")
        if len(parts) == 1:
            return parts[0]
        known: dict[Behaviour, int] = {}
        actors = []
        for p in parts:
            table = torch.tensor([known.setdefault(b, len(known)) for b in p.behaviour], dtype=torch.long)
            actors.append(table[p.actor.cpu()].to(p.actor.device))
        chained = all(p.chained for p in parts)
        skip = {"behaviour", "actor", *(["actions"] if chained else [])}
        joined = {f.name: cat([getattr(p, f.name) for p in parts], f.name) for f in dataclasses.fields(cls) if f.name not in skip}
        if chained:
            joined["actions"] = joined["states"][:, 1:]
        return cls(behaviour=tuple(known), actor=torch.cat(actors), **joined)

    def trim(self) -> Self:
        """Without the steps behind the last chosen step of every row."""
        keep = max(1, int(self.lengths.max())) if len(self) else 1
        if keep >= self.steps:
            return self
        cut = {n: getattr(self, n)[:, :keep] for n in ("actions", "mask", "logp", "node") if getattr(self, n) is not None}
        if self.states is not None:
            cut["states"] = self.states[:, : keep + 1]
        return self.replace(**cut, trace={k: v[:, :keep] for k, v in self.trace.items()})

    def check(self) -> Self:
        """Itself, after its shapes were found to agree.

        Raises:
            ValueError: naming the field, its shape and the expected one.
        """
        rows, steps = self.mask.shape
        expected: dict[str, tuple[int, ...]] = {
            "actions": (rows, steps),
            "logp": (rows, steps),
            "node": (rows, steps),
            "states": (rows, steps + 1),
        }
        expected |= dict.fromkeys(("group", "uid", "terminal", "actor"), (rows,))
        for name, shape in expected.items():
            value = getattr(self, name)
            if value is not None and tuple(value.shape[: len(shape)]) != shape:
                raise ValueError(f"rollout.{name} has shape {tuple(value.shape)}, expected {shape}")
        for name, column in [("contexts", self.contexts), ("outputs", self.outputs), *self.info.items()]:
            if len(column) != rows:
                raise ValueError(f"rollout column {name!r} has {len(column)} rows, expected {rows}")
        for name, column in self.trace.items():
            if tuple(column.shape[:2]) != (rows, steps):
                raise ValueError(f"rollout.trace[{name!r}] has shape {tuple(column.shape)}, expected ({rows}, {steps}, ...)")
        if self.mask.dtype != torch.bool:
            raise ValueError(f"rollout.mask has dtype {self.mask.dtype}, expected torch.bool")
        if rows and int(self.actor.max()) >= len(self.behaviour):
            raise ValueError(f"rollout.actor points beyond its {len(self.behaviour)} behaviours")
        return self


def last_step(mask: Tensor) -> Tensor:
    """[B] index of the last True of ``mask`` [B, T]; -1 where there is none.

    >>> last_step(torch.tensor([[True, False, True, False], [False, False, False, False]])).tolist()
    [2, -1]
    """
    if mask.shape[1] == 0:
        return torch.full((mask.shape[0],), -1, dtype=torch.long, device=mask.device)
    position = torch.arange(mask.shape[1], device=mask.device).expand_as(mask)
    return torch.where(mask, position, -1).max(1).values


def recorded(contexts: Sequence[Any], outputs: Sequence[Any] | Tensor, info: Mapping[str, Any] | None = None) -> Rollout:
    """Given outputs as a rollout that rewards can score; it has no log-probs, and one empty step per row.

    Rows with the same context form a group.

    >>> rollout = recorded(["2 + 2 ="], ["4"], {"answer": ["4"]})
    >>> rollout.info["answer"], len(rollout.check())
    (['4'], 1)
    """
    rows = len(contexts)
    first: dict[str, int] = {}
    group = torch.tensor([first.setdefault(repr(c), k) for k, c in enumerate(contexts)], dtype=torch.long)
    return Rollout(
        contexts=list(contexts),
        outputs=list(outputs),
        actions=torch.zeros(rows, 1, dtype=torch.long),
        mask=torch.ones(rows, 1, dtype=torch.bool),
        group=group,
        uid=torch.arange(rows),
        info=dict(info or {}),
    ).check()
