"""The commands and their names."""

from __future__ import annotations

import inspect
import re
from typing import Annotated

import typer

from guerdon.cli import (
    _audit,
    _cite,
    _compare,
    _cp,
    _curves,
    _demo,
    _doctor,
    _feedback,
    _fit,
    _frontier,
    _init,
    _reproduce,
    _schema,
    _score,
    _show,
    _systems,
    _train,
)

app = typer.Typer(
    name="guerdon",
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def guerdon(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Turn feedback into rewards you can trust, and improve any generator against them.

    Start with [bold]guerdon demo[/] (the whole loop in minutes) or [bold]guerdon init[/] (your model, your reward).
    """
    if version:
        from guerdon import __version__

        typer.echo(f"guerdon {__version__}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


RUNS = (_demo, _init, _train, _feedback, _fit, _score, _audit, _compare, _frontier, _curves)
STUDIES = (_systems, _show, _cite, _reproduce, _cp)
for module in (*RUNS, *STUDIES, _schema, _doctor):
    module.register(app)


def _unwrap(commands: typer.Typer) -> None:
    """Help is wrapped to the terminal, not to the source: lines that run on are joined, in every command."""
    for command in commands.registered_commands:
        text = inspect.cleandoc(command.help or command.callback.__doc__ or "") if command.callback else ""
        command.help = re.sub(r"(?<=[^\n.:])\n(?=\S)", " ", text)
    for group in commands.registered_groups:
        if group.typer_instance is not None:
            _unwrap(group.typer_instance)


_unwrap(app)
