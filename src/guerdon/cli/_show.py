"""``guerdon show``: a system's claim, how it is measured, and what was found."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from guerdon.cli._cp import spelt
from guerdon.cli._output import emit, show


def show_system(
    what: Annotated[str, typer.Argument(metavar="ID", help="A system (guerdon systems lists them), or a file of your own.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Show a system: its claim, the paper, what was expected and what was measured, and where its code is."""
    facts = facts_of(what)
    emit(facts) if as_json else _tell(facts)


def register(app: typer.Typer) -> None:
    app.command("show", epilog="Example: guerdon show par")(show_system)


def facts_of(what: str) -> dict[str, Any]:
    """Everything that ``show`` knows of a system."""
    from guerdon.cli._reward import announce
    from guerdon.systems import about_arm, find, paper_tree, verdict_record

    found = find(what)
    announce([] if found.family else [what])
    system = found.load()
    study = system.study
    record = verdict_record(found.id) if found.family else None
    return {
        "id": found.id, "family": found.family, "title": system.name, "claim": system.claim,
        "paper": paper_tree(system.paper), "papers": [paper_tree(p) for p in system.papers],
        "metric": study.metric, "seeds": study.seeds, "expectation": [str(e) for e in study.expect],
        "arms": {name: about_arm(arm) for name, arm in study.arms.items()},
        "long_arms": {name: about_arm(arm) for name, arm in study.long_arms.items()},
        "tune": {name: list(values) for name, values in study.tune.items()},
        "path": str(found.path), "tried": system.tried, "record": record,
    }  # fmt: skip


def _tell(facts: Mapping[str, Any]) -> None:
    """All of it, for people."""
    from guerdon.cli._study_tables import arms_table, expectation_table

    record = facts["record"]
    show(f"{facts['id']}: {facts['title']}" + (f"  ({facts['family']})" if facts["family"] else ""))
    for paper in (facts["paper"], *facts["papers"]):
        show(f"  {paper['title']}. {_people(paper['authors'])}, {paper['year']}. {paper['link']}")
    show(f"\nclaim     {facts['claim']}")
    show(f"expected  {'; '.join(facts['expectation'])}")
    show(f"          metric {facts['metric']}, {facts['seeds']} paired seeds" + _tuning(facts["tune"]))
    show("\narms" if record is None else "\nmeasured")
    show(_arms(facts) if record is None else arms_table(record))
    if facts["long_arms"]:
        show(f"with --budget long also: {'; '.join(facts['long_arms'])}")
    if record is None:
        again = facts["id"] if facts["family"] else spelt(Path(facts["path"]))
        show(f"\nverdict   not measured yet: guerdon reproduce {again}")
    else:
        show("")
        show(expectation_table(record))
        facts_of_run = [f"{record['seconds'] / 60:.1f} minutes", f"with the labels exchanged: {record['swapped']}"]
        show(f"\nverdict   {record['verdict']}  ({'; '.join(facts_of_run + [record['commit'][:12]] * bool(record['commit']))})")
    if tried := facts["tried"] or (record or {}).get("tried"):
        show(f"tried     {tried}")
    show(f"code      {facts['path']}")


def _people(authors: list[str]) -> str:
    """Family names; from the fourth author on, those of the others are left out.

    >>> _people(["Doe, Jane", "Roe, Richard"]), _people(["A, B", "C, D", "E, F", "G, H"])
    ('Doe, Roe', 'A et al.')
    """
    family = [a.partition(",")[0] for a in authors]
    return ", ".join(family) if len(family) < 4 else f"{family[0]} et al."


def _tuning(tune: Mapping[str, list[Any]]) -> str:
    return "".join(f"; {name} tuned over {', '.join(map(str, values))} for every arm" for name, values in tune.items())


def _arms(facts: Mapping[str, Any]) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, show_header=False)
    for name, about in facts["arms"].items():
        table.add_row(f"  {name}", about)
    return table
