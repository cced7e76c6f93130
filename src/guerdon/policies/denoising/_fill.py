"""Fill: a sequence of which some tokens are given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from guerdon.core import PlanError

UNKNOWN = -1


@dataclass(frozen=True)
class Fill:
    """The context of an infilling: given tokens stay, the others are generated. A prompt is a given prefix.

    Args:
        tokens: One for every position, -1 where it is to be found; for a policy of texts also a text with ``?`` there.
        context: What else is asked, for a policy with a condition.

    Example:
        >>> Fill((2, -1, -1, 0)), Fill("GA??TTACA").tokens
        (Fill(tokens=(2, -1, -1, 0), context=None), 'GA??TTACA')
    """

    tokens: tuple[int, ...] | str
    context: Any = None

    def __post_init__(self) -> None:
        if not isinstance(self.tokens, str):
            object.__setattr__(self, "tokens", tuple(int(t) for t in self.tokens))
        if not self.tokens:
            raise PlanError("Fill: tokens is empty; expected one entry for every position")
