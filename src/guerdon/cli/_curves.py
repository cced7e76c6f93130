"""``guerdon curves``: learning curves of several runs in worlds, over seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from guerdon.cli._output import emit, show


def curves(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of runs.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder to write curves.html, .svg and .json into.")] = Path("curves"),
    as_json: Annotated[bool, typer.Option("--json", help="What curves.json holds, on stdout.")] = False,
) -> None:
    """Draw the returns of runs over environment steps.

    Seeds of one plan are one line: their interquartile mean, with a bootstrap band.
    """
    import json

    from guerdon.audit import write_curves
    from guerdon.cli._folder import members

    page = write_curves([m for run in runs for m in members(run)], out)
    found = json.loads(page.with_suffix(".json").read_text(encoding="utf8"))
    if as_json:
        emit({"page": str(page), **found})
        return
    for s in found["settings"]:
        end = s["end"]
        ends = f" ({end['lo']:.4g} to {end['hi']:.4g})" if end["lo"] is not None else ""
        show(f"{s['label']}: {end['iqm']:.4g}{ends}, {end['runs']} seed{'s' if end['runs'] != 1 else ''}")
    show(f"wrote {page}")


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: guerdon curves runs/ppo runs/reinforce --out curves")(curves)
