"""What a kind of constraint is: a rule on a text, and the arguments that it needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from guerdon.core.errors import nearest

Relation = Literal["less than", "at least"]


class Unusable(ValueError):
    """A constraint that cannot be checked, with the reason."""


@dataclass(frozen=True)
class Parameter:
    """One argument of a kind.

    Args:
        expected: What it must be, for people.
        read: The value for the rule, or None where it is not what it must be.
    """

    expected: str
    read: Callable[[Any], Any]


@dataclass(frozen=True)
class Kind:
    """A kind of constraint.

    Args:
        follows: ``follows(text, **arguments)``; the text is not blank.
        parameters: What the arguments must be; each of them is needed.
    """

    follows: Callable[..., bool]
    parameters: Mapping[str, Parameter] = field(default_factory=dict)

    def arguments(self, given: Mapping[str, Any] | None) -> dict[str, Any]:
        """The arguments as the rule wants them. A None counts as not given: tables hold one column for all kinds.

        Raises:
            Unusable: for one that is missing, unknown or of another type.
        """
        found = {name: v for name, v in (given or {}).items() if v is not None}
        for name in found:
            if name not in self.parameters:
                known = nearest(str(name), self.parameters) if self.parameters else "this kind takes none"
                raise Unusable(f"unknown argument {name!r}; {known}")
        read = {}
        for name, parameter in self.parameters.items():
            if name not in found:
                raise Unusable(f"{name} is missing, expected {parameter.expected}")
            read[name] = parameter.read(found[name])
            if read[name] is None:
                raise Unusable(f"{name} must be {parameter.expected}, got {str(found[name])[:60]!r}")
        return read


def compare(number: int, relation: Relation, bound: int) -> bool:
    """Whether a number is less than, or at least, a bound.

    >>> compare(3, "less than", 3), compare(3, "at least", 3)
    (False, True)
    """
    return number < bound if relation == "less than" else number >= bound


def _count(value: Any) -> int | None:
    if isinstance(value, float) and value.is_integer():  # as tables have it
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value.strip() else None


def _texts(value: Any) -> tuple[str, ...] | None:
    if not isinstance(value, list | tuple) or not value or any(_text(v) is None for v in value):
        return None
    return tuple(value)


COUNT = Parameter("a whole number of at least 0", _count)
TEXT = Parameter("a text", _text)
TEXTS = Parameter("a list of texts", _texts)
RELATION = Parameter("'less than' or 'at least'", lambda v: v if v in ("less than", "at least") else None)
CHARACTER = Parameter("one character", lambda v: v.strip() if isinstance(v, str) and len(v.strip()) == 1 else None)
