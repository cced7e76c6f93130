"""Log-probs of denoising steps against a second derivation: plain numpy, from the papers' own formulas.

Nothing of the library is used to make the reference: neither its schedules nor its kernels nor its network. Coefficients are
computed in extended precision, in the letters of the papers (beta, alpha-bar; sigma and dt), where the library writes a and s.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

from guerdon.core import Items, Streams
from guerdon.policies.denoising import (
    CPS,
    DDIM,
    DDPM,
    Condition,
    Consistency,
    Cosine,
    Diffusion,
    Flow,
    FlowSDE,
    Linear,
    Renoise,
    Straight,
)

L = np.longdouble
SHAPE = (2, 3)
D = 6


# ---------------------------------------------------------------- a network that numpy can repeat
class Small(nn.Module):
    """0.3 x + tanh(x W + b time + c U): smooth, of the state's size, different at every time and condition."""

    width = D

    def __init__(self, seed=0):
        super().__init__()
        g = torch.Generator().manual_seed(seed)
        self.w = nn.Parameter(0.5 * torch.randn(D, D, generator=g, dtype=torch.double))
        self.b = nn.Parameter(torch.randn(D, generator=g, dtype=torch.double))
        self.u = nn.Parameter(torch.randn(2, D, generator=g, dtype=torch.double))

    def forward(self, x, time, condition):
        flat = x.flatten(1)
        inner = flat @ self.w + time[:, None] * self.b
        if condition.embedding is not None:
            inner = inner + condition.embedding @ self.u
        return (0.3 * flat + inner.tanh()).reshape(x.shape)

    def features(self, x, time, condition):
        return x.flatten(1)

    def by_hand(self, x, time, embedding=None):
        w, b, u = (p.detach().numpy() for p in (self.w, self.b, self.u))
        inner = x @ w + time * b
        if embedding is not None:
            inner = inner + embedding @ u
        return 0.3 * x + np.tanh(inner)


class Named(nn.Module):
    """Contexts 0 and 1 as one-hot embeddings; nothing asked is (0.5, -0.5)."""

    width, channels = 2, 0

    def forward(self, contexts, drop=None):
        given = torch.eye(2, dtype=torch.double)[torch.tensor(list(contexts))]
        if drop is not None:
            given = torch.where(drop[:, None], torch.tensor([0.5, -0.5], dtype=torch.double), given)
        return Condition(embedding=given)


# ---------------------------------------------------------------- schedules, in the letters of the papers
def timesteps(train, steps):
    """Trailing (arXiv:2305.08891, table 2): round(N, N - N/S, ...) - 1."""
    return [int(np.round(train - k * train / steps)) - 1 for k in range(steps)]


def products(kind, train):
    """alpha-bar at timesteps 0 .. train - 1."""
    if kind == "linear":  # DDPM, section 4
        beta = [L("1e-4") + (L("0.02") - L("1e-4")) * i / (train - 1) for i in range(train)]
    else:  # Improved DDPM, equation 17

        def f(t):
            return np.cos((t / L(train) + L("0.008")) / L("1.008") * L(math.pi) / 2) ** 2

        beta = [min(1 - f(L(i + 1)) / f(L(i)), L("0.999")) for i in range(train)]
    out, bar = [], L(1)
    for b in beta:
        bar = bar * (1 - b)
        out.append(bar)
    return out


@dataclass
class Chain:
    """The levels of one run: what the network is told, and either alpha-bar or the flow's time at each."""

    time: list[float]
    bar: list[L] | None = None  # alpha-bar, 1 at the data
    t: list[L] | None = None  # flow time, 0 at the data

    def x0_and_noise(self, k, x, said, predict):
        if self.t is not None:
            t = self.t[k]
            if predict == "data":
                return said, (x - (1 - t) * said) / t
            return x - t * said, x + (1 - t) * said  # x = (1-t) x0 + t eps, v = eps - x0
        a, s = np.sqrt(self.bar[k]), np.sqrt(1 - self.bar[k])
        if predict == "noise":
            return (x - s * said) / a, said
        if predict == "data":
            return said, (x - a * said) / s
        return a * x - s * said, s * x + a * said  # v = a eps - s x0 (arXiv:2202.00512)


def diffusion_chain(kind, train, steps):
    bars, stops = products(kind, train), timesteps(train, steps)
    return Chain([(t + 1) / train for t in stops] + [0.0], bar=[bars[t] for t in stops] + [L(1)])


def flow_chain(shift, steps):
    t = [L(steps - k) / steps for k in range(steps + 1)]
    t = [L(shift) * v / (1 + (L(shift) - 1) * v) for v in t]
    return Chain([float(v) for v in t], t=t)


# ---------------------------------------------------------------- steps, as the papers write them
def ddpm(chain, k, x, x0, noise, variance):
    """Equations 6 and 7 of arXiv:2006.11239, with beta of the shortened chain; the last step has no noise (algorithm 2)."""
    bar, before = chain.bar[k], chain.bar[k + 1]
    alpha = bar / before
    beta = 1 - alpha
    mean = np.sqrt(before) * beta / (1 - bar) * x0 + np.sqrt(alpha) * (1 - before) / (1 - bar) * x
    if before == 1:
        return mean, L(0)
    return mean, np.sqrt(beta if variance == "large" else (1 - before) / (1 - bar) * beta)


def ddim(chain, k, x, x0, noise, eta):
    """Equations 12 and 16 of arXiv:2010.02502; on a flow the same with a = 1 - t, s = t (their posterior holds for any a and s)."""
    if chain.t is not None:
        t, u = chain.t[k], chain.t[k + 1]
        # q(x_t | x_u) has variance t^2 - (1-t)^2/(1-u)^2 u^2; given x0 as well, x_u has u^2/t^2 times that
        sigma = L(eta) * u / t * np.sqrt(t**2 - ((1 - t) / (1 - u) * u) ** 2)
        return (1 - u) * x0 + np.sqrt(u**2 - sigma**2) * noise, sigma
    bar, before = chain.bar[k], chain.bar[k + 1]
    sigma = L(eta) * np.sqrt((1 - before) / (1 - bar)) * np.sqrt(1 - bar / before)
    return np.sqrt(before) * x0 + np.sqrt(1 - before - sigma**2) * noise, sigma


def flow_sde(chain, k, x, x0, noise, level, constant=False):
    """Flow-GRPO (arXiv:2505.05470, equation 9): v from the two ends, drift and diffusion for dt < 0.

    sigma_t = level sqrt(t / (1 - t)); at t = 1 their code puts the next time into 1 - t. DanceGRPO: sigma_t = level.
    """
    t, dt = chain.t[k], chain.t[k + 1] - chain.t[k]
    v = noise - x0
    sigma = L(level) if constant else L(level) * np.sqrt(t / (1 - (t if t < 1 else chain.t[k + 1])))
    drift = v + sigma**2 / (2 * t) * (x + (1 - t) * v)
    return x + drift * dt, sigma * np.sqrt(-dt)


def data_and_noise(chain, k):
    """a and s of a level, for the two samplers that are written with them."""
    return (1 - chain.t[k], chain.t[k]) if chain.t is not None else (np.sqrt(chain.bar[k]), np.sqrt(1 - chain.bar[k]))


def renoise(chain, k, x, x0, noise):
    """Algorithm 1 of arXiv:2303.01469, on a schedule of a and s."""
    a, s = data_and_noise(chain, k + 1)
    return a * x0, s


def cps(chain, k, x, x0, noise, level):
    """Coefficients-preserving sampling (arXiv:2509.05952): sigma = s_u sin(level pi / 2), and DDIM's mean with it."""
    a, s = data_and_noise(chain, k + 1)
    sigma = s * np.sin(L(level) * L(math.pi) / 2)
    return a * x0 + np.sqrt(s**2 - sigma**2) * noise, sigma


def density(after, mean, std):
    """Log-density of a normal with covariance std^2 I, one number after the other."""
    total = L(0)
    for y, m in zip(after, mean, strict=True):
        total += -((y - m) ** 2) / (2 * std**2) - np.log(std) - np.log(2 * L(math.pi)) / 2
    return total


def reference(policy, chain, rollout, step, *, predict, guidance=1.0, noisy=lambda k: True, first=0):
    """[B, T] log-probs and [B, T] chosen, from the rollout's states alone; the network is repeated by hand."""
    states = rollout.states.flatten(2).numpy()
    logp, chosen = np.zeros(rollout.mask.shape, dtype=L), np.zeros(rollout.mask.shape, dtype=bool)
    for row in range(len(rollout)):
        for j in range(rollout.steps):
            k, x = first + j, states[row, j].astype(L)
            embedding = np.eye(2)[rollout.contexts[row]] if policy.condition is not None else None
            said = policy.network.by_hand(x, chain.time[k], embedding)
            if guidance != 1:
                alone = policy.network.by_hand(x, chain.time[k], np.array([0.5, -0.5]))
                said = alone + guidance * (said - alone)
            x0, noise = chain.x0_and_noise(k, x, said, predict)
            mean, std = step(chain, k, x, x0, noise)
            if not noisy(k):  # outside the window: the ODE
                mean, std = ddim(chain, k, x, x0, noise, 0.0)
            after = states[row, j + 1].astype(L)
            if std > 0:
                logp[row, j], chosen[row, j] = density(after, mean, std), True
            else:
                assert np.abs(after - mean).max() < 1e-12 * max(1, np.abs(mean).max())  # a plain map went where it should
    return logp, chosen


KERNELS = {
    "ddpm-small": (DDPM("small"), lambda *a: ddpm(*a, "small")),
    "ddpm-large": (DDPM("large"), lambda *a: ddpm(*a, "large")),
    "ddim-1": (DDIM(1.0), lambda *a: ddim(*a, 1.0)),
    "ddim-0.3": (DDIM(0.3), lambda *a: ddim(*a, 0.3)),
    "renoise": (Renoise(), renoise),
    "cps": (CPS(0.8), lambda *a: cps(*a, 0.8)),
    "flow-sde": (FlowSDE(0.7), lambda *a: flow_sde(*a, 0.7)),
    "dance-sde": (FlowSDE(0.3, constant=True), lambda *a: flow_sde(*a, 0.3, constant=True)),
}
ON_FLOWS = ("ddim-1", "ddim-0.3", "renoise", "cps", "flow-sde", "dance-sde")
ON_DIFFUSIONS = ("ddpm-small", "ddpm-large", "ddim-1", "ddim-0.3", "renoise", "cps")
TOLERANCE = 1e-9  # nats per step


def items(n=2):
    return Items([k % 2 for k in range(n)], Streams(3).uids(n))


def diffusion(noise, predict="velocity", steps=5, named=False, **more):
    condition = Named() if named else None
    return Diffusion(SHAPE, Small(), condition, noise=noise, predict=predict, kernel=DDIM(1.0), steps=steps, **more)


def flow(shift=1.0, steps=5, named=False):
    condition = Named() if named else None
    return Flow(SHAPE, Small(), condition, noise=Straight(shift), predict="flow", kernel=FlowSDE(0.7), steps=steps)


def agrees(policy, chain, rollout, step, **how):
    """Both what was recorded while sampling and what a replay says, against the reference."""
    expected, chosen = reference(policy, chain, rollout, step, **how)
    assert rollout.mask.numpy().tolist() == chosen.tolist()
    for found in (rollout.logp, policy(rollout).logp):
        assert found.dtype == torch.double
        error = np.abs(found.detach().numpy() - expected.astype(float)).max()
        assert error < TOLERANCE, f"{error:.1e}"


@pytest.mark.parametrize("kernel", ON_DIFFUSIONS)
@pytest.mark.parametrize(("kind", "noise", "train"), [
    ("linear", Linear(), 1000), ("cosine", Cosine(), 1000), ("cosine", Cosine(7), 7),
])  # fmt: skip
def test_diffusion_steps(kernel, kind, noise, train):
    policy, (spec, step) = diffusion(noise), KERNELS[kernel]
    for steps in (5, 7):  # of 1,000 timesteps a few; of seven all
        rollout = policy.sample(items(), 2, streams=Streams(1), kernel=spec, steps=steps)
        assert rollout.mask[0].tolist() == [True] * (steps - 1) + [False]
        agrees(policy, diffusion_chain(kind, train, steps), rollout, step, predict="velocity")


@pytest.mark.parametrize("kernel", ON_FLOWS)
@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_flow_steps(kernel, shift):
    policy, (spec, step) = flow(shift), KERNELS[kernel]
    for steps in (1, 5):
        rollout = policy.sample(items(), 2, streams=Streams(1), kernel=spec, steps=steps)
        agrees(policy, flow_chain(shift, steps), rollout, step, predict="flow")


@pytest.mark.parametrize("predict", ["noise", "data", "velocity"])
def test_what_the_network_predicts(predict):
    policy = diffusion(Linear(), predict)
    rollout = policy.sample(items(), 2, streams=Streams(1))
    agrees(policy, diffusion_chain("linear", 1000, 5), rollout, KERNELS["ddim-1"][1], predict=predict)


def test_guidance_contrasts_with_nothing_asked():
    for policy, chain, kernel, predict in (
        (diffusion(Cosine(), named=True), diffusion_chain("cosine", 1000, 5), "ddpm-small", "velocity"),
        (flow(named=True), flow_chain(1.0, 5), "flow-sde", "flow"),
    ):
        spec, step = KERNELS[kernel]
        for guidance in (1.0, 2.5, 0.0):
            rollout = policy.sample(items(), 2, streams=Streams(1), kernel=spec, guidance=guidance)
            agrees(policy, chain, rollout, step, predict=predict, guidance=guidance)


def test_windows_leave_the_other_steps_to_the_ode():
    for policy, chain, kernel, predict in (
        (diffusion(Cosine()), diffusion_chain("cosine", 1000, 5), "ddpm-large", "velocity"),
        (flow(3.0), flow_chain(3.0, 5), "flow-sde", "flow"),
    ):
        spec, step = KERNELS[kernel]
        rollout = policy.sample(items(), 2, streams=Streams(1), kernel=spec, window=(1, 2))
        assert rollout.mask[0].tolist() == [False, True, True, False, False]
        agrees(policy, chain, rollout, step, predict=predict, noisy=lambda k: k in (1, 2))
        ode = policy.sample(items(), 2, streams=Streams(1), deterministic=True)
        assert not ode.mask.any() and not ode.logp.any()
        agrees(policy, chain, ode, lambda *a: ddim(*a, 0.0), predict=predict)


def test_resets_begin_at_their_level():
    given = torch.linspace(-1, 1, 2 * D, dtype=torch.double).reshape(2, *SHAPE)
    for policy, chain, kernel, predict in (
        (diffusion(Linear()), diffusion_chain("linear", 1000, 5), "ddim-0.3", "velocity"),
        (flow(), flow_chain(1.0, 5), "flow-sde", "flow"),
    ):
        spec, step = KERNELS[kernel]
        rollout = policy.sample(items(), 2, streams=Streams(1), kernel=spec, outputs=list(given), level=2)
        assert rollout.steps == 3 and rollout.trace["level"].tolist() == [[2, 3, 4]] * 4
        agrees(policy, chain, rollout, step, predict=predict, first=2)
        a, s = data_and_noise(chain, 2)
        noise = (rollout.states[:, 0] - float(a) * given.repeat_interleave(2, 0)) / float(s)
        assert float(noise.abs().max()) < 4.5 and 0.5 < float(noise.std()) < 1.5  # 24 standard normal numbers


def test_one_batch_of_several_kinds():
    """Rows of other kernels, numbers of steps and levels, replayed together."""
    policy, given = flow(), torch.zeros(2, *SHAPE, dtype=torch.double)
    parts = [
        policy.sample(items(), 1, streams=Streams(1)),
        policy.sample(items(), 1, streams=Streams(2), steps=3, kernel=DDIM(0.5)),
        policy.sample(items(), 1, streams=Streams(3), steps=4, outputs=list(given), level=2),
    ]
    joined = type(parts[0]).cat(parts)
    with torch.no_grad():
        assert float((policy(joined).logp - joined.logp).abs().max()) < 1e-12
        mixed = policy(joined[torch.tensor([4, 0, 3])]).logp
    assert float((mixed - joined.logp[[4, 0, 3]]).abs().max()) < 1e-12


@pytest.mark.parametrize("predict", ["flow", "data"])
def test_consistency_steps(predict):
    """f(x, t) = x - t v; for networks that predict the data, c_skip x + c_out F with the boundary f(x, 0) = x."""
    policy = Consistency(SHAPE, Small(), None, noise=Straight(), predict=predict, kernel=Renoise(), steps=4)
    chain = flow_chain(1.0, 4)
    chain.x0_and_noise = lambda k, x, said, predict: (mapped(chain.t[k], x, said, predict), None)
    rollout = policy.sample(items(), 2, streams=Streams(1))
    agrees(policy, chain, rollout, renoise, predict=predict)


def mapped(t, x, said, predict):
    if predict == "flow":
        return x - t * said
    both = t**2 + ((1 - t) / 2) ** 2
    return ((1 - t) / 2) ** 2 / both * x + t / np.sqrt(both) * said


def test_means_over_dimensions_are_sums_divided():
    policy = flow()
    rollout = policy.sample(items(), 2, streams=Streams(1))
    policy.dims = "mean"
    mean = policy.sample(items(), 2, streams=Streams(1))
    assert mean.behaviour[0].dims == "mean" and torch.equal(mean.states, rollout.states)
    torch.testing.assert_close(mean.logp * D, rollout.logp, atol=1e-12, rtol=0)
    torch.testing.assert_close(policy(mean).logp, mean.logp, atol=1e-12, rtol=0)
    torch.testing.assert_close(policy(rollout).logp, rollout.logp, atol=1e-12, rtol=0)  # recorded as a sum, replayed as one
