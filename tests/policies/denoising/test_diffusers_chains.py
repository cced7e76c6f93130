"""Our chains are those of diffusers: the peer's own ``step`` and pipelines, given the same predictions and the same noise."""

import math
from dataclasses import replace

import diffusers
import pytest
import torch
from diffusers.pipelines.ddim import pipeline_ddim
from diffusers.pipelines.ddpm import pipeline_ddpm
from diffusers.schedulers import scheduling_ddim, scheduling_ddpm
from torch import nn

from guerdon.core import Items, ModelError, PlanError, Streams
from guerdon.policies import DDIM, DDPM, Diffusion
from guerdon.policies.denoising._diffusers_noise import SchedulerNoise, chain_of

N = 40
SHAPE = (1, 8, 8)


def tiny_unet(seed: int = 0, **changes):
    torch.manual_seed(seed)
    blocks = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2, "block_out_channels": (8, 16)}
    return diffusers.UNet2DModel(
        **{
            "sample_size": 8,
            "in_channels": 1,
            "out_channels": 1,
            "layers_per_block": 1,
            "norm_num_groups": 4,
            **blocks,
            **changes,
        }
    )


def exact(scheduler, steps: int):
    """The peer with its float32 tables in float64, so that nothing but the formula is compared."""
    scheduler.set_timesteps(steps)
    for name in ("alphas_cumprod", "final_alpha_cumprod", "one"):
        if hasattr(scheduler, name):
            setattr(scheduler, name, getattr(scheduler, name).double())
    return scheduler


DDPM_CONFIGS = [
    {},
    {"beta_schedule": "squaredcos_cap_v2", "prediction_type": "v_prediction", "timestep_spacing": "trailing"},
    {"beta_schedule": "scaled_linear", "prediction_type": "sample", "timestep_spacing": "linspace", "clip_sample_range": 0.3},
    {"variance_type": "fixed_large", "clip_sample": False},
    {"beta_schedule": "sigmoid", "variance_type": "fixed_small_log", "clip_sample": False, "steps_offset": 1},
    {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction", "timestep_spacing": "trailing"},
    {"trained_betas": [0.01 + 0.005 * k for k in range(N)]},
]
DDIM_CONFIGS = [
    {},
    {"set_alpha_to_one": False},
    {"clip_sample": False, "steps_offset": 1, "set_alpha_to_one": False, "beta_schedule": "scaled_linear"},
    {"prediction_type": "v_prediction", "timestep_spacing": "trailing", "rescale_betas_zero_snr": True, "clip_sample": False},
    {"prediction_type": "sample", "clip_sample_range": 0.5, "beta_schedule": "squaredcos_cap_v2"},
]


class Says(nn.Module):
    """A network whose answer is given: the numbers of one step."""

    width = 1

    def __init__(self) -> None:
        super().__init__()
        self.answer = nn.Parameter(torch.zeros(3, *SHAPE, dtype=torch.double), requires_grad=False)
        self.told: list[float] = []

    def forward(self, x, time, condition):
        self.told.append(float(time[0]))
        return self.answer


def walked(scheduler, kernel=None, steps=8):
    """(policy whose network says what it is told to, generator)."""
    chain = chain_of(scheduler, "here")
    policy = Diffusion(
        SHAPE, Says(), None, noise=chain.noise, predict=chain.predict, kernel=kernel or chain.kernel, steps=steps, clip=chain.clip
    )
    return policy, torch.Generator().manual_seed(0)


@pytest.mark.parametrize("config", DDPM_CONFIGS, ids=str)
def test_each_step_is_that_of_ddpm(config, monkeypatch):
    scheduler = exact(diffusers.DDPMScheduler(num_train_timesteps=N, **config), 8)
    policy, generator = walked(diffusers.DDPMScheduler(num_train_timesteps=N, **config))
    for level, timestep in enumerate(scheduler.timesteps):
        policy.network.answer.copy_(torch.randn(3, *SHAPE, generator=generator, dtype=torch.double))
        x = 2 * torch.randn(3, *SHAPE, generator=generator, dtype=torch.double)
        proposal = policy.proposal(x, torch.full((3,), level), policy.ask([None] * 3, policy.how), policy.how)
        peer = []
        for noise in (0.0, 1.0):
            monkeypatch.setattr(
                scheduling_ddpm, "randn_tensor", lambda shape, value=noise, **kw: torch.full(shape, value).double()
            )
            peer.append(scheduler.step(policy.network.answer, timestep, x).prev_sample)
        torch.testing.assert_close(proposal.mean, peer[0], atol=1e-12, rtol=1e-12)
        # the peer keeps the variance of a step to clean data at 1e-20 where it does not end at timestep 0
        torch.testing.assert_close(
            proposal.std[0].expand_as(x), peer[1] - peer[0], atol=2e-10 if level == 7 else 1e-12, rtol=1e-12
        )
        assert round(policy.network.told[-1] * N) - 1 == timestep


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("config", DDIM_CONFIGS, ids=str)
def test_each_step_is_that_of_ddim(config, eta):
    scheduler = exact(diffusers.DDIMScheduler(num_train_timesteps=N, **config), 8)
    policy, generator = walked(diffusers.DDIMScheduler(num_train_timesteps=N, **config), DDIM(eta))
    for level, timestep in enumerate(scheduler.timesteps):
        policy.network.answer.copy_(torch.randn(3, *SHAPE, generator=generator, dtype=torch.double))
        x = 2 * torch.randn(3, *SHAPE, generator=generator, dtype=torch.double)
        proposal = policy.proposal(x, torch.full((3,), level), policy.ask([None] * 3, policy.how), policy.how)
        peer = [
            scheduler.step(policy.network.answer, timestep, x, eta=eta, variance_noise=torch.full_like(x, v)).prev_sample
            for v in (0, 1)
        ]
        if eta == 1 and config.get("rescale_betas_zero_snr") and level == 0 and bool(peer[0].isnan().all()):
            # from no signal at all, no noise is left to point to: the peer takes the root of a number rounded below 0
            torch.testing.assert_close(proposal.mean, policy.levels(8).a[1] * proposal.clean, atol=1e-7, rtol=0)
            continue
        torch.testing.assert_close(proposal.mean, peer[0], atol=1e-12, rtol=1e-12)
        torch.testing.assert_close(proposal.std[0].expand_as(x), peer[1] - peer[0], atol=1e-12, rtol=1e-12)


def same_noise(monkeypatch, policy, items, streams, steps, dtype):
    """The pipelines draw what our rows drew: the start, then each step's noise, in order."""
    uid = streams.samples(items.uid, 1)
    size = math.prod(SHAPE)
    draws = [streams("start", uid).normal(size)] + [streams("noise", uid).normal(size, k * size) for k in range(steps)]
    left = [d.reshape(-1, *SHAPE).to(dtype) for d in draws]
    for module in (pipeline_ddpm, pipeline_ddim, scheduling_ddpm, scheduling_ddim):
        monkeypatch.setattr(module, "randn_tensor", lambda shape, **kw: left.pop(0))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("kind", "eta"), [("DDPM", None), ("DDIM", 0.0), ("DDIM", 0.5), ("DDIM", 1.0)])
def test_whole_chains_are_those_of_the_pipelines(kind, eta, dtype, monkeypatch):
    scheduler = getattr(diffusers, f"{kind}Scheduler")(num_train_timesteps=N)
    policy = Diffusion.from_parts(tiny_unet().to(dtype), scheduler=scheduler, steps=8)
    streams = Streams(1)
    items = Items(["a", "b"], streams.uids(2))
    same_noise(monkeypatch, policy, items, streams, 8, dtype)
    pipeline = policy.hosted()
    pipeline.set_progress_bar_config(disable=True)
    if dtype == torch.float64:
        exact(pipeline.scheduler, 8)
    how = {} if eta is None else {"eta": eta}
    theirs = pipeline(2, num_inference_steps=8, output_type="pt", **how).images
    ours = policy.sample(items, streams=streams, kernel=None if eta is None else DDIM(eta)).outputs
    assert ours.dtype == dtype and float(ours.std()) > 0.1
    torch.testing.assert_close((ours / 2 + 0.5).clamp(0, 1), theirs, atol=1e-12 if dtype == torch.float64 else 1e-5, rtol=0)


def test_the_schedule_of_two_betas_by_hand():
    # betas 0.1 and 0.3: products 0.9 and 0.63 (in float32, as the peer keeps them)
    noise = chain_of(diffusers.DDPMScheduler(num_train_timesteps=2, trained_betas=[0.1, 0.3], clip_sample=False), "here").noise
    levels = noise.levels(2)
    torch.testing.assert_close(levels.a.square(), torch.tensor([0.63, 0.9, 1.0]).double(), atol=1e-7, rtol=0)
    assert levels.time.tolist() == [1.0, 0.5, 0.0]


def test_a_chain_of_all_timesteps_has_each_once_whatever_the_offset():
    noise = chain_of(
        diffusers.DDIMScheduler(num_train_timesteps=6, steps_offset=1, set_alpha_to_one=False, clip_sample=False), "here"
    ).noise
    assert (noise.levels(6).time * 6).round().tolist() == [6, 5, 4, 3, 2, 1, 0]
    assert float(noise.levels(6).s[-1]) == 0
    assert (noise.levels(3).time * 6).round().tolist() == [6, 4, 2, 0]  # timesteps 5, 3, 1
    assert float(noise.levels(3).s[-1]) > 0  # set_alpha_to_one=False: it ends where timestep 0 is


@pytest.mark.parametrize(
    ("scheduler", "says"),
    [
        (lambda: diffusers.DDPMScheduler(thresholding=True), "thresholding=True"),
        (lambda: diffusers.DDPMScheduler(variance_type="learned_range"), "variance_type is 'learned_range'"),
        (lambda: diffusers.DDPMScheduler(rescale_betas_zero_snr=True), "at zero signal"),
        (lambda: diffusers.DDPMScheduler(prediction_type="flow"), "prediction_type is 'flow'"),
        (lambda: diffusers.DDPMScheduler(clip_sample_range=-1), "clip_sample_range is -1"),
        (lambda: diffusers.DDIMScheduler(trained_betas=[0.1]), "no noise schedule of 1000 timesteps"),
        (lambda: diffusers.DDIMScheduler(beta_end=1.5), "no noise schedule"),
        (lambda: diffusers.EDMEulerScheduler(), "scheduler EDMEulerScheduler gives no discrete Gaussian chain"),
    ],
)
def test_what_gives_no_gaussian_chain_is_refused_in_one_line(scheduler, says):
    with pytest.raises(ModelError, match=says) as caught:
        chain_of(scheduler(), "here")
    assert "\n" not in str(caught.value)


def test_chains_that_do_not_meet_are_refused_in_one_line():
    of = lambda kind, **config: chain_of(getattr(diffusers, kind)(num_train_timesteps=N, **config), "here").noise  # noqa: E731
    for noise, steps, says in (
        (of("DDIMScheduler", timestep_spacing="linspace"), 10, "take timestep_spacing='trailing'"),
        (of("DDIMScheduler", timestep_spacing="trailing"), 7, "take steps=8"),
        (of("DDIMScheduler", steps_offset=1), 39, "begins at timestep"),
        (of("DDPMScheduler", variance_type="fixed_large", timestep_spacing="trailing"), 8, "must end at timestep 0"),
        (of("DDPMScheduler"), 41, "1 to 40 steps"),
    ):
        if steps == 39:
            noise = replace(noise, config=tuple((k, 3 if k == "steps_offset" else v) for k, v in noise.config))
        with pytest.raises(PlanError, match=says):
            noise.levels(steps)
    with pytest.raises(PlanError, match="did you mean 'DDIMScheduler'"):
        SchedulerNoise("DDIMSchedulr")


def test_other_samplers_are_walked_as_ddim():
    for cls in (diffusers.PNDMScheduler, diffusers.EulerDiscreteScheduler, diffusers.DPMSolverMultistepScheduler):
        chain = chain_of(cls(num_train_timesteps=N, beta_schedule="scaled_linear"), "here")
        want = cls(num_train_timesteps=N, beta_schedule="scaled_linear").alphas_cumprod.double()
        assert chain.noise.kind == "DDIMScheduler" and chain.kernel == DDIM(1.0) and chain.clip is None
        torch.testing.assert_close(
            chain.noise.levels(N).a.square(), torch.cat([want.flip(0), torch.ones(1).double()]), atol=1e-12, rtol=0
        )
    assert chain_of(diffusers.DDPMScheduler(variance_type="fixed_large"), "here").kernel == DDPM("large")
