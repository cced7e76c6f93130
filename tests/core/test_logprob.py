"""Selected log-probs against plain autograd, and the memory they take."""

import math
import subprocess
import sys

import pytest
import torch

from guerdon.core import Head, gaussian_logp, selected_logp


def naive(hidden, weight, bias, ids, kept, head):
    logits = hidden @ weight.T + (0 if bias is None else bias)
    logits = logits * head.scale
    if head.softcap is not None:
        logits = torch.tanh(logits / head.softcap) * head.softcap
    logits = logits / head.temperature
    if kept is not None:
        for row, support in enumerate(kept.tolist()):
            support = [k for k in support if k >= 0]
            if support:
                outside = torch.ones(logits.shape[1], dtype=torch.bool)
                outside[support] = False
                logits = torch.cat([logits[:row], logits[row : row + 1].masked_fill(outside, -math.inf), logits[row + 1 :]])
    lp = logits.log_softmax(-1)
    p = lp.exp()
    entropy = -(p * lp.masked_fill(lp == -math.inf, 0)).sum(-1)
    return lp.gather(1, ids[:, None])[:, 0], entropy


@pytest.mark.parametrize("head", [Head(), Head(scale=0.5, softcap=2.0, temperature=0.7, chunk=3)], ids=["plain", "capped"])
@pytest.mark.parametrize("cut", [False, True], ids=["all", "kept"])
@pytest.mark.parametrize("with_bias", [False, True], ids=["no-bias", "bias"])
def test_values_and_gradients_equal_plain_autograd(head, cut, with_bias):
    g = torch.Generator().manual_seed(0)
    hidden = torch.randn(8, 5, generator=g, dtype=torch.double, requires_grad=True)
    weight = torch.randn(11, 5, generator=g, dtype=torch.double, requires_grad=True)
    bias = torch.randn(11, generator=g, dtype=torch.double, requires_grad=True) if with_bias else None
    kept = torch.stack([torch.randperm(11, generator=g)[:4] for _ in range(8)]) if cut else None
    if kept is not None:
        kept[2, 3] = -1
        kept[5] = -1  # this row was not cut
    ids = torch.randint(11, (8,), generator=g) if kept is None else torch.where(kept[:, 0] < 0, 7, kept[:, 0])
    inputs = [x for x in (hidden, weight, bias) if x is not None]
    ours = selected_logp(hidden, weight, ids, bias=bias, kept=kept, head=head)
    theirs = naive(hidden, weight, bias, ids, kept, head)
    a, b = torch.randn(2, 8, generator=g, dtype=torch.double)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-12, atol=1e-12)
    mine = torch.autograd.grad((a * ours[0] + b * ours[1]).sum(), inputs)
    other = torch.autograd.grad((a * theirs[0] + b * theirs[1]).sum(), inputs)
    for x, y in zip(mine, other, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-10, atol=1e-11)


def test_finite_differences():
    g = torch.Generator().manual_seed(1)
    hidden, weight = (torch.randn(n, 3, generator=g, dtype=torch.double, requires_grad=True) for n in (4, 6))
    ids = torch.tensor([0, 5, 2, 2])
    assert torch.autograd.gradcheck(lambda h, w: selected_logp(h, w, ids, head=Head(softcap=3.0, chunk=2)), (hidden, weight))


def test_memory_does_not_grow_with_rows_times_vocabulary():
    """2,000 rows over 100k words would need 800 MB of logits in each direction; the peak of a fresh process must stay far below."""
    program = (
        "import resource, torch; from guerdon.core import selected_logp; torch.set_num_threads(1)\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "h = torch.randn(2000, 16, requires_grad=True); w = torch.randn(100_000, 16, requires_grad=True); i = torch.arange(2000)\n"
        "(selected_logp(h[:2], w, i[:2])[0].sum()).backward(); a = peak()\n"
        "(selected_logp(h, w, i)[0].sum()).backward(); print(peak() - a)"
    )
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    grown = int(out.stdout) / (1024 if sys.platform != "darwin" else 1024**2)
    assert grown < 250, f"{grown:.0f} MiB"


def test_gaussian_density_against_scipy_free_closed_form():
    x, mean, std = torch.tensor([[1.0, 2.0]]), torch.tensor([[0.0, 0.0]]), torch.tensor([[1.0, 2.0]])
    expected = sum(-0.5 * (v / s) ** 2 - math.log(s) - 0.5 * math.log(2 * math.pi) for v, s in ((1, 1), (2, 2)))
    assert gaussian_logp(x, mean, std).item() == pytest.approx(expected, abs=1e-6)
    assert gaussian_logp(x, mean, std, over="mean").item() == pytest.approx(expected / 2, abs=1e-6)
