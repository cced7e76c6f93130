"""The page about feedback files: its table is what the code says, and its examples run."""

from __future__ import annotations

import doctest
import json
from collections import Counter
from pathlib import Path

from guerdon.feedback import read
from guerdon.feedback.readers import FORMATS

PAGE = Path(__file__).resolve().parents[2] / "docs/how-to/feedback-files.md"


def table() -> str:
    """The formats, each with its example row and what becomes of it."""
    lines = ["| format | what it is | a row | becomes |", "|---|---|---|---|"]
    for format in sorted(FORMATS, key=lambda f: f.name):
        counts = Counter(type(r).__name__ for r in read([format.example]))
        becomes = ", ".join(f"{n} `{kind}`" for kind, n in counts.items())
        row = json.dumps(format.example).replace("|", r"\|")
        lines.append(f"| `{format.name}` | {format.about} | `{row}` | {becomes} |")
    return "\n".join(lines)


def test_the_table_is_what_the_code_says() -> None:
    assert table() in PAGE.read_text(encoding="utf8"), f"expected this table:\n{table()}"


def test_the_examples_run(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    failed, tried = doctest.testfile(str(PAGE), module_relative=False, optionflags=doctest.ELLIPSIS)
    assert tried > 5
    assert failed == 0
