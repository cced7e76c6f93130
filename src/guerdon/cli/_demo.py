"""``guerdon demo``: the whole loop on an embedded task, from nothing to a report, in minutes on two cores."""

from __future__ import annotations

import shutil
from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from guerdon.cli._main import Stop
from guerdon.cli._output import note, show


def demo(
    out: Annotated[Path, typer.Option(help="Folder of runs; the demo's is OUT/demo.")] = Path("runs"),
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget an earlier demo there and start anew.")] = False,
    steps: Annotated[int | None, typer.Option(help="Fewer or more draws than usual.", min=1)] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The result as one JSON document on stdout.")] = False,
) -> None:
    """Train a tiny language model from nothing, improve it against a reward, and report what changed: minutes on two cores.

    Stopped at any moment, it goes on when called again.
    """
    from guerdon.cli import _folder, _result, _run
    from guerdon.tasks import base_model

    folder = out / "demo"
    if fresh and folder.exists():
        if not (folder / _folder.LOCK).exists():
            raise Stop(f"{folder} is not a run, so it is not removed")
        shutil.rmtree(folder)
    settings = _run.Settings(out, quiet=quiet)
    if (folder / "events.jsonl").exists():
        results = _run.resumed(folder, [], settings)
    else:
        note("1 of 2: a base model for sums such as 47+85= (made once, then kept in the cache)", quiet=quiet)
        base = base_model("arithmetic")
        note("2 of 2: improving it against a reward", quiet=quiet)
        with resources.as_file(resources.files("guerdon.cli") / "demo.yaml") as plan:
            changes = [f"policy.path_or_name={base}", *([] if steps is None else [f"steps={steps}"])]
            results = _run.fresh(plan, changes, settings)
    _result.report(results, as_json=as_json)
    if not as_json:
        show("\nnext:")
        show(f"  open {folder / 'report.html'} in a browser")
        show(f"  guerdon train {folder / 'plan.yaml'} --name bolder --transforms.0.beta=0   # the same without a price on the KL")
        show(f"  guerdon compare {folder} {out / 'bolder'}")
        show("  guerdon init my-project   # your model, your reward")


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: guerdon demo --out runs")(demo)
