"""What is wrong with a set of comparisons before anything is fitted to it: findings of the kind that the audit reports."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from guerdon.core.feedback import Comparison
from guerdon.core.proportions import Proportion, newcombe, wilson
from guerdon.core.protocols import Finding
from guerdon.feedback.tally import Tally
from guerdon.feedback.votes import Key, majority_of_others, output_key, pair_key, sides, votes_of

SHOWN = 5  # examples in a finding's evidence
ALL = "*"  # in the place of an annotator: all of them
Level = Literal["info", "warning", "error"]


def examine(comparisons: Iterable[Comparison], level: float = 0.95) -> list[Finding]:
    """What a careful reader would say of some comparisons.

    ``DuplicateComparisons``, ``ContradictingLabels``, ``IdenticalOutputs``: records that repeat or contradict one another.
    ``LabelFollowsOrder``: every preferred output is in the same place. ``PositionBias``, ``LengthPreference``,
    ``ConstantAnnotator``, ``UninformativeAnnotator``: persons, by intervals. Records of unnamed annotators count as one person
    except where persons are compared with each other.

    An annotator is named only where an interval (Wilson's for a share, Newcombe's for a difference) excludes what a sound
    annotator would give. Every pair counts once, however often it was compared. Intervals of several annotators are wider than
    ``level``, by Bonferroni's correction, so that a check raises a false alarm on about one of 20 sound sets.

    Args:
        comparisons: Records.
        level: Coverage of all intervals of one check together.

    Returns:
        Findings in that order of checks; [] where there is nothing to say.

    Example:
        >>> said = [Comparison(first="x", second="y", annotator="ann"), Comparison(first="y", second="x", annotator="ann")]
        >>> [f.check for f in examine(said)]
        ['ContradictingLabels']
    """
    records = list(comparisons)
    by_person: dict[str, list[Comparison]] = defaultdict(list)
    for c in records:
        by_person[c.annotator].append(c)
    one_sided = list(_label_follows_order(records, level))
    return [
        *_repeats(records),
        *_identical(records),
        *one_sided,
        *([] if one_sided else _position(records, level)),
        *_length(records, level),
        *([] if one_sided else _constant(by_person, level)),
        *_uninformative(records, level),
    ]


def position_shares(comparisons: Iterable[Comparison], level: float = 0.95) -> dict[str, Proportion]:
    """annotator -> in how many of its pairs it prefers the output shown first, ties left out.

    >>> said = [Comparison(context=q, first="x", second="y", label=float(q == "a"), annotator="ann") for q in "abcd"]
    >>> position_shares(said)["ann"].share
    0.25
    """
    tally = Tally(_position_answers(comparisons))
    return {name: tally.of(name, level) for name in tally.names}


def length_shares(comparisons: Iterable[Comparison], level: float = 0.95) -> dict[str, Proportion]:
    """annotator -> in how many of its pairs it prefers the longer output, where lengths differ and it is no tie.

    Lengths are characters of texts, or of the contents of messages; outputs of other kinds are left out.

    >>> said = [Comparison(context=q, first="long", second="s", label=p, annotator="ann") for q, p in (("a", 1.0), ("b", 0.0))]
    >>> length_shares(said)["ann"].share
    0.5
    """
    tally = Tally(_length_answers(comparisons))
    return {name: tally.of(name, level) for name in tally.names}


def _position_answers(comparisons: Iterable[Comparison]) -> Iterator[tuple[str, Key, bool]]:
    return ((c.annotator, pair_key(c)[0], c.label > 0.5) for c in comparisons if not c.tie)


def _length_answers(comparisons: Iterable[Comparison]) -> Iterator[tuple[str, Key, bool]]:
    for c in comparisons:
        a, b = length_of(c.first), length_of(c.second)
        if a is not None and b is not None and a != b and not c.tie:
            yield c.annotator, pair_key(c)[0], (a > b) == (c.label > 0.5)


def length_of(output: Any) -> int | None:
    """Characters of a text or of all contents of a list of messages; None for anything else.

    >>> length_of("four"), length_of([{"role": "user", "content": "hi"}]), length_of(3)
    (4, 2, None)
    """
    if isinstance(output, str):
        return len(output)
    if (
        isinstance(output, list | tuple)
        and output
        and all(isinstance(m, Mapping) and isinstance(m.get("content"), str) for m in output)
    ):
        return sum(len(m["content"]) for m in output)
    return None


def _strict(level: float, tests: int) -> float:
    """Bonferroni: the level of each of several intervals that together have the coverage ``level``."""
    return 1 - (1 - level) / max(1, tests)


def _repeats(records: Sequence[Comparison]) -> Iterator[Finding]:
    """The same person on the same pair again: saying the same, or the opposite."""
    said: dict[tuple[Key, str], list[tuple[float, Comparison]]] = defaultdict(list)
    for c in records:
        key, turned = pair_key(c)
        if key[1] != key[2]:  # of equal outputs nobody can tell the order
            said[key, c.annotator].append((1 - c.label if turned else c.label, c))
    same = [group for group in said.values() if len({label for label, _ in group}) < len(group)]
    if same:
        extra = sum(len(group) - len({label for label, _ in group}) for group in same)
        yield Finding(
            check="DuplicateComparisons",
            level="info",
            message=f"{extra} of {len(records)} comparisons repeat another one: same pair, same annotator, same label",
            evidence={"repeated": extra, "of": len(records), "examples": _examples(group[0][1] for group in same)},
            advice="Keep one of each, unless they were asked twice on purpose or unnamed annotators are different persons.",
        )
    for named in (True, False):
        opposed = [
            group
            for (_, name), group in said.items()
            if bool(name) is named and any(x > 0.5 for x, _ in group) and any(x < 0.5 for x, _ in group)
        ]
        if opposed:
            again = sum(len(group) > 1 for (_, name), group in said.items() if bool(name) is named)
            who = "the same annotator" if named else "annotators without a name"
            yield Finding(
                check="ContradictingLabels",
                level="warning" if named else "info",
                message=f"{len(opposed)} of {again} pairs that {who} compared more than once have opposite labels",
                evidence={"pairs": len(opposed), "of": again, "examples": _examples(group[0][1] for group in opposed)},
                advice="Ask again, drop both, or keep a soft label (feedback.aggregate); no model can agree with both.",
            )


def _identical(records: Sequence[Comparison]) -> Iterator[Finding]:
    same = [c for c in records if not c.tie and output_key(c.first) == output_key(c.second)]
    if same:
        yield Finding(
            check="IdenticalOutputs",
            level="warning",
            message=f"{len(same)} of {len(records)} comparisons prefer one of two equal outputs",
            evidence={"records": len(same), "of": len(records), "examples": _examples(same)},
            advice="Drop them: they teach nothing.",
        )


def _label_follows_order(records: Sequence[Comparison], level: float) -> Iterator[Finding]:
    share = Tally(_position_answers(records)).all(level)
    if share.share in (0.0, 1.0) and (share.lo > 0.5 or share.hi < 0.5):
        place = "first" if share.share else "second"
        yield Finding(
            check="LabelFollowsOrder",
            level="info",
            message=f"the {place} output is preferred in all {share.n} pairs that are no ties: the order carries the label",
            evidence=_numbers(share),
            advice="Preferences for a position cannot be examined. Shuffle the order before showing pairs to a judge.",
        )


def _position(records: Sequence[Comparison], level: float) -> Iterator[Finding]:
    tally = Tally(_position_answers(records))
    strict = _strict(level, len(tally.names))
    found = {name: tally.of(name, strict) for name in tally.names}
    if len(found) > 1:  # many with a few records each show together what none shows alone
        found = {ALL: tally.all(level), **found}
    for name, share in found.items():
        if share.lo > 0.5 or share.hi < 0.5:
            yield Finding(
                check="PositionBias",
                level="warning",
                message=f"{_who(name)} prefer{_s(name)} the output shown first in {_text(share)}, not in half of them",
                evidence={"annotator": name, **_numbers(share)},
                advice="Show every pair in both orders, or in a random one, and keep the order in the record.",
            )


def _length(records: Sequence[Comparison], level: float) -> Iterator[Finding]:
    """The preference of all together, and of those who differ from the others."""
    tally = Tally(_length_answers(records))
    strict = _strict(level, len(tally.names))
    everybody = tally.all(level)
    advice = "Longer may well be better; judge a reward by its length-balanced accuracy, beside a length-only baseline."
    if everybody.lo > 0.5 or everybody.hi < 0.5:
        name = ALL if len(tally.names) > 1 else tally.names[0]
        yield Finding(
            check="LengthPreference",
            level="info",
            message=f"{_who(name)} prefer{_s(name)} the longer output in {_text(everybody)}",
            evidence={"annotator": name, **_numbers(everybody)},
            advice=advice,
        )
    for name in tally.names:
        share, other = tally.of(name, strict), tally.others(name, strict)
        _, low, high = newcombe(share, other) if other.n else (0.0, 0.0, 0.0)
        if low > 0 or high < 0:
            yield Finding(
                check="LengthPreference",
                level="warning",
                message=f"{_who(name)} prefers the longer output in {_text(share)}, the others in {other.share:.1%}",
                evidence={"annotator": name, **_numbers(share), "others": other.share},
                advice=advice,
            )


def _constant(by_person: Mapping[str, Sequence[Comparison]], level: float) -> Iterator[Finding]:
    """Whoever always says the same, where the others do so clearly less often."""
    strict = _strict(level, len(by_person))
    for name, group in by_person.items():
        labels = sides(np.array([c.label for c in group]))
        if len(set(labels.tolist())) > 1:
            continue
        others = [c for n, g in by_person.items() if n != name for c in g]
        equal = int((sides(np.array([c.label for c in others])) == labels[0]).sum()) if others else 0
        own, other = wilson(len(group), len(group), strict), wilson(equal, len(others), strict)
        if others and newcombe(own, other)[1] > 0:
            verdict = {1.0: "the first is better", 0.5: "a tie", 0.0: "the second is better"}[float(labels[0])]
            yield Finding(
                check="ConstantAnnotator",
                level="warning",
                message=f"{_who(name)} says {verdict!r} in all of {len(group)} pairs; the others in {other.share:.1%}",
                evidence={"annotator": name, **_numbers(own), "others": other.share},
                advice="Look at some of these records; leave the annotator out if nothing was read.",
            )


def _uninformative(records: Sequence[Comparison], level: float) -> Iterator[Finding]:
    """Whoever agrees with the majority of the others less often than their median, and no more often than chance would bring."""
    votes = votes_of(c for c in records if c.annotator)
    verdicts = sides(votes.labels)
    others = majority_of_others(verdicts)
    known = ~(np.isnan(verdicts) | np.isnan(others))
    strict = _strict(level, len(votes.annotators))
    hits = ((verdicts == others) & known).sum(1)
    shares = [wilson(int(h), int(n), strict) for h, n in zip(hits, known.sum(1), strict=True)]
    for k, (name, share) in enumerate(zip(votes.annotators, shares, strict=True)):
        rest = [p.share for j, p in enumerate(shares) if j != k and p.n]
        if not share.n or not rest or share.hi >= (median := float(np.median(rest))):
            continue
        own, theirs = verdicts[k, known[k]], others[k, known[k]]
        chance = float(sum((own == v).mean() * (theirs == v).mean() for v in (0.0, 0.5, 1.0)))
        if share.lo <= chance:
            yield Finding(
                check="UninformativeAnnotator",
                level="warning",
                message=f"{_who(name)} says what most others say in {_text(share)}, where chance alone would bring {chance:.1%} "
                f"and half of the others reach {median:.1%}",
                evidence={"annotator": name, **_numbers(share), "chance": chance, "others": median},
                advice="Leave the annotator out, or weigh votes by feedback.aggregate(method='dawid-skene').",
            )


def _who(name: str) -> str:
    return "all annotators together" if name == ALL else f"annotator {name!r}" if name else "whoever labelled"


def _s(name: str) -> str:
    return "" if name == ALL else "s"


def _text(p: Proportion) -> str:
    return f"{p.share:.1%} of {p.n} pairs (interval {p.lo:.1%} to {p.hi:.1%})"


def _numbers(p: Proportion) -> dict[str, float | int]:
    return {"share": p.share, "lo": p.lo, "hi": p.hi, "n": p.n}


def _examples(records: Iterable[Comparison]) -> list[dict[str, Any]]:
    """Where to look: a few records, by source and row identities."""
    found = []
    for c in records:
        found.append({"annotator": c.annotator, "source": c.source, "uids": list(c.uids), "context": str(c.context)[:80]})
        if len(found) == SHOWN:
            break
    return found
