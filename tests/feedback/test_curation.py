"""Curation: planted faults are found and named, sound sets are left alone."""

import gzip
import json
from collections import Counter

import numpy as np
import pytest

from guerdon.core import Finding
from guerdon.feedback import Comparison, examine, length_shares, position_shares
from guerdon.feedback.curation import length_of
from guerdon.feedback.tally import Tally


def people(*kinds, units=300, seed=0):
    """Records of annotators (name, verdict(better is first, x is longer, rng) -> label) on pairs shown in a random order."""
    rng = np.random.default_rng(seed)
    out = []
    for u in range(units):
        better, longer = rng.random() < 0.5, rng.random() < 0.5
        x, y = ("xx" + "." * 9, "yy") if longer else ("xx", "yy" + "." * 9)
        for name, verdict in kinds:
            shown = rng.random() < 0.5  # x first
            label = float(verdict(better == shown, longer == shown, rng))
            first, second = (x, y) if shown else (y, x)
            out.append(Comparison(context=f"q{u}", first=first, second=second, label=label, annotator=name, source=f"{name}:{u}"))
    return out


def sound(first_better, first_longer, rng):
    return first_better != (rng.random() < 0.15)


def guess(first_better, first_longer, rng):
    return rng.random() < 0.5


def by_place(first_better, first_longer, rng):
    return first_better if rng.random() < 0.6 else 1.0


def by_length(first_better, first_longer, rng):
    return first_better if rng.random() < 0.6 else first_longer


def named(findings, check):
    return [f.evidence["annotator"] for f in findings if f.check == check]


SOUND = [(n, sound) for n in ("ann", "bob", "cat")]


def test_a_sound_set_is_left_alone():
    assert examine([]) == []
    said = Counter(f.check for seed in range(40) for f in examine(people(*SOUND, units=150, seed=seed)))
    # Each check promises 95 %: the number of alarms in 40 sets is below 7 with probability 0.99.
    assert all(n <= 6 for n in said.values()), said


def test_who_looks_at_the_place():
    found = examine(people(*SOUND, ("pat", by_place)))
    (finding,) = [f for f in found if f.evidence.get("annotator") == "pat" and f.check == "PositionBias"]
    assert isinstance(finding, Finding) and finding.level == "warning"
    assert abs(finding.evidence["share"] - 0.7) < 0.1 and finding.evidence["lo"] > 0.5
    assert set(named(found, "PositionBias")) <= {"*", "pat"}


def test_a_bias_that_none_shows_alone_is_seen_together():
    crowd = [(f"person-{k}", by_place) for k in range(60)]
    records = [c for k, c in enumerate(people(*crowd, units=120, seed=2)) if k % 61 == 0]  # two records each, one per pair
    assert max(p.n for p in position_shares(records).values()) <= 3
    assert named(examine(records), "PositionBias") == ["*"]


def test_votes_on_one_pair_are_one_case():
    said = [Comparison(context="q", first="x", second="y", annotator=f"a{k}", label=1.0) for k in range(200)]
    said += [Comparison(context=f"p{k}", first="x", second="y", annotator=f"a{k}", label=0.0) for k in range(3)]
    assert examine(said) == [] or not named(examine(said), "PositionBias")
    tally = Tally((c.annotator, (c.context, "x", "y"), c.label > 0.5) for c in said)
    assert tally.all().n == 4 and tally.all().share == 0.25
    assert (tally.others("a0").n, tally.others("a0").share) == (3, 1 / 3) and tally.of("a0").share == 0.5


def test_others_are_counted_as_if_the_one_were_not_there():
    rng = np.random.default_rng(0)
    answers = [(f"a{rng.integers(5)}", (f"q{rng.integers(20)}", "x", "y"), bool(rng.random() < 0.6)) for _ in range(200)]
    tally = Tally(answers)
    for name in tally.names:
        without = Tally(a for a in answers if a[0] != name).all()
        assert np.allclose(tally.others(name), without)


def test_who_likes_length_more_than_the_others():
    found = [f for f in examine(people(*SOUND, ("len", by_length))) if f.check == "LengthPreference"]
    assert [f.evidence["annotator"] for f in found if f.level == "warning"] == ["len"]
    everybody = [f for f in examine(people(*[(n, by_length) for n in ("a", "b", "c")])) if f.check == "LengthPreference"]
    assert [(f.level, f.evidence["annotator"]) for f in everybody] == [("info", "*")]  # a taste that all share is no fault


def test_who_always_says_the_same_or_anything():
    found = examine(people(*SOUND, ("con", lambda *_: 1.0), ("tie", lambda *_: 0.5), ("rnd", guess)))
    assert sorted(named(found, "ConstantAnnotator")) == ["con", "tie"]
    assert sorted(named(found, "UninformativeAnnotator")) == ["con", "rnd", "tie"]
    worse = examine(people(*SOUND, ("tired", lambda b, _, rng: b != (rng.random() < 0.3))))
    assert named(worse, "UninformativeAnnotator") == []  # less agreement than the others, but far above chance


def test_a_file_of_chosen_and_rejected_is_told_apart_from_a_bias():
    said = [Comparison(context=f"q{k}", first=f"good {k}", second=f"bad {k}", annotator="ann") for k in range(50)]
    found = {f.check: f.level for f in examine(said)}
    assert found["LabelFollowsOrder"] == "info" and "PositionBias" not in found and "ConstantAnnotator" not in found
    assert not [f for f in examine(said[:3]) if f.check == "LabelFollowsOrder"]  # three of three is no evidence
    turned = next(f for f in examine([c.swapped() for c in said]) if f.check == "LabelFollowsOrder")
    assert "the second output" in turned.message


def test_repeats_and_contradictions():
    a = Comparison(context="q", first="x", second="y", label=1.0, annotator="ann", source="f:1")
    again, against, tie = a.swapped(), a.replace(label=0.2), a.replace(label=0.5)
    assert [f.check for f in examine([a, again])] == ["DuplicateComparisons"]
    (finding,) = examine([a, against])
    assert (finding.check, finding.level, finding.evidence["pairs"]) == ("ContradictingLabels", "warning", 1)
    assert finding.evidence["examples"][0]["source"] == "f:1"
    assert examine([a, tie]) == []  # a tie contradicts nothing
    assert examine([a, against.replace(annotator="bob")]) == []  # two persons may differ
    assert examine([a, against.replace(context="p")]) == []
    (finding,) = examine([a.replace(annotator=""), against.replace(annotator="")])
    assert (finding.check, finding.level) == ("ContradictingLabels", "info")


def test_equal_outputs_cannot_be_preferred():
    a = Comparison(context="q", first="x", second="x", annotator="ann")
    found = examine([a, a.replace(label=0.0)])
    assert [(f.check, f.evidence["records"]) for f in found] == [("IdenticalOutputs", 2)]
    assert examine([a.replace(label=0.5)]) == []


def test_lengths():
    assert length_of("four") == 4 and length_of({"a": 1}) is None and length_of([]) is None
    assert length_of([{"role": "user", "content": "ab"}, {"role": "assistant", "content": "c"}]) == 3
    said = [Comparison(context=c, first="long", second="s", label=p) for c, p in zip("abcd", (1.0, 1.0, 0.5, 0.3), strict=True)]
    said.append(Comparison(context="e", first=[1], second="s"))
    assert (length_shares(said)[""].share, length_shares(said)[""].n) == (2 / 3, 3)


# ---------------------------------------------------------------- people
def real(folder, name):
    with gzip.open(folder / "preferences" / name, "rt", encoding="utf8") as f:
        return [json.loads(line) for line in f]


def test_autoj(shared_data):
    said = [
        Comparison(context=r["prompt"], first=r["response 1"], second=r["response 2"], label={0: 1.0, 1: 0.0, 2: 0.5}[r["label"]])
        for r in real(shared_data, "autoj_pairwise_human.jsonl.gz")
    ]
    share = length_shares(said)[""]
    assert round(share.share, 4) == 0.7177 and share.n == 1013
    found = {f.check: f for f in examine(said)}
    assert set(found) == {"LengthPreference", "IdenticalOutputs"} and found["LengthPreference"].level == "info"
    assert found["IdenticalOutputs"].evidence["records"] == 1


def test_pandalm(shared_data):
    label = {1: 1.0, 2: 0.0, 0: 0.5}
    said = [
        Comparison(
            context=f"{r['instruction']}\n{r['input']}", first=r["response1"], second=r["response2"],
            label=label[r[f"annotator{k}"]], annotator=f"annotator{k}", source=str(r["idx"]),
        )
        for r in real(shared_data, "pandalm_testset_3annotators.jsonl.gz") for k in (1, 2, 3)
    ]  # fmt: skip
    found = {f.check: f for f in examine(said)}
    assert found["DuplicateComparisons"].evidence["repeated"] == 406
    assert found["ContradictingLabels"].evidence["pairs"] == 1
    assert found["LengthPreference"].evidence["annotator"] == "*"
    assert "PositionBias" not in found  # 47 % of 2671 votes would look like one; of 802 pairs it does not
    assert set(found) == {"DuplicateComparisons", "ContradictingLabels", "LengthPreference"}


@pytest.mark.parametrize("level", [0.8, 0.95, 0.999])
def test_the_level_decides(level):
    records = people(("ann", lambda b, _, rng: 1.0 if rng.random() < 0.17 else float(b)), units=300, seed=1)
    share = position_shares(records, level)["ann"]
    assert bool(named(examine(records, level), "PositionBias")) == (share.lo > 0.5)
