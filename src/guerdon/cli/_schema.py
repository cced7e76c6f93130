"""``guerdon schema``: the JSON Schema of plan.yaml, for editors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from guerdon.cli._main import Stop
from guerdon.cli._output import note


def schema(out: Annotated[Path | None, typer.Option(help="Write to this file instead of stdout.")] = None) -> None:
    """Print the JSON Schema of plan.yaml: with it, editors complete keys, show what they mean and mark mistakes.

    The first line of a plan names it: # yaml-language-server: $schema=plan.schema.json
    """
    from guerdon.run.schema import plan_schema

    text = json.dumps(plan_schema(), indent=1, ensure_ascii=False) + "\n"
    if out is None:
        typer.echo(text, nl=False)
    else:
        if not out.resolve().parent.is_dir():
            raise Stop(f"{out}: no folder {out.parent} to write it into")
        out.write_text(text, encoding="utf8")
        note(f"wrote {out}")


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: guerdon schema --out plan.schema.json")(schema)
