"""What ``fit`` says: what was read, how it was divided, and what came of it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guerdon.audit.formats import plural
from guerdon.cli._output import show
from guerdon.core.contexts import key_of
from guerdon.core.feedback import Comparison, Feedback, comparisons

if TYPE_CHECKING:
    from guerdon.cli._audit_reward import Inspected
    from guerdon.cli._fitting import Kind

CELLS = 20_000_000  # annotators times pairs: more is not worth a table
EXAMINED = 100_000  # comparisons that are looked at closely, from the first


def facts_of(records: Sequence[Feedback]) -> dict[str, Any]:
    """Counts of what was read, how far its annotators agree, and what a careful reader would say of it."""
    from guerdon import feedback

    pairs = list(comparisons(records))
    people = {r.annotator for r in records if r.annotator}
    findings = feedback.examine(pairs[:EXAMINED]) if pairs else []
    return {
        "records": dict(Counter(r.kind for r in records)), "comparisons": len(pairs), "ties": sum(c.tie for c in pairs),
        "soft": sum(c.label not in (0, 0.5, 1) for c in pairs), "annotators": len(people),
        "prompts": len({key_of(r.context) for r in records}), "agreement": _agreement(pairs, len(people)),
        "warnings": [f"{f.level}: {f.message}. {f.advice}" for f in findings if f.level != "info"],
        "findings": [{"check": f.check, "level": f.level, "message": f.message, "evidence": dict(f.evidence), "advice": f.advice}
                     for f in findings],
    }  # fmt: skip


def _agreement(pairs: Sequence[Comparison], people: int) -> dict[str, Any] | None:
    """Krippendorff's alpha over the pairs that several labelled; None where there are none."""
    from guerdon import feedback
    from guerdon.feedback.votes import pair_key

    keys = [pair_key(c)[0] for c in pairs]
    times = Counter(keys)
    shared = [c for c, key in zip(pairs, keys, strict=True) if times[key] > 1]
    if not shared or max(people, 2) * len(shared) > CELLS:
        return None
    found = feedback.agreement(shared)
    alpha = found.nominal
    if not alpha.units or not math.isfinite(alpha.alpha):
        return None
    return {"alpha": alpha.alpha, "lo": alpha.lo, "hi": alpha.hi, "pairs": alpha.units, "same": found.percent,
            "outliers": found.outliers}  # fmt: skip


def sentence(read: Mapping[str, Any]) -> str:
    """What was read, in a line or two.

    >>> sentence({"records": {"comparison": 1200, "critique": 1}, "comparisons": 1200, "ties": 30, "soft": 0, "annotators": 3,
    ...           "prompts": 400, "agreement": None})
    'read 1,200 comparisons and 1 critique of 400 prompts: 30 ties, 3 annotators'
    """
    kinds = " and ".join(
        plural(n, {"rubric": "rubric label", "span": "span label"}.get(k, k)) for k, n in read["records"].items()
    )
    said = [plural(read["ties"], "tie")] if read["ties"] else []
    said += [plural(read["soft"], "soft label")] if read["soft"] else []
    said += [plural(read["annotators"], "annotator")] if read["annotators"] else []
    line = f"read {kinds} of {plural(read['prompts'], 'prompt')}{': ' if said else ''}{', '.join(said)}"
    a = read["agreement"]
    if a is None:
        return line
    ends = f" ({a['lo']:.2f} to {a['hi']:.2f})" if math.isfinite(a["lo"]) else ""
    of = f"agreement on {plural(a['pairs'], 'pair')} that several labelled"
    return f"{line}\n{of}: alpha {a['alpha']:.2f}{ends}, {a['same']:.0%} of labels the same"


def division(train: Sequence[Feedback], held: Sequence[Feedback], kind: Kind) -> str:
    """What is learned from, and what is kept."""
    counts = [(len(kind.usable(part)), len({key_of(r.context) for r in part})) for part in (train, held)]
    (n, prompts), (kept, apart) = counts
    line = f"fitting to {n:,} {kind.learns} of {plural(prompts, 'prompt')}"
    return f"{line}; {kept:,} of {plural(apart, 'prompt')} are held out" if held else f"{line}; nothing is held out"


def fit_facts(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Facts of a fit for programs, its history by the last epoch of each member."""
    return {**{k: v for k, v in facts.items() if k != "history"}, "last": [h[-1] for h in facts["history"] if h]}


def show_fit(folder: Path, facts: Mapping[str, Any], found: Inspected | None) -> None:
    """What came of it, for people."""
    from guerdon.cli._audit_reward import tell

    if facts["skipped"]:
        show(f"{plural(facts['skipped'], 'record')} could not be read by the model: {facts['skipped_reasons'][0]}")
    if cut := facts["truncated_rows"]:
        show(f"too long to be read whole: {plural(cut, 'prompt with its answer', 'prompts with their answers')}")
    rmse = {name: v for name, v in (facts.get("held_out") or {}).items() if isinstance(v, Mapping)}
    for name, v in rmse.items():
        show(
            f"held-out {name}: off by {v['rmse']:.3g} (root mean square); always saying the mean {v['rmse_of_training_mean']:.3g}"
        )
    if found is not None:
        tell(found)
    elif not rmse:
        show("nothing was held out, so nobody knows yet what it is worth: guerdon audit DIR --data FEEDBACK")
    show(f"reward in {folder}")
    show("\nnext:")
    show(f"  guerdon score {folder} answers.jsonl --out scored.jsonl")
