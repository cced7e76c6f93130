"""Feedback as what a fit works on: encoded rows, and units of one or two of them with their labels."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from guerdon.core import Comparison, DataError, Feedback, Rating
from guerdon.core.contexts import key_of
from guerdon.core.feedback import comparisons
from guerdon.rewards.learned.text import Encoded, Template


@dataclass(frozen=True)
class Units:
    """Pairs to tell apart, or single outputs to rate.

    Args:
        rows: [R] encoded outputs, each once.
        index: [U, 2] rows of each pair, or [U, 1] rows of ratings.
        label: [U] probability that the first is better; [U, K] ratings, nan where there is none.
        margin: [U] leads of the better ones, 0 where none is known; None for ratings.
        contexts: [U] key of each unit's context.
        skipped: Records that could not be encoded, and why: the first few reasons.
    """

    rows: Sequence[Encoded]
    index: Tensor
    label: Tensor
    margin: Tensor | None
    contexts: Sequence[str]
    skipped: Sequence[str]

    def __len__(self) -> int:
        return len(self.index)

    @property
    def pairs(self) -> bool:
        return self.index.shape[1] == 2


def pairs_of(feedback: Iterable[Feedback], template: Template) -> Units:
    """Every comparison that is among the feedback or follows from it."""
    encoder, index, label, margin = _Encoder(template), [], [], []
    for c in comparisons(feedback):
        if (found := encoder(c, (c.first, c.second))) is not None:
            index.append(found)
            label.append(float(c.label))
            margin.append(float(c.margin or 0))
    at = torch.tensor(index, dtype=torch.long).reshape(-1, 2)
    y, m = (torch.tensor(v, dtype=torch.double) for v in (label, margin))
    return Units(encoder.rows, at, y, m, encoder.contexts, encoder.skipped)


def ratings_of(feedback: Iterable[Feedback], template: Template, attributes: Sequence[str]) -> Units:
    """Every rating, with nan for attributes that it does not name."""
    encoder, index, table = _Encoder(template), [], []
    for r in feedback:
        if isinstance(r, Rating) and (found := encoder(r, (r.output,))) is not None:
            index.append(found)
            table.append([float(r.scores.get(a, float("nan"))) for a in attributes])
    at = torch.tensor(index, dtype=torch.long).reshape(-1, 1)
    scores = torch.tensor(table, dtype=torch.double).reshape(-1, len(attributes))
    return Units(encoder.rows, at, scores, None, encoder.contexts, encoder.skipped)


def attributes_of(feedback: Iterable[Feedback]) -> tuple[str, ...]:
    """Every attribute that a rating names, in order of appearance, ``overall`` first."""
    names = dict.fromkeys(a for f in feedback if isinstance(f, Rating) for a in f.scores)
    return tuple(sorted(names, key=lambda a: a != "overall"))


def has_pairs(feedback: Iterable[Feedback]) -> bool:
    """Whether some of it compares outputs by itself."""
    return any(isinstance(f, Comparison) or f.kind in ("ranking", "correction") for f in feedback)


def hash_of(feedback: Iterable[Feedback]) -> str:
    """32 hex digits that follow from the records, in any order."""
    return hashlib.blake2b("\n".join(sorted(f.id for f in feedback)).encode(), digest_size=16).hexdigest()


class _Encoder:
    """Encodes each different output once, and remembers what it could not read."""

    def __init__(self, template: Template):
        self.template = template
        self.rows: list[Encoded] = []
        self.contexts: list[str] = []
        self.skipped: list[str] = []
        self._known: dict[tuple[str, str], int] = {}

    def __call__(self, record: Feedback, outputs: Sequence[Any]) -> list[int] | None:
        context = key_of(record.context)
        found = []
        try:
            for output in outputs:
                key = (repr(record.context), repr(output))
                if key not in self._known:
                    row = self.template.encode(record.context, output)
                    self._known[key] = len(self.rows)
                    self.rows.append(row)
                found.append(self._known[key])
        except DataError as e:
            self.skipped.append(f"{record.source or record.kind}: {e}")
            return None
        self.contexts.append(context)
        return found
