"""Comparisons of a world's base model's answers by simulated annotators: made once, then kept in the cache."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guerdon.core.errors import PlanError
from guerdon.core.feedback import Comparison, from_record
from guerdon.core.streams import Streams
from guerdon.tasks.cache import cached
from guerdon.tasks.task import Split, Task

if TYPE_CHECKING:
    from guerdon.feedback import Annotator

VERSION = 1  # to be raised with any change below that changes the comparisons
FILE = "comparisons.jsonl"
_CHUNK = 512  # contexts sampled at once


def compared(task: Task, annotator: Annotator, n: int, *, seed: int = 0, split: Split = "train") -> Path:
    """A file of comparisons, one JSON record a line: two answers of the base model to each of ``n`` prompts.

    Args:
        task: The world; its base model is trained now when the cache lacks it.
        annotator: Who compares, such as ``feedback.Flips(feedback.BradleyTerry(task.reward(), 0.1), 0.25)``. A population of
            several votes gives several comparisons of each pair.
        n: Prompts, each with one pair of different answers (prompts that got the same answer twice are passed over).
        seed: Of the prompts, the answers and the verdicts.
        split: Which prompts.

    Returns:
        The file, in the cache. The same arguments give the same file.

    Raises:
        PlanError: for an annotator that is not made of guerdon's own atoms, so that its name would not say all.
    """
    from guerdon.run.spec import to_tree

    if n < 1:
        raise PlanError(f"compared: n must be at least 1, got {n}")
    who = to_tree(annotator)
    if "live" in repr(who):
        raise PlanError(
            "compared: the annotator holds a live Python object; make it of guerdon's own atoms, so that it can be cached"
        )
    recipe = {"world": task.recipe(), "annotator": who, "n": n, "seed": seed, "split": split, "version": VERSION}
    return cached(f"{task.name}-comparisons", recipe, lambda: _written(task, annotator, n, seed, split)) / FILE


def read_comparisons(path: str | Path) -> list[Comparison]:
    """What ``compared`` wrote."""
    with open(path, encoding="utf8") as f:
        return [c for line in f if isinstance(c := from_record(json.loads(line)), Comparison)]


def _written(task: Task, annotator: Annotator, n: int, seed: int, split: Split) -> Callable[[Path], Mapping[str, Any]]:
    found = _compare(task, annotator, n, Streams(seed).fork("compared", task.name), split)

    def write(folder: Path) -> Mapping[str, Any]:
        with open(folder / FILE, "w", encoding="utf8") as f:
            f.writelines(json.dumps(c.to_record(), ensure_ascii=False) + "\n" for c in found)
        return {"comparisons": len(found)}

    return write


def _compare(task: Task, annotator: Annotator, n: int, streams: Streams, split: Split) -> list[Comparison]:
    import torch

    from guerdon.policies import CausalLM

    policy = CausalLM.from_pretrained(str(task.base()), device="cpu")
    found: list[Comparison] = []
    pairs = draws = 0
    while pairs < n:
        draw = streams.fork("draw", draws)
        draws += 1
        items = task.prompts(split).draw(min(_CHUNK, n - pairs), streams=draw.fork("items"))
        with torch.no_grad():
            rollout = policy.sample(items, 2, streams=draw.fork("sample"), max_tokens=task.max_tokens)
        first = torch.arange(0, len(rollout), 2)
        differ = torch.tensor([rollout.outputs[k] != rollout.outputs[k + 1] for k in first.tolist()])
        shown = torch.stack([first, first + 1], 1)[differ]
        pairs += len(shown)
        row = {u: k for k, u in enumerate(rollout.uid.tolist())}
        for c in annotator.compare(rollout, shown, draw.fork("compare")):
            columns = {name: values[row[c.uids[0]]] for name, values in rollout.info.items()}
            found.append(c.replace(info=columns))  # what the world's own reward needs to judge the pair, too
        if draws > 100 * (1 + n // _CHUNK):
            raise PlanError(f"compared: the base model of {task.name} answers nearly every prompt in one way; nothing to compare")
    return found
