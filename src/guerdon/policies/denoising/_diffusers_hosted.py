"""What policies have in common whose networks are those of Hugging Face diffusers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from guerdon.core.errors import DataError, ModelError
from guerdon.policies._load import LoRA
from guerdon.policies.denoising._base import Denoising
from guerdon.policies.denoising._diffusers_latents import Pictures
from guerdon.policies.denoising._diffusers_lora import adapt, adapted

_AT_ONCE = 1 << 20  # numbers of pictures that are decoded together


class Hosted(Denoising):
    """A policy that is saved as a pipeline of diffusers, by its class name ``pipeline``.

    Its chain may run in the latents of an autoencoder, ``pictures``; ``scheduler`` is as it was given, to be saved again.
    """

    pictures: Pictures | None
    scheduler: Any
    pipeline: str

    def hosted(self) -> Any:
        """Its own modules as a live pipeline; adapters are added to the weights of a copy."""
        raise NotImplementedError

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

    @property
    def lora(self) -> bool:
        """Whether adapters are trained in place of all weights."""
        return adapted(self.network.model)

    def without_adapters(self) -> Any:
        """A context in which a policy with adapters is its base model."""
        if not self.lora:
            raise ModelError("this policy has no adapters to switch off; load it with lora=...")
        model: Any = self.network.model
        return model.disable_adapter()

    def save(self, folder: str | Path, *, card: Mapping[str, Any] | None = None) -> Path:
        """A folder that the pipelines of diffusers load, with a model card; ``from_pretrained`` reads it back, bit for bit."""
        from guerdon.policies.denoising._diffusers_save import save

        return save(self, Path(folder), dict(card or {}))

    def adapt(self, lora: int | LoRA) -> None:
        """Train fresh adapters in place of all weights."""
        self.network.model = adapt(self.network.model, lora).to(self.dtype)
        self.network.train(False)
