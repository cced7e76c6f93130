"""Format: an answer in tagged blocks, such as ``<think>...</think><answer>...</answer>``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from guerdon.core import PlanError, RewardOutput, Rollout
from guerdon.core.reward import Scope
from guerdon.rewards.rows import each, text_of


@dataclass(frozen=True)
class Format:
    """1 where the output is exactly the tagged blocks, once each, in this order, with only white space between them.

    A chat template may end the prompt with the first opening tag; the model then goes on behind it, and a reward that looks
    for the tag in the output alone would teach it to write the tag twice. A prompt that ends with the tag is recognised;
    where the template adds it to the messages unseen, set ``prefilled``. The parts named as the tags are 1 where a block is
    there once. What is inside a block is not judged. (DeepSeek-R1, arXiv:2501.12948, section 2.2.2)

    Args:
        tags: Names of the blocks.
        prefilled: The first opening tag stands at the end of every prompt.
        rest: Whether text may follow the last block.

    Example:
        >>> from guerdon.rewards import recorded
        >>> reward = Format()
        >>> reward(recorded(["q"] * 2, ["<think>2+2</think> <answer>4</answer>", "4"])).total.tolist()
        [1.0, 0.0]
        >>> reward(recorded(["q <think>"], ["2+2</think><answer>4</answer>"])).total.tolist()
        [1.0]
    """

    tags: tuple[str, ...] = ("think", "answer")
    prefilled: bool = False
    rest: bool = False
    scope: ClassVar[Scope] = "sample"
    differentiable: ClassVar[bool] = False

    def __post_init__(self) -> None:
        tags: Any = self.tags
        bad = isinstance(tags, str) or not tags or not all(re.fullmatch(r"[\w.:-]+", t) for t in tags)
        if bad or len(set(tags)) < len(tags):
            raise PlanError(f"Format: tags must be different names without brackets, such as ('think', 'answer'), got {tags!r}")

    def __call__(self, rollout: Rollout) -> RewardOutput:
        def score(output: Any, k: int) -> dict[str, float]:
            given = self.prefilled or _end(rollout.contexts[k]).endswith(f"<{self.tags[0]}>")
            return self.judge(f"<{self.tags[0]}>" * given + text_of(output))

        return each(rollout, score)

    def judge(self, text: str) -> dict[str, float]:
        """Total and parts for a text that holds all its tags; linear in its length."""
        once = {t: text.count(f"<{t}>") == text.count(f"</{t}>") == 1 for t in self.tags}
        position, good = 0, all(once.values())
        for tag in self.tags:
            start = text.find(f"<{tag}>", position)
            end = text.find(f"</{tag}>", start)
            good = good and start >= 0 and end >= 0 and not text[position:start].strip()
            position = end + len(tag) + 3
        good = good and (self.rest or not text[position:].strip())
        return {"total": float(good), **{t: float(once[t]) for t in self.tags}}


def _end(context: Any) -> str:
    """The end of what the model goes on from: of a prompt, or of a last message that is the assistant's own."""
    if isinstance(context, str):
        return context.rstrip()
    last = context[-1] if isinstance(context, list | tuple) and context else None
    if isinstance(last, Mapping) and last.get("role") == "assistant":
        return str(last.get("content") or "").rstrip()
    return ""
