"""Pathwise: its gradient by hand, failures, the price of a nat, and what it refuses before anything runs."""

import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from guerdon import rewards, samplers, transforms
from guerdon.core import Batch, Items, PlanError, RewardOutput, Rollout, Streams
from guerdon.policies import DDPM, DenoiserMLP, Diffusion, Frozen, Labels
from guerdon.run import AdamW, Pathwise, Plan, Prompts, run
from guerdon.run.pathwise import PathwiseTrainer
from guerdon.testing import example_policies

GOAL = torch.tensor([1.0, -0.5], dtype=torch.double)


class Near:
    """Minus the squared distance to a point; rows whose label is 2 have no number, those of 3 no gradient."""

    differentiable = True

    def __init__(self, scope: str = "sample") -> None:
        self.scope = scope

    def __call__(self, rollout: Rollout) -> RewardOutput:
        x = rollout.outputs
        assert isinstance(x, Tensor)
        total = -(x - GOAL).square().sum(-1)
        rows = [total[k : k + 1] for k in range(len(x))]
        for k, label in enumerate(rollout.contexts):
            rows[k] = (rows[k] - 1).sqrt() if label == 2 else (0 * rows[k]).sqrt() if label == 3 else rows[k]
        total = torch.cat(rows)
        return RewardOutput.of(total)


class Spread(Near):
    """How far the rows of a group are from each other."""

    def __call__(self, rollout: Rollout) -> RewardOutput:
        x = rollout.outputs
        assert isinstance(x, Tensor)
        same = (rollout.group[:, None] == rollout.group).double()
        return RewardOutput.of(((x[:, None] - x).square().sum(-1) * same).sum(1) / same.sum(1))


def tiny(seed: int = 0, **how: Any) -> Diffusion:
    """With weights that matter, the last layer's too."""
    policy = Diffusion.of((2,), network=DenoiserMLP((6,)), condition=Labels(4, 3), steps=3, dtype="float64", **how)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in policy.parameters():
            p.copy_(0.5 * torch.randn(p.shape, generator=generator, dtype=torch.double))
    return policy


def drawn(policy: Diffusion, labels: list[int], n: int = 3) -> Batch:
    streams = Streams(5)
    rollout = policy.sample(Items(labels, streams.uids(len(labels))), n, streams=streams)
    return Batch.of(rollout)


def live(reward: Any, references: dict[str, Any] | None = None, shaping: tuple[Any, ...] = ()) -> Any:
    """As much of a run as the learner asks for."""
    plan = SimpleNamespace(sampler=samplers.Group(controls={"guidance": 2.0}), transforms=shaping)
    return SimpleNamespace(
        plan=plan, reward=reward, references=references or {}, streams=Streams(8), transform_states=[t.init() for t in shaping]
    )


def gradients(spec: Pathwise, policy: Diffusion, batch: Batch, found: Any) -> tuple[list[Tensor], dict[str, float]]:
    """What the optimiser of one update saw."""
    policy = copy.deepcopy(policy)
    figures = PathwiseTrainer(spec, policy).update(batch, found)
    return [torch.zeros_like(p) if p.grad is None else p.grad for p in policy.parameters()], figures


def close(found: list[Tensor], expected: list[Tensor]) -> None:
    assert any(float(e.abs().max()) > 1e-3 for e in expected)
    for f, e in zip(found, expected, strict=True):
        torch.testing.assert_close(f, e, rtol=1e-8, atol=1e-12)


def by_hand(policy: Diffusion, batch: Batch, rows: list[int], weight: list[float], **how: Any) -> list[Tensor]:
    """Of the loss that the paper writes down: minus the weighted mean of the reward, plus the priced divergence."""
    policy, beta = copy.deepcopy(policy), how.pop("beta", 0.0)
    old = batch.rollout[rows]
    fresh = policy.rsample(Items(old.contexts, old.uid), 1, streams=Streams(8).fork("pathwise", 0), guidance=2.0, **how)
    assert isinstance(fresh.outputs, Tensor)
    climb = -(fresh.outputs - GOAL).square().sum(-1)
    if beta:
        climb = climb - beta * fresh.trace["kl"].sum(1)
    shares = torch.tensor(weight, dtype=torch.double)
    (-(shares * climb).sum() / shares.sum()).backward()
    return [torch.zeros_like(p) if p.grad is None else p.grad for p in policy.parameters()]


def test_its_gradient_is_that_of_the_loss_written_down() -> None:
    policy, batch = tiny(), drawn(tiny(), [0, 1])
    weight = torch.tensor([1.0, 2.0, 0.0, 1.0, 0.0, 0.5])
    found, figures = gradients(Pathwise(max_grad_norm=None, grad_steps=2), policy, batch.replace(weight=weight), live(Near()))
    close(found, by_hand(policy, batch, [0, 1, 3, 5], [1.0, 2.0, 1.0, 0.5], grad_steps=2))
    assert figures["rows"] == 4
    norm = torch.stack([f.norm() for f in found]).norm()
    assert figures["grad_norm"] == pytest.approx(float(norm), rel=1e-6)


def test_micro_batches_change_nothing() -> None:
    policy, batch = tiny(), drawn(tiny(), [0, 1, 0])
    whole = gradients(Pathwise(max_grad_norm=None), policy, batch, live(Near()))
    parts = gradients(Pathwise(max_grad_norm=None, rows=2), policy, batch, live(Near()))
    close(parts[0], whole[0])
    assert parts[1] == pytest.approx(whole[1])


def test_rows_that_are_compared_stay_together() -> None:
    policy, batch = tiny(), drawn(tiny(), [0, 1, 0])
    for scope in ("group", "batch"):
        whole = gradients(Pathwise(max_grad_norm=None), policy, batch, live(Spread(scope)))
        parts = gradients(Pathwise(max_grad_norm=None, rows=4), policy, batch, live(Spread(scope)))
        close(parts[0], whole[0])


def test_failed_rows_leave_the_loss() -> None:
    policy, batch = tiny(), drawn(tiny(), [0, 2, 3])  # without a number, and with one that has no gradient
    found, figures = gradients(Pathwise(max_grad_norm=None, rows=4), policy, batch, live(Near()))
    close(found, by_hand(policy, batch, [0, 1, 2], [1.0, 1.0, 1.0]))
    assert (figures["rows"], figures["no_gradient"]) == (3, 3)
    before = [p.clone() for p in policy.parameters()]
    figures = PathwiseTrainer(Pathwise(), policy).update(drawn(policy, [2]), live(Near()))
    assert figures["skipped/empty"] == 1
    assert all(torch.equal(p, b) for p, b in zip(policy.parameters(), before, strict=True))


def test_a_reward_that_raises_has_failed() -> None:
    class Broken(Near):
        def __call__(self, rollout: Rollout) -> RewardOutput:
            raise ValueError("no such picture")

    assert gradients(Pathwise(), tiny(), drawn(tiny(), [0]), live(Broken()))[1]["skipped/empty"] == 1


def test_the_price_of_a_nat_is_part_of_the_gradient() -> None:
    policy, other = tiny(), tiny(1)
    batch = drawn(policy, [0, 1])
    reference = Frozen().build(other)
    spec = Pathwise(grad_steps=3, beta=0.7, max_grad_norm=None)
    found, figures = gradients(spec, policy, batch, live(Near(), {"reference": reference}))
    close(found, by_hand(policy, batch, list(range(6)), [1.0] * 6, grad_steps=3, beta=0.7, reference=other))
    assert figures["loss"] == pytest.approx(0.7 * figures["kl"] - figures["fresh_reward"])
    assert figures["kl"] > 0


def test_the_reward_is_shaped_and_its_weights_stay_out() -> None:
    class Learned(nn.Module):
        scope, differentiable = "sample", True

        def __init__(self) -> None:
            super().__init__()
            self.goal = nn.Parameter(GOAL.clone())

        def forward(self, rollout: Rollout) -> RewardOutput:
            assert isinstance(rollout.outputs, Tensor)
            return RewardOutput.of(-(rollout.outputs - self.goal).square().sum(-1))

    policy, batch, reward = tiny(), drawn(tiny(), [0, 1]), Learned()
    plain = gradients(Pathwise(max_grad_norm=None), policy, batch, live(reward))[0]
    scaled = gradients(Pathwise(max_grad_norm=None), policy, batch, live(reward, shaping=(transforms.Scale(3.0),)))[0]
    close(scaled, [3 * p for p in plain])
    assert reward.goal.grad is None

    class Rounded(transforms.Scale):
        def series(self, state: Any, x: Tensor, keep: Tensor, batch: Batch) -> tuple[Any, Tensor]:
            return state, x.detach().round()

    with pytest.raises(PlanError, match="no gradient arrives from the reward: a transform keeps it"):
        gradients(Pathwise(), policy, batch, live(reward, shaping=(Rounded(1.0),)))


def test_random_numbers_of_steps_stay_in_their_ranges() -> None:
    trainer = PathwiseTrainer(Pathwise(grad_steps=(1, 3), stop=(0, 2)), tiny())
    seen = [trainer._random(Streams(k)) for k in range(60)]
    assert {s["grad_steps"] for s in seen} == {1, 2, 3}
    assert {s["stop"] for s in seen} == {0, 1, 2}
    policy, batch = tiny(), drawn(tiny(), [0, 1])
    found = gradients(Pathwise(stop=(1, 1), max_grad_norm=None), policy, batch, live(Near()))[0]
    close(found, by_hand(policy, batch, list(range(6)), [1.0] * 6, stop=1))


def climb(policy: Diffusion, beta: float, **how: Any) -> list[dict[str, float]]:
    plan = Plan(
        policy=policy, source=Prompts(("",)), sampler=samplers.Group(contexts=1, n=24), reward=Near(), steps=25, checks=(),
        references={"reference": Frozen()}, learners={"policy": Pathwise(beta=beta, optim=AdamW(lr=0.02), **how)},
    )  # fmt: skip
    return list(run(plan).history)


@pytest.mark.parametrize("how", [{"grad_steps": (1, 3)}, {"stop": (1, 2)}])
def test_a_run_raises_the_reward_and_the_price_holds_it_back(how: dict[str, Any]) -> None:
    free, held = (
        Diffusion.of((2,), network=DenoiserMLP((16,)), kernel=DDPM("large"), steps=3, dtype="float64") for _ in range(2)
    )
    climbing, holding = climb(free, 0.0, **how), climb(held, 2.0, **how)
    assert climbing[0]["reward/mean"] < -2
    assert climbing[-1]["reward/mean"] > -0.2
    assert -2.5 < holding[-1]["reward/mean"] < -0.5  # raised, and held back
    assert holding[-1]["kl"] < 0.4 * climbing[-1]["kl"]  # both measured by the loop, from log-probs


def test_a_learner_goes_on_where_it_was_saved() -> None:
    policy, batch = tiny(), drawn(tiny(), [0, 1])
    trainer, found = PathwiseTrainer(Pathwise(optim=AdamW(lr=0.1)), policy), live(Near())
    trainer.update(batch, found)
    other = copy.deepcopy(policy)
    again = PathwiseTrainer(Pathwise(optim=AdamW(lr=0.1)), other)
    again.load_state_dict(copy.deepcopy(trainer.state_dict()))
    trainer.update(batch, found)
    again.update(batch, found)
    for ours, theirs in zip(policy.parameters(), other.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def plan(**parts: Any) -> Plan:
    policy = Diffusion.of((2,), network=DenoiserMLP((4,)), steps=3)
    usual: dict[str, Any] = {
        "policy": policy, "source": Prompts(("",)), "sampler": samplers.Group(contexts=1, n=2), "reward": Near(),
        "learners": {"policy": Pathwise()}, "steps": 1,
    }  # fmt: skip
    return Plan(**{**usual, **parts})


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"reward": rewards.Length(target=3)}, r"Pathwise climbs the gradient of the reward, and Length says it has none"),
        ({"reward": None}, r"plan\.reward is not set"),
        ({"learners": {"policy": Pathwise(beta=0.1)}}, r"no reference 'reference'.* policies\.Frozen"),
        ({"transforms": (transforms.TokenKL(0.1),), "references": {"reference": Frozen()}}, r"TokenKL reads more than rewards"),
        ({"policy": example_policies()["tiny-text"][0]}, r"TinyText has no rsample"),
    ],
)
def test_plans_that_cannot_work_are_refused_before_anything_runs(parts: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=message):
        run(plan(**parts), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "wrong",
    [{"of": "critic"}, {"beta": -1.0}, {"updates": 0}, {"rows": 0}, {"grad_steps": 0}, {"grad_steps": (3, 1)}, {"stop": (1,)}],
)
def test_settings_that_make_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(PlanError, match=next(iter(wrong))):
        Pathwise(**wrong)
