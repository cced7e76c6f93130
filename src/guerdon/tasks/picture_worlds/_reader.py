"""A small frozen network that knows a world's pictures: features for distances, and a judge of digits."""

from __future__ import annotations

import importlib.metadata
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from guerdon.core.errors import PlanError
from guerdon.core.streams import Streams
from guerdon.tasks.cache import cached
from guerdon.tasks.picture_worlds._task import PictureTask
from guerdon.tasks.warm_start import THREADS, _threads

VERSION = 1  # to be raised with any change below that changes the weights: cached networks are found by it
_FILE = "reader.safetensors"


class Reader(nn.Module):
    """Convolutions to a vector of features, and a linear head for each attribute. Called, it gives the features.

    Args:
        shape: Of a picture; frames are read as channels.
        width: Of the features.
        sizes: attribute -> how many values it has.
    """

    def __init__(self, shape: Sequence[int], width: int, sizes: Mapping[str, int]) -> None:
        super().__init__()
        self.shape, self.width = tuple(shape), width
        channels, (high, wide) = torch.Size(self.shape[:-2]).numel(), (-(-n // 4) for n in self.shape[-2:])
        self.body = nn.Sequential(
            nn.Conv2d(channels, 24, 3, 1, 1), nn.SiLU(), nn.Conv2d(24, 32, 3, 2, 1), nn.SiLU(), nn.Conv2d(32, 32, 3, 2, 1),
            nn.SiLU(), nn.Flatten(), nn.Linear(32 * high * wide, width), nn.SiLU(),
        )  # fmt: skip
        self.heads = nn.ModuleDict({n: nn.Linear(width, k) for n, k in sizes.items()})

    def forward(self, pictures: Tensor) -> Tensor:
        """[N, width] features of pictures [N, *shape]."""
        weight = next(self.parameters())
        flat = pictures.reshape(len(pictures), -1, *self.shape[-2:])
        return self.body(flat.to(weight.device, weight.dtype))

    def logits(self, pictures: Tensor) -> dict[str, Tensor]:
        """attribute -> [N, number of values]."""
        features = self(pictures)
        return {n: head(features) for n, head in self.heads.items()}


@dataclass(frozen=True)
class PictureFeatures:
    """Features of a world's pictures: a small network that was trained to tell their attributes, frozen and cached.

    Distances between features say how different two pictures are in what matters there: for pairwise distances, Vendi scores
    and distances from the data.

    Args:
        task: The world.
        width: Of the features.
        steps: Optimiser steps of its training.
        batch: Pictures a step.
        noise: Largest standard deviation of the noise that it learns to see through.
        seed: Of its weights and of all noise.

    Example:
        >>> from guerdon.tasks import Shapes
        >>> features = PictureFeatures(Shapes.tiny(), width=8, steps=20).build()
        >>> features(torch.zeros(2, 3, 8, 8)).shape
        torch.Size([2, 8])
    """

    task: PictureTask
    width: int = 32
    steps: int = 400
    batch: int = 64
    noise: float = 0.3
    seed: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.task, PictureTask):
            raise PlanError(f"PictureFeatures.task must be a world of pictures such as tasks.Shapes(), got {self.task!r}")
        if min(self.width, self.steps, self.batch) < 1 or self.noise < 0:
            raise PlanError(f"PictureFeatures: width, steps and batch must be at least 1 and noise at least 0, got {self}")

    def build(self) -> Reader:
        """The network, trained now when the cache lacks it; its parameters are frozen."""
        reader, known = self._new()
        folder = cached(f"{self.task.name}-reader", self._recipe(), lambda: self._train(reader, known))
        reader.load_state_dict(load_file(folder / _FILE))
        return reader.requires_grad_(False).eval()

    def _new(self) -> tuple[Reader, dict[str, tuple[Any, ...]]]:
        known = self.task.labels
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            return Reader(self.task.shape, self.width, {n: len(v) for n, v in known.items()}), known

    def _recipe(self) -> dict[str, Any]:
        own = asdict(self)
        own.pop("task")
        return {"reader_version": VERSION, **own, **self.task.content()}

    def _train(self, reader: Reader, known: Mapping[str, Sequence[Any]]) -> Callable[[Path], Mapping[str, Any]]:
        examples = self.task.examples(self.task.start.corpus, self.task.start.seed)
        truth = {n: torch.tensor([v.index(x) for x in examples.info[n]]) for n, v in known.items()}
        optimizer = torch.optim.Adam(reader.parameters(), lr=3e-3)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.steps)
        streams, start = Streams(self.seed).fork("reader"), time.monotonic()
        with _threads(THREADS):
            for step in range(self.steps):
                here = streams.fork("step", step)
                uid = here.uids(self.batch)
                rows = here("row", uid).integers(len(examples.pictures), 1)[:, 0]
                clean = examples.pictures[rows]
                heat = self.noise * here("heat", uid).uniform(1).reshape(-1, *[1] * (clean.dim() - 1))
                noise = here("noise", uid).normal(clean[0].numel()).reshape(clean.shape)
                said = reader.logits((clean + heat * noise).float())
                loss = torch.stack([nn.functional.cross_entropy(said[n], t[rows]) for n, t in truth.items()]).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
        took = time.monotonic() - start

        def write(folder: Path) -> dict[str, Any]:
            save_file({k: v.contiguous() for k, v in reader.state_dict().items()}, folder / _FILE)
            return {"seconds": round(took, 2), "versions": {"torch": importlib.metadata.version("torch")}}

        return write
