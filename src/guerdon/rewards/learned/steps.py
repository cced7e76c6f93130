"""Reasoning steps: where they end in a text, and in the ids that spell it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from guerdon.core import DataError


def step_ends(text: str, separator: str) -> list[int]:
    """The characters behind which a step ends: behind every separator, and at the end of the text.

    >>> step_ends("3+3=6", "="), step_ends("6", "="), step_ends("6=", "=")
    ([4, 5], [1], [2])
    """
    ends, at = [], text.find(separator)
    while at >= 0:
        ends.append(at + len(separator))
        at = text.find(separator, at + len(separator))
    return ends if ends and ends[-1] == len(text) else [*ends, len(text)]


class Spelling:
    """What ids say, id by id.

    Args:
        tokenizer: Of the policy and of the reward that reads its ids.
    """

    def __init__(self, tokenizer: Any):
        self.tokenizer = tokenizer
        self._pieces: dict[int, str] = {}

    def widths(self, ids: Sequence[int], start: int) -> tuple[str, list[int]]:
        """(the text of ``ids[start:]``, characters of it that are written after each of these ids).

        Ids whose texts do not depend on each other are looked up one by one; others, such as parts of a character, are read as
        ever longer beginnings.
        """
        for i in set(ids[start:]) - set(self._pieces):
            self._pieces[i] = self._text([i])
        pieces = [self._pieces[i] for i in ids[start:]]
        before = self._text(ids[:start])
        whole = self._text(ids)[len(before) :]
        if "".join(pieces) == whole:
            done, widths = 0, []
            for piece in pieces:
                done += len(piece)
                widths.append(done)
            return whole, widths
        return whole, [max(0, len(self._text(ids[: k + 1])) - len(before)) for k in range(start, len(ids))]

    def ends(self, ids: Sequence[int], start: int, separator: str, output: str | None = None) -> list[int]:
        """Which of the ids, counted from 0, a step of ``ids[start:]`` ends with; the last one is always among them.

        Args:
            ids: A prompt and an answer.
            start: Length of the prompt.
            separator: What stands behind a step and belongs to it.
            output: What the answer's ids should say, or at least begin with.

        Raises:
            DataError: where they say something else.
        """
        text, widths = self.widths(ids, start)
        if output is not None and not text.startswith(output):
            raise DataError("the ids do not spell the output: a process reward needs the policy's ids and its tokenizer")
        found, t = [], 0
        for end in step_ends(text, separator)[:-1]:
            while widths[t] < end:
                t += 1
            found.append(start + t)
        return sorted({*found, len(ids) - 1})

    def _text(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
