"""run(plan): build, loop, save, report."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from guerdon.core import Policy, RunError
from guerdon.run.checkpoints import path_of, resume, steps_of
from guerdon.run.compatibility import check_plan, check_run
from guerdon.run.evaluate import best_step
from guerdon.run.events import Sink
from guerdon.run.live import Run
from guerdon.run.loop import loop
from guerdon.run.plan import Plan
from guerdon.run.references import references_of
from guerdon.run.state import load_module_state, load_state


@dataclass(frozen=True)
class Result:
    """What a run leaves.

    Args:
        policy: The policy at its best evaluation, or at the end without one.
        folder: Where everything lies; None for a run that was not written down.
        ended: Why it ended.
        history: The metrics of every draw.
        evaluations: ``{"step", "metrics"}`` of every evaluation.
    """

    policy: Policy
    folder: Path | None
    ended: str
    history: Sequence[dict[str, float]] = ()
    evaluations: Sequence[dict[str, Any]] = ()


def run(
    plan: Plan, out: str | Path | None = None, *, resume_run: bool = False, sinks: tuple[Sink, ...] = (), progress: bool = False
) -> Result:
    """Execute a plan.

    Args:
        plan: What to do.
        out: Folder of the run; None: nothing is written.
        resume_run: Go on from the last checkpoint in ``out``, bit for bit as if the run had never stopped. A finished run
            returns at once.
        sinks: Called with every event (see ``guerdon.run.sinks``).
        progress: Show a progress bar with reward, KL and time left.

    Raises:
        PlanError: where the parts do not fit together; nothing has been written then.
        RunError: where the run cannot go on; its last checkpoint is intact.
    """
    check_plan(plan)
    folder = Path(out) if out is not None else None
    if folder is not None and not resume_run and (folder / "events.jsonl").exists():
        raise RunError(f"{folder} holds a run already; resume it, or choose another name")
    live = Run(plan)
    check_run(live)
    offset = 0
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "plan.yaml").exists():
            plan.save(folder / "plan.yaml")
        offset = resume(live, folder) if resume_run else 0
    with contextlib.ExitStack() as stack:
        stack.callback(live.close)
        if progress:
            from guerdon.run.progress import bar

            sinks = (*sinks, stack.enter_context(bar(plan, live)))
        live.open(folder, offset, sinks)
        if offset == 0:
            live.events.write("start", 0, **start_facts(live))
        return _finished(live, loop(live))


def _finished(live: Run, ended: str) -> Result:
    """The best weights put back, the policy saved, the report written."""
    plan, folder = live.plan, live.folder
    best = best_step(live) if plan.evaluation is not None and plan.evaluation.keep_best else None
    if folder is not None:
        if best is not None and best != live.step:
            load_module_state(live.policy, load_state(path_of(folder, best))["modules"]["policy"])
        finish(live, ended, best)
    return Result(live.policy, folder, ended, live.history, live.evaluations)


def finish(live: Run, ended: str, best: int | None) -> None:
    """The last event, the saved policy, the reward as far as it learned, and the report."""
    folder = live.folder
    assert folder is not None
    live.events.write("end", live.step, reason=ended, best_step=best)
    live.events.sync()
    save = getattr(live.policy, "save", None)
    if save is not None:
        save(folder / "policy", card=card(live, ended))
    for trainer in live.reward_trainers():
        trainer.save(folder / trainer.name, card=card(live, ended))
    from guerdon.audit import write_report

    write_report(folder)


def start_facts(live: Run) -> dict[str, Any]:
    """What a reader needs to know to trust and repeat the run; ``reward`` names what it optimises, weights included."""
    from guerdon.rewards.journal import identity

    parameters = list(live.policy.parameters())
    return {
        "plan": live.plan.to_tree(),
        "hash": live.hash,
        "seed": live.plan.seed,
        "reward": None if live.reward is None else identity(live.reward),
        "held_out": None if live.held_out is None else identity(live.held_out),
        "versions": versions(),
        "references": references_of(live.plan),
        "device": str(parameters[0].device) if parameters else "cpu",
        "parameters": sum(p.numel() for p in parameters),
        "trainable": sum(p.numel() for p in parameters if p.requires_grad),
        "task": live.plan.name,
    }


def versions() -> dict[str, str]:
    """Versions of what decides the numbers."""
    out = {"python": platform.python_version()}
    for package in ("guerdon", "torch", "transformers", "peft", "numpy"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            out[package] = metadata.version(package)
    return out


def card(live: Run, ended: str) -> dict[str, Any]:
    """Facts for the model card."""
    last = live.evaluations[-1]["metrics"] if live.evaluations else live.history[-1] if live.history else {}
    return {
        "plan": live.plan.to_tree(), "hash": live.hash, "seed": live.plan.seed, "steps": live.step, "ended": ended,
        "metrics": last, "references": references_of(live.plan), "versions": versions(),
    }  # fmt: skip


def load_policy(folder: str | Path, step: int | None = None) -> Policy:
    """The policy of a run's checkpoint (the last one, or that of ``step``), rebuilt from its plan."""
    folder = Path(folder)
    steps = steps_of(folder)
    if not steps:
        raise RunError(f"{folder}: no complete checkpoint")
    if step is not None and step not in steps:
        raise RunError(f"{folder}: no checkpoint of step {step}; there are: {', '.join(map(str, steps))}")
    plan = Plan.load(folder / "plan.yaml")
    policy: Policy = plan.policy.build()
    load_module_state(policy, load_state(path_of(folder, steps[-1] if step is None else step))["modules"]["policy"])
    return policy
