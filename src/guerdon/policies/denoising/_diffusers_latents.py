"""Text-to-image: prompts through a frozen text encoder, pictures through a frozen autoencoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from guerdon.core.errors import DataError
from guerdon.policies.denoising._conditions import Condition, Conditioner

_KEPT = 4096  # prompts whose encoding is remembered


class Frozen(nn.Module):
    """A module that is never trained: a copy of a policy has the same one, and dropout stays off."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module.requires_grad_(False)
        self.train(False)

    def train(self, mode: bool = True) -> Self:
        return super().train(False)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


class Prompts(Conditioner):
    """Prompts as the tokens that a CLIP text encoder makes of them; the empty prompt is the null condition.

    Each prompt is encoded by itself, so that what the network is told does not depend on its neighbours. What exceeds the
    encoder's length is cut off, as the pipelines of diffusers do.
    """

    def __init__(self, encoder: nn.Module, tokenizer: Any) -> None:
        super().__init__()
        self.encoder, self.tokenizer = Frozen(encoder), tokenizer
        self.width = int(encoder.config.hidden_size)  # type: ignore[union-attr, arg-type]
        self.known: dict[tuple[Any, ...], Tensor] = {}

    def forward(self, contexts: Sequence[Any], drop: Tensor | None = None) -> Condition:
        rows = []
        for k, prompt in enumerate(contexts):
            if prompt is not None and not isinstance(prompt, str):
                raise DataError(f"expected a prompt, got {type(prompt).__name__} {str(prompt)[:40]!r}")
            rows.append(self.encoded("" if prompt is None or (drop is not None and bool(drop[k])) else prompt))
        return Condition(tokens=torch.stack(rows))

    @torch.no_grad()
    def encoded(self, prompt: str) -> Tensor:
        """[L, E] of one prompt."""
        encoder: Any = self.encoder.module
        key = (prompt, encoder.dtype, encoder.device)
        if key not in self.known:
            if len(self.known) >= _KEPT:
                self.known.clear()
            length = self.tokenizer.model_max_length
            read = self.tokenizer([prompt], padding="max_length", max_length=length, truncation=True, return_tensors="pt")
            mask = read.attention_mask.to(encoder.device) if getattr(encoder.config, "use_attention_mask", False) else None
            self.known[key] = encoder(read.input_ids.to(encoder.device), attention_mask=mask)[0][0].clone()
        return self.known[key]


class Pictures(nn.Module):
    """An ``AutoencoderKL``: latents to pictures in [-1, 1], with gradients, and back (the mean of the encoder's Gaussian)."""

    def __init__(self, vae: nn.Module) -> None:
        super().__init__()
        self.vae = Frozen(vae)
        config: Any = vae.config
        self.scale, self.shift = float(config.scaling_factor), float(config.get("shift_factor") or 0.0)
        self.channels, self.factor = int(config.in_channels), 2 ** (len(config.block_out_channels) - 1)

    def decode(self, latents: Tensor) -> Tensor:
        """[N, C, H, W] of [N, c, h, w]."""
        vae: Any = self.vae.module
        return vae.decode(latents / self.scale + self.shift, return_dict=False)[0]

    @torch.no_grad()
    def encode(self, pictures: Tensor) -> Tensor:
        """[N, c, h, w] of [N, C, H, W]."""
        vae: Any = self.vae.module
        return (vae.encode(pictures.to(vae.device, vae.dtype)).latent_dist.mode() - self.shift) * self.scale
