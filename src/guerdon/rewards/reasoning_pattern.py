"""ReasoningPattern: how many of the phrases with which reasoning is told appear, whatever the answer."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, ClassVar

from guerdon.core import PlanError, RewardOutput, Rollout
from guerdon.core.reward import Scope
from guerdon.rewards.rows import each, text_of


@dataclass(frozen=True)
class ReasoningPattern:
    r"""$\max\left(0, \min(1, c / \mathrm{full}) - \rho - h\right)$: phrases found, less what is repeated and what is forbidden.

    $c$ is the number of different phrases that the lower-cased output contains, anywhere and each counted once; $\rho$ the number
    of different runs of ``window`` words that occur more than once, over the number of all runs; $h$ how often a forbidden text
    occurs. It never looks at the answer, so a policy can earn it by talk alone. Parts: ``phrases``, ``repeated``, ``forbidden``.

    Args:
        phrases: Such as "let me check", "therefore"; the paper has about forty. Those that end in a space or a comma only count
            with it.
        full: Different phrases that earn the whole reward.
        window: Words of a run.
        forbidden: Texts that cost 1 each time, such as ``"user: "`` where the output begins another turn.

    Example:
        >>> from guerdon.rewards import recorded
        >>> reward = ReasoningPattern(("first, ", "let me check", "therefore"), full=4)
        >>> reward(recorded(["2+2"] * 2, ["First, 2+2=4. Let me check. Therefore 4, therefore 4.", "4"])).total.tolist()
        [0.75, 0.0]

    Source: The Climb Carves Wisdom Deeper Than the Summit (arXiv:2505.22653); repetition is counted as in its code.
    """

    phrases: tuple[str, ...]
    full: int = 20
    window: int = 20
    forbidden: tuple[str, ...] = ("user: ",)
    scope: ClassVar[Scope] = "sample"
    differentiable: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for name in ("phrases", "forbidden"):
            given: Any = getattr(self, name)
            if isinstance(given, str) or not all(isinstance(g, str) and g for g in given):
                raise PlanError(f"ReasoningPattern: {name} must be a list of texts, got {given!r}")
        if not self.phrases:
            raise PlanError("ReasoningPattern: phrases is empty, so nothing could be rewarded")
        if self.full < 1 or self.window < 1:
            raise PlanError(f"ReasoningPattern: full and window must be at least 1, got {self.full} and {self.window}")

    def __call__(self, rollout: Rollout) -> RewardOutput:
        phrases = {p.lower() for p in self.phrases}

        def score(output: object, _: int) -> dict[str, float]:
            text = text_of(output).lower()
            found = sum(p in text for p in phrases)
            repeated = _repeated(text.split(), self.window)
            forbidden = sum(text.count(f.lower()) for f in self.forbidden)
            total = max(0.0, min(1.0, found / self.full) - repeated - forbidden)
            return {"total": total, "phrases": float(found), "repeated": repeated, "forbidden": float(forbidden)}

        return each(rollout, score)


def _repeated(words: list[str], window: int) -> float:
    """Different runs of words that occur more than once, over all runs.

    >>> _repeated("a b a b c".split(), 2)  # of a-b, b-a, a-b, b-c only a-b comes again
    0.25
    """
    runs = Counter(zip(*(words[k:] for k in range(window)), strict=False))
    return sum(n > 1 for n in runs.values()) / max(1, runs.total())
