"""What forward says is what sample did: every architecture, number format, cut and micro-batch size."""

import pytest
import torch

from guerdon.core import Items, Rollout, Streams
from guerdon.policies import CausalLM
from guerdon.testing import check_policy
from guerdon.testing._models import tiny_lm

STREAMS = Streams(3)
PROMPTS = ["ab", "hello there, who are you", "2+2=", "z"]  # different lengths: padding at the left when sampled
ITEMS = Items(PROMPTS, STREAMS.uids(4))
TOLERANCE = {"float64": 1e-9, "float32": 1e-4}
ARCHITECTURES = ["llama", "mistral", "qwen2", "gemma2", "gpt2", "phi", "cohere", "granite", "lfm2"]


def gaps(policy: CausalLM, rollout: Rollout, size: int) -> float:
    worst = 0.0
    with torch.no_grad():
        for rows in torch.arange(len(rollout)).split(size):
            part = rollout[rows].trim()
            assert part.logp is not None
            worst = max(worst, float((policy(part).need("logp") - part.logp).abs().max()))
    return worst


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_every_architecture(arch, dtype):
    policy = tiny_lm(arch, dtype)
    rollout = policy.sample(ITEMS, 3, streams=STREAMS, max_tokens=24)
    assert policy.dtype == dtype
    assert rollout.lengths.unique().numel() > 2
    for size in (1, 3, 8, 12):
        assert gaps(policy, rollout, size) <= TOLERANCE[dtype]
    assert float(rollout.logp[rollout.mask].std()) > 0.5  # not a distribution that any network would match


@pytest.mark.parametrize(
    "controls",
    [
        {"temperature": 0.6},
        {"temperature": 1.7, "top_p": 0.8},
        {"top_k": 5},
        {"top_k": 7, "top_p": 0.7, "temperature": 1.3},
        {"temperature": 0.0},
        {"temperature": 0.0, "top_p": 0.5},
        {"stop": "a", "rows": 4},
    ],
    ids=str,
)
@pytest.mark.parametrize("arch", ["llama", "gemma2"])
def test_every_way_to_draw(arch, controls):
    assert check_policy(tiny_lm(arch), ITEMS, n=3, max_tokens=12, **controls) <= 1e-9


@pytest.mark.parametrize("arch", ["llama", "gpt2"])
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_adapters(arch, dtype):
    policy = tiny_lm(arch, dtype, lora=4)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():  # adapters that were trained
        for name, p in policy.named_parameters():
            if "lora_B" in name:
                p.copy_(0.2 * torch.randn(p.shape, generator=generator, dtype=torch.float64))
    base = tiny_lm(arch, dtype)
    rollout = policy.sample(ITEMS, 3, streams=STREAMS, max_tokens=16, top_p=0.9)
    for size in (1, 3, 8):
        assert gaps(policy, rollout, size) <= TOLERANCE[dtype]
    assert gaps(base, rollout, 12) > 0.1
    trained = [n for n, p in policy.named_parameters() if p.requires_grad]
    assert trained
    assert all("lora_" in n for n in trained)


def test_bfloat16_is_measured():
    policy = tiny_lm("llama", "bfloat16")
    rollout = policy.sample(ITEMS, 3, streams=STREAMS, max_tokens=16)
    gap = policy.mismatch(rollout)
    assert rollout.logp.dtype == torch.float32
    assert 0 < gap["mean"] <= gap["max"] < 0.5


def test_mismatch_is_the_largest_and_the_mean_difference():
    policy = tiny_lm()
    rollout = policy.sample(ITEMS, 2, streams=STREAMS, max_tokens=8)
    off = torch.zeros_like(rollout.logp)
    row, t = (int(i[0]) for i in rollout.mask.nonzero(as_tuple=True))
    off[row, t] = 0.25
    off[~rollout.mask] = 9.0  # never counted
    gap = policy.mismatch(rollout.replace(logp=rollout.logp + off))
    assert gap["max"] == pytest.approx(0.25, abs=1e-9)
    assert gap["mean"] == pytest.approx(0.25 / int(rollout.mask.sum()), abs=1e-9)


def test_the_real_model(shared_data):
    folder = shared_data / "models" / "tinystories-llama-260k"
    streams = Streams(1)
    items = Items(["Once upon a time", "The dog", "Lily and Tom went to the park. They saw a big"], streams.uids(3))
    for dtype, limit in TOLERANCE.items():
        policy = CausalLM.from_pretrained(str(folder), dtype=dtype, device="cpu")
        rollout = policy.sample(items, 4, streams=streams, max_tokens=40, top_p=0.95)
        for size in (1, 3, 8):
            assert gaps(policy, rollout, size) <= limit
    assert "Lily" in " ".join(rollout.outputs) or " the" in " ".join(rollout.outputs)
    assert all(o.startswith((" ", ",", ".", "'")) or o[0].isalpha() for o in rollout.outputs)


def test_float64_does_not_round_to_float32_on_its_way():
    """A change far below float32's resolution comes through a norm; it would be lost, or amplified, by rounding."""
    policy = tiny_lm("llama")
    rollout = policy.sample(ITEMS, 2, streams=STREAMS, max_tokens=8)
    before = policy(rollout).logp.detach()
    with torch.no_grad():
        policy.network.model.model.embed_tokens.weight.mul_(1 + 1e-11)
    moved = (policy(rollout).logp.detach() - before).abs()[rollout.mask]
    assert 1e-13 < float(moved.max()) < 1e-9
