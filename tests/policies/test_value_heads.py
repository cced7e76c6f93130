"""Value heads: numbers by hand, the histogram against the normal distribution, gradients against finite differences."""

import math

import pytest
import torch
from scipy.stats import norm
from torch import Tensor

from guerdon.core import PlanError
from guerdon.policies.heads import GaussianValue, HLGauss, Scalar, ValueHead

HEADS: dict[str, ValueHead] = {
    "scalar": Scalar(),
    "histogram": HLGauss(-2.0, 3.0, bins=11),
    "gaussian": GaussianValue(),
    "gaussian.tight": GaussianValue(bound=0.5),
}


def test_scalar_by_hand() -> None:
    # v = 1, -1, 0.5 against 3, -1, 0: 0.5 * (4, 0, 0.25)
    loss = Scalar().loss(torch.tensor([[1.0], [-1.0], [0.5]]), torch.tensor([3.0, -1.0, 0.0]))
    assert loss.tolist() == [2.0, 0.0, 0.125]
    assert Scalar().std(torch.zeros(3, 1)) is None


def test_histogram_by_hand() -> None:
    # [0, 3] in three bins of width 1, sigma 1: G = 1.5 puts Phi(-0.5)-Phi(-1.5) = 0.24173 into each outer bin and
    # Phi(0.5)-Phi(-0.5) = 0.38292 into the middle; their sum is 0.86639, so p = (0.27901, 0.44198, 0.27901).
    p = HLGauss(0.0, 3.0, bins=3, sigma=1.0).histogram(torch.tensor(1.5))
    assert p.tolist() == pytest.approx([0.27901, 0.44198, 0.27901], abs=1e-5)
    # Cross entropy of uniform outputs is log 3 whatever the target; the value is the middle.
    head = HLGauss(0.0, 3.0, bins=3, sigma=1.0)
    assert float(head.loss(torch.zeros(3), torch.tensor(0.7))) == pytest.approx(math.log(3), abs=1e-6)
    assert float(head.value(torch.zeros(3))) == pytest.approx(1.5)
    # Outputs log(1/4, 1/4, 1/2): 0.125 + 0.375 + 1.25 = 1.75; variance 1.5625/4 + 0.0625/4 + 0.5625/2 = 0.6875.
    raw = torch.tensor([0.25, 0.25, 0.5]).log()
    assert float(head.value(raw)) == pytest.approx(1.75)
    assert float(head.std(raw)) == pytest.approx(math.sqrt(0.6875), abs=1e-6)


def test_gaussian_by_hand() -> None:
    # mean 1, log-variance log 4 (bound far away): G = 3 costs 0.5 (log 4 + 4/4 + log 2 pi) = 2.112086.
    raw = torch.tensor([1.0, math.log(4)], dtype=torch.double)
    head = GaussianValue(bound=40.0)
    assert float(head.loss(raw, torch.tensor(3.0))) == pytest.approx(2.112086, abs=2e-3)
    for target in (-1.0, 0.3, 7.0):
        expected = -norm(1.0, float(head.std(raw))).logpdf(target)
        assert float(head.loss(raw, torch.tensor(target))) == pytest.approx(expected, abs=1e-6)
    far = torch.tensor([0.0, 1e6])
    assert float(GaussianValue(bound=3.0).std(far)) == pytest.approx(math.exp(1.5))
    assert float(GaussianValue(bound=3.0).std(-far)) == pytest.approx(math.exp(-1.5))


@pytest.mark.parametrize("target", [-2.0, -1.99, -0.3, 0.0, 1.234, 2.9, 3.0, 8.0, -50.0])
def test_histogram_is_a_truncated_normal(target: float) -> None:
    head = HLGauss(-2.0, 3.0, bins=23, sigma=0.75)
    edges = [-2.0 + 5.0 * k / 23 for k in range(24)]
    inside = min(max(target, -2.0), 3.0)
    below = norm(inside, 0.75 * 5.0 / 23).cdf(edges)
    expected = (below[1:] - below[:-1]) / (below[-1] - below[0])
    assert head.histogram(torch.tensor(target, dtype=torch.double)).numpy() == pytest.approx(expected, abs=1e-12)


def test_expectation_of_a_projected_return_is_the_return() -> None:
    head = HLGauss(-10.0, 10.0)
    inner = torch.linspace(-9.0, 9.0, 1001, dtype=torch.double)  # five bins from the ends
    value = (head.histogram(inner) * head.centres(inner)).sum(-1)
    assert float((value - inner).abs().max()) < 1e-3 * head.width  # the smoothing hides the grid: far below a bin
    ends = torch.tensor([-10.0, 10.0], dtype=torch.double)
    pulled = (head.histogram(ends) * head.centres(ends)).sum(-1)
    assert (pulled - ends).abs().tolist() == pytest.approx([0.69 * head.width] * 2, rel=0.01)  # as the docstring says


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_edges_and_beyond_are_finite(dtype: torch.dtype) -> None:
    head = HLGauss(0.0, 1.0, bins=51)
    raw = torch.randn(7, 51, generator=torch.Generator().manual_seed(0)).mul(20).to(dtype).requires_grad_()
    loss = head.loss(raw, torch.tensor([0.0, 1.0, -1e30, 1e30, 0.5, math.inf, -math.inf]))
    loss.float().sum().backward()
    assert bool(torch.isfinite(loss).all()) and raw.grad is not None and bool(torch.isfinite(raw.grad).all())
    assert torch.allclose(head.histogram(torch.tensor([1e30, math.inf])), head.histogram(torch.tensor([1.0, 1.0])))


@pytest.mark.parametrize("name", HEADS)
def test_gradient_is_that_of_finite_differences(name: str) -> None:
    head = HEADS[name]
    generator = torch.Generator().manual_seed(1)
    raw = torch.randn(4, 3, head.outputs, generator=generator, dtype=torch.double, requires_grad=True)
    target = torch.randn(4, 3, generator=generator, dtype=torch.double)
    assert head.value(raw).shape == head.loss(raw, target).shape == (4, 3)
    assert torch.autograd.gradcheck(lambda x: (head.loss(x, target), head.value(x)), (raw,))


@pytest.mark.parametrize("name", HEADS)
def test_no_gradient_to_the_target(name: str) -> None:
    target = torch.tensor([0.4], requires_grad=True)
    raw = torch.zeros(1, HEADS[name].outputs, requires_grad=True)
    HEADS[name].loss(raw, target).sum().backward()
    assert target.grad is None and raw.grad is not None


@pytest.mark.parametrize("name", HEADS)
def test_minimising_the_loss_finds_the_return(name: str) -> None:
    head, target = HEADS[name], torch.tensor([0.7, -1.1], dtype=torch.double)
    raw = torch.zeros(2, head.outputs, dtype=torch.double, requires_grad=True)
    optimiser = torch.optim.Adam([raw], lr=0.05)
    for _ in range(400):
        optimiser.zero_grad()
        head.loss(raw, target).sum().backward()
        optimiser.step()
    assert (head.value(raw) - target).abs().max() < 0.02


@pytest.mark.parametrize(
    ("head", "start", "within"),
    [(Scalar(), 0.0, 0.0), (GaussianValue(), 0.0, 0.0), (HLGauss(-5.0, 5.0), 0.0, 1e-5), (HLGauss(-1.0, 9.0, bins=21), 0.0, 1e-5),
     (HLGauss(-9.0, 1.0), 0.0, 1e-5), (HLGauss(0.0, 10.0, bins=100), 0.1, 1e-5), (HLGauss(-30.0, -20.0, bins=100), -20.1, 1e-4),
     (HLGauss(-1.0, 1.0, bins=2), 0.0, 1e-6)],
)  # fmt: skip
def test_where_a_network_begins(head: ValueHead, start: float, within: float) -> None:
    assert head.bias().shape == (head.outputs,)
    assert float(head.value(head.bias().double())) == pytest.approx(start, abs=max(within, 1e-12))


def test_bad_settings_are_one_line() -> None:
    for wrong, line in [
        (lambda: HLGauss(1.0, 1.0), "HLGauss: expected finite low < high, got low=1.0, high=1.0"),
        (lambda: HLGauss(0.0, math.inf), "HLGauss: expected finite low < high, got low=0.0, high=inf"),
        (lambda: HLGauss(0.0, 1.0, bins=1), "HLGauss: bins must be at least 2, got 1"),
        (lambda: HLGauss(0.0, 1.0, sigma=0.0), "HLGauss: sigma must be above 0, got 0.0"),
        (lambda: GaussianValue(bound=50.0), "GaussianValue: bound must be above 0 and at most 40, got 50.0"),
    ]:
        with pytest.raises(PlanError) as e:
            wrong()
        assert str(e.value) == line


def _moments(p: Tensor, centres: Tensor) -> tuple[float, float]:
    mean = float(p @ centres)
    return mean, math.sqrt(float(p @ (centres - mean) ** 2))


def test_std_of_a_projected_return_is_the_smoothing() -> None:
    head = HLGauss(-10.0, 10.0, bins=101)
    p = head.histogram(torch.tensor(0.0, dtype=torch.double))
    # A Gaussian of sigma 0.75 bins seen through bins: its variance plus w^2 / 12 (Sheppard).
    expected = head.width * math.sqrt(0.75**2 + 1 / 12)
    assert _moments(p, head.centres(p))[1] == pytest.approx(expected, rel=1e-3)
    assert float(head.std(p.log())) == pytest.approx(expected, rel=1e-3)
