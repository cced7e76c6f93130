"""Networks of Hugging Face diffusers as denoisers of the house, and class labels as a condition."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from guerdon.core.errors import DataError, ModelError, PlanError
from guerdon.policies.denoising._conditions import Condition, Conditioner
from guerdon.policies.denoising.networks import Denoiser


class HostedNetwork(Denoiser):
    """A model of diffusers. It stays in ``eval()`` mode: dropout would make it another network than the one that sampled."""

    def __init__(self, model: nn.Module, train_steps: int) -> None:
        super().__init__()
        self.model, self.train_steps = model, train_steps
        self.train(False)

    def train(self, mode: bool = True) -> Self:
        return super().train(False)

    @property
    def middle(self) -> nn.Module:
        """The layer whose outputs are the features."""
        raise NotImplementedError

    def features(self, x: Tensor, time: Tensor, condition: Condition) -> Tensor:
        """[N, width] the mean over the picture of what leaves the middle of the network."""
        seen: list[Tensor] = []
        hook = self.middle.register_forward_hook(lambda module, given, out: seen.append(self.pooled(out)))
        try:
            self(x, time, condition)
        finally:
            hook.remove()
        return seen[0]

    def pooled(self, out: Any) -> Tensor:
        """[N, width] of what the middle gives."""
        raise NotImplementedError


class UNetOfDiffusers(HostedNetwork):
    """``UNet2DModel`` or ``UNet2DConditionModel``; the time (timestep + 1) / N reaches it as its timestep."""

    def __init__(self, unet: nn.Module, train_steps: int) -> None:
        super().__init__(unet, train_steps)
        config: Any = unet.config
        self.width = int(config.block_out_channels[-1])
        self.prompted = type(unet).__name__ == "UNet2DConditionModel"

    def forward(self, x: Tensor, time: Tensor, condition: Condition) -> Tensor:
        timestep = (time.double() * self.train_steps).round().long() - 1
        told: dict[str, Any] = {}
        if self.prompted:
            told["encoder_hidden_states"] = condition.tokens
        elif condition.embedding is not None:
            told["class_labels"] = condition.embedding[:, 0].long().to(x.device)
        return self.model(x, timestep, return_dict=False, **told)[0]

    @property
    def middle(self) -> nn.Module:
        unet: Any = self.model
        return unet.mid_block if unet.mid_block is not None else unet.down_blocks[-1]

    def pooled(self, out: Any) -> Tensor:
        return (out[0] if isinstance(out, tuple) else out).flatten(2).mean(2)


class ClassLabels(Conditioner):
    """Labels 0 .. n-1 as they are: the network has a table of its own for them.

    Args:
        n: Entries of the table.
        null: The label that stands for none; None: the network knows no such label, and guidance has nothing to contrast with.
    """

    width = 1

    def __init__(self, n: int, null: int | None = None) -> None:
        super().__init__()
        if null is not None and not 0 <= null < n:
            raise PlanError(f"null_label is {null}, expected 0 to {n - 1}")
        self.n, self.null = n, null

    def forward(self, contexts: Sequence[Any], drop: Tensor | None = None) -> Condition:
        rows = []
        for k, label in enumerate(contexts):
            if isinstance(label, Tensor) and label.numel() == 1 and not label.is_floating_point():
                label = int(label)
            if label is None or (drop is not None and bool(drop[k])):
                if self.null is None:
                    raise PlanError("this network has no label for 'none'; say which one it was trained with (null_label=...)")
                label = self.null
            if not isinstance(label, int) or isinstance(label, bool) or not 0 <= label < self.n:
                raise DataError(f"label {label!r}: expected a whole number from 0 to {self.n - 1}")
            rows.append(label)
        return Condition(torch.tensor(rows, dtype=torch.double).reshape(len(rows), 1))


def shape_of(unet: Any, name: str) -> tuple[int, int, int]:
    """(channels, height, width) of the states that a U-Net reads.

    Raises:
        ModelError: for a network that cannot be walked as a Gaussian chain.
    """
    config = unet.config
    if config.out_channels != config.in_channels:
        raise ModelError(f"{name}: the network reads {config.in_channels} channels and gives {config.out_channels}; expected the "
                         "same number (a learned variance or an inpainting mask is not read)")  # fmt: skip
    if config.sample_size is None:
        raise ModelError(f"{name}: the network's config.json does not say its sample_size")
    size = config.sample_size
    height, width = (size, size) if isinstance(size, int) else size
    unread = {"time_embedding_type": "positional", "class_embed_type": None, "addition_embed_type": None,
              "encoder_hid_dim_type": None, "time_cond_proj_dim": None}  # fmt: skip
    for key, expected in unread.items():
        if (found := config.get(key, expected)) != expected:
            raise ModelError(f"{name}: the network's {key} is {found!r}, expected {expected!r}; "
                             "guerdon reads UNet2DModel, and that of StableDiffusionPipeline")  # fmt: skip
    return (int(config.in_channels), int(height), int(width))
