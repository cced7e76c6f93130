"""fit_reward: gradients that micro-batches do not change, bits that follow from the seed, and rewards that say what they know."""

import dataclasses
import json
import math

import pytest
import torch

from guerdon.core import Comparison, Correction, Critique, DataError, ModelError, PlanError, Ranking, Rating, Streams
from guerdon.core.calibration import log_loss
from guerdon.core.feedback import from_record
from guerdon.rewards import (
    BradleyTerry,
    Davidson,
    Ensemble,
    FitSettings,
    GaussianNLL,
    RaoKupper,
    RewardModel,
    fit_reward,
    load_learned,
    recorded,
)
from guerdon.rewards.learned.data import pairs_of, ratings_of
from guerdon.rewards.learned.training import Training
from guerdon.testing import tiny_reward_model

WORDS = ["good", "bad", "so", "it", "is", "well"]
QUICK = FitSettings(epochs=3, batch=16, lr=3e-3, dtype="float64", device="cpu")


def pairs(n, seed=0, temperature=0.5, ties=0.0, start="q"):
    """Comparisons by the count of "good", with Bradley-Terry noise."""
    streams = Streams(seed)
    picks = streams("words").integers(len(WORDS), 10 * n).reshape(n, 2, 5).tolist()
    luck = streams("luck").uniform(2 * n).reshape(n, 2).tolist()
    found = []
    for k in range(n):
        first, second = ([WORDS[w] for w in side] for side in picks[k])
        delta = (first.count("good") - second.count("good")) / temperature
        label = 0.5 if luck[k][1] < ties else float(luck[k][0] < 1 / (1 + math.exp(-delta)))
        found.append(Comparison(context=f"{start}{k}", first=" ".join(first), second=" ".join(second), label=label))
    return found


def training(reward, data, settings=QUICK, loss=BradleyTerry()):
    units = pairs_of(data, reward.template)
    return Training(reward, units, pairs_of((), reward.template), settings, loss, Streams(0))


def gradients(reward):
    return {n: p.grad.clone() for n, p in reward.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("arch", ["bert", "gpt2"])
def test_micro_batches_change_neither_loss_nor_gradient(arch):
    data, found = pairs(9, ties=0.3), []
    for micro in (None, 1, 4):
        work = training(tiny_reward_model(arch), data, dataclasses.replace(QUICK, micro_batch=micro, clip=None, centring=0.1))
        loss, right = work.step(torch.arange(9), rate=0.0)
        found.append((loss, right, gradients(work.reward)))
    for loss, right, grad in found[1:]:
        assert loss == pytest.approx(found[0][0], abs=1e-12)
        assert right == found[0][1]
        assert grad.keys() == found[0][2].keys()
        assert all((grad[n] - g).abs().max() < 1e-10 for n, g in found[0][2].items())


def test_the_gradient_is_that_of_the_formula():
    data = [
        Comparison(context="q", first="abc", second="zz", label=1.0),
        Comparison(context="q", first="zz", second="q", label=0.3),
    ]
    work = training(tiny_reward_model(), data, dataclasses.replace(QUICK, clip=None, centring=0.02))
    loss, _ = work.step(torch.arange(2), rate=0.0)
    other = tiny_reward_model()
    a, b, c = (other.score(["q"], [o])[0, 0] for o in ("abc", "zz", "q"))
    s = torch.nn.functional.logsigmoid
    by_hand = (-s(a - b) - 0.3 * s(b - c) - 0.7 * s(c - b) + 0.02 * ((a + b) ** 2 + (b + c) ** 2)) / 2
    by_hand.backward()
    assert loss == pytest.approx(by_hand.item(), abs=1e-12)
    mine = gradients(work.reward)
    assert all((mine[n] - p.grad).abs().max() < 1e-10 for n, p in other.named_parameters() if p.grad is not None)


def test_one_step_encodes_each_text_once():
    reward, seen = tiny_reward_model(), []
    work = training(reward, [Comparison(context="q", first=f"a{k}", second="same") for k in range(6)])
    reward.model.register_forward_pre_hook(lambda _, args, kwargs: seen.append(len(kwargs["input_ids"])), with_kwargs=True)
    work.step(torch.arange(6), 0.0)
    assert sum(seen) == 7


def test_equal_seeds_give_equal_bits_and_others_do_not(lm_folder):
    state = torch.get_rng_state()
    fits = [fit_reward(pairs(24), str(lm_folder), settings=dataclasses.replace(QUICK, epochs=1, seed=s)) for s in (0, 0, 1)]
    assert torch.equal(torch.get_rng_state(), state)
    assert fits[0].reward.identity == fits[1].reward.identity != fits[2].reward.identity
    assert fits[0].facts["history"] == fits[1].facts["history"]


@pytest.mark.parametrize("layers", ["all", 1, "head"])
def test_only_the_layers_asked_for_move(layers, bert_folder):
    before = RewardModel.fresh(str(bert_folder), dtype="float64", device="cpu")
    after = fit_reward(pairs(24), before, settings=dataclasses.replace(QUICK, epochs=1, train_layers=layers)).reward
    moved = {n for (n, p), q in zip(before.named_parameters(), after.parameters(), strict=True) if not torch.equal(p, q)}
    first, last, head = "encoder.layer.0.", "encoder.layer.1.", "classifier.weight"
    assert any(head in n for n in moved)
    assert any(last in n for n in moved) == (layers != "head")
    assert any("pooler" in n for n in moved) == (layers != "head")
    assert any(first in n or "word_embeddings" in n for n in moved) == (layers == "all")
    assert all(p.requires_grad and p.grad is None for p in after.parameters())


@pytest.mark.parametrize("arch", ["bert", "llama"])
def test_cached_features_give_the_head_that_no_cache_gives(arch):
    data = pairs(20)
    settings = dataclasses.replace(QUICK, train_layers="head", epochs=2)
    cached = fit_reward(data, tiny_reward_model(arch), settings=settings).reward
    work = training(tiny_reward_model(arch), data, settings)
    work.caches[0] = None
    work.streams = Streams(0).fork("fit", 0)
    work.run(lambda done, figures: None)
    for p, q in zip(cached.parameters(), work.reward.parameters(), strict=True):
        assert (p - q).abs().max() < (1e-7 if arch == "bert" else 1e-5)  # Adam divides by small numbers


def test_it_learns_what_the_labels_say_and_how_sure_to_be(lm_folder):
    data, held = pairs(300), pairs(200, seed=1, start="h")
    fitted = fit_reward(
        data, str(lm_folder), held_out=held, settings=dataclasses.replace(QUICK, epochs=4, lr=5e-3, dtype="float32")
    )
    figures = fitted.facts["held_out"]
    best = sum((d := c.first.count("good") - c.second.count("good")) == 0 or (d > 0) == (c.label > 0.5) for c in held) / 200
    assert figures["accuracy"] > 0.72
    assert figures["accuracy"] <= best
    assert figures["log_loss_calibrated"] < 0.6
    assert figures["ece_calibrated"] < 0.15
    out = fitted.reward(recorded(["q"] * 2, ["good good good good good", "bad bad bad bad bad"]))
    assert out.total[0] > out.total[1] + 1
    history = fitted.facts["history"][0]
    assert [h["epoch"] for h in history] == [1, 2, 3, 4]
    assert history[-1]["loss"] < history[0]["loss"]


def test_the_temperature_is_that_of_the_held_out_pairs(bert_folder):
    settings = dataclasses.replace(QUICK, train_layers="head", epochs=5)
    held = pairs(60, seed=1, start="h")
    fitted = fit_reward(pairs(60), str(bert_folder), held_out=held, settings=settings)
    first, second = (
        fitted.reward(recorded([c.context for c in held], [getattr(c, s) for c in held])).total for s in ("first", "second")
    )
    t, label = fitted.reward.temperature, [c.label for c in held]
    assert t == fitted.facts["temperature"]
    assert all(log_loss(first - second, label, t * f) >= log_loss(first - second, label, t) for f in (0.99, 1.01))
    assert torch.allclose(fitted.reward.probability(first - second), torch.sigmoid((first - second) / t))
    assert fitted.facts["held_out"]["log_loss"] == pytest.approx(log_loss(first - second, label), abs=1e-9)
    none = fit_reward(pairs(60), str(bert_folder), settings=settings)
    assert none.reward.temperature is None
    assert any("no held-out" in n for n in none.facts["notes"])


def test_pairs_that_are_all_told_apart_fix_no_temperature(bert_folder):
    data = [Comparison(context=f"q{k}", first="good " * (k % 3 + 1), second="bad " * (k % 3 + 1)) for k in range(20)]
    settings = dataclasses.replace(QUICK, train_layers="head", epochs=40)
    fitted = fit_reward(data, str(bert_folder), held_out=[c.replace(context=f"h{c.context}") for c in data], settings=settings)
    assert fitted.facts["held_out"]["accuracy"] == 1
    assert fitted.reward.temperature is fitted.facts["temperature"] is None
    assert "fix no temperature" in fitted.facts["notes"][0]
    assert "ece_calibrated" not in fitted.facts["held_out"]


def test_members_differ_and_are_on_one_scale(lm_folder):
    data = pairs(40)
    fitted = fit_reward(
        data, str(lm_folder), held_out=pairs(20, 1, start="h"), settings=dataclasses.replace(QUICK, epochs=1), members=3
    )
    assert isinstance(fitted.reward, Ensemble)
    outputs = list({(c.context, o) for c in data for o in (c.first, c.second)})
    rollout = recorded([c for c, _ in outputs], [o for _, o in outputs])
    out = fitted.reward(rollout)
    for m in range(3):
        assert out.parts[f"member-{m}"].mean().item() == pytest.approx(0, abs=1e-6)
        assert out.parts[f"member-{m}"].std(correction=0).item() == pytest.approx(1, abs=1e-6)
    assert out.std.min() > 0
    assert len({m.identity for m in fitted.reward.members}) == 3
    assert fitted.reward.temperature == fitted.facts["temperature"] != fitted.reward.members[0].temperature
    drawn = fit_reward(data, str(lm_folder), settings=dataclasses.replace(QUICK, epochs=1, bootstrap=True), members=2)
    assert drawn.reward.members[0].identity != fitted.reward.members[0].identity


def test_a_single_reward_is_centred_and_keeps_its_scale(bert_folder):
    data = pairs(30)
    reward = fit_reward(data, str(bert_folder), settings=dataclasses.replace(QUICK, train_layers="head")).reward
    outputs = list({(c.context, o) for c in data for o in (c.first, c.second)})
    total = reward(recorded([c for c, _ in outputs], [o for _, o in outputs])).total
    assert total.mean().item() == pytest.approx(0, abs=1e-9)
    assert reward.scale == 1


def test_patience_keeps_the_best_epoch(bert_folder):
    """Labels of the held-out pairs are turned round, so the first epoch is the best of them."""
    held = [c.replace(label=1 - c.label) for c in pairs(60, 1, start="h")]
    settings = dataclasses.replace(QUICK, train_layers="head", epochs=30, patience=3, lr=0.05, decay="constant")
    fitted = fit_reward(pairs(60), str(bert_folder), held_out=held, settings=settings)
    losses = [h["held_out_loss"] for h in fitted.facts["history"][0]]
    assert len(losses) == losses.index(min(losses)) + 1 + 3 < 30
    assert fitted.facts["held_out"]["log_loss"] == pytest.approx(min(losses), abs=1e-9)
    assert any("chosen by the held-out loss" in n for n in fitted.facts["notes"])


@pytest.mark.parametrize("loss", [RaoKupper(), Davidson()])
def test_ties_are_learned(loss, bert_folder):
    settings = dataclasses.replace(QUICK, train_layers="head", epochs=20, lr=0.04, decay="constant", centring=0.0)
    many, few = (
        fit_reward(pairs(80, ties=share), str(bert_folder), settings=settings, loss=loss).facts["history"][0][-1]["tie"]
        for share in (0.6, 0.05)
    )
    assert many > few + 0.3


# -- ratings


def ratings(n, noise=0.0):
    streams = Streams(5)
    picks = streams("w").integers(len(WORDS), 5 * n).reshape(n, 5).tolist()
    luck = streams("l").normal(n)[0].tolist()
    found = []
    for k in range(n):
        text = [WORDS[w] for w in picks[k]]
        scores = {"tone": 3.0 + text.count("good") - text.count("bad") + noise * luck[k]}
        if k % 2:
            scores["overall"] = 10.0 * text.count("well")
        found.append(Rating(context=f"q{k}", output=" ".join(text), scores=scores))
    return found


def test_ratings_of_several_attributes(lm_folder):
    settings = dataclasses.replace(QUICK, epochs=10, lr=5e-3, batch=32, dtype="float32", weights={"tone": 1.0, "overall": 0.1})
    fitted = fit_reward(ratings(160), str(lm_folder), held_out=ratings(200)[160:], settings=settings)
    reward = fitted.reward
    assert reward.attributes == ("overall", "tone")
    figures = fitted.facts["held_out"]
    assert figures["tone"]["ratings"] == 40
    assert figures["overall"]["ratings"] == 20
    assert figures["tone"]["rmse"] < 0.8 * figures["tone"]["rmse_of_training_mean"]
    out = reward(recorded(["q1"] * 2, ["good good good so so", "bad bad bad so so"]))
    assert out.parts["tone"][0] - out.parts["tone"][1] > 2  # in the units of the ratings
    assert out.total[0] > out.total[1]
    assert fitted.facts["temperature"] is None


def test_attributes_can_be_chosen():
    settings = dataclasses.replace(QUICK, epochs=1, attributes=("tone",))
    reward = tiny_reward_model(attributes=("tone",))
    assert fit_reward(ratings(8), reward, settings=settings).reward.units.keys() == {"tone"}
    with pytest.raises(DataError, match="did you mean 'tone'"):
        fit_reward(ratings(8), reward, settings=dataclasses.replace(settings, attributes=("tune",)))


def test_gaussian_noise_is_learned_by_attribute():
    fitted = fit_reward(
        ratings(60, noise=3.0), tiny_reward_model(attributes=("overall", "tone")), loss=GaussianNLL(),
        settings=dataclasses.replace(QUICK, epochs=2),
    )  # fmt: skip
    assert "log_sd" in fitted.facts["history"][0][-1]
    assert fitted.facts["units"] == "ratings"


def test_missing_attributes_teach_nothing():
    units = ratings_of(ratings(4), tiny_reward_model().template, ("overall", "tone"))
    assert units.label.isnan().tolist() == [[True, False], [False, False]] * 2


# -- what goes in


def test_rankings_and_corrections_are_pairs_too():
    data = [
        Ranking(context="q", outputs=("a", "b", "c"), ranks=(1, 2, 2)),
        Correction(context="p", output="x", corrected="y"),
        Critique(context="p", output="x", text="no"),
    ]
    fitted = fit_reward(data, tiny_reward_model(), settings=dataclasses.replace(QUICK, epochs=1))
    assert fitted.facts["train"] == 4
    assert fitted.facts["train_contexts"] == 2


def test_records_that_cannot_be_read_are_counted():
    data = [*pairs(4), Comparison(context="q", first="", second="a", source="data.jsonl:5")]
    fitted = fit_reward(data, tiny_reward_model(), settings=dataclasses.replace(QUICK, epochs=1))
    assert fitted.facts["skipped"] == 1
    assert fitted.facts["skipped_reasons"] == ["data.jsonl:5: the output is empty"]


def test_contexts_on_both_sides_are_told():
    fitted = fit_reward(pairs(8), tiny_reward_model(), held_out=pairs(4), settings=dataclasses.replace(QUICK, epochs=1))
    assert "4 contexts are in both parts" in fitted.facts["notes"][0]


def test_folders(tmp_path, bert_folder):
    held = pairs(6, 1, start="h")
    for members in (1, 2):
        settings = dataclasses.replace(QUICK, train_layers="head", epochs=1)
        fitted = fit_reward(pairs(8), str(bert_folder), held_out=held, settings=settings, members=members)
        folder = fitted.save(tmp_path / f"fitted-{members}")
        said = [from_record(json.loads(line)) for line in (folder / "held_out.jsonl").read_text().splitlines()]
        assert said == held
        recipe = json.loads((folder / "guerdon.json").read_text())
        assert recipe["facts"]["data_hash"] == fitted.facts["data_hash"]
        assert recipe["facts"]["settings"]["train_layers"] == "head"
        back = load_learned(str(folder), dtype="float64", device="cpu")
        assert back.identity == fitted.reward.identity
        assert back.temperature == fitted.facts["temperature"]
        assert "accuracy" in (folder / "README.md").read_text()


def test_a_fit_goes_on_from_a_reward():
    reward = tiny_reward_model()
    before = reward.identity
    more = fit_reward(pairs(8), reward, settings=dataclasses.replace(QUICK, epochs=1)).reward
    assert reward.identity == before != more.identity


def test_a_fit_that_diverges_says_so():
    with pytest.raises(ModelError, match="lower learning rate"):
        fit_reward(pairs(32), tiny_reward_model(), settings=dataclasses.replace(QUICK, lr=1e300, warmup=0.0))


def test_a_body_without_a_pooler_is_the_same_under_all_heads(bert_folder, tmp_path):
    from transformers import AutoModel, AutoTokenizer

    AutoModel.from_pretrained(str(bert_folder), add_pooling_layer=False).save_pretrained(tmp_path / "base")
    AutoTokenizer.from_pretrained(str(bert_folder)).save_pretrained(tmp_path / "base")
    settings = dataclasses.replace(QUICK, train_layers="head", epochs=1)
    members = fit_reward(pairs(8), str(tmp_path / "base"), settings=settings, members=2).reward.members
    assert torch.equal(*(m.model.bert.pooler.dense.weight for m in members))
    assert members[0].model.bert.pooler.dense.weight.std() > 0.01


def test_progress_is_told():
    told = []
    fit_reward(
        pairs(32), tiny_reward_model(), settings=dataclasses.replace(QUICK, epochs=2), progress=lambda d, f: told.append((d, f))
    )
    assert [d for d, _ in told] == [0.25, 0.5, 0.75, 1.0]
    assert all("loss" in f for _, f in told)


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: fit_reward([], tiny_reward_model()), DataError, "nothing to learn from among 0"),
        (lambda: fit_reward([Comparison(first="", second="")], tiny_reward_model()), DataError, "the output is empty"),
        (lambda: fit_reward(pairs(2), tiny_reward_model(), loss=GaussianNLL()), DataError, "needs ratings"),
        (lambda: fit_reward(pairs(2), tiny_reward_model(), members=2), PlanError, "members"),
        (lambda: fit_reward(pairs(2), tiny_reward_model(), settings=FitSettings(max_length=9)), PlanError, "keeps its template"),
        (lambda: FitSettings(epochs=0), PlanError, "epochs"),
        (lambda: FitSettings(lr=0), PlanError, "lr"),
        (lambda: FitSettings(warmup=1), PlanError, "warmup"),
        (lambda: FitSettings(decay="cos"), PlanError, "decay"),
        (lambda: FitSettings(train_layers="heads"), PlanError, "train_layers"),
        (lambda: FitSettings(train_layers=0), PlanError, "train_layers"),
    ],
)
def test_what_cannot_be_fitted_says_so(call, error, says):
    with pytest.raises(error, match=says):
        call()
