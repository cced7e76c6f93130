"""``guerdon systems``, ``show``, ``cite`` and ``cp``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from guerdon.study import run_study
from guerdon.systems import _provenance, _verdicts, find, get, names, record_of, write_record

FIRST = names()[0]
FILE = """
from guerdon.study import Expect, Study
from guerdon.systems import Paper, System

def one(seed, budget):
    "One and a little."
    return {"x": 1.0 + 0.01 * (seed % 5)}

def two(seed, budget): return {"x": 2.0 + 0.02 * (seed % 3)}

SYSTEM = System(name="Two against one", claim="2 > 1", paper=Paper("On Two", ("Doe, Jane", "Roe, Richard"), 2020, "2001.00001"),
                study=Study({"two": two, "one": one}, "x", [Expect("two", "higher", "one", by=0.5)], tune={}, seeds=3), tried="nothing")
"""


@pytest.fixture
def measured(here, monkeypatch):
    """A checkout in which the first system has a record: of another study, so that it is quickly made."""
    root = here / "checkout"
    (root / "src/guerdon").mkdir(parents=True)
    (root / "pyproject.toml").touch()
    for module in (_provenance, _verdicts):
        monkeypatch.setattr(module, "PACKAGE", root / "src/guerdon")
    (here / "mine.py").write_text(FILE)
    system = get("mine.py")
    record = record_of(find(FIRST), system, run_study(system.study))
    write_record(record, root / f"reproductions/{FIRST}.json")
    return record


def test_the_list(guerdon, measured):
    rows = guerdon("systems", "--json").json()
    assert [r["id"] for r in rows] == names()
    first = rows[0]
    assert (first["family"], first["verdict"], first["effect"]) == (find(FIRST).family, "reproduced", measured["effect"])
    assert {r["verdict"] for r in rows[1:]} == {None}
    for r in rows:
        system = get(r["id"])
        assert (r["year"], r["title"], r["paper"]) == (system.paper.year, system.name, system.paper.link)
        assert Path(r["path"]).is_file()
    said = " ".join(guerdon("systems").out.split())
    assert "reproduced" in said
    assert "not measured" in said


def test_one_family(guerdon):
    family = find(FIRST).family
    assert [r["id"] for r in guerdon("systems", "--family", family, "--json").json()] == names(family)
    assert (
        guerdon("systems", "--family", "reward-shapin").complaint()
        == "guerdon: no family 'reward-shapin'; did you mean 'reward-shaping'?"
    )


def test_show_what_was_measured(guerdon, measured):
    said = guerdon("show", FIRST)
    assert said.code == 0
    text = " ".join(said.out.split())
    system = get(FIRST)
    for part in (system.name, system.paper.title, system.paper.link, system.claim, str(find(FIRST).path)):
        assert " ".join(part.split()) in text
    assert "reproduced" in text
    assert "One and a little." in text
    assert "tried nothing" in text
    facts = guerdon("show", FIRST, "--json").json()
    assert facts["record"]["effect"] == measured["effect"]
    assert facts["expectation"] == [str(e) for e in system.study.expect]
    assert list(facts["arms"]) == list(system.study.arms)


def test_show_what_was_not(guerdon, measured):
    said = guerdon("show", names()[1])
    assert f"not measured yet: guerdon reproduce {names()[1]}" in said.out
    said = guerdon("show", "mine.py")
    assert "not measured yet: guerdon reproduce ./mine.py" in said.out
    assert said.err == "this runs your code: mine.py\n"


def test_unknown_systems_get_the_nearest(guerdon, here):
    for command in ("show", "cite", "reproduce", "cp"):
        assert guerdon(command, f"{FIRST}z").complaint() == f"guerdon: no system '{FIRST}z'; did you mean {FIRST!r}?"
        assert list(here.iterdir()) == []


def test_a_broken_record_is_named(guerdon, measured, here):
    (here / f"checkout/reproductions/{FIRST}.json").write_text("{")
    assert f"reproductions/{FIRST}.json: not a record of a study" in guerdon("systems").complaint()


def test_cite(guerdon):
    said = guerdon("cite", FIRST, names()[1], "--guerdon")
    assert said.err == ""
    for name in (FIRST, names()[1]):
        assert get(name).paper.bibtex(name) in said.out
    from guerdon import __version__

    assert f"note = {{Version {__version__}}}" in said.out
    assert said.out.count("{") == said.out.count("}")
    entries = guerdon("cite", FIRST, FIRST, "--json").json()
    assert entries[FIRST] == get(FIRST).paper.bibtex(FIRST)
    assert "expected systems to cite" in guerdon("cite").complaint()


@pytest.mark.parametrize(
    ("dest", "file"), [((), None), (("mine.py",), "mine.py"), (("there",), "there/"), (("there/x.py",), "there/x.py")]
)
def test_cp(guerdon, here, dest, file):
    (here / "there").mkdir()
    original = find(FIRST).path
    target = here / (original.name if file is None else f"{file}{original.name}" if file.endswith("/") else file)
    said = guerdon("cp", FIRST, *dest)
    assert said.code == 0
    assert target.read_text() == original.read_text()
    assert (here / said.out.strip()) == target
    assert f"guerdon reproduce ./{target.relative_to(here)}" in said.err
    target.write_text("mine now")
    assert "exists and is not overwritten" in guerdon("cp", FIRST, *dest).complaint()
    assert target.read_text() == "mine now"


@pytest.mark.parametrize(
    ("dest", "complaint"), [("no/x.py", "no/x.py: there is no folder no"), ("x.txt", "x.txt: expected a name that ends in .py")]
)
def test_where_nothing_can_be_copied_to(guerdon, here, dest, complaint):
    assert complaint in guerdon("cp", FIRST, dest).complaint()


def test_every_command_has_help_with_an_example_and_loads_no_torch(guerdon):
    for command in ("systems", "show", "cite", "reproduce", "cp"):
        said = guerdon(command, "--help")
        assert said.code == 0
        assert f"Example: guerdon {command}" in " ".join(said.out.split())
    code = "import sys; from guerdon.cli import main; main(['reproduce', '--help']); print({'torch'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": "100"}
    )
    assert done.stdout.rstrip().endswith("set()")
