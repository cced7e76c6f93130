"""Diffusion models of Hugging Face diffusers as policies: U-Nets of pictures or of an autoencoder's latents."""

from __future__ import annotations

from typing import Any

from torch import nn

from guerdon.core.errors import ModelError, PlanError
from guerdon.policies._load import LoRA
from guerdon.policies.denoising._diffusers_hosted import Hosted
from guerdon.policies.denoising._diffusers_latents import Pictures, Prompts
from guerdon.policies.denoising._diffusers_lora import merged
from guerdon.policies.denoising._diffusers_network import ClassLabels, UNetOfDiffusers, shape_of
from guerdon.policies.denoising._diffusers_noise import Chain, chain_of, settings
from guerdon.policies.denoising._kernels import Kernel
from guerdon.policies.denoising.diffusion import Diffusion

_STEPS = 50
_GUIDANCE = 7.5  # of StableDiffusionPipeline


class HostedDiffusion(Hosted, Diffusion):
    """A diffusion model whose network, scheduler and autoencoder are those of diffusers; it is saved as their pipeline.

    Args:
        network: The U-Net.
        condition: ``ClassLabels`` or ``Prompts``; None: nothing is asked.
        pictures: The autoencoder, where the chain runs in its latents.
        scheduler: As it was given, to be saved again.
        chain: What it means.
        pipeline: Class it is saved as; None: by what it is made of.
        how: ``shape``, ``kernel``, ``steps``, ``guidance``.
    """

    def __init__(
        self, network: UNetOfDiffusers, condition: ClassLabels | Prompts | None, pictures: Pictures | None, *, scheduler: Any,
        chain: Chain, pipeline: str | None = None, **how: Any,
    ) -> None:  # fmt: skip
        super().__init__(network=network, condition=condition, noise=chain.noise, predict=chain.predict, clip=chain.clip, **how)
        own = "DDPMPipeline" if chain.noise.kind == "DDPMScheduler" else "DDIMPipeline"
        self.pictures, self.scheduler = pictures, scheduler
        self.pipeline = pipeline or (own if pictures is None else "StableDiffusionPipeline")

    def hosted(self) -> Any:
        """Its own modules as a live pipeline."""
        import diffusers

        unet = merged(self.network.model)
        cls, kind, config = getattr(diffusers, self.pipeline), type(self.scheduler), settings(self.scheduler)
        if self.pictures is None:
            if self.pipeline == "DDIMPipeline" and kind is not diffusers.DDIMScheduler:
                kind, config = diffusers.DDIMScheduler, dict(self.schedule.config)  # type: ignore[attr-defined]
            return cls(unet=unet, scheduler=kind(**config))
        assert isinstance(self.condition, Prompts)
        # the pipeline would set these two itself, with a warning
        config |= {k: v for k, v in (("steps_offset", 1), ("clip_sample", False)) if k in config}
        return cls(
            unet=unet, scheduler=kind(**config), vae=self.pictures.vae.module, text_encoder=self.condition.encoder.module,
            tokenizer=self.condition.tokenizer, safety_checker=None, feature_extractor=None, requires_safety_checker=False,
        )  # fmt: skip


def wrap(
    unet: nn.Module,
    *,
    scheduler: Any,
    vae: nn.Module | None = None,
    text_encoder: nn.Module | None = None,
    tokenizer: Any = None,
    kernel: Kernel | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    null_label: int | None = None,
    lora: int | LoRA | None = None,
    pipeline: str | None = None,
    name: str | None = None,
) -> HostedDiffusion:
    """What ``Diffusion.from_parts`` does."""
    name = name or type(unet).__name__
    kind = type(unet).__name__
    if kind not in ("UNet2DModel", "UNet2DConditionModel"):
        raise ModelError(f"{name}: {kind} is not read; expected UNet2DModel or UNet2DConditionModel")
    texts = {"vae": vae, "text_encoder": text_encoder, "tokenizer": tokenizer}
    prompted = kind == "UNet2DConditionModel"
    for part, given in texts.items():
        if prompted != (given is not None):
            raise PlanError(f"{name}: a {kind} {'needs' if prompted else 'has no use for'} {part}=...")
    shape, chain = shape_of(unet, name), chain_of(scheduler, name, clips=not prompted)
    condition: ClassLabels | Prompts | None = None
    classes: Any = unet.config.get("num_class_embeds")  # type: ignore[union-attr, operator]
    if prompted:
        assert text_encoder is not None
        condition = Prompts(text_encoder, tokenizer)
    elif classes is not None:
        condition = ClassLabels(int(classes), null_label)
    if null_label is not None and not isinstance(condition, ClassLabels):
        raise PlanError(f"{name}: null_label is for networks with class labels")
    finest = chain.noise.finest
    policy = HostedDiffusion(
        UNetOfDiffusers(unet, finest), condition, None if vae is None else Pictures(vae), scheduler=scheduler,
        chain=chain, pipeline=pipeline, shape=shape, kernel=kernel or chain.kernel, steps=steps or min(_STEPS, finest),
        guidance=guidance if guidance is not None else _GUIDANCE if prompted else 1.0,
    )  # fmt: skip
    if lora is not None:
        policy.adapt(lora)
    policy.source = name
    return policy
