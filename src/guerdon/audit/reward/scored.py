"""Scores of both sides of comparisons, with failures as values: what the audit of a reward works on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from guerdon.core.contexts import key_of
from guerdon.core.errors import DataError, GuerdonError, nearest
from guerdon.core.feedback import Comparison
from guerdon.core.reward import RewardOutput
from guerdon.core.rollout import Rollout, recorded

Floats = NDArray[np.float64]
Scorer = Callable[[Rollout], RewardOutput]


@dataclass(frozen=True)
class Scored:
    """P comparisons with the scores of their two sides.

    Args:
        comparisons: [P].
        score: [P, 2] of ``first`` and ``second``; NaN where not ok.
        ok: [P, 2] bool, scored without failure.
        reason: [P] pairs of reasons, "" where a side is ok.
        std: [P, 2] the reward's own uncertainty; None where it states none.
        parts: Named parts of the scores, [P, 2] each.
        name: What the reward is called.
        identity: What tells this reward from every other, such as a hash of its weights and its template.
    """

    comparisons: tuple[Comparison, ...]
    score: Floats
    ok: NDArray[np.bool_]
    reason: tuple[tuple[str, str], ...]
    std: Floats | None = None
    parts: Mapping[str, Floats] = field(default_factory=dict)
    name: str = "reward"
    identity: str = ""

    @classmethod
    def of(
        cls,
        first: ArrayLike,
        second: ArrayLike,
        comparisons: Iterable[Comparison],
        *,
        std: ArrayLike | None = None,
        name: str = "stored scores",
        identity: str = "",
    ) -> Self:
        """From stored numbers; NaN and infinite ones count as failures.

        Args:
            first: [P] scores of the first outputs.
            second: [P] scores of the second ones.
            comparisons: [P].
            std: [P, 2] uncertainties, where they are known.
            name: What the reward is called.
            identity: What tells it from every other; by default a hash of the scores.

        Raises:
            DataError: where they are not equally many.

        >>> scored = Scored.of([1.0, 2.0], [0.5, float("nan")], [Comparison(first="a", second="b")] * 2)
        >>> scored.delta.tolist(), scored.reason[1]
        ([0.5, nan], ('', 'score is nan'))
        """
        pairs = tuple(comparisons)
        columns = [np.asarray(v, dtype=np.float64).reshape(-1) for v in (first, second)]
        if not len(columns[0]) == len(columns[1]) == len(pairs):
            raise DataError(f"as many scores as comparisons are needed, got {len(columns[0])}, {len(columns[1])}, {len(pairs)}")
        score = np.stack(columns, 1)
        ok = np.isfinite(score)
        reason = tuple(
            (*("" if o else f"score is {v}" for o, v in zip(a, b, strict=True)),) for a, b in zip(ok, score, strict=True)
        )
        spread = None if std is None else np.asarray(std, dtype=np.float64)
        if spread is not None and spread.shape != score.shape:
            raise DataError(f"std must have the shape {score.shape}, got {spread.shape}")
        digest = identity or hashlib.blake2b(np.ascontiguousarray(score).tobytes(), digest_size=8).hexdigest()
        clean = np.where(ok, score, np.nan)
        return cls(pairs, clean, ok, reason, spread, {}, name, digest)  # type: ignore[arg-type]

    def __len__(self) -> int:
        return len(self.comparisons)

    @property
    def delta(self) -> Floats:
        """[P] score of the first minus score of the second; NaN where one of them failed."""
        return np.asarray(self.score[:, 0] - self.score[:, 1])

    @property
    def label(self) -> Floats:
        """[P] P(first is better), as labelled."""
        return np.array([c.label for c in self.comparisons], dtype=np.float64)

    @property
    def cluster(self) -> NDArray[np.int64]:
        """[P] equal for pairs of one context."""
        known: dict[str, int] = {}
        return np.array([known.setdefault(key_of(c.context), len(known)) for c in self.comparisons], dtype=np.int64)

    @property
    def data_hash(self) -> str:
        """16 hex digits of the comparisons, in their order."""
        h = hashlib.blake2b(digest_size=8)
        for c in self.comparisons:
            h.update(value_key(c.to_record() if _is_plain(c) else (c.label, c.annotator)).encode("utf8", "surrogatepass"))
        return h.hexdigest()

    def column(self, name: str) -> list[Any]:
        """[P] an info column of the comparisons, None where one lacks it.

        Raises:
            DataError: where none has it.
        """
        known = {k for c in self.comparisons for k in c.info}
        if name not in known:
            raise DataError(f"no comparison has the info column {name!r}; {nearest(name, known)}")
        return [c.info.get(name) for c in self.comparisons]


def score_comparisons(reward: Scorer, comparisons: Iterable[Comparison], *, batch: int = 256) -> Scored:
    """Both sides of every comparison scored by a reward.

    Each distinct (context, output) is scored once. Info columns of the comparisons travel as columns of the rollout (of several
    comparisons with the same row, the first one's). For a reward of scope "group" all outputs of one context form one group; one
    of scope "batch" sees all rows at once. A reward that raises fails the rows it was given, one by one where its scope allows.

    Args:
        reward: Any ``core.Reward``.
        comparisons: What to score.
        batch: Rows at a time.

    Raises:
        DataError: for no comparisons.

    Example:
        >>> import torch
        >>> def length(rollout):
        ...     return RewardOutput.of(torch.tensor([float(len(o)) for o in rollout.outputs]))
        >>> score_comparisons(length, [Comparison(context="q", first="abc", second="d")]).score.tolist()
        [[3.0, 1.0]]
    """
    pairs = tuple(comparisons)
    if not pairs:
        raise DataError("there are no comparisons to score")
    place: dict[tuple[str, str], int] = {}
    rows: list[tuple[Any, Any, Mapping[str, Any]]] = []
    index = np.zeros((len(pairs), 2), dtype=np.int64)
    for k, c in enumerate(pairs):
        context = value_key(c.context)
        for side, output in enumerate((c.first, c.second)):
            key = (context, value_key(output))
            if key not in place:
                place[key] = len(rows)
                rows.append((c.context, output, c.info))
            index[k, side] = place[key]
    out = score_rows(reward, [r[0] for r in rows], [r[1] for r in rows], [r[2] for r in rows], batch=batch)
    total, ok = _array(out.total), out.ok.cpu().numpy().astype(bool)
    parts = {n: np.where(ok, v, np.nan)[index] for n, x in out.parts.items() if x.dim() == 1 for v in [_array(x)]}
    reason = tuple((str(out.reason[i]), str(out.reason[j])) for i, j in index)
    std = None if out.std is None else np.where(ok, _array(out.std), np.nan)[index]
    return Scored(pairs, np.where(ok, total, np.nan)[index], ok[index], reason, std, parts, *name_of(reward))


def score_rows(
    reward: Scorer, contexts: Sequence[Any], outputs: Sequence[Any], info: Sequence[Mapping[str, Any]], *, batch: int = 256
) -> RewardOutput:
    """Rows scored in batches that split no group; what a reward raises becomes the failure of its rows."""
    names = sorted({k for i in info for k in i})
    columns = {n: [i.get(n) for i in info] for n in names}
    scope = getattr(reward, "scope", "sample")
    order, found = [], []
    for block in _blocks(contexts, scope, batch):
        order += block
        found.append(
            _score(
                reward,
                recorded(
                    [contexts[i] for i in block],
                    [outputs[i] for i in block],
                    {n: [c[i] for i in block] for n, c in columns.items()},
                ),
                scope,
            )
        )
    back = np.empty(len(order), dtype=np.int64)
    back[order] = np.arange(len(order))
    return RewardOutput.cat(found)[back.tolist()]


def _blocks(contexts: Sequence[Any], scope: str, batch: int) -> list[list[int]]:
    """Rows that are scored together."""
    if scope == "batch":
        return [list(range(len(contexts)))]
    if scope != "group":
        return [list(range(k, min(k + batch, len(contexts)))) for k in range(0, len(contexts), batch)]
    groups: dict[str, list[int]] = {}
    for i, c in enumerate(contexts):
        groups.setdefault(value_key(c), []).append(i)
    blocks: list[list[int]] = [[]]
    for rows in groups.values():
        if blocks[-1] and len(blocks[-1]) + len(rows) > batch:
            blocks.append([])
        blocks[-1] += rows
    return blocks


def _score(reward: Scorer, rollout: Rollout, scope: str) -> RewardOutput:
    import torch

    try:
        with torch.no_grad():
            return reward(rollout).to("cpu").checked()
    except GuerdonError:
        raise
    except Exception as e:  # noqa: BLE001  a reward may be anything; what it raises is data here
        if scope == "sample" and len(rollout) > 1:
            return RewardOutput.cat([_score(reward, rollout[[i]], scope) for i in range(len(rollout))])
        return RewardOutput.failed([f"{type(e).__name__}: {e}"[:300]] * len(rollout))


def name_of(reward: Any) -> tuple[str, str]:
    """(name, identity) of a reward: its ``name`` and ``identity`` where it has them, else what it is made of."""
    words = getattr(reward, "name", None) or getattr(reward, "__name__", None) or type(reward).__name__
    identity = getattr(reward, "identity", None)
    if not isinstance(identity, str) or not identity:
        identity = repr(reward) if " at 0x" not in repr(reward) else str(words)
    return str(words), identity[:300]


def value_key(value: Any) -> str:
    """A text that is equal for equal plain values; other objects are told apart by their identity."""
    if isinstance(value, str):
        return value
    try:
        return "\0" + json.dumps(value, sort_keys=True, ensure_ascii=False)
    except (TypeError, ValueError):
        return f"\0\0{id(value)}"


def text_of(output: Any) -> str | None:
    """An output as text: a text itself, or the contents of messages; None for anything else.

    >>> text_of("a"), text_of([{"role": "assistant", "content": "b"}]), text_of(3)
    ('a', 'b', None)
    """
    if isinstance(output, str):
        return output
    if (
        isinstance(output, Sequence)
        and output
        and all(isinstance(m, Mapping) and isinstance(m.get("content"), str) for m in output)
    ):
        return "\n".join(m["content"] for m in output)
    return None


def _is_plain(c: Comparison) -> bool:
    return all(not value_key(v).startswith("\0\0") for v in (c.context, c.first, c.second, dict(c.info)))


def _array(x: Any) -> Floats:
    return np.asarray(x.detach().cpu().double().numpy())
