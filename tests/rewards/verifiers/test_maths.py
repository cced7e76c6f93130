"""Final answers: right, wrong, unreadable, and made to hang."""

import ast
import gzip
import json
import time
from pathlib import Path

import pytest
import torch

from guerdon.core import RewardError
from guerdon.rewards import Maths, recorded

LIMIT = 1.5  # seconds: far more than an honest answer takes


def judge(pairs, timeout=10.0):
    golds, outputs = zip(*pairs, strict=True)
    return Maths(timeout=timeout)(recorded(["q"] * len(pairs), list(outputs), {"answer": list(golds)}))


RIGHT = [
    ("4", r"\boxed{4}"), ("4", "so it is 4."), ("4", r"first \boxed{3}, no: \boxed{4}"), ("4", r"$x = 4$"), ("4", "#### 4"),
    ("1/2", r"\boxed{\frac{2}{4}}"), (r"\frac{1}{2}", "0.5"), (0.5, r"\boxed{1/2}"), (5, "5"), ("0.333333", r"\boxed{\frac13}"),
    ("1,234", "1234 in all"), ("#### 1,234", "#### 1234"), ("48 + 24 = <<48+24=72>>72\n#### 72", "72"), (r"so \boxed{7}", "7"),
    (r"\$18", "She makes $18 a day."), ("5 apples", r"\boxed{5}"), ("18 dollars", "18"), (r"50\%", r"\boxed{0.5}"),
    (r"2\sqrt{3}", r"\boxed{\sqrt{12}}"), ("x^2+2x+1", r"\boxed{(x+1)^2}"), ("(x+1)^{100}", r"\boxed{(1+x)^{100}}"),
    (r"(3, \frac{\pi}{2})", r"\boxed{(3, \pi/2)}"), ("[1,2)", r"\boxed{[1,2)}"), (r"\{1,2\}", r"\boxed{\{2,1\}}"),
    ("-3", r"\boxed{-3}"), (r"\{1,2\}", r"\boxed{0}, no: \boxed{2} and $\boxed{1}$"),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\boxed{\begin{pmatrix}1\\2\end{pmatrix}}"),
    ("10^{10^{10}}", r"\boxed{10^{10^{10}}}"), ("1" * 5000, rf"\boxed{{{'1' * 5000}}}"),
    ("1" * 4500, rf"\boxed{{{'1' * 4500}.0}}"),
    ("4", r"\boxed{" + r"\frac{1}{" * 40 + "4" + "}" * 40 + "}"),
]  # fmt: skip
WRONG = [
    ("4", r"\boxed{5}"), ("4", "14"), ("10^{10}", "10"), (r"2\sqrt{3}", "2"), ("-3", "3"), ("(1, 2)", r"\boxed{(2, 1)}"),
    ("4", r"\boxed{\infty}"), ("4", r"\boxed{\frac{1}{0}}"), ("4", r"\boxed{\sum_{n=1}^{1000000000} n}"),
    ("4", r"no \boxed{4}, but \boxed{5}"), ("4", r"\boxed{x^{1000000}+1}"),
]  # fmt: skip
WITHOUT_ANSWER = ["", "no idea", "$" * 3000, r"\boxed{" * 200, "(" * 5000, "-" * 3000, "\x00\ud800", r"\boxed{}"]
ENDLESS = [r"\boxed{10^{10^{10}}}", r"\boxed{9^{9^{9^{9}}}}", r"\boxed{2^{10^{12}}}", r"\boxed{(10^7)!}",
           r"\boxed{" + "(" * 300 + "4" + ")" * 300 + "}", r"\boxed{" + "{" * 2000 + "4" + "}" * 2000 + "}"]  # fmt: skip
NO_GOLD = ["", None, r"\frac{", "???"]


def test_right_wrong_and_unreadable_answers() -> None:
    pairs = [*RIGHT, *WRONG, *(("4", o) for o in WITHOUT_ANSWER), *((g, "4") for g in NO_GOLD)]
    assert len(pairs) > 50
    out = judge(pairs)
    expected = [1.0] * len(RIGHT) + [0.0] * (len(pairs) - len(RIGHT))
    assert [p for p, t, e in zip(pairs, out.total.tolist(), expected, strict=True) if t != e] == []
    ok = [True] * (len(pairs) - len(NO_GOLD)) + [False] * len(NO_GOLD)
    assert [p for p, k, e in zip(pairs, out.ok.tolist(), ok, strict=True) if k != e] == []
    read = [1.0] * (len(RIGHT) + len(WRONG)) + [0.0] * (len(WITHOUT_ANSWER) + len(NO_GOLD))
    assert [p for p, k, e in zip(pairs, out.parts["parsed"].tolist(), read, strict=True) if k != e] == []
    assert all(r.startswith("UnreadableAnswer: no mathematical value in the data's answer") for r in out.reason[-len(NO_GOLD) :])


def test_what_never_ends_is_not_a_zero_and_hurts_no_neighbour() -> None:
    pairs = [p for o in ENDLESS for p in (("4", o), ("4", r"\boxed{4}"))]
    judge([("1", "1")])  # warm
    started = time.monotonic()
    out = judge(pairs, timeout=LIMIT)
    assert time.monotonic() - started < 40
    assert out.reason[0::2] == [f"timed out after {LIMIT} s"] * len(ENDLESS)
    assert out.total[1::2].tolist() == [1.0] * len(ENDLESS)


def test_a_column_that_is_missing() -> None:
    with pytest.raises(RewardError, match="no column 'answer'; did you mean 'answers'"):
        Maths()(recorded(["q"], ["4"], {"answers": ["4"]}))
    assert Maths("answers")(recorded(["q"], ["4"], {"answers": torch.tensor([4])})).total.tolist() == [1]


def test_agrees_with_the_labels_of_real_solutions(shared_data: Path) -> None:
    with gzip.open(shared_data / "verifiable" / "gsm8k_example_model_solutions.jsonl.gz", "rt", encoding="utf8") as f:
        found = [json.loads(line) for line in f][:400]
    solutions = [s if isinstance(s := r["175b_verification"], dict) else ast.literal_eval(s) for r in found]
    outputs = [s["solution"].replace("A:", "####") for s in solutions]
    golds = [r["ground_truth"].rpartition("A:")[2].strip() for r in found]
    out = Maths()(recorded([r["question"] for r in found], outputs, {"answer": golds}))
    assert out.ok.all()
    assert out.total.bool().tolist() == [s["is_correct"] for s in solutions]
    with gzip.open(shared_data / "verifiable" / "math500.jsonl.gz", "rt", encoding="utf8") as f:
        answers = [json.loads(line)["answer"] for line in f]
    assert Maths()(recorded(answers, answers, {"answer": answers})).total.tolist() == [1.0] * len(answers)
