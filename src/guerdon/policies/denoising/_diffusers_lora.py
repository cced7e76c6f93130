"""Low-rank adapters beside the frozen weights of a U-Net of diffusers."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import torch
from torch import nn

from guerdon.core.errors import ModelError, PlanError
from guerdon.core.hub import line_of
from guerdon.policies._load import LoRA


def adapt(unet: Any, lora: int | LoRA) -> Any:
    """``unet`` with fresh adapters, as a ``peft`` model; only they are trained, and they change nothing yet.

    Raises:
        PlanError: where it has adapters already.
        ModelError: where it has no layers of the names that ``targets`` gives.
    """
    import peft

    if adapted(unet):
        raise PlanError("the network has an adapter already; leave lora out to train that one")
    spec = LoRA(lora) if isinstance(lora, int) else lora
    targets = [spec.targets] if isinstance(spec.targets, str) else list(spec.targets)
    if spec.targets == "all-linear":
        targets = [name for name, layer in unet.named_modules() if isinstance(layer, nn.Linear)]
    config = peft.LoraConfig(r=spec.rank, lora_alpha=2 * spec.rank if spec.alpha is None else spec.alpha, target_modules=targets)
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft calls what others are about to rename
        torch.manual_seed(spec.seed)
        try:
            return peft.get_peft_model(unet, config)
        except ValueError as e:
            raise ModelError(f"LoRA cannot adapt {spec.targets!r}: {line_of(e)}") from e


def adapted(unet: Any) -> bool:
    """Whether adapters are trained in place of all weights."""
    return hasattr(unet, "peft_config")


def merged(unet: Any) -> Any:
    """A copy with the adapters added to the weights and gone; itself where there are none."""
    return copy.deepcopy(unet).merge_and_unload() if adapted(unet) else unet
