"""Flow-matching models of Hugging Face diffusers as policies: StableDiffusion3Pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Self

import torch
from torch import Tensor, nn

from guerdon.core.errors import DataError, ModelError
from guerdon.policies._load import LoRA
from guerdon.policies.denoising._conditions import Condition, Conditioner
from guerdon.policies.denoising._diffusers_files import silent
from guerdon.policies.denoising._diffusers_hosted import Hosted
from guerdon.policies.denoising._diffusers_latents import Frozen, Pictures
from guerdon.policies.denoising._diffusers_lora import merged
from guerdon.policies.denoising._diffusers_network import HostedNetwork
from guerdon.policies.denoising._diffusers_noise import check_length, settings
from guerdon.policies.denoising._kernels import FlowSDE, Kernel
from guerdon.policies.denoising._levels import Levels, check_steps
from guerdon.policies.denoising.flow import Flow

_STEPS = 28  # both of StableDiffusion3Pipeline
_GUIDANCE = 7.0
_KEPT = 256  # prompts whose encoding is remembered; one takes some megabytes


@dataclass(frozen=True)
class SigmaNoise:
    """A ``FlowMatchEulerDiscreteScheduler`` as a noise schedule: a straight path at the scheduler's own sigmas.

    Args:
        config: Its settings, as sorted (name, value) pairs.

    Example:
        >>> SigmaNoise((("shift", 3.0),)).levels(2).steps
        2
    """

    config: tuple[tuple[str, Any], ...] = ()

    @property
    def finest(self) -> int:
        """Timesteps the network is trained on."""
        return int(_scheduler(self).config.num_train_timesteps)

    def levels(self, steps: int) -> Levels:
        """Where a chain of so many steps stops."""
        scheduler = _scheduler(self)
        scheduler.set_timesteps(check_steps(self, steps))
        sigma = scheduler.sigmas.double()
        return Levels(sigma, 1 - sigma, sigma)


@lru_cache(16)
def _scheduler(noise: SigmaNoise) -> Any:
    import diffusers

    return diffusers.FlowMatchEulerDiscreteScheduler(**dict(noise.config))


def noise_of(scheduler: Any, name: str) -> SigmaNoise:
    """What a live scheduler means.

    Raises:
        ModelError: in one line, for one that walks no fixed straight path.
    """
    if (kind := type(scheduler).__name__) != "FlowMatchEulerDiscreteScheduler":
        raise ModelError(f"{name}: scheduler {kind} is not read for a flow; expected FlowMatchEulerDiscreteScheduler")
    config = settings(scheduler)
    check_length(config["num_train_timesteps"], name)
    for key in ("use_dynamic_shifting", "invert_sigmas", "stochastic_sampling"):
        if config.get(key):
            raise ModelError(f"{name}: {kind} with {key}=True is not read; expected False")
    return SigmaNoise(tuple(sorted(config.items())))


class SD3Network(HostedNetwork):
    """``SD3Transformer2DModel``; the time (sigma) reaches it as sigma * N. Its features are the last block's tokens, averaged."""

    def __init__(self, transformer: nn.Module, train_steps: int) -> None:
        super().__init__(transformer, train_steps)
        config: Any = transformer.config
        self.width = int(config.num_attention_heads * config.attention_head_dim)

    def forward(self, x: Tensor, time: Tensor, condition: Condition) -> Tensor:
        timestep = time.float() * self.train_steps  # float32, as the scheduler has it
        told = {"encoder_hidden_states": condition.tokens, "pooled_projections": condition.embedding}
        return self.model(hidden_states=x, timestep=timestep, return_dict=False, **told)[0]

    @property
    def middle(self) -> nn.Module:
        transformer: Any = self.model
        return transformer.transformer_blocks[-1]

    def pooled(self, out: Any) -> Tensor:
        return out[1].mean(1)


class ThreePrompts(Conditioner):
    """Prompts as StableDiffusion3Pipeline encodes them: two CLIP encoders and, where it is there, T5. All are frozen.

    Each prompt is encoded by itself, so that what the network is told does not depend on its neighbours.
    """

    def __init__(self, pipeline: Any) -> None:
        super().__init__()
        self.pipeline, self.width = pipeline, int(pipeline.transformer.config.joint_attention_dim)
        found = (pipeline.text_encoder, pipeline.text_encoder_2, pipeline.text_encoder_3)
        self.encoders = nn.ModuleList([Frozen(e) for e in found if e is not None])
        self.known: dict[tuple[Any, ...], tuple[Tensor, Tensor]] = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def forward(self, contexts: Sequence[Any], drop: Tensor | None = None) -> Condition:
        rows = []
        for k, prompt in enumerate(contexts):
            if prompt is not None and not isinstance(prompt, str):
                raise DataError(f"expected a prompt, got {type(prompt).__name__} {str(prompt)[:40]!r}")
            rows.append(self.encoded("" if prompt is None or (drop is not None and bool(drop[k])) else prompt))
        return Condition(
            embedding=torch.stack([pooled for _, pooled in rows]), tokens=torch.stack([tokens for tokens, _ in rows])
        )

    @torch.no_grad()
    def encoded(self, prompt: str) -> tuple[Tensor, Tensor]:
        """([L, E] tokens, [P] pooled) of one prompt."""
        encoder = self.pipeline.text_encoder
        key = (prompt, encoder.dtype, encoder.device)
        if key not in self.known:
            if len(self.known) >= _KEPT:
                self.known.clear()
            with silent():
                tokens, _, pooled, _ = self.pipeline.encode_prompt(
                    prompt, None, None, device=encoder.device, do_classifier_free_guidance=False
                )
            self.known[key] = (tokens[0].to(encoder.dtype).clone(), pooled[0].to(encoder.dtype).clone())
        return self.known[key]


class HostedFlow(Hosted, Flow):
    """A flow whose parts are those of diffusers; it is saved as their pipeline."""

    pipeline = "StableDiffusion3Pipeline"

    def hosted(self) -> Any:
        """Its own modules as a live pipeline."""
        given: Any = self.condition
        parts = {k: v for k, v in given.pipeline.components.items() if k not in ("transformer", "scheduler")}
        scheduler = type(self.scheduler)(**settings(self.scheduler))
        return type(given.pipeline)(**parts, transformer=merged(self.network.model), scheduler=scheduler)


def wrap_flow(
    *,
    transformer: nn.Module,
    scheduler: Any,
    vae: nn.Module,
    kernel: Kernel | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    lora: int | LoRA | None = None,
    name: str,
    **texts: Any,
) -> HostedFlow:
    """The parts of a StableDiffusion3Pipeline as a policy; ``texts`` are its encoders and tokenizers."""
    import diffusers

    noise, config = noise_of(scheduler, name), transformer.config
    if config.out_channels not in (None, config.in_channels):  # type: ignore[union-attr]
        raise ModelError(f"{name}: the transformer reads {config.in_channels} channels and gives {config.out_channels}")  # type: ignore[union-attr]
    absent = dict.fromkeys(("text_encoder_3", "tokenizer_3"))
    pipeline = diffusers.StableDiffusion3Pipeline(transformer=transformer, scheduler=scheduler, vae=vae, **{**absent, **texts})
    shape = (int(config.in_channels), int(config.sample_size), int(config.sample_size))  # type: ignore[union-attr, arg-type]
    policy = HostedFlow(
        shape, SD3Network(transformer, noise.finest), ThreePrompts(pipeline), noise=noise, predict="flow",
        kernel=kernel or FlowSDE(0.7), steps=steps or min(_STEPS, noise.finest),
        guidance=_GUIDANCE if guidance is None else guidance,
    )  # fmt: skip
    policy.pictures, policy.scheduler = Pictures(vae), scheduler
    if lora is not None:
        policy.adapt(lora)
    policy.source = name
    return policy
