"""The generated pages of the systems: what is in the files and the records is on them, and nothing else."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import guerdon.systems
from guerdon.study import run_study
from guerdon.systems import Found, names, record_of

exceptions = pytest.importorskip("mkdocs.exceptions")
SCRIPT = Path(__file__).resolve().parents[1] / "scripts/docs_catalogue.py"

MINE = r'''
r"""Two is more than one.

With $a_1 | a_2$ as they are.

Reference: Doe.
"""

from guerdon.study import Expect, Study
from guerdon.systems import Paper, System


def _two(seed, budget):
    """Counts to two."""
    return {"x_1": seed % 7 + 2.0, "draws": [0, 1], "curve": [0, 2]}


def _one(seed, budget):
    return {"x_1": seed % 7 + 1.0, "draws": [0, 1], "curve": [0, 1]}


SYSTEM = System(
    name="Two *stars*", claim="Two | one, by $1.", paper=Paper("On Two", ("Doe, Jane",), 2023, "2301.00001"), tried="Counting to three.",
    study=Study({"two": _two, "one": _one}, "x_1", [Expect("two", "higher", "one", by=0.5)], seeds=3, traces=["draws", "curve"]),
)
'''  # fmt: skip


@pytest.fixture
def catalogue(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_catalogue", SCRIPT)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "docs_catalogue", module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Found:
    """The only system there is."""
    path = tmp_path / "counting/mine.py"
    path.parent.mkdir()
    path.write_text(MINE)
    found = Found("mine", "", path)
    monkeypatch.setattr(guerdon.systems, "families", lambda: ["big-counting"])
    monkeypatch.setattr(guerdon.systems, "names", lambda family=None: ["mine"])
    monkeypatch.setattr(guerdon.systems, "find", lambda name: found)
    return found


def recorded(found: Found, folder: Path, **changes: Any) -> Path:
    """A real record of it; a million seeds' worth of processor time this is not."""
    system = found.load()
    record = {**record_of(found, system, run_study(system.study)), "commit": "0123456789abcdef-dirty", **changes}
    folder.mkdir(exist_ok=True)
    (folder / f"{found.id}.json").write_text(json.dumps(record))
    return folder


def test_every_system_has_a_page_and_a_row_without_any_record(catalogue: ModuleType, tmp_path: Path) -> None:
    pages = catalogue.pages(tmp_path / "nothing")
    assert set(pages) == {"systems/index.md", *(f"systems/{name}.md" for name in names())}
    index = pages["systems/index.md"]
    assert all(f"]({name}.md)<br>`{name}` |" in index for name in names())
    assert f"{len(names())} systems: {len(names())} not measured." in index


def test_a_measured_one(catalogue: ModuleType, mine: Found, tmp_path: Path) -> None:
    pages = catalogue.pages(recorded(mine, tmp_path / "reproductions"))
    index, page = pages["systems/index.md"], pages["systems/mine.md"]
    assert "1 system: 1 reproduced." in index and "## Big counting" in index
    (row,) = [line for line in index.splitlines() if "mine.md" in line]
    assert row.count(" | ") == 3  # four cells, for the bar in the claim is escaped
    assert (
        r"[Two \*stars\*](mine.md)" in row
        and r"Two \| one, by \$1." in row
        and r"two higher than one by at least 0.5: **+1.00 (1.00 to 1.00)**" in row
    )
    assert b"<svg" in pages["systems/mine.svg"]
    assert "With $a_1 | a_2$ as they are." in page and "Reference: Doe" not in page.split("## The file")[0]
    # Seeds 1000 to 1002 leave 6, 0 and 1 when divided by 7: two counts to 8, 2, 3, so mean 13/3, t 4.3027, deviation 3.2146.
    assert "| **two**<br>Counts to two. | 4.333 ± 7.985 |" in page
    assert "Counting to three." in page and "1000 to 1002" in page and "`0123456789` with changes" in page
    assert "labels of the arms exchanged: not reproduced" in page
    assert "    SYSTEM = System(" in page and "@misc{mine," in page


def test_the_committed_picture_is_shown(catalogue: ModuleType, mine: Found, tmp_path: Path) -> None:
    folder = recorded(mine, tmp_path / "reproductions")
    (folder / "mine.svg").write_text("<svg>as it was</svg>")
    assert catalogue.pages(folder)["systems/mine.svg"] == b"<svg>as it was</svg>"


def test_a_verdict_does_not_outlive_its_expectation(catalogue: ModuleType, mine: Found, tmp_path: Path) -> None:
    folder = recorded(mine, tmp_path / "reproductions")
    mine.path.write_text(MINE.replace("by=0.5", "by=5.0"))
    pages = catalogue.pages(folder)
    assert "1 system: 1 expectation changed." in pages["systems/index.md"]
    assert "The expectation in the file is another one now" in pages["systems/mine.md"]


def test_a_record_without_verdict(catalogue: ModuleType, mine: Found, tmp_path: Path) -> None:
    folder = recorded(mine, tmp_path / "reproductions", verdict=None, swapped=None)
    tree = json.loads((folder / "mine.json").read_text())
    for e in tree["expectation"]:
        e.update(verdict=None, effect=None, ci=None)
    tree["arms"]["one"].update(metrics={"x_1": [1.0, None, 2.0]}, failed=["seed 1001: ValueError: no"])
    (folder / "mine.json").write_text(json.dumps(tree))
    pages = catalogue.pages(folder)
    assert "1 system: 1 no verdict." in pages["systems/index.md"]
    assert "1 failed: seed 1001: ValueError: no" in pages["systems/mine.md"]


def test_what_cannot_be_read_is_named(catalogue: ModuleType, mine: Found, tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text("[]")
    with pytest.raises(exceptions.PluginError, match=r"mine\.json: not a record"):
        catalogue.pages(tmp_path)
    mine.path.write_text("1 / 0")
    with pytest.raises(exceptions.PluginError, match=r"mine\.py.*division by zero"):
        catalogue.pages(tmp_path)


def test_the_pages_stand_before_the_api(catalogue: ModuleType, mine: Found) -> None:
    class Config:
        nav = [{"Home": "index.md"}, {"How to": []}, {"API": []}]  # noqa: RUF012

    nav = catalogue.on_config(Config()).nav
    assert nav[2] == {"Systems": ["systems/index.md", {"Big counting": ["systems/mine.md"]}]}
    assert "API" in nav[3]
