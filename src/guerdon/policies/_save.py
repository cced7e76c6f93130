"""A policy as a folder others can load: all of it written beside its place, then moved there at once."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from guerdon.core.files import replacing_folder
from guerdon.core.hub import quiet
from guerdon.core.markdown import plain

if TYPE_CHECKING:
    from guerdon.policies.causal_lm import CausalLM

_SECTIONS = ("base_model", "metrics", "plan", "references")


def save(policy: CausalLM, folder: Path, merged: bool, card: dict[str, Any]) -> Path:
    """Writes ``policy`` to ``folder``, which is replaced when everything is there."""
    folder = folder.expanduser().resolve()
    with quiet(), replacing_folder(folder) as new:
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
    return folder


def readme(title: str, facts: Mapping[str, Any], library: str = "transformers", task: str | None = "text-generation") -> str:
    """A model card, whose head says which library loads it and (``task``) what it is for.

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
    out = ["---", f"library_name: {library}", *([f"pipeline_tag: {task}"] if task else [])]
    if re.fullmatch(r"[\w-][\w.-]*(/[\w.-]+)?", str(base)):  # a name on the hub
        out += [f"base_model: {base}"]
    out += ["tags: [guerdon]", "---", "", f"# {plain(title)}", "", f"Trained with guerdon from `{plain(base)}`.", ""]
    if lines := [f"- {plain(k.replace('_', ' '))}: {plain(v)}" for k, v in facts.items() if k not in _SECTIONS]:
        out += [*lines, ""]
    if metrics := facts.get("metrics"):
        rows = [f"| {plain(k)} | {plain(v)} |" for k, v in metrics.items()]
        out += ["## Metrics", "", "| metric | value |", "|---|---|", *rows, ""]
    if plan := facts.get("plan"):
        text = yaml.safe_dump(plan, sort_keys=False, allow_unicode=True).replace("`" * 3, "'" * 3)
        out += ["## Plan", "", "```yaml", text.rstrip(), "```", ""]
    if references := facts.get("references"):
        out += ["## References", "", *(f"- {_reference(r)}" for r in references), ""]
    return "\n".join(out)


def _reference(r: Any) -> str:
    if not isinstance(r, Mapping):
        return plain(r)
    link = f" ([arXiv:{plain(r['arxiv'])}](https://arxiv.org/abs/{plain(r['arxiv'])}))" if r.get("arxiv") else ""
    return f"{plain(r.get('title', ''))}{link}" + (f": {plain(r['used_for'])}" if r.get("used_for") else "")
