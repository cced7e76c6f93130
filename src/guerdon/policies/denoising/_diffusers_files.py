"""Folders of Hugging Face diffusers, looked at before anything is imported: plain JSON and safetensors, or one clear line."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from guerdon.core.errors import ModelError, nearest
from guerdon.core.hub import quiet, reading

_NEEDED = ["*.json", "model.safetensors", "diffusion_pytorch_model*.safetensors", "*/*.safetensors", "*/*.txt", "*/*.model"]
_NOT_NEEDED = ["*.fp16.*", "*.non_ema.*", "*.bin", "*.ckpt", "safety_checker/*", "*.py"]
_PICKLED = (".bin", ".ckpt", ".pt", ".pth", ".pkl", ".pickle")
_CLIP = ("CLIPTokenizer", "CLIPTokenizerFast")
_UNET: dict[str, tuple[str, ...]] = {"unet": ("UNet2DModel",)}
_TEXT: dict[str, tuple[str, ...]] = {
    "unet": ("UNet2DConditionModel",),
    "vae": ("AutoencoderKL",),
    "text_encoder": ("CLIPTextModel",),
    "tokenizer": _CLIP,
}
_FLOW: dict[str, tuple[str, ...]] = {
    "transformer": ("SD3Transformer2DModel",),
    "vae": ("AutoencoderKL",),
    "text_encoder": ("CLIPTextModelWithProjection",),
    "text_encoder_2": ("CLIPTextModelWithProjection",),
    "text_encoder_3": ("T5EncoderModel",),
    "tokenizer": _CLIP,
    "tokenizer_2": _CLIP,
    "tokenizer_3": ("T5Tokenizer", "T5TokenizerFast"),
}
OPTIONAL = ("text_encoder_3", "tokenizer_3")
PIPELINES: dict[str, dict[str, tuple[str, ...]]] = {  # class -> part -> classes that are read; schedulers are checked elsewhere
    "DDIMPipeline": _UNET,
    "DDPMPipeline": _UNET,
    "StableDiffusion3Pipeline": _FLOW,
    "StableDiffusionPipeline": _TEXT,
}
UNREAD = ("feature_extractor", "image_encoder", "requires_safety_checker", "safety_checker")  # not needed to train and to sample
_LIBRARIES = ("diffusers", "transformers")


@dataclass(frozen=True)
class Found:
    """What a folder holds.

    Args:
        folder: Where.
        pipeline: Class of its pipeline; None: one bare ``UNet2DModel``.
        parts: part -> class, of those that are read.
    """

    folder: Path
    pipeline: str | None
    parts: dict[str, str] = field(default_factory=dict)


def find(name: str) -> Path:
    """The folder of that name: as it is, or a copy of what is needed from the hub.

    Raises:
        ModelError: where there is none.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if folder.exists():
        kind = " of pickled weights, which can run code when loaded" if folder.suffix in _PICKLED else ""
        raise ModelError(f"{name}: is one file{kind}; expected a "
                         "folder with model_index.json, or with config.json and *.safetensors")  # fmt: skip
    if name.startswith((".", "/", "~")) or name.count("/") != 1:
        raise ModelError(f"{name}: no such folder")
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise ModelError(f"{name}: no such folder (names on the hub need: pip install 'guerdon[pictures]')") from None
    with reading(name):
        return Path(snapshot_download(name, allow_patterns=_NEEDED, ignore_patterns=_NOT_NEEDED))


def is_ours(folder: Path) -> bool:
    """Whether guerdon wrote the folder for a network of its own."""
    try:
        return '"guerdon"' in (folder / "config.json").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False


def look(folder: Path, name: str) -> Found:
    """What a folder holds, checked; nothing of it is imported or executed.

    Raises:
        ModelError: naming the file and what does not fit.
    """
    if (folder / "model_index.json").is_file():
        return _pipeline(folder, name)
    config = read_json(folder / "config.json", name)
    if (kind := config.get("_class_name")) != "UNet2DModel":
        raise ModelError(
            f"{name}: config.json: _class_name is {kind!r}, expected 'UNet2DModel', or a pipeline's folder with model_index.json"
        )
    check_weights(folder, name)
    return Found(folder, None, {"unet": "UNet2DModel"})


def _pipeline(folder: Path, name: str) -> Found:
    index = read_json(folder / "model_index.json", name)
    kind = index.pop("_class_name", None)
    if not isinstance(kind, str) or kind not in PIPELINES:
        raise ModelError(f"{name}: model_index.json: pipeline {kind!r} is not read; {nearest(str(kind), PIPELINES)}")
    expected, parts = PIPELINES[kind], {}
    for part, entry in index.items():
        if part.startswith("_") or part in UNREAD or (part in OPTIONAL and entry == [None, None]):
            continue
        library, cls = entry if isinstance(entry, list) and len(entry) == 2 else (None, None)
        if part == "scheduler":
            known: tuple[str, ...] = (str(cls),) if isinstance(cls, str) and cls.endswith("Scheduler") else ()
        elif part in expected:
            known = expected[part]
        else:
            raise ModelError(f"{name}: model_index.json: {kind} has no part {part!r}; {nearest(part, [*expected, 'scheduler'])}")
        if library not in _LIBRARIES or cls not in known:
            raise ModelError(f"{name}: model_index.json: {part} is {entry!r}, expected {' or '.join(known) or 'a scheduler'} of "
                             "diffusers or transformers; other code is not loaded")  # fmt: skip
        parts[part] = cls
    for part in (*expected, "scheduler"):
        if part in OPTIONAL and part not in parts:
            continue
        if part not in parts:
            raise ModelError(f"{name}: model_index.json: {kind} needs {part!r}, and it is not there")
        if not (folder / part).is_dir():
            raise ModelError(f"{name}: has no folder {part!r}, which model_index.json names")
        if not part.startswith(("scheduler", "tokenizer")):
            config = read_json(folder / part / "config.json", name)
            if (cls := config.get("_class_name", parts[part])) != parts[part]:
                raise ModelError(f"{name}: {part}/config.json is of a {cls}, and model_index.json says {parts[part]}")
            check_weights(folder / part, name)
    return Found(folder, kind, parts)


def read_json(path: Path, name: str) -> dict[str, Any]:
    """A mapping in a JSON file, without remote code.

    Raises:
        ModelError: where it is no such file.
    """
    shown = str(path.relative_to(path.parents[1])) if path.parent.name in (*_TEXT, *_FLOW, "scheduler") else path.name
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{name}: has no {shown}") from None
    except (OSError, ValueError, RecursionError) as e:
        raise ModelError(f"{name}: {shown} cannot be read: {type(e).__name__}") from None
    if not isinstance(config, dict):
        raise ModelError(f"{name}: {shown} holds a {type(config).__name__}, expected a mapping")
    if "auto_map" in config:
        raise ModelError(f"{name}: {shown} names code of its own (auto_map), which is not loaded")
    return config


def check_weights(folder: Path, name: str) -> None:
    """Whether there are weights that cannot run code.

    Raises:
        ModelError: naming what there is instead.
    """
    files = sorted(f.name for f in folder.iterdir())
    if "adapter_config.json" in files:
        raise ModelError(f"{name}: {folder.name} holds an adapter, whose base may be anywhere; merge the two first")
    if any(f.endswith(".safetensors") for f in files):
        return
    pickled = [f for f in files if f.endswith(_PICKLED)]
    found = f"only pickled weights ({pickled[0]}), which can run code when loaded" if pickled else "no weights"
    raise ModelError(
        f"{name}: {folder.name if folder.name in (*_TEXT, *_FLOW) else 'the folder'} holds {found}; expected *.safetensors"
    )


@contextlib.contextmanager
def loading(name: str) -> Iterator[None]:
    """Foreign errors as one ``ModelError`` line, and silence."""
    with silent(), reading(name):
        yield


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """No progress bars and no notes of the libraries."""
    from diffusers.utils import logging
    from transformers.utils import logging as transformers_logging

    both = (logging, transformers_logging)
    bars, levels = logging.is_progress_bar_enabled(), [library.get_verbosity() for library in both]
    logging.disable_progress_bar()
    for library in both:
        library.set_verbosity_error()
    try:
        with quiet():
            yield
    finally:
        for library, level in zip(both, levels, strict=True):
            library.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
