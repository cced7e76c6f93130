"""Samplers that walk, against chains whose every distribution is known, and through whole runs."""

from __future__ import annotations

import dataclasses
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch

from guerdon import advantages, objectives
from guerdon.core import Batch, DataError, Items, PlanError, RewardOutput, Rollout, Streams, reduce
from guerdon.policies import Diffusion, Edit
from guerdon.run import AdamW, Plan, Prompts, Train, run
from guerdon.run.compatibility import check_plan
from guerdon.run.live import LiveDraw
from guerdon.samplers import Branch, Group, MovingFork, Particles, Reset, SlidingWindow, SoftValue
from guerdon.samplers._particles import systematic
from guerdon.testing._finite_chain import FiniteChain
from guerdon.testing._policies import TinyText

PRIZE = torch.tensor([0.0, 1.0, 2.0, 0.5, 1.5], dtype=torch.double)


class Table:
    """A draw over a policy, scored by a table of rewards; it remembers what it scored."""

    scope, step = "sample", 0

    def __init__(self, policy, prize=PRIZE, columns=None, fails=()):
        self.policy, self.prize, self.columns, self.fails = policy, prize, columns or {}, fails
        self.streams, self.scored = Streams(5), []

    def items(self, n):
        return Items(["any"] * n, self.streams.uids(n), {k: v[:n] for k, v in self.columns.items()})

    def begin(self, items, n, **controls):
        return self.policy.begin(items, n, streams=self.streams, **controls)

    def score(self, rollout):
        self.scored.append(rollout)
        found = RewardOutput.of(self.prize[rollout.outputs])
        ok = ~torch.isin(rollout.outputs, torch.tensor(self.fails, dtype=torch.long))
        found = found.replace(ok=ok, reason=["" if k else "no" for k in ok.tolist()])
        return SimpleNamespace(result=lambda: found)


def share(rollout: Rollout, size: int = 5) -> torch.Tensor:
    return torch.bincount(rollout.outputs, minlength=size).double() / len(rollout)


def apart(p: torch.Tensor, q: torch.Tensor) -> float:
    """Total variation."""
    return 0.5 * float((p - q).detach().abs().sum())


# -- Branch


def test_a_tree_of_two_forks_by_hand():
    chain = FiniteChain(size=5, steps=6)
    rollout, reward = Branch(contexts=2, at=(2, 4), n=(2, 2))(Table(chain))
    assert len(rollout) == len(reward) == 8
    assert len(rollout.uid.unique()) == 8
    first = rollout[:4]
    # steps 0 and 1 are one walk, 2 and 3 two, 4 and 5 four
    shared = [[len(first.node[:, t].unique()) for t in range(6)], (first.node[0] == first.node[1]).tolist()]
    assert shared == [[1, 1, 2, 2, 4, 4], [True] * 4 + [False] * 2]
    assert (first.node[0] == first.node[2]).tolist() == [True] * 2 + [False] * 4
    assert not torch.isin(rollout.node[4:], first.node).any()
    same = rollout.node[:, None] == rollout.node[None]
    assert bool((rollout.states[:, None, 1:] == rollout.states[None, :, 1:])[same].all())
    assert bool((rollout.logp[:, None] == rollout.logp[None])[same].all())
    assert torch.equal(chain(rollout).logp.detach(), rollout.logp)
    assert rollout.group.unique(return_counts=True)[1].tolist() == [4, 4]
    assert rollout.group[0] == rollout.group[3]


@pytest.mark.parametrize(("shared", "counts"), [("each", [4] * 6), ("once", [1, 1, 2, 2, 4, 4]), ("never", [0, 0, 0, 0, 4, 4])])
def test_how_often_a_shared_step_counts(shared, counts):
    draw = Table(FiniteChain(size=5, steps=6))
    rollout, _ = Branch(contexts=1, at=(2, 4), n=(2, 2), shared=shared)(draw)
    assert rollout.mask.sum(0).tolist() == counts
    assert bool((rollout.logp[~rollout.mask] == 0).all())
    assert not draw.scored[0].mask.all() or shared == "each"  # what is scored is what is returned
    assert torch.equal(draw.policy(rollout).logp.detach(), rollout.logp)


def test_siblings_are_a_group_and_roots_are_not():
    rollout, _ = Branch(contexts=2, at=(0, 3), n=(2, 3), roots=2, group="siblings")(Table(FiniteChain(size=5, steps=5)))
    assert len(rollout) == 24
    assert rollout.group.unique(return_counts=True)[1].tolist() == [3] * 8
    assert bool((rollout.group.reshape(8, 3) == rollout.group[::3, None]).all())
    starts = rollout.states[:, 0].reshape(4, 6)  # a fork at 0 is one start for all of a root
    assert bool((starts == starts[:, :1]).all())


def gradient(shared: str) -> torch.Tensor:
    chain = FiniteChain(size=5, steps=4)
    rollout, reward = Branch(contexts=6, at=(2,), n=(4,), shared=shared)(Table(chain))
    batch = Batch.of(rollout, reward)
    batch = batch.replace(advantage={"main": advantages.GroupNorm()(batch)})
    loss = objectives.PolicyGradient(clip=None)(chain(rollout), batch)
    reduce(loss, batch, 1.0, "step").backward()
    return chain.table.grad


def test_siblings_teach_nothing_of_what_they_share():
    each, never = gradient("each"), gradient("never")
    assert float(each[:2].abs().max()) < 1e-12  # the advantages of siblings sum to 0
    assert float(each[2:].abs().max()) > 0.1
    assert torch.allclose(each, never, atol=1e-12)


def test_a_tree_counted_in_each_row_is_the_policy_gradient():
    """Of 1, 2 and 4 distinct steps: in each row, all steps have the weight of the true gradient; once, 1/4, 1/2 and 1 of it."""
    chain = FiniteChain(size=5, steps=3, scale=3.0)
    (exact,) = torch.autograd.grad(chain.marginal() @ PRIZE, [chain.table])
    for shared, weights in [("each", [1.0, 1.0, 1.0]), ("once", [0.25, 0.5, 1.0])]:
        rollout, reward = Branch(contexts=20_000, at=(1, 2), n=(2, 2), shared=shared)(Table(chain))
        gain = (reward.total - reward.total.mean())[:, None]
        (found,) = torch.autograd.grad((gain * chain(rollout).logp).sum(1).mean(), [chain.table])
        along = (found * exact).sum((1, 2)) / exact.square().sum((1, 2))
        assert along.tolist() == pytest.approx(weights, abs=0.15)


def test_branches_must_rise_and_differ():
    for bad, message in [
        ({"at": (3, 3), "n": (2, 2)}, "must rise"), ({"at": (1,), "n": (1,)}, "at least 2"), ({"at": (1, 2)}, "every fork"),
        ({"shared": "one"}, "did you mean 'once'"), ({"contexts": 0}, "contexts"),
    ]:  # fmt: skip
        with pytest.raises(PlanError, match=message):
            Branch(**bad)
    with pytest.raises(PlanError, match="a fork at step 9 of a walk of 6 steps"):
        Branch(at=(9,), n=(2,))(Table(FiniteChain(size=5, steps=6)))
    draw = live(tiny(), Branch())
    with pytest.raises(PlanError, match="no step from 3 to 3 is noisy"):  # DDIM's last step is a plain map
        Branch(at=(3,), n=(2,))(draw)


# -- SoftValue


@pytest.mark.parametrize("seed", [0, 1])
def test_with_the_exact_soft_value_the_tilted_distribution_is_sampled(seed):
    chain, alpha = FiniteChain(size=5, steps=3, seed=seed), 0.5
    value, target = chain.soft_values(PRIZE, alpha), chain.tilted(PRIZE, alpha)
    sampler = SoftValue(contexts=6000, candidates=200, alpha=alpha, value=lambda walk, ways: value[walk.at + 1][ways])
    rollout, _ = sampler(Table(chain))
    assert apart(chain.marginal(), target) > 0.4
    assert apart(share(rollout), target) < 0.03


def test_one_candidate_is_no_guidance_and_many_foreseen_ones_help():
    chain, alpha = FiniteChain(size=5, steps=3), 0.5
    plain = chain.sample(Table(chain).items(50), 2, streams=Streams(5))
    rollout, _ = SoftValue(contexts=50, n=2, candidates=1)(Table(chain))
    assert torch.equal(rollout.states, plain.states)
    draw = Table(chain)
    rollout, reward = SoftValue(contexts=1000, candidates=20, alpha=alpha)(draw)
    target = chain.tilted(PRIZE, alpha)
    assert apart(share(rollout), target) < 0.2 < 0.4 < apart(chain.marginal(), target)
    best, _ = SoftValue(contexts=1000, candidates=20, alpha=0.0)(Table(chain))
    assert float(PRIZE[best.outputs].mean()) > float(PRIZE[rollout.outputs].mean())
    assert torch.equal(reward.total, PRIZE[rollout.outputs])


def test_candidates_have_identities_of_their_own_and_are_no_rows():
    draw = Table(FiniteChain(size=5, steps=3), columns={"answer": list("abc")})
    rollout, _ = SoftValue(contexts=3, n=2, candidates=4)(draw)
    assert [len(r) for r in draw.scored] == [24, 24, 24, 6]
    seen = torch.cat([r.uid for r in draw.scored])
    assert len(seen.unique()) == len(seen)
    assert draw.scored[0].info["answer"][:9] == ["a"] * 8 + ["b"]
    assert torch.equal(rollout.uid, draw.scored[-1].uid)
    assert rollout.logp is None
    assert rollout.behaviour[0].engine == "steered"


def test_what_cannot_be_scored_is_not_chosen():
    draw = Table(FiniteChain(size=5, steps=3), fails=(2, 4))
    rollout, reward = SoftValue(contexts=200, candidates=30, alpha=0.5)(draw)
    assert not torch.isin(rollout.outputs, torch.tensor([2, 4])).any()
    assert 0 < float(reward.parts["foreseen/failed"].mean()) < 1
    rollout, reward = SoftValue(contexts=50, candidates=5)(Table(FiniteChain(size=5, steps=3), fails=range(5)))
    assert reward.parts["foreseen/failed"].tolist() == [1.0] * 50
    assert not reward.ok.any()


def test_only_rewards_of_single_rows_can_guide():
    draw = Table(FiniteChain(size=5, steps=3))
    draw.scope = "group"
    with pytest.raises(PlanError, match="SoftValue judges unfinished rows, so it needs a reward of scope 'sample', not 'group'"):
        SoftValue()(draw)
    Particles(contexts=2, n=4)(draw)
    draw.scope = "batch"
    with pytest.raises(PlanError, match="'sample' or 'group', not 'batch'"):
        Particles()(draw)


def test_foreseen_means_beat_the_best_of_n_at_equal_calls():
    """Exact flow of a standard normal, 8 steps: m = 8 costs 8 + 7 * 8 = 64 calls of the network, as do 8 whole samples."""
    policy, rows = normal_flow(), 400
    draw = live(policy, SoftValue())
    policy.network.rows = 0
    _, reward = SoftValue(contexts=rows, candidates=8, alpha=0.0)(draw)
    assert policy.network.rows == rows * 64
    other = draw.begin(draw.items(rows), 8).finish().outputs[:, 0].reshape(rows, 8).amax(1)
    assert float(reward.total.mean()) > float(other.mean()) + 1


def test_foreseen_means_lose_where_they_tell_nothing():
    """A prize only beyond two deviations: no mean foreseen early gets there. The best of 57 asks for as many rewards."""
    rows = 300
    draw = live(normal_flow(), SoftValue(), lambda x: (x[:, 0] > 2).double())
    _, reward = SoftValue(contexts=rows, candidates=8, alpha=0.0)(draw)
    other = draw.begin(draw.items(rows), 57).finish().outputs[:, 0].reshape(rows, 57).amax(1)
    assert float(reward.total.mean()) < 0.1 < float((other > 2).double().mean())


# -- Particles


@pytest.mark.parametrize(
    ("potential", "threshold", "every", "alpha"), [("difference", 0.5, 1, 0.5), ("max", 0.5, 2, 0.5), ("sum", 1.0, 1, 2.0)]
)
def test_particles_reach_the_tilted_distribution_whatever_they_foresee(potential, threshold, every, alpha):
    chain = FiniteChain(size=5, steps=4)
    sampler = Particles(contexts=40, n=256, alpha=alpha, potential=potential, threshold=threshold, every=every)
    rollout, reward = sampler(Table(chain))
    target = chain.tilted(PRIZE, alpha)
    assert apart(share(rollout), target) < 0.03 < 0.1 < apart(chain.marginal(), target)
    assert len(rollout.uid.unique()) == len(rollout) == len(reward)
    assert rollout.group.unique(return_counts=True)[1].tolist() == [256] * 40
    assert rollout.logp is None


def test_rows_are_drawn_as_often_as_expected_rounded():
    share_of = torch.tensor([[0.5, 0.25, 0.25, 0.0], [0.1, 0.2, 0.3, 0.4]])
    for u in (0.01, 0.3, 0.99):
        for row, place in zip(share_of, systematic(share_of, torch.tensor([[u], [u]])), strict=True):
            count = torch.bincount(place, minlength=4)
            assert bool(((count - 4 * row).abs() < 1).all())


def test_copies_part_and_the_unscored_are_dropped():
    rollout, reward = Particles(contexts=1, n=40, alpha=0.01, threshold=1.0)(Table(FiniteChain(size=5, steps=5)))
    assert len(rollout.node[:, 0].unique()) < 40  # few of the first moves are left
    assert len(rollout.uid.unique()) == 40
    assert float(reward.total.mean()) > 1.9
    draw = Table(FiniteChain(size=5, steps=3), fails=(2,))
    rollout, reward = Particles(contexts=5, n=40, alpha=0.5)(draw)
    assert bool(reward.ok.all())
    rollout, reward = Particles(contexts=2, n=4)(Table(FiniteChain(size=5, steps=3), fails=range(5)))
    assert len(rollout) == 8
    assert not reward.ok.any()


# -- Reset


def test_a_reset_of_the_policys_own_outputs_leaves_their_distribution_as_it_is():
    chain = FiniteChain(size=5, steps=4, seed=3)
    given = chain.sample(Items(["any"] * 4000, Streams(9).uids(4000)), streams=Streams(9)).outputs
    draw = Table(chain, columns={"old": given})
    rollout, _ = Reset(level=2, column="old", contexts=4000, n=1)(draw)
    assert rollout.steps == 2
    assert rollout.trace["level"].unique().tolist() == [2, 3]
    assert apart(share(rollout), chain.marginal()) < 0.03
    assert float((rollout.outputs != given).double().mean()) > 0.3
    fixed = Table(chain, columns={"old": torch.zeros(4000, dtype=torch.long)})
    rollout, _ = Reset(level=3, column="old", contexts=4000, n=1)(fixed)
    back = (chain.start.softmax(0) @ chain.moves()[0] @ chain.moves()[1] @ chain.moves()[2]) * chain.after(3)[:, 0]
    assert apart(share(rollout), back / back.sum() @ chain.after(3)) < 0.03


def test_a_reset_names_what_is_missing():
    draw = Table(FiniteChain(), columns={"old": torch.zeros(9, dtype=torch.long)})
    with pytest.raises(PlanError, match="no column 'odl'; did you mean 'old'"):
        Reset(level=1, column="odl")(draw)
    with pytest.raises(DataError, match="a context of type str has no source"):
        Reset(level=1)(draw)
    with pytest.raises(PlanError, match="level must be a whole number of at least 1, got 0"):
        Reset(level=0)


def test_pictures_are_edited_from_their_source():
    """One step of four is left: at level 3 of a cosine chain, 0.38 of the noise's deviation."""
    policy, source = tiny(), torch.full((2,), 0.5, dtype=torch.double)
    items = Items([Edit(source, "red")] * 2, Streams(0).uids(2))
    draw = live(policy, Reset(level=3))
    draw.items = lambda n: items
    policy.condition = None
    rollout, _ = Reset(level=3, contexts=2, n=3)(draw)
    assert rollout.steps == 1
    level = policy.levels(4)
    noise = (rollout.states[:, 0] - level.a[3] * source) / level.s[3]
    assert len(noise.unique()) == 12
    assert float(noise.abs().max()) < 4


# -- SlidingWindow


def test_the_window_moves_and_begins_anew():
    window = SlidingWindow(Group(contexts=1, n=2), steps=8, size=3, stride=2, every=2, last=7)
    assert [window.window(k) for k in range(8)] == [(0, 3)] * 2 + [(2, 3)] * 2 + [(4, 3)] * 2 + [(0, 3)] * 2
    assert window.controls == {"steps": 8}
    with pytest.raises(PlanError, match="4 steps do not fit from step 5 to 8 of 8"):
        SlidingWindow(Group(), steps=8, first=5)
    with pytest.raises(PlanError, match="SlidingWindow sets 'window'"):
        SlidingWindow(Group(controls={"window": (0, 1)}), steps=8)


def test_only_the_windows_steps_are_chosen_and_forks_move_along():
    window = SlidingWindow(Branch(contexts=1, at=(0, 1), n=(2, 2), controls={}), steps=6, size=2, every=1)
    policy = tiny()
    draw = live(policy, window)
    draw.run.step = 2
    rollout, _ = window(draw)
    assert rollout.mask.tolist() == [[False, False, True, True, False, False]] * 4
    assert [len(rollout.node[:, t].unique()) for t in range(6)] == [1, 1, 2, 4, 4, 4]
    assert float((policy(rollout).logp.detach() - rollout.logp).abs().max()) < 1e-9


def test_forks_move_back():
    moving = MovingFork(Branch(contexts=1, at=(3, 4), n=(2, 2), shared="never"), to=1, over=6)
    assert [moving.at(k) for k in range(8)] == [(3, 4)] * 2 + [(2, 3)] * 2 + [(1, 2)] * 4
    draw = Table(FiniteChain(size=5, steps=6))
    draw.step = 3
    assert moving(draw)[0].mask.sum(0).tolist() == [0, 0, 0, 4, 4, 4]
    assert MovingFork(Branch(at=(0,), n=(2,)), to=2, over=3).at(1) == (1,)
    with pytest.raises(PlanError, match=r"the forks of a samplers\.Branch, got Group"):
        MovingFork(Group(), to=0, over=3)


# -- in a run


def tiny() -> Diffusion:
    from guerdon.policies import DenoiserMLP

    return Diffusion.of((2,), network=DenoiserMLP((8,)), steps=4, dtype="float64")


class Normal(torch.nn.Module):
    """The velocity of the exact flow from noise to a standard normal; counts the rows it was asked about."""

    width = 1

    def __init__(self):
        super().__init__()
        self.rows, self.weight = 0, torch.nn.Parameter(torch.ones(1, dtype=torch.double))

    def forward(self, x, time, condition=None):
        self.rows += len(x)
        t = time[:, None]
        return (
            self.weight * (2 * t - 1) / ((1 - t) ** 2 + t**2) * x
        )  # (x - E[x_0 | x]) / t, E[x_0 | x] = (1 - t) x / ((1 - t)^2 + t^2)


def normal_flow():
    from guerdon.policies import DDIM, Flow, Straight

    return Flow((2,), Normal(), None, noise=Straight(), predict="flow", kernel=DDIM(1.0), steps=8)


def live(policy, sampler, prize=lambda x: x[:, 0]):
    """A draw of a run that is not there, scored by a function of the outputs."""
    stub = SimpleNamespace(step=0, plan=SimpleNamespace(sampler=sampler), phase=lambda name: nullcontext())
    draw = LiveDraw(stub, policy, None, Streams(3), None)
    draw.items = lambda n: Items([None] * n, Streams(4).uids(n))
    draw.score = lambda rollout: SimpleNamespace(result=lambda: RewardOutput.of(prize(rollout.outputs)))
    return draw


CALLS: list[int] = []


def towards_one(output):
    CALLS.append(1)
    return -float((output - 1).square().sum())


def plan(sampler, objective=objectives.PolicyGradient(), **changes):
    parts = {
        "policy": tiny(), "source": Prompts(("a", "b", "c")), "sampler": sampler, "reward": towards_one, "steps": 4,
        "advantage": advantages.Tree() if isinstance(sampler, SlidingWindow) else advantages.GroupNorm(), "learners": {"policy": Train(objective, AdamW(lr=1e-2))}, "checkpoint_every": 2,
    }  # fmt: skip
    return Plan(**{**parts, **changes})


@pytest.mark.parametrize(
    ("sampler", "objective"),
    [
        (SlidingWindow(Branch(contexts=2, at=(0, 1), n=(2, 2), shared="once", chunk=1), steps=5, size=2, every=1, last=4), objectives.PolicyGradient()),
        (SoftValue(contexts=3, candidates=3), objectives.SFT()),
        (Particles(contexts=2, n=3, alpha=0.5), objectives.SFT()),
    ],
    ids=["branch", "soft-value", "particles"],
)  # fmt: skip
def test_a_stopped_run_goes_on_as_if_nothing_had_happened(sampler, objective, tmp_path):
    CALLS.clear()
    whole = run(plan(sampler, objective), tmp_path / "whole")
    asked = len(CALLS)
    again = plan(sampler, objective)

    def stop(event):
        if event["event"] == "draw" and event["step"] == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(again, tmp_path / "parts", sinks=(stop,))
    resumed = run(plan(sampler, objective), tmp_path / "parts", resume_run=True)
    assert whole.history == resumed.history
    assert len(CALLS) == 2 * asked  # the third draw is made again, and its verdicts, those of foreseen outputs too, are found
    before, after = whole.policy.state_dict(), resumed.policy.state_dict()
    assert all(torch.equal(before[k], after[k]) for k in before)
    assert any(not torch.equal(v, tiny().state_dict()[k]) for k, v in after.items())


def test_results_do_not_depend_on_how_items_are_cut():
    found = [Branch(contexts=3, at=(1,), n=(2,), chunk=c)(live(tiny(), Branch()))[0] for c in (None, 1, 2)]
    for other in found[1:]:
        assert torch.equal(found[0].uid, other.uid)
        assert torch.allclose(found[0].states, other.states, atol=1e-12)
    draw = live(tiny(), Branch())
    items = draw.items(2)
    one, two = draw.begin(items, 1), draw.begin(items[[1]], 1)
    assert not torch.equal(one.state[1], two.state[0])  # asked again, other noise


def test_steered_rows_are_refused_by_losses_that_need_their_log_probs():
    for sampler in (SoftValue(), Particles(), SlidingWindow(SoftValue(), steps=4, size=2)):
        name = type(sampler).__name__
        with pytest.raises(PlanError, match=rf"needs the log-probs of the policy that acted; steered rows \(samplers.{name}\)"):
            check_plan(plan(sampler))
        check_plan(plan(sampler, objectives.SFT()))
    check_plan(plan(Branch()))
    check_plan(plan(Reset(level=1)))


def test_a_policy_of_finished_rows_is_refused_before_anything_runs():
    asked = []
    with pytest.raises(PlanError, match=r"^samplers\.Branch walks step by step, and TinyText gives finished rows only: "
                                        r"take one of policies\.Consistency, policies\.Diffusion"):  # fmt: skip
        run(plan(Branch(), policy=TinyText(), reward=lambda output: asked.append(1)))
    assert not asked


def test_memory_is_estimated_for_all_rows_of_a_tree():
    from guerdon.run.estimate import _rows

    assert _rows(Branch(contexts=3, at=(0, 2), n=(2, 3), roots=2)) == 36
    assert _rows(SlidingWindow(Group(contexts=3, n=4), steps=8)) == 12


def test_moves_of_a_walk_count_as_sampling():
    draw, names = live(tiny(), Branch()), []
    draw.run.phase = lambda name: names.append(name) or nullcontext()
    walk = draw.begin(draw.items(2), 1)
    walk.advance()
    walk = walk.fork(2)
    walk.advance(walk.candidates(1)[:, 0])
    before = len(names)
    rollout = walk.finish()
    assert len(rollout) == 4
    assert len(names) > before > 5
    assert set(names) == {"sample"}
    assert not rollout.states.requires_grad


def test_plans_with_walking_samplers_are_written_down():
    for sampler in (
        SlidingWindow(Branch(at=(0, 2), n=(2, 3)), steps=8), SoftValue(alpha=0.0), MovingFork(Branch(), 2, 5), Reset(2, "old"), Particles(potential="max")
    ):  # fmt: skip
        from guerdon.run import lazy

        written = plan(sampler, policy=lazy(Diffusion.of, shape=(2,)), reward=None, learners={})
        assert dataclasses.replace(Plan.from_tree(written.to_tree())).sampler == sampler
