"""The audit of a reward in sentences and plain data: verdict, headline, summary.json, findings.json."""

from __future__ import annotations

import math
from typing import Any

from guerdon.audit.formats import count, number, percent, plain, plural
from guerdon.audit.report.summary import Verdict
from guerdon.audit.reward.estimates import Estimate
from guerdon.audit.reward.numbers import RewardAudit


def verdict_of(a: RewardAudit) -> Verdict:
    """One sentence on the reward."""
    serious = [f for f in a.findings if f.level != "info"]
    if not a.judged:
        return Verdict("bad" if serious else "neutral", "Nothing could be judged: no pair has a preferred side and two scores.")
    right = f"Right on {percent(a.accuracy.value)} of {plural(a.judged, 'pair')}"
    if any(f.level == "error" for f in serious):
        return Verdict("bad", f"{right}. Not fit to be optimised as it is.")
    if serious:
        return Verdict(
            "bad", f"{right}, with {plural(len({f.check for f in serious}), 'weakness', 'weaknesses')} that a policy can exploit."
        )
    if a.findings and any(f.check.startswith("NotBetter") for f in a.findings):
        return Verdict("neutral", f"{right}: too few to judge the reward by.")
    beats = a.against_length
    more = f", {number(100 * beats.value, 2)} points more than length alone" if beats.n and beats.lo > 0 else ""
    return Verdict("good", f"{right}{more}. Nothing wrong was found.")


def headline_of(a: RewardAudit) -> str:
    """What was looked at, in a sentence or two."""
    failed, rows = a.failed
    parts = [f"{plural(a.pairs, 'comparison')} of {plural(a.contexts, 'context')}, {plural(rows, 'different output')}."]
    if a.label_ties:
        parts.append(f"{plural(a.label_ties, 'label tie')} left out.")
    if failed:
        parts.append(f"{plural(failed, 'output')} could not be scored.")
    ran = [p for p in a.probes if p.verdict != "skipped"]
    parts.append(f"{plural(len(ran), 'probe')} run." if ran else "No probes were run.")
    return " ".join(parts)


def ends(e: Estimate, points: bool = False) -> str:
    """An interval in words, "" where it is not known."""
    if not math.isfinite(e.lo):
        return ""
    show = (lambda v: number(100 * v, 2)) if points else percent
    return f"{show(e.lo)} to {show(e.hi)}"


def findings_record(a: RewardAudit) -> dict[str, Any]:
    """What findings.json holds."""
    return {
        "name": a.name,
        "verdict": verdict_of(a)._asdict(),
        "reward": a.identity,
        "data": a.data,
        "pairs": a.pairs,
        "findings": [
            {
                "check": f.check,
                "level": f.level,
                "step": f.step,
                "message": f.message,
                "evidence": dict(f.evidence),
                "advice": f.advice,
            }
            for f in a.findings
        ],
    }


def summary_record(a: RewardAudit) -> dict[str, Any]:
    """What summary.json holds: every figure of the audit as plain data, None where there is no number."""
    c = a.calibration
    calibrated = (
        None
        if c is None
        else {
            **{k: getattr(c, k) for k in c._fields if k not in ("gap", "table")},
            "gap": c.gap.plain(),
            "table": [
                {"stated": p, "observed": y, "n": int(n)}
                for p, y, n in zip(*(getattr(c.table, k).tolist() for k in ("predicted", "observed", "count")), strict=True)
                if n
            ],
        }
    )
    u = a.uncertainty
    record = {
        **findings_record(a),
        "contexts": a.contexts,
        "label_ties": a.label_ties,
        "judged": a.judged,
        "score_ties": a.score_ties,
        "rows": a.failed[1],
        "failed": a.failed[0],
        "failures": dict(list(a.failures.items())[:50]),
        "headline": headline_of(a),
        "seed": a.seed,
        "accuracy": a.accuracy.plain(),
        "weighted_accuracy": a.weighted.plain(),
        "baselines": {k: v.plain() for k, v in a.baselines.items()},
        "against_length": a.against_length.plain(),
        "balance": {k: v.plain() if isinstance(v, Estimate) else v for k, v in a.balance._asdict().items()},
        "by_length": [{"lo": b.lo, "hi": b.hi, "mean": b.mean, "accuracy": b.accuracy.plain()} for b in a.by_length],
        "length_unit": a.unit,
        "correlation": {k: v.plain() for k, v in a.correlation._asdict().items()},
        "calibration": calibrated,
        "uncertainty": None
        if u is None
        else {"difference": u.difference.plain(), "thirds": [t.accuracy.plain() for t in u.thirds]},
        "subsets": [
            {"column": s.column, "name": s.name, "accuracy": s.accuracy.plain(), "length_only": s.length_only.plain()}
            for s in a.subsets
        ],
        "gap": a.gap,
        "probes": [_probe(p) for p in a.probes],
    }
    cleaned: dict[str, Any] = plain(record)
    return cleaned


def _probe(p: Any) -> dict[str, Any]:
    out = {k: getattr(p, k) for k in ("name", "group", "about", "verdict", "n", "largest", "spread", "failed", "skipped")}
    return {**out, **{k: getattr(p, k).plain() for k in ("shift", "gaps", "raised")}, "words": list(p.words)}


def figure(e: Estimate) -> str:
    """A share with its interval for a table."""
    return percent(e.value) if e.n else "–"


def size(e: Estimate) -> str:
    """Pairs and contexts of a figure."""
    return count(e.n) if e.n == e.clusters or not e.clusters else f"{count(e.n)} in {count(e.clusters)}"
