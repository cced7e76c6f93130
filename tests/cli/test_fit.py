"""``guerdon fit``: what it writes, what it says of a good and of a poor reward, and one line for everything that can be wrong."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

pytest.importorskip("transformers")

import torch

from guerdon.cli import _fitting
from guerdon.rewards import Ensemble, RewardModel, load_learned, recorded

BT = ("--reward", "bradley-terry", "--base", "base", "--out", "new")
QUICK = ("--epochs", "1", "--train-layers", "head", "--no-probes", "--quiet")


def names(folder) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def lines(file) -> list[dict]:
    return [json.loads(line) for line in file.read_text().splitlines()]


# ---------------------------------------------------------------- what it leaves
def test_a_folder_that_others_can_load_with_its_audit_beside_it(judge):
    from transformers import AutoModelForSequenceClassification

    folder = judge / "judge"
    left = "config.json model.safetensors tokenizer.json guerdon.json held_out.jsonl README.md findings.json summary.json report.html"
    assert set(left.split()) <= set(names(folder))
    reward = load_learned(str(folder))
    assert isinstance(reward, RewardModel)
    theirs, row = AutoModelForSequenceClassification.from_pretrained(folder), reward.template.encode("say 1", "zzz")
    with torch.no_grad():
        raw = float(theirs(input_ids=torch.tensor([row.ids]), token_type_ids=torch.tensor([row.types])).logits)
    ours = float(reward(recorded(["say 1"], ["zzz"])).total)
    assert ours == pytest.approx((raw - reward.centre) / reward.scale, abs=1e-5)


def test_prompts_are_on_one_side(judge):
    held = {r["context"] for r in lines(judge / "judge/held_out.jsonl")}
    everything = {r["prompt"] for r in lines(judge / "pairs.jsonl")}
    facts = json.loads((judge / "judge/guerdon.json").read_text())["facts"]
    assert held < everything
    assert facts["train_contexts"] == len(everything) - len(held) == len(everything) - 13


def test_a_good_reward_is_told_beside_the_habit_of_preferring_the_longer(guerdon, judge):
    summary = json.loads((judge / "judge/summary.json").read_text())
    assert summary["accuracy"]["value"] == 1.0
    assert summary["baselines"]["longer"]["value"] == pytest.approx(0.5, abs=0.15)
    said = guerdon("fit", "pairs.jsonl", *BT, "--epochs", "6", "--lr", "3e-3", "--batch", "16")
    assert said.code == 0, said.err
    assert re.search(r"reward +100\.0 % \(77\.2-100\.0\) +100\.0 %", said.out)
    assert re.search(r"the longer answer +50\.0 % \(\S+\) +50\.0 % +-", said.out)
    assert "50 points more than length alone" in said.out
    assert "read 120 comparisons of 60 prompts" in said.err
    assert "fitting to 94 comparisons of 47 prompts; 26 of 13 prompts are held out" in said.err
    assert re.search(r"fitting .* 100% loss 0\.\d+", said.err)
    same = load_learned("new"), load_learned("judge")
    assert same[0].identity == same[1].identity  # the same seed, the same bits


def test_a_poor_reward_is_no_error_and_is_not_praised(guerdon, judge, put):
    put("coin.jsonl", n=300, noise=0.5, seed=1)
    said = guerdon("fit", "coin.jsonl", *BT, *QUICK)
    assert said.code == 0, said.err
    assert "not shown to be better than chance" in said.out
    assert "Not fit to be optimised as it is" in said.out
    assert said.err == ""  # quiet
    assert guerdon("audit", "new").code == 1  # in CI it is one


def test_an_ensemble_says_how_far_its_members_are_apart(guerdon, judge):
    said = guerdon("fit", "pairs.jsonl", *BT, *QUICK, "--members", "2", "--combine", "worst", "--json")
    assert said.code == 0, said.err
    found = said.json()
    assert (found["folder"], found["kind"], found["fit"]["members"], found["read"]["prompts"]) == ("new", "bradley-terry", 2, 60)
    assert len(found["fit"]["last"]) == 2
    assert 0 <= found["audit"]["accuracy"]["value"] <= 1
    assert {"member-0", "member-1", "guerdon.json", "held_out.jsonl"} <= set(names(judge / "new"))
    reward = load_learned("new")
    assert isinstance(reward, Ensemble)
    assert reward.combine == "worst"


def test_ratings_by_attribute(guerdon, judge, put):
    put("rated.jsonl", [{"prompt": f"p {k // 2}", "completion": "az"[k % 2] * (2 + k % 5), "kind": "x",
                         "scores": {"overall": 1 + 4 * (k % 2), "polite": k % 3, "odd": 2}} for k in range(80)])  # fmt: skip
    rating = (
        "--reward",
        "rating",
        "--base",
        "base",
        "--out",
        "new",
        "--epochs",
        "8",
        "--lr",
        "3e-3",
        "--attributes",
        "overall,polite",
    )
    said = guerdon("fit", "rated.jsonl", *rating, "--json")
    assert said.code == 0, said.err
    found = said.json()
    assert load_learned("new").attributes == ("overall", "polite")
    assert set(found["fit"]["held_out"]) == {"overall", "polite"}
    assert found["fit"]["held_out"]["overall"]["rmse"] < found["fit"]["held_out"]["overall"]["rmse_of_training_mean"]
    assert found["audit"]["accuracy"]["value"] == 1.0  # pairs of ratings of one prompt


def test_several_sources_a_store_among_them(guerdon, judge, put):
    from guerdon import feedback

    store = pytest.importorskip("sqlalchemy") and feedback.Store(judge / "feedback.db")
    put("more.jsonl", n=40, seed=2)
    with store:
        store.add(feedback.read(judge / "more.jsonl"))
    put("named.jsonl", [{"ask": "q", "chosen": "z", "rejected": "a"}])
    both = guerdon("fit", "pairs.jsonl", "feedback.db", f"sqlite:///{judge / 'feedback.db'}", *BT, *QUICK, "--json").json()
    assert both["read"]["comparisons"] == 120 + 40 + 40
    complaint = guerdon("fit", "pairs.jsonl", "feedback.db", *BT, "--out", "other", "--column", "prompt=ask").complaint()
    assert complaint == "guerdon: --column is for files, and argument 2 of the feedback is a store"
    said = guerdon("fit", "named.jsonl", *BT[:-1], "other", *QUICK, "--column", "prompt=ask", "--held-out", "0")
    assert said.code == 0, said.err
    assert "nothing was held out" in said.out
    assert "report.html" not in names(judge / "other")


def test_annotators_are_examined_before_anything_is_fitted(guerdon, judge, put):
    rows = []
    for k in range(60):
        for who, label in (("ann", 1), ("bob", 1), ("coin", k * 7919 % 3 % 2)):
            rows.append({"context": f"p {k}", "first": "z" * (2 + k % 4), "second": "a" * (2 + k % 3), "label": label, "annotator": who,
                         "kind": "comparison"})  # fmt: skip
    put("votes.jsonl", rows)
    said = guerdon("fit", "votes.jsonl", *BT, "--epochs", "1", "--train-layers", "head")
    assert said.code == 0, said.err
    assert "read 180 comparisons of 60 prompts: 3 annotators" in said.err
    alpha = re.search(
        r"agreement on 60 pairs that several labelled: alpha (-?[\d.]+) \(-?[\d.]+ to -?[\d.]+\), (\d+)% of labels", said.err
    )
    zeros = sum(k * 7919 % 3 % 2 == 0 for k in range(60))  # coin differs from two others there
    assert int(alpha[2]) == round(100 * (1 - 2 * zeros / 180))
    assert "warning:" in said.err


# ---------------------------------------------------------------- stopped, too large
def test_ctrl_c_in_the_fit_leaves_nothing(guerdon, judge, monkeypatch):
    from guerdon import rewards

    def interrupted(*_, progress, **__):
        progress(0.4, {"loss": 0.5})
        raise KeyboardInterrupt

    monkeypatch.setattr(rewards, "fit_reward", interrupted)
    before = names(judge)
    said = guerdon("fit", "pairs.jsonl", *BT)
    assert said.code == 130
    assert said.err.splitlines()[-1] == "guerdon: interrupted; nothing was written"
    assert names(judge) == before


def test_ctrl_c_in_the_audit_leaves_the_reward(guerdon, judge, monkeypatch):
    from guerdon import audit

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(audit, "score_comparisons", interrupted)
    said = guerdon("fit", "pairs.jsonl", *BT, *QUICK)
    assert said.code == 130
    assert "guerdon: interrupted; the reward in new is whole; to audit it: guerdon audit new" in said.err
    monkeypatch.undo()
    monkeypatch.chdir(judge)
    assert guerdon("audit", "new", "--no-probes", "--quiet").code in (0, 1)


def test_what_cannot_fit_the_memory_is_refused_unless_told(guerdon, judge, monkeypatch):
    from safetensors.torch import load_file

    from guerdon.run import estimate

    parameters = sum(t.numel() for t in load_file(judge / "base/model.safetensors").values())
    monkeypatch.setattr(
        estimate, "memory_of", lambda device: 4 * parameters * (2 + 3) - 1
    )  # weights twice, gradients, two moments
    said = guerdon("fit", "pairs.jsonl", *BT, "--members", "2")
    assert "the fit needs at least" in said.complaint()
    assert not (judge / "new").exists()
    assert guerdon("fit", "pairs.jsonl", *BT, "--epochs", "1", "--yes", "--quiet").code == 0


def test_a_place_that_was_taken_meanwhile_is_not_overwritten(guerdon, judge, monkeypatch):
    from guerdon import rewards

    fit = rewards.fit_reward

    def slow(*args, **kwargs):
        (judge / "new").mkdir()
        (judge / "new/mine.txt").write_text("precious")
        return fit(*args, **kwargs)

    monkeypatch.setattr(rewards, "fit_reward", slow)
    found = guerdon("fit", "pairs.jsonl", *BT, *QUICK, "--json")
    assert (found.code, found.json()["folder"]) == (0, "new-2")
    assert names(judge / "new") == ["mine.txt"]


# ---------------------------------------------------------------- one line, nothing written
@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["none.jsonl", *BT], "none.jsonl: no such file"),
        (["nothing.db", *BT], "nothing.db: no such file"),
        (["sqlite:///nothing.db", *BT], "nothing.db: no such store"),
        (["mysql://me:secret@here/x", *BT], "no feedback store opens mysql://"),
        (["pairs.jsonl", *BT, "--format", "preferense"], "unknown format 'preferense'; did you mean 'preference'?"),
        (["pairs.jsonl", *BT, "--column", "prompt"], "--column 'prompt': expected ROLE=NAME"),
        (["pairs.jsonl", *BT, "--column", "promt=x"], "did you mean 'prompt'?"),
        (["torn.jsonl", *BT], "torn.jsonl:7: not valid JSON"),
        (["odd.jsonl", *BT], "odd.jsonl:1:"),
        (["empty.jsonl", *BT], "empty.jsonl: no rows in it"),
        (["ties.jsonl", *BT], "ties.jsonl: all 12 comparisons are ties, so nothing says which output is better"),
        (["same.jsonl", "--reward", "rating", "--base", "base", "--out", "new"], "all 4 ratings give the same scores"),
        (["one.jsonl", *BT], "one.jsonl: all 2 comparisons are of one prompt, so none can be held out by prompt"),
        (["two.jsonl", *BT, "--held-out", "0.001"], "no prompt of 2 is in the held-out part; take a larger --held-out, or another --seed"),
        (["two.jsonl", *BT, "--held-out", "0.999"], "no prompt of 2 is in the training part; take a smaller --held-out"),
        (["pairs.jsonl", *BT, "--held-out", "2"], "--held-out 2: expected a share of the prompts, at least 0 and below 1"),
        (["same.jsonl", *BT], "no comparisons follow from its 4 records of the kind rating; --reward rating learns from ratings"),
        (["pairs.jsonl", "--reward", "rating", "--base", "base", "--out", "new"], "no ratings follow from its 120 records of the kind compar"),
        (["pairs.jsonl", "--reward", "bradly-terry", *BT[2:]], "--reward 'bradly-terry': no such kind of reward; did you mean 'bradley-terry'?"),
        (["pairs.jsonl", *BT, "--attributes", "a"], "--attributes are those of ratings, and a bradley-terry reward learns from comparisons"),
        (["rates.jsonl", "--reward", "rating", *BT[2:], "--attributes", "overal"], "no rating has 'overal'; did you mean 'overall'?"),
        (["pairs.jsonl", *BT[:-1], "judge"], "judge exists and is not overwritten; choose another --out"),
        (["pairs.jsonl", *BT[:-1], "pairs.jsonl/x"], "pairs.jsonl is a file, expected a folder"),
        (["pairs.jsonl", *BT, "--base", "./none"], "./none: no such folder"),
        (["pairs.jsonl", *BT, "--base", "bare"], "bare: holds no weights; expected *.safetensors"),
        (["pairs.jsonl", *BT, "--base", "pickled"], "pickled: holds only pickled weights (pytorch_model.bin)"),
        (["pairs.jsonl", *BT, "--base", "garbled"], "garbled: cannot be loaded"),
        (["pairs.jsonl", *BT, "--combine", "wurst", "--members", "2"], "--combine 'wurst': no such way; did you mean 'worst'?"),
        (["pairs.jsonl", *BT, "--combine", "worst"], "add --members 4, or leave it out"),
        (["pairs.jsonl", *BT, "--train-layers", "few"], "--train-layers 'few': expected all, head or a number of blocks"),
        (["pairs.jsonl", *BT, "--train-layers", "0"], "--train-layers '0': expected all, head or a number of blocks"),
        (["pairs.jsonl", *BT, "--lr", "0"], "lr must be above 0"),
        (["pairs.jsonl", *BT, "--template", "none.jinja"], "none.jinja: cannot be read as a chat template (No such file or directory)"),
        (["pairs.jsonl", *BT[:-2]], "missing option '--out'"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_leaves_nothing(guerdon, judge, put, words, complaint):
    good = (judge / "pairs.jsonl").read_text().splitlines()
    (judge / "torn.jsonl").write_text("\n".join([*good[:6], '{"prompt": "a", "cho']))
    (judge / "empty.jsonl").write_text("\n")
    put("odd.jsonl", [{"quetsion": "x"}])
    put("ties.jsonl", [{"context": f"p {k}", "first": "a", "second": "b", "label": 0.5, "kind": "comparison"} for k in range(12)])
    put("one.jsonl", [{"prompt": "p", "chosen": c, "rejected": "a"} for c in ("zz", "zzz")])
    put("two.jsonl", [{"prompt": p, "chosen": "z", "rejected": "a"} for p in "pq"])
    for name, scores in (("same.jsonl", (3, 3, 3, 3)), ("rates.jsonl", (1, 2, 3, 4))):
        put(
            name, [{"kind": "rating", "context": f"p {k}", "output": "a", "scores": {"overall": s}} for k, s in enumerate(scores)]
        )
    for name, file in (("bare", "notes.txt"), ("pickled", "pytorch_model.bin"), ("garbled", "model.safetensors")):
        (judge / name).mkdir()
        (judge / name / "config.json").write_text((judge / "base/config.json").read_text())
        (judge / name / file).write_bytes(b"\xff" * 64)
    before = sorted(judge.rglob("*"))
    said = guerdon("fit", *words)
    assert complaint in said.complaint()
    assert "secret" not in said.err
    assert sorted(judge.rglob("*")) == before


def test_a_template_that_cannot_be_read_leaves_nothing(guerdon, judge, put):
    put("chat.jsonl", [{"chosen": [{"role": "user", "content": f"q {k}"}, {"role": "assistant", "content": "z"}],
                        "rejected": [{"role": "user", "content": f"q {k}"}, {"role": "assistant", "content": "a"}]} for k in range(20)])  # fmt: skip
    (judge / "broken.jinja").write_text("{% for m in messages %}")
    (judge / "fine.jinja").write_text("{% for m in messages %}{{ m.role[0] }}:{{ m.content }}|{% endfor %}")
    before = sorted(judge.rglob("*"))
    said = guerdon("fit", "chat.jsonl", *BT, *QUICK, "--template", "broken.jinja")
    assert "the chat template refuses these messages" in said.complaint()
    assert sorted(judge.rglob("*")) == before
    assert guerdon("fit", "chat.jsonl", *BT, *QUICK, "--template", "fine.jinja").code == 0
    assert "role[0]" in load_learned("new").template.template


def test_help_shows_an_example(guerdon):
    assert "Example: guerdon fit pairs.jsonl --reward bradley-terry" in " ".join(guerdon("fit", "--help").out.split())


def test_every_kind_has_its_loss():
    from guerdon import rewards

    for kind in _fitting.KINDS.values():
        assert kind.loss in rewards.__all__
        getattr(rewards, kind.loss)()


# ---------------------------------------------------------------- the page
PAGE = Path(__file__).resolve().parents[2] / "docs/how-to/from-feedback-to-reward.md"
ENCODER = "sentence-transformers/all-MiniLM-L6-v2"


def test_the_walk_through_does_what_it_says(guerdon, here, base):
    """Every command of the page, one after the other, on the page's own data; a tiny encoder stands in for the named one."""
    blocks = re.findall(r"```(\w+)\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (data,) = (code for language, code in blocks if language == "python")
    exec(compile(data, PAGE.name, "exec"), {})
    commands = [
        line for language, code in blocks if language == "sh" for line in code.splitlines() if line.startswith("guerdon ")
    ]
    assert len(commands) == 9
    assert sum(ENCODER in c for c in commands) == 2
    for line in commands:
        said = guerdon(*shlex.split(line.replace(ENCODER, str(base)), comments=True)[1:])
        assert said.code in ((0, 1) if " audit " in line else (0,)), (line, said.err)
    assert len(lines(here / "scored.jsonl")) == 200
    assert len(lines(here / "copy.jsonl")) == 200
    for folder in ("judge", "judges", "seen"):
        assert (here / folder / "report.html").is_file()
    assert guerdon("audit", "judge", "--data", "feedback.db", "--out", "third", "--no-probes", "--json").json()["pairs"] == 200
    plan = next(code for language, code in blocks if language == "yaml")
    (here / "plan.yaml").write_text(plan)
    assert guerdon("score", "plan.yaml", "answers.jsonl", "--limit", "1").code == 0
