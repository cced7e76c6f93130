"""``guerdon train`` on a tiny model: a run's folder, seeds, overrides, resuming, and one line for all that can be wrong."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from guerdon.cli._result import interval
from guerdon.cli._train import split

RUN = [sys.executable, "-c", "import sys; from guerdon.cli import main; sys.exit(main())"]


def events(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]


def draws(folder: Path) -> list[dict]:
    return [e["metrics"] for e in events(folder) if e["event"] == "draw"]


def visible(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if "__pycache__" not in p.parts}


# ---------------------------------------------------------------- what it leaves
def test_a_plan_becomes_a_run_that_holds_all_it_needs(guerdon, project):
    said = guerdon("train", "plan.yaml", "--json")
    assert said.code == 0, said.err
    found = said.json()
    assert (found["folder"], found["ended"], found["draws"]) == ("runs/tiny", "finished", 2)
    assert 0 <= found["after"]["proxy/mean"] <= 1
    assert "kl" in found["before"]
    run = project / "runs" / "tiny"
    left = "plan.yaml events.jsonl journal.jsonl policy/model.safetensors report.html summary.json code/reward.py code/helper.py"
    for name in left.split():
        assert (run / name).exists(), name
    assert events(run)[-1]["event"] == "end"
    lines = said.err.splitlines()
    assert lines[0] == "this runs your code: reward.py:reward"  # before anything else
    assert any(re.search(r"parameters, .* trained; .* on cpu", line) for line in lines)
    again = guerdon("train", "plan.yaml").complaint()
    assert again.endswith("a finished run; go on: guerdon train --resume runs/tiny; or start another: --name tiny-2")


def test_both_spellings_of_a_change_and_the_name(guerdon, project):
    changes = ["--steps", "1", "--learners.policy.optim.lr=2e-3", "sampler.n=3", "--name", "one"]
    said = guerdon("train", "plan.yaml", *changes, "--out", "other", "--quiet")
    assert said.code == 0
    assert [line for line in said.err.splitlines() if "model shards" not in line] == []  # transformers' own bar, in this process
    plan = yaml.safe_load((project / "other/one/plan.yaml").read_text())
    assert (plan["steps"], plan["learners"]["policy"]["optim"]["lr"], plan["sampler"]["n"], plan["name"]) == (1, 0.002, 3, "one")
    assert "reward" in said.out
    assert "other/one/report.html" in said.out


def test_split():
    assert split(["a.yaml", "--x.y=1", "--z", "-3"]) == (Path("a.yaml"), ["x.y=1", "z=-3"])


def test_print_plan_shows_every_field_and_runs_nothing(guerdon, project):
    said = guerdon("train", "plan.yaml", "--print-plan", "--steps=7")
    plan = yaml.safe_load(said.out)
    assert (plan["steps"], plan["learners"]["policy"]["optim"]["betas"], plan["scoring"]["timeout"]) == (7, [0.9, 0.999], 60.0)
    assert not (project / "runs").exists()
    (project / "full.yaml").write_text(said.out)
    again = yaml.safe_load(guerdon("train", "full.yaml", "--print-plan").out)
    assert again == plan


def test_seeds_give_runs_and_an_interval(guerdon, project):
    said = guerdon("train", "plan.yaml", "--seeds", "2", "--seed=5", "--steps=1", "--json")
    found = said.json()
    assert [r["folder"] for r in found["runs"]] == ["runs/tiny/seed-0", "runs/tiny/seed-1"]
    assert [events(project / r["folder"])[0]["seed"] for r in found["runs"]] == [5, 6]
    values = [r["after"]["length"] for r in found["runs"]]
    assert found["after"]["length"]["mean"] == pytest.approx(sum(values) / 2)
    assert guerdon("train", "plan.yaml", "--seeds", "2").complaint().startswith("guerdon: runs/tiny holds a finished run")
    assert guerdon("train", "--resume", "runs/tiny", "--json").json()["runs"][1]["draws"] == 1


def test_the_interval_over_seeds_is_students():
    assert interval([1.0, 2.0, 3.0]) == (2.0, pytest.approx(4.303 / 3**0.5))


# ---------------------------------------------------------------- resuming
def test_a_stopped_run_goes_on_as_if_it_had_never_stopped(guerdon, project):
    assert guerdon("train", "plan.yaml", "--steps=4", "--name=whole", "--quiet").code == 0
    assert guerdon("train", "plan.yaml", "--steps=4", "--name=cut", "--quiet").code == 0
    run = project / "runs/cut"
    for step in ("step-000004",):  # as if it had been killed in the third draw
        shutil.rmtree(run / "checkpoints" / step)
    kept = [e for e in events(run) if e["step"] <= 3 and e["event"] != "end"]
    (run / "events.jsonl").write_text("".join(json.dumps(e) + "\n" for e in kept) + '{"event": "dra')
    shutil.rmtree(run / "policy")
    for name in ("reward.py", "helper.py"):  # the run has its own copies
        (project / name).unlink()
    said = guerdon("train", "--resume")
    assert said.code == 0, said.err
    assert "going on with runs/cut from step 3" in said.err
    assert [m["reward/mean"] for m in draws(run)] == [m["reward/mean"] for m in draws(project / "runs/whole")]
    same = [(project / "runs" / n / "policy/model.safetensors").read_bytes() for n in ("whole", "cut")]
    assert same[0] == same[1]
    assert "no unfinished run" in guerdon("train", "--resume").complaint()
    assert "runs/cut is finished" in guerdon("train", "--resume", "runs/cut").err


def test_a_resumed_run_keeps_its_plan(guerdon, project):
    assert guerdon("train", "plan.yaml", "--steps=1", "--quiet").code == 0
    assert "cannot change it" in guerdon("train", "--resume", "runs/tiny", "--steps=3").complaint()
    assert "started with another 'steps'" in guerdon("train", "plan.yaml", "--resume").complaint()
    assert guerdon("train", "plan.yaml", "--resume", "--steps=1").code == 0
    assert "no run here to resume" in guerdon("train", "--resume", "model").complaint()


def test_ctrl_c_names_the_way_back(project):
    words = ["train", "plan.yaml", "--steps=2000", "--reward=reward.py:slow", "--evaluation.every=1000"]
    process = subprocess.Popen([*RUN, *words], stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    run = project / "runs/tiny"
    deadline = time.time() + 90
    while not (run / "checkpoints/step-000001").exists():
        assert time.time() < deadline
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert err.rstrip().splitlines()[-1] == (
        "guerdon: interrupted; the last checkpoint is intact; resume with: guerdon train --resume runs/tiny"
    )
    assert "Traceback" not in err
    assert events(run)[-1]["event"] != "end"


def test_one_process_at_a_time(guerdon, project):
    assert guerdon("train", "plan.yaml", "--steps=1", "--quiet").code == 0
    from guerdon.cli._folder import held

    with held(project / "runs/tiny"):
        assert "another process is at work on this run" in guerdon("train", "--resume", "runs/tiny").complaint()
    (project / "runs/other").mkdir()
    with held(project / "runs/other"):  # begun by another process, which has not written anything yet
        assert "another process is at work on this run" in guerdon("train", "plan.yaml", "--name=other").complaint()
        assert (project / "runs/other").exists()


def test_what_a_killed_process_left_is_cleared_away(guerdon, project):
    run = project / "runs/tiny"
    (run / "code").mkdir(parents=True)
    (run / ".lock").touch()
    (run / "plan.yaml").write_text("stale")
    assert guerdon("train", "plan.yaml", "--steps=1", "--quiet").code == 0
    assert yaml.safe_load((run / "plan.yaml").read_text())["steps"] == 1


# ---------------------------------------------------------------- bad input: one line, nothing written
@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([], "expected a plan"),
        (["model"], "model is a folder; expected a plan"),
        (["plam.yaml"], "plam.yaml: cannot be read"),
        (["plan.yaml", "more.yaml"], "unexpected 'more.yaml'"),
        (["plan.yaml", "--stpes", "3"], "unknown key 'stpes'; did you mean 'steps'?"),
        (["plan.yaml", "--learners.polcy.epochs=2"], "unknown key 'polcy'; did you mean 'policy'?"),
        (["plan.yaml", "--steps"], "--steps: expected a value"),
        (["plan.yaml", "--steps=many"], "plan.steps: expected a whole number, got 'many'"),
        (["plan.yaml", "--name=../up"], "expected a plain folder name, got '../up'"),
        (["plan.yaml", "--policy.path_or_name=modle"], "modle"),
        (["plan.yaml", "--policy.path_or_name=./none"], "none: no such folder"),
        (["plan.yaml", "--policy.path_or_name=pickled"], "only pickled weights (pytorch_model.bin)"),
        (["plan.yaml", "--policy.path_or_name=garbled"], "garbled: cannot be loaded"),
        (["plan.yaml", "--source.path=none.jsonl"], "none.jsonl: no such file"),
        (["plan.yaml", "--source.path=empty.jsonl"], "empty.jsonl: no rows in it"),
        (["plan.yaml", "--source.path=torn.jsonl"], "torn.jsonl:2: not valid JSON"),
        (["plan.yaml", "--source.path=wrong.jsonl"], "wrong.jsonl:1: no column 'prompt'; did you mean 'prompts'?"),
        (["plan.yaml", "--reward=reward.py:rewrd"], "reward.py: no 'rewrd' in it; did you mean 'reward'?"),
        (["plan.yaml", "--reward=torn.py:reward"], "torn.py:1: SyntaxError"),
        (["plan.yaml", "--reward=reward.py:needs"], "reward.py:needs asks for 'tests', and there is no such column"),
        (
            ["plan.yaml", "--reward={use: rewards.Mixture, parts: {a: rewrd.py:reward}}"],
            "no such file; did you mean 'reward.py'?",
        ),
        (["plan.yaml", "--references={}"], "TokenKL compares with a reference"),
        (["dpo.yaml"], "DPO compares with a reference, and the plan has none named 'reference'"),
        (["plan.yaml", "--log=wandbb"], "unknown log 'wandbb'; did you mean 'wandb'?"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(guerdon, project, tiny_folder, words, complaint):
    (project / "empty.jsonl").write_text("\n")
    (project / "torn.jsonl").write_text('{"prompt": "a"}\n{"prom')
    (project / "wrong.jsonl").write_text('{"prompts": "a"}\n')
    (project / "torn.py").write_text("def reward(:\n")
    for name in ("pickled", "garbled"):
        shutil.copytree(tiny_folder, project / name)
    (project / "pickled/model.safetensors").rename(project / "pickled/pytorch_model.bin")
    (project / "garbled/model.safetensors").write_bytes(b"\xff" * 64)
    plan = yaml.safe_load((project / "plan.yaml").read_text())
    for key in ("references", "transforms", "advantage"):
        del plan[key]
    plan |= {"select": ["selection.BestVsWorst"], "learners": {"policy": {"use": "run.Train", "terms": "objectives.DPO"}}}
    (project / "dpo.yaml").write_text(yaml.safe_dump(plan))
    before = visible(project)
    said = guerdon("train", *words)
    assert complaint in said.complaint()
    assert visible(project) == before


@pytest.mark.parametrize(
    ("reward", "reason"),
    [
        ("broken", "ValueError: planted"),
        ("hangs", "timed out after 1 s"),
        ("nan", "reward is nan"),
        ("short", "returned 1 rewards for 4 outputs"),
    ],
)
def test_a_run_whose_rewards_all_fail_stops_and_says_why(guerdon, project, reward, reason):
    said = guerdon("train", "plan.yaml", f"--reward=reward.py:{reward}", "--scoring.timeout=1", "--evaluation=null")
    assert reason in said.complaint()
    assert "every reward failed" in said.complaint()


def test_a_full_disk_stops_the_run_and_keeps_the_last_checkpoint(guerdon, project, monkeypatch):
    from guerdon.run import state

    save, calls = state.save_file, []

    def full(tensors, path, *args):
        calls.append(path)
        if len(calls) > 1:
            raise OSError(28, "No space left on device")
        save(tensors, path, *args)

    monkeypatch.setattr(state, "save_file", full)
    said = guerdon("train", "plan.yaml", "--quiet")
    where = "runs/tiny/checkpoints/step-000001"
    assert (
        said.complaint() == f"guerdon: {where}: checkpoint not written: the disk is full; the last complete checkpoint is intact"
    )
    monkeypatch.undo()
    monkeypatch.chdir(project)
    assert [p.name for p in (project / "runs/tiny/checkpoints").iterdir()] == ["step-000000"]
    assert guerdon("train", "--resume", "runs/tiny").code == 0


def test_a_model_that_cannot_fit_is_refused_unless_told(guerdon, project, monkeypatch):
    from guerdon.run import estimate

    monkeypatch.setattr(estimate, "memory_of", lambda device: 1000)
    assert "the run needs at least" in guerdon("train", "plan.yaml").complaint()
    assert not (project / "runs").exists()
    assert guerdon("train", "plan.yaml", "--yes", "--steps=1", "--quiet").code == 0


def test_what_is_no_run_is_left_alone(guerdon, project):
    (project / "runs/tiny").mkdir(parents=True)
    (project / "runs/tiny/mine.txt").write_text("precious")
    assert "runs/tiny exists and is not a run" in guerdon("train", "plan.yaml").complaint()
    assert (project / "runs/tiny/mine.txt").read_text() == "precious"
