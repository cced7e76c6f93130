"""tasks.control: plans that fit together, for every world of the table; the examples and the how-to page run as they stand."""

from __future__ import annotations

import dataclasses
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from guerdon import tasks, worlds
from guerdon.core import PlanError
from guerdon.core.world import Box, Discrete
from guerdon.run import Plan, run
from guerdon.run.compatibility import check_plan
from guerdon.tasks.ppo_settings import TUNED, PPOSettings

ROOT = Path(__file__).resolve().parents[2]
NAMES = [*(n for n in TUNED if "-v" in n), "gridworld", "point-maze", "point-maze/avoiding", "gridworld/key-door"]


@pytest.mark.parametrize("name", NAMES)
def test_every_plan_fits_together_and_is_plain_data(name: str) -> None:
    try:
        plan = tasks.control(name)
    except PlanError as e:
        pytest.skip(str(e))  # Box2D or MuJoCo are not installed
    check_plan(plan)
    assert Plan.from_tree(plan.to_tree()) == plan
    s = tasks.settings_of(name)
    assert s != PPOSettings() and s is not None
    assert plan.steps == math.ceil(s.steps / (s.envs * s.horizon))
    learner = plan.learners["policy"]
    assert s.envs * s.horizon / learner.minibatches == pytest.approx(s.batch, rel=0.02)
    assert ("observations" in plan.learners) == (len(plan.transforms) == 1) == s.normalise


def test_names_of_worlds() -> None:
    assert tasks.world_of("point-maze") == worlds.PointMaze(reward="path")
    assert tasks.world_of("point-maze/avoiding") == worlds.PointMaze("avoiding", reward="path")
    assert tasks.world_of("gridworld/four-rooms") == worlds.GridWorld("four-rooms")
    assert tasks.world_of("CartPole-v1") == worlds.Gym("CartPole-v1")
    assert tasks.settings_of(worlds.PointMaze("hard")) == TUNED["PointMaze"]
    assert tasks.settings_of(worlds.Gym("Taxi-v3")) == PPOSettings()
    mine = worlds.PointMaze("hard")
    assert tasks.world_of(mine) is mine


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: tasks.control("CartPole-v1", learning_rate=1.0), "no setting 'learning_rate'; known: batch, clip"),
        (lambda: tasks.control("CartPole-v1", entrop=1.0), "no setting 'entrop'; did you mean 'entropy'?"),
        (lambda: tasks.control("CartPole-v1", batch=4096), "batch: 4096 steps, but a draw has 8 x 32"),
        (lambda: tasks.control("CartPole-v1", steps=0), "PPOSettings.steps must be at least 1, got 0"),
        (lambda: tasks.control("CartPole-v9"), "CartPole-v"),
        (lambda: tasks.control("point-maze/avoidin"), "did you mean 'avoiding'?"),
        (lambda: tasks.world_of("icu-sepsis/x"), "icu-sepsis has no layouts"),
    ],
)
def test_what_cannot_be_is_named(call, words: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(PlanError, match=re.escape(words)):
        call()


def test_bodies_by_what_is_seen() -> None:
    small = tasks.control(worlds.PointMaze(pixels=32)).policy.build()
    assert [type(m).__name__ for m in small.body.modules()].count("Conv2d") == 2
    large = tasks.control(worlds.PointMaze(pixels=84)).policy.build()
    assert [type(m).__name__ for m in large.body.modules()].count("Conv2d") == 3
    wide = tasks.control("gridworld", widths=(32,)).policy.build()
    assert wide.width == 32 and isinstance(wide.observation, Discrete) and isinstance(small.action, Box)


def test_a_maze_is_learned_in_a_few_draws() -> None:
    """Open ground, paid for progress: from aimless to nearly straight; and the same plan runs on pixels."""
    maze = worlds.PointMaze("open", reward="path", horizon=30, speed=0.5)
    result = run(tasks.control(maze, steps=3_000, horizon=32, epochs=5, evaluations=1, samples=10))
    first, last = (e["metrics"]["episode/return"] for e in (result.evaluations[0], result.evaluations[-1]))
    assert first < 1 < 4 < last  # 1 for the goal, 4.8 cells of way to it from the middle of the start
    pixels = dataclasses.replace(maze, pixels=32)
    seen = run(tasks.control(pixels, steps=64, envs=2, horizon=16, batch=16, epochs=1, evaluations=1, samples=2))
    assert seen.history[-1]["reward/ok"] == 1.0 and seen.history[-1]["mismatch/max"] < 1e-4


def test_the_example_is_the_ready_made_plan(tmp_path: Path) -> None:
    path = ROOT / "examples/cartpole_ppo.yaml"
    assert Plan.load(path) == tasks.control("CartPole-v1")
    result = run(Plan.load(path, ["steps=2", "evaluation.samples=2", "learners.policy.epochs=2"]), tmp_path / "run")
    assert (tmp_path / "run/report.html").stat().st_size > 10_000
    assert result.evaluations[0]["metrics"]["episode/return"] > 5  # a pole takes that long to fall


def test_grpo_on_episodes() -> None:
    result = run(Plan.load(ROOT / "examples/gridworld_grpo.yaml", ["steps=8", "evaluation.samples=2", "evaluation.every=8"]))
    first, last = (e["metrics"]["proxy/mean"] for e in (result.evaluations[0], result.evaluations[-1]))
    assert first < -1 and last > 0.5  # wanders for 200 steps at -0.01 each; then key, door and goal


def test_preferences_over_segments() -> None:
    script = ROOT / "examples/maze_preferences.py"
    done = subprocess.run([sys.executable, script, "--tiny"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    assert re.findall(r"^(.*?) +\d+%", done.stdout, re.M) == ["all imitated", "chosen imitated", "chosen preferred"]


@pytest.mark.parametrize("page", ["how-to/control.md", "concepts/control.md"])
def test_the_page_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All Python blocks of a page, one after the other, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / page).read_text().replace("steps=100_000", "steps=500")  # the only change: a minute less
    for name, code in re.findall(r'```python title="(\w+\.py)"\n(.*?)```', text, re.DOTALL):
        Path(name).write_text(code)
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert blocks
    space: dict[str, object] = {"__name__": "page"}
    with torch.random.fork_rng():
        for block in blocks:
            exec(compile(block, page, "exec"), space)
