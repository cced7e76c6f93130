"""Heads against torch.distributions, closed forms and finite differences; bodies and fronts by their shapes and refusals."""

from __future__ import annotations

import math

import pytest
import torch
from torch import distributions as dist
from torch.autograd import gradcheck

from guerdon.core import PlanError, Streams
from guerdon.core.world import Box, Discrete, Spaces
from guerdon.policies import CNN, GRU, MLP, Categorical, Control, Gaussian, TanhGaussian

D, N = 5, 64
BOX = Box((2, 3), (-1.0, -2.0, 0.0, -1.0, -0.1, -5.0), (1.0, 2.0, 4.0, 3.0, 0.3, -1.0))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def made(spec, space, seed=0, push=1.0):
    """A head in float64 with weights far from where it began, and features for it."""
    head = spec.build(D, space, generator(seed)).double()
    with torch.no_grad():
        for p in head.parameters():
            p.add_(push * torch.randn(p.shape, generator=generator(seed + 1), dtype=torch.double))
    return head, torch.randn(N, D, generator=generator(seed + 2), dtype=torch.double)


def close(a, b, tight=1e-12):
    torch.testing.assert_close(a, b, rtol=tight, atol=tight)


HEAT = torch.linspace(0.3, 2.5, N, dtype=torch.double)


# ---------------------------------------------------------------- one of n
@pytest.mark.parametrize("heat", [None, HEAT], ids=["1", "any"])
def test_categorical_is_torchs(heat):
    head, x = made(Categorical(), Discrete(4), push=2.0)
    logits = x @ head.logits.weight.T + head.logits.bias
    peer = dist.Categorical(logits=logits if heat is None else logits / heat[:, None])
    action = torch.arange(N) % 4
    logp, entropy = head.read(x, action, heat)
    close(logp, peer.log_prob(action))
    close(entropy, peer.entropy())


def test_categorical_draws_by_the_inverse_of_its_distribution():
    head, x = made(Categorical(), Discrete(4), push=2.0)
    p = head.log_probs(x).exp()
    noise = Streams(0)("u", torch.arange(N)).uniform(1)
    action, logp = head.draw(x, noise, None)
    below = torch.where(action > 0, p.cumsum(1).gather(1, (action - 1).clamp(min=0)[:, None])[:, 0], 0.0)
    assert bool((below < noise[:, 0]).all()) and bool((noise[:, 0] <= below + p.gather(1, action[:, None])[:, 0] + 1e-12).all())
    close(logp, head.read(x, action)[0])
    mode, _ = head.draw(x, None, None)
    assert torch.equal(mode, p.argmax(1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_action_of_probability_zero_is_never_drawn(dtype):
    """Noise reaches 1, and 1/3 + 1/3 + 1/3 may be less: the last action must not be what is left over."""
    head = Categorical().build(1, Discrete(8), generator()).to(dtype)
    with torch.no_grad():
        head.logits.weight.zero_()
        head.logits.bias.copy_(torch.tensor([-math.inf, 0.1, 0.2, 0.3, 0.7, 0.9, 1.1, -math.inf]))
    noise = torch.tensor([[1.0], [1 - 2.0**-53], [2.0**-54], [0.5]], dtype=torch.double)
    action, logp = head.draw(torch.ones(4, 1, dtype=dtype), noise, None)
    assert action[:3].tolist() == [6, 6, 1]
    assert torch.isfinite(logp).all()


# ---------------------------------------------------------------- vectors
def peer_gaussian(head, x, heat=None):
    mean = x @ head.mean.weight.T + head.mean.bias
    std = head.log_std.exp().expand_as(mean)
    return dist.Independent(dist.Normal(mean, std if heat is None else std * heat[:, None]), 1)


@pytest.mark.parametrize("heat", [None, HEAT], ids=["1", "any"])
def test_gaussian_is_torchs(heat):
    head, x = made(Gaussian(-1.0), BOX)
    peer = peer_gaussian(head, x, heat)
    action = peer.sample()
    logp, entropy = head.read(x, action, heat)
    close(logp, peer.log_prob(action))
    close(entropy, peer.entropy())


def peer_tanh(head, x, heat=None):
    mean = x @ head.mean.weight.T + head.mean.bias
    std = (x @ head.log_std.weight.T + head.log_std.bias).clamp(*head.bounds).exp()
    base = dist.Normal(mean, std if heat is None else std * heat[:, None])
    return dist.Independent(dist.TransformedDistribution(base, dist.TanhTransform(cache_size=1)), 1), base


@pytest.mark.parametrize("heat", [None, HEAT], ids=["1", "any"])
def test_tanh_gaussian_is_torchs(heat):
    head, x = made(TanhGaussian(), BOX, push=0.5)
    peer, base = peer_tanh(head, x, heat)
    inside = base.sample()
    assert float(inside.abs().max()) > 3
    squashed = dist.TanhTransform(cache_size=1)(inside)
    expected = (base.log_prob(inside) - dist.TanhTransform().log_abs_det_jacobian(inside, squashed)).sum(1)
    logp, _ = head.read(x, inside, heat)
    close(logp, expected)
    moderate = inside.clamp(-2, 2)  # where the peer can find its way back from the squashed value
    close(head.read(x, moderate, heat)[0], peer.log_prob(moderate.tanh()), 1e-10)


def test_saturated_actions_keep_their_density():
    """|u| up to 40: log(1 - tanh(u)^2) = log 4 - 2|u| there to every digit, and its gradient is -2 sign(u)."""
    from guerdon.policies.control._heads import _log_slope

    for dtype, tight in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        u = torch.tensor([-40.0, -20, -12, 12, 20, 40], dtype=dtype, requires_grad=True)
        slope = _log_slope(u)
        expected = math.log(4) - 2 * u.detach().abs()
        torch.testing.assert_close(slope.detach(), expected, rtol=tight, atol=1e-9)
        (grad,) = torch.autograd.grad(slope.sum(), u)
        torch.testing.assert_close(grad, -2 * u.detach().sign(), rtol=tight, atol=1e-9)


@torch.no_grad()
def test_the_entropy_of_a_squashed_gaussian_in_the_mean_is_its_entropy():
    """No closed form; the estimate at draws of the policy has as its mean the integral of -p log p, taken here by a fine sum."""
    head = TanhGaussian().build(1, Box((1,), -1.0, 1.0), generator()).double()
    with torch.no_grad():
        head.mean.weight.zero_()
        head.mean.bias.fill_(0.4)
        head.log_std.weight.zero_()
        head.log_std.bias.fill_(-0.3)
    y = torch.linspace(-1, 1, 200_003, dtype=torch.double)[1:-1]
    u = y.atanh()[:, None]
    logp = head.read(torch.ones(len(u), 1, dtype=torch.double), u)[0]
    assert float(logp.exp().sum() * (y[1] - y[0])) == pytest.approx(1.0, abs=1e-3)  # a density over [-1, 1]
    exact = float(-(logp.exp() * logp).sum() * (y[1] - y[0]))
    n = 40_000
    x = torch.ones(n, 1, dtype=torch.double)
    action, drawn = head.draw(x, Streams(0)("z", torch.arange(n)).normal(1), None)
    entropy = head.read(x, action)[1]
    for estimate in (entropy, -drawn):
        assert abs(float(estimate.mean()) - exact) < 4 * float(estimate.std()) / n**0.5


HEADS = {"categorical": (Categorical(), Discrete(4)), "gaussian": (Gaussian(-0.5), BOX), "tanh": (TanhGaussian(), BOX)}


@pytest.mark.parametrize("heat", [None, HEAT[:7]], ids=["1", "any"])
@pytest.mark.parametrize("name", HEADS)
def test_gradients_of_what_is_read_are_its_finite_differences(name, heat):
    spec, space = HEADS[name]
    head, x = made(spec, space, push=0.5)
    x = x[:7].requires_grad_()
    noise = getattr(Streams(1)("n", torch.arange(7)), head.kind)(head.noise)
    action = head.draw(x.detach(), noise, None)[0]
    names = [n for n, _ in head.named_parameters()]

    def read(x, *weights):
        params = dict(zip(names, weights, strict=True))
        logp, entropy = torch.func.functional_call(_Reads(head), {f"head.{n}": w for n, w in params.items()}, (x, action, heat))
        return logp if name == "tanh" else (logp, entropy)

    assert gradcheck(read, (x, *[p.detach().clone().requires_grad_() for p in head.parameters()]))


class _Reads(torch.nn.Module):
    def __init__(self, head):
        super().__init__()
        self.head = head

    def forward(self, *args):
        return self.head.read(*args)


def test_the_gradient_of_a_squashed_entropy_moves_with_mean_and_spread():
    """At fixed noise z, the estimate is log std + const + log slope(mean + std z): its derivative in both, by differences."""
    head, x = made(TanhGaussian(), Box((1,), -1.0, 1.0), push=0.3)
    x = x[:3]
    mean, log_std = head.moments(x)
    z = torch.tensor([[0.3], [-1.2], [2.0]], dtype=torch.double)
    action = (mean + log_std.exp() * z).detach()
    entropy = head.read(x, action)[1]
    grads = torch.autograd.grad(entropy.sum(), [head.mean.bias, head.log_std.bias])

    def by_hand(dm, ds):
        std = (log_std + ds).exp()
        u = mean + dm + std * z
        return float((log_std + ds + 0.5 * math.log(2 * math.pi * math.e) + (1 - u.tanh() ** 2).log()).sum().detach())

    e = 1e-6
    assert float(grads[0]) == pytest.approx((by_hand(e, 0) - by_hand(-e, 0)) / (2 * e), abs=1e-7)
    assert float(grads[1]) == pytest.approx((by_hand(0, e) - by_hand(0, -e)) / (2 * e), abs=1e-7)


# ---------------------------------------------------------------- to the world and back
@pytest.mark.parametrize("name", ["gaussian", "tanh"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_a_world_gets_lies_within_its_box(name, dtype):
    spec, space = HEADS[name]
    head = spec.build(D, space, generator())
    u = 30 * torch.randn(4000, 6, generator=generator(3), dtype=torch.float64).to(dtype)
    sent = head.to_world(u)
    low, high = (b.to(dtype) for b in space.bounds())
    assert sent.shape == (4000, 2, 3) and sent.dtype == dtype
    assert bool((sent >= low).all()) and bool((sent <= high).all())
    assert bool((sent == high).any()) and bool((sent == low).any())  # and reaches its bounds


@pytest.mark.parametrize("name", ["gaussian", "tanh"])
def test_from_world_is_the_inverse(name):
    spec, space = HEADS[name]
    head = spec.build(D, space, generator()).double()
    low, high = space.bounds()
    sent = low + (high - low) * torch.rand(3, 50, 2, 3, generator=generator(4), dtype=torch.double)
    kept = head.from_world(sent)
    assert kept.shape == (3, 50, 6)
    close(head.to_world(kept), sent, 1e-9)
    u = torch.randn(50, 6, generator=generator(5), dtype=torch.double).clamp(-6, 6) if name == "tanh" else kept[0]
    close(head.from_world(head.to_world(u)), u, 1e-6)
    for bound in (low, high):  # an action on the bound itself has a finite draw behind it
        assert torch.isfinite(head.from_world(bound[None])).all()


# ---------------------------------------------------------------- draws have the distribution they claim
def drawn(spec, space, n=20_000, temperature=None, seed=6):
    head, x = made(spec, space, push=0.4)
    uid = Streams(seed).samples(Streams(seed).uids(1), n)
    noise = getattr(Streams(seed)("action", uid), head.kind)(head.noise)
    x = x[:1].expand(n, D)
    return head, x, *head.draw(x, noise, temperature)


@torch.no_grad()
@pytest.mark.parametrize("temperature", [None, 0.5, 2.0])
def test_categorical_draws_fit(temperature):
    from scipy.stats import chisquare

    head, x, action, logp = drawn(Categorical(), Discrete(5), temperature=temperature)
    heat = None if temperature is None else torch.full((len(x),), temperature, dtype=torch.double)
    p = head.log_probs(x[:1], temperature)[0].exp().detach()
    assert chisquare(action.bincount(minlength=5).numpy(), (p * len(action)).numpy()).pvalue > 1e-3
    close(logp, head.read(x, action, heat)[0])


@torch.no_grad()
@pytest.mark.parametrize("temperature", [None, 0.5, 2.0])
@pytest.mark.parametrize("name", ["gaussian", "tanh"])
def test_vector_draws_fit(name, temperature):
    from scipy.stats import kstest, norm

    head, x, action, logp = drawn(*HEADS[name], temperature=temperature)
    mean, log_std = head.moments(x[:1]) if name == "tanh" else (head.mean(x[:1]), head.log_std[None])
    std = log_std.exp() * (temperature or 1.0)
    for k in range(6):
        assert kstest(action[:, k].detach().numpy(), norm(float(mean[0, k]), float(std[0, k])).cdf).pvalue > 1e-3
    centred = (action - mean) / std
    correlation = torch.corrcoef(centred.T.detach()) - torch.eye(6)
    assert float(correlation.abs().max()) < 0.035  # independent: 4.9 standard errors of 20 000 draws
    heat = None if temperature is None else torch.full((len(x),), temperature, dtype=torch.double)
    close(logp, head.read(x, action, heat)[0])


# ---------------------------------------------------------------- fronts and bodies
def test_fronts():
    from guerdon.policies.control._front import Front

    number = Front(Discrete(4), False, torch.float32)
    assert number.shape == (4,) and number(torch.tensor([2])).tolist() == [[0, 0, 1, 0]]
    pixels = Front(Box((2, 3, 1), 0.0, 255.0, "uint8"), False, torch.float32)
    shown = pixels(torch.arange(6, dtype=torch.uint8).reshape(1, 2, 3, 1) * 51)
    torch.testing.assert_close(shown, torch.arange(6.0).reshape(1, 1, 2, 3) / 5)
    assert pixels.shape == (1, 2, 3)
    vector = Front(Box((2,)), True, torch.float32)
    vector.scale.update(torch.tensor([[1.0, 0.0], [3.0, 0.0]]))  # mean 2, variance 1; a constant has variance 0
    assert vector(torch.tensor([[4.0, 1.0], [2.0, 0.0], [-50.0, -1.0]])).tolist() == [[2.0, 10.0], [0.0, 0.0], [-10.0, -10.0]]
    with pytest.raises(PlanError, match="only vectors"):
        Front(Discrete(3), True, torch.float32)


def test_running_statistics_do_not_depend_on_the_cut():
    from guerdon.policies.control._front import Normalised

    x = 5 + 3 * torch.randn(101, 4, generator=generator(), dtype=torch.double)
    parts = Normalised((4,))
    for part in x.split(13):
        parts.update(part)
    close(parts.mean, x.mean(0))
    close(parts.var, x.var(0, correction=0))
    assert float(parts.count) == 101
    parts.update(x[:0])
    assert float(parts.count) == 101


@torch.no_grad()
def test_initial_policies_are_nearly_uniform_and_seeded():
    world = Spaces(Box((4,)), Discrete(3))
    a, b, c = (Control.of(world, seed=s) for s in (0, 0, 1))
    x = torch.randn(50, 4, generator=generator())
    p = a.head.log_probs(a.features(x)).exp()
    assert float((p - 1 / 3).abs().max()) < 0.02  # the last layer's gain is 0.01
    assert all(torch.equal(m, n) for m, n in zip(a.parameters(), b.parameters(), strict=True))
    assert not torch.equal(next(a.parameters()), next(c.parameters()))
    weight = a.body.layers[0].weight  # [64, 4] orthogonal columns times the square root of 2
    torch.testing.assert_close(weight.T @ weight, 2 * torch.eye(4), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MLP((0,)), "MLP: sizes must be at least 1"),
        (lambda: MLP(activation="gelu"), "activation is 'gelu'; expected one of"),
        (lambda: CNN(channels=(8,)), "of one length"),
        (lambda: GRU(0), "GRU: sizes"),
        (lambda: TanhGaussian((2.0, -2.0)), "a smallest and a largest"),
        (lambda: Control.of(Spaces(Box((3,)), Discrete(2)), head=Gaussian()), "take policies.Categorical"),
        (lambda: Control.of(Spaces(Box((3,)), Box((2,))), head=Categorical()), "take policies.Gaussian"),
        (lambda: Control.of(Spaces(Box((3,)), Box((2,))), head=TanhGaussian()), "no bounds; take policies.Gaussian"),
        (lambda: Control.of(Spaces(Box((3,)), Box(()))), "give the box the shape"),
        (lambda: Control.of(Spaces(Box((3,)), Discrete(2)), body=CNN()), "reads pictures"),
        (lambda: Control.of(Spaces(Box((20, 20, 3), 0, 255, "uint8"), Discrete(2)), body=CNN()), "too small for kernels"),
        (lambda: Control.of(Spaces(Discrete(3), Discrete(2)), normalise=True), "only vectors"),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(PlanError, match=message):
        make()
