"""What a probe measures on: rows with their scores, and what comes of changing them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from guerdon.audit.reward.estimates import FEW, NOTHING, Estimate, Floats, Resampler
from guerdon.audit.reward.scored import Scorer, score_rows, text_of, value_key
from guerdon.core.contexts import key_of
from guerdon.core.errors import DataError
from guerdon.core.feedback import Comparison

Expect = Literal["same", "not higher", "lower"]
Verdict = Literal["still", "raises", "lowers", "unnoticed", "unstable", "inconsistent", "skipped"]
MOVES, TOLERANCE = 0.25, 1e-4


@dataclass(frozen=True)
class ProbeResult:
    """What a probe found.

    Args:
        name: Of the probe.
        group: ``length``, ``style``, ``keyword``, ``position``, ``determinism`` or ``own``.
        about: What was done to the outputs, in words.
        verdict: What follows, by intervals (see ``Probe``).
        n: Rows that the probe changed and that could be scored before and after; pairs for ``position``.
        shift: Mean change of the score, in spreads (standard deviations) of the scores of unchanged rows.
        gaps: The same in units of the median difference of scores of labelled pairs; its interval is of 99 % for all probes
            together.
        raised: Share of rows whose score rose; for ``position`` the share of pairs with the same preference in both orders.
        largest: Largest absolute change of a score.
        spread: Standard deviation of the scores of unchanged rows.
        failed: Rows that could not be scored once changed.
        expect: What a reward of quality does.
        words: What was inserted, for ``keyword``.
        skipped: Why there is no result.
    """

    name: str
    group: str
    about: str
    verdict: Verdict
    n: int = 0
    shift: Estimate = NOTHING
    gaps: Estimate = NOTHING
    raised: Estimate = NOTHING
    largest: float = math.nan
    spread: float = math.nan
    failed: int = 0
    expect: Expect = "same"
    words: tuple[str, ...] = ()
    skipped: str = ""


@dataclass
class Bench:
    """Rows to probe with their scores: what a probe measures on.

    Args:
        reward: The reward.
        contexts: [n].
        outputs: [n].
        info: [n] columns of each row.
        score: [n] of the unchanged rows; NaN where one failed.
        cluster: [n] equal within a context.
        pairs: [p, 2] rows of the comparisons whose two sides are both here.
        gap: Median absolute difference of scores of labelled pairs.
        probes: How many probes share the error level.
        batch: Rows at a time.
        seed: Of resampling and shuffling.
    """

    reward: Scorer
    contexts: list[Any]
    outputs: list[Any]
    info: list[Mapping[str, Any]]
    score: Floats
    cluster: NDArray[np.int64]
    pairs: NDArray[np.int64]
    gap: float
    probes: int = 1
    batch: int = 256
    seed: int = 0
    texts: list[str | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.texts = [text_of(o) for o in self.outputs]

    @property
    def spread(self) -> float:
        """Standard deviation of the scores."""
        known = self.score[np.isfinite(self.score)]
        return float(known.std()) if len(known) else math.nan

    @property
    def scale(self) -> float:
        """One difference in quality: the median difference of scores, else their spread, else 1."""
        return next((v for v in (self.gap, self.spread) if v > 0), 1.0)

    def again(self, rows: Sequence[int], outputs: Sequence[Any]) -> Floats:
        """Scores of rows with other outputs; NaN where one fails."""
        if not len(rows):
            return np.zeros(0)
        out = score_rows(
            self.reward, [self.contexts[i] for i in rows], list(outputs), [self.info[i] for i in rows], batch=self.batch
        )
        return np.where(out.ok.cpu().numpy(), out.total.detach().cpu().double().numpy(), np.nan)

    def edited(self, edit: Callable[[str], str], rows: Iterable[int] | None = None) -> tuple[list[int], Floats, int]:
        """(rows that a change of text applies to, their change of score, how many failed)."""
        changed: list[tuple[int, Any]] = []
        for i in range(len(self.outputs)) if rows is None else rows:
            text = self.texts[i]
            if text is None or not math.isfinite(self.score[i]):
                continue
            new = edit(text)
            if not isinstance(new, str):
                raise DataError(f"a probe's change must return a text, got {type(new).__name__}")
            if new != text:
                changed.append((i, new if isinstance(self.outputs[i], str) else _with_text(self.outputs[i], edit)))
        kept = [i for i, _ in changed]
        shift = self.again(kept, [o for _, o in changed]) - self.score[kept]
        known = np.isfinite(shift)
        return [i for i, k in zip(kept, known, strict=True) if k], shift[known], int((~known).sum())

    def result(
        self, p: Any, rows: Sequence[int], shift: Floats, failed: int, expect: Expect, words: tuple[str, ...] = ()
    ) -> ProbeResult:
        """The shift as an estimate with its verdict."""
        if len(rows) < 2:
            why = "the reward failed on every changed row" if failed else "it changes too few of these outputs"
            return skipped(p, why)
        resampler = Resampler(self.cluster[list(rows)], seed=self.seed)
        gaps = resampler.mean(shift / self.scale, level=1 - 0.01 / max(1, self.probes))
        return ProbeResult(
            p.name,
            p.group,
            p.about,
            _verdict(gaps, expect),
            len(rows),
            resampler.mean(shift / (self.spread or 1.0)),
            gaps,
            resampler.mean((shift > TOLERANCE * self.scale).astype(float), share=True),
            float(np.abs(shift).max()),
            self.spread,
            failed,
            expect,
            words,
        )


def bench_of(reward: Scorer, pairs: list[Comparison], rows: int, batch: int, seed: int, probes: int) -> Bench:
    """At most ``rows`` distinct rows of comparisons, taken pair by pair in an order that follows from the seed, with scores.

    Raises:
        DataError: for no comparisons.
    """
    if not pairs:
        raise DataError("there are no comparisons to take outputs from")
    place: dict[tuple[str, str], int] = {}
    kept: list[tuple[Any, Any, Mapping[str, Any]]] = []
    index = []
    label = []
    for k in np.random.default_rng([seed, 2]).permutation(len(pairs)):
        c = pairs[k]
        keys = [(value_key(c.context), value_key(o)) for o in (c.first, c.second)]
        if len(kept) + sum(key not in place for key in keys) > rows and kept:
            continue
        for key, output in zip(keys, (c.first, c.second), strict=True):
            if key not in place:
                place[key] = len(kept)
                kept.append((c.context, output, c.info))
        index.append([place[key] for key in keys])
        label.append(c.label)
    known: dict[str, int] = {}
    cluster = np.array([known.setdefault(key_of(r[0]), len(known)) for r in kept], dtype=np.int64)
    bench = Bench(
        reward,
        [r[0] for r in kept],
        [r[1] for r in kept],
        [r[2] for r in kept],
        np.zeros(len(kept)),
        cluster,
        np.array(index, dtype=np.int64),
        math.nan,
        probes,
        batch,
        seed,
    )
    bench.score = bench.again(range(len(kept)), bench.outputs)
    delta = np.abs(np.diff(bench.score[bench.pairs], axis=1)[:, 0])[np.array(label) != 0.5]
    bench.gap = float(np.median(delta[np.isfinite(delta)])) if np.isfinite(delta).any() else math.nan
    return bench


def skipped(p: Any, why: str) -> ProbeResult:
    """No result, with the reason."""
    return ProbeResult(p.name, p.group, p.about, "skipped", skipped=why)


def _verdict(gaps: Estimate, expect: Expect) -> Verdict:
    if gaps.lo > MOVES:
        return "raises"
    if expect == "lower" and not gaps.hi < 0:
        return "unnoticed" if gaps.clusters >= FEW else "still"
    return "lowers" if gaps.hi < (0 if expect == "lower" else -MOVES) else "still"


def _with_text(messages: Any, edit: Callable[[str], str]) -> list[dict[str, Any]]:
    """Messages with the last one changed."""
    return [*messages[:-1], {**messages[-1], "content": edit(messages[-1]["content"])}]
