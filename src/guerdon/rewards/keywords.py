"""Keywords: words that must, or must not, appear."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from guerdon.core import PlanError, RewardOutput, Rollout
from guerdon.core.reward import Scope
from guerdon.rewards.rows import each, text_of


@dataclass(frozen=True)
class Keywords:
    """Whether words or phrases appear in the output, as whole words. The part ``found`` is the share that does.

    Args:
        words: Words or phrases.
        need: ``"any"``: 1 where at least one appears; ``"all"``: 1 where every one does; ``"none"``: 1 where none does;
            ``"share"``: the share that appears.
        case: Whether upper and lower case differ.

    Example:
        >>> from guerdon.rewards import recorded
        >>> Keywords(("cat", "dog"), need="share")(recorded(["q"] * 2, ["A cat and a dog.", "Catalogue"])).total.tolist()
        [1.0, 0.0]
    """

    words: tuple[str, ...]
    need: Literal["any", "all", "none", "share"] = "any"
    case: bool = False
    scope: ClassVar[Scope] = "sample"
    differentiable: ClassVar[bool] = False

    def __post_init__(self) -> None:
        words: Any = self.words
        if isinstance(words, str) or not words or not all(isinstance(w, str) and w.strip() for w in words):
            raise PlanError(f"Keywords: words must be a list of words, got {words!r}")
        if self.need not in ("any", "all", "none", "share"):
            raise PlanError(f"Keywords: need must be 'any', 'all', 'none' or 'share', got {self.need!r}")

    def __call__(self, rollout: Rollout) -> RewardOutput:
        flags = 0 if self.case else re.IGNORECASE
        # Literals between two looks around: nothing to backtrack into, so the time is linear in the text.
        patterns = [re.compile(rf"(?<!\w){re.escape(w.strip())}(?!\w)", flags) for w in self.words]

        def score(output: object, _: int) -> dict[str, float]:
            text = text_of(output)
            share = sum(p.search(text) is not None for p in patterns) / len(patterns)
            total = {"any": float(share > 0), "all": float(share == 1), "none": float(share == 0), "share": share}[self.need]
            return {"total": total, "found": share}

        return each(rollout, score)
