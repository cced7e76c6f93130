"""``guerdon audit``: what the checks found in a run, as a report, a file and an exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from guerdon.cli._output import emit, show


def audit(
    run: Annotated[Path, typer.Argument(help="Folder of a run, or its events.jsonl.", show_default=False)],
    strict: Annotated[bool, typer.Option("--strict", help="A warning fails, too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The findings as JSON on stdout.")] = False,
) -> None:
    """Look for reward hacking and other trouble in a run.

    Writes findings.json and report.html into its folder. Exit code 0: nothing found; 1: an error was found (with --strict: or
    a warning); 2: not a run.
    """
    from guerdon.cli._folder import members

    run = run.parent if run.name == "events.jsonl" else run
    found = {str(folder): examine(folder) for folder in members(run)}
    levels = [f["level"] for summary in found.values() for f in summary["findings"]]
    if as_json:
        several = [{"run": folder, **_short(summary)} for folder, summary in found.items()]
        emit(several[0] if len(several) == 1 else several)
    else:
        for folder, summary in found.items():
            _tell(folder, summary)
    if "error" in levels or (strict and "warning" in levels):
        raise typer.Exit(1)


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: guerdon audit runs/demo --strict")(audit)


def examine(folder: Path) -> dict[str, Any]:
    """The run's summary; its report and findings.json are written."""
    from guerdon.audit import write_report
    from guerdon.run.state import write_text

    write_report(folder)
    summary: dict[str, Any] = json.loads((folder / "summary.json").read_text(encoding="utf8"))
    write_text(folder / "findings.json", json.dumps(_short(summary), indent=1, ensure_ascii=False) + "\n")
    return summary


def _short(summary: dict[str, Any]) -> dict[str, Any]:
    return {k: summary.get(k) for k in ("name", "state", "verdict", "draws", "findings")}


def _tell(folder: str, summary: dict[str, Any]) -> None:
    show(f"{folder}: {summary['verdict']['text']}")
    for finding in summary["findings"]:
        at = f" (step {finding['step']})" if finding["step"] is not None else ""
        show(f"  {finding['level']}{at}: {finding['message']} {finding['advice'] or ''}".rstrip())
    if not summary["findings"]:
        show("  no findings")
    show(f"  {folder}/report.html, {folder}/findings.json")
