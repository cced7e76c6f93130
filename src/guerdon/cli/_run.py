"""What ``train`` does: one run or several seeds, fresh or resumed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from guerdon.cli._folder import held, is_finished, made, members, newest_unfinished, snapshot
from guerdon.cli._main import INTERRUPTED, Stop
from guerdon.cli._output import note, show
from guerdon.cli._reward import announce
from guerdon.core.errors import GuerdonError, PlanError
from guerdon.run import Plan, Result, run
from guerdon.run.checkpoints import steps_of
from guerdon.run.plan import override, read_tree, user_code
from guerdon.run.sinks import make_sink


@dataclass(frozen=True)
class Settings:
    """Options of the command that are not of the plan."""

    out: Path = Path("runs")
    name: str | None = None
    seeds: int = 1
    log: tuple[str, ...] = ()
    yes: bool = False
    quiet: bool = False


def read(plan: Path | None, overrides: Sequence[str], settings: Settings) -> tuple[dict[str, Any], Path]:
    """The plan's tree after all changes, and the folder its relative paths begin in."""
    if plan is None:
        raise Stop("expected a plan: guerdon train PLAN.yaml (guerdon init writes one)")
    if plan.is_dir():
        raise Stop(f"{plan} is a folder; expected a plan such as {plan / 'plan.yaml'}, or --resume {plan}")
    tree = override(read_tree(plan), overrides)
    if settings.name is not None:
        tree["name"] = settings.name
    return tree, plan.resolve().parent


def print_plan(plan: Path | None, overrides: Sequence[str], settings: Settings) -> None:
    """The plan as it would be run, every field written out."""
    import yaml

    tree, beside = read(plan, overrides, settings)
    announce(user_code(tree))
    complete = Plan.from_tree(tree, folder=beside)
    show(yaml.safe_dump(complete.to_tree(full=True), sort_keys=False, allow_unicode=True).rstrip())


def fresh(plan: Path | None, overrides: Sequence[str], settings: Settings) -> list[Result]:
    """A new run, or one for each seed."""
    tree, beside = read(plan, overrides, settings)
    name = str(tree.get("name", "run"))
    if Path(name).name != name or name.startswith("."):
        raise PlanError(f"name: expected a plain folder name, got {name!r}")
    folder = settings.out / name
    if any((f / "events.jsonl").exists() for f in members(folder)):
        state = "holds a finished run" if all(map(is_finished, members(folder))) else "holds a run that was not finished"
        raise Stop(f"{folder} {state}; go on: guerdon train --resume {folder}; or start another: --name {_free(folder)}")
    announce(user_code(tree), quiet=settings.quiet)
    if settings.seeds == 1:
        return [_start(tree, beside, folder, settings)]
    first = int(tree.get("seed", 0))
    return [_start({**tree, "seed": first + k}, beside, folder / f"seed-{k}", settings) for k in range(settings.seeds)]


def resumed(plan: Path | None, overrides: Sequence[str], settings: Settings) -> list[Result]:
    """Go on with a run: the folder given, that of the plan given, or the newest unfinished one."""
    tree: dict[str, Any] | None = None
    if plan is not None and plan.is_dir():
        folder = plan
    elif plan is not None:
        tree, beside = read(plan, overrides, settings)
        folder = settings.out / str(tree.get("name", "run"))
    else:
        folder = settings.out / settings.name if settings.name else newest_unfinished(settings.out)
    if tree is None and overrides:
        raise Stop(f"a resumed run keeps its plan, so {overrides[0]!r} cannot change it; start a new run instead")
    if not any((f / "plan.yaml").exists() for f in members(folder)):
        raise Stop(f"{folder}: no run here to resume")
    results = []
    for member in members(folder):
        if tree is not None:
            seed = {"seed": int(tree.get("seed", 0)) + int(member.name[5:])} if member != folder else {}
            _same_plan({**tree, **seed}, beside, member)
        results.append(_continue(member, settings))
    if tree is not None and members(folder) != [folder]:  # the seeds that were never begun
        first = int(tree.get("seed", 0))
        for k in range(len(results), settings.seeds):
            results.append(_start({**tree, "seed": first + k}, beside, folder / f"seed-{k}", settings))
    return results


def _start(tree: dict[str, Any], beside: Path, folder: Path, settings: Settings) -> Result:
    with made(folder), _resumable(folder):
        tree, copied = snapshot(tree, beside, folder)
        with _own_names(copied, folder):
            plan = Plan.from_tree(tree, folder=folder.resolve())
            _tell_cost(plan, settings)
            return run(plan, folder, sinks=_sinks(settings, folder), progress=not settings.quiet)


def _continue(folder: Path, settings: Settings) -> Result:
    tree = read_tree(folder / "plan.yaml")
    if not is_finished(folder):
        announce(user_code(tree), quiet=settings.quiet)
        note(f"going on with {folder} from step {max(steps_of(folder), default=0)}", quiet=settings.quiet)
    else:
        note(f"{folder} is finished", quiet=settings.quiet)
    with held(folder), _resumable(folder):
        plan = Plan.from_tree(tree, folder=folder.resolve())
        finished = is_finished(folder)
        return run(plan, folder, resume_run=True, sinks=_sinks(settings, folder), progress=not settings.quiet and not finished)


def _same_plan(tree: dict[str, Any], beside: Path, folder: Path) -> None:
    """A plan given beside a run must be the run's own."""
    given, _ = snapshot(tree, beside, folder, copy=False)
    both = (given, read_tree(folder / "plan.yaml"))
    mine, theirs = (Plan.from_tree(t, folder=folder.resolve()).to_tree(full=True) for t in both)
    changed = [k for k in mine if k != "name" and mine[k] != theirs.get(k)]
    if changed:
        way = f"go on as it was: guerdon train --resume {folder}; or take another --name"
        raise Stop(f"{folder} was started with another {changed[0]!r}; {way}")


@contextmanager
def _own_names(copied: Mapping[Path, Path], folder: Path) -> Iterator[None]:
    """Complaints name the user's own files, not the run's copies."""
    try:
        yield
    except GuerdonError as e:
        message = str(e)
        for copy, original in copied.items():
            message = message.replace(str(copy), str(original))
            message = message.replace(str(copy.relative_to(folder.resolve())), original.name)
        raise type(e)(message) from None


@contextmanager
def _resumable(folder: Path) -> Iterator[None]:
    """Ctrl-C names the way back."""
    try:
        yield
    except KeyboardInterrupt:
        way = f"the last checkpoint is intact; resume with: guerdon train --resume {folder}"
        raise Stop(f"interrupted; {way if steps_of(folder) else 'nothing was done yet'}", INTERRUPTED) from None


def _tell_cost(plan: Plan, settings: Settings) -> None:
    from guerdon.run.estimate import estimate

    cost = estimate(plan)
    if cost is not None:
        note(str(cost), quiet=settings.quiet)
        if not settings.yes:
            cost.check()


def _sinks(settings: Settings, folder: Path) -> tuple[Any, ...]:
    return tuple(make_sink(name, run_name=folder.name, folder=folder) for name in settings.log)


def _free(folder: Path) -> str:
    """A name that no run has yet."""
    return next(f"{folder.name}-{k}" for k in range(2, 10_000) if not folder.with_name(f"{folder.name}-{k}").exists())
