"""The training path: gradients of the naive computation, in bounded memory, for rows of any behaviour."""

import copy

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from guerdon.core import Items, ModelError, Rollout, Streams
from guerdon.policies import CausalLM, causal_lm
from guerdon.testing._models import tiny_lm, tiny_model, tiny_tokenizer

STREAMS = Streams(8)
ITEMS = Items(["ab", "hello there", "2+2="], STREAMS.uids(3))


def naive(policy: CausalLM, rollout: Rollout) -> tuple[torch.Tensor, torch.Tensor]:
    """(logp, entropy) from whole logits, row by row, as a text book has it."""
    logp, entropy = torch.zeros_like(rollout.mask, dtype=torch.float64), torch.zeros_like(rollout.mask, dtype=torch.float64)
    for b in range(len(rollout)):
        ids = rollout.actions[b : b + 1, : int(rollout.lengths[b])]
        heat = rollout.behaviour[int(rollout.actor[b])].temperature
        logits = policy.network.model(ids).logits[0].double() / heat
        for t in rollout.mask[b].nonzero()[:, 0].tolist():
            z = logits[t - 1]
            if "kept" in rollout.trace and rollout.trace["kept"][b, t].any():
                kept = rollout.trace["kept"][b, t]
                z = z[(kept[kept > 0] - 1).long()]
                place = int((kept[kept > 0] - 1 == ids[0, t]).nonzero())
            else:
                place = int(ids[0, t])
            lp = z.log_softmax(-1)
            logp = logp.index_put((torch.tensor(b), torch.tensor(t)), lp[place])
            entropy = entropy.index_put((torch.tensor(b), torch.tensor(t)), -(lp.exp() * lp).sum())
    return logp, entropy


@pytest.mark.parametrize("arch", ["llama", "gemma2", "gpt2", "phi", "cohere", "granite"])
def test_values_and_gradients_are_those_of_whole_logits(arch):
    policy = tiny_lm(arch)
    rollout = Rollout.cat([
        policy.sample(ITEMS, 2, streams=STREAMS, max_tokens=6, temperature=heat, top_p=0.9) for heat in (1.0, 0.7)
    ])  # fmt: skip
    weight = torch.randn(rollout.mask.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    plain = copy.deepcopy(policy)
    out = policy(rollout, want=("logp", "entropy"))
    (weight * out.logp + weight.flip(1) * out.entropy).sum().backward()
    logp, entropy = naive(plain, rollout)
    (weight * logp + weight.flip(1) * entropy).sum().backward()
    assert torch.allclose(out.logp, logp, rtol=0, atol=1e-12)
    assert torch.allclose(out.entropy, entropy, rtol=0, atol=1e-12)
    for (name, p), q in zip(policy.named_parameters(), plain.parameters(), strict=True):
        assert (p.grad is None) == (q.grad is None), name
        if p.grad is not None:
            assert float((p.grad - q.grad).abs().max()) <= 1e-10, name
    assert any(float(p.grad.abs().max()) > 0.1 for p in policy.parameters() if p.grad is not None)


class Sizes(TorchDispatchMode):
    """Shapes of all tensors that operations make."""

    def __init__(self):
        super().__init__()
        self.shapes = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        self.shapes |= {tuple(x.shape) for x in tree_leaves(out) if isinstance(x, torch.Tensor)}
        return out


@pytest.mark.parametrize("arch", ["llama", "gemma2"])
def test_logits_exist_for_chosen_steps_only(arch):
    policy = tiny_lm(arch, vocab=211)
    rollout = policy.sample(ITEMS, 4, streams=STREAMS, max_tokens=5)
    with Sizes() as sizes:
        policy(rollout, want=("logp", "entropy")).logp.sum().backward()
    logits = [s for s in sizes.shapes if s and s[-1] == 211]
    assert logits
    assert all(len(s) == 2 for s in logits)
    assert max(s[0] for s in logits) == int(rollout.mask.sum()) < rollout.mask.numel() / 2


def test_rows_of_several_behaviours():
    policy = tiny_lm()
    parts = [
        policy.sample(ITEMS, 2, streams=STREAMS.fork(k), max_tokens=6 + k, temperature=h)
        for k, h in enumerate((0.5, 1.0, 2.0, 0))
    ]
    rollout = Rollout.cat(parts)
    order = torch.randperm(len(rollout), generator=torch.Generator().manual_seed(1))
    assert len(rollout.behaviour) == 4
    assert policy.mismatch(rollout[order])["max"] < 1e-9
    as_one = rollout.replace(behaviour=(rollout.behaviour[1],) * 4)
    assert policy.mismatch(as_one)["max"] > 0.1


def test_padding_may_hold_anything():
    policy = tiny_lm()
    rollout = policy.sample(ITEMS, 3, streams=STREAMS, max_tokens=9)
    behind = torch.arange(rollout.steps) >= rollout.lengths[:, None]
    assert behind.any()
    spoiled = rollout.replace(actions=torch.where(behind, 10**9, rollout.actions))
    assert torch.equal(policy(spoiled).logp, policy(rollout).logp)


def test_without_gradients_many_rows_are_read_in_parts_of_similar_length(monkeypatch):
    policy, shapes = tiny_lm(), []
    policy.network.backbone.register_forward_pre_hook(
        lambda module, args, kwargs: shapes.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    rollout = policy.sample(ITEMS, 6, streams=STREAMS, max_tokens=12)
    shapes.clear()
    whole = policy(rollout, want=("logp", "entropy"))
    monkeypatch.setattr(causal_lm, "_AT_ONCE", 40)
    policy(rollout)
    assert len(shapes) == 2  # with gradients it is the caller who makes parts
    assert len({s[0] for s in shapes}) == 1
    shapes.clear()
    with torch.no_grad():
        parts = policy(rollout, want=("logp", "entropy"))
        assert sum(n for n, _ in shapes) == len(rollout)
        assert len(shapes) > 3
        assert all(n * t <= 40 for n, t in shapes)
        for a, b in ((parts.logp, whole.logp), (parts.entropy, whole.entropy)):
            assert torch.allclose(a, b.detach(), rtol=0, atol=1e-12)
        hidden = policy(rollout, want=("logp", "hidden")).hidden
    assert torch.equal(hidden, policy(rollout, want=("logp", "hidden")).hidden.detach())


def test_hidden_is_what_the_next_token_is_chosen_from():
    policy = tiny_lm()
    rollout = policy.sample(ITEMS, 2, streams=STREAMS, max_tokens=6)
    out = policy(rollout, want=("logp", "hidden"))
    assert out.hidden.shape == (6, rollout.steps, policy.width)
    linear = policy.network.model.get_output_embeddings()
    lp = (out.hidden @ linear.weight.T).log_softmax(-1).gather(-1, rollout.actions[..., None])[..., 0]
    assert torch.allclose(lp[rollout.mask], out.logp[rollout.mask], rtol=0, atol=1e-10)
    assert not out.hidden[:, 0].any()
    assert torch.equal(policy(rollout).logp, policy(rollout, want=("logp", "entropy")).logp)
    assert policy(rollout, want=("entropy",)).logp is None


def test_the_network_never_drops_anything():
    model = tiny_model("gpt2", attn_pdrop=0.5, resid_pdrop=0.5, embd_pdrop=0.5)
    policy = CausalLM.from_parts(model, tiny_tokenizer())
    rollout = policy.sample(ITEMS, 2, streams=STREAMS, max_tokens=6)
    policy.train()
    assert not any(m.training for m in policy.modules())
    assert policy.mismatch(rollout)["max"] < 1e-9


class Doubled(nn.Linear):
    """An output layer of a kind nobody knows."""

    def forward(self, x):
        return super().forward(x) * 2 + x.sum(-1, keepdim=True)


def test_an_unknown_output_layer_falls_back_to_whole_logits():
    model = tiny_model("llama", tie_word_embeddings=False)
    odd = Doubled(32, 95, bias=False, dtype=torch.float64)
    with torch.no_grad():
        odd.weight.copy_(model.lm_head.weight)
    model.lm_head = odd
    policy = CausalLM.from_parts(model, tiny_tokenizer())
    assert policy.network.head is None
    rollout = policy.sample(ITEMS, 3, streams=STREAMS, max_tokens=8, top_p=0.9, temperature=0.8)
    assert policy.mismatch(rollout)["max"] < 1e-9
    out = policy(rollout, want=("logp", "entropy", "hidden"))
    logp, entropy = naive(policy, rollout)
    assert torch.allclose(out.logp, logp, rtol=0, atol=1e-12)
    assert torch.allclose(out.entropy, entropy, rtol=0, atol=1e-12)
    assert out.hidden.shape[-1] == policy.width == 32
    out.logp.sum().backward()
    assert float(odd.weight.grad.abs().max()) > 0


def test_an_adapted_output_layer_is_not_taken_for_its_base():
    from guerdon.policies import LoRA

    policy = tiny_lm("qwen2", lora=LoRA(2, targets=("q_proj", "lm_head")))
    assert policy.network.head is None
    with torch.no_grad():
        for name, p in policy.named_parameters():
            if "lora_B" in name:
                p.fill_(0.1)
    rollout = policy.sample(ITEMS, 2, streams=STREAMS, max_tokens=6)
    assert policy.mismatch(rollout)["max"] < 1e-9
    assert tiny_lm("qwen2").mismatch(rollout)["max"] > 0.01


@pytest.mark.parametrize(("arch", "scale", "softcap"), [("gemma2", 1.0, 5.0), ("cohere", 0.5, None), ("granite", 0.25, None)])
def test_scales_and_caps_are_found(arch, scale, softcap):
    head = tiny_lm(arch).network.head
    assert (head.scale, head.softcap) == (scale, softcap)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("Mamba", {"state_size": 8}),  # no keys and values
        ("RecurrentGemma", {"num_attention_heads": 4, "intermediate_size": 48, "lru_width": 32, "attention_window_size": 8,
                            "block_types": ["recurrent", "attention"]}),  # a state inside the module that no cache carries
    ],
)  # fmt: skip
def test_models_whose_cache_is_of_no_use_replay_and_do_not_sample(name, shape):
    import transformers

    config = getattr(transformers, f"{name}Config")(vocab_size=95, hidden_size=32, num_hidden_layers=2, **shape)
    with torch.random.fork_rng(devices=[]):
        model = transformers.AutoModelForCausalLM.from_config(config).double()
    policy = CausalLM.from_parts(model, tiny_tokenizer())
    given = policy.rollout_from(ITEMS, ["xy", "z", "4"], streams=STREAMS)
    assert torch.allclose(policy(given).logp, naive(policy, given)[0], rtol=0, atol=1e-6)
    with pytest.raises(ModelError, match=f"{name}ForCausalLM has no cache"):
        policy.sample(ITEMS, streams=STREAMS)


def test_experts_in_float64():
    from transformers import AutoModelForCausalLM, MixtralConfig

    config = MixtralConfig(vocab_size=95, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
                           intermediate_size=48, num_local_experts=4)  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        policy = CausalLM.from_parts(AutoModelForCausalLM.from_config(config).double(), tiny_tokenizer())
    assert policy.mismatch(policy.sample(ITEMS, 3, streams=STREAMS, max_tokens=8))["max"] < 1e-9


def test_what_a_language_model_cannot_replay():
    policy = tiny_lm(max_position_embeddings=8)
    rollout = policy.sample(ITEMS[0], 2, streams=STREAMS, max_tokens=4)
    with pytest.raises(ValueError, match="cannot choose step 0"):
        policy(rollout.replace(mask=torch.ones_like(rollout.mask)))
    wide = torch.zeros(1, 20, dtype=torch.long)
    mask = torch.arange(20)[None] > 2
    with pytest.raises(ModelError, match="rows of 19 tokens do not fit the model's context of 8"):
        policy(Rollout(["a"], ["b"], wide, mask, torch.zeros(1), torch.zeros(1)))
