"""The audit of a reward in numbers: ``audit_reward`` turns scored comparisons into a ``RewardAudit``."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from guerdon.audit.reward.bench import ProbeResult
from guerdon.audit.reward.estimates import NOTHING, Estimate, Floats, Resampler, effective, share_interval
from guerdon.audit.reward.judge import findings_of
from guerdon.audit.reward.length import (
    Balance,
    Bin,
    Correlation,
    Unit,
    balance,
    by_difference,
    correlation,
    length_hits,
    lengths_of,
)
from guerdon.audit.reward.probability import Calibration, Uncertainty, calibration, uncertainty
from guerdon.audit.reward.scored import Scored, value_key
from guerdon.core.calibration import fit_temperature
from guerdon.core.errors import DataError
from guerdon.core.feedback import Comparison
from guerdon.core.protocols import Finding

SUBSETS = ("scenario", "subset", "domain", "category", "dataset", "source")
KEPT_MISTAKES = 12


@dataclass(frozen=True)
class Subset:
    """One part of the comparisons.

    Args:
        column: Info column it comes from.
        name: Its value.
        accuracy: Of the reward.
        length_only: What "longer is better" scores on the same pairs.
        share: Wilson's interval at the level that allows for the number of subsets, from the effective number of pairs.
    """

    column: str
    name: str
    accuracy: Estimate
    length_only: Estimate
    share: tuple[float, float]


@dataclass(frozen=True)
class Mistake:
    """A pair on which the reward was wrong.

    Args:
        comparison: The pair.
        preferred: Score of the side that was preferred.
        other: Score of the side that the reward scored higher.
    """

    comparison: Comparison
    preferred: float
    other: float


@dataclass(frozen=True)
class RewardAudit:
    """Everything that is known of a reward from labelled pairs and probes.

    Args:
        name: What the reward is called.
        identity: What tells it from every other.
        data: Hash of the comparisons.
        pairs: Comparisons given.
        contexts: Different contexts among them.
        label_ties: Comparisons whose label is 1/2; left out of accuracy.
        judged: Comparisons with a preferred side and two scores.
        score_ties: Of those, with equal scores; they count 1/2.
        distinct_scores: Different scores among all rows.
        failed: Rows that could not be scored, and rows in all.
        failures: Reason -> how many rows, the most frequent first.
        accuracy: Share of judged pairs whose preferred side scored higher.
        weighted: The same with each pair weighted by ``|2 label - 1|``.
        baselines: ``longer``, ``shorter``, ``first`` (the first side is better) and ``constant`` on the same pairs.
        against_length: Accuracy minus that of "longer is better", paired.
        balance: Accuracy apart from length.
        by_length: Accuracy by how much longer the preferred side is.
        correlation: Of scores with length.
        unit: What length is counted in.
        calibration: Of the differences of scores as log-odds.
        uncertainty: Whether stated standard deviations mean anything; None where there are none.
        subsets: Accuracy by part.
        mistakes: The most confident mistakes.
        probes: What changed when outputs were changed.
        gap: Median absolute difference of scores over judged pairs: one true difference in quality.
        findings: What is wrong, the gravest first.
        seed: Of resampling.
    """

    name: str
    identity: str
    data: str
    pairs: int
    contexts: int
    label_ties: int
    judged: int
    score_ties: int
    distinct_scores: int
    failed: tuple[int, int]
    failures: Mapping[str, int] = field(default_factory=dict)
    accuracy: Estimate = NOTHING
    weighted: Estimate = NOTHING
    baselines: Mapping[str, Estimate] = field(default_factory=dict)
    against_length: Estimate = NOTHING
    balance: Balance = Balance()
    by_length: tuple[Bin, ...] = ()
    correlation: Correlation = Correlation()
    unit: Unit = "characters"
    calibration: Calibration | None = None
    uncertainty: Uncertainty | None = None
    subsets: tuple[Subset, ...] = ()
    mistakes: tuple[Mistake, ...] = ()
    probes: tuple[ProbeResult, ...] = ()
    gap: float = math.nan
    findings: tuple[Finding, ...] = ()
    seed: int = 0

    def with_probes(self, probes: Iterable[ProbeResult]) -> Self:
        """The same audit with probes, and the findings that follow."""
        probed = replace(self, probes=tuple(probes))
        return replace(probed, findings=findings_of(probed))


def audit_reward(
    scored: Scored,
    *,
    subsets: Sequence[str] | Callable[[Comparison], Any] = SUBSETS,
    temperature: float | None = None,
    unit: Unit = "characters",
    probes: Iterable[ProbeResult] = (),
    seed: int = 0,
) -> RewardAudit:
    """Accuracy, baselines, length, calibration, uncertainty and failures of a reward on labelled pairs, with findings.

    A pair whose label is 1/2 is left out of accuracy and counted; a label above 1/2 says that the first side is better. A reward
    that scores both sides alike counts 1/2. A pair with a side that could not be scored is left out and counted. Intervals are
    of 95 % and resample contexts, because pairs of one context are not independent. Nothing here runs a model.

    Args:
        scored: From ``score_comparisons`` or ``Scored.of``.
        subsets: Info columns to split by (those of the default that are there), or a function of a comparison that names its
            subset, None for none.
        temperature: Differences of scores are divided by it before they are read as log-odds; None: 1.
        unit: What length is counted in, ``"characters"`` or ``"words"``.
        probes: From ``probe_reward``.
        seed: Of resampling; the same seed gives the same numbers.

    Raises:
        DataError: for no comparisons, an unknown column, or a temperature that is not above 0.

    Example:
        >>> pairs = [Comparison(context=str(k), first="long answer", second="short") for k in range(40)]
        >>> audit = audit_reward(Scored.of([2.0] * 40, [1.0] * 40, pairs))
        >>> audit.accuracy.value, audit.against_length.value, audit.findings[0].check
        (1.0, 0.0, 'NotBetterThanLength')
    """
    if not len(scored):
        raise DataError("there are no comparisons to audit")
    t = 1.0 if temperature is None else float(temperature)
    if not (t > 0 and math.isfinite(t)):
        raise DataError(f"temperature must be above 0, got {temperature!r}")
    if unit not in ("characters", "words"):
        raise DataError(f"unit must be 'characters' or 'words', got {unit!r}")
    label, delta, cluster = scored.label, scored.delta, scored.cluster
    lengths = lengths_of(scored, unit)
    fine = np.isfinite(delta)
    use = fine & (label != 0.5)
    rows = _distinct_rows(scored)
    audit = RewardAudit(
        scored.name,
        scored.identity,
        scored.data_hash,
        len(scored),
        len(np.unique(cluster)),
        int((label == 0.5).sum()),
        int(use.sum()),
        int((delta[use] == 0).sum()),
        len(np.unique(scored.score[np.isfinite(scored.score)])),
        (sum(not ok for ok, _ in rows), len(rows)),
        _counted(rows),
        unit=unit,
        seed=seed,
        correlation=correlation(scored, lengths, seed) if np.isfinite(lengths).any() else Correlation(),
        calibration=calibration(delta[fine], label[fine], t, Resampler(cluster[fine], seed=seed), seed),
    )
    if use.any():
        audit = replace(audit, **_judged(scored, use, lengths, subsets, seed))
    return audit.with_probes(probes)


def _judged(scored: Scored, use: NDArray[np.bool_], lengths: Floats, subsets: Any, seed: int) -> dict[str, Any]:
    """What only pairs with a preferred side and two scores can tell."""
    label, delta, cluster = scored.label[use], scored.delta[use], scored.cluster[use]
    better = label > 0.5
    sign = np.where(better, 1.0, -1.0)
    hits = 0.5 * (1 + np.sign(sign * delta))
    resampler = Resampler(cluster, seed=seed)
    ones = np.ones_like(hits)
    by_length = length_hits(lengths[use], better)
    text = np.isfinite(by_length)
    side = Resampler(cluster[text], seed=seed)
    longer = side.mean(by_length[text], share=True)
    difference = side.mean((hits - by_length)[text]) if text.any() else NOTHING
    signed = (sign * (lengths[use][:, 0] - lengths[use][:, 1]))[text]
    margin_longer = (delta * np.sign(lengths[use][:, 0] - lengths[use][:, 1]))[text]
    out: dict[str, Any] = {
        "accuracy": resampler.mean(hits, share=True),
        "weighted": resampler.mean(hits, np.abs(2 * label - 1), share=True),
        "baselines": {
            "longer": longer,
            "shorter": side.mean(1 - by_length[text], share=True),
            "first": resampler.mean(better.astype(float), share=True),
            "constant": Estimate(0.5, 0.5, 0.5, len(ones), resampler.clusters),
        },
        "against_length": difference,
        "gap": float(np.median(np.abs(delta))),
        "subsets": _subsets(scored, use, hits, by_length, subsets, seed),
        "mistakes": _mistakes(scored, use),
    }
    if text.any():
        out["balance"] = balance(hits[text], signed, margin_longer, fit_temperature(delta, label), side)
        out["by_length"] = by_difference(hits[text], signed, side)
    if scored.std is not None and np.isfinite(scored.std[use]).all():
        out["uncertainty"] = uncertainty(hits, delta, scored.std[use], resampler)
    return out


def _subsets(
    scored: Scored, use: NDArray[np.bool_], hits: Floats, by_length: Floats, subsets: Any, seed: int
) -> tuple[Subset, ...]:
    columns: dict[str, list[Any]] = {}
    if callable(subsets):
        columns["subset"] = [subsets(c) for c in scored.comparisons]
    else:
        there = {k for c in scored.comparisons for k in c.info}
        wanted = [n for n in SUBSETS if n in there] if subsets is SUBSETS else subsets
        columns = {name: scored.column(name) for name in wanted}
    cluster = scored.cluster[use]
    parts: list[tuple[str, str, NDArray[np.bool_]]] = []
    for column, values in columns.items():
        names = np.array(["" if v is None else str(v) for v in values], dtype=object)[use]
        parts += [(column, str(n), names == n) for n in sorted(set(names)) if n]
    level = 1 - 0.02 / max(1, len(parts))  # one in a hundred audits of a fair coin has a subset below this by chance
    out = []
    for column, name, mask in parts:
        own = Resampler(cluster[mask], seed=seed)
        accuracy = own.mean(hits[mask], share=True)
        text = mask & np.isfinite(by_length)
        longer = Resampler(cluster[text], seed=seed).mean(by_length[text], share=True) if text.any() else NOTHING
        out.append(Subset(column, name, accuracy, longer, share_interval(accuracy.value, effective(hits[mask], own), level)))
    return tuple(out)


def _mistakes(scored: Scored, use: NDArray[np.bool_]) -> tuple[Mistake, ...]:
    """The widest mistakes, at most one of each context."""
    sign = np.where(scored.label > 0.5, 1.0, -1.0)
    margin = np.where(use, sign * np.nan_to_num(scored.delta), 0.0)
    cluster = scored.cluster
    out: dict[int, Mistake] = {}
    for k in np.argsort(margin, kind="stable"):
        if margin[k] >= 0 or len(out) == KEPT_MISTAKES:
            break
        pair = scored.score[k] if sign[k] > 0 else scored.score[k][::-1]
        out.setdefault(int(cluster[k]), Mistake(scored.comparisons[k], float(pair[0]), float(pair[1])))
    return tuple(out.values())


def _distinct_rows(scored: Scored) -> list[tuple[bool, str]]:
    """(ok, reason) of every distinct row."""
    known: dict[tuple[str, str], tuple[bool, str]] = {}
    for k, c in enumerate(scored.comparisons):
        for side, output in enumerate((c.first, c.second)):
            known.setdefault((value_key(c.context), value_key(output)), (bool(scored.ok[k, side]), scored.reason[k][side]))
    return list(known.values())


def _counted(rows: list[tuple[bool, str]]) -> dict[str, int]:
    return dict(Counter(reason or "not ok" for ok, reason in rows if not ok).most_common())
