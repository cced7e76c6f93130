"""The denoising bound of ``rollout_from`` against closed forms, and the preference loss over it against the paper's."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from guerdon import objectives
from guerdon.core import Batch, Items, Pairs, PolicyOutput, Streams
from guerdon.policies.denoising import DDIM, Diffusion, Flow, FlowSDE, Linear, Straight

STEPS, START, END = 4, 0.1, 0.6


class Affine(nn.Module):
    """x0 = c + g x of numbers: what an exact network does for a normal distribution, or a wrong one for any."""

    width = 1

    def __init__(self, c=0.3, g=0.6):
        super().__init__()
        self.c = nn.Parameter(torch.tensor(c, dtype=torch.double))
        self.g = nn.Parameter(torch.tensor(g, dtype=torch.double))

    def forward(self, x, time, condition):
        return self.c + self.g * x


def policy(c=0.3, g=0.6, shape=(1,)):
    return Diffusion(shape, Affine(c, g), None, noise=Linear(START, END, STEPS), predict="data", kernel=DDIM(1.0), steps=STEPS)


BETA = np.linspace(START, END, STEPS)  # of timesteps 1 .. 4
BAR = np.concatenate([[1.0], np.cumprod(1 - BETA)])  # alpha-bar_0 .. alpha-bar_4


def divergences(x0, c, g):
    """L_{t-1} for t = 4 .. 2 and L_0 of arXiv:2006.11239, equation 5, in expectation over x_t, for x0-hat = c + g x_t.

    q(x_{t-1} | x_t, x_0) and p have the same variance, so KL = (difference of means)^2 / (2 variance); the means differ by
    sqrt(bar_{t-1}) beta_t / (1 - bar_t) times x0-hat - x_0, which is normal with mean c + g sqrt(bar_t) x_0 - x_0 and variance
    g^2 (1 - bar_t). L_0 takes p(x_0 | x_1) = N(x0-hat, beta_1).
    """
    terms = []
    for t in range(STEPS, 0, -1):
        square = (c + g * math.sqrt(BAR[t]) * x0 - x0) ** 2 + g**2 * (1 - BAR[t])
        if t > 1:
            variance = (1 - BAR[t - 1]) / (1 - BAR[t]) * BETA[t - 1]
            share = math.sqrt(BAR[t - 1]) * BETA[t - 1] / (1 - BAR[t])
            terms.append(share**2 * square / (2 * variance))
        else:
            terms.append(square / (2 * BETA[0]))
    return terms


def constant(x0):
    """What the bound leaves out, as no weight changes it: the divergence at the noisiest level, and a normal's log-normaliser."""
    m, v = math.sqrt(BAR[-1]) * x0, 1 - BAR[-1]
    return -0.5 * (v + m**2 - 1 - math.log(v)) - 0.5 * math.log(2 * math.pi * BETA[0])


def log_likelihood(x0, c, g):
    """log p(x_0) of the model itself: normal, with mean and variance carried through the chain."""
    mean, variance = 0.0, 1.0
    for t in range(STEPS, 0, -1):
        share = math.sqrt(BAR[t - 1]) * BETA[t - 1] / (1 - BAR[t])
        keep = math.sqrt(1 - BETA[t - 1]) * (1 - BAR[t - 1]) / (1 - BAR[t])
        noise = (1 - BAR[t - 1]) / (1 - BAR[t]) * BETA[t - 1] if t > 1 else BETA[0]
        gain = keep + share * g
        mean, variance = gain * mean + share * c, gain**2 * variance + noise
    return -0.5 * ((x0 - mean) ** 2 / variance + math.log(2 * math.pi * variance))


def given(p, x0, n, **how):
    """One row for each of ``n`` items whose output is ``x0``."""
    items = Items(["a"] * n, Streams(1).uids(n))
    return p.rollout_from(items, [torch.tensor([x0], dtype=torch.double)] * n, streams=Streams(2), **how)


@torch.no_grad()
def every_level(p, x0):
    """[STEPS] the estimator at each level, in expectation over its noise: quadratic in it, so two nodes +-1 are exact."""
    found = []
    for level in range(STEPS):
        rows = given(p, x0, 2, weight="elbo")
        a, s = math.sqrt(BAR[STEPS - level]), math.sqrt(1 - BAR[STEPS - level])
        states = torch.tensor([[a * x0 + s, x0], [a * x0 - s, x0]], dtype=torch.double)[..., None]
        rows = rows.replace(states=states, actions=states[:, 1:], trace={"level": torch.full((2, 1), level)})
        found.append(float(p(rows).logp.mean()))
    return found


@pytest.mark.parametrize(("c", "g"), [(0.3, 0.6), (-0.5, 1.1), (0.0, 0.0)])
def test_each_term_is_the_papers_divergence(c, g):
    for x0 in (-1.0, 0.2, 1.5):
        found = every_level(policy(c, g), x0)
        assert np.allclose(found, [-STEPS * d for d in divergences(x0, c, g)], atol=1e-12, rtol=1e-12)  # STEPS: 1 / P(level)


@pytest.mark.parametrize("draws", [1, 3])
def test_rows_are_an_unbiased_estimate(draws):
    p, x0, n = policy(), 0.8, 4000
    rows = given(p, x0, n, draws=draws, weight="elbo")
    assert rows.states.shape == (n, draws + 1, 1) and rows.behaviour[0].engine == "recorded"
    with torch.no_grad():
        total = p(rows).logp.sum(1)
    error = float(total.mean()) + sum(divergences(x0, 0.3, 0.6))
    assert abs(error) < 5 * float(total.std()) / n**0.5
    counts = rows.trace["level"].flatten().bincount(minlength=STEPS)
    assert float(((counts - n * draws / STEPS) / (n * draws * 3 / 16) ** 0.5).abs().max()) < 5


def test_the_bound_lies_below_the_likelihood():
    """For every model and datum; the gap is hand-computable where the network always says the datum itself."""
    for c, g in ((0.3, 0.6), (-0.5, 1.1), (0.0, 0.2)):
        for x0 in (-1.0, 0.2, 1.5):
            bound = sum(every_level(policy(c, g), x0)) / STEPS + constant(x0)
            assert bound < log_likelihood(x0, c, g)
    # x0-hat = x0 = 0.2: no term but the constant; the likelihood is N(0.2; 0.2, beta_1), the gap the prior's divergence
    # bar_4 = 0.9 * (1 - 0.2667) * (1 - 0.4333) * 0.4 = 0.1496; 0.5 (0.8504 + 0.1496 * 0.04 - 1 - ln 0.8504) = 0.0092
    found = sum(every_level(policy(0.2, 0.0), 0.2)) / STEPS + constant(0.2)
    assert abs(found - (-0.5 * math.log(2 * math.pi * 0.1) - 0.0092)) < 1e-4
    assert abs(log_likelihood(0.2, 0.2, 0.0) + 0.5 * math.log(2 * math.pi * 0.1)) < 1e-12


def test_the_simple_weight_is_half_the_squared_error():
    p, x0 = policy(), 0.8
    rows = given(p, x0, 6, weight="simple", draws=2)
    x = rows.states[:, :2, 0].numpy()
    with torch.no_grad():
        found = p(rows).logp
    assert np.allclose(found.numpy(), -0.5 * (0.3 + 0.6 * x - x0) ** 2 / 2, atol=1e-14)  # 2: draws
    assert given(p, x0, 6).behaviour == given(p, x0, 6, weight="simple").behaviour  # the default


def test_both_sides_of_a_pair_have_the_same_level_and_noise():
    for p in (policy(), Flow((1,), Affine(), None, noise=Straight(), predict="flow", kernel=FlowSDE(), steps=4)):
        uid = Streams(1).uids(5).repeat_interleave(2)
        outputs = [torch.tensor([float(k)], dtype=torch.double) for k in range(10)]
        rows = p.rollout_from(Items(["a"] * 10, uid), outputs, streams=Streams(2), draws=2)
        level, data = rows.trace["level"], torch.stack(outputs)[:, None]
        assert torch.equal(level[0::2], level[1::2]) and len(level.unique()) > 1
        at = p.levels(p.finest).at(level)
        noise = (rows.states[:, :2] - at.a[..., None] * data) / at.s[..., None]
        torch.testing.assert_close(noise[0::2], noise[1::2], atol=1e-9, rtol=0)
        assert len(noise.flatten().round(decimals=6).unique()) == 10  # five items, two levels: ten numbers


def test_dpo_over_it_is_diffusion_dpo():
    """Equation 14 of arXiv:2311.12908 with beta T omega = beta / 2 per squared error, worked out in numpy."""
    p, reference = policy(0.3, 0.6), policy(0.1, 0.4)
    won, lost = (1.0, -0.4), (0.2, 0.5)
    uid = Streams(1).uids(2).repeat_interleave(2)
    outputs = [torch.tensor([v], dtype=torch.double) for v in (won[0], lost[0], won[1], lost[1])]
    rows = p.rollout_from(Items(["a"] * 4, uid), outputs, streams=Streams(2), weight="simple")
    pairs = Pairs(win=torch.tensor([0, 2]), lose=torch.tensor([1, 3]))
    with torch.no_grad():
        batch = Batch.of(rows).replace(pairs=pairs, refs={"reference": reference(rows)})
        loss = objectives.DPO(beta=0.7)(p(rows), batch)
    x, y = rows.states[:, 0, 0].numpy(), np.array([won[0], lost[0], won[1], lost[1]])
    gain = (0.3 + 0.6 * x - y) ** 2 - (0.1 + 0.4 * x - y) ** 2
    expected = np.log1p(np.exp(0.7 / 2 * (gain[0::2] - gain[1::2])))
    assert np.allclose(loss.numpy(), expected, atol=1e-12)


def test_likelihood_over_it_is_denoising_training():
    p = policy()
    rows = given(p, 0.8, 6, weight="simple")
    loss = objectives.SFT()(p(rows), Batch.of(rows)).sum(1).mean()
    c, g = torch.autograd.grad(loss, [p.network.c, p.network.g])
    x = rows.states[:, 0, 0]
    error = 0.3 + 0.6 * x - 0.8
    torch.testing.assert_close(torch.stack([c, g]), torch.stack([error.mean(), (error * x).mean()]), atol=1e-12, rtol=0)
    assert isinstance(p(rows), PolicyOutput)
