"""The pages about systems: the complete example runs as it stands there, and what the pages name exists."""

from __future__ import annotations

import ast
import doctest
import re
from pathlib import Path

import pytest

from guerdon.study import Study, run_study
from guerdon.study.worker import module_of
from guerdon.systems import families, find, names

DOCS = Path(__file__).resolve().parents[2] / "docs"
ADD = (DOCS / "how-to/add-a-system.md").read_text(encoding="utf8")
REPRODUCE = (DOCS / "how-to/reproduce-a-claim.md").read_text(encoding="utf8")


def blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page, re.DOTALL)


@pytest.fixture
def example(tmp_path: Path) -> Path:
    (text,) = blocks(ADD)
    path = tmp_path / "leave_one_out.py"
    path.write_text(text, encoding="utf8")
    return path


@pytest.mark.slow
def test_the_example_runs(example: Path, cache_dir: Path) -> None:
    found = find(str(example))
    study = found.load().study
    outcome = run_study(study, budget="tiny", source=found.source, workers=1)
    assert not outcome.failed, outcome.failed[0].reason
    assert outcome.verdict is None and all(len(outcome.values(arm)) == 2 for arm in study.arms)
    with_baseline, without = (outcome.trials[arm][0].traces["gold_curve"] for arm in study.arms)
    assert with_baseline[0] == without[0]  # the same start, and the same stories to judge it by
    assert with_baseline[1:] != without[1:]


def test_what_it_shows_of_the_method_is_true(example: Path) -> None:
    results = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for test in doctest.DocTestFinder().find(module_of(str(example))):
        results.run(test)
    assert results.summarize(verbose=False) == (0, 3)


def test_the_example_is_as_long_as_a_system_should_be(example: Path) -> None:
    text = example.read_text(encoding="utf8")
    assert len(text.splitlines()) <= 120 and max(map(len, text.splitlines())) <= 130
    assert not [
        node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom) and node.level
    ]  # so it can be copied


def test_the_page_names_the_families_there_are() -> None:
    (line,) = [line for line in ADD.splitlines() if line.startswith("The families there are:")]
    assert set(re.findall(r"`([a-z_]+)`", line)) == {family.replace("-", "_") for family in families()}


def test_the_page_on_reproducing_names_what_exists() -> None:
    study = find("par").load().study
    assert isinstance(study, Study)
    assert "par" in names() and all(arm in study.arms for arm in re.findall(r'\.values\("([^"]+)"\)', REPRODUCE))
    for block in blocks(REPRODUCE):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom):
                module = module_of(str(node.module))
                assert all(hasattr(module, alias.name) for alias in node.names), ast.unparse(node)
