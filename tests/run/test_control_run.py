"""Whole runs of control policies: the same bits whoever computes them, and worlds that break in every way."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

from guerdon import advantages, objectives, policies, rewards, samplers, transforms, worlds
from guerdon.cli import main
from guerdon.core import RunError
from guerdon.policies import GRU, MLP, Control, StateValue
from guerdon.run import AdamW, Episodes, Fragments, ObservationStatistics, Plan, Scoring, Term, Train, run
from guerdon.run.live import Run
from guerdon.run.loop import credit, draw
from guerdon.testing._worlds import Counting

FAULTY = Path(__file__).parents[1] / "worlds" / "faulty.py"


def ppo(world, steps=3, by="step", n=4, body=MLP((8,)), **more) -> Plan:
    """Everything that keeps statistics: normalised observations and rewards, whitened advantages, a critic."""
    gae = {"gamma": 0.9, "lam": 0.8}
    recurrent = isinstance(body, GRU)
    terms = (Term(objectives.PolicyGradient(entropy=0.01)), Term(objectives.ValueLoss(target="return")))
    return Plan(
        policy=Control.of(world, body=body, normalise=True, seed=1), source=Fragments(world),
        sampler=samplers.Group(contexts=n, n=1, controls={"steps": 12}), reward=rewards.Environment(),
        transforms=(transforms.ScaleByReturn(gamma=0.9),),
        critics={"critic": policies.HeadOnPolicy() if recurrent else StateValue(body=MLP((8,)), normalise=True)},
        advantage={"main": advantages.GAE(**gae), "return": advantages.LambdaReturns(**gae)},
        learners={
            "policy": Train(terms, AdamW(lr=0.01), of=("policy", "critic"), by="row" if recurrent else by, whiten=True, epochs=2, minibatches=2),
            "observations": ObservationStatistics(),
        },
        steps=steps, checkpoint_every=0, seed=3, **more,
    )  # fmt: skip


def grpo(world, steps=3, **more) -> Plan:
    return Plan(
        policy=Control.of(world, body=MLP((8,)), seed=1), source=Episodes(world),
        sampler=samplers.Group(contexts=4, n=4, controls={"steps": 6}), reward=rewards.Environment(dense=False),
        references={"reference": policies.Frozen()}, advantage=advantages.GroupNorm(),
        learners={"policy": Train(Term(objectives.PolicyGradient(kl=0.01), over="sample"), AdamW(lr=0.01))},
        steps=steps, checkpoint_every=0, seed=3, **more,
    )  # fmt: skip


def traced(plan, out=None):
    """The result of a run and its events."""
    events = []
    result = run(plan, out, sinks=(events.append,))
    return result, events


def weights(result):
    return torch.cat([p.detach().flatten().double() for p in result.policy.state_dict().values()])


def figures(result):
    return [{k: v for k, v in h.items() if v == v} for h in result.history]


# ---------------------------------------------------------------- determinism
def test_workers_do_not_change_a_bit():
    """Fragments of CartPole stepped by 0 to 3 processes, scored by 1 or 3 threads: the same weights and figures."""
    pytest.importorskip("gymnasium")
    runs = []
    for workers, scorers in ((0, 1), (1, 3), (2, 1), (3, 2)):
        world = worlds.Gym("CartPole-v1", workers=workers)
        runs.append(run(ppo(world, n=5, scoring=Scoring(workers=scorers))))
    for other in runs[1:]:
        assert torch.equal(weights(runs[0]), weights(other))
        assert figures(runs[0]) == figures(other)


def test_nor_do_workers_under_groups_of_episodes():
    pytest.importorskip("gymnasium")
    runs = [run(grpo(worlds.Gym("CartPole-v1", workers=w), steps=2, scoring=Scoring(workers=s))) for w, s in ((0, 1), (2, 3))]
    assert torch.equal(weights(runs[0]), weights(runs[1])) and figures(runs[0]) == figures(runs[1])


def test_the_same_plan_twice_is_the_same_run_and_another_seed_is_not():
    first, again = run(ppo(Counting())), run(ppo(Counting()))
    assert torch.equal(weights(first), weights(again)) and figures(first) == figures(again)
    other = run(ppo(Counting()).__class__(**{**vars(ppo(Counting())), "seed": 4}))
    assert not torch.equal(weights(first), weights(other))


@pytest.mark.parametrize("body", [MLP((8,)), GRU(8, MLP((8,)))], ids=["mlp", "gru"])
def test_right_after_sampling_nothing_is_off_policy(body):
    result = run(ppo(Counting(), steps=4, body=body))
    assert all(h["mismatch/max"] < 1e-5 for h in result.history)
    assert result.history[-1]["env/steps"] == 4 * 4 * 12


# ---------------------------------------------------------------- what breaks
BREAKS = {"reset": "no more tickets", "step": "wheels came off", "nan": "observation is not finite", "reward": "reward is inf"}


def failures(events):
    return [e["failures"] for e in events if e["event"] == "draw"]


@pytest.mark.parametrize("plan", [ppo, grpo])
@pytest.mark.parametrize("fault", BREAKS)
def test_a_run_goes_on_where_some_environments_break(fault, plan):
    result, events = traced(plan(Counting((3, 4, 5), fault=fault, bad=3), steps=4))
    assert result.ended == "finished"
    counted = failures(events)
    assert sum(sum(f.values()) for f in counted) > 0
    assert {reason for f in counted for reason in f} == {BREAKS[fault]}
    assert torch.isfinite(weights(result)).all()
    for h in result.history:
        assert 0 < h["reward/ok"] <= 1
        assert h.get("skipped/policy.not_finite", 0) == 0
    assert sum(h.get("episode/failed", 0) for h in result.history) == sum(sum(f.values()) for f in counted)


@pytest.mark.parametrize("plan", [ppo, grpo])
@pytest.mark.parametrize("fault", ["reset raises", "step raises", "shape", "dtype"])
def test_a_run_stops_with_one_line_where_all_break(fault, plan):
    with pytest.raises(RunError, match="every reward failed in the last 1 draw") as found:
        run(plan(Counting((3, 4, 5), fault=fault, bad=1)))
    assert "\n" not in str(found.value)
    assert {"reset raises": "KeyError", "step raises": "wheels", "shape": "shape", "dtype": "float64"}[fault] in str(found.value)


def test_a_world_that_does_not_open_is_one_line():
    with pytest.raises(RunError, match=r"Counting\(.*cannot be opened: OSError: no such device$"):
        run(ppo(Counting(fault="open")))


def scored(fault, by="step", body=MLP((8,))):
    """A run just before it learns, and its batch."""
    live = Run(ppo(Counting((3, 4, 5), fault=fault, bad=3), by=by, body=body))
    live.open(None, 0, ())
    batch = credit(live, draw(live))
    assert 0 < int(batch.reward.ok.sum()) < len(batch)
    return live, batch


@pytest.mark.parametrize("fault", BREAKS)
def test_statistics_see_nothing_of_what_broke(fault):
    live, batch = scored(fault)
    fine = batch.rollout.mask & batch.reward.ok[:, None]
    seen = batch.rollout.states[:, :-1][fine].double()
    live.learners["observations"].update(batch, live)
    for front in (live.policy.front, live.critics["critic"].front):
        assert float(front.scale.count) == len(seen)
        torch.testing.assert_close(front.scale.mean, seen.mean(0))
    (scale,) = live.transform_states
    assert scale["count"] == pytest.approx(1e-4 + int(fine.sum()))
    for name in ("main", "return"):
        assert not batch.advantage[name][~batch.reward.ok].any()
    live.close()


@pytest.mark.parametrize(("by", "body"), [("step", MLP((8,))), ("row", MLP((8,))), ("row", GRU(8, MLP((8,))))], ids=str)
@pytest.mark.parametrize("fault", BREAKS)
def test_updates_feel_nothing_of_what_broke(fault, by, body):
    """The weights after an update are those of an update from the sound rows alone, whatever stands in the others."""
    moved = []
    for spoil in (False, True):
        live, batch = scored(fault, by, body)
        if spoil:
            dead = ~batch.reward.ok
            nan = float("nan")
            rollout = batch.rollout
            batch = batch.replace(
                rollout=rollout.replace(
                    states=torch.where(dead[:, None, None], nan, rollout.states), logp=torch.where(dead[:, None], nan, rollout.logp)
                ),
                advantage={k: torch.where(dead[:, None], nan, v) for k, v in batch.advantage.items()},
            )  # fmt: skip
        else:
            batch = batch[batch.reward.ok]
        spec = live.plan.learners["policy"]
        learner = Train(spec.terms, spec.optim, of=spec.of, by=by, whiten=True, epochs=2).build(live.network(spec.of))
        learner.update(batch, live)
        moved.append(torch.cat([p.detach().flatten() for p in live.network(spec.of).parameters()]))
        live.close()
    assert torch.isfinite(moved[1]).all()
    torch.testing.assert_close(moved[0], moved[1], atol=1e-6, rtol=1e-5)


def gym_faulty(fault, **more):
    pytest.importorskip("gymnasium")
    return worlds.Gym(f"{FAULTY}:Faulty", options={"fault": fault}, limit=6, **more)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [("raise", "step raised ValueError: wheels came off"), ("reset", "reset raised KeyError: 'lost'"), ("nan observation", "observation is nan"),
     ("nan reward", "reward is nan"), ("shape", "observation has the shape")],
)  # fmt: skip
def test_broken_gymnasium_environments(fault, reason):
    for plan in (ppo, grpo):
        result, events = traced(plan(gym_faulty(fault), steps=2))
        reasons = {r for f in failures(events) for r in f}
        assert reasons and all(r.startswith(reason) for r in reasons), reasons
        assert torch.isfinite(weights(result)).all()


def test_one_that_hangs_is_given_up():
    result, events = traced(ppo(gym_faulty("hang", workers=4, timeout=1.0), steps=2))
    reasons = {r for f in failures(events) for r in f}
    assert reasons and all("did not answer within" in r for r in reasons)
    assert torch.isfinite(weights(result)).all()


# ---------------------------------------------------------------- the command line
def written(folder, world) -> Path:
    plan = {
        "policy": {"use": "policies.Control.of", "world": world}, "source": {"use": "run.Fragments", "world": world},
        "sampler": {"use": "samplers.Group", "contexts": 2, "n": 1, "controls": {"steps": 5}}, "reward": "rewards.Environment",
        "advantage": "advantages.Returns", "learners": {"policy": {"use": "run.Train", "terms": "objectives.Reinforce"}}, "steps": 2,
    }  # fmt: skip
    path = folder / "plan.yaml"
    path.write_text(yaml.safe_dump(plan))
    return path


@pytest.mark.parametrize(
    ("world", "message"),
    [
        ({"use": "worlds.Gym", "id": "CartPole-v7"}, "no environment 'CartPole-v7' is registered"),
        ({"use": "worlds.TabularFile", "path": "nowhere.npz"}, "nowhere.npz"),
        ({"use": "worlds.GridWorld", "layout": "four-room"}, "did you mean 'four-rooms'"),
        ({"use": "worlds.Gym", "id": f"{FAULTY}:Faulty", "options": {"fault": "make"}}, "OSError: no such device"),
    ],
)
def test_a_world_that_cannot_be_had_is_one_line_and_exit_code_2(world, message, tmp_path, monkeypatch, capsys):
    pytest.importorskip("gymnasium")
    monkeypatch.chdir(tmp_path)
    assert main(["train", str(written(tmp_path, world))]) == 2
    complaints = [line for line in capsys.readouterr().err.splitlines() if line.startswith("guerdon: ")]
    assert len(complaints) == 1 and message in complaints[0], complaints
