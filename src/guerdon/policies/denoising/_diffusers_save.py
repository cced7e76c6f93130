"""A hosted policy as a pipeline's folder: safetensors and JSON, written beside its place, then moved there at once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guerdon.core.files import replacing_folder
from guerdon.policies._save import readme
from guerdon.policies.denoising._diffusers_files import silent
from guerdon.policies.denoising._diffusers_settings import write_settings

if TYPE_CHECKING:
    from guerdon.policies.denoising._diffusers_hosted import Hosted


def save(policy: Hosted, folder: Path, card: Mapping[str, Any]) -> Path:
    """Writes ``policy`` to ``folder``, which is replaced when everything is there."""
    folder = folder.expanduser().resolve()
    facts = {"base_model": policy.source, **card}
    task = "unconditional-image-generation" if policy.pictures is None else "text-to-image"
    with silent(), replacing_folder(folder) as new:
        policy.hosted().save_pretrained(new, safe_serialization=True)
        for path in new.glob("*/config.json"):  # where a part was loaded from is nobody's business
            config = json.loads(path.read_text(encoding="utf-8"))
            if config.pop("_name_or_path", None) is not None:
                path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        write_settings(policy, new)
        (new / "README.md").write_text(readme(folder.name, facts, "diffusers", task), encoding="utf-8")
    return folder
