import json
from pathlib import Path
from types import ModuleType

import pytest

from guerdon.audit import compare, read_history
from guerdon.audit.compare import differing, flat


def test_compare(tmp_path: Path, synthetic: ModuleType) -> None:
    a, b = synthetic.write(tmp_path / "weak", strength=0.2), synthetic.write(tmp_path / "strong", strength=1.0, steps=60)
    c = compare(a, b)
    rows = {r.name: r for r in c.rows}
    ends = [read_history(f).evals[-1].metrics for f in (a, b)]
    reward = rows["reward"]
    assert (reward.a, reward.b) == (ends[0]["proxy/mean"], ends[1]["proxy/mean"])
    assert reward.difference == pytest.approx(reward.b - reward.a)
    assert reward.lo < reward.difference < reward.hi
    assert reward.clear
    assert rows["draws"].difference == -60
    assert rows["KL to the reference"].lo is None
    assert ("steps", "120", "60") in c.plan
    text = str(c)
    for words in ("held-out reward", "95 % interval", "weak", "strong", "steps"):
        assert words in text
    assert json.loads(c.json())["plan"][0]["key"] == "steps"


def test_a_run_compared_with_itself_differs_in_nothing(tmp_path: Path, synthetic: ModuleType) -> None:
    a = synthetic.write(tmp_path / "a")
    c = compare(a, a)
    assert all(r.difference == 0 and not r.clear for r in c.rows)
    assert c.plan == ()


def test_notes_warn_of_unlike_runs(tmp_path: Path, synthetic: ModuleType) -> None:
    a = synthetic.write(tmp_path / "a")
    b = synthetic.write(tmp_path / "b", "running", reward={"use": "rewards.Length"}, evaluation={"samples": 8})
    notes = " ".join(compare(a, b).notes)
    assert "trained on different rewards" in notes
    assert "evaluated differently" in notes
    assert "b has not ended" in notes


def test_markup_in_names_is_text(tmp_path: Path, synthetic: ModuleType) -> None:
    a, b = synthetic.write(tmp_path / "[red]a"), synthetic.write(tmp_path / "b", seed=1, odd="[bold]x[/bold]")
    assert "[red]a" in str(compare(a, b))
    assert "[bold]x[/bold]" in str(compare(a, b))


def test_flat_and_differing() -> None:
    trees = [
        flat({"transforms": ["a.Center", {"use": "a.Clip", "hi": 1}], "seed": 1}),
        flat({"transforms": ["a.Center"], "seed": 1}),
    ]
    assert trees[0] == {"transforms.0": "a.Center", "transforms.1": "a.Clip", "transforms.1.hi": "1", "seed": "1"}
    assert trees[1] == {"transforms.0": "a.Center", "seed": "1"}
    assert differing(trees) == ["transforms.1", "transforms.1.hi"]
    assert flat({"prompts": ["Once", "Twice"]}) == {"prompts": "Once, Twice"}
