"""``guerdon feedback``: what is in a store of feedback, into it, out of it, and erased from it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from guerdon.cli._main import Stop
from guerdon.cli._output import emit, show

if TYPE_CHECKING:
    from guerdon.feedback import Store

group = typer.Typer(rich_markup_mode="rich", no_args_is_help=True)
Place = Annotated[str, typer.Argument(metavar="STORE", help="A file of SQLite, or postgresql://USER:PASSWORD@HOST/DATABASE.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


@group.callback()
def feedback() -> None:
    """Keep feedback in a store: add it, look at it, take it out again, erase what a person said.

    Example: guerdon feedback add feedback.db pairs.jsonl
    """


@group.command(epilog="Example: guerdon feedback add feedback.db pairs.jsonl")
def add(
    place: Place,
    files: Annotated[list[str], typer.Argument(metavar="FEEDBACK...", help="Files of feedback, or other stores.")],
    style: Annotated[str | None, typer.Option("--format", help="Format of the files, where columns do not show it.")] = None,
    column: Annotated[list[str] | None, typer.Option(metavar="ROLE=NAME", help="A column's name: prompt=question.")] = None,
    as_json: AsJson = False,
) -> None:
    """Add feedback to a store; a new store is made. All of it is read and checked before anything is added."""
    from guerdon import feedback
    from guerdon.cli._records import name_of, read_records

    records = read_records(files, style, column or ())
    with feedback.Store(place) as store:
        before = store.count(corrected=True)
        store.add(records)
        added = store.count(corrected=True) - before
    facts = {"store": name_of(place), "read": len(records), "added": added}
    emit(facts) if as_json else show(f"added {added:,} of {len(records):,} records; the others were there already")


@group.command(name="list", epilog="Example: guerdon feedback list feedback.db")
def list_(place: Place, as_json: AsJson = False) -> None:
    """Say what is in a store: records by kind and by annotator."""
    from guerdon.cli._result import table

    with _there(place) as store:
        kinds, people = store.kinds(), store.annotators()
        facts = {"current": store.count(), "replaced": store.count(corrected=True) - store.count(), "kinds": kinds,
                 "annotators": people, "erasures": len(store.erasures())}  # fmt: skip
    if as_json:
        emit(facts)
        return
    show(f"{facts['current']:,} current records, {facts['replaced']:,} corrected or retracted, {facts['erasures']:,} erasures")
    for name, counts in (("kind", kinds), ("annotator", people)):
        if counts:
            show(table((name, "records"), [(k or "(no name)", f"{n:,}") for k, n in counts.items()]))


@group.command(epilog="Example: guerdon feedback export feedback.db pairs.jsonl --kind comparison")
def export(
    place: Place,
    file: Annotated[Path, typer.Argument(help="A new .jsonl or .jsonl.gz, which every command reads.")],
    kind: Annotated[str | None, typer.Option(help="One kind of record only, such as comparison.")] = None,
    annotator: Annotated[str | None, typer.Option(help="What one person said.")] = None,
) -> None:
    """Write the current records of a store to a file."""
    from guerdon import feedback

    if file.exists():
        raise Stop(f"{file} exists and is not overwritten; choose another file")
    with _there(place) as store:
        n = feedback.write(store.read(kind=kind, annotator=annotator), file)
    show(f"wrote {n:,} records to {file}")


@group.command(epilog="Example: guerdon feedback erase feedback.db ann")
def erase(
    place: Place,
    annotator: Annotated[str, typer.Argument(help="Name of the person, as it stands in the records.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Erase all that one person said, for good. Copies elsewhere (exports, backups) are not reached."""
    from guerdon.core.errors import nearest

    with _there(place) as store:
        people = store.annotators(corrected=True)
        if annotator not in people:
            raise Stop(f"nobody named {annotator!r} in this store; {nearest(annotator, [p for p in people if p])}")
        if not yes and not sys.stdin.isatty():
            raise Stop("erasing cannot be undone; say --yes where nobody can be asked")
        if not yes:
            typer.confirm(f"Erase {people[annotator]:,} records of {annotator}? This cannot be undone.", abort=True, err=True)
        erased = store.erase(annotator)
    emit({"erased": erased}) if as_json else show(f"erased {erased:,} records")


def register(app: typer.Typer) -> None:
    app.add_typer(group, name="feedback")


def _there(place: str) -> Store:
    """A store that exists; opening another place would make one."""
    from guerdon import feedback
    from guerdon.cli._records import is_store
    from guerdon.feedback.store.place import read_place

    file = read_place(place).file
    if file is not None and not (file.is_file() and is_store(str(file))):
        raise Stop(f"{place}: no feedback store there; guerdon feedback add {place} FEEDBACK makes one")
    return feedback.Store(place)
