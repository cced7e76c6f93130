"""Plain functions, TRL's functions and files as rewards."""

import functools
from pathlib import Path

import numpy as np
import pytest
import torch

from guerdon.core import PlanError, RewardError
from guerdon.rewards import Function, Length, Scorer, as_reward, load_reward, recorded

CHAT = [{"role": "user", "content": "Hi"}]


def score(fn, outputs, contexts=None, **columns):
    return as_reward(fn)(recorded(contexts or ["q"] * len(outputs), outputs, columns))


def test_a_row_gets_only_what_it_asks_for() -> None:
    seen = []

    def reward(output, answer, prompt, level=7, *, context="none"):
        seen.append((output, answer, prompt, level, context))
        return 1.0

    out = score(reward, ["a", "b"], ["p", "r"], answer=[1, 2], other=[3, 4])
    assert seen == [("a", 1, "p", 7, "p"), ("b", 2, "r", 7, "r")]
    assert out.total.tolist() == [1, 1]


def test_every_column_for_those_who_want_every_column() -> None:
    seen = []

    def reward(text, **info):
        seen.append((text, info))
        return 0

    score(reward, ["a"], text=["not this"], n=torch.tensor([3]), v=[[1, 2]])
    assert seen == [("a", {"n": 3, "v": [1, 2]})]
    assert type(seen[0][1]["n"]) is int


def test_the_output_by_name_wherever_it_stands() -> None:
    assert score(lambda answer, output: float(output == answer), ["4", "5"], answer=["4", "4"]).total.tolist() == [1, 0]
    assert score(lambda answer, *, completion: float(completion == answer), ["4"], answer=["4"]).total.tolist() == [1]


@pytest.mark.parametrize(
    ("value", "total", "reason"),
    [
        (1, 1.0, ""),
        (True, 1.0, ""),
        (0.5, 0.5, ""),
        (torch.tensor(0.5), 0.5, ""),
        (torch.tensor([[2.0]]), 2.0, ""),
        (np.float32(0.25), 0.25, ""),
        (np.array([3]), 3.0, ""),
        ({"a": 1, "b": True}, 2.0, ""),
        ({"a": 1, "b": 1, "total": 5}, 5.0, ""),
        ({}, 0.0, ""),
        (None, 0.0, "returned None"),
        (float("nan"), 0.0, "reward is nan"),
        (float("-inf"), 0.0, "reward is -inf"),
        (1e300, 0.0, "reward is inf"),
        ("1", 0.0, "returned str, expected a number"),
        ([1.0], 0.0, "returned list, expected a number"),
        (1j, 0.0, "returned complex, expected a number"),
        (torch.ones(2), 0.0, "returned a Tensor that is not one number"),
        (np.ones(2), 0.0, "returned a ndarray that is not one number"),
        ({"a": "x"}, 0.0, "returned str, expected a number"),
        ({"a": float("nan"), "total": 1}, 0.0, "part 'a' is nan"),
    ],
)
def test_what_a_row_may_return(value, total, reason) -> None:
    out = score(lambda output: value, ["a"])
    assert out.total.tolist() == [total]
    assert out.reason == [reason]
    assert out.ok.tolist() == [not reason]
    listed = score(lambda completions: [value, 4.0], ["a", "b"])
    assert listed.total.tolist() == [total, 4.0]
    assert listed.reason == [reason, ""]


def test_parts_are_named_and_absent_ones_are_zero() -> None:
    out = score(lambda output: {"short": 1.0, "right": 0.5} if output else 0.25, ["a", ""])
    assert out.total.tolist() == [1.5, 0.25]
    assert {k: v.tolist() for k, v in out.parts.items()} == {"short": [1, 0], "right": [0.5, 0]}


def test_an_exception_fails_its_row_only() -> None:
    def reward(output):
        if output == "bad":
            raise ValueError("cannot read this\nand a long story")
        if output == "exit":
            raise SystemExit(3)
        return 1.0

    def listed(completions):
        return [reward(c) for c in completions]

    for fn in (reward, listed):
        out = score(fn, ["good", "bad", "exit", "good"])
        assert out.ok.tolist() == [True, False, False, True]
        assert out.reason == ["", "ValueError: cannot read this", "SystemExit: 3", ""]


def test_a_missing_column_names_the_nearest_and_the_others() -> None:
    with pytest.raises(RewardError) as caught:
        score(lambda output, anwser: 0.0, ["a"], answer=["x"], level=[1])
    message = str(caught.value)
    assert "asks for 'anwser'" in message
    assert "did you mean 'answer'?" in message
    assert "columns: answer, level" in message
    assert "\n" not in message
    with pytest.raises(RewardError, match="columns: none"):
        score(lambda completions, gold: [0.0], ["a"])


@pytest.mark.parametrize(
    ("returned", "reason"),
    [
        ([1.0] * 3, "returned 3 rewards for 2 outputs"),
        ([], "returned 0 rewards for 2 outputs"),
        (1.0, "returned float, expected a list of 2 rewards"),
        (None, "returned NoneType, expected a list of 2 rewards"),
        (torch.tensor(1.0), "returned Tensor, expected a list of 2 rewards"),
        ("ab", "returned str, expected a list of 2 rewards"),
        ({"a": 1, "b": 2}, "returned dict, expected a list of 2 rewards"),
    ],
)
def test_a_list_of_the_wrong_size_fails_the_whole_call(returned, reason) -> None:
    assert score(lambda completions: returned, ["a", "b"]).reason == [reason] * 2


def test_lists_may_be_tensors_arrays_and_iterators() -> None:
    for value in (torch.tensor([1.0, 2.0]), np.array([1, 2]), (1, 2), iter([1, 2])):
        assert score(lambda prompts, value=value: value, ["a", "b"]).total.tolist() == [1, 2]


def test_lists_as_trl_gives_them() -> None:
    seen = {}

    def reward(prompts, completions, completion_ids=None, answer=None, **kwargs):
        seen.update(prompts=prompts, completions=completions, ids=completion_ids, answer=answer, rest=kwargs)
        kwargs["log_metric"]("mean", 1.0)
        kwargs["log_extra"]("column", [1])
        return [1.0] * len(completions)

    rollout = recorded(["text", CHAT], ["one", "two"], {"answer": ["x", "y"], "level": torch.tensor([1, 2])}).replace(
        actions=torch.tensor([[5, 6, 7], [8, 9, 0]]), mask=torch.tensor([[False, True, True], [False, True, False]])
    )
    assert as_reward(reward)(rollout).ok.all()
    rest = {k: v for k, v in seen.pop("rest").items() if not callable(v)}
    assert seen == {
        "prompts": ["text", CHAT],
        "completions": ["one", [{"role": "assistant", "content": "two"}]],
        "ids": [[6, 7], [9]],
        "answer": ["x", "y"],
    }
    assert rest == {"level": [1, 2]}


def test_rewards_of_trl_itself() -> None:
    trl = pytest.importorskip("trl.rewards")
    rollout = recorded([CHAT] * 3, ["<think>a</think>b", "b", "<think>a<think></think>"]).replace(
        actions=torch.tensor([[1, 2, 3, 4, 0], [5, 5, 5, 5, 5], [1, 2, 1, 2, 0]]),
        mask=torch.tensor([[True] * 4 + [False], [True] * 5, [True] * 5]),
    )
    completions = [[{"role": "assistant", "content": o}] for o in rollout.outputs]
    assert as_reward(trl.think_format_reward)(rollout).total.tolist() == trl.think_format_reward(completions) == [1, 0, 0]
    penalty = trl.get_repetition_penalty_reward(ngram_size=2)
    ids = [a[m].tolist() for a, m in zip(rollout.actions, rollout.mask, strict=True)]
    assert as_reward(penalty)(rollout).total.tolist() == pytest.approx(penalty(ids))
    assert penalty(ids)[1] == -0.75


def test_a_group_is_called_on_its_own() -> None:
    calls = []

    def reward(completions):
        calls.append(completions)
        return [float(len(completions))] * len(completions)

    rollout = recorded(["a", "b", "a", "a"], ["1", "2", "3", "4"])
    assert as_reward(reward)(rollout).total.tolist() == [4] * 4
    reward.scope = "group"  # type: ignore[attr-defined]
    assert as_reward(reward)(rollout).total.tolist() == [3, 1, 3, 3]
    assert calls[1:] == [["1", "3", "4"], ["2"]]
    reward.scope = "all"  # type: ignore[attr-defined]
    with pytest.raises(PlanError, match="scope must be"):
        as_reward(reward)


def test_async_functions_run_side_by_side() -> None:
    import asyncio

    running = most = 0

    async def reward(output):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1
        if output == "2":
            raise ValueError("no")
        return float(output)

    out = score(reward, [str(k) for k in range(12)])
    assert out.total.tolist() == [0, 1, 0, *range(3, 12)]
    assert out.reason[2] == "ValueError: no"
    assert most > 1

    class Listed:
        async def __call__(self, completions):
            await asyncio.sleep(0)
            return [1.0 if c == "a" else None for c in completions]

    assert score(Listed(), ["a", "b"]).ok.tolist() == [True, False]


def test_where_a_function_came_from() -> None:
    reward = as_reward(score)
    assert isinstance(reward, Function)
    assert reward.origin == f"{score.__module__}:score"
    assert as_reward(functools.partial(score, outputs=1)).origin == reward.origin  # type: ignore[attr-defined]
    assert reward == as_reward(score)
    assert "score" in repr(reward)
    assert as_reward(Length(target=3)) == Length(target=3)


@pytest.mark.parametrize(
    ("obj", "message"),
    [
        (Length, "Length is a class; give an instance"),
        (3, "a int is not a reward"),
        (lambda: 1.0, "takes no output"),
        (lambda *, other: 1.0, "takes no output"),
        ("nothing", "expected 'file.py:name'"),
    ],
)
def test_what_is_no_reward(obj, message) -> None:
    with pytest.raises(RewardError, match=message):
        as_reward(obj)


# ---------------------------------------------------------------- files
@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "helper.py").write_text("BONUS = 2.0\n")
    (tmp_path / "mine.py").write_text(
        "from dataclasses import dataclass\n"
        "from helper import BONUS\n"
        "def length(output): return BONUS * len(output)\n"
        "class Caller:\n"
        "    def __call__(self, output): return 3.0\n"
        "@dataclass\n"
        "class Whole:\n"
        "    scope = 'sample'\n"
        "    differentiable = False\n"
        "    def __call__(self, rollout):\n"
        "        import torch\n"
        "        from guerdon.core import RewardOutput\n"
        "        return RewardOutput.of(torch.arange(len(rollout)).float())\n"
        "NUMBER = 3\n"
    )
    return tmp_path


def test_load_reward(folder: Path) -> None:
    rollout = recorded(["q", "q"], ["a", "bbb"])
    reward = load_reward("mine.py:length", folder=folder)
    assert isinstance(reward, Function)
    assert (reward.origin, reward.file) == ("mine.py:length", str(folder / "mine.py"))
    assert reward(rollout).total.tolist() == [2, 6]
    caller = load_reward(f"{folder}/mine.py:Caller")
    whole = load_reward("mine.py:Whole", folder)
    assert whole.origin == "mine.py:Whole"  # type: ignore[attr-defined]
    for loaded, total in ((reward, [2, 6]), (caller, [3, 3]), (whole, [0, 1])):
        with Scorer(loaded) as scorer:
            assert scorer.score(rollout).total.tolist() == total


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("mine.py", "expected 'file.py:name'"),
        ("mine:length", "expected 'file.py:name'"),
        ("mine.py:a.b", "expected 'file.py:name'"),
        ("mime.py:length", "no such file; did you mean 'mine.py'?"),
        ("no/such.py:length", "there is no folder"),
        ("mine.py:lenght", "no 'lenght' in it; did you mean 'length'?"),
        ("mine.py:NUMBER", "NUMBER is a int, not a function"),
        ("broken.py:f", "broken.py:2: SyntaxError: "),
        ("raises.py:f", "raises.py:3: ZeroDivisionError: division by zero"),
        ("imports.py:f", "imports.py:1: ModuleNotFoundError: No module named 'no_such_module'"),
        ("needs.py:Needs", "cannot be made without arguments"),
    ],
)
def test_files_that_cannot_be_used(folder: Path, spec: str, message: str) -> None:
    (folder / "broken.py").write_text("x = 1\ndef f(:\n")
    (folder / "raises.py").write_text("def f(output):\n    return 1.0\nf.x = 1 / 0\n")
    (folder / "imports.py").write_text("import no_such_module\n")
    (folder / "needs.py").write_text("class Needs:\n    def __init__(self, x): pass\n    def __call__(self, output): return 1\n")
    with pytest.raises(RewardError) as caught:
        load_reward(spec, folder)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_of_two_folders_have_neighbours_of_their_own(tmp_path: Path) -> None:
    for name, bonus in (("a", 1), ("b", 2)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "namesake.py").write_text(f"BONUS = {bonus}\n")
        (tmp_path / name / "mine.py").write_text("from namesake import BONUS\n\n\ndef score(output):\n    return BONUS\n")
    found = [load_reward(f"{name}/mine.py:score", folder=tmp_path) for name in ("a", "b", "a")]
    assert [float(r(recorded(["q"], ["x"])).total[0]) for r in found] == [1, 2, 1]
