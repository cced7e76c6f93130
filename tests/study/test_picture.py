"""The picture of a study: what is drawn where, from records with and without a verdict."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from guerdon.study.panels import arms_of, curves_of, paired_panel, trace_panel
from guerdon.study.picture import draw

# Three seeds; the paired differences are 0.4, 0.3 and 0.5.
RECORD: dict[str, Any] = {
    "id": "shaped", "title": "Shaping", "claim": "Shaped rewards are worth $5 & <more>.", "verdict": "reproduced", "metric": "gold",
    "pilot": False, "budget": "default", "seconds": 240.0, "seeds": [1000, 1001, 1002],
    "expectation": [
        {"text": "shaped higher than plain by at least 0.1", "arm": "shaped", "direction": "higher", "than": "plain", "by": 0.1,
         "metric": "gold", "times": 1.0, "verdict": "reproduced", "effect": 0.4, "ci": [0.15, 0.65]},
        {"text": "proxy of shaped lower than plain by at least 1", "arm": "shaped", "direction": "lower", "than": "plain", "by": 1.0,
         "metric": "proxy", "times": 1.0, "verdict": "reproduced", "effect": -2.0, "ci": [-2.5, -1.5]},
    ],
    "arms": {
        "shaped": {"metrics": {"gold": [0.8, 0.7, 0.9], "proxy": [1.0, 1.0, 1.0]}, "failed": [],
                   "traces": {"draws": [[0, 5, 10]] * 3, "gold_curve": [[0.5, 0.7, 0.8], [0.5, 0.6, 0.7], [0.5, 0.8, 0.9]]}},
        "plain": {"metrics": {"gold": [0.4, 0.4, 0.4], "proxy": [3.0, 3.0, 3.0]}, "failed": [],
                  "traces": {"draws": [[0, 5, 10]] * 3, "gold_curve": [[0.5, 0.5, 0.4]] * 3}},
    },
    "traces": ["draws", "gold_curve"], "labels": {"gold": "hidden preference"},
}  # fmt: skip


def record(**changes: Any) -> dict[str, Any]:
    return {**copy.deepcopy(RECORD), **changes}


def words(path: Path) -> str:
    """The text in an SVG, which a reader or a search finds, too."""
    return " | ".join("".join(e.itertext()) for e in ElementTree.parse(path).iter("{http://www.w3.org/2000/svg}text"))


def axes_for(record: dict[str, Any], *, trace: str | None = None) -> Any:
    from matplotlib.figure import Figure

    axes = Figure().add_subplot()
    if trace:
        trace_panel(axes, trace, record, last=True)
    else:
        paired_panel(axes, record, 1.0)
    return axes


def test_it_says_what_was_claimed_measured_and_found(tmp_path: Path) -> None:
    path = draw(record(), tmp_path / "shaped.svg")
    said = words(path)
    assert path.stat().st_size < 60_000
    for part in ("Shaping", "$5 & <more>", "hidden preference", "3 seeds", "default budget, 4 min", "+0.40  (0.15 to 0.65)"):
        assert part in said, part
    assert said.count("reproduced") == 3  # the study's and one of each expectation
    width = re.search(r'width="([\d.]+)pt"', path.read_text())
    assert width and float(width[1]) == pytest.approx(7.2 * 72)
    assert draw(record(), tmp_path / "again.svg").read_bytes() == path.read_bytes()  # no dates, no random names


def test_a_png_where_one_is_asked_for(tmp_path: Path) -> None:
    assert draw(record(), tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_seeds_are_joined_and_means_stand_with_their_interval() -> None:
    axes = axes_for(record())
    lines = [(list(line.get_xdata()), list(line.get_ydata())) for line in axes.get_lines()]
    assert lines[:3] == [([0.8, 0.4], [0, -1]), ([0.7, 0.4], [0, -1]), ([0.9, 0.4], [0, -1])]
    # The mean of 0.8, 0.7, 0.9 is 0.8, their deviation 0.1, and t with two degrees of freedom 4.3027: 0.8 +- 4.3027 * 0.1 / sqrt(3)
    interval = lines[3][0]
    assert interval == pytest.approx([0.8 - 0.24841, 0.8 + 0.24841], abs=1e-4)
    assert [t.get_text() for t in axes.texts if t.get_text()] == ["0.80", "0.40"]


@pytest.mark.parametrize(
    ("changes", "edge", "right"),
    [
        ({}, 0.5, True),  # the mean of plain is 0.4, and 0.1 more is asked for
        ({"direction": "lower"}, 0.3, False),
        ({"by": -0.05}, 0.35, True),  # not lower by more than 0.05
        ({"by": 0.0, "times": 0.5}, 0.2, True),  # at least half of 0.4
    ],
)
def test_the_field_begins_where_the_mean_would_count(changes: dict[str, Any], edge: float, right: bool) -> None:
    changed = record()
    changed["expectation"][0].update(changes)
    axes = axes_for(changed)
    (field,) = axes.collections[-1:]
    xs = field.get_paths()[0].vertices[:, 0]
    low, high = axes.get_xlim()
    assert (xs.min(), xs.max()) == pytest.approx((edge, high) if right else (low, edge))
    assert low < edge < high


def test_an_expectation_of_another_metric_has_no_field() -> None:
    changed = record()
    changed["expectation"] = changed["expectation"][1:]
    assert len(axes_for(changed).collections) == len(axes_for(record()).collections) - 1


def test_the_trace_is_the_mean_and_the_band_reaches_from_the_lowest_to_the_highest() -> None:
    axes = axes_for(record(), trace="gold_curve")
    shaped, plain = axes.get_lines()
    assert list(shaped.get_ydata()) == pytest.approx([0.5, 0.7, 0.8])
    assert list(plain.get_ydata()) == pytest.approx([0.5, 0.5, 0.4])
    ys = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert (ys.min(), ys.max()) == (0.5, 0.9)
    assert shaped.get_color() != plain.get_color() and shaped.get_linestyle() != plain.get_linestyle()


def test_traces_over_another_x_for_each_seed_are_drawn_one_by_one() -> None:
    changed = record()
    changed["arms"]["shaped"]["traces"]["draws"] = [[0, 1, 2], [0, 2, 4], [0, 3, 6]]
    assert len(axes_for(changed, trace="gold_curve").get_lines()) == 3 + 1


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"budget": "tiny"}, "no verdict: tiny budget"),
        ({"pilot": True}, "no verdict: pilot seeds"),
        (
            {"arms": {**RECORD["arms"], "plain": {"metrics": {}, "traces": {}, "failed": ["seed 1000: ValueError"] * 3}}},
            "runs failed",
        ),
    ],
)
def test_without_a_verdict_it_says_why(tmp_path: Path, changes: dict[str, Any], word: str) -> None:
    said = words(draw(record(verdict=None, **changes), tmp_path / "x.svg"))
    assert word in said
    assert "not judged" in said and "reproduced" not in said


def test_what_failed_or_was_not_finite_is_left_out(tmp_path: Path) -> None:
    changed = record(verdict=None)
    changed["arms"]["plain"]["metrics"]["gold"] = [0.4, None, 0.4]
    changed["arms"]["plain"]["traces"]["gold_curve"] = [[0.5, None, 0.4], None, [0.5, 0.5, 0.4]]
    for e in changed["expectation"]:
        e.update(verdict=None, effect=None, ci=None)
    axes = axes_for(changed)
    assert list(axes.get_lines()[1].get_xdata()) == [0.7]  # nothing to join it with
    assert "not judged" in words(draw(changed, tmp_path / "x.svg"))


def test_two_seeds_do_not_fill_the_picture_with_their_interval() -> None:
    changed = record(seeds=[0, 1], expectation=[])
    for arm, values in zip(changed["arms"].values(), ([0.8, 0.7], [0.4, 0.3]), strict=True):
        arm["metrics"]["gold"] = values  # 0.75 +- 12.7 * 0.05
    low, high = axes_for(changed).get_xlim()
    assert high - low < 1.2


def test_nothing_but_zeros_and_an_arm_of_another_metric(tmp_path: Path) -> None:
    changed = record(expectation=[], traces=[])
    for arm in changed["arms"].values():
        arm["metrics"]["gold"] = [0.0, 0.0, 0.0]
    changed["arms"]["base"] = {"metrics": {"other": [1.0]}, "failed": []}
    assert list(arms_of(changed)) == ["shaped", "plain"] and curves_of(changed) == []
    assert "base" not in words(draw(changed, tmp_path / "x.svg"))
