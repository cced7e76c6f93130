"""The stages of ``guerdon demo``. Each leaves files and is passed over where they are there, so that a stopped demo goes on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from guerdon.audit.overoptimisation import BestOfN
    from guerdon.core import Comparison
    from guerdon.rewards.learned.fit import Progress
    from guerdon.run import Plan, Result
    from guerdon.tasks import Task

FEEDBACK, REWARD, SETTINGS = "feedback.jsonl", "reward", "demo.json"
RUNS = {  # name -> what sets it apart
    "unprotected": "the mean of the ensemble, and no price on leaving the base model",
    "protected": "the most sceptical member of the ensemble, and a price on leaving the base model (KL weight 0.1)",
}


@dataclass(frozen=True)
class Size:
    """How large the demo is.

    Args:
        task: Whether the world is the tiny one.
        comparisons: How many are made.
        temperature: Of the annotators, in units of the hidden preference.
        flips: Share of verdicts that are inverted.
        members: Of the ensemble.
        steps: Draws of each run.
        samples: Of each evaluation.
        seed: Of everything but the base model.
    """

    tiny: bool = False
    comparisons: int = 2000
    temperature: float = 0.05
    flips: float = 0.25
    members: int = 3
    steps: int = 40
    samples: int = 256
    seed: int = 0


def world(size: Size) -> Task:
    """The world of stories."""
    from guerdon import tasks

    return tasks.get("stories", tiny=size.tiny)


def make_feedback(folder: Path, size: Size) -> list[Comparison]:
    """Comparisons of the base model's stories by annotators who err: kept in the demo's folder as a file of records."""
    from guerdon import feedback, tasks

    task = world(size)
    annotator = feedback.Flips(feedback.BradleyTerry(task.reward(), size.temperature), size.flips)
    made = tasks.compared(task, annotator, size.comparisons, seed=size.seed)
    if not (folder / FEEDBACK).exists():
        shutil.copyfile(made, folder / FEEDBACK)
    return tasks.read_comparisons(folder / FEEDBACK)


def make_reward(folder: Path, size: Size, found: list[Comparison], progress: Progress | None) -> None:
    """An ensemble fitted to four fifths of the contexts, and its audit on the others."""
    from guerdon.core.contexts import split
    from guerdon.rewards import FitSettings, fit_reward

    if (folder / REWARD).exists():
        return
    train, held_out = split(found, 0.2)
    settings = FitSettings(epochs=1, lr=1e-3, batch=32, seed=size.seed, device="cpu")
    fitted = fit_reward(
        train, str(world(size).base()), held_out=held_out, settings=settings, members=size.members, progress=progress
    )
    fitted.save(folder / REWARD)


def audit_reward_of(folder: Path, size: Size) -> dict[str, Any]:
    """Figures of the fitted reward on held-out comparisons, beside what length alone and the hidden preference itself reach."""
    from guerdon import audit
    from guerdon.rewards import load_learned

    place = folder / REWARD
    if not (place / "ceiling.json").exists():
        from guerdon.tasks import read_comparisons

        held_out = read_comparisons(place / "held_out.jsonl")
        reward = load_learned(str(place), device="cpu")
        probes = audit.probe_reward(reward, held_out, rows=100)
        found = audit.audit_reward(audit.score_comparisons(reward, held_out), temperature=reward.temperature, probes=probes)
        audit.write_reward_report(found, place, title="The demo's reward")
        hidden = audit.audit_reward(audit.score_comparisons(world(size).reward(), held_out))
        (place / "ceiling.json").write_text(json.dumps({"accuracy": hidden.accuracy.value}), encoding="utf8")
    summary: dict[str, Any] = json.loads((place / "summary.json").read_text(encoding="utf8"))
    ceiling: dict[str, Any] = json.loads((place / "ceiling.json").read_text(encoding="utf8"))
    return {**summary, "ceiling": ceiling["accuracy"]}


def best_of_n_of(folder: Path, size: Size) -> BestOfN:
    """What choosing the best of n stories of the base model by the learned reward does to the hidden preference."""
    import numpy as np
    import torch

    from guerdon.audit import best_of_n_curve
    from guerdon.core import Streams
    from guerdon.policies import CausalLM
    from guerdon.rewards import load_learned

    kept = folder / REWARD / "best_of_n.json"
    if not kept.exists():
        task, streams = world(size), Streams(size.seed).fork("best of n")
        policy = CausalLM.from_pretrained(str(task.base()), device="cpu")
        contexts, answers = (8, 16) if size.tiny else (48, 64)
        items = task.prompts("held_out").draw(contexts, streams=streams.fork("items"))
        with torch.no_grad():
            rollout = policy.sample(items, answers, streams=streams.fork("sample"), max_tokens=task.max_tokens)
        found = {}
        for name, reward in (("proxy", load_learned(str(folder / REWARD), device="cpu")), ("gold", task.reward())):
            output = reward(rollout)
            total = torch.where(output.ok, output.total, torch.nan).reshape(contexts, answers)
            found[name] = [[None if v != v else v for v in row] for row in total.tolist()]
        kept.write_text(json.dumps(found), encoding="utf8")
    scores = json.loads(kept.read_text(encoding="utf8"))
    proxy, gold = (np.array(scores[name], dtype=float) for name in ("proxy", "gold"))
    return best_of_n_curve(proxy, gold)


def plan_of(name: str, folder: Path, size: Size) -> Plan:
    """The plan of one of the two runs: demo.yaml, for the unprotected one without its two lines of protection."""
    import yaml

    from guerdon.run import Plan
    from guerdon.run.spec import to_tree

    text = (resources.files("guerdon.cli") / "demo.yaml").read_text(encoding="utf8")
    task = world(size)
    filled = {"BASE": str(task.base()), "REWARD": str((folder / REWARD).resolve()), "tasks.Stories": to_tree(task)}
    tree = _fill(yaml.safe_load(text), filled) | {"name": name, "steps": size.steps, "seed": size.seed}
    tree["evaluation"] |= {"samples": size.samples, "every": max(1, size.steps // 8)}
    if name == "unprotected":
        tree["reward"] |= {"combine": "mean"}
        tree["transforms"] = []
    return Plan.from_tree(tree, folder=folder.resolve())


def _fill(tree: Any, values: Mapping[str, Any]) -> Any:
    if isinstance(tree, Mapping):
        return {k: _fill(v, values) for k, v in tree.items()}
    if isinstance(tree, list):
        return [_fill(v, values) for v in tree]
    return values.get(tree, tree) if isinstance(tree, str) else tree


def make_run(name: str, folder: Path, size: Size, *, quiet: bool) -> Result:
    """One of the two runs, from its start or from where it was stopped."""
    from guerdon.cli._folder import is_finished
    from guerdon.run import run

    place = folder / name
    return run(plan_of(name, folder, size), place, resume_run=True, progress=not quiet and not is_finished(place))


def write_page(folder: Path, size: Size, reward: Mapping[str, Any]) -> Path:
    """The demo's one page."""
    from guerdon.audit import write_overview
    from guerdon.audit.report import Step

    accuracy, longer, calibration = reward["accuracy"], reward["baselines"]["longer"], reward["calibration"]
    weak = sum(f["level"] != "info" for f in reward["findings"])
    steps = (
        Step("Feedback", f"{size.comparisons:,}", ("comparisons of two stories", f"{size.flips:.0%} of them inverted")),
        Step("Learned reward", f"{accuracy['value']:.1%}", (
            f"of held-out pairs right ({accuracy['lo']:.1%} to {accuracy['hi']:.1%})", f"longer is better: {longer['value']:.1%}",
            f"the hidden preference: {reward['ceiling']:.1%}",
        )),
        Step("Its audit", str(weak), (f"weakness{'es' * (weak != 1)} that a policy can exploit, found before it was optimised",),
             str(folder / REWARD / "report.html")),
        Step("Calibration", f"{calibration['ece']:.1%}", ("between stated and observed probability, held-out (ECE)",)),
        Step("Optimisation", "twice", (f"{size.steps} draws of 128 stories", "without and with protection")),
    )  # fmt: skip
    lead = (
        "A tiny language model learned to write stories from authors of every skill. Annotators who err compared its stories, a "
        "reward was learned from what they said, and the model was pushed against that reward twice. What readers really want is "
        "known here, and nothing but the annotators and this report may see it."
    )
    runs = {name: folder / name for name in RUNS}
    return write_overview(
        runs, folder / "report.html", about=RUNS, title="From noisy feedback to a policy", lead=lead, steps=steps,
        best_of_n={"The base model's stories, chosen by the learned reward": best_of_n_of(folder, size)},
    )  # fmt: skip


def same_settings(folder: Path, size: Size) -> bool:
    """Whether the folder's demo, if there is one, is of this size; a new folder is marked."""
    mark = folder / SETTINGS
    if mark.exists():
        return bool(json.loads(mark.read_text(encoding="utf8")) == asdict(size))
    folder.mkdir(parents=True, exist_ok=True)
    mark.write_text(json.dumps(asdict(size), indent=1) + "\n", encoding="utf8")
    return True
