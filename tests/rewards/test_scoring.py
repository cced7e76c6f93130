"""Hangs, crashes, orphans, order and overlap."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from guerdon.core import RewardError, RewardOutput, Rollout
from guerdon.rewards import Keywords, Length, Mixture, Scorer, load_reward, recorded
from guerdon.rewards.lanes import ABANDONED

CODE = """
import ctypes, math, os, re, signal, sys, time

def reward(output, weight=1.0):
    kind, _, rest = output.partition(" ")
    if kind == "spin":
        while True: pass
    if kind == "sleep": time.sleep(60)
    if kind == "regex": re.match("(a+)+$", "a" * 50 + "b")     # never comes back to the interpreter
    if kind == "exit": os._exit(3)
    if kind == "crash": ctypes.string_at(0)
    if kind == "raise": raise ValueError("no answer")
    if kind == "print": print("{not json}", flush=True)
    if kind == "nan": return math.nan
    if kind == "torch": return float("torch" in sys.modules)
    if kind == "pid": return {"total": 1.0, "pid": float(os.getpid())}
    return weight * float(rest or 1)

def lists(completions, bad="", **columns):
    for c in completions:
        reward(c)
    return [float(len(c)) for c in completions]

def count(completions): return [1.0] * 3

async def wait(output):
    import asyncio
    await asyncio.sleep(60 if output == "sleep" else 0.01)
    return 1.0

def tell_pid(output, path):
    with open(path, "w") as f: f.write(str(os.getpid()))
    while True: pass
"""


@pytest.fixture
def code(tmp_path: Path) -> Path:
    (tmp_path / "code.py").write_text(CODE)
    return tmp_path


def rows(*outputs: str, **columns: object) -> Rollout:
    return recorded(["q"] * len(outputs), list(outputs), columns)


def gone(pid: int, seconds: float = 10.0) -> bool:
    """Whether a process ends in time (a zombie has ended)."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            pass
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("workers", [1, 2])
def test_nothing_that_goes_wrong_in_one_row_reaches_another(code: Path, workers: int) -> None:
    outputs = ["ok 1", "spin", "ok 2", "regex", "exit", "ok 3", "crash", "raise", "nan", "print 5", "ok 4", "torch"]
    with Scorer(load_reward("code.py:reward", code), timeout=0.7, workers=workers) as scorer:
        out = scorer.score(rows(*outputs))
    assert dict(zip(outputs, out.reason, strict=True)) == {
        "ok 1": "", "spin": "timed out after 0.7 s", "ok 2": "", "regex": "timed out after 0.7 s",
        "exit": "reward process died (exit code 3)", "ok 3": "", "crash": "reward process died (exit code -11)",
        "raise": "ValueError: no answer", "nan": "reward is nan", "print 5": "", "ok 4": "", "torch": "",
    }  # fmt: skip
    assert out.total.tolist() == [1, 0, 2, 0, 0, 3, 0, 0, 0, 5, 4, 0]  # the last one: no torch in the process


def test_order_and_arguments_survive_many_processes(code: Path) -> None:
    n = 203
    rollout = rows(*(f"ok {k}" for k in range(n)), weight=[(-1.0) ** k / 3 for k in range(n)])
    with Scorer(load_reward("code.py:reward", code), workers=3) as scorer:
        futures = [scorer.submit(rollout[torch.arange(k, n, 4)]) for k in range(4)]
        for k, future in enumerate(futures):
            expected = torch.tensor([(-1.0) ** j / 3 * j for j in range(k, n, 4)])
            assert torch.equal(future.result().total, expected)


def test_a_process_stays_warm(code: Path) -> None:
    with Scorer(load_reward("code.py:reward", code), workers=1) as scorer:
        first, second = scorer.score(rows("pid")), scorer.score(rows("pid", "pid"))
    assert len({*first.parts["pid"].tolist(), *second.parts["pid"].tolist()}) == 1
    assert first.parts["pid"].item() != os.getpid()


def test_a_hung_list_is_tried_row_by_row(code: Path) -> None:
    with Scorer(load_reward("code.py:lists", code), timeout=0.7) as scorer:
        out = scorer.score(rows("a", "spin", "ccc", "exit", "raise"))
    assert out.reason == ["", "timed out after 0.7 s", "", "reward process died (exit code 3)", "ValueError: no answer"]
    assert out.total.tolist() == [1, 0, 3, 0, 0]


def test_a_list_of_the_wrong_size_in_a_process(code: Path) -> None:
    with Scorer(load_reward("code.py:count", code)) as scorer:
        assert scorer.score(rows("a", "b")).reason == ["returned 3 rewards for 2 outputs"] * 2


def test_a_hung_coroutine(code: Path) -> None:
    with Scorer(load_reward("code.py:wait", code), timeout=0.5) as scorer:
        started = time.monotonic()
        out = scorer.score(rows("a", "sleep", "b", "sleep", "sleep", "c"))
    assert out.reason == ["", "timed out after 0.5 s", "", "timed out after 0.5 s", "timed out after 0.5 s", ""]
    assert time.monotonic() - started < 5


def test_a_reward_that_always_hangs_is_given_up(code: Path) -> None:
    with Scorer(load_reward("code.py:reward", code), timeout=0.1, workers=1) as scorer:
        out = scorer.score(rows(*["spin"] * 40))
    assert out.reason[:5] == ["timed out after 0.1 s"] * 5
    assert set(out.reason[5:]) == {"not tried: 5 calls in a row timed out after 0.1 s"}


def test_other_callables_hang_in_threads() -> None:
    release = threading.Event()

    def reward(output: str) -> float:
        if output == "hang":
            release.wait(30)
        return 1.0

    with Scorer(reward, timeout=0.2) as scorer:
        out = scorer.score(rows("a", "hang", "b"))
        assert out.reason == ["", "timed out after 0.2 s", ""]
        for _ in range(ABANDONED - 2):
            assert scorer.score(rows("hang")).reason == ["timed out after 0.2 s"]
        with pytest.raises(RewardError, match=rf"{ABANDONED} calls of .*reward hang .* 'file\.py:name'"):
            scorer.score(rows("hang"))
    release.set()


def test_a_reward_object_that_hangs_raises_or_lies() -> None:
    class Whole:
        scope = "sample"
        differentiable = False

        def __call__(self, rollout: Rollout) -> RewardOutput:
            if "hang" in rollout.outputs:
                time.sleep(1.5)
            if "raise" in rollout.outputs:
                raise KeyError("x")
            if rollout.outputs == ["short"]:
                return RewardOutput.of(torch.zeros(2))
            if rollout.outputs == ["odd"]:
                return 3  # type: ignore[return-value]
            total = torch.tensor([float("nan") if o == "nan" else 1.0 for o in rollout.outputs])
            return RewardOutput(total, torch.ones(len(total), dtype=torch.bool), [""] * len(total), parts={"p": total * 2})

    with Scorer(Whole(), timeout=0.3) as scorer:
        out = scorer.score(rows("a", "hang", "raise", "nan", "short", "odd"))
        assert out.reason == ["", "timed out after 0.3 s", "KeyError: 'x'", "reward is nan", "returned 2 rewards for 1 outputs",
                              "returned int, expected a RewardOutput"]  # fmt: skip
        assert out.total.tolist() == [1, 0, 0, 0, 0, 0]
        assert out.parts["p"].tolist() == [2, 0, 0, 0, 0, 0]


def test_the_parts_of_a_mixture_stay_killable(code: Path) -> None:
    mixed = Mixture({"code": (load_reward("code.py:reward", code), 1.0), "words": Keywords(("spin",)), "long": Length(low=1)})
    with Scorer(mixed, timeout=0.5) as scorer:
        out = scorer.score(rows("ok 3", "spin"))
    assert out.reason == ["", "code: timed out after 0.5 s"]
    assert out.total.tolist() == [3 + 0 + 1, 0]


def test_gradients_pass_through_a_differentiable_reward() -> None:
    weight = torch.tensor(2.0, requires_grad=True)

    class Linear:
        scope = "sample"
        differentiable = True

        def __call__(self, rollout: Rollout) -> RewardOutput:
            return RewardOutput.of(weight * torch.arange(len(rollout)))

    with Scorer(Linear()) as scorer:
        scorer.score(rows("a", "b", "c")).total.sum().backward()
    assert weight.grad is not None
    assert weight.grad.item() == 3


def test_scoring_overlaps_sampling(code: Path) -> None:
    started = threading.Event()
    go = threading.Event()

    def reward(output: str) -> float:
        started.set()
        assert go.wait(20)
        return 1.0

    with Scorer(reward) as scorer:
        future = scorer.submit(rows("a"))  # returns at once
        assert started.wait(20)
        assert not future.done()
        go.set()
        assert future.result(20).total.item() == 1


def test_columns_that_cannot_be_sent_are_scored_here(code: Path) -> None:
    (code / "here.py").write_text("import os\ndef f(output, image): return {'total': float(image.sum()), 'pid': os.getpid()}\n")
    images = torch.ones(2, 3, 3)
    with Scorer(load_reward("here.py:f", code)) as scorer:
        out = scorer.score(rows("a", "b", image=images))
    assert out.total.tolist() == [9, 9]
    assert out.parts["pid"].tolist() == [os.getpid()] * 2


def test_a_column_that_is_missing_is_an_error(code: Path) -> None:
    (code / "asks.py").write_text("def f(output, gold): return 1.0\n")
    with Scorer(load_reward("asks.py:f", code)) as scorer, pytest.raises(RewardError, match=r"asks\.py:f asks for 'gold'"):
        scorer.score(rows("a"))


def test_a_process_that_does_not_start(code: Path) -> None:
    (code / "once.py").write_text(
        f"import os\ndef f(output): return 1.0\nif os.getpid() != {os.getpid()}: raise OSError('not here')\n"
    )
    with (
        Scorer(load_reward("once.py:f", code)) as scorer,
        pytest.raises(RewardError, match=r"once\.py:f: its process did not start: OSError: not here"),
    ):
        scorer.score(rows("a"))


def test_settings_and_closing(code: Path) -> None:
    with pytest.raises(RewardError, match="at least one worker"):
        Scorer(Length(target=1), workers=0)
    with pytest.raises(RewardError, match="time-out"):
        Scorer(Length(target=1), timeout=0)
    (code / "pid").unlink(missing_ok=True)
    scorer = Scorer(load_reward("code.py:tell_pid", code), timeout=None)
    future = scorer.submit(rows("a", path=[str(code / "pid")]))
    pid = wait_for_pid(code / "pid")
    scorer.close()
    with pytest.raises(RewardError, match="closed before it was done"):
        future.result(20)
    assert gone(pid)
    with pytest.raises(RewardError, match="is closed"):
        scorer.submit(rows("a"))


def wait_for_pid(path: Path, seconds: float = 30.0) -> int:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if path.exists() and path.read_text():
            return int(path.read_text())
        time.sleep(0.05)
    raise AssertionError("the reward process never started")


PARENT = """
import sys, torch
from guerdon.rewards import Scorer, load_reward, recorded
scorer = Scorer(load_reward("code.py:tell_pid", sys.argv[1]), timeout=None)
scorer.score(recorded(["q"], ["a"], {"path": [sys.argv[1] + "/pid"]}))
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_no_process_outlives_its_parent(code: Path, how: signal.Signals) -> None:
    path = os.pathsep.join(p for p in sys.path if p)
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(code)], stderr=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": path}
    )
    try:
        pid = wait_for_pid(code / "pid")
        parent.send_signal(how)
        parent.wait(20)
        assert gone(pid)
    finally:
        parent.kill()
        parent.wait()
