"""Rouge: how much an output overlaps with a reference, word by word."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

from guerdon.core import PlanError, RewardError, RewardOutput, Rollout, nearest
from guerdon.core.reward import Scope
from guerdon.rewards.lift import plain
from guerdon.rewards.rows import each, text_of

_WORD = re.compile(r"[a-z0-9]+")


class Overlap(NamedTuple):
    """What two texts share.

    Attributes:
        f: Harmonic mean of precision and recall.
        precision: Share of the output's words (or pairs) that the reference has, too.
        recall: Share of the reference's that the output has, too.
    """

    f: float
    precision: float
    recall: float


@dataclass(frozen=True)
class Rouge:
    r"""ROUGE F-measure against a column of references: $F = 2PR / (P + R)$ with precision P and recall R of what is shared.

    Shared are single words, pairs of neighbouring words, or the longest common subsequence of words, of which the text as a
    whole is one sequence. Words are runs of the letters a to z and digits; case does not count. Of several references (a list in
    the column) the one that gives the highest F counts. The parts ``precision`` and ``recall`` are those of that one.

    Args:
        of: ``"1"`` words, ``"2"`` pairs of words, ``"L"`` longest common subsequence.
        column: Name of the column of ``info`` that holds the reference, a text or a list of texts.

    Raises:
        PlanError: for another ``of``.
        RewardError: where the rollout has no such column.

    Example:
        >>> from guerdon.rewards import recorded
        >>> rollout = recorded(["q"] * 2, ["The cat sat.", "A dog."], {"reference": ["the cat on the mat"] * 2})
        >>> Rouge("L")(rollout).total.tolist()  # "the cat": P = 2/3, R = 2/5
        [0.5, 0.0]

    Source: Lin, ROUGE: A Package for Automatic Evaluation of Summaries, ACL 2004 workshop; numbers as by the package rouge-score
    without stems.
    """

    of: Literal["1", "2", "L"] = "L"
    column: str = "reference"
    scope: ClassVar[Scope] = "sample"
    differentiable: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.of not in ("1", "2", "L"):
            raise PlanError(f"Rouge: of must be '1', '2' or 'L', got {self.of!r}")

    def __call__(self, rollout: Rollout) -> RewardOutput:
        if self.column not in rollout.info:
            raise RewardError(f"Rouge: the rollout has no column {self.column!r}; {nearest(self.column, rollout.info)}")
        known = rollout.info[self.column]

        def score(output: object, k: int) -> dict[str, float]:
            references: Any = plain(known[k])
            references = [references] if isinstance(references, str) else references
            if not isinstance(references, list | tuple) or not references or not all(isinstance(r, str) for r in references):
                raise ValueError(f"column {self.column!r} holds no reference text")
            words = _words(text_of(output))
            best = max((_overlap(words, _words(r), self.of) for r in references), key=lambda o: o.f)
            return {"total": best.f, "precision": best.precision, "recall": best.recall}

        return each(rollout, score)


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _overlap(output: Sequence[str], reference: Sequence[str], of: str) -> Overlap:
    if of == "L":
        shared, said, wanted = _common(output, reference), len(output), len(reference)
    else:
        a, b = (Counter(zip(*(words[k:] for k in range(int(of))), strict=False)) for words in (output, reference))
        shared, said, wanted = (a & b).total(), a.total(), b.total()
    if not shared:
        return Overlap(0.0, 0.0, 0.0)
    return Overlap(2 * shared / (said + wanted), shared / said, shared / wanted)


def _common(a: Sequence[str], b: Sequence[str]) -> int:
    """Length of the longest common subsequence, row by row of the usual table.

    >>> _common("abcbdab", "bdcaba")
    4
    """
    row = [0] * (len(b) + 1)
    for x in a:
        before, row = row, [0]
        for k, y in enumerate(b):
            row.append(before[k] + 1 if x == y else max(row[k], before[k + 1]))
    return row[-1]
