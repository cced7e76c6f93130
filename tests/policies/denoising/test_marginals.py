"""Chains whose exact score is known end in the data's distribution; what is left is the error of few steps.

The data is a normal distribution, so the exact network is linear in the state and a chain's mean and variance can be carried from
step to step without drawing anything.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from guerdon.core import Items, Streams
from guerdon.policies.denoising import CPS, DDIM, DDPM, Condition, Cosine, Diffusion, Flow, FlowSDE, Linear, Straight
from guerdon.policies.denoising._asked import Asked

MEAN = torch.tensor([0.5, -1.0], dtype=torch.double)
VARIANCE = torch.tensor([0.25, 1.5], dtype=torch.double)


class Exact(nn.Module):
    """E[x_0 | x_t] = m + a v / (a^2 v + s^2) (x_t - a m) for data N(m, v), as the velocity that each kind of chain predicts."""

    width = 2

    def __init__(self, schedule):
        super().__init__()
        self.schedule, self.finest = schedule, schedule.levels(schedule.finest)
        self.unused = nn.Parameter(torch.zeros(1, dtype=torch.double))

    def forward(self, x, time, condition: Condition):
        if isinstance(self.schedule, Straight):
            a, s = (1 - time)[:, None], time[:, None]
        else:
            k = ((1 - time) * self.schedule.finest).round().long()
            a, s = self.finest.a[k, None], self.finest.s[k, None]
        data = MEAN + a * VARIANCE / (a * a * VARIANCE + s * s) * (x - a * MEAN)
        noise = (x - a * data) / s
        return noise - data if isinstance(self.schedule, Straight) else a * noise - s * data


def exact(schedule, steps=8):
    if isinstance(schedule, Straight):
        return Flow((2,), Exact(schedule), None, noise=schedule, predict="flow", kernel=FlowSDE(0.7), steps=steps)
    return Diffusion((2,), Exact(schedule), None, noise=schedule, predict="velocity", kernel=DDIM(1.0), steps=steps)


@torch.no_grad()
def end(policy, kernel, steps):
    """Mean and variance of the outputs: every step is x <- M x + c + std noise, read off at 0 and 1."""
    how = policy.how.changed("test", kernel=kernel, steps=steps)
    probes = torch.stack([torch.zeros(2), torch.ones(2)]).double()
    mean, variance = torch.zeros(2).double(), torch.ones(2).double()
    for k in range(steps):
        step = policy.proposal(probes, torch.full((2,), k), Asked(), how)
        c, m = step.mean[0], step.mean[1] - step.mean[0]
        mean, variance = m * mean + c, m * m * variance + step.std[0] ** 2
    return mean, variance


def error(policy, kernel, steps):
    """Largest relative error of the variance."""
    return float((end(policy, kernel, steps)[1] / VARIANCE - 1).abs().max())


FIRST_ORDER = [
    (Straight(), DDIM(0.0)), (Straight(), DDIM(0.5)), (Straight(), DDIM(1.0)), (Straight(), FlowSDE(0.3, constant=True)),
    (Straight(3.0), DDIM(0.0)), (Linear(), DDIM(0.0)), (Linear(), DDIM(0.5)), (Linear(), DDIM(1.0)), (Linear(), DDPM("large")),
    (Cosine(), DDIM(0.0)), (Cosine(), DDIM(1.0)),
]  # fmt: skip


@pytest.mark.parametrize(("schedule", "kernel"), FIRST_ORDER, ids=repr)
def test_every_sampler_has_the_odes_marginals(schedule, kernel):
    """With S steps the error is proportional to 1/S: twice the steps, half of it; and what remains is small."""
    policy = exact(schedule)
    coarse, fine = error(policy, kernel, 128), error(policy, kernel, 256)
    assert fine < 0.06
    assert 1.7 < coarse / fine < 2.2
    mean, _ = end(policy, kernel, 256)
    assert float((mean - MEAN).abs().max()) < 0.01  # Linear keeps 0.6 % of the data at its noisiest level, and starts without


def test_the_flow_grpo_sde_has_them_but_for_what_its_first_steps_leave():
    """sigma_t grows without bound towards t = 1, where no step is short: the first adds noise^4 / 4 to the variance at any S.

    What follows forgets that as a power of S. So the error is small, but it does not halve when the steps double.
    """
    policy = exact(Straight())
    errors = [error(policy, FlowSDE(0.7), steps) for steps in (16, 64, 256)]
    assert errors[0] < 0.05 and max(errors[1:]) < 0.01
    first = policy.proposal(torch.tensor([[0.0, 0.0], [1.0, 1.0]]).double(), torch.zeros(2, dtype=torch.long), Asked(),
                            policy.how.changed("test", steps=1000))  # fmt: skip
    # without the drift of order 1/S: x <- (1 - noise^2/2) x + noise z, whose variance is 1 + noise^4 / 4
    gain = float((first.mean[1, 0] - first.mean[0, 0]).detach())
    assert abs(gain**2 + float(first.std[0]) ** 2 - (1 + 0.7**4 / 4)) < 0.003


def test_coefficients_preserving_noise_has_other_marginals():
    """Its sigma is a share of the level's noise at any S, so it is no discretised SDE: a third of the variance stays missing."""
    policy = exact(Straight())
    coarse, fine = error(policy, CPS(0.8), 128), error(policy, CPS(0.8), 256)
    assert fine > 0.3 and coarse / fine < 1.1
    assert error(policy, CPS(0.0), 64) == error(policy, DDIM(0.0), 64)  # without noise it is the ODE


@pytest.mark.parametrize(("schedule", "kernel"), [
    (Straight(), FlowSDE(0.7)), (Straight(), DDIM(0.5)), (Linear(), DDPM("large")), (Cosine(), DDIM(0.3)),
])  # fmt: skip
def test_samples_are_drawn_from_these_steps(schedule, kernel):
    """Mean and variance of 2,000 samples lie within five standard errors of those carried along."""
    policy, n = exact(schedule), 2000
    rollout = policy.sample(Items(["a"], Streams(5).uids(1)), n, streams=Streams(5), kernel=kernel, steps=6)
    mean, variance = end(policy, kernel, 6)
    found = rollout.outputs
    assert float(((found.mean(0) - mean) / (variance / n).sqrt()).abs().max()) < 5
    assert float(((found.var(0) - variance) / (variance * (2 / n) ** 0.5)).abs().max()) < 5


# ---------------------------------------------------------------- what a mask leaves out of the gradient
class Shifted(Exact):
    """The exact network with ``shift`` added to the data that it foresees, at every level alike."""

    def __init__(self, schedule):
        super().__init__(schedule)
        self.shift = nn.Parameter(torch.zeros((), dtype=torch.double))

    def forward(self, x, time, condition):
        s = self.finest.s[((1 - time) * self.schedule.finest).round().long(), None]
        return super().forward(x, time, condition) - self.shift / s  # v = (a x - x_0) / s


def shifted(kernel, steps):
    schedule = Cosine()
    return Diffusion((2,), Shifted(schedule), None, noise=schedule, predict="velocity", kernel=kernel, steps=steps)


@torch.no_grad()
def shares(policy):
    """[2] d E[x_0] / d shift, by its exact propagation, and the part of it that comes through the last step."""
    steps, total, probes = policy.how.steps, torch.zeros(2).double(), torch.stack([torch.zeros(2), torch.ones(2)]).double()
    for k in range(steps):
        before = policy.proposal(probes, torch.full((2,), k), Asked(), policy.how).mean
        policy.network.shift.add_(1.0)
        direct = policy.proposal(probes, torch.full((2,), k), Asked(), policy.how).mean[0] - before[0]
        policy.network.shift.sub_(1.0)
        total = (before[1] - before[0]) * total + direct
    return total, direct


def test_the_last_step_without_noise_is_missing_from_the_gradient_of_log_probs():
    """E[R grad log p] is the gradient of E[R] less what goes through plain maps: at 4 steps here about half of it."""
    policy = shifted(DDIM(1.0), 4)
    rollout = policy.sample(Items(["a"], Streams(7).uids(1)), 10_000, streams=Streams(7))
    total, last = shares(policy)
    grads = []
    for part in torch.arange(len(rollout)).split(500):
        rows = rollout[part]
        worth = rows.outputs.sum(1) - MEAN.sum()
        grads.append(torch.autograd.grad((policy(rows).logp.sum(1) * worth).mean(), policy.network.shift)[0])
    found, error = torch.stack(grads).mean(), torch.stack(grads).std() / len(grads) ** 0.5
    complete, left_out = total.sum(), last.sum()
    assert abs(found - (complete - left_out)) < 4 * error
    assert left_out > 10 * error  # so that the test would notice if it were there
    assert 0.4 < float(left_out / complete) < 0.6
    fine_total, fine_last = shares(shifted(DDIM(1.0), 32))
    assert 0.15 < float(fine_last.sum() / fine_total.sum()) < 0.25  # shrinks with the steps, slowly
