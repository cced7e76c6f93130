"""A killed control run resumes bit for bit where its world can be saved, and says so where it cannot."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from pathlib import Path

import pytest
import torch

from guerdon import advantages, objectives, policies, rewards, samplers, transforms, worlds
from guerdon.policies import GRU, MLP, Control, StateValue
from guerdon.run import AdamW, Fragments, ObservationStatistics, Plan, Term, Train, lazy, run
from guerdon.run import state as state_module
from guerdon.run.checkpoints import path_of, steps_of
from guerdon.run.live import LiveDraw
from guerdon.worlds.tabular import TabularWorld

FAULTY = Path(__file__).parents[1] / "worlds" / "faulty.py"
GRID = worlds.GridWorld("four-rooms", horizon=15)


def plan(world=GRID, recurrent=False) -> Plan:
    """Everything with a state of its own: environments, memories, running statistics, optimiser."""
    gae = {"gamma": 0.9, "lam": 0.8}
    vector = not isinstance(world, worlds.GridWorld)
    terms = (Term(objectives.PolicyGradient(entropy=0.01)), Term(objectives.ValueLoss(target="return")))
    learners = {
        "policy": Train(
            terms, AdamW(lr=0.01), of=("policy", "critic"), by="row" if recurrent else "step", epochs=2, minibatches=2
        )
    }
    return Plan(
        policy=lazy(Control.of, world=world, body=GRU(8, MLP((8,))) if recurrent else MLP((8,)), normalise=vector, seed=1),
        source=Fragments(world), sampler=samplers.Group(contexts=3, n=1, controls={"steps": 7}), reward=rewards.Environment(),
        transforms=(transforms.ScaleByReturn(gamma=0.9),), critics={"critic": policies.HeadOnPolicy() if recurrent else StateValue(MLP((8,)))},
        advantage={"main": advantages.Whiten(advantages.GAE(**gae)), "return": advantages.LambdaReturns(**gae)},
        learners=learners | ({"observations": ObservationStatistics()} if vector else {}),
        steps=5, checkpoint_every=2, seed=5, name="killed",
    )  # fmt: skip


def forked(job) -> int:
    """Exit status of ``job`` in a fork of this process (negative: the signal that ended it)."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            torch.set_num_threads(1)
            job()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def dies(owner: object, name: str, nth: int, half: bool) -> None:
    """From its ``nth`` call on, a function ends the process: after its work (``half``) or before it."""
    whole, calls = getattr(owner, name), [0]

    def patched(*args, **kwargs):
        calls[0] += 1
        if calls[0] < nth:
            return whole(*args, **kwargs)
        if half:
            whole(*args, **kwargs)
        return os.kill(os.getpid(), signal.SIGKILL)

    setattr(owner, name, patched)


def fingerprint(folder: Path) -> tuple[str, list]:
    """Weights of the policy and of the last checkpoint with its environments; the events without their wall-clock fields."""
    digest = hashlib.sha256()
    last = path_of(folder, steps_of(folder)[-1])
    for file in sorted([*(folder / "policy").rglob("*.safetensors"), *last.glob("*")]):
        if file.suffix == ".safetensors":
            digest.update(file.name.encode() + file.read_bytes())
    rows = events(folder)
    for row in rows:
        row.pop("time")
        row.pop("seconds", None)
    return digest.hexdigest(), rows


def events(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]


KILLED = {  # what is lost: a draw's steps; an update of the weights; a checkpoint that has no name yet; the environments' last steps
    "sample": (LiveDraw, "sample", 4, True),
    "update": (torch.optim.AdamW, "step", 9, True),
    "checkpoint": (state_module, "save_file", 3, True),
    "step": (TabularWorld, "step", 24, False),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    found = {}
    for recurrent in (False, True):
        folder = tmp_path_factory.mktemp("whole")
        assert forked(lambda folder=folder, recurrent=recurrent: run(plan(recurrent=recurrent), folder / "run")) == 0
        found[recurrent] = fingerprint(folder / "run")
    return found


@pytest.mark.parametrize(("moment", "recurrent"), [*((m, False) for m in KILLED), ("sample", True)])
def test_a_killed_run_is_the_run_that_was_not(moment, recurrent, whole, tmp_path):
    def killed():
        dies(*KILLED[moment])
        run(plan(recurrent=recurrent), tmp_path / "run")

    assert forked(killed) == -signal.SIGKILL
    assert forked(lambda: run(plan(recurrent=recurrent), tmp_path / "run", resume_run=True)) == 0
    assert fingerprint(tmp_path / "run") == whole[recurrent]


def test_so_it_is_with_environments_that_are_replayed(tmp_path):
    pytest.importorskip("gymnasium")

    def killed():
        dies(LiveDraw, "sample", 4, True)
        run(plan(worlds.Gym("CartPole-v1")), tmp_path / "run")

    assert forked(lambda: run(plan(worlds.Gym("CartPole-v1")), tmp_path / "whole")) == 0
    assert forked(killed) == -signal.SIGKILL
    assert forked(lambda: run(plan(worlds.Gym("CartPole-v1")), tmp_path / "run", resume_run=True)) == 0
    assert fingerprint(tmp_path / "run") == fingerprint(tmp_path / "whole")


def resumed_after(world, tmp_path) -> list[dict]:
    def killed():
        dies(LiveDraw, "sample", 4, True)
        run(plan(world), tmp_path / "run")

    assert forked(killed) == -signal.SIGKILL
    assert forked(lambda: run(plan(world), tmp_path / "run", resume_run=True)) == 0
    return [e for e in events(tmp_path / "run") if e["event"] == "finding" and e["check"] == "resume"]


def test_a_world_that_cannot_be_saved_begins_anew_and_the_report_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(TabularWorld, "snapshot", lambda self, slots: None)
    (found,) = resumed_after(GRID, tmp_path)
    assert found["level"] == "warning" and found["step"] == 2
    assert "3 environment(s) could not be put back" in found["message"] and "cannot save its state" in found["message"]
    assert found["evidence"]["slots"] == [0, 1, 2]
    rows = events(tmp_path / "run")
    assert [e["step"] for e in rows if e["event"] == "draw"] == [1, 2, 3, 4, 5]
    assert rows[-1]["event"] == "end"
    assert "could not be put back" in (tmp_path / "run" / "report.html").read_text()


def test_one_that_goes_elsewhere_when_replayed_says_so_too(tmp_path):
    pytest.importorskip("gymnasium")
    (found,) = resumed_after(worlds.Gym(f"{FAULTY}:Faulty", options={"fault": "chance"}, limit=30), tmp_path)
    assert "is not deterministic" in found["message"]
