"""PictureTask: a small world of pictures with a reward that can tell, and the source of what a plan asks for."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self, get_args

import torch
from torch import Tensor

from guerdon.core.batch import Batch
from guerdon.core.errors import PlanError, nearest
from guerdon.core.reward import Reward
from guerdon.core.rollout import Items
from guerdon.core.streams import Stream, Streams
from guerdon.policies import Denoising, Diffusion, Flow
from guerdon.tasks.cache import cached
from guerdon.tasks.picture_worlds import _denoiser as denoiser
from guerdon.tasks.picture_worlds._denoiser import DenoiserStart, Kind, check_kind
from guerdon.tasks.task import HELD_OUT, Split

if TYPE_CHECKING:
    from guerdon.tasks.picture_worlds._reader import PictureFeatures

_BLOCK = 8  # attempts looked at together


class Examples(NamedTuple):
    """Pictures with what they show.

    Attributes:
        contexts: [N] captions, labels or edits, as a policy reads them.
        pictures: [N, *shape] float32 in [-1, 1], one right answer to each.
        info: Columns of N entries.
    """

    contexts: list[Any]
    pictures: Tensor
    info: dict[str, list[Any]]


@dataclass(frozen=True)
class PictureTask(ABC):
    """A world of pictures: contexts with right answers, a base model of each kind, and a reward.

    A subclass is a frozen dataclass whose fields determine contexts, pictures and base models.

    Args:
        start: How base models are trained.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    version: ClassVar[int]  # to be raised with any change to contexts or pictures: cached models are found by it

    start: DenoiserStart = DenoiserStart()

    @classmethod
    @abstractmethod
    def tiny(cls) -> Self:
        """The same world made so small that a base model is trained in a few seconds; for tests and dry runs."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Of one picture: (channels, height, width), or with the number of frames before."""

    @abstractmethod
    def condition(self) -> Any:
        """How a policy reads the contexts."""

    @abstractmethod
    def nothing(self, context: Any) -> Any:
        """The context with nothing asked."""

    @abstractmethod
    def draw(self, stream: Stream, split: Split) -> Examples:
        """One example of the split for every row of the stream, whatever the other rows are."""

    @abstractmethod
    def reward(self) -> Reward:
        """What is asked for, measured."""

    @property
    @abstractmethod
    def labels(self) -> dict[str, tuple[Any, ...]]:
        """Column of ``info`` -> the values it may have: what a network that is to know the pictures learns to tell."""

    def examples(self, n: int, seed: int = 0, split: Split = "train") -> Examples:
        """``n`` examples: a pure function of the arguments."""
        streams = Streams(seed).fork("examples", self.name)
        return self.draw(streams("example", streams.uids(n)), split)

    def corpus(self) -> Examples:
        """What base models are trained on: contexts of the train split, with pictures that need not be right."""
        return self.examples(self.start.corpus, self.start.seed)

    def prompts(self, split: Split = "train") -> PicturePrompts:
        """The source of these contexts for a plan."""
        return PicturePrompts(self, split)

    def real(self, n: int = 1000, split: Split = "train") -> RealPictures:
        """Pictures of the world, for measures that compare with real data."""
        return RealPictures(self, n, split)

    def features(self, width: int = 32) -> PictureFeatures:
        """A small frozen network that knows the pictures, as a spec: ``.build()`` gives [N, *shape] -> [N, width]."""
        from guerdon.tasks.picture_worlds._reader import PictureFeatures

        return PictureFeatures(self, width)

    def content(self) -> dict[str, Any]:
        """Everything that determines contexts and pictures, and how base models are trained, as plain values."""
        own = {"task": self.name, "task_version": self.version, "held_out": HELD_OUT}
        return {**own, "network": type(self.start.network).__name__, **dataclasses.asdict(self)}

    def policy(self, kind: Kind = "diffusion") -> Denoising:
        """A policy for this world with fresh weights."""
        s = self.start
        make: Any = {"diffusion": Diffusion, "flow": Flow}[check_kind(kind)]
        return make.of(
            self.shape, network=s.network, condition=self.condition(), predict="data", steps=s.chain, seed=s.seed
        )  # fmt: skip

    def recipe(self, kind: Kind) -> dict[str, Any]:
        """Everything that determines a base model; its hash names the cached folder."""
        return {"training_version": denoiser.VERSION, "kind": check_kind(kind), **self.content()}

    def base(self, kind: Kind = "diffusion") -> Path:
        """The base model's folder; trained now, with a progress bar on a terminal, when the cache lacks it.

        Args:
            kind: ``"diffusion"`` or ``"flow"``; the folder is read by the policy of that name.
        """

        def make() -> Callable[[Path], Mapping[str, Any]]:
            known = self.corpus()
            nothing = [self.nothing(c) for c in known.contexts]
            title = f"{self.name} base model ({kind})"
            return denoiser.train_denoiser(
                self.policy(kind), known.contexts, nothing, known.pictures, self.start, title=title
            ).save

        return cached(f"{self.name}-{kind}", self.recipe(kind), make)


def check_split(spec: Any) -> None:
    """Raises PlanError unless a source has a task of pictures and a split that there is."""
    name = type(spec).__name__
    if not isinstance(spec.task, PictureTask):
        raise PlanError(f"{name}.task must be a world of pictures such as tasks.Shapes(), got {spec.task!r}")
    if spec.split not in get_args(Split):
        raise PlanError(f"{name}.split {spec.split!r}; {nearest(str(spec.split), get_args(Split))}")


@dataclass(frozen=True)
class PicturePrompts:
    """Contexts of a world of pictures as a source: new ones at every draw, determined by the run's streams alone.

    Args:
        task: The world.
        split: ``"train"``, or ``"held_out"`` for evaluation.

    Example:
        >>> from guerdon.tasks import Shapes
        >>> items = PicturePrompts(Shapes()).draw(1, streams=Streams(0))
        >>> list(items.info)
        ['shape', 'colour', 'place', 'size', 'background']
    """

    task: PictureTask
    split: Split = "train"

    def __post_init__(self) -> None:
        check_split(self)

    def draw(self, n: int, *, streams: Streams) -> Items:
        uid = streams.uids(n)
        drawn = self.task.draw(streams("example", uid), self.split)
        return Items(drawn.contexts, uid, drawn.info)

    def tell(self, batch: Batch) -> None:
        """Nothing: contexts do not depend on how they were answered."""


@dataclass(frozen=True)
class RealPictures:
    """Pictures of a world: the data that a policy should not leave.

    Args:
        task: The world.
        n: How many.
        split: ``"train"`` or ``"held_out"``.

    Example:
        >>> from guerdon.tasks import Shapes
        >>> RealPictures(Shapes(), 3).pictures().shape
        torch.Size([3, 3, 16, 16])
    """

    task: PictureTask
    n: int = 1000
    split: Split = "train"

    def __post_init__(self) -> None:
        check_split(self)
        if self.n < 1:
            raise PlanError(f"RealPictures.n must be at least 1, got {self.n}")

    def pictures(self) -> Tensor:
        """[n, *shape] float32 in [-1, 1], the same at every call."""
        return self.task.examples(self.n, seed=1, split=self.split).pictures


def pick(names: Sequence[Any], u: float) -> Any:
    """The name that a uniform number in (0, 1] stands for."""
    return names[min(int(u * len(names)), len(names) - 1)]


def found(stream: Stream, width: int, make: Callable[[list[float]], Any], what: str) -> list[Any]:
    """What ``make`` makes of the first ``width`` uniform numbers of each row of which it makes anything.

    Args:
        stream: Its rows' first thousand numbers are used.
        width: Numbers that one attempt takes.
        make: None where nothing can be made of them.
        what: What is looked for, for the message.

    Raises:
        PlanError: where a row finds nothing.
    """
    made: dict[int, Any] = {}
    waiting = list(range(len(stream.key)))
    for start in range(0, 1000 - width * _BLOCK + 1, width * _BLOCK):
        if not waiting:
            break
        table = Stream(stream.key[torch.tensor(waiting)]).uniform(width * _BLOCK, start).tolist()
        for row, u in zip(waiting, table, strict=True):
            tried = (make(u[k : k + width]) for k in range(0, len(u), width))
            if (one := next((x for x in tried if x is not None), None)) is not None:
                made[row] = one
        waiting = [row for row in waiting if row not in made]
    if waiting:
        raise PlanError(f"{what} was found; widen its lists")
    return [made[row] for row in range(len(stream.key))]
