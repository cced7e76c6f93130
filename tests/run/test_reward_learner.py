"""A reward that learns while the policy does: what it is asked, what it learns, what it leaves, and what is refused."""

from __future__ import annotations

import json
import math
import threading
from types import SimpleNamespace

import pytest
import torch

from guerdon import advantages, feedback, objectives, policies, rewards, samplers, transforms
from guerdon.core import Batch, Comparison, Due, PlanError, RewardError, RunError, Streams, recorded
from guerdon.run import AdamW, Evaluation, Plan, Prompts, RewardLearner, Stop, Train, build_reward, lazy, run
from guerdon.run.events import read_events
from guerdon.run.live import Run
from guerdon.run.queries import candidates, choose, disagreement
from guerdon.run.replay import LateLabels, Replay, Said
from guerdon.run.reward_tree import find, networks
from guerdon.testing import check_learner, tiny_lm

GOLD = feedback.BradleyTerry(rewards.Length(target=4, unit="character"), temperature=0.2)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A language model, a reward model and an ensemble of two, in folders."""
    folder = tmp_path_factory.mktemp("models")
    tiny_lm(dtype="float32").save(folder / "lm")
    members = [rewards.RewardModel.fresh(str(folder / "lm"), max_length=32, seed=k, device="cpu") for k in range(2)]
    members[0].save(folder / "one")
    rewards.Ensemble(tuple(members)).save(folder / "two")
    return folder


def one(home):
    return lazy(rewards.RewardModel.from_pretrained, path_or_name=str(home / "one"))


def two(home):
    return lazy(rewards.Ensemble.from_pretrained, path_or_name=str(home / "two"))


def plan(home, **changes):
    learner = changes.pop("learner", RewardLearner(GOLD, pairs=4, steps=2, batch=4, replay=6, optim=AdamW(lr=1e-2)))
    given = {
        "policy": lazy(policies.CausalLM.from_pretrained, path_or_name=str(home / "lm"), device="cpu"),
        "source": Prompts(("1+1=", "2+3=", "10-7=")),
        "sampler": samplers.Group(contexts=2, n=4, controls={"max_tokens": 6, "top_k": 9}),
        "reward": two(home),
        "advantage": advantages.GroupNorm(),
        "learners": {"policy": Train(objectives.PolicyGradient(), AdamW(lr=1e-3)), "reward": learner},
        "evaluation": Evaluation(reward=rewards.Length(target=4, unit="character"), samples=6, every=2),
        "steps": 3, "checkpoint_every": 1, "seed": 3,
    }  # fmt: skip
    return Plan(**{**given, **changes})


def weights(folder):
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*.safetensors"))}


# ---------------------------------------------------------------- what a plan names is built
def test_a_plan_with_learned_rewards_is_plain_data(home):
    mixed = rewards.Mixture({"learned": (one(home), 0.5), "short": rewards.Length(target=3)})
    for reward in (one(home), two(home), mixed, rewards.Mixture({"inner": mixed})):
        p = plan(home, reward=reward)
        assert Plan.from_tree(json.loads(json.dumps(p.to_tree()))) == p
        assert p.hash == plan(home, reward=reward).hash
    built = build_reward(rewards.Mixture({"inner": (mixed, 2.0)}), "cpu")
    out = built(recorded(["q"], ["a b c"]))
    alone = rewards.RewardModel.from_pretrained(str(home / "one"), device="cpu")(recorded(["q"], ["a b c"])).total
    assert out.total.tolist() == pytest.approx((2 * (0.5 * alone + 1.0)).tolist())  # three words: 1.0
    with pytest.raises(PlanError, match=r"rewards.RewardModel.from_pretrained is only written down"):
        mixed(recorded(["q"], ["abc"]))


def test_equal_rewards_are_built_once_also_inside_annotators(home):
    annotator = feedback.BradleyTerry(one(home), temperature=0.5)
    p = plan(home, reward=two(home), evaluation=Evaluation(reward=one(home)), learner=RewardLearner(annotator))
    live = Run(p)
    assert live.learners["reward"].spec.annotator.reward is live.held_out
    assert p.learners["reward"].annotator.reward == one(home)  # the plan is as it was
    assert set(networks(live.reward, "reward")) == {"reward/member-0", "reward/member-1"}


def test_a_missing_folder_is_one_line_and_nothing_is_written(home, tmp_path):
    missing = lazy(rewards.RewardModel.from_pretrained, path_or_name=str(tmp_path / "nowhere"))
    with pytest.raises(Exception, match="nowhere") as e:
        run(
            plan(home, reward=rewards.Mixture({"a": missing}), learners={"policy": Train(objectives.Reinforce())}),
            tmp_path / "out",
        )
    assert "\n" not in str(e.value)
    assert e.value.exit_code == 2
    assert not (tmp_path / "out").exists()


def test_a_learned_reward_is_found_by_its_place(home):
    pair = build_reward(rewards.Mixture({"a": one(home), "b": two(home), "c": rewards.Length(target=3)}), "cpu")
    assert find(pair, "reward/b")[1] is pair.members["b"]
    with pytest.raises(PlanError, match="'reward'; there are several: reward/a, reward/b"):
        find(pair, "reward")
    with pytest.raises(PlanError, match="did you mean 'reward/a'"):
        find(pair, "reward/aa")
    with pytest.raises(PlanError, match=r"plan\.reward is Length: expected \{use: rewards\.RewardModel\.from_pretrained"):
        find(rewards.Length(target=3), "reward")


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"reward": rewards.Length(target=3)}, "plan.reward is Length: expected"),
        ({"stop": Stop(patience=2), "evaluation": Evaluation()}, "add a held-out evaluation.reward"),
        ({"learners": {"a": RewardLearner(GOLD), "b": RewardLearner(GOLD)}}, "'a' and 'b' both train 'reward'"),
    ],
)
def test_what_cannot_learn_is_refused_before_anything_is_built(home, tmp_path, changes, line):
    with pytest.raises(PlanError) as e:
        run(plan(home, **changes), tmp_path / "out")
    assert line in str(e.value)
    assert not (tmp_path / "out").exists()


def test_what_a_reward_is_judged_by_does_not_move_with_it(home):
    with pytest.raises(PlanError, match=r"^evaluation\.reward is the network that learner 'reward' trains"):
        run(plan(home, evaluation=Evaluation(reward=two(home))))
    with pytest.raises(PlanError, match=r"^the annotator of learner 'reward' is the network"):
        run(plan(home, learner=RewardLearner(feedback.BradleyTerry(two(home)))))
    overlapping = {"a": RewardLearner(GOLD), "b": RewardLearner(GOLD, of="reward/x")}
    with pytest.raises(PlanError, match="'a' and 'b' train the same"):
        run(plan(home, reward=rewards.Mixture({"x": one(home)}), learners=overlapping))


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({}, "nobody to learn from"),
        ({"annotator": 3}, "a int is not an annotator"),
        ({"annotator": GOLD, "of": "policy"}, "got 'policy'"),
        ({"annotator": GOLD, "pick": "best"}, "got 'best'"),
        ({"annotator": GOLD, "pairs": 0}, "pairs must be at least 1"),
        ({"annotator": GOLD, "fresh": 0.0}, "share above 0"),
        ({"annotator": GOLD, "replay": -1}, "replay must be at least 0"),
    ],
)
def test_a_spec_that_cannot_work_is_one_line(fields, line):
    with pytest.raises(PlanError) as e:
        RewardLearner(**fields)
    assert line in str(e.value)


# ---------------------------------------------------------------- which pairs, which old ones
def test_pairs_are_chosen_within_contexts_among_scored_and_different_rows():
    rows = recorded(["q"] * 4 + ["p"] * 3, ["a", "b", "a", "c", "x", "y", "z"])
    ok = torch.tensor([True, True, True, True, True, False, True])
    assert candidates(rows, ok) == [(0, 1), (0, 3), (1, 3), (4, 6)]
    streams = Streams(1)
    chosen = choose(candidates(rows, ok), 3, streams)
    assert torch.equal(chosen, choose(candidates(rows, ok), 3, streams))
    assert len({tuple(sorted(p)) for p in chosen.tolist()}) == 3
    orders = [tuple(choose([(0, 1)], 1, Streams(k))[0].tolist()) for k in range(40)]
    assert 8 < orders.count((0, 1)) < 32  # either row may come first
    assert choose([], 3, streams).shape == (0, 2)


def test_disagreement_asks_where_members_see_the_difference_differently():
    scores = torch.tensor([[0.0, 10.0], [1.0, 11.0], [2.0, 9.0]])  # members agree that 1 is 1 above 0; not about 2
    pairs = [(0, 1), (0, 2), (1, 2)]
    spread = disagreement(scores, pairs)
    assert spread.tolist() == [0.0, 1.5, 1.5]
    for seed in range(8):
        assert sorted(choose(pairs, 1, Streams(seed), spread)[0].tolist()) in ([0, 2], [1, 2])


def test_the_replay_keeps_a_uniform_sample():
    counts = torch.zeros(10)
    for seed in range(400):
        replay = Replay(3, Streams(seed))
        replay.add([Said(Comparison(first=str(k), second="")) for k in range(10)])
        for said in replay.kept:
            counts[int(said.comparison.first)] += 1
    assert counts.sum() == 1200
    assert float((counts - 120).abs().max()) < 4 * math.sqrt(400 * 0.3 * 0.7)
    fresh = Replay(3, Streams(399))
    fresh.load_state_dict(json.loads(json.dumps(replay.state_dict())))
    more = [Said(Comparison(first=str(k), second="")) for k in range(10, 30)]
    replay.add(more)
    fresh.add(more)
    assert replay.kept == fresh.kept
    assert len(replay.draw(9, Streams(0))) == 3
    none = Replay(0, Streams(0))
    none.add(more)
    assert none.draw(3, Streams(0)) == none.kept == []


# ---------------------------------------------------------------- learning
LONG = [("q", "aaaa", "b"), ("q", "cc", "ddd"), ("p", "eeee", "f"), ("p", "gg", "hhh")]


def longer(rollout, pairs, streams):
    """The longer one is better."""
    return [1.0 if len(rollout.outputs[i]) > len(rollout.outputs[j]) else 0.0 for i, j in pairs.tolist()]


def learner(home, annotator=None, ensemble=False, **fields):
    reward = build_reward(two(home) if ensemble else one(home), "cpu")
    annotator = annotator or SimpleNamespace(compare=lambda r, p, s: comparisons_of(r, p, longer(r, p, s)))
    fields = {"pairs": 3, "steps": 3, "batch": 4, "optim": AdamW(lr=1e-2), **fields}
    return RewardLearner(annotator, **fields).build(reward, "reward", Streams(5)), reward


def comparisons_of(rollout, pairs, labels):
    return [Comparison(context=rollout.contexts[i], first=rollout.outputs[i], second=rollout.outputs[j], label=y)
            for (i, j), y in zip(pairs.tolist(), labels, strict=True)]  # fmt: skip


def batch(reward):
    rows = recorded(["q"] * 4 + ["p"] * 4, [x for _, a, b in LONG for x in (a, b)])
    return Batch.of(rows, reward(rows))


def world(**more):
    found = []
    return SimpleNamespace(streams=Streams(0), step=0, scorer=None, find=found.append, found=found, **more)


@pytest.mark.parametrize("ensemble", [False, True])
@pytest.mark.parametrize("pick", ["random", "disagreement"])
def test_a_learner_moves_keeps_its_state_and_repeats_itself(home, ensemble, pick):
    if pick == "disagreement" and not ensemble:
        with pytest.raises(PlanError, match="needs an Ensemble of at least two"):
            learner(home, pick=pick)
        return
    given = batch(build_reward(two(home) if ensemble else one(home), "cpu"))

    def make():
        trainer, _ = learner(home, ensemble=ensemble, pick=pick, replay=2)
        return trainer, torch.nn.ModuleDict({str(k): m for k, m in enumerate(trainer.modules.values())})

    figures = check_learner(make, given, world())
    assert figures["pairs"] == 3
    assert 0 <= figures["accuracy"] <= 1
    assert math.isfinite(figures["loss"])


def test_a_loss_that_learns_and_layers_that_do_not(home):
    """The threshold of ties is learned, kept in the state and loaded; weights outside the last block stay."""
    fields = {"loss": rewards.RaoKupper(), "layers": 1, "micro_batch": 2}
    given = batch(build_reward(one(home), "cpu"))

    def make():
        trainer, reward = learner(home, **fields)
        return trainer, reward

    check_learner(make, given, world())
    (trainer, reward), start = make(), build_reward(rewards.Mixture({"a": one(home)}), "cpu").members["a"]
    trainer.update(given, world())
    moved = {n for (n, a), b in zip(reward.model.named_parameters(), start.model.parameters(), strict=True) if not a.equal(b)}
    assert any("layers.1" in n for n in moved)
    assert not any("layers.0" in n or "embed" in n for n in moved)
    (network,) = trainer.networks.values()
    assert network.names[-1] == "loss/tie"
    other = make()[0]
    other.load_state_dict(trainer.state_dict())
    assert other.networks["reward"].training.extra["tie"].equal(network.training.extra["tie"])
    assert float(network.training.extra["tie"].detach()) != pytest.approx(math.log(math.expm1(0.5)), abs=1e-4)


def test_accuracy_and_loss_are_those_before_learning(home):
    """Hand-checked: the figures of a draw follow from the rewards as they were when it was scored."""
    trainer, reward = learner(home, pairs=100)
    given = batch(reward)
    r = given.raw.total
    pairs = [(i, j) for g in (range(4), range(4, 8)) for i in g for j in g if i < j]
    gaps, right = [], []
    for i, j in pairs:
        better = len(given.rollout.outputs[i]) > len(given.rollout.outputs[j])
        gap = float(r[i] - r[j]) if better else float(r[j] - r[i])
        gaps.append(math.log1p(math.exp(-gap)))
        right.append(gap > 0)
    figures = trainer.update(given, world())
    assert figures["pairs"] == 12
    assert figures["loss"] == pytest.approx(sum(gaps) / 12, rel=1e-5)
    assert figures["accuracy"] == pytest.approx(sum(right) / 12)
    before, k = reward.identity, 0
    while k < 30:
        figures, k = trainer.update(given, world()), k + 1
    assert figures["accuracy"] == 1.0
    assert figures["loss"] < 0.3
    assert reward.identity != before
    assert (trainer.version, trainer.calls, trainer.total) == (31, 31, 31 * 12)


def test_the_step_is_that_of_fit_reward(home):
    """One step of the learner moves the weights just as one step of a fit on the same comparisons does."""
    said = [Comparison(context=c, first=a, second=b, label=y) for (c, a, b), y in zip(LONG, (1.0, 0.5, 0.0, 0.7), strict=True)]
    start = rewards.RewardModel.from_pretrained(str(home / "one"), device="cpu")
    settings = rewards.FitSettings(epochs=1, batch=4, lr=3e-3, warmup=0.0, decay="constant", device="cpu")
    fitted = rewards.fit_reward(said, start, settings=settings).reward
    trainer, reward = learner(home)
    (network,) = trainer.networks.values()
    network.step(said, 3e-3)
    for (name, a), b in zip(reward.model.named_parameters(), fitted.model.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6, msg=name)


def test_old_comparisons_are_not_forgotten(home):
    """After learning only new ones, the old are still predicted with a replay, and not so well without."""

    def after(replay):
        old = [Comparison(context="q", first="a" * n, second="b" * n) for n in range(1, 5)]
        against = [Comparison(context="p", first="b" * n, second="a" * n) for n in range(1, 5)]
        trainer, reward = learner(home, replay=replay, batch=8, optim=AdamW(lr=3e-3))
        for said in (old, against):
            trainer.spec.annotator.compare = lambda *_, said=said: said
            for _ in range(15):
                trainer.update(batch(reward), world())
        out = reward(recorded(["q"] * 8, [x for c in old for x in (c.first, c.second)])).total
        return float((out[0::2] - out[1::2]).mean())

    assert after(64) > after(0)


class Broken(rewards.BradleyTerry):
    """A loss without a number."""

    def __call__(self, delta, label, margin=None, tie=None):
        return delta * math.nan


def test_steps_that_are_not_finite_move_nothing_and_are_counted(home):
    trainer, reward = learner(home)
    given = batch(reward)
    trainer.update(given, world())
    (network,) = trainer.networks.values()
    network.training.loss = Broken()
    before, version = reward.identity, trainer.version
    figures = trainer.update(given, world())
    assert figures["skipped/not_finite"] == 3
    assert (reward.identity, trainer.version) == (before, version)
    assert "loss/fit" not in figures


def test_a_failing_annotator_is_counted_reported_once_and_nothing_is_learned(home):
    def fail(*_):
        raise ConnectionError("the labelling service is down")

    trainer, reward = learner(home, annotator=SimpleNamespace(compare=fail))
    given, at, before = batch(reward), world(), reward.identity
    for k in range(5):
        at.step = k
        assert trainer.update(given, at) == {"failed": 1.0, "pairs": 0.0, "pairs/total": 0.0}
    assert reward.identity == before
    (finding,) = at.found
    assert (finding.level, finding.step) == ("warning", 3)
    assert "3 times in a row" in finding.message
    assert finding.evidence["error"] == "ConnectionError: the labelling service is down"
    trainer.spec.annotator.compare = lambda r, p, s: comparisons_of(r, p, longer(r, p, s))
    assert trainer.update(given, at)["pairs"] == 3
    assert trainer.failures == 0


@pytest.mark.parametrize("said", [None, [3], "yes"])
def test_an_annotator_that_returns_something_else_has_failed(home, said):
    trainer, reward = learner(home, annotator=SimpleNamespace(compare=lambda *_: said))
    assert trainer.update(batch(reward), world())["failed"] == 1.0


def test_an_annotator_that_cannot_be_used_at_all_ends_the_run(home):
    def refuse(*_):
        raise RewardError("Column: the rollout has no column 'gold'")

    trainer, reward = learner(home, annotator=SimpleNamespace(compare=refuse))
    with pytest.raises(RewardError, match="no column 'gold'"):
        trainer.update(batch(reward), world())


def test_weights_do_not_move_while_rows_are_scored(home):
    trainer, reward = learner(home)
    at = world()
    at.scorer = SimpleNamespace(busy=2)
    with pytest.raises(RunError, match="2 draws are still being scored"):
        trainer.update(batch(reward), at)


def test_outputs_that_the_reward_cannot_read_are_left_out(home):
    said = [Comparison(context="q", first="a", second=""), Comparison(context="q", first="a", second="b")]
    trainer, reward = learner(home, annotator=SimpleNamespace(compare=lambda *_: said))
    figures = trainer.update(batch(reward), world())
    assert (figures["pairs"], figures["unreadable"]) == (1, 1)


def test_late_labels_are_each_learned_once_and_taken_back_where_people_do(home, tmp_path):
    url = str(tmp_path / "labels.db")
    first = Comparison(context="q", first="a", second="b", annotator="ann", uids=(1, 2))
    with feedback.Store(url) as store:
        store.add([first, feedback.Ranking(context="q", outputs=("c", "d", "e"), ranks=(1, 2, 3), annotator="bo"),
                   feedback.Critique(output="a", text="short")])  # fmt: skip
    late = LateLabels(url)
    assert [(s.comparison.first, s.comparison.second) for s in late.poll(1)] == [("a", "b")]
    assert [(s.comparison.first, s.comparison.second) for s in late.poll(9)] == [("c", "d"), ("c", "e"), ("d", "e")]
    assert late.poll(9) == []
    fresh = LateLabels(url)
    fresh.load_state_dict(json.loads(json.dumps(late.state_dict())))
    assert fresh.poll(9) == []

    reward = build_reward(one(home), "cpu")
    trainer = RewardLearner(store=url, pairs=9, steps=1, optim=AdamW(lr=1e-3)).build(reward, "reward", Streams(0))
    given = batch(reward)
    assert trainer.update(given, world())["pairs"] == 4
    before = reward.identity
    assert trainer.update(given, world())["pairs"] == 0
    assert reward.identity == before
    with feedback.Store(url) as store:
        store.correct(first.id, first.replace(label=0.0))
        store.erase("bo")
    assert trainer.update(given, world())["pairs"] == 1
    assert [(s.comparison.first, s.comparison.label) for s in trainer.replay.kept] == [("a", 0.0)]


# ---------------------------------------------------------------- in a run
def test_a_run_with_a_learning_reward_leaves_both_models(home, tmp_path):
    result = run(plan(home, transforms=(transforms.Pessimism(0.5),)), tmp_path / "out")
    events = list(read_events(tmp_path / "out" / "events.jsonl"))
    start, draws = events[0], [e["metrics"] for e in events if e["event"] == "draw"]
    assert start["reward"] == rewards.journal.identity(build_reward(two(home), "cpu"))
    assert len(start["held_out"]) > 8
    for k, metrics in enumerate(draws):
        assert metrics["reward/version"] == k
        assert metrics["pairs/reward"] == 4
        assert {"loss/reward", "accuracy/reward", "pairs/reward.total", "reward/uncertainty", "lr/reward"} <= set(metrics)
    assert draws[0]["reward/uncertainty"] > 0
    evaluations = [(e["step"], e["metrics"]["reward/version"]) for e in result.evaluations]
    assert evaluations == [(0, 0.0), (2, 2.0), (3, 3.0)]
    assert all(e["metrics"]["proxy/uncertainty"] > 0 for e in result.evaluations)
    saved = rewards.Ensemble.from_pretrained(str(tmp_path / "out" / "reward"), device="cpu")
    before = build_reward(two(home), "cpu")
    rows = recorded(["1+1="], ["2"])
    assert saved(rows).total.tolist() != before(rows).total.tolist()
    again = run(plan(home, transforms=(transforms.Pessimism(0.5),)), tmp_path / "again")
    assert weights(tmp_path / "out") == weights(tmp_path / "again")
    assert result.history == again.history


def test_stopped_and_resumed_it_is_the_same_run(home, tmp_path):
    whole = plan(home)
    run(whole, tmp_path / "whole")
    stopped = _stop_after(whole, tmp_path / "parts", 2)
    assert stopped < 3
    run(whole, tmp_path / "parts", resume_run=True)
    assert weights(tmp_path / "parts" / "reward") == weights(tmp_path / "whole" / "reward")
    assert weights(tmp_path / "parts" / "policy") == weights(tmp_path / "whole" / "policy")


def _stop_after(p, folder, steps):
    """Run until ``steps`` draws are done and then break off, as Ctrl-C would."""

    def stop(event):
        if event["event"] == "draw" and event["step"] == steps:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(p, folder, sinks=(stop,))
    from guerdon.run.checkpoints import steps_of

    return steps_of(folder)[-1]


def test_a_reward_that_changed_on_disk_is_refused(home, tmp_path):
    import shutil

    shutil.copytree(home / "two", tmp_path / "two")
    p = plan(home, reward=lazy(rewards.Ensemble.from_pretrained, path_or_name=str(tmp_path / "two")))
    _stop_after(p, tmp_path / "out", 2)
    other = rewards.RewardModel.fresh(str(home / "lm"), max_length=32, seed=9, device="cpu")
    other.save(tmp_path / "two" / "member-1")
    with pytest.raises(RunError, match=r"^reward/member-1 has changed on disk since the run began"):
        run(p, tmp_path / "out", resume_run=True)


def test_verdicts_are_not_taken_from_another_version(home, tmp_path):
    """The same row scored before and after learning has two verdicts in the journal."""
    reward = build_reward(one(home), "cpu")
    rows = recorded(["q"], ["abc"])
    with rewards.Scorer(reward, journal=rewards.Journal(tmp_path / "j.jsonl")) as scorer:
        first = scorer.score(rows).total
        assert scorer.busy == 0
        assert scorer.score(rows).total.equal(first)
        hits = scorer.journal.hits
        with torch.no_grad():
            next(p for n, p in reward.named_parameters() if "score" in n).add_(0.5)
        second = scorer.score(rows).total
        assert scorer.journal.hits == hits == 1
    assert not second.equal(first)
    assert second.equal(reward(rows).total)


def test_a_torn_journal_does_not_change_the_bits(home, tmp_path):
    """A network sees all rows again where one verdict is missing: its last bits may depend on the rows beside it."""
    reward = build_reward(one(home), "cpu")
    rows = recorded(["q"] * 3, ["abc", "a longer answer", "x"])
    seen = []
    whole = reward.forward
    reward.forward = lambda r: seen.append(len(r)) or whole(r)
    with rewards.Scorer(reward, journal=rewards.Journal(tmp_path / "j.jsonl")) as scorer:
        scorer.score(rows[[0]])
        out = scorer.score(rows)
    assert seen == [1, 3]
    assert out.total.equal(whole(rows).total)


def test_a_network_is_not_timed_out_and_the_scorer_knows_when_it_is_done(home):
    reward = build_reward(one(home), "cpu")
    release, whole = threading.Event(), reward.forward
    reward.forward = lambda r: release.wait(5) and whole(r)
    with rewards.Scorer(reward, timeout=0.01) as scorer:
        futures = [scorer.submit(recorded(["q"], [x])) for x in ("a", "b", "c")]
        assert scorer.busy == 3
        release.set()
        assert all(bool(f.result().ok.all()) for f in futures)
        assert scorer.busy == 0
        with pytest.raises(TypeError):  # what raises is done, too
            scorer.submit(None).result()
        assert scorer.busy == 0


def test_without_a_held_out_reward_only_one_version_competes(home):
    live = Run(plan(home))
    from guerdon.run.evaluate import best_step

    live.evaluations = [
        {"step": s, "metrics": {"proxy/mean": m, "reward/version": v}} for s, m, v in ((0, 9.0, 0), (2, 1.0, 1), (4, 3.0, 1))
    ]
    assert best_step(live) == 4
    for e, gold in zip(live.evaluations, (0.1, 0.5, 0.2), strict=True):
        e["metrics"]["held_out/mean"] = gold
    assert best_step(live) == 2


def test_your_own_annotator_comes_from_a_file(home, tmp_path):
    (tmp_path / "mine.py").write_text(
        "def longer(rollout, pairs, streams):\n"
        "    return [None if i == 0 else float(len(rollout.outputs[i]) > len(rollout.outputs[j])) for i, j in pairs.tolist()]\n"
        "class Judge:\n"
        "    def compare(self, rollout, pairs, streams):\n"
        "        return [0.5] * len(pairs)\n"
        "nobody = 3\n"
    )
    tree = plan(home).to_tree()
    for name, unanswered in (("longer", 1), ("Judge", 0)):
        tree["learners"]["reward"]["annotator"] = f"mine.py:{name}"
        p = Plan.from_tree(tree, folder=tmp_path)
        assert p.to_tree()["learners"]["reward"]["annotator"] == f"mine.py:{name}"
        assert f"mine.py:{name}" in p.user_code()
        annotator = p.learners["reward"].annotator
        said = annotator.compare(recorded(["q"] * 3, ["a", "bb", "c"]), torch.tensor([[0, 1], [1, 2]]), Streams(0))
        assert len(said) == 2 - unanswered
        assert said[-1] == Comparison(context="q", first="bb", second="c", label=1.0 if unanswered else 0.5,
                                      annotator=f"mine.py:{name}", uids=(1, 2))  # fmt: skip
    tree["learners"]["reward"]["annotator"] = "mine.py:nobody"
    with pytest.raises(RewardError, match="nobody is a int, expected a function or an annotator"):
        Plan.from_tree(tree, folder=tmp_path)
    tree["learners"]["reward"]["annotator"] = "mine.py:longest"
    with pytest.raises(RewardError, match="did you mean 'longer'"):
        Plan.from_tree(tree, folder=tmp_path)


def test_two_learners_on_two_parts(home, tmp_path):
    mixed = rewards.Mixture({"a": one(home), "b": (two(home), 0.5)})
    fields = {"pairs": 3, "steps": 1, "optim": AdamW(lr=1e-2)}
    learners = {"policy": Train(objectives.PolicyGradient()), "first": RewardLearner(GOLD, of="reward/a", **fields),
                "second": RewardLearner(GOLD, of="reward/b", due=Due(start=1), pick="disagreement", **fields)}  # fmt: skip
    result = run(plan(home, reward=mixed, learners=learners), tmp_path / "out")
    assert "loss/second" not in result.history[0]
    assert [h["reward/version"] for h in result.history] == [0, 1, 3]
    assert (tmp_path / "out" / "reward" / "a" / "model.safetensors").exists()
    assert (tmp_path / "out" / "reward" / "b" / "member-1" / "model.safetensors").exists()


# ---------------------------------------------------------------- told before a run
def test_the_cost_of_learned_rewards_is_told(home):
    from guerdon.run.estimate import estimate

    without = estimate(plan(home, reward=rewards.Length(target=3), learners={"policy": Train(objectives.Reinforce())}), 1e9)
    scored = estimate(plan(home, learners={"policy": Train(objectives.Reinforce())}), 1e9)
    learned = estimate(plan(home), 1e9)
    size = sum(p.numel() for p in build_reward(two(home), "cpu").members[0].parameters())
    assert scored.weights - without.weights == 2 * 4 * size
    assert learned.training - scored.training == 3 * 2 * 4 * size
    assert without.flops < scored.flops < learned.flops


def test_papers_of_what_a_plan_names_are_given(home):
    from guerdon.run.references import references_of

    found = {r["used_for"]: r["arxiv"] for r in references_of(plan(home))}
    assert found["RewardLearner"] in ("1909.08593", "2204.05862")
    assert found["Ensemble"] == "2310.02743"


def test_the_schema_knows_learned_rewards_and_their_learner():
    from guerdon.run.schema import plan_schema

    defs = plan_schema()["$defs"]
    assert {"annotator", "store", "pairs", "pick"} <= set(defs["run.RewardLearner"]["properties"])
    assert defs["run.RewardLearner"]["required"] == ["use"]
    assert "path_or_name" in defs["rewards.RewardModel.from_pretrained"]["properties"]
    assert {"rewards.RewardModel.from_pretrained", "rewards.Ensemble.from_pretrained"} <= set(
        defs["any.rewards"]["anyOf"][2]["properties"]["use"]["enum"]
    )
