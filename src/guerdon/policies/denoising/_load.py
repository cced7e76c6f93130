"""``from_pretrained`` of denoising policies: folders that guerdon saved, and folders and names of Hugging Face diffusers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from guerdon.core.errors import ModelError, PlanError, nearest
from guerdon.core.hub import device_of, dtype_of
from guerdon.policies.denoising._diffusers_files import Found, find, is_ours, loading, look, read_json

if TYPE_CHECKING:
    from guerdon.policies.denoising._base import Denoising

    Kind = TypeVar("Kind", bound=Denoising)

_HOW = ("kernel", "steps", "guidance", "temperature")
_HOSTED = ("lora", "null_label", "scheduler")
_OPTIONS = (*_HOW, *_HOSTED, "device", "dtype")


def load(path_or_name: str, cls: type[Kind], **how: Any) -> Kind:
    """What ``from_pretrained`` does.

    Args:
        path_or_name: Folder, or name on the hub.
        cls: What it must be.
        how: ``kernel``, ``steps``, ``guidance`` in place of what the folder says; ``dtype``, ``device`` (``"auto"``); for
            networks of diffusers ``scheduler`` (a live one, in place of the folder's), ``null_label`` and ``lora``.

    Raises:
        ModelError: in one line, naming the file and what does not fit.
        PlanError: for an unknown option.
    """
    name = str(path_or_name)
    for option in how:
        if option not in _OPTIONS:
            raise PlanError(f"from_pretrained: no option {option!r}; {nearest(option, _OPTIONS)}")
    how = {k: v for k, v in how.items() if v is not None}
    folder = find(name)
    policy = _own(folder, name, how) if is_ours(folder) else _hosted(folder, name, how)
    if not isinstance(policy, cls):
        kind = next(c for c in type(policy).__mro__ if not c.__module__.rpartition(".")[2].startswith("_"))
        raise ModelError(
            f"{name}: holds a {kind.__name__}, not a {cls.__name__}; load it with policies.{kind.__name__}.from_pretrained"
        )
    return policy.to(device_of(how.get("device", "auto"), policy.dtype))


def _own(folder: Path, name: str, how: dict[str, Any]) -> Any:
    """A folder that guerdon wrote for a network of its own."""
    from guerdon.policies.denoising._save import load_folder

    if extra := [k for k in _HOSTED if k in how]:
        raise PlanError(f"{name}: {extra[0]} is for networks of diffusers, and this one is guerdon's own")
    policy: Any = load_folder(folder, name, how.get("dtype"))
    policy.how = policy.how.changed(name, **{k: how[k] for k in _HOW if k in how})
    policy.times(policy.how.steps)  # whether there is such a chain is told now
    return policy


def _hosted(folder: Path, name: str, how: dict[str, Any]) -> Any:
    """A folder of diffusers."""
    from guerdon.policies.denoising._diffusers import wrap
    from guerdon.policies.denoising._diffusers_flow import wrap_flow
    from guerdon.policies.denoising._diffusers_settings import read_settings

    if "temperature" in how:
        raise PlanError(f"{name}: temperature is for policies.MaskedDiffusion")
    found = look(folder, name)
    how = {**read_settings(folder, name), **how}
    parts = _parts(found, name, dtype_of(how.pop("dtype", "float32")))
    scheduler = how.pop("scheduler", None) or _scheduler(found, name)
    how.pop("device", None)
    weight = how.pop("weight", None)
    if "transformer" in parts:
        if "null_label" in how:
            raise PlanError(f"{name}: null_label is for networks with class labels")
        policy: Any = wrap_flow(**parts, scheduler=scheduler, name=name, **how)
    else:
        policy = wrap(**parts, scheduler=scheduler, pipeline=found.pipeline, name=name, **how)
    if weight not in (None, policy.weight):
        policy.weight = weight
    return policy


def _parts(found: Found, name: str, number: torch.dtype) -> dict[str, Any]:
    """part -> live object, each loaded by a class that is named in guerdon; nothing is imported by a name in a file."""
    import diffusers
    import transformers

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
        parts: dict[str, Any] = {part: weights(diffusers, part) for part in ("unet", "transformer", "vae") if part in found.parts}
        for part, kind in found.parts.items():
            if part.startswith("text_encoder"):
                parts[part] = weights(transformers, part)
            elif part.startswith("tokenizer"):
                parts[part] = getattr(transformers, kind).from_pretrained(found.folder / part, trust_remote_code=False)
    return parts


def _scheduler(found: Found, name: str) -> Any:
    """The scheduler of a pipeline's folder."""
    import diffusers

    from guerdon.policies.denoising._diffusers_noise import check_kind, check_length, settings

    if found.pipeline is None:
        raise ModelError(
            f"{name}: is a bare UNet2DModel, which does not say its noise; give scheduler=diffusers.DDPMScheduler(...)"
        )
    config = read_json(Path(found.folder, "scheduler", "scheduler_config.json"), name)
    kind = found.parts["scheduler"]
    if found.pipeline != "StableDiffusion3Pipeline":
        check_kind(kind, name)
    elif kind != "FlowMatchEulerDiscreteScheduler":
        raise ModelError(f"{name}: scheduler {kind} is not read for a flow; expected FlowMatchEulerDiscreteScheduler")
    check_length(config.get("num_train_timesteps", 1), name)
    with loading(name):
        scheduler = getattr(diffusers, kind).from_config(config)
        return diffusers.DDIMScheduler.from_config(settings(scheduler)) if found.pipeline == "DDIMPipeline" else scheduler
