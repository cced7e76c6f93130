"""ShapesEdit: a picture and what is to change in it; the rest must stay."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch

from guerdon.core.errors import PlanError
from guerdon.core.reward import RewardOutput, Scope
from guerdon.core.rollout import Rollout
from guerdon.core.streams import Stream
from guerdon.policies import Edit, Edits, Words
from guerdon.tasks.picture_worlds._oracle import Reading
from guerdon.tasks.picture_worlds._render import render
from guerdon.tasks.picture_worlds._scene import ATTRIBUTES, WHERE, vocabulary
from guerdon.tasks.picture_worlds._shapes import Shapes, assembled, readable, wanted
from guerdon.tasks.picture_worlds._task import Examples, pick
from guerdon.tasks.task import Split

_VERBS = ("make", "it", "put")


def request(attribute: str, value: str) -> str:
    """What is asked, in words.

    >>> request("colour", "blue"), request("shape", "cross"), request("place", "left"), request("background", "white")
    ('make it blue', 'make it a cross', 'put it on the left', 'put it on white')
    """
    said = {"shape": f"make it a {value}", "background": f"put it on {value}"}
    return f"put it {WHERE[value]}" if attribute == "place" else said.get(attribute, f"make it {value}")


@dataclass(frozen=True)
class ShapesEdit(Shapes):
    """A picture and ``make it blue``: the asked attribute is to change, and nothing else.

    Contexts are ``policies.Edit(source, text)``. The right answer is the source's scene, at the same sub-pixel place, with the
    one attribute changed; its combination of attributes decides the split.

    Args:
        start: As for ``Shapes``, and so are the other arguments.
        asked_of: The attributes that are asked to change; those without a choice never are.

    Example:
        >>> known = ShapesEdit().examples(2)
        >>> [c.text for c in known.contexts], known.info["attribute"]
        (['make it a cross', 'put it on black'], ['shape', 'background'])
    """

    name: ClassVar[str] = "shapes-edit"
    title: ClassVar[str] = "Edits of coloured shapes: one attribute changes, the rest stays."

    asked_of: tuple[str, ...] = ATTRIBUTES

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "asked_of", tuple(self.asked_of))
        if not set(self.asked_of) <= set(ATTRIBUTES) or not self.choices:
            raise PlanError(
                f"ShapesEdit.asked_of must name attributes with a choice among {', '.join(self.asked)}, got {list(self.asked_of)}"
            )

    @classmethod
    def tiny(cls) -> Self:
        return cls(**{f.name: getattr(Shapes.tiny(), f.name) for f in dataclasses.fields(Shapes)})

    @property
    def choices(self) -> tuple[str, ...]:
        """The attributes that may be asked to change."""
        return tuple(n for n in self.asked if n in self.asked_of)

    def condition(self) -> Any:
        words = vocabulary(self.values, _VERBS)
        return Edits(Words(words, self.start.width, length=6))

    def nothing(self, context: Any) -> Edit:
        return Edit(context.source, "")

    def reward(self) -> Any:
        return ShapesEditReward(self)

    def draw(self, stream: Stream, split: Split) -> Examples:
        after = self.scenes(stream, split)
        u = stream.uniform(5, start=10_000)
        jitter = 2 * u[:, :3] - 1
        before, asked = [], []
        for scene, (which, other) in zip(after, u[:, 3:].tolist(), strict=True):
            name = pick(self.choices, which)
            value = getattr(scene, name)
            before.append(scene._replace(**{name: pick([v for v in self.values[name] if v != value], other)}))
            asked.append((name, value))
        sources = render(before, self.pixels, jitter)
        contexts = [Edit(s, request(n, v)) for s, (n, v) in zip(sources, asked, strict=True)]
        info = {n: [getattr(s, n) for s in after] for n in ATTRIBUTES}
        info |= {"attribute": [n for n, _ in asked], "value": [v for _, v in asked]}
        return Examples(contexts, render(after, self.pixels, jitter), info)


@dataclass(frozen=True)
class ShapesEditReward:
    """Half for the asked change, half for what stayed: the share of the other attributes, and how near the place is.

    What the source shows is read by the same oracle. Parts: ``changed``; ``kept``, the share of the other attributes that are as
    they were; ``still``, 1 for a shape exactly where it was, 0 from a tenth of the picture on (0 as well where it is asked to
    move, and then not counted).

    Args:
        task: The world that the pictures are of.

    Example:
        >>> from guerdon.core.rollout import recorded
        >>> from guerdon.policies import Edit
        >>> from guerdon.tasks import Scene, render
        >>> red = Scene("square", "red", "left", "small", "white")
        >>> asked = Edit(render([red])[0], "make it blue")
        >>> shown = render([red._replace(colour="blue"), red._replace(colour="blue", background="black"), red])
        >>> ShapesEditReward()(recorded([asked] * 3, shown)).parts["changed"].tolist()
        [1.0, 1.0, 0.0]
    """

    scope: ClassVar[Scope] = "sample"
    differentiable: ClassVar[bool] = False

    task: ShapesEdit = ShapesEdit()

    def __call__(self, rollout: Rollout) -> RewardOutput:
        pictures, reasons = readable(rollout.outputs, self.task.shape)
        sources, broken = readable([getattr(c, "source", None) for c in rollout.contexts], self.task.shape)
        oracle = self.task.oracle()
        after, before = oracle.read(pictures), oracle.read(sources)
        rows = [
            why or _graded(c, why_not, b, a)
            for c, why, why_not, b, a in zip(rollout.contexts, reasons, broken, before, after, strict=True)
        ]
        out = assembled(rows, ("changed", "kept", "still"))
        kept = torch.tensor([0.0 if isinstance(r, str) else _mean([v for n, v in r.items() if n != "changed"]) for r in rows])
        return out.replace(total=0.5 * out.parts["changed"] + 0.5 * kept)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _graded(context: Any, broken: str, before: Reading, after: Reading) -> dict[str, float] | str:
    """The parts of one row, or why it cannot be scored."""
    if not isinstance(context, Edit):
        return f"the context is {type(context).__name__}, not an Edit"
    if broken or before.reason:
        return f"the source cannot be read: {broken or before.reason}"
    asked = wanted(context.text, _VERBS)
    if isinstance(asked, str):
        return asked
    others = [n for n in ATTRIBUTES if n not in asked]
    parts = {
        "changed": _mean([float(after.attributes[n] == v) for n, v in asked.items()]),
        "kept": _mean([float(after.attributes[n] is not None and after.attributes[n] == before.attributes[n]) for n in others]),
    }
    if "place" not in asked:
        away = 1.0
        if before.centre is not None and after.centre is not None:
            away = max(abs(a - b) for a, b in zip(before.centre, after.centre, strict=True))
        parts["still"] = max(0.0, 1 - 10 * away)
    return parts
