"""Denoisers: shapes of every kind, rows that do not see each other, weights from a generator, both number formats."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from guerdon.core import DataError, ModelError, PlanError
from guerdon.policies import Condition, DenoiserMLP, UNet
from guerdon.policies.denoising.networks import Denoiser
from guerdon.policies.denoising.networks._base import sinusoids
from guerdon.testing._pictures import shaken

KINDS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "points": (DenoiserMLP((8, 8)), (2,)),
    "pixels": (DenoiserMLP((8,)), (1, 2, 3)),
    "picture": (UNet((4, 8)), (3, 8, 8)),
    "odd": (UNet((4, 6, 8), dense=5), (3, 7, 5)),
    "one pixel high": (UNet((4, 8, 8)), (1, 1, 6)),
    "one pixel": (UNet((2, 2)), (1, 1, 1)),
    "one level": (UNet((4,), blocks=2, dense=0), (2, 4, 4)),
    "video": (UNet((4, 8)), (3, 2, 5, 4)),
    "one frame": (UNet((4,)), (1, 3, 4, 4)),
}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rows(n: int, shape: tuple[int, ...], embedding: int, channels: int) -> tuple[Tensor, Tensor, Condition]:
    g = seeded(5)
    made = {"generator": g, "dtype": torch.float64}
    x, time = torch.randn(n, *shape, **made), torch.rand(n, **made)
    told = torch.randn(n, embedding, **made) if embedding else None
    picture = torch.randn(n, channels, *shape[-2:], **made) if channels else None
    return x, time, Condition(told, picture)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("asked", [False, True], ids=["alone", "asked"])
def test_every_row_by_itself(name: str, asked: bool) -> None:
    spec, shape = KINDS[name]
    embedding, channels = (3, 2 if len(shape) > 1 else 0) if asked else (0, 0)
    network = spec.build(shape, embedding, channels, seeded()).to(torch.float64)
    x, time, condition = rows(3, shape, embedding, channels)
    assert not network(x, time, condition).any()  # a new one predicts 0
    shaken(network)
    out, features = network(x, time, condition), network.features(x, time, condition)
    assert out.shape == x.shape and features.shape == (3, network.width) and out.dtype == features.dtype == torch.float64
    for k in range(3):
        one = torch.tensor([k])
        torch.testing.assert_close(network(x[one], time[one], condition.take(one)), out[one])
        torch.testing.assert_close(network.features(x[one], time[one], condition.take(one)), features[one])
    assert network(x[:0], time[:0], condition.take(torch.tensor([], dtype=torch.long))).shape == (0, *shape)


@pytest.mark.parametrize("name", [n for n in KINDS if n != "one pixel"])
def test_all_that_is_told_counts_and_every_weight_learns(name: str) -> None:
    spec, shape = KINDS[name]
    channels = 2 if len(shape) > 1 else 0
    network: Denoiser = shaken(spec.build(shape, 3, channels, seeded()).to(torch.float64))
    x, time, condition = rows(2, shape, 3, channels)
    given = [x, time, *(part for part in condition if part is not None)]
    for part in given:
        part.requires_grad_(True)
    network(x, time, condition).square().sum().backward()
    for part in given:
        assert part.grad is not None and bool((part.grad.flatten(1) if part.ndim > 1 else part.grad[:, None]).any(1).all())
    lost = [n for n, p in network.named_parameters() if p.grad is None or not bool(p.grad.any())]
    assert lost == []


def test_a_network_that_is_new_has_a_gradient() -> None:
    network = UNet((4, 8)).build((1, 4, 4), 0, 0, seeded())
    x = torch.ones(2, 1, 4, 4)
    (network(x, torch.ones(2), Condition()) - x).square().sum().backward()
    learning = [n for n, p in network.named_parameters() if p.grad is not None and bool(p.grad.any())]
    assert learning == ["last.weight", "last.bias"]  # the zero layer moves first; the others follow at the next step


def test_it_learns_what_a_closed_form_knows() -> None:
    # data of variance 1/4 in one dimension: E[x0 | x_t] = a v x_t / (a^2 v + s^2) with a = 1 - t, s = t, v = 1/4
    network = DenoiserMLP((32, 32)).build((1,), 0, 0, seeded())
    optimiser = torch.optim.Adam(network.parameters(), 5e-3)
    g = seeded(1)
    for k in range(400):
        optimiser.param_groups[0]["lr"] = 5e-3 * (1 - k / 400)
        data, noise, t = 0.5 * torch.randn(256, 1, generator=g), torch.randn(256, 1, generator=g), torch.rand(256, generator=g)
        state = (1 - t)[:, None] * data + t[:, None] * noise
        optimiser.zero_grad()
        (network(state, t, Condition()) - data).square().mean().backward()
        optimiser.step()
    x = torch.linspace(-1, 1, 9)[:, None]
    for time in (0.25, 0.5, 0.75):
        a = 1 - time
        expected = a * 0.25 * x / (a**2 * 0.25 + time**2)
        with torch.no_grad():
            error = network(x, torch.full((9,), time), Condition()) - expected
        assert float(error.abs().max()) < 0.08, time


@pytest.mark.parametrize("name", ["points", "odd", "video"])
def test_weights_come_from_the_generator_alone(name: str) -> None:
    spec, shape = KINDS[name]
    before = torch.get_rng_state()
    states = [spec.build(shape, 3, 0, seeded(k)).state_dict() for k in (0, 0, 1)]
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])
    assert bool((states[0]["signal.first.weight"] != states[2]["signal.first.weight"]).any())


@pytest.mark.parametrize("name", ["points", "picture", "video"])
def test_float32_is_float64_but_for_rounding(name: str) -> None:
    spec, shape = KINDS[name]
    network = shaken(spec.build(shape, 3, 0, seeded()))
    x, time, condition = rows(4, shape, 3, 0)
    single = network(x.float(), time, condition)
    assert single.dtype == torch.float32
    torch.testing.assert_close(network.to(torch.float64)(x, time, condition).float(), single, rtol=1e-4, atol=1e-4)


def test_sinusoids_by_hand() -> None:
    found = sinusoids(torch.tensor([0.0, 1.0, 0.999], dtype=torch.float64), 3)
    rates = [10_000 ** (-k / 3) for k in range(3)]
    for t, row in zip((0.0, 1.0, 0.999), found.tolist(), strict=True):
        expected = [math.sin(1000 * t * r) for r in rates] + [math.cos(1000 * t * r) for r in rates]
        assert row == pytest.approx(expected, abs=1e-12)


def test_far_pixels_see_each_other_by_the_dense_layer() -> None:
    x = torch.zeros(1, 1, 1, 24, dtype=torch.float64)
    moved = x.clone()
    moved[..., 0] = 1
    for dense, seen in ((0, False), (4, True)):
        # normalisation looks at whole pictures, so it is left out to see what is left
        network = shaken(UNet((4,), dense=dense).build((1, 1, 24), 0, 0, seeded()).to(torch.float64))
        for layer in network.modules():
            if isinstance(layer, torch.nn.GroupNorm):
                layer.register_forward_hook(lambda module, given, out: given[0])
        change = network(moved, torch.ones(1), Condition()) - network(x, torch.ones(1), Condition())
        assert bool(change[..., 12:].any()) == seen and bool(change[..., 0].any())


def test_frames_know_their_place_and_their_neighbours_alone() -> None:
    network = shaken(UNet((4,)).build((6, 1, 3, 3), 0, 0, seeded()).to(torch.float64))
    still = torch.ones(1, 6, 1, 3, 3, dtype=torch.float64)
    out = network(still, torch.ones(1), Condition())
    assert bool((out[0, 2] != out[0, 3]).any())  # the same frame in another place
    moved = still.clone()
    moved[0, 0] = 2
    changed = (network(moved, torch.ones(1), Condition()) != out).flatten(2).any(2)[0].tolist()
    assert changed == [True, True, False, False, False, False]  # one level: a convolution over three frames


def test_a_new_video_network_reads_frames_apart() -> None:
    # until the convolutions along time have learned something, only the last layer is shaken
    network = UNet((4, 8)).build((3, 1, 4, 4), 0, 0, seeded()).to(torch.float64)
    shaken(network.last)
    x = torch.randn(1, 3, 1, 4, 4, dtype=torch.float64, generator=seeded(1))
    out = network(x, torch.ones(1), Condition())
    moved = x.clone()
    moved[0, 1] += 1
    changed = (network(moved, torch.ones(1), Condition()) != out).flatten(2).any(2)[0].tolist()
    assert changed == [False, True, False]


def test_a_picture_beside_a_video_is_seen_by_every_frame() -> None:
    network = shaken(UNet((4,)).build((2, 3, 4, 4), 0, 3, seeded()).to(torch.float64))
    x, time, condition = rows(1, (2, 3, 4, 4), 0, 3)
    assert condition.picture is not None
    apart = condition.picture[:, None].expand(-1, 2, -1, -1, -1)
    torch.testing.assert_close(network(x, time, condition), network(x, time, Condition(None, apart)))


@pytest.mark.parametrize(
    ("build", "line"),
    [
        (lambda: UNet(()), "UNet: channels must be one or more numbers from 2"),
        (lambda: UNet((8, 1)), "UNet: channels must be one or more numbers from 2"),
        (lambda: UNet(blocks=0), "UNet: blocks must be at least 1 and dense at least 0, got 0 and 256"),
        (lambda: UNet(dense=-1), "UNet: blocks must be at least 1 and dense at least 0, got 1 and -1"),
        (lambda: DenoiserMLP(()), "DenoiserMLP: widths must be one or more"),
        (lambda: DenoiserMLP((0,)), "DenoiserMLP: widths must be one or more"),
        (lambda: UNet().build((2,), 0, 0, seeded()), r"a state has shape \(2,\); take policies.DenoiserMLP"),
        (lambda: UNet().build((3, 0, 4), 0, 0, seeded()), r"a state has shape \(3, 0, 4\)"),
        (lambda: DenoiserMLP().build((2,), 0, 3, seeded()), r"states of shape \(2,\) beside a picture of 3 channels"),
    ],
)
def test_specs_that_are_refused(build: Any, line: str) -> None:
    with pytest.raises(PlanError, match=line) as caught:
        build()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("spec", [UNet((4,)), DenoiserMLP((4,))], ids=["UNet", "DenoiserMLP"])
def test_a_condition_that_is_missing(spec: Any) -> None:
    x, time = torch.zeros(1, 1, 2, 2), torch.ones(1)
    with pytest.raises(ModelError, match="built with a condition and is given none"):
        spec.build((1, 2, 2), 3, 0, seeded())(x, time, Condition())
    with pytest.raises(ModelError, match="a picture beside the state and is given none"):
        spec.build((1, 2, 2), 0, 2, seeded())(x, time, Condition())
    with pytest.raises(DataError, match="the picture beside the state has 4 x 4 pixels and the state 2 x 2"):
        spec.build((1, 2, 2), 0, 2, seeded())(x, time, Condition(None, torch.zeros(1, 2, 4, 4)))
