"""Diffusion models of Hugging Face diffusers as policies: U-Nets of pictures or of an autoencoder's latents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from guerdon.core.errors import DataError, ModelError, PlanError
from guerdon.policies.denoising._diffusers_latents import Pictures, Prompts
from guerdon.policies.denoising._diffusers_network import ClassLabels, UNetOfDiffusers, shape_of
from guerdon.policies.denoising._diffusers_noise import Chain, chain_of
from guerdon.policies.denoising._kernels import Kernel
from guerdon.policies.denoising.diffusion import Diffusion

_STEPS = 50
_GUIDANCE = 7.5  # of StableDiffusionPipeline
_AT_ONCE = 1 << 20  # numbers of pictures that are decoded together


class Hosted(Diffusion):
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

    def decoded(self, state: Tensor) -> Tensor:
        """[N, C, H, W] pictures; of latents, as the autoencoder draws them."""
        if self.pictures is None:
            return state
        size = state[0].numel() * self.pictures.factor**2 if len(state) else 1
        return torch.cat([self.pictures.decode(part) for part in state.split(max(1, _AT_ONCE // size))])

    def encoded(self, outputs: Sequence[Any] | Tensor) -> Tensor:
        """[N, *shape] final states of given pictures."""
        if self.pictures is None:
            return super().encoded(outputs)
        _, height, width = self.shape
        expected = (self.pictures.channels, height * self.pictures.factor, width * self.pictures.factor)
        for k, x in enumerate(outputs):
            if not isinstance(x, Tensor) or tuple(x.shape) != expected or not bool(torch.isfinite(x).all()):
                found = f"of shape {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
                raise DataError(f"item {k}: expected a picture, a finite tensor of shape {expected}, got {found}")
        return self.pictures.encode(torch.stack(list(outputs)))

    def save(self, folder: str | Path, *, card: Mapping[str, Any] | None = None) -> Path:
        """A folder that the pipelines of diffusers load, with a model card; ``from_pretrained`` reads it back, bit for bit."""
        from guerdon.policies.denoising._diffusers_save import save

        return save(self, Path(folder), dict(card or {}))


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
    pipeline: str | None = None,
    name: str | None = None,
) -> Hosted:
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
    policy = Hosted(
        UNetOfDiffusers(unet, chain.noise.finest), condition, None if vae is None else Pictures(vae), scheduler=scheduler,
        chain=chain, pipeline=pipeline, shape=shape, kernel=kernel or chain.kernel, steps=steps or min(_STEPS, chain.noise.finest),
        guidance=guidance if guidance is not None else _GUIDANCE if prompted else 1.0,
    )  # fmt: skip
    policy.source = name
    return policy
