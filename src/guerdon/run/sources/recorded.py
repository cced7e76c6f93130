"""Recorded: transitions from a file, to learn from without acting."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor

from guerdon.core import Behaviour, DataError, Items, PlanError, Rollout, Streams, nearest
from guerdon.core.world import Episode
from guerdon.run.sources.cycle import Cycle, Row

_NEEDED = ("observations", "actions", "rewards", "terminals")
_ENDS = ("timeouts", "truncations")  # D4RL's name and Gymnasium's
_KNOWN = (*_NEEDED, *_ENDS, "next_observations")


@dataclass(frozen=True)
class Recorded:
    """Episodes in a file of flat arrays, one row per step, as D4RL has them: ``.npz`` (no pickles) or ``.safetensors``.

    The arrays are ``observations`` [N, ...], ``actions`` [N, ...] as the world got them, ``rewards`` [N], ``terminals`` [N]
    (ended by itself) and ``timeouts`` or ``truncations`` [N] (cut off); ``next_observations`` [N, ...] where they are known.
    Without them, the next state is the next row's observation, and the last step of a piece that was cut off is left out, as
    nobody knows where it led.

    It has two readers: off-policy learners (``run.TD``, ``run.Improve``) draw transitions, and ``samplers.Given()`` draws
    episodes or segments to imitate, in the column ``completion``, each once per epoch.

    Args:
        path: The file.
        steps: Steps of a segment (None: whole episodes); the last one of an episode may be shorter.
        shuffle: Whether each epoch of segments has an order of its own.

    Raises:
        DataError: when it is opened; one line that names the file and the array.

    Source: D4RL (arXiv:2004.07219).
    """

    path: str
    steps: int | None = None
    shuffle: bool = True

    def __post_init__(self) -> None:
        if self.steps is not None and self.steps < 1:
            raise PlanError(f"Recorded: steps must be at least 1, got {self.steps}")

    def open(self, seed: int = 0, folder: str | Path | None = None) -> LiveRecorded:
        """A running source, after the file was checked; a relative path begins in ``folder`` (None: the current one)."""
        return LiveRecorded(Steps(Path(folder or ".") / self.path, self.steps), seed, self.shuffle)

    def check(self, folder: str | Path | None = None) -> int:
        """Number of transitions, after the file was checked."""
        return len(self.open(folder=folder))


class Steps:
    """A checked file in memory: a table of segments (for ``Cycle``), and which steps have a next state.

    Args:
        path: The file.
        steps: Longest segment; None: episodes.
    """

    columns: tuple[str, ...] = ("completion",)

    def __init__(self, path: Path, steps: int | None) -> None:
        self.name = str(path)
        arrays = _checked(path, _read(path))
        self.observations, self.actions, self.rewards = arrays["observations"], arrays["actions"], arrays["rewards"].float()
        self.terminal = arrays["terminals"].bool()
        cut = torch.stack([arrays[n].bool() for n in _ENDS if n in arrays]).any(0) & ~self.terminal
        cut[-1] = not self.terminal[-1]
        self.next = arrays.get("next_observations")
        self.known = torch.ones_like(cut) if self.next is not None else ~cut  # steps whose next state is known, or is never read
        self.over = self.terminal | cut
        first = torch.cat([torch.zeros(1, dtype=torch.long), self.over.nonzero()[:, 0] + 1])
        self.segments = [
            (a, min(a + size, b), b)
            for b0, b1 in zip(first.tolist(), first[1:].tolist(), strict=False)
            if (b := b0 + int(self.known[b0:b1].sum())) > b0
            for size in [steps or b - b0]
            for a in range(b0, b, size)
        ]
        if not self.segments:
            raise DataError(f"{path}: no step has a next state; every episode is cut off after one step")

    def __len__(self) -> int:
        return len(self.segments)

    def following(self, index: Tensor) -> Tensor:
        """[k, ...] next states. Behind a terminal step there is none in D4RL's layout, and its own state stands there."""
        if self.next is not None:
            return self.next[index]
        return self.observations[torch.where(self.terminal[index], index, index + 1)]

    def rows(self, index: Sequence[int]) -> list[Row]:
        """(name, its segment) of each."""
        out: list[Row] = []
        for k in index:
            a, b, _ = self.segments[k]
            last = self.following(torch.tensor([b - 1]))
            episode = Episode(torch.cat([self.observations[a:b], last]), self.actions[a:b], self.rewards[a:b],
                              bool(self.terminal[b - 1]))  # fmt: skip
            out.append((f"{self.name} steps {a} to {b - 1}", {"completion": episode}))
        return out


class LiveRecorded(Cycle):
    """``Recorded`` at work. ``len`` is the number of transitions, a draw takes segments."""

    table: Steps

    def __init__(self, table: Steps, seed: int, shuffle: bool) -> None:
        super().__init__(table, seed, shuffle)
        self.index = table.known.nonzero()[:, 0]
        self._form: Any = None

    def __len__(self) -> int:
        return len(self.index)

    def sample(self, n: int, *, streams: Streams, policy: Any, steps: int = 1, gamma: float = 1.0) -> Rollout:
        """``n`` transitions at random, with replacement, in the policy's own form: see ``LiveReplay.sample``.

        Raises:
            DataError: where the file's spaces are not the policy's.
        """
        table = self.table
        if self._form is not policy:
            one = Items(["one step"], torch.zeros(1, dtype=torch.long))
            policy.rollout_from(one, [self.table.rows([0])[0][1]["completion"]], streams=streams)  # says what does not fit
            self._form = policy
        first = self.index[streams("replay").integers(len(self.index), n)[0]]
        last, reward = first, table.rewards[first].clone()
        discount = torch.full_like(reward, gamma)
        for _ in range(1, steps):
            after = (last + 1).clamp(max=len(table.rewards) - 1)
            on = ~table.over[last] & table.known[after]
            last = torch.where(on, after, last)
            reward += torch.where(on, discount * table.rewards[last], 0.0)
            discount = torch.where(on, discount * gamma, discount)
        seen = torch.stack([table.observations[first], table.following(last)], 1).to(policy.observation.dtype)
        actions = policy.head.from_world(table.actions[first].to(policy.action.dtype))
        return Rollout(
            contexts=range(n), outputs=range(n), actions=actions[:, None], mask=torch.ones(n, 1, dtype=torch.bool), group=first,
            uid=first, states=seen, terminal=table.terminal[last], behaviour=(Behaviour("recorded", engine="recorded"),),
            trace={"reward": reward[:, None], "discount": discount[:, None]},
        )  # fmt: skip


def _read(path: Path) -> dict[str, Tensor]:
    """The arrays of a file; nothing in it is unpickled."""
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    if path.suffix not in (".npz", ".safetensors"):
        raise DataError(f"{path}: expected a .npz or .safetensors file; numpy.savez(path, **arrays) writes one")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        with np.load(path, allow_pickle=False) as file:
            return {n: torch.from_numpy(np.ascontiguousarray(file[n])) for n in file if n in _KNOWN}
    except (ValueError, OSError, zipfile.BadZipFile, TypeError, AttributeError, SafetensorError) as e:  # what foreign bytes raise
        raise DataError(f"{path}: is not a {path.suffix} file of plain arrays ({e})") from None


def _checked(path: Path, arrays: dict[str, Tensor]) -> dict[str, Tensor]:
    """The arrays, after lengths and numbers were found to make sense."""
    for name in _NEEDED:
        if name not in arrays:
            raise DataError(f"{path}: no array {name!r}; {nearest(name, arrays)}")
    if not any(n in arrays for n in _ENDS):
        raise DataError(
            f"{path}: no array 'timeouts' or 'truncations', so nobody knows where episodes were cut off; add one of zeros"
        )
    n = len(arrays["observations"]) if arrays["observations"].dim() else 0
    if not n:
        raise DataError(f"{path}: 'observations' has no rows")
    for name, value in arrays.items():
        flat = name in ("rewards", "terminals", *_ENDS)
        if name in _KNOWN and (not value.dim() or len(value) != n or (flat and value.numel() != n)):
            raise DataError(f"{path}: {name!r} has shape {list(value.shape)}, expected {[n] if flat else [n, '...']}")
        if name in _KNOWN and value.is_floating_point() and not bool(torch.isfinite(value).all()):
            row = int((~torch.isfinite(value)).reshape(n, -1).any(1).nonzero()[0])
            raise DataError(f"{path}: {name!r} holds a NaN or an infinite number in row {row}")
        if name in ("terminals", *_ENDS) and not bool(((value == 0) | (value == 1)).all()):
            raise DataError(f"{path}: {name!r} must be true or false (1 or 0) in every row")
    if "next_observations" in arrays and arrays["next_observations"].shape != arrays["observations"].shape:
        raise DataError(f"{path}: 'next_observations' has shape {list(arrays['next_observations'].shape)}, "
                        f"expected that of 'observations', {list(arrays['observations'].shape)}")  # fmt: skip
    return {k: v.reshape(n) if k in ("rewards", "terminals", *_ENDS) else v for k, v in arrays.items() if k in _KNOWN}
