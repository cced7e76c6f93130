"""How a hosted policy samples, in a small file beside the pipeline, which diffusers does not look at."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from guerdon.core.errors import ModelError, nearest
from guerdon.policies._plain import from_plain, to_plain
from guerdon.policies.denoising._diffusers_files import read_json
from guerdon.policies.denoising._how import Weight
from guerdon.policies.denoising._kernels import Kernel

if TYPE_CHECKING:
    from guerdon.policies.denoising._diffusers_hosted import Hosted

FILE = "guerdon.json"
_PLAIN: dict[str, tuple[type, ...]] = {
    "dtype": (str,), "guidance": (int, float), "kernel": (dict,), "null_label": (int,), "steps": (int,), "weight": (str,),
}  # fmt: skip


def write_settings(policy: Hosted, folder: Path) -> None:
    """What ``read_settings`` reads. A kernel of one's own is left out: its code does not travel."""
    facts = {
        "steps": policy.how.steps,
        "kernel": to_plain(policy.how.kernel),
        "guidance": policy.how.guidance,
        "null_label": getattr(policy.condition, "null", None),
        "weight": policy.weight,
        "dtype": str(policy.dtype).removeprefix("torch."),
    }
    text = json.dumps({k: v for k, v in facts.items() if v is not None}, indent=1, allow_nan=False)
    (folder / FILE).write_text(text + "\n", encoding="utf-8")


def read_settings(folder: Path, name: str) -> dict[str, Any]:
    """``steps``, ``kernel``, ``guidance``, ``null_label``, ``weight`` and ``dtype``, as far as the folder says them.

    Raises:
        ModelError: naming the key that does not fit.
    """
    if not (folder / FILE).is_file():
        return {}
    said = read_json(folder / FILE, name)
    for key, value in said.items():
        if key not in _PLAIN:
            raise ModelError(f"{name}: {FILE}: unknown key {key!r}; {nearest(key, _PLAIN)}")
        if not isinstance(value, _PLAIN[key]) or isinstance(value, bool) or (key == "weight" and value not in get_args(Weight)):
            raise ModelError(f"{name}: {FILE}: {key} is {value!r}")
    if "kernel" in said:
        said["kernel"] = from_plain(said["kernel"], f"{name}: {FILE}: kernel", "a sampler")
        if isinstance(said["kernel"], type) or not isinstance(said["kernel"], Kernel):
            raise ModelError(f"{name}: {FILE}: kernel is {said['kernel']!r}, expected a sampler such as DDIM")
    return said
