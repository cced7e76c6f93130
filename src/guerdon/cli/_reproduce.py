"""``guerdon reproduce``: runs a system's study and writes down what came of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from guerdon.cli._main import INTERNAL, INTERRUPTED, Stop
from guerdon.cli._output import emit, show

EPILOG = "Example: guerdon reproduce par; guerdon reproduce ./mine.py --budget tiny"


def reproduce(
    what: Annotated[str, typer.Argument(metavar="ID", help="A system (guerdon systems lists them), or a file of your own.")],
    budget: Annotated[str, typer.Option(help="tiny (seconds, no verdict), default (minutes), or long (more arms).")] = "default",
    seeds: Annotated[int | None, typer.Option(help="Paired seeds (default: the study's).", min=2, show_default=False)] = None,
    pilot: Annotated[bool, typer.Option("--pilot", help="Look around with pilot seeds; gives no verdict.")] = False,
    workers: Annotated[
        int | None, typer.Option(help="Trials side by side (default: one a core).", min=1, show_default=False)
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for ID.json and ID.svg.", show_default=False)] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget the trials that an interrupted call kept.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The record as one JSON document on stdout.")] = False,
) -> None:
    """Run the study of a published system, or your own, and judge its claim.

    Every arm runs at the same seeds. An expectation is met when the 95 % interval of the paired difference excludes zero and the
    difference is as large as was stated beforehand. Into OUT: reproductions in a checkout of guerdon, else runs/reproduce; what
    can give no verdict, or one of a changed file, has a place of its own there. Exit code 0: a verdict, whichever it is;
    1: trials failed; 2: bad input. Stopped, it goes on when called again.
    """
    from guerdon.cli import _reproducing
    from guerdon.cli._reward import announce
    from guerdon.systems import find

    found = find(what)
    announce([] if found.family else [what], quiet=quiet)
    order = _reproducing.Order(found, found.load(), budget, seeds, pilot, workers, out, fresh, quiet)
    again = " ".join(["guerdon reproduce", what, *order.words()])
    with _going_on(again):
        record, path, picture = _reproducing.carry_out(order)
    if as_json:
        emit(record)
    else:
        _tell(record)
        show(f"\nwrote {path} and {picture}")
    if record["verdict"] is None and any(arm["failed"] for arm in record["arms"].values()):
        raise typer.Exit(INTERNAL)


def register(app: typer.Typer) -> None:
    app.command(epilog=EPILOG)(reproduce)


def _tell(record: dict[str, Any]) -> None:
    """What came of it, for people."""
    from guerdon.cli._study_tables import arms_table, expectation_table
    from guerdon.systems import failures

    show(arms_table(record))
    show("")
    show(expectation_table(record))
    if len(record["arms"]) > 1 and len({str(arm["metrics"]) for arm in record["arms"].values()}) == 1:
        show("all arms measured the same: what sets them apart may not be switched on, or this is too small to show it")
    for line in failures(record):
        show(f"failed: {line}")
    show(f"\n{record['summary']}")


@contextmanager
def _going_on(again: str) -> Iterator[None]:
    """Ctrl-C names the way back."""
    try:
        yield
    except KeyboardInterrupt:
        raise Stop(f"interrupted; the trials that ended are kept; go on with: {again}", INTERRUPTED) from None
