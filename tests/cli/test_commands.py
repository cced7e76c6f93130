"""init, demo, doctor, audit, compare, frontier and the estimate, each against the real thing."""

from __future__ import annotations

import json
import re
import shutil

import pytest
import yaml

from guerdon import tasks
from guerdon.run import Plan
from guerdon.run.estimate import Network, estimate
from guerdon.run.live import Run


@pytest.fixture
def tiny_base(monkeypatch):
    """The embedded task's base model in its tiny version."""
    make = tasks.base_model
    monkeypatch.setattr(tasks, "base_model", lambda name: make(name, tiny=True))


# ---------------------------------------------------------------- init
def test_init_writes_what_runs_as_it_is(guerdon, here, tiny_base, monkeypatch):
    said = guerdon("init", "7")  # a name that YAML would read as a number
    assert said.code == 0, said.err
    assert "next: cd 7 && guerdon train plan.yaml" in said.out
    assert sorted(p.name for p in (here / "7").iterdir()) == [
        "model",
        "plan.schema.json",
        "plan.yaml",
        "prompts.jsonl",
        "reward.py",
    ]
    monkeypatch.chdir(here / "7")
    said = guerdon("train", "plan.yaml", "--steps=1", "--sampler.contexts=4", "--json", "--quiet")
    assert said.code == 0, said.err
    assert said.json()["folder"] == "runs/7"
    text = (here / "7/plan.yaml").read_text()
    assert text.startswith("# yaml-language-server: $schema=plan.schema.json")
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.validate(yaml.safe_load(text), json.loads((here / "7/plan.schema.json").read_text()))


def test_init_with_a_model_of_ones_own(guerdon, here, tiny_folder):
    assert guerdon("init", "mine", "--model", tiny_folder).code == 0
    assert yaml.safe_load((here / "mine/plan.yaml").read_text())["policy"]["path_or_name"] == str(tiny_folder)
    short = ["--steps=1", "--sampler.contexts=1", "--sampler.controls.max_tokens=4"]
    said = guerdon("train", "mine/plan.yaml", *short, "--quiet", "--json")
    assert said.code == 0, said.err
    assert said.json()["after"]["proxy/ok"] == 1.0
    assert guerdon("init", "hub", "--model", "some/name").code == 0  # looked up when it is trained


def test_init_never_overwrites(guerdon, here, tiny_base):
    (here / "reward.py").write_text("precious")
    assert (
        guerdon("init").complaint()
        == "guerdon: reward.py exists and is not overwritten; choose another folder: guerdon init FOLDER"
    )
    assert guerdon("init", "x", "--model", "./none").complaint().startswith("guerdon: ./none: expected a model's folder")
    assert [p.name for p in here.iterdir()] == ["reward.py"]


# ---------------------------------------------------------------- demo
@pytest.mark.slow
def test_the_demo_runs_and_knows_when_it_is_done(guerdon, here, cache_dir):
    said = guerdon("demo", "--tiny")
    assert said.code == 0, said.err
    assert "learned reward" in said.out
    assert "guerdon init my-project" in said.out
    folder = here / "runs/demo"
    pages = [folder / "report.html", *(folder / part / "report.html" for part in ("reward", "unprotected", "protected"))]
    assert all(p.stat().st_size < 5_000_000 for p in pages)
    links = re.findall(r'href="([^"]+)"', pages[0].read_text())
    assert links
    assert all((folder / link).exists() for link in links)
    first, second = (yaml.safe_load((folder / name / "plan.yaml").read_text()) for name in ("unprotected", "protected"))
    assert {k for k in second if first.get(k) != second[k]} == {"name", "reward", "transforms"}  # nothing else differs
    assert len((folder / "feedback.jsonl").read_text().splitlines()) >= 200

    before = (folder / "protected/policy/model.safetensors").read_bytes()
    again = guerdon("demo", "--tiny", "--json")
    assert (folder / "protected/policy/model.safetensors").read_bytes() == before
    found = again.json()
    assert set(found["runs"]) == {"unprotected", "protected"}
    assert 0 < found["reward"]["accuracy"]["value"] < 1
    assert "other settings" in guerdon("demo", "--tiny", "--seed", "1").complaint()
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / "precious").touch()
    assert "is not a demo, so it is not removed" in guerdon("demo", "--fresh").complaint()
    assert "is not a demo; choose another place" in guerdon("demo").complaint()


@pytest.mark.slow
def test_a_demo_that_was_stopped_goes_on(guerdon, here, cache_dir, monkeypatch):
    from guerdon.cli import _demo_stages

    def stopped(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(_demo_stages, "make_run", stopped)
    said = guerdon("demo", "--tiny", "--quiet")
    assert said.code == 130
    assert "go on with: guerdon demo --out runs" in said.err
    monkeypatch.undo()
    monkeypatch.chdir(here)
    made = (here / "runs/demo/reward/guerdon.json").stat().st_mtime_ns
    assert guerdon("demo", "--tiny", "--quiet", "--json").code == 0
    assert (here / "runs/demo/reward/guerdon.json").stat().st_mtime_ns == made


# ---------------------------------------------------------------- doctor
def test_doctor_says_what_is_missing_and_what_to_type(guerdon, monkeypatch):
    from guerdon.cli import _doctor

    version = _doctor._version
    monkeypatch.setattr(_doctor, "_version", lambda package, module: None if package == "trackio" else version(package, module))
    monkeypatch.setattr(_doctor.shutil, "which", lambda name: None)
    facts = guerdon("doctor", "--json").json()
    assert facts["torch"]["version"]
    assert facts["extras"]["text"]["transformers"]
    assert "pip install 'guerdon[trackio]'  (missing: trackio)" in facts["advice"]
    assert facts["disk_free_bytes"] > 0
    said = guerdon("doctor")
    assert said.code == 0
    assert "pip install 'guerdon[trackio]'" in said.out


# ---------------------------------------------------------------- audit, compare, frontier
@pytest.fixture
def runs(guerdon, project):
    for name in ("a", "b"):
        assert (
            guerdon("train", "plan.yaml", "--name", name, f"--transforms.0.beta={0.1 if name == 'a' else 0.7}", "--quiet").code
            == 0
        )
    return project / "runs"


def plant(run, level):
    """A finding of some level in a run's events."""
    lines = (run / "events.jsonl").read_text().splitlines()
    finding = {
        "event": "finding",
        "step": 1,
        "time": 0,
        "check": "Planted",
        "level": level,
        "message": "planted.",
        "advice": "Mend it.",
    }
    (run / "events.jsonl").write_text("\n".join([*lines[:-1], json.dumps(finding), lines[-1]]) + "\n")


@pytest.mark.parametrize(("level", "plain", "strict"), [("info", 0, 0), ("warning", 0, 1), ("error", 1, 1)])
def test_audit_tells_ci_by_its_exit_code(guerdon, runs, level, plain, strict):
    quiet = {f["level"] for f in guerdon("audit", "runs/a", "--json").json()["findings"]}
    assert "error" not in quiet
    plant(runs / "a", level)
    said = guerdon("audit", "runs/a", "--json")
    assert said.code == plain
    assert any(f["check"] == "Planted" and f["level"] == level for f in said.json()["findings"])
    assert {"run": "runs/a", **json.loads((runs / "a/findings.json").read_text())} == said.json()
    if "warning" not in quiet:
        assert guerdon("audit", "runs/a/events.jsonl", "--strict").code == strict
    assert f"{level} (step 1): planted. Mend it." in guerdon("audit", "runs/a").out


def test_two_runs_side_by_side(guerdon, runs):
    tree = guerdon("compare", "runs/a", "runs/b", "--json").json()
    assert {"key": "transforms.0.beta", "a": "0.1", "b": "0.7"} in tree["plan"]
    assert "distinct-2" in guerdon("compare", "runs/a", "runs/b").out
    said = guerdon("compare", "runs/a", "runs/b", "--out", "both.html")
    assert said.code == 0, said.err
    assert "runs/a" in (runs.parent / "both.html").read_text(encoding="utf8")
    page = guerdon("frontier", "runs/a", "runs/b", "--out", "fr", "--json").json()["page"]
    assert "0.7" in (runs.parent / page).read_text(encoding="utf8")


@pytest.mark.parametrize(
    "words", [("audit", "none"), ("compare", "none", "none"), ("frontier", "none"), ("frontier", "model", "--x", "distinct")]
)
def test_what_is_no_run_gets_one_line(guerdon, project, words):
    before = sorted(project.iterdir())
    assert guerdon(*words).complaint()
    assert sorted(project.iterdir()) == before


# ---------------------------------------------------------------- estimate
def test_the_estimate_from_files_is_that_of_the_live_run(project):
    plan = Plan.load("plan.yaml")
    assert plan.policy.kwargs["path_or_name"] == "model"
    before, live = estimate(plan, throughput=1e9), estimate(Run(plan), throughput=1e9)
    assert before == live
    # 2 x 2 rows of 3 tokens of prompt and 4 of answer: sampled (2P), trained (6P), seen by the reference (2P)
    parameters = before.network.parameters
    assert before.flops == 4 * (3 + 4) * parameters * (2 + 6 + 2)
    assert before.weights == 2 * 4 * parameters  # and the reference
    assert before.training == 3 * 4 * parameters  # gradients and AdamW's two moments
    # two layers, two key-value heads of eight numbers, keys and values
    words = before.network.vocabulary
    assert before.network == Network(parameters, parameters, 4, layers=2, hidden=32, cached=2 * 2 * 8, vocabulary=words)
    assert before.seconds[0] < before.seconds[1]


def test_adapters_are_counted_as_they_are_built(project):
    pytest.importorskip("peft")
    plan = Plan.load("plan.yaml", ["policy.lora=2"])
    before, live = estimate(plan, throughput=1e9), estimate(Run(plan), throughput=1e9)
    assert before.network.trainable == live.network.trainable
    assert before.network.parameters == live.network.parameters


def test_nothing_is_claimed_of_a_model_that_is_not_here():
    policy = {"use": "policies.CausalLM.from_pretrained", "path_or_name": "nobody/nothing"}
    source = {"use": "run.Prompts", "prompts": ["a"]}
    assert estimate(Plan.from_tree({"policy": policy, "source": source, "sampler": "samplers.Group", "learners": {}})) is None


def test_help_is_wrapped_to_the_terminal(guerdon, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    text = guerdon("reproduce", "--help").out
    assert "the paired difference excludes zero and the difference is as large as was stated beforehand" in text
