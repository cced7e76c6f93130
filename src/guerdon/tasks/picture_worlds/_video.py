"""ShapesVideo: a shape that moves, and the oracle that measures how far it went."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Self

import torch
from torch import Tensor

from guerdon.core.errors import DataError, PlanError
from guerdon.core.reward import RewardOutput, Scope
from guerdon.core.rollout import Rollout
from guerdon.core.streams import Stream, Streams
from guerdon.policies import Words
from guerdon.tasks.picture_worlds._denoiser import TINY, DenoiserStart
from guerdon.tasks.picture_worlds._oracle import Reading
from guerdon.tasks.picture_worlds._render import painted, where
from guerdon.tasks.picture_worlds._scene import ATTRIBUTES, GLUE, Scene, said, vocabulary
from guerdon.tasks.picture_worlds._shapes import Shapes, assembled, graded, readable, slipped, slips
from guerdon.tasks.picture_worlds._task import Examples, found, pick
from guerdon.tasks.task import Split, split_of

WAYS = {"left": (-1.0, 0.0), "right": (1.0, 0.0), "up": (0.0, -1.0), "down": (0.0, 1.0)}
SPEEDS = {"slowly": 0.16, "fast": 0.34}  # how far the shape comes from the first frame to the last, as a share of the picture
_LEAST = 0.06  # a shorter way is no motion


class Motion(NamedTuple):
    """How a shape moves through a video.

    Attributes:
        way: One of ``WAYS``; None: it hardly moves, or askew.
        speed: One of ``SPEEDS``; None likewise.
        step: (to the right, down) from the first frame to the last, as shares of the picture; by a line through all frames.
        bend: Root mean square of how far the centres are from that line, as a share of the picture.
    """

    way: str | None
    speed: str | None
    step: tuple[float, float]
    bend: float


@dataclass(frozen=True)
class ShapesVideo(Shapes):
    """``a red circle moving left fast, on white``: a few frames of a shape on its way through the middle.

    Pictures are [frames, 3, pixels, pixels]. The shape moves evenly along a straight line whose middle is the picture's.

    Args:
        start: As for ``Shapes``, and so are the other lists; there are no places.
        frames: 2 to 16.
        ways: Of left, right, up, down.
        speeds: Of slowly, fast.

    Example:
        >>> known = ShapesVideo().examples(1)
        >>> known.contexts[0], known.pictures.shape
        ('a blue triangle moving left slowly, on white', torch.Size([1, 6, 3, 12, 12]))
    """

    name: ClassVar[str] = "shapes-video"
    title: ClassVar[str] = "Short videos of moving shapes, whose way and speed are measured."

    start: DenoiserStart = DenoiserStart(steps=1000)
    pixels: int = 12
    shapes: tuple[str, ...] = ("circle", "square", "triangle")
    colours: tuple[str, ...] = ("red", "green", "blue", "yellow")
    places: tuple[str, ...] = ("middle",)
    sizes: tuple[str, ...] = ("large",)
    backgrounds: tuple[str, ...] = ("black", "white")
    frames: int = 6
    ways: tuple[str, ...] = ("left", "right", "up", "down")
    speeds: tuple[str, ...] = ("slowly", "fast")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.places != ("middle",):
            raise PlanError(f"ShapesVideo: a moving shape has no place; leave places at ('middle',), got {self.places}")
        if not 2 <= self.frames <= 16:
            raise PlanError(f"ShapesVideo.frames must be from 2 to 16, got {self.frames}")
        for name, known in (("ways", WAYS), ("speeds", SPEEDS)):
            values = tuple(getattr(self, name))
            object.__setattr__(self, name, values)
            if not values or len(set(values)) < len(values) or not set(values) <= set(known):
                raise PlanError(f"ShapesVideo.{name} must be some of {', '.join(known)}, each once, got {list(values)}")

    @classmethod
    def tiny(cls) -> Self:
        return cls(
            TINY, pixels=8, shapes=("square",), colours=("red", "blue"), backgrounds=("black", "white"), frames=4,
            ways=("left", "right"), wrong=0.05,
        )  # fmt: skip

    @property
    def shape(self) -> tuple[int, ...]:
        return self.frames, 3, self.pixels, self.pixels

    @property
    def labels(self) -> dict[str, tuple[Any, ...]]:
        moves = {"way": self.ways, "speed": self.speeds}
        return {n: v for n, v in {**super().labels, **moves}.items() if len(v) > 1}

    def condition(self) -> Any:
        return Words(vocabulary(self.values, (*WAYS, *SPEEDS, "moving")), self.start.width, length=9)

    def reward(self) -> Any:
        return ShapesVideoReward(self)

    def corpus(self) -> Examples:
        streams = Streams(self.start.seed).fork("corpus", self.name)
        stream = streams("example", streams.uids(self.start.corpus))
        told = self._told(stream, "train")
        shown = [slipped(t, self._lists, u, self.wrong) for t, u in zip(told, slips(stream), strict=True)]
        return self.draw(stream, "train")._replace(pictures=self._filmed(shown, stream))

    def draw(self, stream: Stream, split: Split) -> Examples:
        told = self._told(stream, split)
        columns = [list(c) for c in zip(*told, strict=True)]
        info = {n: c for n, c in zip((*ATTRIBUTES, "way", "speed"), columns, strict=True) if n != "place"}
        return Examples([self.caption(Scene(*t[:5]), *t[5:]) for t in told], self._filmed(told, stream), info)

    @property
    def _lists(self) -> tuple[tuple[str, ...], ...]:
        return (*self.values.values(), self.ways, self.speeds)

    def _filmed(self, told: Sequence[Sequence[str]], stream: Stream) -> Tensor:
        """[N, *shape] videos of attributes, way and speed."""
        scenes = [Scene(*t[:5]) for t in told]
        middle, radius = where(scenes, 2 * stream.uniform(3, start=10_000) - 1)
        way = torch.tensor([[d * SPEEDS[t[6]] for d in WAYS[t[5]]] for t in told], dtype=torch.double).reshape(-1, 2)
        along = torch.linspace(-0.5, 0.5, self.frames, dtype=torch.double)
        return torch.stack([painted(scenes, middle + t * way, radius, self.pixels) for t in along], 1)

    def caption(self, scene: Scene, way: str, speed: str) -> str:
        """A video in words; what has no choice is not mentioned.

        >>> ShapesVideo().caption(Scene("circle", "red", "middle", "large", "white"), "left", "fast")
        'a red circle moving left fast, on white'
        """
        words = ["a", *(getattr(scene, n) for n in ("size", "colour", "shape") if n in self.asked)]
        words += [] if "shape" in self.asked else ["shape"]
        words += ["moving", way] if len(self.ways) > 1 else ["moving"]
        words += [speed] if len(self.speeds) > 1 else []
        return " ".join(words) + (f", on {scene.background}" if "background" in self.asked else "")

    def _told(self, stream: Stream, split: Split) -> list[tuple[str, ...]]:
        """Attributes, way and speed of the split for every row of the stream."""

        def made(u: Sequence[float]) -> tuple[str, ...] | None:
            told = tuple(pick(v, x) for v, x in zip(self._lists, u, strict=True))
            return told if split_of(" ".join(told)) == split else None

        return found(stream, 7, made, f"ShapesVideo: no {split} combination of attributes")


def motion(readings: Sequence[Reading], ways: Sequence[str] = tuple(WAYS), speeds: Sequence[str] = tuple(SPEEDS)) -> Motion:
    """How a shape moves through frames that were read one by one; frames without a shape are left out.

    With fewer than three quarters of the frames (and fewer than two) nothing is said.

    >>> from guerdon.tasks import Scene, ShapesOracle, render
    >>> seen = ShapesOracle().read(render([Scene("circle", "red", p, "small", "white") for p in ("left", "middle", "right")]))
    >>> motion(seen).way, motion(seen).speed
    ('right', 'fast')
    """
    n = len(readings)
    known = [(k, *r.centre) for k, r in enumerate(readings) if r.centre is not None]
    if len(known) < max(2, math.ceil(0.75 * n)):
        return Motion(None, None, (0.0, 0.0), 0.0)
    at = torch.tensor(known, dtype=torch.double)
    t, spot = at[:, 0] / (n - 1), at[:, 1:]
    t0, spot0 = t - t.mean(), spot - spot.mean(0)
    step = (t0[:, None] * spot0).sum(0) / t0.square().sum()
    bend = float((spot0 - t0[:, None] * step).square().sum(1).mean().sqrt())
    length = float(step.norm())
    along = {w: (step[0] * x + step[1] * y).item() / max(length, 1e-9) for w, (x, y) in WAYS.items() if w in ways}
    way = max(along, key=along.__getitem__)
    if length < _LEAST or along[way] < math.cos(math.pi / 6) or bend > 0.5 * length:
        return Motion(None, None, (float(step[0]), float(step[1])), bend)
    speed = min((s for s in SPEEDS if s in speeds), key=lambda s: abs(math.log(length / SPEEDS[s])))
    return Motion(way, speed, (float(step[0]), float(step[1])), bend)


@dataclass(frozen=True)
class ShapesVideoReward:
    """The share of a caption's attributes that a video has: shape, colour and background in each frame, way and speed over all.

    Parts of frames are means over the frames. ``steady`` (not in the total) is the share of frames in which a shape was seen.

    Args:
        task: The world that the videos are of.

    Example:
        >>> known = ShapesVideo().examples(2)
        >>> from guerdon.core.rollout import recorded
        >>> ShapesVideoReward()(recorded(known.contexts, known.pictures)).total.tolist()
        [1.0, 1.0]
    """

    scope: ClassVar[Scope] = "sample"
    differentiable: ClassVar[bool] = False

    task: ShapesVideo = ShapesVideo()

    def __call__(self, rollout: Rollout) -> RewardOutput:
        videos, reasons = readable(rollout.outputs, self.task.shape)
        n = self.task.frames
        seen = self.task.oracle().read(videos.flatten(0, 1))
        rows: list[dict[str, float] | str] = []
        steady = []
        for k, (context, why) in enumerate(zip(rollout.contexts, reasons, strict=True)):
            frames = seen[n * k : n * k + n]
            rows.append(why or self._graded(context, frames))
            steady.append(0.0 if isinstance(rows[-1], str) else sum(not f.reason for f in frames) / n)
        names = (*(a for a in self.task.asked if a != "place"), "way", "speed")
        out = assembled(rows, names)
        return out.replace(parts={**out.parts, "steady": torch.tensor(steady)})

    def _graded(self, context: Any, frames: Sequence[Reading]) -> dict[str, float] | str:
        asked = heard(context)
        if isinstance(asked, str):
            return asked
        moves = motion(frames, self.task.ways, self.task.speeds)
        parts: dict[str, float] = {n: float(getattr(moves, n) == asked.pop(n)) for n in ("way", "speed") if n in asked}
        each = [graded(asked, f) for f in frames] if asked else []
        return {**{n: sum(g[n] for g in each if isinstance(g, dict)) / len(each) for n in asked}, **parts}


def heard(context: Any) -> dict[str, str] | str:
    """What a video's caption asks for, or why it asks for nothing.

    >>> heard("a red circle moving left fast")
    {'colour': 'red', 'shape': 'circle', 'way': 'left', 'speed': 'fast'}
    """
    if not isinstance(context, str):
        return f"the context is {type(context).__name__}, not a caption"
    words = context.replace(",", " ").split()
    moves = {"way": [w for w in words if w in WAYS], "speed": [w for w in words if w in SPEEDS]}
    twice = next((v for v in moves.values() if len(v) > 1), None)
    if twice:
        return f"caption {context!r} names two: {twice[0]} and {twice[1]}"
    rest = " ".join(w for w in words if w not in WAYS and w not in SPEEDS)
    try:
        asked = said(rest, ("moving", *GLUE)) | {n: v[0] for n, v in moves.items() if v}
    except DataError as e:
        return str(e)
    return asked or f"caption {context!r} asks for nothing"
