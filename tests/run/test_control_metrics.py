"""What the log says of rows that were acted in a world, by hand; and that text rows are read as before."""

import json
import math
import shutil

import pytest
import torch

from guerdon import advantages, objectives, policies, rewards, samplers, worlds
from guerdon.core import Batch, Behaviour, PolicyOutput, RewardOutput, Rollout
from guerdon.core.world import Episode, Slot, Start
from guerdon.run import AdamW, Episodes, Fragments, Plan, Train, lazy, run
from guerdon.run.episodes import environment_steps, is_control, with_returns
from guerdon.run.evaluate import evaluate, questions, score_of
from guerdon.run.live import Run
from guerdon.run.metrics import draw_metrics, rollout_metrics, show_samples
from guerdon.run.plan import Evaluation
from guerdon.run.progress import bar

WORLD = worlds.GridWorld("corridor")
NAN = math.nan


def fragments(**changes):
    """Three pieces: one that ends an episode of return 10 (begun earlier), one cut by the horizon, one that ends with return 4."""
    mask = torch.tensor([[True, True, False], [True, True, True], [True, False, False]])
    fields = {
        "contexts": [Slot(WORLD, k) for k in (0, 0, 1)], "outputs": ["a", "b", "c"], "actions": torch.tensor([[0, 1, 0], [1, 1, 1], [0, 0, 0]]),
        "mask": mask, "group": torch.tensor([7, 7, 8]), "uid": torch.arange(3), "states": torch.zeros(3, 4, 2),
        "logp": torch.where(mask, -0.5, 0.0), "terminal": torch.tensor([True, False, True]),
        "info": {"failed": ["", "", ""], "slot": [0, 0, 1], "return": torch.tensor([10.0, NAN, 4.0], dtype=torch.double),
                 "length": torch.tensor([20, 0, 6])},
        "trace": {"reward": torch.tensor([[1.0, 2.0, 0.0], [1.0, 1.0, 1.0], [4.0, 0.0, 0.0]])},
    }  # fmt: skip
    return Rollout(**{**fields, **changes}).check()


def dense(rollout):
    return RewardOutput.of(torch.zeros(len(rollout)), step=rollout.trace["reward"])


# ---------------------------------------------------------------- one draw
def test_only_finished_episodes_have_a_return():
    found = rollout_metrics(fragments(), None)
    assert found["episode/count"] == 2
    assert (found["episode/return"], found["episode/return_std"], found["episode/length"]) == (7.0, 3.0, 13.0)
    assert (found["episode/return_q25"], found["episode/return_median"], found["episode/return_q75"]) == (5.5, 7.0, 8.5)
    assert found["episode/terminated"] == 1.0


def test_a_draw_in_which_no_episode_ends_has_no_return():
    info = {"return": torch.full((3,), NAN), "length": torch.zeros(3, dtype=torch.long), "failed": ["", "broke", ""]}
    found = rollout_metrics(fragments(info=info), None)
    assert found["episode/count"] == 0
    assert found["episode/failed"] == 1
    assert "episode/return" not in found


def test_what_means_nothing_in_a_world_is_not_logged():
    batch = Batch.of(fragments(), dense(fragments()))
    found = draw_metrics(batch)
    assert not {
        "distinct_1",
        "distinct_2",
        "distinct_tokens",
        "length",
        "terminal",
        "groups/dead",
        "reward/mean",
        "reward/std",
    } & set(found)
    assert found["reward/ok"] == 1.0
    assert found["return"] == pytest.approx((3 + 3 + 4) / 3)  # of the rows, pieces as they are
    assert found["entropy"] == 0.5


def test_a_reward_of_whole_rows_keeps_its_mean():
    found = draw_metrics(Batch.of(fragments(), RewardOutput.of(torch.tensor([3.0, 3.0, 6.0]))))
    assert found["reward/mean"] == 4.0


def test_environment_steps_go_on_from_the_last_draw_that_counted_them():
    batch = Batch.of(fragments(), dense(fragments()))
    assert draw_metrics(batch)["env/steps"] == 6
    history = [{"env/steps": 6.0}, {"env/steps": 12.0}, {"loss": 1.0}]
    assert draw_metrics(batch, history)["env/steps"] == 18
    recorded = fragments(behaviour=(Behaviour(), Behaviour(engine="recorded")), actor=torch.tensor([0, 1, 0]))
    assert environment_steps(recorded) == 3  # what was recorded was not acted now


def test_a_density_is_not_called_entropy():
    rollout = fragments(actions=torch.zeros(3, 3, 2), logp=torch.where(fragments().mask, 0.5, 0.0))
    found = rollout_metrics(rollout, None)
    assert found["differential_entropy"] == -0.5
    assert "entropy" not in found


def test_likeliest_actions_are_no_sample():
    found = rollout_metrics(fragments(behaviour=(Behaviour(temperature=0.0),)), torch.zeros(3, 3))
    assert not {"entropy", "kl", "kl_step"} & set(found)
    assert rollout_metrics(fragments(), torch.zeros(3, 3))["kl"] == pytest.approx(-0.5 * 6 / 3)


def test_samples_show_returns():
    shown = show_samples(Batch.of(fragments(), dense(fragments())), 3)
    assert sorted(s["reward"] for s in shown) == [3.0, 3.0, 4.0]


def test_returns_as_totals():
    rollout = fragments()
    assert with_returns(rollout, dense(rollout)).total.tolist() == [3.0, 3.0, 4.0]
    sparse = RewardOutput.of(torch.ones(3))
    assert with_returns(rollout, sparse) is sparse


# ---------------------------------------------------------------- text stays as it was
def test_text_with_columns_of_the_same_name_is_text():
    mask = torch.tensor([[False, True, True], [False, True, False]])
    rollout = Rollout(
        ["p", "q"], ["a", "b"], torch.tensor([[1, 2, 3], [1, 2, 0]]), mask, torch.arange(2), torch.arange(2), logp=torch.where(mask, -1.0, 0.0),
        info={"return": [1.0, 2.0], "length": torch.tensor([5, 5]), "failed": ["", ""]},
    )  # fmt: skip
    assert not is_control(rollout)
    found = draw_metrics(Batch.of(rollout, RewardOutput.of(torch.tensor([1.0, 2.0]), step=torch.ones(2, 3))), [])
    assert found == {
        "reward/ok": 1.0, "reward/mean": 1.5, "reward/std": 0.5, "reward/min": 1.0, "reward/max": 2.0, "length": 1.5, "terminal": 1.0,
        "distinct_1": 1.0, "distinct_2": 1.0, "distinct_tokens": 2.0, "entropy": 1.0, "return": 3.0,
    }  # fmt: skip  # tokens 2 3 | 2, cut to half of three


def test_tokens_are_counted_as_in_the_first_draw():
    mask = torch.ones(1, 4, dtype=torch.bool)
    rollout = Rollout(["p"], ["a"], torch.tensor([[1, 2, 3, 4]]), mask, torch.zeros(1), torch.zeros(1))
    batch = Batch.of(rollout, RewardOutput.of(torch.ones(1)))
    assert draw_metrics(batch, [{"distinct_tokens": 3.0}, {"distinct_tokens": 1.0}])["distinct_tokens"] == 3.0


# ---------------------------------------------------------------- evaluation
def plan(**changes):
    fields = {
        "policy": lazy(policies.Control.of, world=WORLD, seed=0), "source": Fragments(WORLD),
        "sampler": samplers.Group(contexts=4, n=1, controls={"steps": 8}), "reward": rewards.Environment(),
        "advantage": {"main": advantages.BatchNorm()}, "learners": {"policy": Train(objectives.PolicyGradient(), AdamW(lr=1e-2))},
        "evaluation": Evaluation(samples=3, every=3, controls={"temperature": 0}), "steps": 6, "checkpoint_every": 3, "name": "corridor",
    }  # fmt: skip
    return Plan(**{**fields, **changes})


def test_where_training_goes_on_in_fragments_whole_episodes_are_evaluated():
    live = Run(plan())
    items, controls = questions(live, live.streams)
    assert all(isinstance(c, Start) for c in items.contexts)
    assert controls == {"temperature": 0}  # the eight steps were meant for fragments
    live = Run(plan(evaluation=Evaluation(source=Episodes(WORLD, (3,)), samples=2, controls={"steps": 5})))
    items, controls = questions(live, live.streams)
    assert [c.seed for c in items.contexts] == [3, 3]
    assert controls == {"steps": 5}
    live = Run(plan(source=Episodes(WORLD), evaluation=Evaluation(samples=2)))
    assert questions(live, live.streams)[1] == {"steps": 8}


def test_evaluation_scores_the_return_of_dense_rewards():
    live = Run(plan())
    live.open(None, 0, ())
    metrics, samples = evaluate(live)
    live.close()
    assert metrics["proxy/mean"] == pytest.approx(metrics["episode/return"])
    assert metrics["episode/count"] == metrics["n"] == 3
    assert samples[0]["reward"] is not None
    assert score_of(metrics) == metrics["proxy/mean"]
    assert score_of({"episode/return": 4.0}) == 4.0
    assert score_of({}) == -math.inf


def test_steps_are_counted_on_after_a_resume_and_strips_are_made(tmp_path):
    whole = run(plan(), tmp_path / "whole")
    steps = [h["env/steps"] for h in whole.history]
    assert steps == [32.0 * (k + 1) for k in range(6)]  # four environments, eight steps each
    assert [e["metrics"]["env/steps"] for e in whole.evaluations] == [0.0, 96.0, 192.0]
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    shutil.rmtree(tmp_path / "cut/checkpoints/step-000006")
    again = run(plan(), tmp_path / "cut", resume_run=True)
    assert [h["env/steps"] for h in again.history] == steps
    events = [json.loads(line) for line in (tmp_path / "cut/events.jsonl").read_text().splitlines()]
    strips = {e["step"]: e["strips"] for e in events if e["event"] == "frames"}
    assert set(strips) == {0, 3, 6}
    assert {s["reason"] for s in strips[6]} == {""}
    assert all((tmp_path / "cut" / s["file"]).exists() for s in strips[6])
    page = (tmp_path / "cut/report.html").read_text()
    assert "Return by environment steps" in page
    assert "data:image/png;base64," in page
    for text in ("Distinct-n", "Held-out reward", "Over-optimisation", "Diversity", "answer"):
        assert text not in page.split("<main>")[1].split('id="plan"')[0], text


def test_the_bar_shows_the_return_and_keeps_the_last_one_known(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    with bar(plan(), Run(plan())) as sink:
        sink({"event": "draw", "step": 1, "metrics": {"episode/return": 487.25, "kl": 0.25}})
        sink({"event": "draw", "step": 2, "metrics": {"episode/count": 0.0}})
        sink({"event": "eval", "step": 2, "metrics": {"episode/return": 500.0, "proxy/mean": 500.0}})
    shown = capsys.readouterr().err
    assert "return 487  KL 0.250" in shown
    assert "reward" not in shown


def test_references_of_fragments_are_compared_where_the_policy_chose():
    rollout = fragments()
    batch = Batch.of(rollout, dense(rollout)).replace(refs={"reference": PolicyOutput(torch.where(rollout.mask, -0.75, 9.0))})
    assert draw_metrics(batch)["kl_step"] == 0.25


def test_episode_records_are_outputs():
    """The stand-ins here have text for outputs; the real ones are episodes, which show themselves in a line."""
    episode = Episode(torch.zeros(3, 2), torch.zeros(2), torch.ones(2))
    shown = show_samples(Batch.of(fragments(outputs=[episode] * 3), dense(fragments())), 1)
    assert shown[0]["output"] == "Episode(2 steps, return 2, cut off)"
