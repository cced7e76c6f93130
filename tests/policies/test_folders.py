"""Folders: what is saved comes back equal, what cannot be loaded says so in one line."""

import json
import shutil

import pytest
import torch

from guerdon.core import Items, ModelError, PlanError, Streams
from guerdon.policies import CausalLM, LoRA
from guerdon.testing._models import tiny_lm, tiny_model, tiny_tokenizer

STREAMS = Streams(4)
ITEMS = Items(["ab", [{"role": "user", "content": "hi"}]], STREAMS.uids(2))


def moved(policy):
    """The policy after a step of training."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for p in policy.parameters():
            if p.requires_grad:
                p.add_(0.05 * torch.randn(p.shape, generator=generator, dtype=torch.float64).to(p))
    return policy


def same(a, b):
    rollout = a.sample(ITEMS, 3, streams=STREAMS, max_tokens=8)
    again = b.sample(ITEMS, 3, streams=STREAMS, max_tokens=8)
    assert torch.equal(rollout.actions, again.actions)
    return float((a(rollout).logp - b(rollout).logp).abs().max().detach())


@pytest.mark.parametrize("arch", ["llama", "gemma2", "gpt2"])
def test_a_saved_policy_comes_back_bit_by_bit(arch, tmp_path):
    # Gemma scales embeddings by the root of the width, which float32 holds exactly only for squares.
    policy = moved(tiny_lm(arch, **({"hidden_size": 64} if arch == "gemma2" else {})))
    folder = policy.save(tmp_path / "policy")
    back = CausalLM.from_pretrained(str(folder), dtype="float64", device="cpu")
    assert same(policy, back) == 0
    theirs = policy.network.model.state_dict()
    assert all(torch.equal(v, theirs[k]) for k, v in back.network.model.state_dict().items())
    assert back.text.identity == policy.text.identity
    assert back.identity == f"{folder} {policy.text.identity}"
    config = json.loads((folder / "config.json").read_text())
    assert "guerdon" not in json.dumps(config)  # others load it with their own attention
    assert {p.suffix for p in folder.iterdir()} <= {".json", ".jinja", ".md", ".safetensors"}


def test_adapters_are_merged_or_kept(tmp_path):
    base = tiny_lm()
    base_folder = base.save(tmp_path / "base")
    policy = moved(CausalLM.from_pretrained(str(base_folder), lora=LoRA(3, alpha=5.0), dtype="float64", device="cpu"))
    before = policy.sample(ITEMS, 2, streams=STREAMS, max_tokens=8)
    merged = CausalLM.from_pretrained(str(policy.save(tmp_path / "merged")), dtype="float64", device="cpu")
    assert not merged.lora
    assert same(policy, merged) < 1e-12
    folder = policy.save(tmp_path / "adapter", merged=False)
    assert (folder / "adapter_model.safetensors").stat().st_size < (base_folder / "model.safetensors").stat().st_size
    adapted = CausalLM.from_pretrained(str(folder), dtype="float64", device="cpu")
    assert adapted.lora
    assert same(policy, adapted) == 0
    assert [n for n, p in adapted.named_parameters() if p.requires_grad] == [
        n for n, p in policy.named_parameters() if p.requires_grad
    ]
    assert torch.equal(policy.sample(ITEMS, 2, streams=STREAMS, max_tokens=8).logp, before.logp)  # saving changed nothing
    with pytest.raises(PlanError, match="has an adapter already"):
        CausalLM.from_pretrained(str(folder), lora=2, device="cpu")
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(ModelError, match="only pickled weights"):
        CausalLM.from_pretrained(str(folder), device="cpu")


def test_adapters_start_as_the_base_and_the_same_each_time():
    torch.manual_seed(0)
    first, state = tiny_lm(lora=4), torch.get_rng_state()
    second = tiny_lm(lora=4)
    assert torch.equal(torch.get_rng_state(), state)  # the shared generator was not touched
    for p, q in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(p, q)
    assert same(tiny_lm(), first) == 0
    other = tiny_lm(lora=LoRA(4, seed=1))
    assert any(not torch.equal(p, q) for p, q in zip(first.parameters(), other.parameters(), strict=True))


def test_saving_replaces_at_once_and_writes_a_card(tmp_path):
    policy = tiny_lm()
    folder = policy.save(tmp_path / "a" / "policy", card={
        "base_model": "org/base-1", "plan_hash": "ab12", "metrics": {"reward|mean": 0.123456789},
        "references": [{"title": "A paper <b>", "arxiv": "1234.56789", "used_for": "advantages"}], "seed": 3,
        "plan": {"steps": 5},
    })  # fmt: skip
    text = (folder / "README.md").read_text()
    assert "base_model: org/base-1\n" in text
    assert "| reward\\|mean | 0.123457 |" in text
    assert "- plan hash: ab12" in text
    assert "- A paper &lt;b&gt; ([arXiv:1234.56789](https://arxiv.org/abs/1234.56789)): advantages" in text
    assert "```yaml\nsteps: 5\n```" in text
    (folder / "old").write_text("x")
    policy.save(folder)
    assert not (folder / "old").exists()
    assert [p.name for p in folder.parent.iterdir()] == ["policy"]  # nothing else is left behind
    assert "base_model: tiny-llama" in (folder / "README.md").read_text()


def test_a_failed_save_leaves_the_old_folder(tmp_path, monkeypatch):
    policy = tiny_lm()
    folder = policy.save(tmp_path / "policy")
    before = sorted(p.name for p in folder.iterdir())
    monkeypatch.setattr(policy.text.tokenizer, "save_pretrained", lambda *a, **k: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        policy.save(folder)
    assert sorted(p.name for p in folder.iterdir()) == before
    assert [p.name for p in tmp_path.iterdir()] == ["policy"]


def test_a_template_of_ones_own_is_saved(tmp_path):
    template = "{% for m in messages %}{{ m.content }}|{% endfor %}"
    policy = CausalLM.from_parts(tiny_model(), tiny_tokenizer(), template=template)
    assert policy.text.encode("hi|") == policy.text.prompt([{"role": "user", "content": "hi"}])
    back = CausalLM.from_pretrained(str(policy.save(tmp_path / "p")), dtype="float64", device="cpu")
    assert back.text.template == template
    assert policy.identity.split()[1:] == back.identity.split()[1:] != tiny_lm().identity.split()[1:]


@pytest.fixture
def good(tmp_path):
    return tiny_lm(dtype="float32").save(tmp_path / "good")


def broken(good, how):
    bad = good.parent / how
    if how == "nowhere":
        return bad
    shutil.copytree(good, bad)
    weights = bad / "model.safetensors"
    if how == "pickled":
        torch.save({}, bad / "pytorch_model.bin")
        weights.unlink()
    elif how == "no-weights":
        weights.unlink()
    elif how == "no-config":
        (bad / "config.json").unlink()
    elif how == "no-tokenizer":
        for name in ("tokenizer.json", "tokenizer_config.json"):
            (bad / name).unlink()
    elif how == "torn":
        weights.write_bytes(weights.read_bytes()[:500])
    elif how == "not-json":
        (bad / "config.json").write_text("{")
    elif how == "a-file":
        return weights
    elif how == "another-shape":
        config = json.loads((bad / "config.json").read_text())
        (bad / "config.json").write_text(json.dumps({**config, "intermediate_size": 50}))
    elif how == "half":
        from safetensors.torch import load_file, save_file

        state = load_file(weights)
        state.pop("model.layers.1.mlp.up_proj.weight")
        save_file(state, weights, metadata={"format": "pt"})
    elif how == "foreign-code":
        config = json.loads((bad / "config.json").read_text())
        config = {**config, "model_type": "odd", "auto_map": {"AutoConfig": "c.C", "AutoModelForCausalLM": "c.M"}}
        (bad / "config.json").write_text(json.dumps(config))
        (bad / "c.py").write_text("raise SystemExit('foreign code ran')")
    return bad


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("nowhere", "no such folder"),
        ("a-file", "is a file, expected a folder"),
        ("pickled", r"only pickled weights \(pytorch_model.bin\), which can run code when loaded; expected \*.safetensors"),
        ("no-weights", "holds no weights"),
        ("no-config", "has no config.json"),
        ("no-tokenizer", "holds no tokenizer"),
        ("torn", "cannot be loaded"),
        ("not-json", "cannot be loaded"),
        ("another-shape", "cannot be loaded"),
        ("half", "the weights lack 1 tensors, such as model.layers.1.mlp.up_proj.weight"),
        ("foreign-code", "cannot be loaded"),
    ],
)
def test_what_cannot_be_loaded_says_so_in_one_line(good, how, message):
    bad = broken(good, how)
    with pytest.raises(ModelError, match=message) as error:
        CausalLM.from_pretrained(str(bad), device="cpu")
    assert str(bad) in str(error.value)
    assert "\n" not in str(error.value)


def test_names_that_mean_nothing():
    with pytest.raises(ModelError, match="org/none: cannot be loaded"):
        CausalLM.from_pretrained("org/none")
    with pytest.raises(PlanError, match="did you mean 'float32'"):
        CausalLM.from_pretrained("org/none", dtype="float23")
    with pytest.raises(PlanError, match="expected at least 1"):
        LoRA(0)
    with pytest.raises(PlanError, match="expected 0"):
        LoRA(4, dropout=0.1)
    with pytest.raises(ModelError, match="LoRA cannot adapt"):
        tiny_lm(lora=LoRA(2, targets=("nothing",)))
