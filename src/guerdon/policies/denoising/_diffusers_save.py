"""A hosted policy as a pipeline's folder: safetensors and JSON, written beside its place, then moved there at once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guerdon.core.files import replacing_folder
from guerdon.policies._save import readme
from guerdon.policies.denoising._diffusers_files import loading
from guerdon.policies.denoising._diffusers_latents import Prompts
from guerdon.policies.denoising._diffusers_noise import settings

if TYPE_CHECKING:
    from guerdon.policies.denoising._diffusers import Hosted

_TAGS = {"StableDiffusionPipeline": "text-to-image"}


def save(policy: Hosted, folder: Path, card: Mapping[str, Any]) -> Path:
    """Writes ``policy`` to ``folder``, which is replaced when everything is there."""
    folder = folder.expanduser().resolve()
    front = ["---", "library_name: diffusers", f"pipeline_tag: {_TAGS.get(policy.pipeline, 'unconditional-image-generation')}",
             "tags: [guerdon]", "---", ""]  # fmt: skip
    about = readme(folder.name, {"base_model": policy.source, **card}).split("---\n", 2)[2]
    with loading(str(folder)), replacing_folder(folder) as new:
        pipeline_of(policy).save_pretrained(new, safe_serialization=True)
        (new / "README.md").write_text("\n".join(front) + about, encoding="utf-8")
    return folder


def pipeline_of(policy: Hosted) -> Any:
    """The policy's own modules as a live pipeline of diffusers."""
    import diffusers

    unet, scheduler = policy.network.unet, policy.scheduler  # type: ignore[union-attr]
    cls, kind, config = getattr(diffusers, policy.pipeline), type(scheduler), settings(scheduler)
    if policy.pictures is None:
        if policy.pipeline == "DDIMPipeline" and kind is not diffusers.DDIMScheduler:
            kind, config = diffusers.DDIMScheduler, dict(policy.schedule.config)  # type: ignore[attr-defined]
        return cls(unet=unet, scheduler=kind(**config))
    assert isinstance(policy.condition, Prompts)
    # the pipeline would set these two itself, with a warning
    config |= {k: v for k, v in (("steps_offset", 1), ("clip_sample", False)) if k in config}
    return cls(
        unet=unet, scheduler=kind(**config), vae=policy.pictures.vae.module, text_encoder=policy.condition.encoder.module,
        tokenizer=policy.condition.tokenizer, safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
