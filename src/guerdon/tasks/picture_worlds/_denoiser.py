"""Base models of picture worlds, made from nothing in a minute: plain denoising training through the policy's own doors."""

from __future__ import annotations

import copy
import importlib.metadata
import logging
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from guerdon.core.batch import Batch
from guerdon.core.errors import PlanError, nearest
from guerdon.core.rollout import Items
from guerdon.core.streams import Streams
from guerdon.objectives import SFT
from guerdon.policies import DenoiserMLP, Denoising
from guerdon.tasks.warm_start import THREADS, _progress, _threads

VERSION = 1  # to be raised with any change below that changes the weights: cached models are found by it
Kind = Literal["diffusion", "flow"]
_log = logging.getLogger("guerdon")


def check_kind(kind: str) -> Kind:
    """``kind``, where there is such a base model.

    Raises:
        PlanError: where there is none, with the nearest.
    """
    if kind not in get_args(Kind):
        raise PlanError(f"there is no base model {kind!r}; {nearest(str(kind), get_args(Kind))}")
    return kind  # type: ignore[return-value]


@dataclass(frozen=True)
class DenoiserStart:
    """How a base model of pictures is trained: Adam on the mean squared error of the foreseen data.

    Networks predict the data, not noise or velocity: a small network, fully connected ones above all, then need not carry the
    noise through (arXiv:2511.13720).

    Args:
        network: The denoiser.
        width: Of the vectors that tell it what is asked.
        corpus: Pictures, rendered once.
        steps: Optimiser steps.
        batch: Pictures a step.
        lr: Peak rate; it rises over the first twentieth and falls along a cosine to a twentieth.
        drop: Share of rows that are not told what they show, so that guidance has something to contrast with.
        average: Decay of the moving average of the weights, which is what is kept; it warms up, so that few steps are enough.
        chain: Steps of a sampling chain, unless asked otherwise.
        seed: Of the weights, the corpus and all noise.
    """

    network: Any = DenoiserMLP((384, 384, 384))
    width: int = 32
    corpus: int = 8192
    steps: int = 1400
    batch: int = 128
    lr: float = 2e-3
    drop: float = 0.1
    average: float = 0.995
    chain: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("width", "corpus", "steps", "batch", "chain"):
            if getattr(self, name) < 1:
                raise PlanError(f"DenoiserStart.{name} must be at least 1, got {getattr(self, name)}")
        if not (0 <= self.drop < 1 and 0 <= self.average < 1 and self.lr > 0):
            raise PlanError("DenoiserStart: expected 0 <= drop < 1, 0 <= average < 1 and lr > 0, got "
                            f"drop={self.drop}, average={self.average}, lr={self.lr}")  # fmt: skip


TINY = DenoiserStart(DenoiserMLP((128, 128)), width=16, corpus=1024, steps=180, batch=64, lr=5e-3, average=0.97, chain=8)


@dataclass(frozen=True)
class TrainedDenoiser:
    """What ``train_denoiser`` returns.

    Args:
        policy: The average of the weights.
        loss: Half the mean squared error per dimension over the last tenth of the steps.
        steps: That were made.
        seconds: Of training.
    """

    policy: Denoising
    loss: float
    steps: int
    seconds: float

    def save(self, folder: Path) -> dict[str, Any]:
        """Writes the policy's folder; returns notes on how it was made."""
        self.policy.save(folder)
        return {
            "steps": self.steps, "loss": self.loss, "seconds": round(self.seconds, 2),
            "parameters": sum(p.numel() for p in self.policy.parameters()),
            "versions": {"torch": importlib.metadata.version("torch")},
        }  # fmt: skip


def train_denoiser(
    policy: Denoising, contexts: Sequence[Any], nothing: Sequence[Any], pictures: Tensor, how: DenoiserStart, *, title: str = ""
) -> TrainedDenoiser:
    """Trains a denoising policy on pictures that are known: ``rollout_from`` and ``objectives.SFT``, as any run would.

    With the same arguments the weights are the same bits on the same kind of CPU and version of torch. It uses one thread
    and leaves the number of threads as it was.

    Args:
        policy: With fresh weights; trained in place.
        contexts: [N] what the pictures show.
        nothing: [N] the same contexts with nothing asked.
        pictures: [N, *shape].
        how: The recipe.
        title: Shown beside the progress bar; "" shows none.
    """
    average = copy.deepcopy(policy).requires_grad_(False)
    optimizer = torch.optim.Adam(policy.parameters(), lr=how.lr, betas=(0.9, 0.99), fused=True)
    objective, losses = SFT(), []
    size = pictures[0].numel()
    streams = Streams(how.seed).fork("denoiser")
    start = time.monotonic()
    with _threads(THREADS), _progress(title, how.steps) as advance:
        for step, rows in enumerate(_rows(len(pictures), how.batch, how.steps, streams)):
            for group in optimizer.param_groups:
                group["lr"] = how.lr * _rate(step, how.steps)
            here = streams.fork("step", step)
            uid = here.uids(len(rows))
            told = (here("drop", uid).uniform(1)[:, 0] >= how.drop).tolist()
            asked = [contexts[r] if t else nothing[r] for r, t in zip(rows.tolist(), told, strict=True)]
            rollout = policy.rollout_from(Items(asked, uid), list(pictures[rows]), streams=here, weight="simple")
            loss = objective(policy(rollout), Batch.of(rollout)).mean() / size
            loss.backward()
            torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            _follow(average, policy, min(how.average, (1 + step) / (10 + step)))
            losses.append(loss.detach())
            advance(losses)
    took = time.monotonic() - start
    late = torch.stack(losses[-max(1, how.steps // 10) :]).mean().item()
    _log.info("trained %s in %.1f s: %d steps, loss %.4f", title or "a denoiser", took, how.steps, late)
    return TrainedDenoiser(average, late, how.steps, took)


def _rate(step: int, steps: int, floor: float = 0.05) -> float:
    return min(1.0, (step + 1) / max(1, steps // 20)) * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * step / steps)))


def _rows(n: int, batch: int, steps: int, streams: Streams) -> Iterator[Tensor]:
    """Rows of every step: each pass over the pictures has its own order; batches run on over the end of a pass."""
    rows, passes = torch.zeros(0, dtype=torch.long), 0
    for _ in range(steps):
        while len(rows) < batch:
            rows = torch.cat([rows, streams("order", passes).permutation(n)])
            passes += 1
        yield rows[:batch]
        rows = rows[batch:]


@torch.no_grad()
def _follow(average: torch.nn.Module, policy: torch.nn.Module, decay: float) -> None:
    mine: list[Tensor] = list(average.parameters())
    theirs: list[Tensor] = list(policy.parameters())
    torch._foreach_lerp_(mine, theirs, 1 - decay)
