"""Reparametrised samples: the same numbers as plain ones, gradients against finite differences, and no graph before."""

from typing import Any

import pytest
import torch
from torch import Tensor

from guerdon.core import Items, PlanError, Streams
from guerdon.policies import DDIM, DDPM, Consistency, DenoiserMLP, Diffusion, Flow, FlowSDE, Labels, UNet
from guerdon.policies.denoising._base import Denoising
from guerdon.policies.denoising._kernels import backward_variance

STREAMS = Streams(3)
ITEMS = Items([0, 1, 0], STREAMS.uids(3))


def shuffled(policy: Any, seed: int = 0, scale: float = 0.5) -> Any:
    """With weights that matter, the last layer's too."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in policy.parameters():
            p.copy_(scale * torch.randn(p.shape, generator=generator, dtype=torch.double))
    return policy


def tiny(kind: str = "ddim", seed: int = 0, steps: int = 4) -> Any:
    how: dict[str, Any] = {"network": DenoiserMLP((5,)), "condition": Labels(2, 3), "steps": steps, "dtype": "float64"}
    made = {
        "ddim": lambda: Diffusion.of((2,), **how),
        "ddpm": lambda: Diffusion.of((2,), kernel=DDPM("large"), **how),
        "flow": lambda: Flow.of((2,), kernel=FlowSDE(0.7), **how),
        "consistency": lambda: Consistency.of((2,), **how),
    }[kind]()
    return shuffled(made, seed)


@pytest.mark.parametrize("kind", ["ddim", "ddpm", "flow", "consistency"])
def test_the_numbers_are_those_of_sample(kind: str) -> None:
    policy = tiny(kind)
    plain = policy.sample(ITEMS, 2, streams=STREAMS, guidance=2.0)
    for grad_steps in (0, 1, 2, 4, 9):
        rollout = policy.rsample(ITEMS, 2, streams=STREAMS, grad_steps=grad_steps, guidance=2.0)
        for name in ("outputs", "states", "logp", "mask", "uid", "group"):
            assert torch.equal(getattr(rollout, name), getattr(plain, name)), name
        assert rollout.behaviour == plain.behaviour
        assert rollout.outputs.requires_grad == (grad_steps > 0)
        assert not rollout.states.requires_grad and not rollout.logp.requires_grad


def test_the_numbers_are_those_of_sample_where_rows_go_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Denoising, "steps_at_once", 4)
    policy = shuffled(Diffusion.of((1, 8, 8), network=UNet((4, 8)), steps=3), scale=0.2)
    plain = policy.sample(Items(["a"], STREAMS.uids(1)), 10, streams=STREAMS).outputs
    assert torch.equal(policy.rsample(Items(["a"], STREAMS.uids(1)), 10, streams=STREAMS, grad_steps=2).outputs, plain)


def reward(x: Tensor) -> Tensor:
    return (x[:, 0].sin() + 0.5 * x[:, 0] * x[:, 1]).sum()


def by_differences(policy: Any, parameter: Tensor, place: tuple[int, ...], start: Tensor, level: int) -> float:
    """d reward / d parameter of the chain's end, begun in ``start`` at ``level`` with the walk's own noise."""
    found = []
    for shift in (1e-4, -1e-4):
        with torch.no_grad():
            parameter[place] += shift
            walk = policy.begin(ITEMS, 2, streams=STREAMS)
            walk.at, walk.states[:, level] = level, start
            found.append(float(reward(walk.finish().outputs)))
            parameter[place] -= shift
    return (found[0] - found[1]) / 2e-4


@pytest.mark.parametrize("kind", ["ddim", "ddpm", "flow", "consistency"])
@pytest.mark.parametrize("grad_steps", [1, 2, 4])
def test_gradients_are_those_of_finite_differences(kind: str, grad_steps: int) -> None:
    policy = tiny(kind)
    rollout = policy.rsample(ITEMS, 2, streams=STREAMS, grad_steps=grad_steps)
    reward(rollout.outputs).backward()
    level = 4 - grad_steps
    some = [(n, p) for n, p in policy.named_parameters() if p.grad is not None][::3]  # not what asks for nothing
    for name, parameter in some:
        place = tuple(s - 1 for s in parameter.shape)
        expected = by_differences(policy, parameter, place, rollout.states[:, level], level)
        assert float(parameter.grad[place]) == pytest.approx(expected, rel=1e-5, abs=1e-8), name


def test_no_graph_is_kept_of_earlier_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    policy, enabled = tiny(steps=6), []
    inner = policy.network.forward
    monkeypatch.setattr(policy.network, "forward", lambda *a: (enabled.append(torch.is_grad_enabled()), inner(*a))[1])
    rollout = policy.rsample(ITEMS, 1, streams=STREAMS, grad_steps=2)
    assert enabled == [False] * 4 + [True] * 2
    node, depth, todo = rollout.outputs.grad_fn, 0, [rollout.outputs.grad_fn]
    while todo:  # every leaf of the graph is a parameter: the state at level 4 is none
        node = todo.pop()
        depth += 1
        todo += [n for n, _ in node.next_functions if n is not None]
        if hasattr(node, "variable"):
            assert any(node.variable is p for p in policy.parameters())
    assert depth > 10


def test_a_chain_may_end_in_a_prediction() -> None:
    policy = tiny()
    plain = policy.sample(ITEMS, 2, streams=STREAMS)
    rollout = policy.rsample(ITEMS, 2, streams=STREAMS, stop=2)
    assert torch.equal(rollout.states[:, :3], plain.states[:, :3])
    level = torch.full((6,), 2)
    foreseen = policy.proposal(plain.states[:, 2], level, policy.ask(rollout.contexts, policy.how), policy.how).clean
    torch.testing.assert_close(rollout.outputs, foreseen)
    assert torch.equal(rollout.states[:, 3], rollout.outputs.detach())
    assert rollout.mask[0].tolist() == [True, True, False]
    (gradient,) = torch.autograd.grad(reward(rollout.outputs), [policy.network.last.bias])
    (expected,) = torch.autograd.grad(reward(foreseen), [policy.network.last.bias])
    torch.testing.assert_close(gradient, expected)
    at_the_last = policy.rsample(ITEMS, 2, streams=STREAMS, stop=3).outputs
    torch.testing.assert_close(at_the_last, plain.outputs)  # DDIM's last step is the prediction


def test_the_price_is_the_divergence_of_gaussians_with_equal_noise() -> None:
    policy, other = tiny("ddpm"), tiny("ddpm", seed=1)
    rollout = policy.rsample(ITEMS, 1, streams=STREAMS, grad_steps=3, reference=other)
    kl, states, asked = rollout.trace["kl"], rollout.states, policy.ask(rollout.contexts, policy.how)
    assert torch.equal(kl[:, 0], torch.zeros(3, dtype=torch.double))
    for k in (1, 2, 3):
        level = torch.full((3,), k)
        mine = policy.proposal(states[:, k], level, asked, policy.how)
        theirs = other.proposal(states[:, k], level, other.ask(rollout.contexts, policy.how), policy.how)
        if k < 3:
            laws = [torch.distributions.Normal(s.mean, s.std[:, None].expand(3, 2)) for s in (mine, theirs)]
            expected = torch.distributions.kl_divergence(*laws).sum(1)
        else:  # no noise: DDPM's decoder, whose variance is beta
            beta = backward_variance(policy.levels(4).at(level), policy.levels(4).at(level + 1))[0]
            expected = (mine.mean - theirs.mean).square().sum(1) / (2 * beta)
        torch.testing.assert_close(kl[:, k], expected, rtol=1e-9, atol=1e-12)
    policy.dims = "mean"
    torch.testing.assert_close(policy.rsample(ITEMS, 1, streams=STREAMS, grad_steps=3, reference=other).trace["kl"], kl / 2)


def test_the_gradient_of_the_price_goes_through_states_too() -> None:
    policy, other = tiny("flow"), tiny("flow", seed=1)
    policy.rsample(ITEMS, 1, streams=STREAMS, grad_steps=4, reference=other).trace["kl"].sum().backward()
    bias, shifted = policy.network.last.bias, []
    for shift in (1e-6, -1e-6):
        with torch.no_grad():
            bias[0] += shift
            shifted.append(float(policy.rsample(ITEMS, 1, streams=STREAMS, grad_steps=4, reference=other).trace["kl"].sum()))
            bias[0] -= shift
    assert float(bias.grad[0]) == pytest.approx((shifted[0] - shifted[1]) / 2e-6, rel=1e-6)


def test_bad_settings_are_refused() -> None:
    policy = tiny()
    with pytest.raises(PlanError, match="grad_steps must be at least 0, got -1"):
        policy.rsample(ITEMS, 1, streams=STREAMS, grad_steps=-1)
    with pytest.raises(PlanError, match="stop is a level from 0 to 3, got 4"):
        policy.rsample(ITEMS, 1, streams=STREAMS, stop=4)
    with pytest.raises(PlanError, match="no control 'etta'"):
        policy.rsample(ITEMS, 1, streams=STREAMS, etta=0.5)


def test_resets_and_the_ode_can_be_differentiated() -> None:
    policy = tiny()
    given = torch.zeros(3, 2, dtype=torch.double)
    for how in ({"deterministic": True}, {"outputs": given, "level": 2}, {"window": (0, 1)}, {"kernel": DDIM(0.5), "steps": 3}):
        plain = policy.sample(ITEMS, 1, streams=STREAMS, **how).outputs
        assert torch.equal(policy.rsample(ITEMS, 1, streams=STREAMS, grad_steps=2, **how).outputs, plain)
