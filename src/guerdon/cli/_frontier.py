"""``guerdon frontier``: several runs as points of one picture, such as reward against diversity."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from guerdon.cli._output import emit, show


def frontier(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of runs.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder to write frontier.html, .png, .svg and .json into.")] = Path("frontier"),
    x: Annotated[str, typer.Option(help="What is drawn to the right: distinct_2, kl, entropy, length ...")] = "distinct_2",
    y: Annotated[str, typer.Option(help="What is drawn upwards.")] = "reward",
    as_json: Annotated[bool, typer.Option("--json", help="The path of the page as JSON.")] = False,
) -> None:
    """Draw several runs as points: what is gained in reward against what is lost in diversity."""
    from guerdon.audit import write_frontier
    from guerdon.cli._folder import members

    page = write_frontier([m for run in runs for m in members(run)], out, x=x, y=y)  # type: ignore[arg-type]
    emit({"page": str(page)}) if as_json else show(f"wrote {page}")


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: guerdon frontier runs/beta-* --x kl --out frontier")(frontier)
