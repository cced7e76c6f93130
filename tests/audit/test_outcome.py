import math
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from guerdon.audit import read_history
from guerdon.audit.events import Evaluation, History, Sample
from guerdon.audit.outcome import best_of_n, change


def test_before_and_after_from_evaluations(tmp_path: Path, synthetic: ModuleType) -> None:
    h = read_history(synthetic.write(tmp_path / "run", "healthy"))
    c = change(h, "reward")
    first, last = h.evals[0].metrics, h.evals[-1].metrics
    assert (c.before.mean, c.after.mean) == (first["proxy/mean"], last["proxy/mean"])
    half = 1.96 * math.sqrt((first["proxy/std"] ** 2 + last["proxy/std"] ** 2) / 64)
    assert c.difference.hi - c.difference.lo == pytest.approx(2 * half)
    assert c.direction == "rose"
    assert (c.step_before, c.step_after, c.source) == (0, 120, "evaluation")


def test_paired_bootstrap_where_all_samples_were_kept() -> None:
    def evaluation(step: int, rewards: list[float]) -> Evaluation:
        samples = tuple(Sample(f"context {k}", "x", r) for k, r in enumerate(rewards))
        return Evaluation(step, {"proxy/mean": float(np.mean(rewards)), "proxy/std": 9.0, "n": float(len(rewards))}, samples)

    level = [10.0 * k for k in range(10)]
    h = History(Path("x"), evals=(evaluation(0, level), evaluation(5, [v + 1 for v in level])))
    c = change(h, "reward")
    assert (c.difference.lo, c.difference.hi) == (1.0, 1.0)  # every pair differs by 1
    assert c.method == "paired bootstrap over 10 samples"


def test_failed_answers_do_not_count_as_samples() -> None:
    h = History(
        Path("x"), evals=tuple(Evaluation(s, {"proxy/mean": 0.5, "proxy/std": 1.0, "n": 100.0, "proxy/ok": 0.25}) for s in (0, 9))
    )
    assert change(h, "reward").after.n == 25


def test_from_draws_where_there_is_no_evaluation(tmp_path: Path, synthetic: ModuleType) -> None:
    h = read_history(synthetic.write(tmp_path / "run", "no_evaluation"))
    c = change(h, "reward")
    assert c.source == "draws"
    assert c.draws == 20
    assert c.before.mean == pytest.approx(float(h.metrics["reward/mean"][:20].mean()))
    assert c.direction == "rose"
    assert not change(h, "held_out")


def test_one_draw_has_no_direction() -> None:
    h = History(Path("x"), steps=np.array([1]), metrics={"reward/mean": np.array([0.5])})
    c = change(h, "reward")
    assert c.after.mean == 0.5
    assert c.direction == "unknown"


def test_best_of_n_inverts_its_formula() -> None:
    for n in (2, 10, 1000, 100_000):
        assert best_of_n(math.log(n) - (n - 1) / n) == n
    assert best_of_n(-0.1) is None
    assert best_of_n(40.0) is None
