import json
from pathlib import Path
from types import ModuleType

import pytest

from guerdon.audit import Point, frontier, write_frontier, write_report
from guerdon.audit.report.frontier import labels_of, on_front
from guerdon.core.errors import DataError, PlanError


@pytest.fixture
def runs(tmp_path: Path, synthetic: ModuleType) -> list[Path]:
    """Three KL weights, two seeds each."""
    out = []
    for beta, strength in ((0.2, 0.2), (0.05, 0.6), (0.0, 2.0)):
        for seed in (0, 1):
            transforms = [{"use": "transforms.TokenKL", "beta": beta}]
            folder = synthetic.write(tmp_path / f"beta-{beta}-{seed}", seed=seed, strength=strength, transforms=transforms)
            rows = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
            rows[0]["plan"] = {**rows[0]["plan"], "seed": seed, "strength": None}
            (folder / "events.jsonl").write_text("\n".join(map(json.dumps, rows)))
            out.append(folder)
    return out


def test_seeds_become_one_point_each_setting(tmp_path: Path, runs: list[Path]) -> None:
    page = write_frontier(runs, tmp_path / "out")
    assert sorted(p.name for p in page.parent.iterdir()) == ["frontier.html", "frontier.json", "frontier.png", "frontier.svg"]
    tree = json.loads((tmp_path / "out" / "frontier.json").read_text())
    assert [p["label"] for p in tree["points"]] == ["before training", "beta 0.2", "beta 0.05", "beta 0.0"]
    free = tree["points"][-1]
    assert free["runs"] == ["beta-0.0-0", "beta-0.0-1"]
    assert free["x"] == pytest.approx(sum(x for x, _ in free["seeds"]) / 2)
    assert (tmp_path / "out" / "frontier.png").read_bytes().startswith(b"\x89PNG")
    assert "<script" not in page.read_text()
    svg = (tmp_path / "out" / "frontier.svg").read_text()
    assert svg.startswith("<svg")
    assert "--policy:" in svg  # its colours come along


def test_a_file_name_is_taken_as_one(tmp_path: Path, runs: list[Path]) -> None:
    page = write_frontier(runs[:2], tmp_path / "deep" / "kl.html", x="kl")
    assert page.name == "kl.html"
    assert json.loads(page.with_suffix(".json").read_text())["less"] is True
    assert "further left is a" in " ".join(page.read_text().split())


def test_the_run_s_report_shows_the_picture(tmp_path: Path, runs: list[Path]) -> None:
    write_frontier(runs, runs[2])
    text = write_report(runs[2]).read_text()
    assert "Where this run stands among others" in text
    assert "setting is the orange one" in text
    (runs[2] / "frontier.json").write_text('{"points": [{"x": 1}, 5]}')
    assert "Where this run stands" not in write_report(runs[2]).read_text()


def test_front_by_hand() -> None:
    points = [Point("a", 1, 3), Point("b", 2, 2), Point("c", 1.5, 1.5), Point("d", 2, 2)]
    assert on_front(points) == [True, True, False, True]  # equal ones do not beat each other
    assert on_front(points, less=True) == [True, False, False, False]


def test_labels_say_what_differs() -> None:
    a, b = {"lr": 1, "kl": 0.1, "seed": 0, "name": "x"}, {"lr": 1, "kl": 0.2, "seed": 1, "name": "y"}
    assert labels_of([a, b], ["x", "y"]) == ["kl 0.1", "kl 0.2"]
    assert labels_of([a, {**a, "seed": 5}], ["x", "y"]) == ["seed 0", "seed 5"]
    assert labels_of([a, a], ["x", "y"]) == ["x", "y"]


def test_bad_input_is_one_clear_line(tmp_path: Path, runs: list[Path], synthetic: ModuleType) -> None:
    with pytest.raises(PlanError, match="unknown quantity 'distinct2'; did you mean 'distinct_2'"):
        write_frontier(runs, tmp_path / "out", x="distinct2")  # type: ignore[arg-type]
    with pytest.raises(PlanError, match="1 labels for 6 runs"):
        write_frontier(runs, tmp_path / "out", labels=["a"])
    with pytest.raises(DataError, match="no such file"):
        write_frontier([tmp_path / "nowhere"], tmp_path / "out")
    empty = synthetic.write(tmp_path / "empty", "empty")
    with pytest.raises(DataError, match="none of the 1 runs has both distinct-2 and reward"):
        write_frontier([empty], tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert frontier([]) == ""
