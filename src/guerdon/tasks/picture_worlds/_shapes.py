"""Shapes: captioned coloured shapes, and the reward that reads them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from guerdon.core.errors import DataError, PlanError
from guerdon.core.reward import RewardOutput, Scope
from guerdon.core.rollout import Rollout
from guerdon.core.streams import Stream, Streams
from guerdon.policies import Words
from guerdon.tasks.picture_worlds._denoiser import TINY, DenoiserStart
from guerdon.tasks.picture_worlds._oracle import Reading, ShapesOracle, check_lists
from guerdon.tasks.picture_worlds._render import render
from guerdon.tasks.picture_worlds._scene import ATTRIBUTES, Scene, caption, said, vocabulary
from guerdon.tasks.picture_worlds._task import Examples, PictureTask, found, pick
from guerdon.tasks.task import Split, split_of


@dataclass(frozen=True)
class Shapes(PictureTask):
    """``a small red circle on the left, on white``: one shape on a plain background, and captions that say what it is.

    An attribute with a single value in its list is part of every picture and of no caption. One in ten combinations of
    attributes is held out by its hash: never shown to a base model, never asked of a policy in training.

    The base model learns from a careless corpus, in which every attribute of a picture is another one than its caption says in
    a share ``wrong`` of all cases. So it draws what is asked most of the time, and there is something left to be learned from
    rewards. Examples and rewards are always right.

    Args:
        start: How base models are trained.
        pixels: Width and height. Below 12, small shapes can hardly be told apart: give ``sizes=("large",)``.
        shapes: Of circle, square, triangle, cross, diamond, ring.
        colours: Of red, green, blue, yellow, purple, cyan, orange, pink.
        places: Of left, right, top, bottom, middle, top left, top right, bottom left, bottom right.
        sizes: Of small and large.
        backgrounds: Of black, white, grey.
        wrong: Share of wrong attributes in the corpus of base models.

    Example:
        >>> known = Shapes().examples(2)
        >>> known.contexts[0], known.pictures.shape
        ('a large green cross at the bottom, on black', torch.Size([2, 3, 16, 16]))
    """

    name: ClassVar[str] = "shapes"
    title: ClassVar[str] = "Captioned coloured shapes, with an oracle that reads them back."
    version: ClassVar[int] = 1

    start: DenoiserStart = DenoiserStart()
    pixels: int = 16
    shapes: tuple[str, ...] = ("circle", "square", "triangle", "cross")
    colours: tuple[str, ...] = ("red", "green", "blue", "yellow", "purple", "cyan")
    places: tuple[str, ...] = ("left", "right", "top", "bottom", "middle")
    sizes: tuple[str, ...] = ("small", "large")
    backgrounds: tuple[str, ...] = ("black", "white", "grey")
    wrong: float = 0.05

    def __post_init__(self) -> None:
        check_lists(self)
        if not 0 <= self.wrong < 1:
            raise PlanError(f"{type(self).__name__}.wrong must be at least 0 and below 1, got {self.wrong}")

    @classmethod
    def tiny(cls) -> Self:
        return cls(
            TINY, pixels=8, shapes=("square", "cross"), colours=("red", "blue"), places=("left", "right", "top", "bottom"),
            sizes=("large",), backgrounds=("black", "white"), wrong=0.05,
        )  # fmt: skip

    @property
    def shape(self) -> tuple[int, ...]:
        return 3, self.pixels, self.pixels

    @property
    def values(self) -> dict[str, tuple[str, ...]]:
        """attribute -> its list."""
        return {n: getattr(self, f"{n}s") for n in ATTRIBUTES}

    @property
    def asked(self) -> tuple[str, ...]:
        """The attributes that captions mention: those with a choice."""
        return tuple(n for n, values in self.values.items() if len(values) > 1)

    @property
    def labels(self) -> dict[str, tuple[Any, ...]]:
        return {n: self.values[n] for n in self.asked}

    def condition(self) -> Any:
        words = vocabulary(self.values)
        return Words(words, self.start.width, length=max(len(caption(s, self.asked).split()) for s in self._longest()))

    def nothing(self, context: Any) -> Any:
        return ""

    def oracle(self) -> ShapesOracle:
        """What reads these pictures."""
        return ShapesOracle(self.pixels, self.shapes, self.colours, self.places, self.sizes, self.backgrounds)

    def reward(self) -> Any:
        return ShapesReward(self)

    def draw(self, stream: Stream, split: Split) -> Examples:
        scenes = self.scenes(stream, split)
        jitter = 2 * stream.uniform(3, start=10_000) - 1
        info = {n: [getattr(s, n) for s in scenes] for n in ATTRIBUTES}
        return Examples([caption(s, self.asked) for s in scenes], render(scenes, self.pixels, jitter), info)

    def corpus(self) -> Examples:
        streams = Streams(self.start.seed).fork("corpus", self.name)
        stream = streams("example", streams.uids(self.start.corpus))
        known = self.draw(stream, "train")
        told = zip(*(known.info[n] for n in ATTRIBUTES), strict=True)
        scenes = [Scene(*slipped(t, self.values.values(), u, self.wrong)) for t, u in zip(told, slips(stream), strict=True)]
        return known._replace(pictures=render(scenes, self.pixels, 2 * stream.uniform(3, start=10_000) - 1))

    def scenes(self, stream: Stream, split: Split) -> list[Scene]:
        """One scene of the split for every row of the stream.

        Raises:
            PlanError: where the world is so small that no scene of the split is found.
        """

        def made(u: Sequence[float]) -> Scene | None:
            scene = Scene(*(pick(v, x) for v, x in zip(self.values.values(), u, strict=True)))
            return scene if split_of(" ".join(scene)) == split else None

        return found(stream, len(ATTRIBUTES), made, f"{type(self).__name__}: no {split} combination of attributes")

    def _longest(self) -> list[Scene]:
        return [Scene(self.shapes[0], self.colours[0], p, self.sizes[0], self.backgrounds[0]) for p in self.places]


def slips(stream: Stream) -> list[list[float]]:
    """The uniform numbers that one row's mistakes take."""
    return stream.uniform(20, start=20_000).tolist()


def slipped(told: Sequence[str], lists: Iterable[Sequence[str]], u: Sequence[float], share: float) -> tuple[str, ...]:
    """Attributes, some of them wrong; as they are where that would be one of the held-out combinations."""
    shown = []
    for k, (value, values) in enumerate(zip(told, lists, strict=True)):
        others = [v for v in values if v != value]
        shown.append(pick(others, u[2 * k + 1]) if others and u[2 * k] < share else value)
    return tuple(shown) if split_of(" ".join(shown)) == "train" else tuple(told)


def readable(outputs: Sequence[Any] | Tensor, shape: tuple[int, ...], graph: bool = False) -> tuple[Tensor, list[str]]:
    """([N, *shape] float32 pictures, why each cannot be read or ""); those that cannot are all zero.

    With ``graph`` they stay on their device, and gradients flow to them.
    """
    reasons, rows = [], []
    for x in outputs:
        why = ""
        if not isinstance(x, Tensor):
            why = f"the output is {type(x).__name__}, not a tensor"
        elif tuple(x.shape) != shape:
            why = f"the picture has shape {tuple(x.shape)}, expected {shape}"
        elif not bool(torch.isfinite(x).all()):
            why = "the picture holds a NaN or an infinite number"
        reasons.append(why)
        rows.append(torch.zeros(shape) if why else x.float() if graph else x.detach().float().cpu())
    return torch.stack(rows) if rows else torch.zeros(0, *shape), reasons


def wanted(context: Any, allowed: Sequence[str] = ()) -> dict[str, str] | str:
    """What a caption asks for, or why it asks for nothing."""
    if not isinstance(context, str):
        return f"the context is {type(context).__name__}, not a caption"
    try:
        return said(context, allowed) or f"caption {context!r} asks for nothing"
    except DataError as e:
        return str(e)


@dataclass(frozen=True)
class ShapesReward:
    """The share of a caption's attributes that the oracle sees in the picture; one part for each, and ``all``.

    A picture in which no shape is recognised scores 0; one that is no picture (NaN, another shape) fails with a reason.

    Args:
        task: The world that the pictures are of.
        soft: Give the oracle's probability of the asked value, not 1 or 0: smoother where it is unsure.

    Example:
        >>> from guerdon.core.rollout import recorded
        >>> from guerdon.tasks import Scene, render
        >>> seen = render([Scene("square", "red", "left", "small", "white")] * 2)
        >>> said = ["a small red square on the left, on white", "a large blue square on the left"]
        >>> out = ShapesReward()(recorded(said, seen))
        >>> out.total.tolist(), out.parts["colour"].tolist()
        ([1.0, 0.5], [1.0, 0.0])
    """

    scope: ClassVar[Scope] = "sample"
    differentiable: ClassVar[bool] = False

    task: Shapes = Shapes()
    soft: bool = False

    def __call__(self, rollout: Rollout) -> RewardOutput:
        pictures, reasons = readable(rollout.outputs, self.task.shape)
        seen = self.task.oracle().read(pictures)
        rows = [why or graded(wanted(c), r, self.soft) for c, r, why in zip(rollout.contexts, seen, reasons, strict=True)]
        return assembled(rows, self.task.asked)


def graded(asked: dict[str, str] | str, reading: Reading, soft: bool = False) -> dict[str, float] | str:
    """asked attribute -> how far the picture has it; a text is why nobody can tell."""
    if isinstance(asked, str):
        return asked
    if soft:
        return {n: reading.probability[n].get(v, 0.0) for n, v in asked.items()}
    return {n: float(reading.attributes[n] == v) for n, v in asked.items()}


def assembled(rows: Sequence[dict[str, float] | str], names: Sequence[str]) -> RewardOutput:
    """The mean of every row's parts; a row that is a text failed for that reason. A part that was not asked for counts as 0."""
    names = tuple(dict.fromkeys([*names, *(n for r in rows if isinstance(r, dict) for n in r)]))
    parts = {n: torch.tensor([r.get(n, 0.0) if isinstance(r, dict) else 0.0 for r in rows]) for n in names}
    total = torch.tensor([sum(r.values()) / len(r) if isinstance(r, dict) else 0.0 for r in rows])
    parts["all"] = torch.tensor([float(min(r.values()) >= 0.5) if isinstance(r, dict) else 0.0 for r in rows])
    reason = [r if isinstance(r, str) else "" for r in rows]
    return RewardOutput(total, torch.tensor([not r for r in reason], dtype=torch.bool), reason, parts=parts)
