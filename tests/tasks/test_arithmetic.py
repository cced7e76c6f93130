import pytest
import torch

from guerdon.core import Rollout
from guerdon.core.errors import PlanError, RewardError
from guerdon.tasks import Arithmetic, ArithmeticReward, WarmStart
from guerdon.tasks.arithmetic import reductions, slipped

NAMES = ("correct", "digits", "well_formed", "steps")


def rollout(outputs: list, answers: object) -> Rollout:
    n = len(outputs)
    row = torch.arange(n)
    return Rollout(["?"] * n, outputs, torch.zeros(n, 1), torch.ones(n, 1, dtype=torch.bool), row, row, info={"answer": answers})


@pytest.mark.parametrize(
    ("output", "answer", "parts"),
    [  # correct, digits, well_formed, steps
        ("132", "132", (1, 1, 1, 1)),
        (" 132 ", "132", (1, 1, 1, 1)),
        ("142", "132", (0, 2 / 3, 1, 0)),
        ("32", "132", (0, 2 / 3, 1, 0)),  # counted from the end, over the longer text
        ("1132", "132", (0, 3 / 4, 1, 0)),
        ("-38", "-38", (1, 1, 1, 1)),
        ("38", "-38", (0, 2 / 3, 1, 0)),  # the sign is a character
        ("0132", "132", (0, 0, 0, 0)),
        ("132+", "132", (0, 0, 0, 0)),
        ("", "132", (0, 0, 0, 0)),
        ("-", "132", (0, 0, 0, 0)),
        ("132=", "132", (0, 0, 0, 1 / 2)),  # one of two pieces has the right value, the answer is missing
        ("100+32", "132", (0, 0, 0, 1)),  # right value, but not a number
        ("19+30=49", "49", (1, 1, 1, 1)),
        ("18+30=49", "49", (1, 1, 1, 1 / 2)),  # right in the end
        ("19+30=48", "49", (0, 1 / 2, 1, 1 / 2)),
        ("1/0=5", "5", (1, 0, 0, 1 / 2)),  # the answer is right, the way to it is no expression
        ("١٣٢", "132", (0, 0, 0, 0)),  # digits of another script
    ],
)
def test_parts_by_hand(output: str, answer: str, parts: tuple[float, ...]) -> None:
    out = ArithmeticReward()(rollout([output], [answer]))
    assert out.ok.all()
    assert tuple(out.parts[n].item() for n in NAMES) == pytest.approx(parts)
    assert out.total.item() == parts[0]


def test_the_total_weighs_the_parts() -> None:
    out = ArithmeticReward(correct=2.0, digits=0.5, well_formed=-0.25, steps=1.0)(rollout(["142", "132"], ["132", "132"]))
    assert out.total.tolist() == pytest.approx([0.5 * 2 / 3 - 0.25, 2 + 0.5 - 0.25 + 1])


def test_a_row_that_cannot_be_scored_is_a_failure_with_its_reason() -> None:
    out = ArithmeticReward()(rollout(["1", "1", None, "1"], ["one", None, "1", "1"]))
    assert out.ok.tolist() == [False, False, False, True]
    assert out.reason == [
        "the known answer 'one' is not a number",
        "the known answer None is not a number",
        "the output is NoneType, not text",
        "",
    ]
    assert out.total.tolist() == [0, 0, 0, 1]


def test_answers_may_be_a_tensor() -> None:
    assert ArithmeticReward()(rollout(["132", "-5"], torch.tensor([132, -5]))).total.tolist() == [1, 1]


def test_a_missing_column_is_one_clear_line() -> None:
    r = rollout(["1"], ["1"])
    with pytest.raises(RewardError, match=r"needs the column 'answer'.*tasks.Arithmetic.*did you mean 'answers'"):
        ArithmeticReward()(r.replace(info={"answers": ["1"]}))


def test_weights_must_be_numbers() -> None:
    with pytest.raises(PlanError, match=r"ArithmeticReward.digits must be a finite number"):
        ArithmeticReward(digits=float("inf"))


@pytest.mark.parametrize(
    ("values", "ops", "texts"),
    [
        ([47, 85], "+", ["47+85", "132"]),
        ([1, 2, 3], "+*", ["1+2*3", "1+6", "7"]),
        ([5, 9, 2], "--", ["5-9-2", "-4-2", "-6"]),
        ([2, 3, 4, 1], "*-*", ["2*3-4*1", "6-4*1", "6-4", "2"]),
    ],
)
def test_steps_by_hand(values: list[int], ops: str, texts: list[str]) -> None:
    assert reductions(values, list(ops)) == texts


WORLDS = [
    Arithmetic(), Arithmetic.tiny(), Arithmetic(ops="+-*", operands=3), Arithmetic(ops="+-*", operands=4, style="steps"),
    Arithmetic(ops="*", high=9, operands=3), Arithmetic(ops="-", operands=5, style="steps", high=20),
]  # fmt: skip


@pytest.mark.parametrize("task", WORLDS)
def test_solutions_are_right_and_fit(task: Arithmetic) -> None:
    items = task.items(300) + task.items(100, split="held_out")
    answers = [i["answer"] for _, i in items]
    out = ArithmeticReward()(rollout([i["solution"] for _, i in items], answers))
    for name in NAMES:
        assert out.parts[name].min() == 1, name
    by_python = [str(eval(p[:-1])) for p, _ in items]  # our own prompts, checked against Python's arithmetic
    assert answers == by_python
    numbers = [int(x) for p, _ in items for x in p[:-1].replace("-", "+").replace("*", "+").split("+")]
    assert min(numbers) == 0
    assert max(numbers) == task.high


@pytest.mark.parametrize("task", WORLDS)
def test_the_corpus_is_wrong_as_often_as_it_says_and_fits(task: Arithmetic) -> None:
    import dataclasses

    task = dataclasses.replace(task, wrong=0.3, warm_start=WarmStart(corpus=2000))
    corpus = task.corpus()
    truth = [str(eval(p[:-1])) for p, _ in corpus]
    out = ArithmeticReward()(rollout([a for _, a in corpus], truth))
    assert 1 - out.total.mean().item() == pytest.approx(0.3, abs=0.03)  # 2000 draws: a standard error of 0.01
    steps = task.operands - 1 if task.style == "steps" else 1  # a sixth of the slips in the last step is no number
    assert 1 - out.parts["well_formed"].mean().item() == pytest.approx(0.3 / 6 / steps, abs=0.02 / steps)
    assert max(len(a) for _, a in corpus) + 1 <= task.max_tokens
    if task.style == "steps":  # a slip in the middle is followed by right steps from a wrong value
        wrong = out.parts["steps"][(out.total == 0) & (out.parts["well_formed"] == 1)]
        assert wrong.min() == 0
        assert wrong.max() > 0


def test_without_slips_the_corpus_is_right() -> None:
    task = Arithmetic(wrong=0.0, operands=3, style="steps", warm_start=WarmStart(corpus=300))
    assert all(a.rpartition("=")[2] == str(eval(p[:-1])) for p, a in task.corpus())


@pytest.mark.parametrize("answer", ["0", "7", "132", "-38", "-1"])
def test_a_slip_is_always_wrong(answer: str) -> None:
    grid = [k / 13 for k in range(13)]
    made = {slipped(answer, (a, b, c)) for a in grid for b in grid for c in grid}
    assert answer not in made
    assert f"{answer}+" in made
    assert all(str(int(m)) == m for m in made if not m.endswith("+"))  # no leading zeros, no -0


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"ops": "+/"}, "ops must be some of"), ({"ops": ""}, "ops must be"), ({"high": 0}, "high must be"), ({"operands": 1}, "operands in 2..8"),
        ({"style": "long"}, "style must be"), ({"wrong": 1.0}, "wrong must be in"),
    ],
)  # fmt: skip
def test_impossible_worlds_are_refused(fields: dict, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        Arithmetic(**fields)
