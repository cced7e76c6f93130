"""Grids of samples: what is drawn where, files of a run, and the page that shows three of them side by side."""

import base64
import io
import json
import math
import re
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from PIL import Image

from guerdon.audit import read_history, write_report
from guerdon.audit.pictures import frames_of, frames_shown, grid
from guerdon.audit.pictures._png import png_of
from guerdon.audit.report.pictures import TEXT_LIMIT, album_of
from guerdon.core import RewardOutput, recorded
from guerdon.run.pictures import write_pictures


@dataclass(frozen=True, eq=False)
class Edited:
    """What an edit asks for."""

    source: torch.Tensor
    text: str


def image(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def flat(value, side=8, channels=3):
    return torch.full((channels, side, side), float(value))


# ---------------------------------------------------------------- one picture
def test_a_png_of_ours_is_read_as_it_was_written():
    pixels = np.random.default_rng(0).integers(0, 256, (7, 5, 3), dtype=np.uint8)
    assert (image(png_of(pixels)) == pixels).all()


def test_every_cell_is_where_the_grid_says():
    values = np.linspace(-1, 1, 8)
    g = grid([[flat(v)] for v in values])
    whole = image(g.png)
    assert (g.width, g.height, g.columns, g.span, g.gap, g.sharp) == (64, 64, 6, 1, 2, True)  # eight times as large
    assert whole.shape == (2 * 64 + 2, 6 * 64 + 5 * 2, 3)
    for k, v in enumerate(values):
        y, x = divmod(k, 6)
        cell = whole[66 * y : 66 * y + 64, 66 * x : 66 * x + 64]
        assert (cell == round((v + 1) * 127.5)).all()
    assert (whole[:, 64:66] == 255).all()


def test_pictures_are_cut_to_their_range_and_holes_are_grey():
    picture = flat(0.0)
    picture[:, 0, 0], picture[:, 0, 1], picture[:, 0, 2] = 7.0, -7.0, math.nan
    cells = image(grid([[picture]]).png)[0, :24:8]
    assert cells[:, 0].tolist() == [255, 0, 128]


def test_large_pictures_shrink_until_the_file_fits():
    g = torch.Generator().manual_seed(0)
    noise = [[torch.rand(3, 300, 200, generator=g) * 2 - 1] for _ in range(12)]
    small = grid(noise, largest=40_000)
    assert len(small.png) <= 40_000
    assert abs(small.height / small.width - 1.5) < 0.1
    assert not small.sharp
    assert grid([[flat(0, 256)]]).width == 128


def test_a_video_is_a_row_of_its_frames():
    frames = torch.stack([flat(v) for v in np.linspace(-1, 1, 8)])
    g = grid([list(frames)] * 3)
    assert (g.columns, g.span) == (8, 8)
    assert image(g.png).shape[0] == 3 * 64 + 2 * 2
    assert [float(f.mean()) for f in frames_shown(torch.arange(23.0)[:, None, None, None].expand(23, 1, 4, 4))] == [
        0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22]  # fmt: skip


@pytest.mark.parametrize("value", ["a", 3, None, torch.zeros(5), torch.zeros(4, 8, 8), torch.zeros(3, 8, 3), torch.zeros(3, 8, 8).long(),
                                   np.array(["a"]), [[0.0]]])  # fmt: skip
def test_what_is_no_picture(value):
    assert frames_of(value) is None


# ---------------------------------------------------------------- files of a run
def scored(rollout, values):
    ok = torch.tensor([v is not None for v in values])
    reasons = ["" if k else "the oracle hung" for k in ok.tolist()]
    return RewardOutput(torch.tensor([v or 0.0 for v in values]), ok, reasons)


def test_the_first_samples_are_written_with_their_rewards_and_others_steps_go(tmp_path):
    rollout = recorded(["a red disc", "a blue disc", "a red disc"], [flat(-1), flat(0), flat(1.5)])
    for step, keep in ((0, []), (5, [0]), (10, [0, 5]), (15, [0, 5])):
        entry = write_pictures(tmp_path, step, rollout, proxy=scored(rollout, [1.0, None, 2.5]), keep=keep, shown=2)
    assert entry["file"] == "pictures/step-000015.png"
    assert entry["samples"] == [
        {"context": "a red disc", "reward": 1.0, "held_out": None, "reason": ""},
        {"context": "a blue disc", "reward": None, "held_out": None, "reason": "not scored: the oracle hung"},
    ]
    assert sorted(p.name for p in (tmp_path / "pictures").iterdir()) == [f"step-{s:06d}.png" for s in (0, 5, 15)]
    assert entry["beyond"] == 0.0
    assert write_pictures(tmp_path, 20, rollout)["beyond"] == pytest.approx(1 / 3)


def test_edits_show_what_was_to_be_edited(tmp_path):
    rollout = recorded([Edited(flat(-1), "make it white"), Edited(flat(0), "make it black")], [flat(1), flat(-1)])
    entry = write_pictures(tmp_path, 0, rollout)
    assert (entry["source"], entry["span"], entry["samples"][0]["context"]) == (True, 2, "make it white")
    cells = image((tmp_path / entry["file"]).read_bytes())[0, 32::66, 0]
    assert cells.tolist() == [0, 255, 128, 0]


def test_trouble_with_pictures_is_written_down_and_breaks_nothing(tmp_path):
    broken = flat(0)
    broken[0, 0, 0] = math.nan
    entry = write_pictures(tmp_path, 0, recorded(["a", "b", "c"], [broken, "words", flat(0)]))
    assert [s["reason"] for s in entry["samples"]] == ["its values are not finite", "no picture: words", ""]
    assert write_pictures(tmp_path, 0, recorded(["a"], ["words"])) is None
    (tmp_path / "in the way").write_text("x")
    assert write_pictures(tmp_path / "in the way", 0, recorded(["a"], [flat(0)]))["reason"].startswith("not written: ")


# ---------------------------------------------------------------- the page
def run_folder(folder, steps, outputs=None, contexts=("a red disc", "a blue disc"), **change):
    """A run whose evaluations at these steps have grids; (step, best) each."""
    rows = [{"event": "start", "step": 0, "time": 1.0, "plan": {"name": "discs", "steps": 20}, "task": "discs"}]
    for step, best in steps:
        values = [step / 20 - 1, 1 - step / 20] if outputs is None else outputs
        rollout = recorded(list(contexts), [flat(v) if isinstance(v, float) else v for v in values])
        if step:
            rows.append(
                {"event": "draw", "step": step, "time": 2.0 + step, "metrics": {"reward/mean": 0.1 * step, "reward/ok": 1.0}}
            )
        entry = write_pictures(
            folder, step, rollout, proxy=scored(rollout, [0.1 * step] + [1.0] * (len(values) - 1)), keep=range(100)
        )
        rows.append({"event": "pictures", "step": step, "time": 2.0 + step, "best": best, **entry, **change})
        figures = {
            "n": 64.0,
            "proxy/mean": 0.1 * step,
            "proxy/std": 0.1,
            "off_data/outside": 0.045 * step,
            "off_data/ratio": 1 + step / 5,
        }
        rows.append({"event": "eval", "step": step, "time": 2.0 + step, "metrics": figures, "samples": []})
    (folder / "events.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    return folder


STEPS = [(0, True), (5, True), (10, True), (15, False), (20, False)]


def test_the_page_shows_the_first_the_best_and_the_last_side_by_side(tmp_path):
    folder = run_folder(tmp_path, STEPS)
    history = read_history(folder)
    assert [(g.step, g.best) for g in history.grids] == [(0, True), (10, True), (20, False)]
    album = album_of(history, folder)
    assert [[v.when for v in s.views] for s in album.samples] == [["Before training", "Best, draw 10", "Last, draw 20"]] * 2
    assert [v.scores for v in album.samples[0].views] == [(("reward", "0"),), (("reward", "1.00"),), (("reward", "2.00"),)]
    assert "the same captions and noise each time" in album.note
    page = write_report(folder).read_text()
    assert page.count("url(data:image/png;base64,") == 3  # each sheet once; cells are pieces of it
    assert page.count("var(--sheet-") == 6
    assert "a blue disc" in page
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "")
    png = base64.b64decode(re.search(r"base64,([A-Za-z0-9+/=]+)", page)[1])
    assert image(png).shape == (64, 2 * 64 + 2, 3)


def test_a_cell_is_pushed_to_its_place(tmp_path):
    folder = run_folder(tmp_path, [(0, True)], [0.0] * 8, ["a"] * 8)
    (last,) = album_of(read_history(folder), folder).samples[7].views[0].cells
    # the eighth of eight: second line, second of six columns; 394 x 130 pixels in all, cells of 64
    assert f"--at: {100 * 66 / (394 - 64):.4f}% {100 * 66 / (130 - 64):.4f}%" in last
    assert f"--size: {100 * 394 / 64:.3f}% {100 * 130 / 64:.3f}%; --ratio: 64 / 64" in last


def test_the_page_says_that_samples_left_the_data(tmp_path):
    folder = run_folder(tmp_path, STEPS)
    page = write_report(folder).read_text()
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["verdict"]["text"].startswith("The reward rose, and the samples left the data")
    assert {f["check"] for f in summary["findings"]} == {"OffData"}
    assert "90\u00a0% of the samples lie outside the data (0\u00a0% at first)" in page
    assert "Whether it stays with the data" in page
    assert "Every sample could be scored." in page
    assert "a loss of diversity" not in page  # of words


def test_a_run_of_texts_says_nothing_of_pictures(tmp_path, synthetic):
    page = write_report(synthetic.write(tmp_path / "run", "healthy")).read_text()
    for words in ("What it draws", "stays with the data", "samples that leave the data", "become alike"):
        assert words not in page


def test_videos_and_edits_on_the_page(tmp_path):
    frames = torch.stack([flat(v) for v in (-1, 0, 1)])
    album = album_of(read_history(run_folder(tmp_path, [(0, True)], [frames, frames])), tmp_path)
    assert album.frames == 3
    assert [len(v.cells) for s in album.samples for v in s.views] == [3, 3]
    edits = [Edited(flat(-1), "brighter"), Edited(flat(0), "darker")]
    album = album_of(read_history(run_folder(tmp_path, [(0, True)], contexts=edits)), tmp_path)
    assert [(s.context, bool(s.source), len(s.views[0].cells)) for s in album.samples] == [
        ("brighter", True, 1),
        ("darker", True, 1),
    ]


def test_a_resumed_run_forgets_the_grids_it_makes_again(tmp_path):
    folder = run_folder(tmp_path, STEPS[:3])
    with open(folder / "events.jsonl", "a") as f:
        f.write(json.dumps({"event": "start", "step": 5, "time": 99.0}) + "\n")
    assert [g.step for g in read_history(folder).grids] == [0, 5]


def test_missing_and_foreign_files_are_not_shown(tmp_path):
    folder = run_folder(tmp_path, STEPS)
    (folder / "pictures/step-000000.png").write_bytes(b"<svg onload=alert(1)>")
    (folder / "pictures/step-000010.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(TEXT_LIMIT))
    text = (folder / "events.jsonl").read_text().replace("pictures/step-000020.png", "../../secret.png")
    (folder / "events.jsonl").write_text(text)
    album = album_of(read_history(folder), folder)
    assert album.samples == ()
    assert album.note == "There are no pictures to show: the grids are not in the run's folder."
    assert "data:image" not in write_report(folder).read_text()


def test_grids_beyond_the_page_limit_stay_in_the_folder(tmp_path, monkeypatch):
    folder = run_folder(tmp_path, STEPS)
    size = len(base64.b64encode((folder / "pictures/step-000020.png").read_bytes()))
    monkeypatch.setattr("guerdon.audit.report.pictures.TEXT_LIMIT", size + 8)
    album = album_of(read_history(folder), folder)
    assert [v.when for v in album.samples[0].views] == ["Draw 20"]  # the last comes first when room is given away
    assert "would make this page too large" in album.more


def test_hostile_events_do_no_harm(tmp_path):
    folder = run_folder(tmp_path, STEPS)
    bad = {"samples": [{"context": "<script>alert(1)</script>", "reward": "x", "reason": "</div><script>"}, 3], "width": -5, "columns": 1e30,
           "span": "x", "beyond": "nan", "file": "pictures/step-000020.png"}  # fmt: skip
    with open(folder / "events.jsonl", "a") as f:
        for event in (bad, {}, {"samples": "x"}):
            f.write(json.dumps({"event": "pictures", "step": 21, **event}) + "\n")
    page = write_report(folder).read_text()
    assert "<script>" not in page
