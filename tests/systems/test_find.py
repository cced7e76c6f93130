"""Systems are files: found by their names, copied, and run as a file of one's own."""

from __future__ import annotations

import ast
import re
import shutil
import sys
from pathlib import Path

import pytest

from guerdon.core.errors import PlanError
from guerdon.study.worker import load
from guerdon.systems import Paper, families, find, get, names

OWN = """
from guerdon.study import Expect, Study
from guerdon.systems import Paper, System

def one(seed, budget): return {"x": 1.0}
def two(seed, budget): return {"x": 2.0}

SYSTEM = System(name="Two", claim="2 > 1", paper=Paper("On Two", ("Doe, Jane",), 2020, url="https://example.org"),
                study=Study({"two": two, "one": one}, "x", [Expect("two", "higher", "one", by=0.5)]))
"""


def test_names_and_families():
    assert names()
    assert families() == sorted({find(n).family for n in names()})
    for family in families():
        assert names(family)
        assert {find(n).family for n in names(family)} == {family}
    assert sorted(n for f in families() for n in names(f)) == names()


def test_wrong_names_get_the_nearest():
    first = names()[0]
    with pytest.raises(PlanError, match=f"no system '{first}x'; did you mean '{first}'"):
        find(f"{first}x")
    with pytest.raises(PlanError, match="no family 'nothing-like-it'; known: "):
        names("nothing-like-it")
    with pytest.raises(PlanError, match=r"none\.py: there is no such file"):
        find("./none.py")
    with pytest.raises(PlanError, match=rf"there is no such file; did you mean '{first}'\?"):
        find(f"{first.replace('-', '_')}x.py")


def test_a_file_of_guerdons_own_is_the_system():
    first = names()[0]
    assert find(str(find(first).path)) == find(first)


def test_a_file_of_ones_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("my_two.py").write_text(OWN)
    found = find("my_two.py")
    assert (found.id, found.family) == ("my-two", "")
    assert found.load().name == "Two"
    assert load(found.source).metric == "x"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("x = 1", r"mine\.py: no SYSTEM in it; expected SYSTEM = System\(\.\.\.\)"),
        ("SYSTEM = 3", r"mine\.py: no SYSTEM in it"),
        ("x = 1\ny = (", r"mine\.py:2: '\(' was never closed"),
        ("x = 1\n\nx / 0", r"mine\.py:3: ZeroDivisionError: division by zero"),
        ("import none_such", r"mine\.py:1: ModuleNotFoundError: No module named 'none_such'"),
        (
            OWN.replace('Expect("two", "higher", "one"', 'Expect("two", "higher", "on"'),
            r"mine\.py:9: Study: no arm 'on'; did you mean",
        ),
    ],
)
def test_what_is_wrong_in_a_file_gets_its_line(tmp_path, text, complaint):
    (tmp_path / "mine.py").write_text(text)
    with pytest.raises(PlanError, match=complaint):
        get(str(tmp_path / "mine.py"))


# ---------------------------------------------------------------- what every system's file must be
@pytest.mark.parametrize("name", names())
def test_a_copy_of_the_file_is_the_same_study(name, tmp_path):
    copy = shutil.copyfile(find(name).path, tmp_path / "copied.py")
    theirs, ours = get(str(copy)), get(name)
    assert theirs.study is not ours.study
    assert (list(theirs.study.arms), theirs.study.expect, theirs.claim) == (list(ours.study.arms), ours.study.expect, ours.claim)
    sys.modules.pop("guerdon_study_copied", None)


@pytest.mark.parametrize("name", names())
def test_the_file_says_what_it_is(name):
    found, system = find(name), get(name)
    tree = ast.parse(found.path.read_text(encoding="utf8"))
    text = ast.get_docstring(tree) or ""
    assert "Reference:" in text
    assert (system.paper.arxiv or system.paper.url) in text, "the docstring names another paper than SYSTEM"
    imports = [n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.level]
    assert not imports, "relative imports: a copy could not be run"
    assert system.claim.strip().endswith(".")
    assert len(system.claim) > 40
    functions = [n.name for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef) and not n.name.startswith("_")]
    assert functions, "no public function: the system itself, for others to import"
    assert all(arm in {*system.study.arms} for e in system.study.expect for arm in (e.arm, e.than))
    assert (found.path.parent / "__init__.py").is_file()


@pytest.mark.parametrize("name", names())
def test_its_entry_can_be_cited(name):
    system = get(name)
    for paper in (system.paper, *system.papers):
        entry = paper.bibtex(name)
        assert entry.startswith(f"@{'inproceedings' if paper.venue else 'misc'}{{{name},\n")
        assert entry.count("{") == entry.count("}")
        assert all("," in author for author in paper.authors), "authors are written 'Family, Given'"
        assert not re.search(r"(?<!\\)[&%#]", entry.replace(paper.link, ""))


def test_what_bibtex_cannot_read_is_escaped():
    entry = Paper("Q&A: 5% of #1_2", ("Doe, Jane",), 2020, url="https://example.org/a_b%20c", venue="A & B").bibtex("k")
    assert r"title = {{Q\&A: 5\% of \#1\_2}}" in entry
    assert r"booktitle = {A \& B}" in entry
    assert "url = {https://example.org/a_b%20c}" in entry


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ({"arxiv": "23.1"}, "'23.1' is no arXiv number"),
        ({"arxiv": ""}, "neither an arXiv number nor a url"),
        ({"year": 3}, "the year is 3"),
        ({"authors": ()}, "there are 0 authors"),
    ],
)
def test_what_is_no_paper(words, complaint):
    with pytest.raises(PlanError, match=complaint):
        Paper(**{"title": "T", "authors": ("Doe, Jane",), "year": 2020, "arxiv": "2001.00001", **words})
