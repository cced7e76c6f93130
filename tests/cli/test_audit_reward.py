"""``guerdon audit`` and ``guerdon score`` of rewards: figures worked out by hand, files, exit codes, and one line for bad input."""

from __future__ import annotations

import json
import shutil

import pytest

REWARD = """
def length(output):
    return float(len(output))

def constant(output):
    return 1.0

def vowels(output):
    return float(output.count("z"))

def broken(output):
    raise ValueError("planted")

def hangs(output):
    while True:
        pass
"""


@pytest.fixture
def code(here, put):
    (here / "reward.py").write_text(REWARD)
    put("pairs.jsonl", n=60)
    return here


def names(folder) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if p.name != "__pycache__")


# ---------------------------------------------------------------- audit
def test_a_function_of_ones_own_on_labelled_pairs(guerdon, code):
    said = guerdon("audit", "reward.py:length", "--data", "pairs.jsonl", "--subsets", "topic", "--no-probes", "--json")
    rows = [json.loads(line) for line in (code / "pairs.jsonl").read_text().splitlines()]
    right = [0.5 * (1 + (len(r["chosen"]) > len(r["rejected"])) - (len(r["chosen"]) < len(r["rejected"]))) for r in rows]
    found = said.json()
    assert found["name"] == "reward.py:length"
    assert found["reward"].startswith("reward.py:length@")  # and a hash of the file
    assert found["accuracy"]["value"] == pytest.approx(sum(right) / len(right))
    assert found["baselines"]["longer"]["value"] == found["accuracy"]["value"]  # it is that baseline
    assert {s["name"] for s in found["subsets"]} == {"a", "b"}
    assert found["probes"] == []
    assert said.code == ("error" in {f["level"] for f in found["findings"]})
    assert "NotBetterThanLength" in {f["check"] for f in found["findings"]}
    assert names(code / "audit") == ["findings.json", "report.html", "summary.json"]
    assert json.loads((code / "audit/findings.json").read_text())["findings"] == found["findings"]
    assert "this runs your code: reward.py:length" in said.err


@pytest.mark.parametrize(("reward", "words", "exit_code"), [("vowels", (), 0), ("constant", (), 1), ("vowels", ("--strict",), 0)])
def test_ci_hears_of_errors_by_the_exit_code(guerdon, code, reward, words, exit_code):
    said = guerdon("audit", f"reward.py:{reward}", "--data", "pairs.jsonl", "--out", "there", "--no-probes", *words)
    assert said.code == exit_code, said.out
    assert "there/report.html, there/findings.json" in said.out
    if reward == "vowels":
        assert "reward             100.0 %" in said.out
        assert "no findings" in said.out
    else:
        assert "error: Every output has the same score." in said.out


def test_probes_find_what_a_policy_would(guerdon, code):
    found = guerdon("audit", "reward.py:vowels", "--data", "pairs.jsonl", "--json").json()
    assert len(found["probes"]) > 5
    assert any(p["name"] == "last sentence twice" and p["verdict"] == "raises" for p in found["probes"])
    assert guerdon("audit", "reward.py:vowels", "--data", "pairs.jsonl", "--strict").code == 1


def test_a_reward_that_fails_or_hangs_is_a_finding(guerdon, code):
    for name, reason in (("broken", "ValueError: planted"), ("hangs", "timed out after 0.5 s")):
        words = ("--data", "pairs.jsonl", "--limit", "2", "--timeout", "0.5", "--json")
        said = guerdon("audit", f"reward.py:{name}", *words)
        assert said.code == 1
        found = said.json()
        assert found["findings"][0]["check"] == "FailingReward"
        assert reason in next(iter(found["failures"]))
        assert found["judged"] == 0


def test_a_fitted_reward_is_judged_by_what_was_held_out(guerdon, judge):
    for name in ("report.html", "findings.json", "summary.json"):
        (judge / "judge" / name).unlink()
    recipe = json.loads((judge / "judge/guerdon.json").read_text())
    (judge / "judge/guerdon.json").write_text(json.dumps({**recipe, "temperature": 2.5}))
    said = guerdon("audit", "judge", "--json")
    found = said.json()
    assert (said.code, found["pairs"], found["contexts"], found["name"]) == (0, 26, 13, "judge")
    assert found["calibration"]["temperature"] == 2.5
    assert {"report.html", "findings.json", "summary.json"} <= set(names(judge / "judge"))
    assert len(found["probes"]) > 5
    some = guerdon("audit", "judge", "--limit", "10", "--out", "elsewhere", "--no-probes")
    assert "elsewhere/report.html" in some.out
    assert json.loads((judge / "judge/summary.json").read_text())["pairs"] == 26  # not touched


def test_other_peoples_feedback_and_the_data_it_was_fitted_to(guerdon, judge, put):
    put("new.jsonl", n=40, seed=9)
    found = guerdon("audit", "judge", "--data", "new.jsonl", "--data", "pairs.jsonl", "--no-probes", "--out", "a", "--json")
    assert found.json()["pairs"] == 160
    assert "flatters" not in found.err
    from guerdon import feedback
    from guerdon.rewards.learned.data import hash_of

    held = {c.context for c in feedback.read("judge/held_out.jsonl")}
    trained = [c for c in feedback.read("pairs.jsonl") if c.context not in held]
    facts = json.loads((judge / "judge/guerdon.json").read_text())["facts"]
    assert hash_of(trained) == facts["data_hash"]
    feedback.write(trained, "trained.jsonl")
    said = guerdon("audit", "judge", "--data", "trained.jsonl", "--no-probes", "--out", "b")
    assert "these are the very records that the reward was fitted to" in said.err


def test_a_classifier_of_somebody_else(guerdon, judge):
    """A sequence classifier without anything of guerdon's."""
    foreign = judge / "foreign"
    shutil.copytree(judge / "judge", foreign)
    for name in ("guerdon.json", "held_out.jsonl", "README.md", "report.html", "findings.json", "summary.json"):
        (foreign / name).unlink()
    assert "foreign: labelled pairs are needed to audit it: --data FEEDBACK" in guerdon("audit", "foreign").complaint()
    found = guerdon("audit", "foreign", "--data", "judge/held_out.jsonl", "--no-probes", "--json").json()
    assert found["accuracy"]["value"] == 1.0
    assert found["calibration"]["temperature"] == 1.0
    assert found["folder"] == "foreign"


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["reward.py:length"], "reward.py:length: labelled pairs are needed to audit it: --data FEEDBACK"),
        (["reward.py:length", "--data", "none.jsonl"], "none.jsonl: no such file"),
        (["reward.py:lenth", "--data", "pairs.jsonl"], "no 'lenth' in it; did you mean 'length'?"),
        (["rewards.Lenght", "--data", "pairs.jsonl"], "did you mean 'Length'?"),
        (["reward.py:length", "--data", "torn.jsonl"], "torn.jsonl:7: not valid JSON"),
        (["reward.py:length", "--data", "rated.jsonl"], "no comparisons follow from its 1 records of the kind rating"),
        (["reward.py:length", "--data", "pairs.jsonl", "--subsets", "topik", "--no-probes"], "'topik'; did you mean 'topic'?"),
        (["reward.py:length", "--data", "pairs.jsonl", "--out", "pairs.jsonl"], "pairs.jsonl: is a file, expected a folder"),
        (["reward.py:length", "--data", "pairs.jsonl", "--format", "wurst"], "unknown format 'wurst'"),
        (["empty", "--data", "pairs.jsonl"], "empty"),
        (["hf:none", "--data", "pairs.jsonl"], "none"),
        (["bare", "--data", "pairs.jsonl"], "bare: holds no weights; expected *.safetensors"),
        (["run", "--data", "pairs.jsonl"], "--data is for rewards, and run is a run"),
        (["run", "--no-probes"], "--no-probes is for rewards, and run is a run"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(guerdon, code, put, words, complaint):
    (code / "torn.jsonl").write_text("".join((code / "pairs.jsonl").read_text().splitlines(True)[:6]) + '{"prompt": "a", "cho')
    put("rated.jsonl", [{"kind": "rating", "context": "p", "output": "a", "scores": {"overall": 1}}])
    for name, file in (("empty", ""), ("bare", "config.json"), ("run", "events.jsonl")):
        (code / name).mkdir()
        if file:
            (code / name / file).write_text("{}")
    before = sorted(p for p in code.rglob("*") if "__pycache__" not in p.parts)
    assert complaint in guerdon("audit", *words).complaint()
    assert sorted(p for p in code.rglob("*") if "__pycache__" not in p.parts) == before


# ---------------------------------------------------------------- score
def test_learned_rewards_score_files(guerdon, judge, put):
    from guerdon.rewards import load_learned, recorded

    put("rows.jsonl", [{"prompt": "say 1", "output": o} for o in ("zzz", "aaa", "")])
    said = guerdon("score", "judge", "rows.jsonl")
    assert said.code == 0, said.err
    rows = [json.loads(line) for line in said.out.splitlines()]
    expected = load_learned("judge")(recorded(["say 1"] * 2, ["zzz", "aaa"])).total.tolist()
    assert [r["total"] for r in rows[:2]] == pytest.approx(expected, abs=1e-5)
    assert rows[0]["total"] > rows[1]["total"]
    assert (rows[2]["ok"], rows[2]["reason"]) == (False, "the output is empty")
    inside = "{use: rewards.Mixture, parts: {judge: {use: rewards.RewardModel.from_pretrained, path_or_name: judge}}}"
    (judge / "plan.yaml").write_text(f"reward: {inside}\n")
    for spelling in (inside, "plan.yaml"):
        again = guerdon("score", spelling, "rows.jsonl", "--limit", "2")
        assert [json.loads(line)["total"] for line in again.out.splitlines()] == pytest.approx(expected, abs=1e-5)


def test_an_ensemble_scores_with_its_uncertainty(guerdon, judge, put):
    put("rows.jsonl", [{"prompt": "say 1", "output": o} for o in ("zzz", "aaa")])
    quick = ("--epochs", "1", "--train-layers", "head", "--no-probes", "--quiet")
    assert (
        guerdon("fit", "pairs.jsonl", "--reward", "davidson", "--base", "base", "--out", "two", "--members", "2", *quick).code
        == 0
    )
    rows = [json.loads(line) for line in guerdon("score", "two", "rows.jsonl").out.splitlines()]
    for row in rows:
        a, b = row["parts"]["member-0"], row["parts"]["member-1"]
        assert row["total"] == pytest.approx((a + b) / 2, abs=1e-5)
        assert row["std"] == pytest.approx(abs(a - b) / 2**0.5, abs=1e-5)
        assert row["std"] > 0


@pytest.mark.parametrize(
    ("reward", "complaint"),
    [
        ("juge", "expected file.py:name, rewards.Name, a YAML file"),
        ("./juge", "REWARD './juge': no such folder; did you mean 'judge'?"),
        ("some/name", "no such folder; no folder some (a model of the hub is written hf:some/name)"),
        ("hf:some/name", "some/name: cannot be loaded"),
        ("base", "base: the weights lack"),
        ("empty", "empty: no learned reward in this folder (expected guerdon.json, or config.json and *.safetensors)"),
        ("run", "run: is a run, expected a reward; the reward it was trained with is in run/plan.yaml"),
        ("torn", "torn/guerdon.json: cannot be read"),
    ],
)
def test_what_is_no_learned_reward_gets_one_line(guerdon, judge, put, reward, complaint):
    put("rows.jsonl", [{"prompt": "p", "output": "o"}])
    for name, file in (("empty", ""), ("run", "events.jsonl"), ("torn", "guerdon.json")):
        (judge / name).mkdir()
        if file:
            (judge / name / file).write_text("{")
    before = sorted(judge.rglob("*"))
    assert complaint in guerdon("score", reward, "rows.jsonl", "--out", "scored.jsonl").complaint()
    assert sorted(judge.rglob("*")) == before
