"""The one protocol of all verifiers: columns, memory, failures as values, several at once, beside the sampling."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import ClassVar

import pytest
import torch

from guerdon.core import RewardError
from guerdon.rewards import Scorer, UnitTests, recorded
from guerdon.rewards.verifiers import Checked, Verifier
from guerdon.rewards.verifiers.verifier import Memory, content


@dataclass(frozen=True)
class Counting(Verifier):
    """Equality with an answer, which notes how often it was asked."""

    answer: str = "answer"
    label: str = ""
    asked: list = field(default_factory=list, compare=False, repr=False)
    side_by_side: ClassVar[int] = 3

    def columns(self):
        return {"answer": self.answer, "prompt": "context"}

    def check(self, output, *, answer, prompt):
        self.asked.append(output)
        if output == "raise":
            raise ValueError("cannot\nread")
        if output == "sleep":
            time.sleep(0.3)
        lasting = output != "fleeting"
        return Checked(float(output == answer), {"long": float(len(output))}, note=f"{prompt}: {output}", lasting=lasting)


def rows(*outputs, answer="yes"):
    return recorded(["q"] * len(outputs), list(outputs), {"answer": [answer] * len(outputs)})


def test_equal_rows_are_checked_once_and_remembered():
    verifier = Counting(label="once")
    assert verifier(rows("yes", "no", "yes")).total.tolist() == [1, 0, 1]
    assert verifier.asked == ["yes", "no"]
    assert verifier(rows("no", "yes")).total.tolist() == [0, 1]
    assert verifier.asked == ["yes", "no"]
    assert verifier(rows("yes", answer="other")).total.tolist() == [0]  # another task
    assert Counting(label="another")(rows("yes")).total.tolist() == [1]  # another verifier
    assert [c.note for c in verifier.verdicts(rows("yes"))] == ["q: yes"]


def test_what_may_change_is_not_remembered():
    verifier = Counting(label="fleeting")
    for _ in range(2):
        verifier(rows("fleeting", "raise", "yes"))
    assert sorted(verifier.asked) == ["fleeting", "fleeting", "raise", "raise", "yes"]


def test_failures_are_values():
    rollout = recorded(["q"] * 3, ["raise", 7, "yes"], {"answer": ["yes"] * 3})
    out = Counting(label="failures")(rollout)
    assert out.ok.tolist() == [False, False, True]
    assert out.reason == ["ValueError: cannot", "expected a text, got int", ""]
    with pytest.raises(RewardError, match="Counting: the rollout has no column 'answers'; did you mean 'answer'"):
        Counting("answers")(rollout)


def test_columns_may_be_tensors():
    out = Counting(label="tensor")(recorded(["q"] * 2, ["1", "2"], {"answer": torch.tensor([1, 2])}))
    assert out.total.tolist() == [0, 0]  # numbers, not texts


def test_several_at_once():
    verifier = Counting(label="parallel")
    rollout = recorded([f"q{k}" for k in range(6)], ["sleep"] * 6, {"answer": [str(k) for k in range(6)]})
    start = time.perf_counter()
    assert verifier(rollout).ok.all()
    assert time.perf_counter() - start < 6 * 0.3


def test_scoring_goes_on_beside_the_sampling():
    slow = "import time\ntime.sleep(0.4)\ndef f(): return 1"
    rollout = recorded(["q"], [slow], {"test": [["assert f() == 1"]]})
    with Scorer(UnitTests(), workers=2) as scorer:
        start = time.perf_counter()
        futures = [scorer.submit(rollout), scorer.submit(recorded(["q"], [slow + "  # again"], {"test": [["assert f() == 1"]]}))]
        assert time.perf_counter() - start < 0.3  # the next rollout can be sampled
        assert [f.result().total.tolist() for f in futures] == [[1.0], [1.0]]


def test_memory_forgets_the_oldest():
    memory = Memory(2)
    for key in "abc":
        memory.put(key, Checked(1.0))
        memory.get("a")
    assert memory.get("b") is None and memory.get("a") and memory.get("c") and len(memory) == 2
    memory.clear()
    assert len(memory) == 0


def test_content_tells_values_apart():
    keys = {content("v", "x", {"n": n}) for n in (1, 1.5, "1", [1], None, {"a": 1}, True)}
    assert len(keys) == 7
    assert content("v", "\ud800", {}) != content("v", "?", {})
