"""``guerdon systems``: the published systems there are, and what became of their claims here."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from guerdon.cli._output import emit, show


def systems(
    family: Annotated[str | None, typer.Option(help="Only those of one, such as reward-shaping.", show_default=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """List the published systems: what each is, and whether its claim was reproduced here.

    guerdon show ID tells more of one; guerdon reproduce ID measures it again.
    """
    from guerdon.systems import names

    rows = [_row(name) for name in names(family)]
    emit(rows) if as_json else show(_table(rows))


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: guerdon systems --family reward-shaping")(systems)


def _row(name: str) -> dict[str, Any]:
    from guerdon.systems import find, verdict_record

    found, record = find(name), verdict_record(name) or {}
    system = found.load()
    measured = {key: record.get(key) for key in ("verdict", "metric", "effect", "ci", "summary", "seconds")}
    about = {"id": name, "family": found.family, "year": system.paper.year, "title": system.name, "paper": system.paper.link}
    return {**about, **measured, "path": str(found.path)}


def _table(rows: list[dict[str, Any]]) -> Any:
    from rich.table import Table

    from guerdon.systems import signed

    table = Table(box=None, pad_edge=False, header_style="bold")
    for head in ("system", "family", "year", "what", "verdict", "effect"):
        table.add_column(head, no_wrap=head not in ("what", "effect"))
    for r in rows:
        low, high = r["ci"] or (None, None)
        effect = "" if r["effect"] is None else f"{r['metric']} {signed(r['effect'])} ({signed(low)} to {signed(high)})"
        table.add_row(r["id"], r["family"], str(r["year"]), r["title"], r["verdict"] or "not measured", effect)
    return table
