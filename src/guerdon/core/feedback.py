"""Feedback: what people, programs and models say of outputs, as nine small records. Free of torch.

Every record knows the context it is about, who said it, when, where it was read, and which sampled rows it is about. Records
never change: a correction of a record is another record (``feedback.Store`` keeps the chain).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from guerdon.core.contexts import key_of, plain_data
from guerdon.core.errors import DataError, nearest


@dataclass(frozen=True, kw_only=True)
class Feedback:
    """What all kinds of feedback have in common.

    Args:
        context: What was asked: a text, a list of messages ``{"role", "content"}``, or any plain value.
        annotator: Who said it; "" where that is not known.
        time: When it was said, in seconds since 1970 (UTC); None where that is not known.
        source: Where the record comes from, such as ``pairs.jsonl:17`` or the name of a program and its version.
        uids: Row identities (``Rollout.uid``) of the outputs, in the order of the record; () where they were not sampled here.
        info: Further columns as plain values: subset, scenario, model names.

    Raises:
        DataError: for a value that cannot be what its field says.
    """

    kind: ClassVar[str] = ""

    context: Any = ""
    annotator: str = ""
    time: float | None = None
    source: str = ""
    uids: tuple[int, ...] = ()
    info: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("annotator", "source"):
            self._expect(isinstance(getattr(self, name), str), name, "a text")
        self._expect(self.time is None or _number(self.time), "time", "seconds since 1970")
        self._expect(isinstance(self.info, Mapping), "info", "a mapping of columns")
        object.__setattr__(self, "uids", tuple(int(u) for u in self.uids))

    def _expect(self, fine: bool, name: str, expected: str) -> None:
        if not fine:
            raise DataError(f"{type(self).__name__}.{name} must be {expected}, got {getattr(self, name)!r}")

    @property
    def id(self) -> str:
        """32 hex digits that follow from the content: reading a file twice gives the same records, not twice as many.

        >>> a, b = Critique(output="x", text="too long"), Critique(output="x", text="too short")
        >>> a.id == Critique(output="x", text="too long").id, a.id == b.id
        (True, False)
        """
        return hashlib.blake2b(json.dumps(self.to_record(), sort_keys=True).encode(), digest_size=16).hexdigest()

    def to_record(self) -> dict[str, Any]:
        """Plain data, for JSON; ``from_record`` turns it back."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {"kind": self.kind, **{k: plain_data(v) for k, v in values.items()}}

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)


@dataclass(frozen=True, kw_only=True)
class Comparison(Feedback):
    """Which of two outputs is better.

    Args:
        first: One output.
        second: The other.
        label: Probability in [0, 1] that ``first`` is better: 1, 0, 0.5 for a tie, between for soft labels.
        margin: By how much the better one is better, at least 0, in the annotator's units; None where that is not known.
    """

    kind: ClassVar[str] = "comparison"

    first: Any
    second: Any
    label: float = 1.0
    margin: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._expect(_number(self.label, 0, 1), "label", "a probability in [0, 1]")
        self._expect(self.margin is None or _number(self.margin, 0), "margin", "a number of at least 0")

    @property
    def tie(self) -> bool:
        """Whether neither is better."""
        return self.label == 0.5

    def swapped(self) -> Self:
        """The same comparison with its outputs in the other order.

        >>> c = Comparison(first="a", second="b", label=0.75, uids=(1, 2)).swapped()
        >>> c.first, c.label, c.uids
        ('b', 0.25, (2, 1))
        """
        return self.replace(first=self.second, second=self.first, label=1 - self.label, uids=self.uids[::-1])


@dataclass(frozen=True, kw_only=True)
class Ranking(Feedback):
    """Several outputs in order.

    Args:
        outputs: [N] outputs.
        ranks: [N] rank of each, 1 the best; equal ranks are ties.
    """

    kind: ClassVar[str] = "ranking"

    outputs: tuple[Any, ...]
    ranks: tuple[int, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "outputs", tuple(self.outputs))
        object.__setattr__(self, "ranks", tuple(self.ranks))
        good = len(self.ranks) == len(self.outputs) >= 2 and all(_number(r, 1) for r in self.ranks)
        self._expect(good, "ranks", f"one rank of at least 1 for each of two or more outputs ({len(self.outputs)} given)")

    def comparisons(self) -> Iterator[Comparison]:
        """Every pair, ties among them.

        >>> [(c.first, c.second, c.label) for c in Ranking(outputs=("a", "b", "c"), ranks=(2, 1, 2)).comparisons()]
        [('a', 'b', 0.0), ('a', 'c', 0.5), ('b', 'c', 1.0)]
        """
        for i, j in _pairs(len(self.outputs)):
            a, b = self.ranks[i], self.ranks[j]
            yield _compare(self, self.outputs[i], self.outputs[j], 0.5 if a == b else float(a < b), (i, j))


@dataclass(frozen=True, kw_only=True)
class Rating(Feedback):
    """Scores of one output, by named attributes.

    Args:
        output: What was rated.
        scores: attribute -> score; ``{"overall": ...}`` where there is only one.
        low: Lowest score that could be given; None where that is not known.
        high: Highest score that could be given.
    """

    kind: ClassVar[str] = "rating"

    output: Any
    scores: Mapping[str, float]
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        scores: Any = self.scores
        good = isinstance(scores, Mapping) and len(scores) > 0 and all(map(_number, scores.values()))
        self._expect(good, "scores", "a mapping of attributes to numbers")
        inside = all((self.low is None or v >= self.low) and (self.high is None or v <= self.high) for v in self.scores.values())
        self._expect(inside, "scores", f"between {self.low} and {self.high}")


@dataclass(frozen=True, kw_only=True)
class ImplicitFeedback(Feedback):
    """What somebody did with an output: a click, a copy, seconds of reading.

    Args:
        output: What was shown.
        event: What happened, such as ``"click"``, ``"copy"``, ``"dwell"``, ``"skip"``.
        value: How much: 1 for a click, 0 for none, seconds for a dwell.
        position: Place where it was shown, 1 the first; None where that is not known.
        propensity: Probability in (0, 1] with which it was shown; None where that is not known.
    """

    kind: ClassVar[str] = "implicit"

    output: Any
    event: str
    value: float = 1.0
    position: int | None = None
    propensity: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        event: Any = self.event
        self._expect(isinstance(event, str) and event != "", "event", "a name")
        self._expect(_number(self.value), "value", "a number")
        self._expect(self.propensity is None or 0 < self.propensity <= 1, "propensity", "a probability in (0, 1]")


@dataclass(frozen=True, kw_only=True)
class SpanLabel(Feedback):
    """Something said of a part of an output.

    Args:
        output: The whole output, a text.
        start: First character of the span, from 0.
        end: Character behind its last one.
        label: What it is, such as ``"irrelevant"`` or ``"wrong fact"``.
        value: How good it is: negative for faults, positive for praise.
        text: What the annotator wrote about it.
    """

    kind: ClassVar[str] = "span"

    output: str
    start: int
    end: int
    label: str
    value: float = -1.0
    text: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._expect(isinstance(self.output, str), "output", "a text")
        self._expect(0 <= self.start < self.end <= len(self.output), "end", f"behind start {self.start}, in the output's "
                     f"{len(self.output)} characters")  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Critique(Feedback):
    """What somebody wrote about an output.

    Args:
        output: What it is about.
        text: The critique.
    """

    kind: ClassVar[str] = "critique"

    output: Any
    text: str


@dataclass(frozen=True, kw_only=True)
class Correction(Feedback):
    """An output as somebody mended it.

    Args:
        output: Before.
        corrected: After.
    """

    kind: ClassVar[str] = "correction"

    output: Any
    corrected: Any

    def comparisons(self) -> Iterator[Comparison]:
        """The mended output is better than the one before."""
        yield _compare(self, self.corrected, self.output, 1.0, ())


@dataclass(frozen=True, kw_only=True)
class Demonstration(Feedback):
    """An output that somebody made to show how.

    Args:
        output: The output.
    """

    kind: ClassVar[str] = "demonstration"

    output: Any


@dataclass(frozen=True, kw_only=True)
class RubricLabel(Feedback):
    """Whether, or how far, an output meets one criterion of a rubric.

    Args:
        output: What was judged.
        criterion: The criterion, as the annotator read it.
        value: How far it is met, in [0, 1].
        weight: What the criterion counts in its rubric; negative for faults.
        text: The annotator's reason.
    """

    kind: ClassVar[str] = "rubric"

    output: Any
    criterion: str
    value: float
    weight: float = 1.0
    text: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._expect(_number(self.value, 0, 1), "value", "a number in [0, 1]")


KINDS: dict[str, type[Feedback]] = {
    c.kind: c
    for c in (
        Comparison, Ranking, Rating, ImplicitFeedback, SpanLabel, Critique, Correction, Demonstration, RubricLabel,
    )
}  # fmt: skip


def from_record(record: Mapping[str, Any]) -> Feedback:
    """The feedback that ``to_record`` wrote down.

    Raises:
        DataError: for an unknown kind or field, a missing field, or a value that does not fit.

    >>> from_record({"kind": "comparison", "first": "a", "second": "b"}).label
    1.0
    """
    values = dict(record)
    kind = values.pop("kind", None)
    if kind not in KINDS:
        raise DataError(f"unknown kind of feedback {kind!r}; {nearest(str(kind), KINDS)}")
    cls = KINDS[kind]
    known = {f.name: f for f in dataclasses.fields(cls)}
    for name in values:
        if name not in known:
            raise DataError(f"{cls.__name__} has no field {name!r}; {nearest(name, known)}")
    for name, f in known.items():
        if name not in values and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING:
            raise DataError(f"{cls.__name__} needs the field {name!r}")
    return cls(**values)


def comparisons(feedback: Iterable[Feedback]) -> Iterator[Comparison]:
    """Every comparison that is among the feedback or follows from a ranking, a correction, or two overall ratings of one
    context by one annotator. Other kinds say nothing of pairs.

    >>> ratings = [Rating(context="q", output=o, scores={"overall": s}, annotator="ann") for o, s in (("a", 2), ("b", 5))]
    >>> [(c.first, c.second, c.label, c.margin) for c in comparisons(ratings)]
    [('a', 'b', 0.0, 3.0)]
    """
    rated: dict[tuple[str, str], list[Rating]] = {}
    for f in feedback:
        if isinstance(f, Comparison):
            yield f
        elif isinstance(f, Ranking | Correction):
            yield from f.comparisons()
        elif isinstance(f, Rating) and "overall" in f.scores:
            others = rated.setdefault((key_of(f.context), f.annotator), [])
            for other in others:
                a, b = other.scores["overall"], f.scores["overall"]
                found = _compare(other, other.output, f.output, 0.5 if a == b else float(a > b), ())
                yield found.replace(margin=float(abs(a - b)) if a != b else None, uids=other.uids + f.uids)
            others.append(f)


def _compare(f: Feedback, first: Any, second: Any, label: float, places: tuple[int, ...]) -> Comparison:
    """A comparison that follows from other feedback and keeps its provenance."""
    uids = tuple(f.uids[k] for k in places) if len(f.uids) > max(places, default=len(f.uids)) else ()
    common = {g.name: getattr(f, g.name) for g in dataclasses.fields(Feedback) if g.name != "uids"}
    return Comparison(first=first, second=second, label=label, uids=uids, **common)


def _pairs(n: int) -> Iterator[tuple[int, int]]:
    return ((i, j) for i in range(n) for j in range(i + 1, n))


def _number(x: Any, low: float = -math.inf, high: float = math.inf) -> bool:
    return isinstance(x, int | float) and not isinstance(x, bool) and abs(x) <= sys.float_info.max and low <= x <= high
