"""Prompts: contexts written in the plan itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from guerdon.core import PlanError
from guerdon.feedback.messages import conversation, is_conversation
from guerdon.run.sources.cycle import Cycle, Memory


@dataclass(frozen=True)
class Prompts:
    """Contexts from the plan.

    Args:
        prompts: Texts, or lists of messages; lists of numbers are token ids. For policies that read them: labels, None (nothing
            is asked), and records such as ``policies.Fill``.
        columns: name -> one value per prompt, for rewards (answers, tests).
        shuffle: Whether each epoch has an order of its own.

    Example:
        >>> from guerdon.core import Streams
        >>> source = Prompts(("2 + 2 =", "3 + 3 ="), {"answer": ("4", "6")}, shuffle=False).open()
        >>> items = source.draw(3, streams=Streams(0))
        >>> items.contexts, items.info["answer"]
        (['2 + 2 =', '3 + 3 =', '2 + 2 ='], ['4', '6', '4'])
    """

    prompts: tuple[Any, ...]
    columns: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    shuffle: bool = True

    def __post_init__(self) -> None:
        prompts: Any = self.prompts
        if isinstance(prompts, str) or not prompts:
            raise PlanError("Prompts: prompts must be a list with at least one prompt")
        object.__setattr__(self, "prompts", tuple(p if _whole(p) else tuple(_checked(p)) for p in prompts))
        object.__setattr__(self, "columns", {n: tuple(c) for n, c in self.columns.items()})
        for name, column in self.columns.items():
            if len(column) != len(self.prompts):
                raise PlanError(f"Prompts: column {name!r} has {len(column)} values for {len(self.prompts)} prompts")

    def open(self, seed: int = 0, folder: str | Path | None = None) -> Cycle:
        """A running source; ``folder`` has no meaning here."""
        contexts = [p if _whole(p) else [dict(m) if isinstance(m, Mapping) else m for m in p] for p in self.prompts]
        rows = [(c, {n: column[k] for n, column in self.columns.items()}) for k, c in enumerate(contexts)]
        return Cycle(Memory("the plan's prompts", rows, tuple(self.columns)), seed, self.shuffle)

    def check(self, folder: str | Path | None = None) -> int:
        """Number of prompts; they were checked when this was made."""
        return len(self.prompts)


def _whole(prompt: Any) -> bool:
    """Whether a context has no parts that must be looked at."""
    label = isinstance(prompt, int) and not isinstance(prompt, bool)
    record = dataclasses.is_dataclass(prompt) and not isinstance(prompt, type)
    return prompt is None or isinstance(prompt, str) or label or record


def _checked(prompt: Any) -> Any:
    if is_conversation(prompt):
        try:
            return conversation(prompt, "prompt")
        except ValueError as e:
            raise PlanError(f"Prompts: {e}") from None
    if not isinstance(prompt, list | tuple) or not all(isinstance(t, int) for t in prompt):
        raise PlanError(f"Prompts: a prompt is a text, a list of messages or a label, got {prompt!r}")
    return prompt
