"""A policy as a folder others can load: all of it written beside its place, then moved there at once."""

from __future__ import annotations

import copy
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from guerdon.core.hub import quiet

if TYPE_CHECKING:
    from guerdon.policies.causal_lm import CausalLM

_SECTIONS = ("base_model", "metrics", "plan", "references")


def save(policy: CausalLM, folder: Path, merged: bool, card: dict[str, Any]) -> Path:
    """Writes ``policy`` to ``folder``, which is replaced when everything is there."""
    folder = folder.expanduser().resolve()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with quiet(), tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as place:
        new, old = Path(place, "new"), Path(place, "old")
        new.mkdir()
        model: Any = policy.model
        if policy.lora and merged:
            model = copy.deepcopy(model).merge_and_unload()
        model.save_pretrained(new)
        tokenizer = policy.text.tokenizer
        before, tokenizer.chat_template = tokenizer.chat_template, policy.text.template
        try:
            tokenizer.save_pretrained(new)
        finally:
            tokenizer.chat_template = before
        (new / "README.md").write_text(readme(folder.name, {"base_model": policy.source, **card}), encoding="utf-8")
        if folder.exists():
            folder.rename(old)
        new.rename(folder)
        shutil.rmtree(old, ignore_errors=True)
    return folder


def readme(title: str, facts: Mapping[str, Any]) -> str:
    """A model card.

    >>> print(readme("run", {"base_model": "org/base", "plan_hash": "ab12", "metrics": {"reward": 0.25}}))
    ---
    library_name: transformers
    pipeline_tag: text-generation
    base_model: org/base
    tags: [guerdon]
    ---
    <BLANKLINE>
    # run
    <BLANKLINE>
    Trained with guerdon from `org/base`.
    <BLANKLINE>
    - plan hash: ab12
    <BLANKLINE>
    ## Metrics
    <BLANKLINE>
    | metric | value |
    |---|---|
    | reward | 0.25 |
    <BLANKLINE>
    """
    base = facts.get("base_model")
    out = ["---", "library_name: transformers", "pipeline_tag: text-generation"]
    if re.fullmatch(r"[\w-][\w.-]*(/[\w.-]+)?", str(base)):  # a name on the hub
        out += [f"base_model: {base}"]
    out += ["tags: [guerdon]", "---", "", f"# {_plain(title)}", "", f"Trained with guerdon from `{_plain(base)}`.", ""]
    if lines := [f"- {_plain(k).replace('_', ' ')}: {_plain(v)}" for k, v in facts.items() if k not in _SECTIONS]:
        out += [*lines, ""]
    if metrics := facts.get("metrics"):
        rows = [f"| {_plain(k)} | {_plain(v)} |" for k, v in metrics.items()]
        out += ["## Metrics", "", "| metric | value |", "|---|---|", *rows, ""]
    if plan := facts.get("plan"):
        text = yaml.safe_dump(plan, sort_keys=False, allow_unicode=True).replace("`" * 3, "'" * 3)
        out += ["## Plan", "", "```yaml", text.rstrip(), "```", ""]
    if references := facts.get("references"):
        out += ["## References", "", *(f"- {_reference(r)}" for r in references), ""]
    return "\n".join(out)


def _reference(r: Any) -> str:
    if not isinstance(r, Mapping):
        return _plain(r)
    link = f" ([arXiv:{_plain(r['arxiv'])}](https://arxiv.org/abs/{_plain(r['arxiv'])}))" if r.get("arxiv") else ""
    return f"{_plain(r.get('title', ''))}{link}" + (f": {_plain(r['used_for'])}" if r.get("used_for") else "")


def _plain(x: Any) -> str:
    """One line that Markdown and HTML take as text."""
    if isinstance(x, float):
        return f"{x:.6g}"
    if isinstance(x, Mapping):
        return ", ".join(f"{_plain(k)}={_plain(v)}" for k, v in x.items())
    if isinstance(x, Sequence) and not isinstance(x, str):
        return ", ".join(_plain(v) for v in x)
    return " ".join(str(x).split()).replace("<", "&lt;").replace("|", "\\|").replace("`", "'")
