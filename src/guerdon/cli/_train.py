"""``guerdon train``: a plan becomes a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EPILOG = "Example: guerdon train plan.yaml --steps 50 --learners.policy.optim.lr=1e-4 --name warm"
OPEN = {"allow_extra_args": True, "ignore_unknown_options": True}  # --any.key of the plan


def train(
    words: Annotated[
        list[str] | None, typer.Argument(metavar="PLAN.yaml [--KEY=VALUE]", help="The plan, and changes to it.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of runs.")] = Path("runs"),
    name: Annotated[str | None, typer.Option(help="Name of the run (default: the plan's).")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run given, or the newest unfinished one.")] = False,
    print_plan: Annotated[bool, typer.Option("--print-plan", help="Print the completed plan as YAML; run nothing.")] = False,
    seeds: Annotated[int, typer.Option(help="Repeat with K seeds, one after the other.", min=1, metavar="K")] = 1,
    log: Annotated[list[str] | None, typer.Option(help="Also log to tensorboard, trackio or wandb.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Run even where the memory seems too small.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress, no estimates.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The result as one JSON document on stdout.")] = False,
) -> None:
    """Run a plan into runs/NAME/: events, checkpoints, the policy, a report.

    Every key of the plan is an option: --steps 5, --sampler.n=16, --learners.policy.optim.lr=1e-4.
    Stopped runs go on with --resume, as if they had never stopped.
    """
    from guerdon.cli import _result, _run

    plan, overrides = split(words or [])
    settings = _run.Settings(out, name, seeds, tuple(log or ()), yes, quiet)
    if print_plan:
        _run.print_plan(plan, overrides, settings)
        return
    results = _run.resumed(plan, overrides, settings) if resume else _run.fresh(plan, overrides, settings)
    _result.report(results, as_json=as_json)


def register(app: typer.Typer) -> None:
    app.command(epilog=EPILOG, context_settings=OPEN)(train)


def split(words: list[str]) -> tuple[Path | None, list[str]]:
    """The plan (or run) and the overrides among the words of the command line; ``--steps 5`` is ``--steps=5``.

    >>> split(["plan.yaml", "--steps", "5", "--stop.kl=9", "seed=1"])
    (PosixPath('plan.yaml'), ['steps=5', 'stop.kl=9', 'seed=1'])
    """
    from guerdon.cli._main import Stop

    plan: Path | None = None
    overrides: list[str] = []
    rest = iter(words)
    for word in rest:
        if word.startswith("-"):
            key, sign, value = word.lstrip("-").partition("=")
            if not sign:
                following = next(rest, None)
                if following is None:
                    raise Stop(f"{word}: expected a value, as in {word}=VALUE")
                value = following
            overrides.append(f"{key}={value}")
        elif "=" in word and not Path(word).exists():
            overrides.append(word)
        elif plan is None:
            plan = Path(word)
        else:
            raise Stop(f"unexpected {word!r}: one plan at a time, and changes as --key=value")
    return plan, overrides
