"""Models and tokenizers from folders and hubs: safetensors only, no foreign code, one clear line where it cannot work."""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from guerdon.core import ModelError, PlanError, nearest

DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16}


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
                raise ModelError(f"LoRA cannot adapt {self.targets!r}: {_line(e)}") from e


def dtype_of(name: str) -> torch.dtype:
    """The number format of that name."""
    if name not in DTYPES:
        raise PlanError(f"dtype {name!r} is not one a policy can have; {nearest(name, DTYPES)}")
    return DTYPES[name]


def device_of(name: str, dtype: torch.dtype = torch.float32) -> torch.device:
    """``"auto"`` is the first there is of cuda, mps (which lacks float64) and cpu."""
    if name != "auto":
        return torch.device(name)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() and dtype != torch.float64 else "cpu")


def load_model(name: str, auto: str = "AutoModelForCausalLM", **kwargs: Any) -> nn.Module:
    """A pretrained model of a folder or of the hub; a folder with an adapter gives its base with the adapter on.

    Raises:
        ModelError: where there is none, or where its weights are pickled, incomplete or unreadable.
    """
    import transformers
    from transformers.utils.peft_utils import find_adapter_config_file

    check_folder(name)
    with _reading(name):
        adapter = find_adapter_config_file(name) if auto == "AutoModelForCausalLM" else None
        if adapter is not None:
            return _load_adapter(name, _base_of(name, Path(adapter)), **kwargs)
        model, found = getattr(transformers, auto).from_pretrained(
            name, use_safetensors=True, trust_remote_code=False, output_loading_info=True, **kwargs
        )
    if lost := sorted(found["missing_keys"]):
        raise ModelError(f"{name}: the weights lack {len(lost)} tensors, such as {lost[0]}")
    return model


def _base_of(name: str, config: Path) -> str:
    base = json.loads(config.read_text(encoding="utf-8")).get("base_model_name_or_path")
    if not base:
        raise ModelError(f"{name}: adapter_config.json does not say its base_model_name_or_path")
    return str(base)


def _load_adapter(name: str, base: str, **kwargs: Any) -> nn.Module:
    import peft
    import transformers

    if transformers.utils.cached_file(name, "adapter_model.safetensors", _raise_exceptions_for_missing_entries=False) is None:
        raise ModelError(f"{name}: the adapter has no adapter_model.safetensors (pickled weights are not loaded)")
    return peft.PeftModel.from_pretrained(load_model(base, **kwargs), name, is_trainable=True)


def load_tokenizer(name: str) -> Any:
    """The tokenizer of a folder or of the hub.

    Raises:
        ModelError: where there is none.
    """
    import transformers

    folder = Path(name)
    if folder.is_dir() and not any((folder / f).exists() for f in ("tokenizer.json", "tokenizer_config.json", "tokenizer.model")):
        if (folder / "adapter_config.json").exists():
            return load_tokenizer(_base_of(name, folder / "adapter_config.json"))
        raise ModelError(f"{name}: holds no tokenizer (expected tokenizer.json, tokenizer.model or tokenizer_config.json)")
    with _reading(name):
        return transformers.AutoTokenizer.from_pretrained(name, trust_remote_code=False)


def check_folder(name: str) -> None:
    """Says early, and in words, what is wrong with a folder of weights.

    Raises:
        ModelError: in one line.
    """
    folder = Path(name).expanduser()
    if not folder.exists():
        if str(name).startswith((".", "/", "~")) or str(name).count("/") > 1:
            raise ModelError(f"{name}: no such folder")
        return  # a name on the hub
    if not folder.is_dir():
        raise ModelError(f"{name}: is a file, expected a folder with config.json and *.safetensors")
    files = [f.name for f in folder.iterdir()]
    if "config.json" not in files and "adapter_config.json" not in files:
        raise ModelError(f"{name}: has no config.json")
    if not any(f.endswith(".safetensors") for f in files):
        pickled = [f for f in files if f.endswith((".bin", ".pt", ".pth", ".pkl", ".ckpt"))]
        found = f"only pickled weights ({pickled[0]}), which can run code when loaded" if pickled else "no weights"
        raise ModelError(f"{name}: holds {found}; expected *.safetensors")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No progress bars of the library."""
    from transformers.utils import logging

    bar = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if bar:
            logging.enable_progress_bar()


@contextlib.contextmanager
def _reading(name: str) -> Iterator[None]:
    """Foreign errors as one ``ModelError`` line."""
    from safetensors import SafetensorError

    try:
        with quiet():
            yield
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, ImportError, SafetensorError) as e:
        raise ModelError(f"{name}: cannot be loaded: {_line(e)}") from e


def _line(e: Exception) -> str:
    """An error's first line, with its kind where the line alone says little."""
    first = next(iter(str(e).strip().splitlines()), "")
    return f"{type(e).__name__}: {first}" if len(first) < 40 else first
