"""Consistency models: the boundary, their steps as Gaussians, distillation by hand and onto a known mixture, and PPO on top."""

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from guerdon import advantages, objectives, samplers
from guerdon.core import Batch, DataError, Finding, Items, PlanError, RewardOutput, Rollout, Streams
from guerdon.policies import DDIM, Consistency, Cosine, DenoiserMLP, Diffusion, Distillation, Flow, Labels, Straight
from guerdon.policies.denoising import Condition
from guerdon.policies.denoising._distillation import Distiller
from guerdon.policies.denoising._predictions import READ
from guerdon.run import AdamW, Distil, Plan, Prompts, Train, run

MEANS = torch.tensor([[-0.7, -0.4], [0.6, 0.5], [0.5, -0.6]], dtype=torch.double)
SHARES = torch.tensor([0.5, 0.3, 0.2], dtype=torch.double)
STD = 0.12


class Mixture(nn.Module):
    """The exact velocity of a straight flow whose data is a mixture of three Gaussians."""

    width = 1

    def __init__(self) -> None:
        super().__init__()
        self.means = nn.Parameter(MEANS.clone(), requires_grad=False)

    def forward(self, x: Tensor, time: Tensor, condition: Condition) -> Tensor:
        t = time.to(x)[:, None]
        variance = ((1 - t) * STD).square() + t.square()
        away = x[:, None] - (1 - t)[:, :, None] * self.means
        share = (SHARES.log() - away.square().sum(-1) / (2 * variance)).softmax(-1)[..., None]
        data = (share * (self.means + ((1 - t) * STD**2 / variance)[:, None] * away)).sum(1)
        return (x - (1 - t) * data) / t - data


def mixture(steps: int = 50) -> Flow:
    return Flow((2,), Mixture(), None, noise=Straight(), predict="flow", kernel=DDIM(0.0), steps=steps)


def data(n: int, streams: Streams) -> Tensor:
    which = (streams("which").uniform(n)[0][:, None] > SHARES.cumsum(0)[:-1]).sum(1)
    return MEANS[which] + STD * streams("data").normal(2 * n).reshape(n, 2)


def items(n: int, streams: Streams) -> Items:
    return Items([""] * n, streams.uids(n))


def energy(x: Tensor, y: Tensor) -> float:
    """Energy distance, 0 for equal distributions."""
    return float(2 * torch.cdist(x, y).mean() - torch.cdist(x, x).mean() - torch.cdist(y, y).mean())


def shuffled(policy: Consistency | Diffusion, seed: int = 3, scale: float = 0.4) -> Consistency | Diffusion:
    """With weights that matter, the last layer's too."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in policy.parameters():
            p.copy_(scale * torch.randn(p.shape, generator=generator, dtype=p.dtype))
    return policy


def small(predict: str = "velocity", steps: int = 3) -> Consistency:
    net = DenoiserMLP((8,))
    return shuffled(Consistency.of((2,), network=net, predict=predict, steps=steps, dtype="float64"))  # type: ignore[arg-type, return-value]


@pytest.fixture(scope="module")
def student() -> Consistency:
    streams = Streams(1)
    pupil = Consistency.of((2,), network=DenoiserMLP((48, 48)), noise=Straight(), predict="flow", dtype="float64")
    given = data(2000, streams)
    spec = Distillation(points=16, huber=0.03, ema=0.9)
    return Consistency.distilled_from(
        mixture(), items(2000, streams), given, streams=streams, student=pupil, updates=240, batch=128, lr=5e-3, spec=spec
    )


# -- the map


@pytest.mark.parametrize("predict", ["velocity", "flow", "noise", "data"])
def test_without_noise_the_map_changes_nothing(predict: str) -> None:
    policy, x = small(predict), torch.randn(5, 2, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    end = policy.levels(4).at(torch.full((5,), 4))
    asked = policy.ask([""] * 5, policy.how)
    assert torch.equal(policy.mapped(x, end, asked), x)
    start = policy.levels(4).at(torch.zeros(5, dtype=torch.long))
    assert not torch.allclose(policy.mapped(x, start, asked), x)


def test_the_map_of_a_data_prediction_by_hand() -> None:
    policy, x = small("data"), torch.tensor([[0.3, -1.0]], dtype=torch.double)
    here = policy.levels(4).at(torch.tensor([2]))
    a, s = float(here.a), float(here.s)
    said = policy.network(x, here.time, Condition())
    both = s**2 + 0.25 * a**2
    expected = 0.25 * a**2 / both * x + s / math.sqrt(both) * said
    torch.testing.assert_close(policy.mapped(x, here, policy.ask([""], policy.how)), expected, rtol=1e-12, atol=0)


def test_for_other_predictions_the_map_is_the_data_that_follows_from_them() -> None:
    for predict in ("velocity", "flow", "noise"):
        policy, x = small(predict), torch.tensor([[0.3, -1.0]], dtype=torch.double)
        here = policy.levels(4).at(torch.tensor([1]))
        said = policy.network(x, here.time, Condition())
        expected = READ[predict](said, x, here.a[:, None], here.s[:, None])[0]  # type: ignore[index]
        torch.testing.assert_close(policy.mapped(x, here, policy.ask([""], policy.how)), expected, rtol=1e-12, atol=1e-12)


def test_steps_are_gaussians_around_the_map_and_the_last_is_the_map() -> None:
    policy, streams = small(), Streams(0)
    rollout = policy.sample(items(4, streams), 1, streams=streams)
    assert rollout.mask.tolist() == [[True, True, False]] * 4
    levels, states = policy.levels(3), rollout.states
    assert states is not None and rollout.logp is not None
    with torch.no_grad():
        for k in range(3):
            row = levels.at(torch.full((4,), k))
            mapped = policy.mapped(states[:, k], row, policy.ask([""] * 4, policy.how))
            if k == 2:
                torch.testing.assert_close(rollout.outputs, mapped, rtol=1e-12, atol=1e-12)
                continue
            a, s = float(levels.a[k + 1]), float(levels.s[k + 1])
            law = torch.distributions.Normal(a * mapped, s)
            torch.testing.assert_close(rollout.logp[:, k], law.log_prob(states[:, k + 1]).sum(1), rtol=0, atol=1e-9)
    assert torch.equal(policy(rollout).logp.detach()[:, 2], torch.zeros(4, dtype=torch.double))  # type: ignore[union-attr]


def test_given_outputs_have_no_denoising_bound() -> None:
    policy, streams = small(), Streams(0)
    rollout = policy.rollout_from(items(2, streams), torch.zeros(2, 2), streams=streams)
    with pytest.raises(PlanError, match=r"Consistency has no denoising bound .* run\.Distil"):
        policy(rollout)


# -- distillation


def test_the_loss_of_distillation_by_hand() -> None:
    teacher = shuffled(Diffusion.of((2,), network=DenoiserMLP((6,)), condition=Labels(2, 3), dtype="float64"), 5)
    assert isinstance(teacher, Diffusion)
    pupil = Consistency.like(teacher)
    shuffled(pupil, 6)
    spec, streams, uid = Distillation(points=5, guidance=3.0, huber=0.2), Streams(4), Streams(4).uids(6)
    distiller = Distiller(pupil, teacher, spec)
    shuffled(distiller.target, 7)
    x0, labels = data(6, streams), [0, 1, 1, 0, 1, 0]
    found = distiller.loss(labels, x0, streams, uid)

    levels = Cosine().levels(5)
    level = streams("level", uid).integers(5, 1)[:, 0]
    noise = streams("start", uid).normal(2)
    for k in range(6):
        t, u = int(level[k]), int(level[k]) + 1
        a, s, b, r = levels.a[t], levels.s[t], levels.a[u], levels.s[u]
        x = (a * x0[k] + s * noise[k])[None]
        asked, nothing = teacher.condition([labels[k]]), teacher.condition([None])  # type: ignore[misc]
        said, alone = (teacher.network(x, levels.time[t : t + 1], c) for c in (asked, nothing))
        v = alone + 3.0 * (said - alone)
        there = b * (a * x - s * v) + r * (s * x + a * v)  # the teacher's velocity to data and noise, then DDIM without noise
        goal = b * there - r * distiller.target.network(there, levels.time[u : u + 1], distiller.target.condition([labels[k]]))  # type: ignore[misc]
        mine = a * x - s * pupil.network(x, levels.time[t : t + 1], pupil.condition([labels[k]]))  # type: ignore[misc]
        expected = ((mine - goal).square() + 0.04).sqrt().sub(0.2).mean()
        torch.testing.assert_close(found[k], expected, rtol=1e-10, atol=1e-12)


def test_without_a_teacher_the_same_noise_leads_to_the_next_level() -> None:
    pupil, streams, uid = small(), Streams(4), Streams(4).uids(6)
    distiller = Distiller(pupil, None, Distillation(points=5, huber=0.2))
    x0 = data(6, streams)
    levels, level, noise = pupil.levels(5), streams("level", uid).integers(5, 1)[:, 0], streams("start", uid).normal(2)
    asked, here, there = pupil.ask([""] * 6, pupil.how), levels.at(level), levels.at(level + 1)
    mine = pupil.mapped(here.a[:, None] * x0 + here.s[:, None] * noise, here, asked)
    goal = pupil.mapped(there.a[:, None] * x0 + there.s[:, None] * noise, there, asked)
    expected = ((mine - goal).square() + 0.04).sqrt().sub(0.2).mean(1)
    torch.testing.assert_close(distiller.loss([""] * 6, x0, streams, uid), expected, rtol=1e-12, atol=1e-12)


def test_the_target_is_a_running_average_that_can_be_put_back() -> None:
    pupil = small()
    distiller, before = Distiller(pupil, None, Distillation(points=5, ema=0.75)), small()
    shuffled(pupil, 9)
    distiller.follow()
    for ours, old, new in zip(distiller.target.parameters(), before.parameters(), pupil.parameters(), strict=True):
        torch.testing.assert_close(ours, 0.75 * old + 0.25 * new)
    other = Distiller(pupil, None, Distillation(points=5))
    other.load_state_dict(distiller.state_dict())
    for ours, theirs in zip(other.target.parameters(), distiller.target.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_student_begins_as_its_teacher_and_follows_its_schedule_only() -> None:
    teacher = shuffled(Diffusion.of((2,), network=DenoiserMLP((6,)), dtype="float64"))
    assert isinstance(teacher, Diffusion)
    pupil, streams = Consistency.like(teacher, steps=2), Streams(0)
    one = items(3, streams)
    torch.testing.assert_close(  # at first its only step goes where the teacher's would
        pupil.sample(one, 1, streams=streams, steps=1).outputs, teacher.sample(one, 1, streams=streams, steps=1).outputs
    )
    assert Consistency.like(Diffusion.of((2,), network=DenoiserMLP((6,)), predict="noise")).predict == "velocity"
    with pytest.raises(PlanError, match=r"its teacher \(2,\) along Straight.* policies\.Consistency\.like\(teacher\)"):
        Distiller(pupil, mixture(), Distillation())


@pytest.mark.parametrize(("field", "value"), [("points", 1), ("huber", 0.0), ("huber", math.inf), ("ema", 1.0)])
def test_settings_that_make_no_sense(field: str, value: float) -> None:
    with pytest.raises(PlanError, match=f"Distillation: {field} must be"):
        Distillation(**{field: value})  # type: ignore[arg-type]


def test_a_student_of_a_known_mixture_reaches_it_in_two_steps(student: Consistency) -> None:
    streams = Streams(9)
    many = items(800, streams)
    goal = mixture().sample(many, 1, streams=streams).outputs
    true = data(800, streams.fork(1))
    assert isinstance(goal, Tensor)
    assert energy(goal, true) < 0.01  # the teacher is right, with its 50 steps; two draws of the data: 0.002
    for steps, hasty in ((2, 0.2), (4, 0.02)):  # the teacher's own distance with so few steps
        few, own = (p.sample(many, 1, streams=streams, steps=steps).outputs for p in (student, mixture()))
        assert isinstance(few, Tensor) and isinstance(own, Tensor)
        assert energy(own, goal) > 0.8 * hasty
        assert energy(few, goal) < 0.016  # at three other seeds: 0.005 to 0.010
        nearest = torch.cdist(few, MEANS).argmin(1)
        shares = torch.bincount(nearest, minlength=3) / len(few)
        assert float((shares - SHARES).abs().sum() / 2) < 0.05


# -- and what trains it further


class Near:
    """Minus the squared distance to a point."""

    scope = "sample"
    differentiable = True

    def __call__(self, rollout: Rollout) -> RewardOutput:
        assert isinstance(rollout.outputs, Tensor)
        return RewardOutput.of(-(rollout.outputs - MEANS[2]).square().sum(-1))


def test_clipped_policy_gradients_move_it_to_where_the_reward_is(student: Consistency) -> None:
    policy = copy.deepcopy(student)
    plan = Plan(
        policy=policy, source=Prompts(("",)), sampler=samplers.Group(contexts=1, n=128, controls={"steps": 2}), reward=Near(),
        advantage=advantages.GroupNorm(), steps=12, checks=(),
        learners={"policy": Train(objectives.PolicyGradient(), AdamW(lr=5e-4), epochs=2, minibatches=2)},
    )  # fmt: skip
    history = run(plan).history
    assert history[0]["mismatch/max"] < 1e-9
    # the nearest of three clusters holds a fifth of the data; -0.9 on average before, at best -2 * 0.12^2 = -0.03
    assert history[0]["reward/mean"] < -0.7
    assert history[-1]["reward/mean"] > -0.35


def test_a_plan_of_distillation_takes_the_steps_that_one_takes_by_hand() -> None:
    class Data:
        def draw(self, n: int, *, streams: Streams) -> Items:
            return Items([""] * n, streams.uids(n), {"completion": list(data(n, Streams(7)))})

        def tell(self, batch: object) -> None: ...

    net, seen, spec = DenoiserMLP((8,)), list[Rollout](), Distillation(points=8, ema=0.5)
    policy = Consistency.of((2,), network=net, noise=Straight(), predict="flow", dtype="float64")
    learner = Distil(mixture(), spec, updates=2, optim=AdamW(lr=1e-2), max_grad_norm=None)
    by_hand = copy.deepcopy(policy)

    def watch(batch: Batch, live: object) -> list[Finding]:
        seen.append(batch.rollout)
        return []

    plan = Plan(policy, Data(), samplers.Given(contexts=16), {"policy": learner}, steps=2, checks=(watch,))
    result = run(plan)

    distiller, adam = Distiller(by_hand, mixture(), spec), torch.optim.AdamW(by_hand.parameters(), 1e-2, weight_decay=0.0)
    losses = []
    for k in range(4):
        rows = seen[k // 2]
        loss = distiller.loss(rows.contexts, torch.stack(list(rows.outputs)), Streams(0).fork("distil", k), rows.uid).mean()
        losses.append(loss.item())
        adam.zero_grad()
        loss.backward()
        adam.step()
        distiller.follow()
    for ours, theirs in zip(policy.parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)
    assert [h["loss/policy"] for h in result.history] == pytest.approx([sum(losses[:2]) / 2, sum(losses[2:]) / 2])


def test_plans_of_distillation_that_cannot_work() -> None:
    learner = Distil(mixture(), Distillation(points=8))
    plan = Plan(policy=small(), source=Prompts(("",)), sampler=samplers.Group(), learners={"policy": learner}, reward=Near())
    with pytest.raises(PlanError, match=r"Distil learns from data: take samplers\.Given"):
        run(plan)
    with pytest.raises(PlanError, match=r"Distil trains a policies\.Consistency, got a Flow"):
        learner.build(mixture())
    two = items(2, Streams(0))
    with pytest.raises(DataError, match="item 1: has shape"):
        Consistency.distilled_from(mixture(), two, [torch.zeros(2), torch.zeros(3)], streams=Streams(0))
