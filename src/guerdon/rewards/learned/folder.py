"""Learned rewards as folders: written beside their place and moved there at once, with a card that says what is inside."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guerdon.core import ModelError
from guerdon.core.files import replacing_folder
from guerdon.core.hub import quiet
from guerdon.core.markdown import plain

if TYPE_CHECKING:
    from torch import Tensor

    from guerdon.rewards.learned.model import RewardModel

RECIPE = "guerdon.json"
HELD_OUT = "held_out.jsonl"


def read_recipe(name: str | Path, kinds: Sequence[str] = ("reward-model", "ensemble")) -> dict[str, Any]:
    """What ``guerdon.json`` says; nothing where there is none.

    Raises:
        ModelError: for a file that is not one of guerdon's, or of another kind.
    """
    path = Path(name) / RECIPE
    if not path.is_file():
        return {}
    try:
        recipe = json.loads(path.read_text(encoding="utf8"))
    except (OSError, ValueError) as e:
        raise ModelError(f"{path}: cannot be read ({e})") from None
    if not isinstance(recipe, dict) or recipe.get("kind") not in kinds:
        found = f"; it is {recipe['kind']}" if isinstance(recipe, dict) and recipe.get("kind") else ""
        raise ModelError(f"{path}: expected a mapping whose 'kind' is {' or '.join(kinds)}{found}")
    return recipe


def weights_digest(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """32 hex digits of named weights: their names, types, shapes and bits."""
    import torch

    digest = hashlib.blake2b(digest_size=16)
    for name, value in tensors:
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}:".encode())
        digest.update(value.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def write(path: str | Path, fill: Callable[[Path], None]) -> Path:
    """A folder that ``fill`` writes; an older one is replaced when all of it is there."""
    folder = Path(path).expanduser().resolve()
    with quiet(), replacing_folder(folder) as new:
        fill(new)
    return folder


def put_model(reward: RewardModel, folder: Path, recipe: Mapping[str, Any]) -> None:
    """Weights, tokenizer with its template, recipe and card."""
    reward.model.save_pretrained(folder)
    tokenizer = reward.template.tokenizer
    before, tokenizer.chat_template = tokenizer.chat_template, reward.template.template
    try:
        tokenizer.save_pretrained(folder)
    finally:
        tokenizer.chat_template = before
    put_recipe(folder, recipe)


def put_recipe(folder: Path, recipe: Mapping[str, Any]) -> None:
    """``guerdon.json`` and ``README.md``."""
    (folder / RECIPE).write_text(json.dumps(recipe, indent=1, ensure_ascii=False) + "\n", encoding="utf8")
    (folder / "README.md").write_text(readme(recipe), encoding="utf8")


def readme(recipe: Mapping[str, Any]) -> str:
    """A model card; whatever came from data is written as text.

    >>> print(readme({"kind": "reward-model", "base": "org/<b>", "centre": 0.25, "facts": {"pairs": 3}}))
    ---
    library_name: transformers
    pipeline_tag: text-classification
    tags: [guerdon, reward-model]
    ---
    <BLANKLINE>
    # Reward model
    <BLANKLINE>
    Fitted with guerdon on `org/&lt;b&gt;`. Load it with `guerdon.rewards.load_learned(folder)`.
    <BLANKLINE>
    | setting | value |
    |---|---|
    | centre | 0.25 |
    | pairs | 3 |
    <BLANKLINE>
    """
    base = str(recipe.get("base", ""))
    many = recipe.get("kind") == "ensemble"
    out = ["---", "library_name: transformers", "pipeline_tag: text-classification"]
    if re.fullmatch(r"[\w-][\w.-]*(/[\w.-]+)?", base):
        out.append(f"base_model: {base}")
    out += ["tags: [guerdon, reward-model]", "---", "", f"# {'Ensemble of reward models' if many else 'Reward model'}", ""]
    out += [f"Fitted with guerdon on `{plain(base)}`. Load it with `guerdon.rewards.load_learned(folder)`.", ""]
    facts = {k: v for k, v in recipe.get("facts", {}).items() if k not in ("history", "settings")}
    facts = {k: v for k, v in facts.items() if v not in (None, "", [])}
    rows = {k: v for k, v in recipe.items() if k not in ("kind", "base", "facts", "format") and v not in (None, {})} | facts
    out += ["| setting | value |", "|---|---|", *(f"| {plain(k)} | {plain(v)} |" for k, v in rows.items()), ""]
    return "\n".join(out)
