"""``guerdon cite``: entries for a bibliography."""

from __future__ import annotations

from typing import Annotated

import typer

from guerdon.cli._main import Stop
from guerdon.cli._output import emit, show


def cite(
    what: Annotated[list[str] | None, typer.Argument(metavar="ID...", help="Systems; guerdon systems lists them.")] = None,
    guerdon: Annotated[bool, typer.Option("--guerdon", help="Also guerdon itself.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout: key -> entry.")] = False,
) -> None:
    """Print BibTeX entries of the papers behind systems, and of guerdon."""
    if not what and not guerdon:
        raise Stop("expected systems to cite, as in guerdon cite par; or --guerdon")
    entries: dict[str, str] = {}
    for name in what or []:
        from guerdon.cli._reward import announce
        from guerdon.systems import find

        found = find(name)
        announce([] if found.family else [name])
        system = found.load()
        for k, paper in enumerate((system.paper, *system.papers)):
            key = found.id if k == 0 else f"{found.id}-{k + 1}"
            entries[key] = paper.bibtex(key)
    if guerdon:
        entries["guerdon"] = own_entry()
    if as_json:
        emit(entries)
    else:
        show("\n\n".join(entries.values()))


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: guerdon cite par raft --guerdon > papers.bib")(cite)


def own_entry() -> str:
    """Guerdon's own entry; the version says which guerdon it was."""
    from guerdon import __version__

    title = "{guerdon: turn feedback into rewards you can trust, and improve any generator against them}"
    fields = {"title": title, "author": "{The guerdon authors}", "note": f"Version {__version__}"}
    return "@misc{guerdon,\n" + ",\n".join(f"  {name} = {{{value}}}" for name, value in fields.items()) + "\n}"
