"""Answers written in other words, answers that look alike, and answers made to hang: no wrong zero, no wrong one, no hang."""

import importlib.util
import time
from pathlib import Path

import pytest

from guerdon.rewards import close_pools, recorded
from guerdon.rewards.verifiers.maths import Maths

_spec = importlib.util.spec_from_file_location("maths_cases", Path(__file__).with_name("maths_cases.py"))
cases = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(cases)

QUICK = ("signs", "no number", "several", "unclosed")  # kinds of which nothing hangs


def verdicts(rows, timeout):
    rollout = recorded(["q"] * len(rows), [o for _, _, o, _ in rows], {"answer": [g for _, g, _, _ in rows]})
    return Maths(timeout=timeout).verdicts(rollout)


def mistakes(rows, found):
    return [r for r, c in zip(rows, found, strict=True) if not c.reason and r[3] is not None and bool(c.total) != r[3]]


def test_right_answers_in_other_words_and_wrong_ones_that_look_right() -> None:
    rows = cases.written_otherwise()
    boxed = [r for r in rows if r[0].endswith("boxed")]
    rows = boxed[::6] + [r for r in rows if not r[0].endswith("boxed")][::24]
    assert len(rows) > 120
    assert {r[3] for r in rows} == {True, False}
    found = verdicts(rows, 10)
    assert mistakes(rows, found) == []
    assert [c.reason for c in found if c.reason] == []


def test_signs_hedges_and_pieces_of_latex() -> None:
    rows = [r for r in cases.pathological() if r[0] in QUICK][::2] + [r for r in cases.pathological() if r[0] == "programs"][::3]
    rows = [r for r in rows if "9)" not in r[2]]
    assert len(rows) > 60
    assert mistakes(rows, verdicts(rows, 10)) == []


def test_what_hangs_costs_its_own_row_only() -> None:
    kinds = ("towers", "nesting", "long numbers", "megabytes", "slow algebra")
    rows = [[r for r in cases.pathological() if r[0] == k][i] for k, i in zip(kinds, (2, 7, 13, 5, 11), strict=True)]
    honest = ("honest", "5", cases.box(r"\frac{10}{2}"), True)
    rows = [row for r in rows for row in (r, honest)]
    verdicts([honest], 10)
    begun = time.monotonic()
    found = verdicts(rows, 1.5)
    assert time.monotonic() - begun < 60
    assert mistakes(rows, found) == []
    assert [c.total for c in found[1::2]] == [1.0] * (len(rows) // 2)
    assert sum(c.reason == "timed out after 1.5 s" for c in found) >= 2
    assert {c.reason for c in found} <= {"", "timed out after 1.5 s", "used more than 2 GiB of memory"}


def test_verdicts_are_remembered_and_say_what_is_wrong() -> None:
    rows = [("", "5", r"\boxed{6}", False), ("", "5", r"\boxed{}", False), ("", "5", r"\boxed{5}", True)]
    assert [c.note for c in verdicts(rows, 9)] == ["expected 5", "no answer that can be read", ""]
    begun = time.monotonic()
    verdicts(rows * 1000, 9)
    assert time.monotonic() - begun < 2


def test_a_file_of_the_same_name_elsewhere_is_not_taken_for_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.joinpath("maths_text.py").write_text("raise RuntimeError('not ours')")
    monkeypatch.syspath_prepend(tmp_path)
    close_pools()
    assert [c.total for c in verdicts([("", "7", r"\boxed{\frac{14}{2}}", True)], 8)] == [1.0]
