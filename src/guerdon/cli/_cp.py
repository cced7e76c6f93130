"""``guerdon cp``: a system's file, to change it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from guerdon.cli._main import Stop
from guerdon.cli._output import note, show


def cp(
    what: Annotated[str, typer.Argument(metavar="ID", help="A system; guerdon systems lists them.")],
    dest: Annotated[Path | None, typer.Argument(metavar="[DEST]", help="A file, or a folder (default: here).")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Only print where it is.")] = False,
) -> None:
    """Copy a system's one file here, to change and run it: the method, its study and its expectation are in it."""
    from guerdon.systems import find

    found = find(what)
    target = dest or Path()
    if target.is_dir() or (not target.suffix and str(dest).endswith("/")):
        target = target / found.path.name
    if target.suffix != ".py":
        raise Stop(f"{target}: expected a name that ends in .py, or a folder that is there")
    if target.exists() or target.is_symlink():
        raise Stop(f"{target} exists and is not overwritten; choose another name: guerdon cp {what} NAME.py")
    if not target.parent.is_dir():
        raise Stop(f"{target}: there is no folder {target.parent}")
    shutil.copyfile(found.path, target)
    show(str(target))
    note(f"change it, then: guerdon reproduce {spelt(target)} --budget tiny", quiet=quiet)


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: guerdon cp par mine.py; guerdon reproduce ./mine.py")(cp)


def spelt(path: Path) -> str:
    """A path as one writes it on a command line.

    >>> spelt(Path("par.py")), spelt(Path("/tmp/par.py"))
    ('./par.py', '/tmp/par.py')
    """
    return str(path) if path.is_absolute() or path.parts[0] == ".." else f"./{path}"
