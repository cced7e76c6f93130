import dataclasses
import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from guerdon import tasks
from guerdon.core import Items, Reward, Rollout, Source, Streams
from guerdon.core.errors import PlanError
from guerdon.policies import CausalLM
from guerdon.tasks import Arithmetic, Countdown, Stories, Summaries, TaskPrompts, WarmStart, split_of, warm_start
from guerdon.tasks import task as task_module

WORLDS = [
    Arithmetic(),
    Arithmetic.tiny(),
    Countdown(),
    Countdown.tiny(),
    Stories(),
    Stories.tiny(),
    Summaries(),
    Summaries.tiny(),
]


def keys(task, n: int, split: str, seed: int = 0) -> set[str]:
    streams = Streams(seed)
    return {p.key for p in task.problems(streams("x", streams.uids(n)), split)}


def test_names_and_the_nearest_name() -> None:
    assert tasks.names() == ["arithmetic", "countdown", "stories", "summaries"]
    assert tasks.get("countdown") == Countdown()
    assert tasks.get("arithmetic", tiny=True, wrong=0.1) == dataclasses.replace(Arithmetic.tiny(), wrong=0.1)
    with pytest.raises(PlanError, match="no task 'aritmetic'; did you mean 'arithmetic'"):
        tasks.get("aritmetic")
    with pytest.raises(PlanError, match="Arithmetic has no field 'operand'; did you mean 'operands'"):
        tasks.get("arithmetic", operand=3)


@pytest.mark.parametrize("task", WORLDS)
def test_train_and_held_out_share_no_problem(task) -> None:
    train, held_out = keys(task, 3000, "train"), keys(task, 600, "held_out")
    assert train
    assert held_out
    assert not train & held_out
    small = dataclasses.replace(task, warm_start=WarmStart(corpus=3000))
    prompts = {p for p, _ in small.corpus()}  # nor has the base model seen a held-out prompt
    assert not prompts & {p for p, _ in task.items(600, split="held_out")}


def test_about_a_tenth_is_held_out() -> None:
    share = sum(split_of(str(k)) == "held_out" for k in range(5000)) / 5000
    assert share == pytest.approx(0.1, abs=0.015)


def test_the_same_question_in_another_order_is_in_the_same_split() -> None:
    plus = Arithmetic().problem
    assert plus((0.471, 0.851, 0)).prompt == "47+85="
    assert plus((0.851, 0.471, 0)).prompt == "85+47="
    assert plus((0.471, 0.851, 0)).key == plus((0.851, 0.471, 0)).key
    minus = Arithmetic(ops="-").problem
    assert minus((0.471, 0.851, 0)).key != minus((0.851, 0.471, 0)).key
    streams = Streams(0)
    found = Countdown(count=2).problems(streams("x", streams.uids(400)), "train")
    order = {p.key: {q.prompt for q in found if q.key == p.key} for p in found}
    assert max(map(len, order.values())) == 2  # "3 4 -> 7:" and "4 3 -> 7:" were both drawn


@pytest.mark.parametrize("task", WORLDS)
def test_items_are_a_pure_function_of_their_arguments(task) -> None:
    assert task.items(20, seed=7) == task.items(20, seed=7)
    assert task.items(20, seed=7)[:5] == task.items(5, seed=7)
    assert task.items(20, seed=7) != task.items(20, seed=8)
    assert task.items(20, seed=7) != task.items(20, seed=7, split="held_out")


@pytest.mark.parametrize("task", WORLDS)
@pytest.mark.parametrize("split", ["train", "held_out"])
def test_a_draw_depends_on_the_streams_alone(task, split: str) -> None:
    source, streams = TaskPrompts(task, split), Streams(3).fork("draw", 4)
    items = source.draw(12, streams=streams)
    assert isinstance(items, Items)
    assert torch.equal(items.uid, streams.uids(12))
    source.draw(5, streams=Streams(9))  # no cursor moves
    source.tell(None)
    again = TaskPrompts(task, split).draw(12, streams=streams)
    assert items.contexts == again.contexts
    assert items.info == again.info
    fewer = source.draw(4, streams=streams)  # row k does not depend on how many are drawn
    assert items.contexts[:4] == fewer.contexts
    assert source.draw(12, streams=Streams(3).fork("draw", 5)).contexts != items.contexts
    assert all(len(column) == 12 for column in items.info.values())


@pytest.mark.parametrize("task", WORLDS)
def test_reward_source_and_items_fit_together(task) -> None:
    source: Source = task.prompts("held_out")
    items = source.draw(6, streams=Streams(1)).repeat(2)
    mask = torch.ones(12, 1, dtype=torch.bool)
    reward = task.reward()
    assert isinstance(reward, Reward)
    assert reward.scope == "sample"
    row = Rollout(items.contexts, items.info["solution"], torch.zeros(12, 1), mask, items.uid, items.uid, info=items.info).check()
    assert reward(row).total.tolist() == [1.0] * 12
    half = reward(row[torch.tensor([5, 0])])  # rows are scored one by one
    assert half.total.tolist() == [1.0, 1.0]


def test_parts_of_a_plan_are_checked_when_they_are_made() -> None:
    with pytest.raises(PlanError, match=r"TaskPrompts.split 'heldout'; did you mean 'held_out'"):
        TaskPrompts(Arithmetic(), "heldout")  # type: ignore[arg-type]
    with pytest.raises(PlanError, match="must be a task"):
        TaskPrompts("arithmetic")  # type: ignore[arg-type]


def test_they_survive_the_way_through_a_plan_file() -> None:
    from guerdon.run.spec import from_tree, to_tree

    for part in (
        TaskPrompts(Arithmetic(high=20, ops="+-"), "held_out"),
        TaskPrompts(Countdown.tiny()),
        TaskPrompts(Stories()),
        tasks.ArithmeticReward(digits=0.5),
    ):
        tree = json.loads(json.dumps(to_tree(part)))
        assert from_tree(tree) == part
        assert hash(from_tree(tree)) == hash(part)
    assert from_tree({"use": "tasks.TaskPrompts", "task": "tasks.Countdown"}) == TaskPrompts(Countdown())


def test_a_world_too_small_for_a_split_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_module, "_ATTEMPTS", 3)
    monkeypatch.setattr(task_module, "split_of", lambda key: "train")
    with pytest.raises(PlanError, match="has no held_out problems"):
        Arithmetic(high=1).items(1, split="held_out")
    assert len(Arithmetic(high=1).items(3)) == 3


@pytest.mark.parametrize("name", tasks.names())
def test_the_tiny_base_is_trained_once_and_answers_sometimes(name: str, cache_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = tasks.get(name, tiny=True)
    folder = task.base()
    assert folder.is_relative_to(cache_dir)
    monkeypatch.setattr(warm_start, "train_lm", lambda *a, **k: pytest.fail("trained twice"))
    assert tasks.base_model(name, tiny=True) == folder
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    items = task.items(200)
    right = []
    with torch.no_grad():  # exact probability of the known solution: no sampling noise
        for prompt, info in items:
            ids = tokenizer(prompt + info["solution"], return_tensors="pt")["input_ids"]
            ids = torch.cat([ids, torch.tensor([[tokenizer.eos_token_id]])], 1)
            logp = model(ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]
            right.append(float(logp[len(tokenizer(prompt)["input_ids"]) - 1 :].sum().exp()))
    mean = sum(right) / len(right)
    assert mean < 0.7  # there is room above it
    assert mean > (1e-9 if name in ("stories", "summaries") else 0.1)  # something to reinforce; a text is one of very many
    drawn = task.prompts().draw(200, streams=Streams(0).fork("items", name))  # the same problems, sampled by the policy
    assert list(drawn.contexts) == [prompt for prompt, _ in items]
    policy = CausalLM.from_pretrained(str(folder))
    sampled = task.reward()(policy.sample(drawn, 8, streams=Streams(1), max_tokens=task.max_tokens))
    assert sampled.ok.all()
    chance = sampled.total.mean().item()
    if name == "arithmetic":  # one right answer: the reward's mean is its probability; 1600 samples, a standard error of 0.01
        assert chance == pytest.approx(mean, abs=0.04)
    elif name == "summaries":  # what is invented counts below 0
        assert chance < 0.5 <= sampled.total.max().item()
    else:
        assert chance > mean - 0.04  # there are other right answers than the known one
    recipe = json.loads((folder / "guerdon.json").read_text())
    assert recipe["recipe"] == json.loads(json.dumps(task.recipe()))
    assert str(Path.home()) not in (folder / "guerdon.json").read_text()


def test_the_folder_changes_with_all_that_determines_it_and_nothing_else(
    fresh_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = []

    class Fake:
        def save(self, folder: Path) -> dict:
            return {}

    monkeypatch.setattr(warm_start, "train_lm", lambda *a, **k: trained.append(k) or Fake())
    small = WarmStart(corpus=10, steps=5)
    first = Arithmetic(warm_start=small)
    folders = [first.base(), Arithmetic(warm_start=small).base()]
    assert folders[0] == folders[1]
    assert len(trained) == 1
    for other in (
        Arithmetic(warm_start=dataclasses.replace(small, seed=1)),
        Arithmetic(warm_start=dataclasses.replace(small, model=tasks.LMConfig(width=32))),
        Arithmetic(warm_start=small, high=98),
        Arithmetic(warm_start=small, wrong=0.41),
        Countdown(warm_start=small),
    ):
        folders.append(other.base())
    assert len(set(folders)) == 6
    monkeypatch.setattr(warm_start, "VERSION", warm_start.VERSION + 1)
    assert first.base() not in folders
    monkeypatch.setattr(Arithmetic, "version", Arithmetic.version + 1)
    assert len({first.base(), *folders}) == 7
    assert len(trained) == 8
