"""The process reward: where steps end, what it refuses, what a folder keeps, what a fit learns."""

import pytest
import torch
from transformers import AutoModelForTokenClassification

from guerdon.core import DataError, Items, ModelError, PlanError, SpanLabel, Streams
from guerdon.rewards import Mixture, ProcessReward, fit_process_reward, step_accuracy
from guerdon.rewards.learned.steps import Spelling, step_ends
from guerdon.testing import tiny_lm, tiny_process_reward, tiny_reward_model, tiny_tokenizer


def rollout_of(*outputs, context="1+2+3="):
    items = Items([context] * len(outputs), torch.arange(len(outputs)))
    return tiny_lm().rollout_from(items, list(outputs), streams=Streams(0))


@pytest.mark.parametrize(
    ("text", "ends"),
    [("3+3=6", [4, 5]), ("6", [1]), ("", [0]), ("6=", [2]), ("=6", [1, 2]), ("a==b", [2, 3, 4])],
)
def test_where_steps_end(text, ends):
    assert step_ends(text, "=") == ends


def test_ends_are_tokens_of_the_answer():
    tokenizer = tiny_tokenizer()
    ids = [*tokenizer("1+2=")["input_ids"], *tokenizer("3=3")["input_ids"], 2]  # the separator of the prompt is no end
    assert Spelling(tokenizer).ends(ids, 4, "=") == [5, 7]
    assert Spelling(tokenizer).ends(ids[:-1], 4, "=") == [5, 6]  # cut off: the last chosen token closes
    assert Spelling(tokenizer).ends(ids[:6], 4, "=") == [5]  # cut off right behind a separator


def test_tokens_of_several_characters_and_parts_of_one():
    class Pieces:
        """ "x=" and "==" are one token each, and two ids make one letter."""

        words = ("a", "x=", "==", "b", "<", ">")

        def decode(self, ids, **_):
            return "".join(self.words[i] for i in ids).replace("<>", "ä")

    assert Spelling(Pieces()).ends([0, 1, 3, 2, 3], 1, "=") == [1, 3, 4]  # x= | b== (one token, so one end) | b
    assert Spelling(Pieces()).ends([0, 4, 5, 1, 3], 1, "=", "äx=b") == [3, 4]
    with pytest.raises(DataError, match="do not spell"):
        Spelling(Pieces()).ends([0, 1, 3], 1, "=", "other")


def test_scores_stand_where_steps_end():
    reward, rollout = tiny_process_reward(separator="="), rollout_of("3+3=6", "6", "3+3=3+3=6")
    out = reward(rollout)
    assert out.parts["steps"].tolist() == [2, 1, 3]
    assert out.total.tolist() == [0, 0, 0]
    assert bool(((out.step > 0) == (out.parts["end"] > 0)).all())
    assert bool((out.parts["end"].bool() <= rollout.mask).all())
    logits = reward.model(input_ids=rollout.actions[:1, : int(rollout.lengths[0])]).logits[0]
    right = logits.softmax(-1)[:, 1]
    at = out.parts["end"][0].nonzero()[:, 0]
    assert out.step[0, at].tolist() == pytest.approx(right[at].tolist(), abs=1e-9)
    assert out.parts["worst"][0].item() == pytest.approx(right[at].min().item(), abs=1e-9)
    assert reward.score(["1+2+3="], ["3+3=6"])[0] == pytest.approx(right[at].tolist(), abs=1e-9)


def test_one_label_is_the_odds():
    reward = tiny_process_reward()
    reward.model.score = torch.nn.Linear(32, 1, dtype=torch.float64)
    logits = reward.model(input_ids=torch.tensor([[9, 10, 2]])).logits[0, -1, 0]
    assert reward.at_ends([[9, 10, 2]], [[2]])[0].item() == pytest.approx(torch.sigmoid(logits).item())


def test_in_a_mixture_the_ends_have_their_name_and_weight_1():
    rollout = rollout_of("a\nb")
    out = Mixture({"process": (tiny_process_reward(), 0.25)})(rollout)
    alone = tiny_process_reward()(rollout)
    assert torch.equal(out.parts["process/end"], alone.parts["end"])
    assert torch.allclose(out.step, 0.25 * alone.step)


def test_what_cannot_be_read_fails_with_its_reason():
    rollout = rollout_of("3+3=6", "6")
    reward = tiny_process_reward()
    said = reward(rollout.replace(outputs=["other", "6"]))
    assert said.ok.tolist() == [False, True]
    assert "spell" in said.reason[0]
    assert "interrupted" in reward(rollout.replace(mask=rollout.mask & (torch.arange(rollout.steps) != 8))).reason[0]
    assert "vocabulary" in reward(rollout.replace(actions=rollout.actions + 1000)).reason[0]
    assert "expected a text" in reward(rollout.replace(outputs=[["x"], "6"])).reason[0]
    with pytest.raises(DataError, match="reads texts"):
        reward.score([["x"]], ["6"])
    with pytest.raises(DataError, match="201 ids, and the process reward reads at most 128"):
        reward.score([""], ["1" * 200])


def test_a_folder_keeps_it(tmp_path):
    reward = tiny_process_reward("qwen2", dtype="float32", separator="=")
    place = reward.save(tmp_path / "process")
    again = ProcessReward.from_pretrained(str(place), device="cpu")
    assert (again.separator, again.identity) == ("=", reward.identity)
    assert torch.equal(again(rollout_of("3+3=6")).step, reward(rollout_of("3+3=6")).step)
    assert again.identity != tiny_process_reward("qwen2", dtype="float32", separator="\n").identity
    assert AutoModelForTokenClassification.from_pretrained(place).config.id2label == {0: "wrong", 1: "right"}
    assert "process-reward" in (place / "README.md").read_text()
    assert ProcessReward.from_pretrained(str(place), separator=";", device="cpu").separator == ";"


def test_what_is_no_process_reward_is_refused(tmp_path, lm_folder):
    with pytest.raises(ModelError, match=r"lack .* tensors"):
        ProcessReward.from_pretrained(str(lm_folder), device="cpu")
    place = tiny_reward_model(dtype="float32").save(tmp_path / "reward")
    with pytest.raises(ModelError, match="'kind' is process-reward; it is reward-model"):
        ProcessReward.from_pretrained(str(place), device="cpu")
    with pytest.raises(PlanError, match="separator is empty"):
        tiny_process_reward(separator="")


def labels_of(answer, *right):
    """A label of each step of an answer, in TRL's manner: without its separator."""
    found, start = [], 0
    for step, good in zip(answer.split("="), right, strict=True):
        found.append(
            SpanLabel(context="", output=answer, start=start, end=start + len(step), label="", value=1.0 if good else -1.0)
        )
        start += len(step) + 1
    return found


def test_a_fit_learns_which_steps_are_right(lm_folder):
    # a step is right where it is an "a", wherever it stands
    data = [
        row
        for text in ("a=b", "b=a", "a=a=b", "b=b=a", "b=a=a", "a=b=a", "a=b=b", "a=a", "b=b")
        for row in labels_of(text, *(s == "a" for s in text.split("=")))
    ]
    reward = fit_process_reward(data, str(lm_folder), separator="=", epochs=30, batch=5, lr=1e-2, device="cpu")
    assert step_accuracy(reward, data) == 1.0
    assert (reward.facts["steps"], reward.facts["right"]) == (23, round(12 / 23, 4))
    assert reward.score([""], ["b=a=b"])[0] == pytest.approx([0, 1, 0], abs=0.2)  # not among them
    again = fit_process_reward(data, str(lm_folder), separator="=", epochs=30, batch=5, lr=1e-2, device="cpu")
    assert again.identity == reward.identity


def test_steps_without_a_label_teach_nothing():
    reward = tiny_process_reward(separator="=")
    before = reward.score([""], ["a=b"])[0]
    fit_process_reward(labels_of("a=b", True, False)[:1], reward, epochs=10, lr=1e-3)
    assert reward.score([""], ["a=b"])[0][0] > before[0]
    assert reward.facts["steps"] == 1
    with pytest.raises(DataError, match="no labels"):
        fit_process_reward([], reward)
    with pytest.raises(PlanError, match="must be positive"):
        fit_process_reward(labels_of("a", True), reward, epochs=0)
    with pytest.raises(DataError, match="right and wrong"):
        step_accuracy(reward, labels_of("a", True))
