"""StableDiffusion3Pipeline as a policy: its scheduler's steps, its pictures, and trained by the usual loop."""

import copy
import json
import shutil
from dataclasses import dataclass
from typing import ClassVar

import diffusers
import pytest
import torch
import transformers
from torch import nn

from guerdon import advantages, objectives, samplers
from guerdon.core import DataError, Items, ModelError, PlanError, RewardOutput, Streams
from guerdon.policies import DDIM, Diffusion, Flow, FlowSDE
from guerdon.policies.denoising._diffusers_flow import noise_of
from guerdon.run import AdamW, Plan, Prompts, Train, run

PROMPTS = ("a red ball", "blue")


def tiny_pipeline(t5: bool):
    """Random weights, a few thousand of them."""
    torch.manual_seed(0)
    letters = "abcdefghijklmnopqrstuvwxyz"
    ids = {token: k for k, token in enumerate([*letters, *(f"{c}</w>" for c in letters), "<|startoftext|>", "<|endoftext|>"])}
    text = transformers.CLIPTextConfig(
        vocab_size=len(ids), hidden_size=8, intermediate_size=8, num_hidden_layers=2, num_attention_heads=2, max_position_embeddings=12,
        projection_dim=8, bos_token_id=len(ids) - 2, eos_token_id=len(ids) - 1, pad_token_id=len(ids) - 1,
    )  # fmt: skip
    tokenizer = transformers.CLIPTokenizer(ids, [], model_max_length=12)
    large = {"text_encoder_3": None, "tokenizer_3": None}
    if t5:
        pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0), *[(c, -3.0) for c in letters]]
        config = transformers.T5Config(vocab_size=32, d_model=32, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
        large = {"text_encoder_3": transformers.T5EncoderModel(config), "tokenizer_3": transformers.T5Tokenizer(vocab=pieces)}
    return diffusers.StableDiffusion3Pipeline(
        transformer=diffusers.SD3Transformer2DModel(
            sample_size=4, patch_size=1, in_channels=4, out_channels=4, num_layers=2, attention_head_dim=8, num_attention_heads=2,
            joint_attention_dim=32, caption_projection_dim=16, pooled_projection_dim=16, pos_embed_max_size=4,
        ),
        vae=diffusers.AutoencoderKL(
            latent_channels=4, layers_per_block=1, block_out_channels=(8, 8), norm_num_groups=4, sample_size=8, shift_factor=0.06,
            scaling_factor=1.5, down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        ),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(num_train_timesteps=100, shift=3.0),
        text_encoder=transformers.CLIPTextModelWithProjection(text), text_encoder_2=transformers.CLIPTextModelWithProjection(text),
        tokenizer=tokenizer, tokenizer_2=tokenizer, **large,
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("peer") / "sd3"
    tiny_pipeline(t5=True).save_pretrained(made)
    return made


def peer(folder, **parts):
    pipeline = diffusers.StableDiffusion3Pipeline.from_pretrained(folder, **parts)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


class Says(nn.Module):
    """A network whose answer is given."""

    width = 1

    def __init__(self, answer):
        super().__init__()
        self.answer = nn.Parameter(answer, requires_grad=False)

    def forward(self, x, time, condition):
        return self.answer


@pytest.mark.parametrize("config", [{}, {"shift": 3.0}, {"shift_terminal": 0.1}, {"use_karras_sigmas": True}], ids=str)
def test_each_step_of_the_ode_is_the_schedulers(config):
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(num_train_timesteps=100, **config)
    generator = torch.Generator().manual_seed(0)
    answer, x = (torch.randn(2, 3, 4, generator=generator, dtype=torch.double) for _ in range(2))
    policy = Flow((3, 4), Says(answer), None, noise=noise_of(scheduler, "here"), predict="flow", kernel=DDIM(0.0), steps=6)
    scheduler.set_timesteps(6)
    scheduler.sigmas = scheduler.sigmas.double()
    for level, timestep in enumerate(scheduler.timesteps):
        mine = policy.proposal(x, torch.full((2,), level), policy.ask([None] * 2, policy.how), policy.how)
        # the scheduler rounds the state to float32 before it steps, and back afterwards
        torch.testing.assert_close(
            mine.mean, scheduler.step(answer, timestep, x, return_dict=False)[0].double(), atol=5e-7, rtol=0
        )
        torch.testing.assert_close(
            mine.mean, x + (scheduler.sigmas[level + 1] - scheduler.sigmas[level]) * answer, atol=1e-12, rtol=0
        )
        assert not bool(mine.chosen.any())


def test_pictures_are_those_of_the_pipeline(folder, tmp_path):
    policy = Flow.from_pretrained(folder, steps=5, guidance=3.0)
    items = Items(list(PROMPTS), Streams(0).uids(2))
    rollout = policy.sample(items, streams=Streams(0), deterministic=True)
    theirs = peer(folder)(
        list(PROMPTS),
        num_inference_steps=5,
        guidance_scale=3.0,
        latents=rollout.states[:, 0],
        output_type="pt",
        height=8,
        width=8,
    ).images
    torch.testing.assert_close((rollout.outputs / 2 + 0.5).clamp(0, 1), theirs, atol=1e-5, rtol=0)
    assert float(theirs.std()) > 0.01
    rollout = policy.sample(items, streams=Streams(0))
    out = policy(rollout, want=("logp", "hidden"))
    assert policy.how.kernel == FlowSDE(0.7) and bool(rollout.mask.all())
    assert float((out.logp - rollout.logp).detach().abs().max()) < 1e-4 and out.hidden.shape == (2, 5, 16)
    # back again, bit for bit; a copy shares what is frozen
    policy.save(tmp_path / "again")
    again = Flow.from_pretrained(tmp_path / "again")
    assert again.how == policy.how and torch.equal(again.sample(items, streams=Streams(0)).states, rollout.states)
    assert copy.deepcopy(again).condition is again.condition
    assert {n.split(".")[0] for n, p in again.named_parameters() if p.requires_grad} == {"network"}
    with pytest.raises(DataError, match="expected a prompt, got int"):
        again.sample(Items([7], Streams(0).uids(1)), streams=Streams(0))


@dataclass(frozen=True)
class Bright:
    """The mean of a picture."""

    scope: ClassVar = "sample"
    differentiable: ClassVar = False

    def __call__(self, rollout):
        return RewardOutput.of(rollout.outputs.flatten(1).mean(1).double())


def test_it_is_fine_tuned_by_the_usual_loop_and_loads_back_in_diffusers(tmp_path):
    tiny_pipeline(t5=False).save_pretrained(tmp_path / "sd3")  # the large text encoder may be left out
    policy = Flow.from_pretrained(tmp_path / "sd3", steps=3, guidance=1.0)
    before, items = copy.deepcopy(policy), Items([PROMPTS[0]] * 32, Streams(5).uids(32))
    run(Plan(
        policy=policy, source=Prompts(PROMPTS[:1]), sampler=samplers.Group(contexts=1, n=16), reward=Bright(), advantage=advantages.GroupNorm(),
        learners={"policy": Train(objectives.PolicyGradient(), AdamW(lr=5e-3))}, steps=4, checks=(), seed=1,
    ))  # fmt: skip
    first, last = (float(p.sample(items, streams=Streams(6)).outputs.mean()) for p in (before, policy))
    assert last > first
    policy.save(tmp_path / "tuned")
    without = {"text_encoder_3": None, "tokenizer_3": None}  # diffusers wants to be told
    tuned, mine, start = (
        peer(tmp_path / "tuned", **without).transformer.state_dict(),
        policy.network.model.state_dict(),
        before.network.model.state_dict(),
    )
    assert all(torch.equal(value, mine[key]) for key, value in tuned.items())
    assert not all(torch.equal(value, start[key]) for key, value in mine.items())


def test_what_is_no_such_flow_is_refused_in_one_line(folder, tmp_path):
    bad = tmp_path / "bad"
    shutil.copytree(folder, bad)

    def said(path, **changes):
        config = json.loads((folder / path).read_text()) | changes
        (bad / path).write_text(json.dumps(config))

    for path, changes, says in (
        ("scheduler/scheduler_config.json", {"use_dynamic_shifting": True}, "use_dynamic_shifting=True is not read"),
        ("scheduler/scheduler_config.json", {"num_train_timesteps": 10**9}, "num_train_timesteps is 1000000000"),
        ("model_index.json", {"scheduler": ["diffusers", "DDPMScheduler"]}, "scheduler DDPMScheduler is not read for a flow"),
        ("model_index.json", {"text_encoder": [None, None]}, "other code is not loaded"),
        ("model_index.json", {"tokenizer_3": ["tokenizers", "Evil"]}, "other code is not loaded"),
        ("model_index.json", {"_class_name": "FluxPipeline"}, "pipeline 'FluxPipeline' is not read"),
    ):
        said(path, **changes)
        with pytest.raises(ModelError, match=says) as caught:
            Flow.from_pretrained(bad)
        assert "\n" not in str(caught.value)
        said(path)
    with pytest.raises(ModelError, match="holds a Flow, not a Diffusion"):
        Diffusion.from_pretrained(bad)
    with pytest.raises(PlanError, match="null_label is for networks with class labels"):
        Flow.from_pretrained(bad, null_label=3)
