"""``guerdon audit``: what is wrong with a run or a reward, as a report, a file and an exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from guerdon.cli._main import Stop
from guerdon.cli._output import emit, show

if TYPE_CHECKING:
    from guerdon.cli._audit_reward import Inspected


def audit(
    what: Annotated[str, typer.Argument(metavar="REWARD_OR_RUN", help="Folder of a run, or any reward that score takes.")],
    data: Annotated[list[str] | None, typer.Option(metavar="FEEDBACK", help="Labelled pairs (else the held-out ones).")] = None,
    style: Annotated[str | None, typer.Option("--format", help="Format of these files.")] = None,
    column: Annotated[list[str] | None, typer.Option(metavar="ROLE=NAME", help="A column's name: prompt=question.")] = None,
    subsets: Annotated[list[str] | None, typer.Option(metavar="COLUMN", help="Tell accuracy apart by this column.")] = None,
    limit: Annotated[int | None, typer.Option(help="The first N pairs only.", min=1)] = None,
    no_probes: Annotated[bool, typer.Option("--no-probes", help="Leave out what changes outputs and scores them again.")] = False,
    timeout: Annotated[float | None, typer.Option(help="Seconds before a call counts as hung.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the report (default: the reward's own, or audit).")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="A warning fails, too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The findings as JSON on stdout.")] = False,
) -> None:
    """Look for reward hacking and other trouble in a run, or for weaknesses in a reward.

    A run is judged by its events. A reward is judged by labelled pairs: accuracy, calibration, subsets, and
    what moves the score that should not. Exit code 0: nothing found; 1: an error was found (with --strict: or a warning);
    2: bad input.
    """
    given = {"--data": data, "--format": style, "--column": column, "--subsets": subsets, "--limit": limit, "--timeout": timeout,
             "--no-probes": no_probes, "--out": out}  # fmt: skip
    if is_run(what):
        if wrong := [name for name, value in given.items() if value]:
            raise Stop(f"{wrong[0]} is for rewards, and {what} is a run")
        levels = _runs(Path(what), as_json)
    else:
        from guerdon.cli._audit_reward import audited

        found = audited(what, data or (), style, column or (), subsets or (), limit, not no_probes, timeout, out, quiet)
        levels = _told(found, as_json)
    if "error" in levels or (strict and "warning" in levels):
        raise typer.Exit(1)


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: guerdon audit runs/demo --strict; guerdon audit judge --data labelled.jsonl")(audit)


def is_run(text: str) -> bool:
    """Whether the argument names a run rather than a reward. What is neither is taken for a run that is not there.

    >>> is_run("runs/demo/events.jsonl"), is_run("reward.py:reward"), is_run("hf:org/name")
    (True, False, False)
    """
    from guerdon.cli._reward import is_learned, names_reward

    path = Path(text)
    if path.name == "events.jsonl" or (path / "events.jsonl").exists() or any(path.glob("seed-*/plan.yaml")):
        return True
    return not names_reward(text) and not is_learned(path)


def _told(found: Inspected, as_json: bool) -> list[str]:
    from guerdon.cli._audit_reward import tell

    emit({"folder": str(found.folder), **found.facts}) if as_json else tell(found)
    return [f.level for f in found.audit.findings]


# ---------------------------------------------------------------- a run
def _runs(run: Path, as_json: bool) -> list[str]:
    """Levels of what was found in a run, or in those of several seeds."""
    from guerdon.cli._folder import members

    run = run.parent if run.name == "events.jsonl" else run
    found = {str(folder): examine(folder) for folder in members(run)}
    if as_json:
        several = [{"run": folder, **_short(summary)} for folder, summary in found.items()]
        emit(several[0] if len(several) == 1 else several)
    else:
        for folder, summary in found.items():
            _tell(folder, summary)
    return [f["level"] for summary in found.values() for f in summary["findings"]]


def examine(folder: Path) -> dict[str, Any]:
    """The run's summary; its report and findings.json are written."""
    from guerdon.audit import write_report
    from guerdon.core.files import write_text

    write_report(folder)
    summary: dict[str, Any] = json.loads((folder / "summary.json").read_text(encoding="utf8"))
    write_text(folder / "findings.json", json.dumps(_short(summary), indent=1, ensure_ascii=False) + "\n")
    return summary


def _short(summary: dict[str, Any]) -> dict[str, Any]:
    return {k: summary.get(k) for k in ("name", "state", "verdict", "hacking", "draws", "findings")}


def _tell(folder: str, summary: dict[str, Any]) -> None:
    show(f"{folder}: {summary['verdict']['text']}")
    show(f"  {summary['hacking']['text']}")
    for finding in summary["findings"]:
        at = f" (step {finding['step']})" if finding["step"] is not None else ""
        show(f"  {finding['level']}{at}: {finding['message']} {finding['advice'] or ''}".rstrip())
    if not summary["findings"]:
        show("  no findings")
    show(f"  {folder}/report.html, {folder}/findings.json")
