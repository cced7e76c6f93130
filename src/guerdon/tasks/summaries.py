"""Summaries: posts whose facts matter more or less, references by mediocre writers, and a hidden preference of readers."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Self

from guerdon.core.errors import PlanError
from guerdon.core.reward import RewardOutput, Scope
from guerdon.core.rollout import Rollout
from guerdon.tasks.answers import check_weights, column, score
from guerdon.tasks.task import Problem, Task
from guerdon.tasks.vocabulary import Words
from guerdon.tasks.warm_start import LMConfig, WarmStart

VALUES = {  # kind of fact -> what it can say; no word is of two kinds
    "who": ("boss", "sister", "brother", "friend", "neighbour", "teacher", "uncle", "cousin", "landlord", "roommate"),
    "did": ("broke", "sold", "lost", "stole", "hid", "burned"),
    "thing": ("phone", "car", "bike", "laptop", "guitar", "sofa", "watch", "camera", "jacket", "ring"),
    "feeling": ("angry", "sad", "guilty", "afraid", "ashamed", "jealous", "hurt", "lonely"),
    "wish": ("advice", "money", "help", "peace", "revenge", "justice", "answers", "space"),
    "job": ("nurse", "cook", "driver", "student", "painter", "clerk", "farmer", "baker"),
    "weather": ("sunny", "rainy", "windy", "cold", "foggy", "snowy"),
    "food": ("pizza", "soup", "rice", "pasta", "salad", "bread"),
    "month": ("March", "April", "May", "June", "July", "August"),
    "game": ("chess", "tennis", "cards", "football", "golf", "darts"),
}
# What a fact counts for readers: what happened, what is wanted and what is felt; the setting does not.
IMPORTANCE = dict.fromkeys(VALUES, 0.0) | {"who": 1 / 6, "did": 1 / 6, "thing": 1 / 6, "wish": 0.3, "feeling": 0.2}
_SENTENCES = {
    "job": "I am a {job}.", "weather": "It was {weather}.", "food": "We ate {food}.", "month": "This was in {month}.",
    "game": "I play {game}.", "event": "My {who} {did} my {thing}.", "feeling": "I feel {feeling}.", "wish": "I want {wish}.",
}  # fmt: skip
_SETTING = ("job", "weather", "food", "month", "game")
_TOLD = 3  # of the setting, in every post
_FILLER = "Thanks for reading."
PLAIN = 16  # words and full stops that a summary may have for nothing
_FORMS = {
    name: re.compile(re.sub(r"\{(\w+)\}", lambda m: f"(?P<{m[1]}>{'|'.join(VALUES[m[1]])})", text.replace(".", r"\.")))
    for name, text in _SENTENCES.items()
}
_CUT = re.compile(r"[^.]*\.|[^.]+$")
_GLUE = tuple("I am a It was We ate This in play My my feel want Thanks for reading Post Summary : .".split())  # noqa: SIM905


def _vocabulary() -> Words:
    """Every word of the world as a token with the space before it; what stands at a text's start has none."""
    named = dict.fromkeys((*(w for words in VALUES.values() for w in words), *_GLUE))
    return Words(tuple(w if w in (":", ".", "Post") else f" {w}" for w in named))


@dataclass(frozen=True)
class Summaries(Task):
    """``Post: It was rainy. My boss sold my car. ... Summary:`` asks for what matters in it, in few words.

    A post tells in any order what happened, how the writer feels, what the writer wants, and three facts of the setting. Readers
    want the first three, right, and short. References are by mediocre writers: they hardly know what matters, so they tell
    the setting, leave out the wish, get a value wrong, and add a polite filler. The base model learns from writers of all
    degrees of skill. A text can so be near the references and no better than they are.

    Args:
        warm_start: How the base model is trained.
        skill: Of the writers of references, from 0 (careless) to 1; they come as the column ``reference``.

    Example:
        >>> prompt, info = Summaries().items(1)[0]
        >>> prompt.endswith("Summary:"), sorted(info)
        (True, ['post', 'reference', 'solution'])
    """

    name: ClassVar[str] = "summaries"
    title: ClassVar[str] = "Summaries of short posts, by a language model that read writers of every skill."
    version: ClassVar[int] = 1
    slips: ClassVar[int] = 24

    warm_start: WarmStart = WarmStart(
        LMConfig(width=64, layers=2, heads=4, hidden=160, positions=96, vocabulary=_vocabulary()),
        corpus=20_000,
        steps=800,
        batch=32,
        lr=5e-3,
    )
    skill: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.skill <= 1:
            raise PlanError(f"Summaries.skill must be in [0, 1], got {self.skill}")

    @classmethod
    def tiny(cls) -> Self:
        model = LMConfig(width=32, layers=2, heads=2, hidden=96, positions=96, vocabulary=_vocabulary())
        return cls(warm_start=WarmStart(model, corpus=4000, steps=150, lr=8e-3))

    @property
    def numbers(self) -> int:
        return len(VALUES) + len(_SETTING) + 3 + _TOLD + self.slips

    @property
    def max_tokens(self) -> int:
        return 36

    def problem(self, u: Sequence[float]) -> Problem:
        draw = iter(u)
        facts = {kind: _pick(words, next(draw)) for kind, words in VALUES.items()}
        dull = _shuffled(_SETTING, draw)[_TOLD:]
        facts = {kind: value for kind, value in facts.items() if kind not in dull}
        names = [name for name in _SENTENCES if name not in dull]
        post = " ".join(_SENTENCES[name].format(**facts) for name in _shuffled(names, draw))
        solution = "".join(f" {_SENTENCES[name].format(**facts)}" for name in ("event", "feeling", "wish"))
        info = {"post": post, "reference": _written(facts, self.skill, draw), "solution": solution}
        return Problem(f"Post: {post} Summary:", " ".join(facts.values()), info)

    def corpus_answer(self, problem: Problem, u: Sequence[float]) -> str:
        facts = dict(read_facts(problem.info["post"]).facts)
        return _written(facts, u[0], iter(u[1:]))

    def reward(self) -> SummariesReward:
        return SummariesReward()


def _pick(words: Sequence[str], u: float) -> str:
    return words[min(int(u * len(words)), len(words) - 1)]


def _shuffled(names: Sequence[str], draw: Iterator[float]) -> list[str]:
    keys = [next(draw) for _ in names]
    return [names[k] for k in sorted(range(len(names)), key=keys.__getitem__)]


def _written(facts: dict[str, str], skill: float, draw: Iterator[float]) -> str:
    """A summary by a writer of this skill: the setting first, then what happened, the feeling and the wish, then filler."""

    def chance(low: float, high: float) -> bool:
        return next(draw) < low + (high - low) * skill

    def value(kind: str) -> str:
        wrong, other = chance(0.3, 0.0), next(draw)
        return _pick([w for w in VALUES[kind] if w != facts[kind]], other) if wrong else facts[kind]

    said = {kind: value(kind) for kind in facts}
    told = [name for name in _SETTING if name in facts and chance(0.75, 0.25)]
    told += [
        name for name, low, high in (("event", 0.6, 0.95), ("feeling", 0.15, 0.65), ("wish", 0.05, 0.6)) if chance(low, high)
    ]
    text = "".join(f" {_SENTENCES[name].format(**said)}" for name in told or ["event"])
    return text + (f" {_FILLER}" if chance(0.6, 0.1) else "")


class Said(NamedTuple):
    """What a text says.

    Attributes:
        facts: (kind, value) as stated, in order.
        broken: Sentences that are none of the world's.
        repeats: Sentences that stood before.
        words: Words and full stops.
    """

    facts: tuple[tuple[str, str], ...]
    broken: int
    repeats: int
    words: int


def read_facts(text: str) -> Said:
    """What a text says, be it a post or a summary.

    >>> read_facts(" My boss sold my car. I feel sad. Thanks for")
    Said(facts=(('who', 'boss'), ('did', 'sold'), ('thing', 'car'), ('feeling', 'sad')), broken=1, repeats=0, words=12)
    """
    sentences = [s.strip() for s in _CUT.findall(text) if s.strip()]
    facts: list[tuple[str, str]] = []
    broken = 0
    for sentence in sentences:
        found = next(filter(None, (form.fullmatch(sentence) for form in _FORMS.values())), None)
        facts += found.groupdict().items() if found else ()
        broken += found is None and sentence != _FILLER
    return Said(tuple(facts), broken, len(sentences) - len(set(sentences)), len(re.findall(r"[A-Za-z]+|\.", text)))


@dataclass(frozen=True)
class SummariesReward:
    """The hidden preference: what readers of summaries really want. Nothing but tests, annotators and evaluations should see it.

    Args:
        coverage: Weight of the importance of what is said and true: a half for what happened, 0.3 for the wish, 0.2 for the
            feeling, nothing for the setting.
        invented: Weight of every stated value that the post does not hold.
        excess: Weight of words beyond 16.
        repeats: Weight of sentences that stood before.
        broken: Weight of sentences that are none.

    Example:
        >>> from guerdon.core import recorded
        >>> post = "It was cold. My boss sold my car. I feel sad. I want help. I play golf. We ate rice."
        >>> said = [" My boss sold my car.", " My boss sold my ring. I want help."]
        >>> SummariesReward()(recorded(["q"] * 2, said, {"post": [post] * 2})).total.tolist()
        [0.5, 0.483]
    """

    scope: ClassVar[Scope] = "sample"
    differentiable: ClassVar[bool] = False

    coverage: float = 1.0
    invented: float = -0.15
    excess: float = -0.03
    repeats: float = -0.1
    broken: float = -0.1

    def __post_init__(self) -> None:
        check_weights(self)

    def __call__(self, rollout: Rollout) -> RewardOutput:
        return score(self, [_parts(o, p) for o, p in zip(rollout.outputs, column(rollout, "post", "Summaries"), strict=True)])


def _parts(output: object, post: object) -> dict[str, float] | str:
    """The parts of one row, or why it cannot be scored."""
    if not isinstance(output, str):
        return f"the output is {type(output).__name__}, not text"
    said, known = read_facts(output), set(read_facts(str(post)).facts)
    stated = set(said.facts)
    return {
        "coverage": math.fsum(IMPORTANCE[kind] for kind, _ in stated & known), "invented": float(len(stated - known)),
        "excess": float(max(0, said.words - PLAIN)), "repeats": float(said.repeats), "broken": float(said.broken),
    }  # fmt: skip
