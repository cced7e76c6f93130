"""Models of diffusers as policies: trained by the usual loop, saved as their pipelines, and nothing of a folder trusted."""

import copy
import json
import math
import shutil
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import diffusers
import pytest
import torch
import transformers
from safetensors.torch import load_file

from guerdon import advantages, objectives, samplers, selection
from guerdon.core import DataError, Items, ModelError, PlanError, RewardOutput, Streams
from guerdon.policies import DDIM, DDPM, AdaptersOff, Diffusion, Flow, Frozen, LoRA
from guerdon.run import AdamW, Plan, Train, run

N = 40
BLOCKS = {"layers_per_block": 1, "block_out_channels": (8, 16), "norm_num_groups": 4}


def tiny_unet(**changes):
    torch.manual_seed(0)
    plain = {"sample_size": 8, "in_channels": 1, "out_channels": 1, **BLOCKS}
    kinds = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2}
    return diffusers.UNet2DModel(**{**plain, **kinds, **changes})


def tiny_text_to_image():
    """U-Net, autoencoder, text encoder and tokenizer of StableDiffusionPipeline, a few thousand weights each."""
    torch.manual_seed(0)
    letters = "abcdefghijklmnopqrstuvwxyz"
    ids = {token: k for k, token in enumerate([*letters, *(f"{c}</w>" for c in letters), "<|startoftext|>", "<|endoftext|>"])}
    text = transformers.CLIPTextConfig(
        vocab_size=len(ids), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, max_position_embeddings=12,
        bos_token_id=len(ids) - 2, eos_token_id=len(ids) - 1, pad_token_id=len(ids) - 1,
    )  # fmt: skip
    return {
        "unet": diffusers.UNet2DConditionModel(
            sample_size=4, in_channels=4, out_channels=4, **BLOCKS, cross_attention_dim=16, attention_head_dim=4,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        ),
        "vae": diffusers.AutoencoderKL(
            latent_channels=4, **{**BLOCKS, "block_out_channels": (8, 8)}, sample_size=8, down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
        ),
        "text_encoder": transformers.CLIPTextModel(text),
        "tokenizer": transformers.CLIPTokenizer(ids, [], model_max_length=12),
    }  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A DDPMPipeline that diffusers wrote."""
    made = tmp_path_factory.mktemp("peer") / "ddpm"
    pipeline = diffusers.DDPMPipeline(
        unet=tiny_unet(), scheduler=diffusers.DDPMScheduler(num_train_timesteps=N, variance_type="fixed_large")
    )
    pipeline.set_progress_bar_config(disable=True)
    pipeline.save_pretrained(made)
    return made


def items_of(*contexts):
    return Items(list(contexts), Streams(0).uids(len(contexts)))


@dataclass(frozen=True)
class Fixed:
    """The same contexts, with given pictures, at every draw."""

    contexts: tuple[Any, ...]
    columns: tuple[tuple[str, Any], ...] = ()

    def draw(self, n, *, streams):
        k = [i % len(self.contexts) for i in range(n)]
        return Items([self.contexts[i] for i in k], streams.uids(n), {c: [v[i] for i in k] for c, v in self.columns})

    def tell(self, batch):
        pass


@dataclass(frozen=True)
class Bright:
    """The mean of a picture."""

    scope: ClassVar = "sample"
    differentiable: ClassVar = False

    def __call__(self, rollout):
        return RewardOutput.of(rollout.outputs.flatten(1).mean(1).double())


def plan_of(policy, objective):
    pictures = tuple(sign * torch.linspace(0, 0.8, 64).reshape(1, 8, 8) for sign in (1, -1))
    given = {"source": Fixed((None,), (("good", pictures[:1]), ("bad", pictures[1:]))), "references": {}}
    parts = {
        "pg": {"source": Fixed((None,)), "sampler": samplers.Group(contexts=1, n=16), "reward": Bright(), "advantage": advantages.GroupNorm()},
        "sft": {**given, "sampler": samplers.Given(("good",), contexts=8)},
        "dpo": {**given, "sampler": samplers.Given(("good", "bad"), contexts=8), "select": (selection.GivenPairs(),), "references": {"reference": Frozen()}},
    }  # fmt: skip
    losses = {"pg": objectives.PolicyGradient(), "sft": objectives.SFT(), "dpo": objectives.DPO(beta=0.1)}
    return Plan(
        policy=policy,
        learners={"policy": Train(losses[objective], AdamW(lr=2e-3))},
        steps=4,
        checks=(),
        seed=1,
        **parts[objective],
    )


def improved(policy, before, objective):
    """(figure before, figure after): what each objective is to raise, on fresh streams."""
    streams, items = Streams(9), items_of(*[None] * 32)
    if objective == "pg":
        return tuple(float(p.sample(items, streams=streams).outputs.mean()) for p in (before, policy))
    good, bad = (sign * torch.linspace(0, 0.8, 64).reshape(1, 8, 8) for sign in (1, -1))
    with torch.no_grad():
        said = [
            [float(p(p.rollout_from(items, [x] * 32, streams=streams, draws=8)).logp.sum(1).mean()) for x in (good, bad)]
            for p in (before, policy)
        ]
    return tuple(g if objective == "sft" else g - b for g, b in said)


def test_adapters_are_trained_alone_and_merged_when_saved(folder, tmp_path):
    policy = Diffusion.from_pretrained(folder, steps=4, kernel=DDPM("small"), lora=2, dtype="float64")
    base = Diffusion.from_pretrained(folder, steps=4, kernel=DDPM("small"), dtype="float64")
    items = items_of(None, None)
    torch.testing.assert_close(
        policy.sample(items, streams=Streams(3)).states, base.sample(items, streams=Streams(3)).states, atol=1e-12, rtol=0
    )
    plan = plan_of(policy, "sft")
    run(replace(plan, references={"reference": AdaptersOff()}))
    mine = policy.sample(items, streams=Streams(3))
    assert not torch.equal(mine.states, base.sample(items, streams=Streams(3)).states)
    with policy.without_adapters():
        torch.testing.assert_close(policy(mine).logp, base(mine).logp, atol=1e-9, rtol=0)
    assert {n.split(".")[-3] for n, p in policy.named_parameters() if p.requires_grad} == {"lora_A", "lora_B"}
    policy.save(tmp_path / "merged")
    again = Diffusion.from_pretrained(tmp_path / "merged")
    assert not again.lora and float((again(mine).logp - policy(mine).logp).detach().abs().max()) < 1e-7
    assert diffusers.DDPMPipeline.from_pretrained(tmp_path / "merged").unet.config.sample_size == 8
    with pytest.raises(ModelError, match="LoRA cannot adapt"):
        Diffusion.from_pretrained(folder, lora=LoRA(2, targets=("nowhere",)))
    with pytest.raises(ModelError, match="no adapters to switch off"):
        again.without_adapters()


@pytest.mark.parametrize("objective", ["pg", "sft", "dpo"])
def test_a_pipeline_is_fine_tuned_by_the_usual_loop_and_loads_back_in_diffusers(folder, tmp_path, objective):
    policy = Diffusion.from_pretrained(folder, steps=4, kernel=DDPM("small"))
    before = copy.deepcopy(policy)
    result = run(plan_of(policy, objective))
    first, last = improved(policy, before, objective)
    assert result.policy is policy and last > first
    policy.save(tmp_path / "tuned")
    peer = diffusers.DDPMPipeline.from_pretrained(tmp_path / "tuned")
    mine, start = policy.network.model.state_dict(), before.network.model.state_dict()
    assert all(torch.equal(value, mine[key]) for key, value in peer.unet.state_dict().items())
    assert not all(torch.equal(value, start[key]) for key, value in mine.items())
    assert dict(peer.scheduler.config) == {**dict(diffusers.DDPMPipeline.from_pretrained(folder).scheduler.config)}


def test_a_folder_comes_back_bit_for_bit_with_how_it_samples(folder, tmp_path):
    shared = torch.random.get_rng_state()
    policy = Diffusion.from_pretrained(folder, steps=5, kernel=DDIM(0.5))
    assert torch.equal(torch.random.get_rng_state(), shared)
    assert policy.save(tmp_path / "a") == (tmp_path / "a").resolve()
    again = Diffusion.from_pretrained(tmp_path / "a")
    assert again.how == policy.how and again.clip == policy.clip == 1.0 and again.schedule == policy.schedule
    one, two = (p.sample(items_of(None), 3, streams=Streams(2)) for p in (policy, again))
    assert torch.equal(one.states, two.states) and torch.equal(one.logp, two.logp)
    names = sorted(str(f.relative_to(tmp_path / "a")) for f in (tmp_path / "a").rglob("*") if f.is_file())
    weights = "unet/diffusion_pytorch_model.safetensors"
    assert names == [
        "README.md",
        "guerdon.json",
        "model_index.json",
        "scheduler/scheduler_config.json",
        "unet/config.json",
        weights,
    ]
    assert (load_file(tmp_path / "a" / weights).keys()) == load_file(folder / weights).keys()
    text = "".join((tmp_path / "a" / n).read_text() for n in names if n.endswith((".json", ".md")))
    assert "library_name: diffusers" in text and str(folder) not in text.replace(f"from `{folder}`", "")
    assert Diffusion.from_pretrained(tmp_path / "a", steps=3, dtype="float64").dtype == torch.float64


def test_log_probs_replay_and_features_are_of_the_middle(folder):
    policy = Diffusion.from_pretrained(folder, steps=4, kernel=DDIM(1.0), dtype="float64")
    policy.train()
    assert not any(m.training for m in policy.network.modules())
    rollout = policy.sample(items_of("a", "b"), 2, streams=Streams(0))
    out = policy(rollout, want=("logp", "hidden"))
    assert float((out.logp - rollout.logp).detach().abs().max()) < 1e-9
    assert out.hidden.shape == (4, 4, policy.width) == (4, 4, 16)
    unet, x = policy.network.model, rollout.states[0, :1]
    seen = []
    hook = unet.mid_block.register_forward_hook(lambda module, given, found: seen.append(found))
    unet(x, 30)  # 4 of 40 timesteps, leading: 30, 20, 10, 0
    hook.remove()
    torch.testing.assert_close(out.hidden[0, 0], seen[0].mean((2, 3))[0], atol=1e-9, rtol=0)


def test_class_labels_are_contexts_and_guidance_needs_a_null_label(tmp_path):
    unet = tiny_unet(num_class_embeds=4).double()
    policy = Diffusion.from_parts(
        unet, scheduler=diffusers.DDIMScheduler(num_train_timesteps=N), steps=4, null_label=3, guidance=2.5
    )
    rollout = policy.sample(items_of(0, 2), streams=Streams(0))
    x = rollout.states[:, 0]
    with torch.no_grad():
        given, none = (unet(x, 30, class_labels=torch.tensor(c)).sample for c in ([0, 2], [3, 3]))
    asked = policy.ask([0, 2], policy.how)
    torch.testing.assert_close(policy.predicted(x, torch.full((2,), 31 / N), asked, 2.5).detach(), none + 2.5 * (given - none))
    assert float((given - none).abs().max()) > 1e-3
    policy.save(tmp_path / "labels")
    assert Diffusion.from_pretrained(tmp_path / "labels").condition.null == 3
    with pytest.raises(DataError, match="label 4: expected a whole number from 0 to 3"):
        policy.sample(items_of(4), streams=Streams(0))
    bare = Diffusion.from_parts(unet, scheduler=diffusers.DDIMScheduler(num_train_timesteps=N), steps=4)
    with pytest.raises(PlanError, match="null_label"):
        bare.sample(items_of(1), streams=Streams(0), guidance=2.0)


def test_text_to_image_runs_in_latents_and_equals_the_pipeline(tmp_path):
    parts = tiny_text_to_image()
    scheduler = diffusers.PNDMScheduler(num_train_timesteps=N, beta_schedule="scaled_linear", steps_offset=1)
    policy = Diffusion.from_parts(
        parts["unet"], scheduler=scheduler, **{k: v for k, v in parts.items() if k != "unet"}, steps=5, guidance=3.0
    )
    items = items_of("a red ball", "blue")
    policy.save(tmp_path / "sd")
    again = Diffusion.from_pretrained(tmp_path / "sd")
    rollout = again.sample(items, streams=Streams(0), deterministic=True)
    assert torch.equal(rollout.outputs, policy.sample(items, streams=Streams(0), deterministic=True).outputs)
    assert rollout.states.shape == (2, 6, 4, 4, 4) and rollout.outputs.shape == (2, 3, 8, 8)
    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(tmp_path / "sd")
    pipeline.set_progress_bar_config(disable=True)
    assert type(pipeline.scheduler) is diffusers.PNDMScheduler
    pipeline.scheduler = diffusers.DDIMScheduler.from_config(pipeline.scheduler.config, clip_sample=False)
    theirs = pipeline(
        list(items.contexts), num_inference_steps=5, guidance_scale=3.0, latents=rollout.states[:, 0], output_type="pt"
    ).images
    torch.testing.assert_close((rollout.outputs / 2 + 0.5).clamp(0, 1), theirs, atol=1e-5, rtol=0)
    # given pictures are encoded, only the U-Net learns, and a copy shares the frozen parts
    rows = again.rollout_from(items, list(rollout.outputs), streams=Streams(1), draws=2)
    assert rows.states.shape == (2, 3, 4, 4, 4)
    again(rows).logp.sum().backward()
    learns = {name.split(".")[0] for name, p in again.named_parameters() if p.requires_grad}
    assert learns == {"network"} and all(p.grad is not None for p in again.network.parameters())
    assert copy.deepcopy(again).pictures.vae is again.pictures.vae
    with pytest.raises(DataError, match=r"item 1: expected a picture, a finite tensor of shape \(3, 8, 8\)"):
        again.encoded([rollout.outputs[0], rollout.outputs[0, :1]])
    with pytest.raises(DataError, match="expected a prompt, got int"):
        again.sample(items_of(7), streams=Streams(0))


def edit(folder, path, change):
    """One JSON file of a folder, changed."""
    config = json.loads((folder / path).read_text())
    change(config)
    (folder / path).write_text(json.dumps(config))


HOSTILE = [
    ("model_index.json", lambda c: c.update(_class_name="EvilPipeline"), "pipeline 'EvilPipeline' is not read"),
    ("model_index.json", lambda c: c.update(_class_name=["mine.py", "Mine"]), "is not read"),
    ("model_index.json", lambda c: c.update(unet=["os", "system"]), r"unet is \['os', 'system'\].*other code is not loaded"),
    ("model_index.json", lambda c: c.update(unet=["diffusers", "DiffusionPipeline"]), "expected UNet2DModel"),
    ("model_index.json", lambda c: c.update(scheduler=["pipeline", "MyScheduler"]), "other code is not loaded"),
    ("model_index.json", lambda c: c.update(scheduler=["diffusers", "HackScheduler"]), "scheduler HackScheduler gives no discrete"),
    ("model_index.json", lambda c: c.update(extra=["os", "system"]), "DDPMPipeline has no part 'extra'"),
    ("model_index.json", lambda c: c.pop("unet"), "needs 'unet', and it is not there"),
    ("unet/config.json", lambda c: c.update(auto_map={"AutoModel": "evil.Evil"}), r"unet/config.json names code of its own"),
    ("unet/config.json", lambda c: c.update(_class_name="UNet3DConditionModel"), "is of a UNet3DConditionModel"),
    ("unet/config.json", lambda c: c.update(down_block_types=["os.system"] * 2), "cannot be loaded"),
    ("unet/config.json", lambda c: c.update(block_out_channels=[8, 32]), "cannot be loaded"),
    ("unet/config.json", lambda c: c.update(block_out_channels=[8, 4 * 10**6]), "cannot be loaded"),
    ("unet/config.json", lambda c: c.update(sample_size=None), "sample_size"),
    ("unet/config.json", lambda c: c.update(time_embedding_type="fourier"), "cannot be loaded|lack|time_embedding_type"),
    ("scheduler/scheduler_config.json", lambda c: c.update(num_train_timesteps=10**12), "num_train_timesteps is 1000000000000"),
    ("scheduler/scheduler_config.json", lambda c: c.update(beta_schedule="mine"), "cannot be loaded: .*mine is not implemented|cannot be made"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "change", "says"), HOSTILE, ids=[f"{k}" for k in range(len(HOSTILE))])
def test_a_hostile_folder_is_refused_in_one_line(folder, tmp_path, path, change, says):
    bad = tmp_path / "bad"
    shutil.copytree(folder, bad)
    edit(bad, path, change)
    with pytest.raises(ModelError, match=says) as caught:
        Diffusion.from_pretrained(bad)
    assert "\n" not in str(caught.value) and str(caught.value).startswith(str(bad))


def test_pickled_weights_and_files_of_other_kinds_are_refused(folder, tmp_path):
    bad = tmp_path / "bad"
    shutil.copytree(folder, bad)
    (bad / "unet" / "diffusion_pytorch_model.safetensors").rename(bad / "unet" / "diffusion_pytorch_model.bin")
    (tmp_path / "one.ckpt").write_bytes(b"pickle")
    shutil.copytree(folder, tmp_path / "adapter")
    (tmp_path / "adapter" / "unet" / "adapter_config.json").write_text("{}")
    cases = [
        (Diffusion, bad, {}, r"unet holds only pickled weights \(diffusion_pytorch_model.bin\), which can run code"),
        (Diffusion, tmp_path / "adapter", {}, "unet holds an adapter, whose base may be anywhere"),
        (Diffusion, tmp_path / "one.ckpt", {}, "one file of pickled weights, which can run code"),
        (Diffusion, tmp_path / "none", {}, "no such folder"),
        (Diffusion, tmp_path, {}, "has no config.json"),
        (Diffusion, folder / "unet", {}, "is a bare UNet2DModel, which does not say its noise; give scheduler="),
        (Flow, folder, {}, "holds a Diffusion, not a Flow"),
    ]  # fmt: skip
    for cls, where, how, says in cases:
        with pytest.raises(ModelError, match=says) as caught:
            cls.from_pretrained(where, **how)
        assert "\n" not in str(caught.value)
    with pytest.raises(PlanError, match="no option 'step'; did you mean 'steps'"):
        Diffusion.from_pretrained(folder, step=3)


def test_settings_of_a_folder_are_plain_and_checked(folder, tmp_path):
    bad = tmp_path / "bad"
    shutil.copytree(folder, bad)
    for said, complaint in (
        ({"steps": "8"}, "guerdon.json: steps is '8'"),
        ({"stepz": 8}, "unknown key 'stepz'; did you mean 'steps'"),
        ({"kernel": {"use": "os.system"}}, "'os.system' is not a sampler"),
        ({"kernel": {"use": "Discrete", "n": 3}}, "expected a sampler such as DDIM"),
        ({"weight": "much"}, "weight is 'much'"),
    ):
        (bad / "guerdon.json").write_text(json.dumps(said))
        with pytest.raises(ModelError, match=complaint):
            Diffusion.from_pretrained(bad)


def test_a_bare_unet_takes_a_scheduler_and_networks_that_fit_no_chain_are_refused(folder):
    policy = Diffusion.from_pretrained(folder / "unet", scheduler=diffusers.DDIMScheduler(num_train_timesteps=N), steps=4)
    assert policy.pipeline == "DDIMPipeline" and math.isfinite(
        float(policy.sample(items_of(None), streams=Streams(0)).outputs.sum())
    )
    assert (
        type(policy.hosted().scheduler) is diffusers.DDIMScheduler and policy.hosted().scheduler.config.num_train_timesteps == N
    )
    ddpm = diffusers.DDPMScheduler(num_train_timesteps=N)
    for unet, parts, says in (
        (tiny_unet(out_channels=2), {}, "reads 1 channels and gives 2"),
        (tiny_unet(), {"vae": torch.nn.Linear(1, 1)}, "a UNet2DModel has no use for vae"),
        (tiny_unet(), {"null_label": 3}, "null_label is for networks with class labels"),
        (torch.nn.Linear(1, 1), {}, "Linear is not read; expected UNet2DModel or UNet2DConditionModel"),
        (tiny_unet(num_class_embeds=4), {"null_label": 4}, "null_label is 4, expected 0 to 3"),
    ):
        with pytest.raises((ModelError, PlanError), match=says):
            Diffusion.from_parts(unet, scheduler=ddpm, **parts)
