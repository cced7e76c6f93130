"""Branch: walks that share their first steps and then part, so that what differs between them is what the later steps did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from guerdon.core import Items, PlanError, RewardOutput, Rollout, nearest
from guerdon.core.protocols import Draw
from guerdon.samplers._parts import check_counts, in_chunks

Shared = Literal["each", "once", "never"]


@dataclass(frozen=True)
class Branch:
    """A tree of trajectories for each context: all walk together up to ``at[0]``, then each goes on as ``n[0]``, and so on.

    A context gives ``roots * n[0] * n[1] * ...`` rows, each whole from its first step to its last. ``rollout.node`` is equal
    where rows share a step. The network is asked once for a shared step while sampling; how often it is trained on, ``shared``
    says:

    | shared | a step that k rows went through counts | what is learned |
    |---|---|---|
    | ``"each"`` | in all k rows | the policy gradient of the mean reward: every time step has the same weight |
    | ``"once"`` | in the first of them | every edge of the tree has the same weight (TreeGRPO), later steps more |
    | ``"never"`` | in none | the steps behind the last fork only, all that siblings differ by (B2-DiffuRL) |

    With ``"once"`` the advantage should be that of the step and not of the one row it counts in: ``advantages.Tree``. Steps
    that are not trained on have ``mask`` False; they are then in no mean, and in no estimate of a divergence either.

    Args:
        contexts: Contexts per draw.
        at: Steps taken before each fork, rising; 0: in the starting noise.
        n: Branches at each fork.
        roots: Independent walks per context, each with a tree of its own.
        group: Which rows are compared: all of an ``"item"``, or ``"siblings"``, those that parted at the last fork.
        shared: As above.
        chunk: Contexts walked at once (None: all); results do not depend on it.
        controls: How to act: ``steps``, ``kernel``, ``guidance``, ``window`` ...

    Raises:
        PlanError: for forks that do not rise, and for branches that no noisy step tells apart.

    Example:
        >>> Branch(contexts=2, at=(4, 8), n=(2, 2)).rows
        4

    Sources: B2-DiffuRL (arXiv:2503.11240), BranchGRPO (arXiv:2509.06040), TreeGRPO (arXiv:2512.08153), Dynamic-TreeRPO
    (arXiv:2509.23352).
    """

    walks: ClassVar[bool] = True

    contexts: int = 8
    at: tuple[int, ...] = (0,)
    n: tuple[int, ...] = (4,)
    roots: int = 1
    group: Literal["item", "siblings"] = "item"
    shared: Shared = "each"
    chunk: int | None = None
    controls: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("at", "n"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        check_counts("Branch", contexts=self.contexts, roots=self.roots, chunk=1 if self.chunk is None else self.chunk)
        if not self.at or len(self.at) != len(self.n):
            raise PlanError(f"Branch: one number of branches for every fork: at={self.at}, n={self.n}")
        if self.at[0] < 0 or any(a >= b for a, b in pairwise(self.at)):
            raise PlanError(f"Branch: at must rise from 0 on, got {self.at}")
        if min(self.n) < 2:
            raise PlanError(f"Branch: every fork needs at least 2 branches, got n={self.n}")
        for name, known in (("group", ("item", "siblings")), ("shared", ("each", "once", "never"))):
            if getattr(self, name) not in known:
                raise PlanError(f"Branch: {name} is {getattr(self, name)!r}; {nearest(getattr(self, name), known)}")

    @property
    def rows(self) -> int:
        """Rows for each context."""
        return self.roots * int(torch.tensor(self.n).prod())

    def __call__(self, draw: Draw) -> tuple[Rollout, RewardOutput]:
        return in_chunks(draw, draw.items(self.contexts), self.chunk, lambda items: self._grown(draw, items))

    def _grown(self, draw: Draw, items: Items) -> Rollout:
        walk = draw.begin(items, self.roots, **self.controls)
        if self.at[-1] >= walk.steps:
            raise PlanError(f"Branch: a fork at step {self.at[-1]} of a walk of {walk.steps} steps")
        group = walk.group
        for at, n in zip(self.at, self.n, strict=True):
            while walk.at < at:
                walk.advance()
            parents = walk.uid if self.group == "siblings" else walk.group
            walk, group = walk.fork(n), parents.repeat_interleave(n)
        rollout = walk.finish(group=group)
        self._check_apart(rollout)
        assert rollout.node is not None
        counted = counted_steps(rollout.node, self.shared)
        assert rollout.logp is not None
        mask = rollout.mask & counted
        return rollout.replace(mask=mask, logp=torch.where(mask, rollout.logp, 0.0))

    def _check_apart(self, rollout: Rollout) -> None:
        ends = [*self.at[1:], rollout.steps]
        for first, end in zip(self.at, ends, strict=True):
            if not bool(rollout.mask[:, first:end].any()):
                raise PlanError(f"Branch: no step from {first} to {end - 1} is noisy, so what parted at {first} stays the same: "
                                "fork earlier, or inside the window")  # fmt: skip


def counted_steps(node: Tensor, shared: Shared) -> Tensor:
    """[B, T] bool: in which rows a step counts, given equal numbers where rows share it.

    >>> node = torch.tensor([[7, 1], [7, 2]])
    >>> counted_steps(node, "once").tolist(), counted_steps(node, "never").tolist()
    ([[True, True], [False, True]], [[False, True], [False, True]])
    """
    if shared == "each":
        return torch.ones_like(node, dtype=torch.bool)
    columns = []
    row = torch.arange(len(node), device=node.device)
    for t in range(node.shape[1]):
        _, place, count = node[:, t].unique(return_inverse=True, return_counts=True)
        if shared == "never":
            columns.append(count[place] == 1)
        else:
            first = torch.full_like(count, len(node)).scatter_reduce(0, place, row, "amin")
            columns.append(first[place] == row)
    return torch.stack(columns, 1)
