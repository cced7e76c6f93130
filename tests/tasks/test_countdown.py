import itertools
from collections import Counter
from fractions import Fraction

import pytest
import torch

from guerdon.core import Rollout
from guerdon.core.errors import PlanError, RewardError
from guerdon.tasks import Countdown, CountdownReward, WarmStart, distinct_solutions, solutions
from guerdon.tasks.expressions import evaluate, numbers_in, parse, solution_key


def rollout(outputs: list, numbers: object = None, target: object = None, group: list[int] | None = None) -> Rollout:
    n = len(outputs)
    info = {"numbers": [(3, 7, 25, 4)] * n if numbers is None else numbers, "target": [46] * n if target is None else target}
    group_of = torch.arange(n) if group is None else torch.tensor(group)
    return Rollout(
        ["?"] * n, outputs, torch.zeros(n, 1), torch.ones(n, 1, dtype=torch.bool), group_of, torch.arange(n), info=info
    )


@pytest.mark.parametrize(
    ("output", "parts"),
    [  # solved, valid, close, for 3 7 25 4 -> 46
        ("3*7+25", (1, 1, 1)),
        (" 25 + 7*3 ", (1, 1, 1)),
        ("25-(-7*3)", (1, 1, 1)),  # a minus sign is arithmetic too
        ("25*4-7*3-25", (0, 0, 0)),  # 25 twice
        ("25+7+4+3", (0, 1, 1 / 8)),  # 39
        ("25", (0, 1, 1 / 22)),
        ("7/3", (0, 1, 1 / (1 + 131 / 3))),
        ("46", (0, 0, 0)),  # not a given number
        ("3*7+25=", (0, 0, 0)),
        ("25/(7-4-3)", (0, 0, 0)),  # division by zero
        ("(3*7+25", (0, 0, 0)),
        ("", (0, 0, 0)),
        ("(" * 5000, (0, 0, 0)),
        ("__import__('os')", (0, 0, 0)),
    ],
)
def test_parts_by_hand(output: str, parts: tuple[float, ...]) -> None:
    out = CountdownReward()(rollout([output]))
    assert out.ok.all()
    assert tuple(out.parts[n].item() for n in ("solved", "valid", "close")) == pytest.approx(parts)
    assert out.total.item() == parts[0]


def test_a_number_given_twice_may_be_used_twice() -> None:
    out = CountdownReward()(rollout(["5*5+1", "5*5+5"], [(5, 5, 1)] * 2, [26, 30]))
    assert out.parts["solved"].tolist() == [1, 0]
    assert out.parts["valid"].tolist() == [1, 0]


def test_fractions_on_the_way_are_exact() -> None:
    assert CountdownReward()(rollout(["8/(3-8/3)"], [(3, 3, 8, 8)], [24])).total.tolist() == [1]


def test_the_total_weighs_the_parts() -> None:
    out = CountdownReward(solved=1.0, valid=0.1, close=0.5)(rollout(["25+7+4+3", "3*7+25", "46"]))
    assert out.total.tolist() == pytest.approx([0.1 + 0.5 / 8, 1.6, 0])


def test_a_row_that_cannot_be_scored_is_a_failure_with_its_reason() -> None:
    out = CountdownReward()(rollout(["1", "1", 5, "1"], [("a",), (1,), (1,), (1,)], [1, "x", 1, 1]))
    assert out.ok.tolist() == [False, False, False, True]
    assert out.reason[0] == "the puzzle ('a',) -> 1 is not made of numbers"
    assert out.reason[2] == "the output is int, not text"


def test_columns_may_be_tensors() -> None:
    out = CountdownReward()(rollout(["3*7+25"], torch.tensor([[3, 7, 25, 4]]), torch.tensor([46])))
    assert out.total.tolist() == [1]


def test_a_missing_column_is_one_clear_line() -> None:
    with pytest.raises(RewardError, match=r"needs the column 'target'.*tasks.Countdown"):
        CountdownReward()(rollout(["1"]).replace(info={"numbers": [(1,)]}))


WORLDS = [Countdown(), Countdown.tiny(), Countdown(count=3, high=12, target=50), Countdown(count=6, high=100, target=999)]


@pytest.mark.parametrize("task", WORLDS)
def test_every_puzzle_has_the_solution_it_was_made_from(task: Countdown) -> None:
    items = task.items(300) + task.items(60, split="held_out")
    info = [i for _, i in items]
    outputs = [i["solution"] for i in info]
    out = CountdownReward()(rollout(outputs, [i["numbers"] for i in info], [i["target"] for i in info]))
    assert out.parts["solved"].min() == 1
    for prompt, i in items:
        assert prompt == f"{' '.join(map(str, i['numbers']))} -> {i['target']}:"
        assert Counter(numbers_in(parse(i["solution"]))) == Counter(i["numbers"])  # all of them, each once
        assert 1 <= i["target"] <= task.target
        assert all(1 <= n <= task.high for n in i["numbers"])
        assert len(i["solution"]) + 1 <= task.max_tokens
    assert {op for o in outputs for op in "+-*/" if op in o} == set("+-*/")


def test_the_corpus_answers_its_prompts() -> None:
    for prompt, answer in Countdown(warm_start=WarmStart(corpus=300)).corpus():
        assert evaluate(answer) == int(prompt.rstrip(":").split("-> ")[1])


def brute_force(numbers: tuple[int, ...], target: int) -> set[str]:
    """Keys of all solutions with three numbers or fewer: every order, every operator, both groupings."""
    found = set()
    for k in (1, 2, 3):
        for chosen in itertools.permutations(numbers, k):
            for ops in itertools.product("+-*/", repeat=k - 1):
                texts = [str(chosen[0])] if k == 1 else [f"{chosen[0]}{ops[0]}{chosen[1]}"]
                if k == 3:
                    a, b, c = chosen
                    texts = [f"({a}{ops[0]}{b}){ops[1]}{c}", f"{a}{ops[0]}({b}{ops[1]}{c})"]
                for text in texts:
                    try:
                        value = evaluate(text)
                    except ValueError:
                        continue
                    if value == Fraction(target):
                        found.add(solution_key(text))
    return found


def test_many_answers_are_right_and_counted_once_each() -> None:
    assert brute_force((2, 3, 4), 24) == {"(*2*3*4)"}
    keys = brute_force((2, 4, 8), 4)  # 4, 8/2, 8-4, 8*2/4 ...
    assert keys >= {"4", "(*8/2)", "(*2*8/4)", solution_key("8-4")}
    texts = ["4", "8/2", "8-4", "2*8/4", "8*2/4", "-4+8", "4+2", "8-4-2+2"]
    r = rollout(texts, [(2, 4, 8)] * 8, [4] * 8, group=[5] * 8)
    assert distinct_solutions(r).tolist() == [4]
    assert solutions(r)[6:] == [None, None]
    both = rollout(["4", "8/2", "3", "1+2"], [(2, 4, 8)] * 2 + [(1, 2, 3)] * 2, [4, 4, 3, 3], group=[9, 9, 2, 2])
    assert distinct_solutions(both).tolist() == [2, 2]
    assert distinct_solutions(rollout(["4", "1", "4+0"], [(2, 4, 8)] * 3, [4] * 3, group=[1, 1, 2])).tolist() == [1, 0]


def test_puzzles_have_several_solutions_on_average() -> None:
    counts = [len(brute_force(i["numbers"], i["target"])) for _, i in Countdown(count=3).items(60)]
    assert min(counts) >= 1  # solvable, by a search that does not know the solution
    assert sum(counts) / len(counts) > 1.3


@pytest.mark.parametrize("fields", [{"count": 1}, {"high": 0}, {"target": 0}])
def test_impossible_worlds_are_refused(fields: dict) -> None:
    with pytest.raises(PlanError, match="count must be in"):
        Countdown(**fields)
