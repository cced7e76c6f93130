"""stage(plan): a run that is made once. Warm starts of a study, the first of two stages."""

from __future__ import annotations

from pathlib import Path

from guerdon.core.errors import PlanError
from guerdon.core.files import cache_folder
from guerdon.run.events import read_events
from guerdon.run.execute import Result, load_policy, run
from guerdon.run.plan import Plan


def stage(plan: Plan, cache: str | Path | None = None) -> Result:
    """The result of ``run(plan)``, computed when no finished run of an equal plan lies in the cache.

    An interrupted stage goes on where it stopped. The plan's name does not count; everything else does.

    Args:
        plan: What to do. It must be writable as YAML, or its hash would not say all.
        cache: Folder of stages (None: ``stages`` in guerdon's cache, see ``GUERDON_CACHE``).

    Raises:
        PlanError: for a plan that holds live Python objects.

    Example:
        ``run(Plan(policy=lazy(CausalLM.from_pretrained, path_or_name=str(stage(sft).folder / "policy")), ...))``
    """
    if live := live_part(plan.to_tree()):
        raise PlanError(
            f"stage: {live} is a live Python object; name it as 'file.py:name' or with lazy(...), so that it can be cached"
        )
    folder = Path(cache if cache is not None else cache_folder() / "stages") / plan.hash
    if not finished(folder):
        return run(plan, folder, resume_run=True)
    past = list(read_events(folder / "events.jsonl"))
    history = [e["metrics"] for e in past if e["event"] == "draw"]
    evaluations = [{"step": e["step"], "metrics": e["metrics"]} for e in past if e["event"] == "eval"]
    return Result(load_policy(folder, past[-1]["best_step"]), folder, past[-1]["reason"], history, evaluations)


def finished(folder: Path) -> bool:
    """Whether the run in a folder has ended and everything it leaves is there; the summary is written last."""
    return (folder / "summary.json").exists() and any(e["event"] == "end" for e in read_events(folder / "events.jsonl"))


def live_part(tree: object) -> str:
    """A live Python object in a plan's plain data, described; "" where all of it can be written down."""
    if isinstance(tree, dict):
        return str(tree["live"]) if "live" in tree else next(filter(None, map(live_part, tree.values())), "")
    return next(filter(None, map(live_part, tree)), "") if isinstance(tree, list) else ""
