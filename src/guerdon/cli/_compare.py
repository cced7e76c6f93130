"""``guerdon compare``: two runs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from guerdon.cli._output import emit, note, show


def compare(
    first: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.", show_default=False)],
    second: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of another.", show_default=False)],
    out: Annotated[Path | None, typer.Option(help="Also write a page with both: an .html file, or a folder for it.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Set two runs side by side: results with intervals, and where the plans differ."""
    from guerdon import audit

    found = audit.compare(first, second)
    if out is not None:
        note(f"wrote {audit.write_overview({str(first): first, str(second): second}, out)}")
    if as_json:
        emit(found.tree())
        return
    for part in (*found.tables(), *found.notes):
        show(part)


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: guerdon compare runs/demo/unprotected runs/demo/protected --out both.html")(compare)
