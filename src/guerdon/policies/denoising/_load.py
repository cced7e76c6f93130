"""``from_pretrained`` of denoising policies: folders that guerdon saved, and folders and names of Hugging Face diffusers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from guerdon.core.errors import ModelError
from guerdon.core.hub import device_of, dtype_of
from guerdon.policies.denoising._diffusers import Hosted, wrap
from guerdon.policies.denoising._diffusers_files import Found, find, loading, look, read_json
from guerdon.policies.denoising._diffusers_noise import check_kind, settings


def load(path_or_name: str, *, scheduler: Any = None, dtype: str = "float32", device: str = "auto", **how: Any) -> Hosted:
    """What ``Diffusion.from_pretrained`` does."""
    name, number = str(path_or_name), dtype_of(dtype)
    folder = find(name)
    found = look(folder, name)
    parts = _parts(found, name, number)
    parts["scheduler"] = scheduler if scheduler is not None else _scheduler(found, name)
    return wrap(**parts, pipeline=found.pipeline, name=name, **how).to(device_of(device, number))


def _parts(found: Found, name: str, number: torch.dtype) -> dict[str, Any]:
    """part -> live object, each loaded by a class that is named in guerdon; nothing is imported by a name in a file."""
    import diffusers

    def weights(library: Any, part: str) -> Any:
        where = found.folder / part if found.pipeline is not None else found.folder
        how = {"torch_dtype": number} if library is diffusers else {"dtype": number, "trust_remote_code": False}
        model, info = getattr(library, found.parts[part]).from_pretrained(
            where, use_safetensors=True, output_loading_info=True, local_files_only=True, **how
        )
        if lost := sorted(info["missing_keys"]):
            raise ModelError(f"{name}: the weights of {part} lack {len(lost)} tensors, such as {lost[0]}")
        return model

    with loading(name), torch.random.fork_rng(devices=[]):  # layers are drawn from the shared generator before they are filled
        parts = {part: weights(diffusers, part) for part in ("unet", "vae") if part in found.parts}
        if "text_encoder" in found.parts:
            import transformers

            parts["text_encoder"] = weights(transformers, "text_encoder")
            where = found.folder / "tokenizer"
            parts["tokenizer"] = transformers.CLIPTokenizer.from_pretrained(where, local_files_only=True, trust_remote_code=False)
    return parts


def _scheduler(found: Found, name: str) -> Any:
    """The scheduler of a pipeline's folder."""
    import diffusers

    if found.pipeline is None:
        raise ModelError(f"{name}: is a bare UNet2DModel, which does not say its noise; give scheduler=diffusers.DDPMScheduler(...)")
    path = Path(found.folder, "scheduler", "scheduler_config.json")
    config = read_json(path, name)
    kind = check_kind(found.parts["scheduler"], name)
    with loading(name):
        scheduler = getattr(diffusers, kind).from_config(config)
        return diffusers.DDIMScheduler.from_config(settings(scheduler)) if found.pipeline == "DDIMPipeline" else scheduler
