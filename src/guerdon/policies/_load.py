"""Models for policies: whole ones, adapters beside frozen weights, and folders that hold only an adapter."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from guerdon.core import ModelError, PlanError
from guerdon.core.hub import base_of, check_folder, line_of, load_weights, reading


@dataclass(frozen=True)
class LoRA:
    r"""Low-rank adapters beside frozen weights: $W x + \frac{\alpha}{r} B A x$.

    Args:
        rank: $r$, rows of A.
        alpha: Scale of the update; None: twice the rank.
        dropout: Must be 0. Rows are sampled and replayed by the same network, so nothing may be dropped in training.
        targets: ``"all-linear"`` (all but the output layer), or the names of the layers to adapt.
        seed: Of the initial A; B starts at 0, so that the policy starts as its base.

    Source: LoRA, arXiv:2106.09685.

    Example:
        >>> LoRA(8)
        LoRA(rank=8, alpha=None, dropout=0.0, targets='all-linear', seed=0)
    """

    rank: int
    alpha: float | None = None
    dropout: float = 0.0
    targets: str | tuple[str, ...] = "all-linear"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise PlanError(f"LoRA rank is {self.rank}, expected at least 1")
        if self.dropout != 0:
            raise PlanError(f"LoRA dropout is {self.dropout}, expected 0: a policy must be replayed by the network that sampled")

    def adapt(self, model: Any) -> Any:
        """``model`` with fresh adapters, as a ``peft`` model; only they are trained."""
        import peft

        config = peft.LoraConfig(
            r=self.rank, lora_alpha=2 * self.rank if self.alpha is None else self.alpha, task_type="CAUSAL_LM",
            target_modules=self.targets if isinstance(self.targets, str) else list(self.targets),
        )  # fmt: skip
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "fan_in_fan_out")  # peft sees for itself which layers are transposed
            warnings.simplefilter("ignore", FutureWarning)  # and calls what transformers is about to rename
            torch.manual_seed(self.seed)
            try:
                return peft.get_peft_model(model, config)
            except ValueError as e:
                raise ModelError(f"LoRA cannot adapt {self.targets!r}: {line_of(e)}") from e


def load_model(name: str, auto: str = "AutoModelForCausalLM", **kwargs: Any) -> nn.Module:
    """A pretrained model of a folder or of the hub; a folder with an adapter gives its base with the adapter on.

    Raises:
        ModelError: where there is none, or where its weights are pickled, incomplete or unreadable.
    """
    from transformers.utils.peft_utils import find_adapter_config_file

    check_folder(name)
    with reading(name):
        adapter = find_adapter_config_file(name) if auto == "AutoModelForCausalLM" else None
        if adapter is not None:
            return _load_adapter(name, base_of(name, Path(adapter)), **kwargs)
    model, lost = load_weights(name, auto, **kwargs)
    if lost:
        raise ModelError(f"{name}: the weights lack {len(lost)} tensors, such as {lost[0]}")
    return model


def _load_adapter(name: str, base: str, **kwargs: Any) -> nn.Module:
    import peft
    import transformers

    if transformers.utils.cached_file(name, "adapter_model.safetensors", _raise_exceptions_for_missing_entries=False) is None:
        raise ModelError(f"{name}: the adapter has no adapter_model.safetensors (pickled weights are not loaded)")
    return peft.PeftModel.from_pretrained(load_model(base, **kwargs), name, is_trainable=True)
