"""A tree of state on disk: tensors in safetensors, the rest in JSON, written so that a reader never sees half of it."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from guerdon.core.errors import RunError


def _split(tree: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(tree, Tensor):
        tensors[path] = tree.detach().cpu().contiguous().clone()
        return {"$tensor": path}
    if isinstance(tree, Mapping):
        return {str(k): _split(v, f"{path}/{k}", tensors) for k, v in tree.items()}
    if isinstance(tree, list | tuple):
        return [_split(v, f"{path}/{i}", tensors) for i, v in enumerate(tree)]
    if tree is None or isinstance(tree, bool | int | float | str):
        return tree
    raise TypeError(f"state {path!r} holds a {type(tree).__name__}; expected tensors, numbers, text, lists and dicts")


def _join(tree: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(tree, dict):
        return tensors[tree["$tensor"]] if set(tree) == {"$tensor"} else {k: _join(v, tensors) for k, v in tree.items()}
    return [_join(v, tensors) for v in tree] if isinstance(tree, list) else tree


def sync_folder(folder: Path) -> None:
    """Make renames inside a folder durable, where the system can."""
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def save_state(folder: Path, state: Mapping[str, Any]) -> None:
    """Write ``state`` as ``folder``: all of it or nothing.

    Raises:
        RunError: where the disk is full or cannot be written; what was there before is untouched.
    """
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    tensors: dict[str, Tensor] = {}
    plain = _split(state, "", tensors)
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        save_file(tensors, temporary / "tensors.safetensors")
        (temporary / "state.json").write_text(json.dumps(plain), encoding="utf8")
        for f in temporary.iterdir():
            with open(f, "rb") as handle:
                os.fsync(handle.fileno())
        if folder.exists():  # the same step again, after a resume
            shutil.rmtree(folder)
        os.replace(temporary, folder)
        sync_folder(folder.parent)
    except (OSError, SafetensorError) as e:
        full = getattr(e, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(e)
        why = "the disk is full" if full else getattr(e, "strerror", None) or str(e)
        raise RunError(f"{folder}: checkpoint not written: {why}; the last complete checkpoint is intact") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def load_state(folder: Path) -> dict[str, Any]:
    """What ``save_state`` wrote.

    Raises:
        RunError: where a file is missing or damaged.
    """
    try:
        tensors = load_file(folder / "tensors.safetensors")
        return _join(json.loads((folder / "state.json").read_text(encoding="utf8")), tensors)
    except (OSError, ValueError, KeyError, SafetensorError) as e:
        raise RunError(f"{folder}: not a complete checkpoint ({e})") from None


def module_state(module: torch.nn.Module) -> dict[str, Any]:
    """What training may change in a module: trainable parameters (shared ones once), buffers, extra state."""
    frozen = {n for n, p in module.named_parameters(remove_duplicate=False) if not p.requires_grad}
    seen: set[int] = set()
    out: dict[str, Any] = {}
    for name, value in module.state_dict(keep_vars=True).items():
        if name in frozen or (isinstance(value, Tensor) and id(value) in seen):
            continue
        seen.add(id(value))
        out[name] = value
    return out


def load_module_state(module: torch.nn.Module, state: Mapping[str, Any]) -> None:
    """Put back what ``module_state`` took.

    Raises:
        RunError: where the state belongs to another module.
    """
    expected = set(module_state(module))
    if missing := expected ^ set(state):
        raise RunError(f"the checkpoint belongs to another model: {sorted(missing)[0]} and {len(missing) - 1} more do not match")
    module.load_state_dict(dict(state), strict=False)
