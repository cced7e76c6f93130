"""Task: a small text world with a verifiable reward, and the source of prompts that a plan draws from."""

from __future__ import annotations

import dataclasses
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Self, get_args

import torch

from guerdon.core.batch import Batch
from guerdon.core.errors import PlanError, nearest
from guerdon.core.reward import Reward
from guerdon.core.rollout import Items
from guerdon.core.streams import Stream, Streams
from guerdon.tasks import warm_start as warm
from guerdon.tasks.cache import cached
from guerdon.tasks.warm_start import WarmStart

Split = Literal["train", "held_out"]
HELD_OUT = 0.1  # share of all problems that neither the base model nor the policy is trained on
_BLOCK, _ATTEMPTS = 8, 1000  # candidates looked at together, and how often, before a split is called empty


class Problem(NamedTuple):
    """One prompt with what its answer is checked against.

    Attributes:
        prompt: As the model reads it.
        key: The same for all prompts that ask the same, such as ``3+5=`` and ``5+3=``; decides the split.
        info: Columns for the reward.
    """

    prompt: str
    key: str
    info: Mapping[str, Any]


def split_of(key: str) -> Split:
    """The split a problem belongs to, by a hash of its key: the same in every run, on every machine.

    >>> [split_of(f"{a}+4") for a in range(4)]
    ['train', 'train', 'train', 'train']
    """
    share = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big") / 2**64
    return "held_out" if share < HELD_OUT else "train"


@dataclass(frozen=True)
class Task(ABC):
    """A small world: prompts, a base model that sometimes answers right, and a reward that can tell.

    A subclass is a frozen dataclass whose fields determine the prompts and the base model; it says how a problem is made
    of ``numbers`` uniform random numbers, and how the corpus answers it.

    Args:
        warm_start: How the base model is trained.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    version: ClassVar[int]  # to be raised with any change to problems or corpus answers: cached models are found by it
    slips: ClassVar[int] = 5  # uniform numbers that one corpus answer takes

    warm_start: WarmStart = WarmStart()

    @classmethod
    @abstractmethod
    def tiny(cls) -> Self:
        """The same world made so small that its base model is trained in a few seconds; for tests and dry runs."""

    @property
    @abstractmethod
    def numbers(self) -> int:
        """Uniform random numbers that one problem takes."""

    @abstractmethod
    def problem(self, u: Sequence[float]) -> Problem | None:
        """The problem that ``numbers`` uniform numbers make; None where they make none."""

    @abstractmethod
    def corpus_answer(self, problem: Problem, u: Sequence[float]) -> str:
        """What the base model is taught to answer, with ``slips`` further uniform numbers."""

    @abstractmethod
    def reward(self) -> Reward:
        """The verifier at its defaults."""

    @property
    @abstractmethod
    def max_tokens(self) -> int:
        """Enough new tokens for any right answer of the corpus and its eos."""

    def items(self, n: int, seed: int = 0, split: Split = "train") -> list[tuple[str, dict[str, Any]]]:
        """(prompt, info) of ``n`` problems: a pure function of its arguments; small worlds repeat problems.

        >>> from guerdon.tasks import Arithmetic
        >>> Arithmetic().items(2, seed=1)
        [('22+69=', {'answer': '91', 'solution': '91'}), ('8+15=', {'answer': '23', 'solution': '23'})]
        """
        streams = Streams(seed).fork("items", self.name)
        return [(p.prompt, dict(p.info)) for p in self.problems(streams("problem", streams.uids(n)), split)]

    def prompts(self, split: Split = "train") -> TaskPrompts:
        """The source of these problems for a plan."""
        return TaskPrompts(self, split)

    def problems(self, stream: Stream, split: Split) -> list[Problem]:
        """One problem of the split for every row of the stream, whatever the other rows are.

        Raises:
            PlanError: where the world is so small that no problem of the split is found.
        """
        found: dict[int, Problem] = {}
        waiting = list(range(len(stream.key)))
        for attempt in range(_ATTEMPTS):
            if not waiting:
                break
            width = self.numbers * _BLOCK
            table = Stream(stream.key[torch.tensor(waiting)]).uniform(width, attempt * width).tolist()
            for row, u in zip(waiting, table, strict=True):
                for k in range(0, width, self.numbers):
                    candidate = self.problem(u[k : k + self.numbers])
                    if candidate is not None and split_of(candidate.key) == split:
                        found[row] = candidate
                        break
            waiting = [row for row in waiting if row not in found]
        if waiting:
            raise PlanError(f"{self} has no {split} problems, or too few to find them; widen its ranges")
        return [found[row] for row in range(len(found))]

    def corpus(self) -> list[tuple[str, str]]:
        """The (prompt, answer) pairs that the base model is trained on: problems of the train split only."""
        streams = Streams(self.warm_start.seed).fork("corpus", self.name)
        uid = streams.uids(self.warm_start.corpus)
        slips = streams("slip", uid).uniform(self.slips).tolist()
        problems = self.problems(streams("problem", uid), "train")
        return [(p.prompt, self.corpus_answer(p, u)) for p, u in zip(problems, slips, strict=True)]

    def recipe(self) -> dict[str, Any]:
        """Everything that determines the base model; its hash names the cached folder."""
        return {
            "task": self.name, "task_version": self.version, "training_version": warm.VERSION,
            "held_out": HELD_OUT, **dataclasses.asdict(self),
        }  # fmt: skip

    def base(self) -> Path:
        """The base model's Hugging Face folder; trained now, with a progress bar on a terminal, when the cache lacks it."""

        def make() -> Callable[[Path], Mapping[str, Any]]:
            w = self.warm_start
            title = f"{self.name} base model"
            return warm.train_lm(self.corpus(), w.model, steps=w.steps, lr=w.lr, batch=w.batch, seed=w.seed, title=title).save

        return cached(self.name, self.recipe(), make)


@dataclass(frozen=True)
class TaskPrompts:
    """Prompts of a task as a source: new problems at every draw, determined by the run's streams alone.

    Args:
        task: The world.
        split: ``"train"``, or ``"held_out"`` for evaluation.

    Example:
        >>> from guerdon.tasks import Arithmetic
        >>> items = TaskPrompts(Arithmetic()).draw(2, streams=Streams(0))
        >>> list(items.info)
        ['answer', 'solution']
    """

    task: Task
    split: Split = "train"

    def __post_init__(self) -> None:
        if not isinstance(self.task, Task):
            raise PlanError(f"TaskPrompts.task must be a task such as tasks.Arithmetic, got {self.task!r}")
        if self.split not in get_args(Split):
            raise PlanError(f"TaskPrompts.split {self.split!r}; {nearest(str(self.split), get_args(Split))}")

    def draw(self, n: int, *, streams: Streams) -> Items:
        uid = streams.uids(n)
        problems = self.task.problems(streams("problem", uid), self.split)
        columns = problems[0].info if problems else {}
        return Items([p.prompt for p in problems], uid, {c: [p.info[c] for p in problems] for c in columns})

    def tell(self, batch: Batch) -> None:
        """Nothing: problems do not depend on how they were answered."""
