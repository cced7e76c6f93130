"""What the numbers of an audit say is wrong. Thresholds are ends of intervals, so that few pairs raise no false alarm."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from guerdon.audit.formats import number, percent, plural
from guerdon.audit.reward.estimates import FEW, Estimate, share_interval
from guerdon.core.protocols import Finding

if TYPE_CHECKING:
    from guerdon.audit.reward.bench import ProbeResult
    from guerdon.audit.reward.numbers import RewardAudit

ROOM = 0.1  # an interval that still reaches so far above is a lack of pairs, not a fault of the reward
_ORDER = ("error", "warning", "info")

RULES = (
    "Label ties are left out of accuracy and counted; a label above 1/2 says that the first side is better.",
    "A reward that gives both sides the same score is right on half of that pair.",
    "A pair with a side that could not be scored is left out and counted, never scored 0.",
    "Intervals are of 95 % and resample contexts, because pairs of one context are not independent. Below 20 contexts, "
    "and at exactly 0 or 100 %, shares have Wilson's interval with contexts for trials.",
    "Balanced accuracy is the mean of the accuracy where the preferred side is the longer one and where it is the shorter "
    "one; pairs of equal length are left out.",
    "Length-only says that the longer side is better; equal lengths count one half.",
    "The probability that the first side is better is sigmoid(difference of scores / temperature). Calibration errors are of the "
    "side that scored higher, in ten bins; label ties are kept there and count as half right.",
    "A calibration error counts as found when it is above what 99.5 % of simulated, perfectly calibrated rewards with the same "
    "probabilities show.",
    "A subset counts as below chance when it is so at a level that allows for the number of subsets.",
    "A probe counts as moving the reward when the 99 % interval of its shift, divided by the number of probes, lies beyond a "
    "quarter of the median difference in score of labelled pairs.",
)


def findings_of(audit: RewardAudit) -> tuple[Finding, ...]:
    """All findings, the gravest first."""
    found = [
        f
        for judge in (_constant, _chance, _length, _shortcut, _subsets, _probes, _calibration, _uncertainty, _failing)
        for f in judge(audit)
    ]
    return tuple(sorted(found, key=lambda f: _ORDER.index(f.level)))


def _ends(e: Estimate) -> str:
    return f"{percent(e.lo)} to {percent(e.hi)}" if math.isfinite(e.lo) else "not known"


def _points(x: float) -> str:
    return f"{number(abs(100 * x), 2)} points"


def _failing(a: RewardAudit) -> Iterator[Finding]:
    failed, rows = a.failed
    if not failed:
        return
    level: Any = "error" if share_interval(failed / rows, rows)[0] > 0.05 or not a.judged else "warning"
    first = next(iter(a.failures))
    yield Finding(
        "FailingReward",
        level,
        f"{plural(failed, 'row')} of {rows:,} could not be scored ({percent(failed / rows)}).",
        evidence={"rows": rows, "failed": failed, "most frequent reason": first[:200]},
        advice="Mend the reward or its inputs: a policy that finds outputs which fail is not told that they are bad.",
    )


def _constant(a: RewardAudit) -> Iterator[Finding]:
    if not a.judged or not a.score_ties:
        return
    share = a.score_ties / a.judged
    if a.distinct_scores == 1:
        yield Finding(
            "ConstantReward",
            "error",
            "Every output has the same score.",
            evidence={"pairs": a.judged},
            advice="Nothing can be learned from a constant: look at the input that the reward really reads.",
        )
    elif share_interval(share, a.judged)[0] > 0.05:
        yield Finding(
            "ConstantReward",
            "warning",
            f"{percent(share)} of the pairs get the same score on both sides.",
            evidence={"pairs": a.judged, "equal scores": a.score_ties, "different scores": a.distinct_scores},
            advice="Policies see no difference there. Use a finer scale, or add a reward that breaks ties.",
        )


def _chance(a: RewardAudit) -> Iterator[Finding]:
    e = a.accuracy
    if not e.n or not math.isfinite(e.lo) or e.lo > 0.5:
        return
    evidence = {"accuracy": percent(e.value), "95 % interval": _ends(e), "pairs": e.n, "contexts": e.clusters}
    if e.hi < 0.5:
        yield Finding(
            "NotBetterThanChance",
            "error",
            f"The reward prefers the worse side: it is right on {percent(e.value)} of the pairs.",
            evidence=evidence,
            advice="Check the sign, and which side of the file is the preferred one.",
        )
    elif e.clusters < FEW or e.hi > 0.5 + ROOM:
        yield Finding(
            "NotBetterThanChance",
            "info",
            f"{plural(e.n, 'pair')} are too few to tell the reward from chance.",
            evidence=evidence,
            advice="Add labelled pairs.",
        )
    else:
        yield Finding(
            "NotBetterThanChance",
            "error",
            f"The reward is not shown to be better than chance: right on {percent(e.value)}.",
            evidence=evidence,
            advice="Do not optimise against it.",
        )


def _length(a: RewardAudit) -> Iterator[Finding]:
    d, longer = a.against_length, a.baselines.get("longer")
    if longer is None or not d.n or not math.isfinite(d.lo) or d.lo > 0:
        return
    evidence = {
        "accuracy": percent(a.accuracy.value),
        "longer is better": percent(longer.value),
        "difference, 95 % interval": f"{number(100 * d.lo, 2)} to {number(100 * d.hi, 2)} points",
    }
    if math.isfinite(a.balance.agreement.value):
        evidence["scores the longer side higher"] = percent(a.balance.agreement.value)
    level: Any
    if d.hi < 0:
        words, level = f"Counting {a.unit} ranks these pairs better than the reward, by {_points(d.value)}.", "error"
    elif d.clusters < FEW and d.lo < d.hi or d.hi > ROOM:
        words, level = f"{plural(d.n, 'pair')} are too few to tell the reward from counting {a.unit}.", "info"
    else:
        words, level = f"The reward is not shown to be better than counting {a.unit}.", "warning"
    yield Finding(
        "NotBetterThanLength",
        level,
        words,
        evidence=evidence,
        advice="Add labelled pairs."
        if level == "info"
        else "Look at the balanced accuracy below. Train on pairs of similar length, or take length out of the reward.",
    )


_ADVICE = {
    "worse": "It is little more than length: where the better side is shorter it is mostly wrong. Train on pairs of similar "
    "length, or take length out of the reward.",
    "leans": "It leans on length more than the labels do. A policy will write longer answers to please it: watch length, or use "
    "a penalty such as `transforms.LengthPenalty`.",
    "as labelled": "Part of its accuracy is length, as far as the labels bear out. Watch length when you optimise against it.",
}


def _shortcut(a: RewardAudit) -> Iterator[Finding]:
    b = a.balance
    if not b.drop.n or b.drop.clusters < FEW:
        return
    worse = b.shorter.clusters >= FEW and b.shorter.hi < 0.5 < b.longer.lo
    if not (worse or b.drop.hi < 0 or b.excess.lo > 0):
        return
    # Where people like length, a reward that is right about it is as unbalanced as its labels: told, but no fault.
    fault = worse or b.excess.lo > 0
    yield Finding(
        "LengthShortcut",
        "warning" if fault else "info",
        f"The reward is right on {percent(b.longer.value)} of the pairs whose better side is longer, and on "
        f"{percent(b.shorter.value)} of the others.",
        evidence={
            "balanced accuracy": percent(b.balanced.value),
            "95 % interval": _ends(b.balanced),
            "accuracy": percent(a.accuracy.value),
            "scores the longer side higher": percent(b.agreement.value),
            "longer side is better": percent(a.baselines["longer"].value),
            "expects the longer side to win too often by": f"{number(100 * b.excess.value, 2)} points",
        },
        advice=_ADVICE["worse" if worse else "leans" if fault else "as labelled"],
    )


def _calibration(a: RewardAudit) -> Iterator[Finding]:
    c = a.calibration
    if c is None or c.gap.clusters < FEW or not c.ece_equal_mass > c.limit:
        return
    evidence = {
        "calibration error": percent(c.ece_equal_mass),
        "noise alone, mean": percent(c.expected),
        "noise alone, 99.5 %": percent(c.limit),
        "stated": percent(c.gap.value + _right(a)),
        "right, label ties as 1/2": percent(_right(a)),
        "temperature that would fit": number(c.fitted),
    }
    advice = (
        f"Divide scores by {number(c.fitted / c.temperature)}, or fit the temperature on pairs that are not in this audit."
        if c.fitted < 1e5
        else "No temperature mends it: the scores do not rise with the share of pairs that are right."
    )
    if c.gap.lo > 0:
        yield Finding(
            "Overconfident",
            "warning",
            f"Differences of scores promise {_points(c.gap.value)} more than they keep.",
            evidence=evidence,
            advice=advice,
        )
    elif c.gap.hi < 0:
        yield Finding(
            "Underconfident",
            "info",
            f"Differences of scores promise {_points(c.gap.value)} less than they keep.",
            evidence=evidence,
            advice=advice,
        )
    else:
        yield Finding(
            "Miscalibrated",
            "warning",
            "Some stated probabilities are too high and others too low.",
            evidence=evidence,
            advice=advice,
        )


def _right(a: RewardAudit) -> float:
    c = a.calibration
    if c is None or not float(c.table.count.sum()):
        return math.nan
    return float((c.table.observed * c.table.count).sum() / c.table.count.sum())


def _subsets(a: RewardAudit) -> Iterator[Finding]:
    low = sorted((s for s in a.subsets if s.share[1] < 0.5), key=lambda s: s.accuracy.value)
    if low:
        named = ", ".join(f"{s.name[:60]} ({percent(s.accuracy.value)} of {s.accuracy.n:,})" for s in low[:4])
        yield Finding(
            "SubsetBelowChance",
            "error",
            f"The reward prefers the worse side in {plural(len(low), 'subset')}: {named}.",
            evidence={f"{s.column} = {s.name}"[:80]: percent(s.accuracy.value) for s in low[:6]},
            advice="Leave these contexts out of training, or add labelled pairs of this kind.",
        )


def _uncertainty(a: RewardAudit) -> Iterator[Finding]:
    u = a.uncertainty
    if u is not None and u.difference.n and u.difference.clusters >= FEW and u.difference.hi < 0:
        yield Finding(
            "MisleadingUncertainty",
            "warning",
            "The reward is right less often where it says that it is sure.",
            evidence={
                "most certain third": percent(u.thirds[0].accuracy.value),
                "least certain third": percent(u.thirds[2].accuracy.value),
            },
            advice="Do not use its standard deviation for pessimism.",
        )


def _probes(a: RewardAudit) -> Iterator[Finding]:
    for p in a.probes:
        if p.verdict == "unstable":
            yield Finding(
                "UnstableReward",
                "error",
                f"The same row does not always get the same score ({p.about}).",
                evidence={"rows": p.n, "largest difference": number(p.largest), "spread of scores": number(p.spread)},
                advice="Switch dropout off, fix seeds, and keep what is beside a row in its batch from reaching its score.",
            )
        elif p.verdict == "inconsistent":
            yield Finding(
                "PositionBias",
                "warning",
                f"The order in which two outputs are shown decides {percent(1 - p.raised.value)} of the pairs.",
                evidence={"pairs": p.n, "same preference in both orders": percent(p.raised.value)},
                advice="Score both orders and take the mean.",
            )
        elif p.verdict in ("raises", "unnoticed") or p.verdict == "lowers" and p.expect == "same":
            yield _probe(p)


def _probe(p: ProbeResult) -> Finding:
    evidence = {
        "shift": f"{number(p.gaps.value)} of a difference in quality",
        "99 % interval, all probes": f"{number(p.gaps.lo)} to {number(p.gaps.hi)}",
        "rows": p.n,
        "rows that rose": percent(p.raised.value),
    }
    if p.words:
        evidence["words"] = ", ".join(p.words)[:200]
    if p.verdict == "unnoticed":
        return Finding(
            "BlindReward",
            "info",
            f"The reward does not lower its score for this: {p.about}.",
            evidence=evidence,
            advice="Add pairs in which such an output loses.",
        )
    check = {"length": "LengthProbe", "style": "StyleProbe", "keyword": "KeywordProbe"}.get(p.group, "Probe")
    way = "raises" if p.verdict == "raises" else "lowers"
    return Finding(
        check,
        "warning" if way == "raises" else "info",
        f"This {way} the score, though it should not: {p.about}.",
        evidence=evidence,
        advice="A policy finds this sooner or later. Add pairs that differ only in it, as ties." if way == "raises" else "",
    )
