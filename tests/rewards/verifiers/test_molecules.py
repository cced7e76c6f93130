"""Molecules: values of known molecules, invalid and hostile texts, references, scales."""

import csv
import gzip
import math
import time
from pathlib import Path

import pytest

from guerdon.core import PlanError, RewardError
from guerdon.rewards import recorded
from guerdon.rewards.verifiers.molecules import Molecules
from guerdon.testing import check_reward

pytest.importorskip("rdkit")
ASPIRIN = "CC(=O)Oc1ccccc1C(=O)O"
# SMILES, logP, QED, SA of molecules of ZINC as stored with the data set
ZINC = [
    ("CC(C)(C)c1ccc2occ(CC(=O)Nc3ccccc3F)c2c1", 5.05060, 0.731901, 2.08409),
    ("C[C@@H]1CC(Nc2cncc(-c3nncn3C)c2)C[C@@H](C)C1", 3.11370, 0.941112, 3.43200),
    ("N#Cc1ccc(-c2ccc(O[C@@H](C(=O)N3CCCC3)c3ccccc3)cc2)cc1", 4.96778, 0.626105, 2.47063),
]
INVALID = ["", " ", "C1CC(", "(C)", "c1cccc1", "N(C)(C)(C)(C)C", "CC name", "C is good", "C\x00C", "\ud800", "C|x|", "[H][H]", "[H+]",
           "*", "C*", "C~C", "[CH99]", "C\nC", "The molecule is CCO.", "🧪", "[$(C)]", "CCO>>CC", "C" * 501]  # fmt: skip
HOSTILE = ["(" * 100_000, "[" * 100_000, "C1" * 50_000, "".join(f"C%{k % 100:02d}" for k in range(50_000)), "C" + "123456789" * 1000,
           "[C+" + "9" * 100_000 + "]", "[" + "9" * 50 + "C]", "\x00" * 100_000, "." * 100_000, "C%(" + "9" * 1000 + ")", "F/C=C/" * 20_000 + "F",
           "[C+99999999999999999999]", "[C@@](F)(Cl)(Br)" * 10_000]  # fmt: skip


def judged(reward, outputs, **columns):
    return reward.verdicts(recorded(["q"] * len(outputs), outputs, columns))


def test_values_of_stored_molecules_and_what_they_are_worth() -> None:
    found = judged(Molecules(("logp", "qed", "sa")), [row[0] for row in ZINC])
    for (_, logp, qed, sa), c in zip(ZINC, found, strict=True):
        assert c.parts == {"valid": 1, **{k: pytest.approx(v, abs=6e-6) for k, v in (("logp", logp), ("qed", qed), ("sa", sa))}}
        worth = (logp + 5) / 15 * qed * (10 - sa) / 9
        assert c.total == pytest.approx(worth ** (1 / 3), abs=1e-5)
    three, phenyl = judged(Molecules(("weight", "penalized_logp"), ends={"weight": (0, 100)}), ["C1CC1", "c1ccccc1"])
    assert (three.parts["weight"], phenyl.parts["weight"]) == (pytest.approx(42.08, abs=0.01), pytest.approx(78.11, abs=0.01))
    assert phenyl.total == pytest.approx(math.sqrt(0.7811 * (phenyl.parts["penalized_logp"] + 20) / 30), abs=1e-4)


def test_the_penalty_of_rings_is_that_of_the_largest() -> None:
    def parts(smiles):
        return judged(Molecules(("logp", "sa", "penalized_logp")), [smiles])[0].parts

    for smiles, beyond in (("CCCCCCCC", 0), ("C1CCCCC1", 0), ("C1CCCCCCC1", 2), ("C1CCCCCCC1C1CCCCCCCCC1", 4)):
        p = parts(smiles)
        terms = (p["logp"] - 2.4570953396190123) / 1.434324401111988, (-p["sa"] + 3.0525811293166134) / 0.8335207024513095
        assert p["penalized_logp"] == pytest.approx(sum(terms) + (-beyond + 0.0485696876403053) / 0.2860212110245455, abs=1e-9)


def test_what_is_no_molecule_gets_nothing_and_is_checked() -> None:
    found = judged(Molecules("logp"), INVALID)
    assert [(c.total, dict(c.parts), c.reason) for c in found] == [(0.0, {"valid": 0.0}, "")] * len(INVALID)
    assert all(c.note for c in found)
    assert found[-1].note == "501 characters, above 500"
    assert (
        judged(Molecules("valid"), ["C" * 501, "C.C", " CCO\n", "[Na+].[Cl-]", "C[C@H](N)C(=O)O"])[1:]
        == judged(Molecules("valid"), ["C"]) * 4
    )
    out = Molecules("logp")(recorded(["q"] * 3, ["OCC(O)C(O)C(O)C(O)CO", "C1CC(", 7]))
    assert out.parts["logp"][0] < 0 < out.total[0]  # a logP below 0 is better than no molecule
    assert out.ok.tolist() == [True, True, False]


def test_hostile_texts() -> None:
    begun = time.monotonic()
    found = judged(Molecules("qed", longest=10**6, timeout=8), HOSTILE)
    assert {(c.total, c.parts.get("valid")) for c in found if not c.reason} == {(0.0, 0.0)}
    assert sum(bool(c.reason) for c in found) <= 3  # on a very slow core
    assert judged(Molecules("qed"), [*HOSTILE, ASPIRIN])[-1].total == pytest.approx(0.55, abs=0.01)
    assert time.monotonic() - begun < 60
    slow, fast = judged(Molecules("qed", longest=10**6, timeout=2), ["C" * 400_000, "CCO"])
    assert (slow.reason, fast.total > 0.4) == ("timed out after 2 s", True)


def test_similarity_to_a_reference() -> None:
    reward = Molecules("qed", similar_to="start", at_least=0.4)
    outputs, start = [ASPIRIN, "CC(=O)Oc1ccccc1C(=O)OC", "CCCC", ASPIRIN, "C1CC("], [ASPIRIN] * 3 + ["C(", None]
    same, near, far, broken, missing = judged(reward, outputs, start=start)
    assert same.parts["similarity"] == 1
    assert 0.4 < near.parts["similarity"] < 1
    assert near.total == near.parts["qed"] > 0
    assert (far.total, far.note) == (0, f"similarity {far.parts['similarity']:.3f} is below 0.4")
    assert [c.reason for c in (broken, missing)] == [f"UnreadableReference: no molecule in the data's {s!r}" for s in ("C(", "")]
    bits = judged(Molecules("similarity", similar_to="start"), ["CCN"], start=["CCO"])[0]
    assert bits.total == bits.parts["similarity"] == pytest.approx(3 / 9)  # C C N O, CC CN | CC CO, CCN | CCO: 1 + 2 of 9


def test_a_molecule_within_a_text() -> None:
    texts = ["<mol>C(</mol> no, <mol> CCO </mol> it is.", "CCO", "<mol>CCO", "<mol></mol>", "</mol>CCO<mol>"]
    found = judged(Molecules("valid", tag="mol"), texts)
    assert [c.total for c in found] == [1, 0, 0, 0, 0]
    assert found[1].note == "nothing in <mol>"


def test_meets_the_contract_of_rewards() -> None:
    rollout = recorded(["q"] * 6, [ASPIRIN, "CCO", "C1CC(", "", "CCCC", "c1ccccc1"], {"start": ["CCO"] * 5 + ["("]})
    check_reward(Molecules(("qed", "sa"), similar_to="start"), rollout)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Molecules("QED"), "unknown goal 'QED'"),
        (lambda: Molecules("penalised_logp"), "did you mean 'penalized_logp'"),
        (lambda: Molecules(("qed", "qed")), "each once"),
        (lambda: Molecules(()), "at least one"),
        (lambda: Molecules("weight"), "'weight' needs ends"),
        (lambda: Molecules("qed", ends={"weigth": (1, 2)}), "did you mean 'weight'"),
        (lambda: Molecules("qed", ends={"qed": (1, 1)}), "two different numbers"),
        (lambda: Molecules("qed", at_least=0.4), "needs similar_to"),
        (lambda: Molecules("similarity"), "needs similar_to"),
        (lambda: Molecules("qed", similar_to="start", at_least=40), r"in \[0, 1\]"),
        (lambda: Molecules("qed", timeout=0), "above 0"),
    ],
)
def test_plans_that_cannot_run(make, message) -> None:
    with pytest.raises(PlanError, match=message):
        make()


def test_a_column_or_a_package_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RewardError, match="no column 'start'; did you mean 'starts'"):
        Molecules("qed", similar_to="start")(recorded(["q"], ["C"], {"starts": ["C"]}))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(PlanError, match=r"pip install 'guerdon\[molecules\]'"):
        Molecules("qed")


def test_agrees_with_stored_values(shared_data: Path) -> None:
    with gzip.open(shared_data / "molecules" / "zinc250k_20k_logp_qed_sas.csv.gz", "rt") as f:
        rows = list(csv.DictReader(f))[::67]
    found = judged(Molecules(("logp", "qed", "sa")), [r["smiles"] for r in rows])
    for r, c in zip(rows, found, strict=True):
        assert [c.parts[k] for k in ("logp", "qed", "sa")] == [
            pytest.approx(float(r[k]), abs=6e-6) for k in ("logP", "qed", "SAS")
        ]
    with (shared_data / "molecules" / "zinc_opt_test_penalized_logp.csv").open() as f:
        rows = list(csv.DictReader(f))[::4]
    found = judged(Molecules("logp_minus_sa"), [r["smiles"] for r in rows])
    assert [c.parts["logp_minus_sa"] for c in found] == [pytest.approx(float(r["penalized_logP"]), abs=1e-9) for r in rows]
