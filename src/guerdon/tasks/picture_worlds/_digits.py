"""Digits: scikit-learn's 1797 real handwritten digits, 8 by 8, and two judges that know nothing of each other."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor

from guerdon.core.errors import ModelError, PlanError, nearest
from guerdon.core.reward import RewardOutput, Scope
from guerdon.core.rollout import Rollout
from guerdon.core.streams import Stream, Streams
from guerdon.policies import DenoiserMLP, Labels
from guerdon.tasks.picture_worlds._denoiser import DenoiserStart
from guerdon.tasks.picture_worlds._reader import PictureFeatures, Reader
from guerdon.tasks.picture_worlds._shapes import readable
from guerdon.tasks.picture_worlds._task import Examples, PictureTask, pick
from guerdon.tasks.task import Split, split_of

CLASSES = tuple(range(10))


@lru_cache(maxsize=1)
def digits() -> tuple[Tensor, Tensor]:
    """([1797, 1, 8, 8] float32 in [-1, 1], [1797] labels) as scikit-learn brings them; ink is 1, paper -1.

    Raises:
        ModelError: where scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise ModelError("the digits come with scikit-learn, which is not installed: pip install 'guerdon[pictures]'") from None
    found = load_digits()
    return torch.tensor(found.images, dtype=torch.float32)[:, None] / 8 - 1, torch.tensor(found.target, dtype=torch.long)


@dataclass(frozen=True)
class Digits(PictureTask):
    """Handwritten digits by their label; contexts are 0 to 9. One picture in ten is held out, by a hash of its number.

    Args:
        start: How base models are trained.
        wrong: Share of wrong labels in their corpus, so that there is something left to be learned from rewards.

    Example:
        >>> known = Digits().examples(3)
        >>> known.pictures.shape, len(known.contexts)
        (torch.Size([3, 1, 8, 8]), 3)
    """

    name: ClassVar[str] = "digits"
    title: ClassVar[str] = "Real handwritten digits by their label, with a frozen judge and another one held out."
    version: ClassVar[int] = 1

    start: DenoiserStart = DenoiserStart(DenoiserMLP((384, 384, 384)), corpus=4096, steps=700)
    wrong: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.wrong < 1:
            raise PlanError(f"Digits.wrong must be at least 0 and below 1, got {self.wrong}")

    @classmethod
    def tiny(cls) -> Self:
        return cls(
            DenoiserStart(DenoiserMLP((96, 96)), width=16, corpus=1024, steps=150, batch=64, lr=3e-3, average=0.97, chain=8)
        )

    @property
    def shape(self) -> tuple[int, ...]:
        return 1, 8, 8

    @property
    def labels(self) -> dict[str, tuple[Any, ...]]:
        return {"label": CLASSES}

    def condition(self) -> Labels:
        return Labels(10, self.start.width)

    def nothing(self, context: Any) -> None:
        return None

    def reward(self) -> DigitsReward:
        return DigitsReward(self)

    def corpus(self) -> Examples:
        known = self.examples(self.start.corpus, self.start.seed)
        streams = Streams(self.start.seed).fork("slips", self.name)
        slips = streams("slip", streams.uids(len(known.contexts))).uniform(2).tolist()
        told = zip(known.contexts, slips, strict=True)
        return known._replace(contexts=[(c + 1 + pick(CLASSES[:9], u)) % 10 if s < self.wrong else c for c, (s, u) in told])

    def numbers(self, split: Split) -> Tensor:
        """Which of the 1797 pictures belong to a split."""
        return torch.tensor([k for k in range(len(digits()[1])) if split_of(f"digit {k}") == split])

    def draw(self, stream: Stream, split: Split) -> Examples:
        pictures, labels = digits()
        mine = self.numbers(split)
        rows = mine[stream.integers(len(mine), 1)[:, 0]]
        known = labels[rows].tolist()
        return Examples(known, pictures[rows], {"label": list(known)})


@dataclass(frozen=True)
class DigitsReward:
    """How sure a judge is that a picture is the digit asked for, in [0, 1]; part ``right``: whether it is its first guess.

    ``"network"`` is a small convolutional network, trained on the train split and frozen; gradients flow through it to the
    pictures. ``"neighbours"`` has no weights and no gradient: the share of the eleven nearest training pictures that are this
    digit. A policy that is trained against the one is judged by the other.

    Args:
        task: The world.
        judge: ``"network"`` or ``"neighbours"``.

    Example:
        >>> from guerdon.core.rollout import recorded
        >>> known = Digits().examples(4, split="held_out")
        >>> DigitsReward(judge="neighbours")(recorded(known.contexts, known.pictures)).parts["right"].tolist()
        [1.0, 1.0, 1.0, 1.0]
    """

    scope: ClassVar[Scope] = "sample"

    task: Digits = Digits()
    judge: Literal["network", "neighbours"] = "network"

    def __post_init__(self) -> None:
        if self.judge not in ("network", "neighbours"):
            raise PlanError(f"DigitsReward: judge is {self.judge!r}; {nearest(str(self.judge), ('network', 'neighbours'))}")

    @property
    def differentiable(self) -> bool:
        return self.judge == "network"

    def __call__(self, rollout: Rollout) -> RewardOutput:
        pictures, reasons = readable(rollout.outputs, self.task.shape, graph=self.differentiable)
        for k, label in enumerate(rollout.contexts):
            if not reasons[k] and (not isinstance(label, int) or label not in CLASSES):
                reasons[k] = f"the context {label!r} is no digit from 0 to 9"
        asked = torch.tensor([0 if why else int(c) for c, why in zip(rollout.contexts, reasons, strict=True)])
        chance = _network(self.task).logits(pictures)["label"].softmax(1) if self.differentiable else _near(self.task, pictures)
        chance = chance.to(pictures.device)
        total = chance.gather(1, asked[:, None].to(chance.device))[:, 0]
        ok = torch.tensor([not r for r in reasons], dtype=torch.bool, device=total.device)
        right = (chance.argmax(1).cpu() == asked).float().to(total.device)
        zero = torch.zeros_like(total)
        return RewardOutput(torch.where(ok, total, zero), ok, reasons, parts={"right": torch.where(ok, right, zero)})


@lru_cache(maxsize=4)
def _network(task: Digits) -> Reader:
    return PictureFeatures(task, width=48, steps=240, seed=11).build()  # not the network that measures distances from the data


def _near(task: Digits, pictures: Tensor, k: int = 11) -> Tensor:
    """[N, 10] share of the k nearest training pictures that show each digit."""
    known, labels = digits()
    mine = task.numbers("train")
    gap = torch.cdist(pictures.detach().cpu().flatten(1), known[mine].flatten(1))
    return torch.nn.functional.one_hot(labels[mine][gap.topk(k, largest=False).indices], 10).float().mean(1)
