"""Frame strips: episodes acted again, small pictures, and a page that shows them or says why not."""

import base64
import io
import json
import re
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from PIL import Image

from guerdon.audit import write_report
from guerdon.audit.events import read_history
from guerdon.audit.replay import film, films, spread
from guerdon.audit.report.frames import TEXT_LIMIT, strips_of
from guerdon.audit.strips import LARGEST, strip
from guerdon.core import Box, Discrete, Rollout
from guerdon.core.world import Episode, Start, Stepped
from guerdon.run.frames import write_frames


@dataclass(frozen=True)
class Counter:
    """A world that counts up from its seed; a picture's colour is its state. ``trouble`` says what goes wrong."""

    trouble: str = ""
    height: int = 40
    observation = Box((1,))
    action = Discrete(2)

    def open(self, n):
        if self.trouble == "open":
            raise RuntimeError("no display\nsecond line")
        return OpenCounter(self, n)


class OpenCounter:
    def __init__(self, spec, n):
        self.spec, self.n, self.state = spec, n, torch.zeros(n, 1)

    def reset(self, slots, seeds):
        self.state[slots] = seeds.float()[:, None]
        return self.state[slots].clone(), ["broken" if self.spec.trouble == "reset" else ""] * len(slots)

    def step(self, slots, actions):
        self.state[slots] += actions[:, None].float() * (1.5 if self.spec.trouble == "other" else 1.0)
        none = torch.zeros(len(slots), dtype=torch.bool)
        why = "gone" if self.spec.trouble == "step" else ""
        return Stepped(self.state[slots].clone(), torch.ones(len(slots), dtype=torch.double), none, none, [why] * len(slots))

    def render(self, slot):
        if self.spec.trouble == "render":
            raise OSError("no GL")
        if self.spec.trouble == "blind":
            return None
        picture = np.zeros((self.spec.height, 60, 3), np.uint8)
        picture[..., 0] = int(self.state[slot, 0]) * 10
        return picture.astype(float) if self.spec.trouble == "floats" else picture

    def snapshot(self, slots):
        return None

    def restore(self, slots, states):
        return [""] * len(slots)

    def close(self):
        if self.spec.trouble == "close":
            raise RuntimeError("cannot be closed")


def episode(seed, steps=7):
    return Episode(torch.arange(seed, seed + steps + 1)[:, None].float(), torch.ones(steps, dtype=torch.long), torch.ones(steps))


# ---------------------------------------------------------------- acting again
def test_the_pictures_are_those_of_the_recorded_states():
    found = film(Start(Counter(), 3), episode(3, steps=20), frames=5)
    assert found.at == (0, 5, 10, 15, 20)
    assert [int(p[0, 0, 0]) for p in found.pictures] == [30, 80, 130, 180, 230]  # ten times the state, which began at 3
    assert found.reason == ""


def test_short_episodes_have_fewer_pictures():
    assert spread(0, 8) == (0,)
    assert film(Start(Counter(), 3), episode(3, steps=2)).at == (0, 1, 2)


@pytest.mark.parametrize(("trouble", "reason"), [
    ("open", "rendering raised RuntimeError: no display"),
    ("reset", "the world did not begin again: broken"),
    ("step", "acted again, the world broke at step 0: gone"),
    ("other", "acted again from its seed, the episode parts from the recorded one at step 1"),
    ("render", "rendering raised OSError: no GL"),
    ("blind", "the world has no pictures"),
    ("floats", "a picture is float64 of shape (40, 60, 3), expected uint8 [H, W, 3], all of one size"),
    ("close", ""),
])  # fmt: skip
def test_whatever_goes_wrong_is_a_reason(trouble, reason):
    found = film(Start(Counter(trouble), 3), episode(3))
    assert found.reason == reason
    assert bool(found.pictures) == (not reason)


def test_another_world_is_noticed():
    found = film(Start(Counter(), 4), episode(3))
    assert found.reason.endswith("at step 0")


# ---------------------------------------------------------------- one small picture
def test_a_strip_is_all_pictures_in_a_row():
    pictures = [np.full((40, 60, 3), 30 * k, np.uint8) for k in range(8)]
    png, width, height = strip(pictures)
    image = Image.open(io.BytesIO(png)).convert("RGB")
    assert (image.size, width, height) == ((480, 40), 60, 40)  # small enough: nothing was scaled
    assert [image.getpixel((60 * k + 30, 20))[0] for k in range(8)] == [30 * k for k in range(8)]


def test_a_strip_of_noise_is_made_small_enough():
    noise = np.random.default_rng(0).integers(0, 256, (8, 400, 600, 3), dtype=np.uint8)
    png, width, height = strip(list(noise))
    assert len(png) <= LARGEST
    assert 32 <= width <= 160
    assert abs(width / height - 1.5) < 0.05


def test_large_pictures_are_scaled_down():
    assert strip([np.zeros((480, 480, 3), np.uint8)] * 8)[1:] == (160, 160)


# ---------------------------------------------------------------- files of a run
def rollout(world, seeds, steps=7):
    rows = len(seeds)
    return Rollout(
        contexts=[Start(world, s) for s in seeds], outputs=[episode(s, steps) for s in seeds], actions=torch.zeros(rows, steps).long(),
        mask=torch.ones(rows, steps, dtype=torch.bool), group=torch.arange(rows), uid=torch.arange(rows),
    )  # fmt: skip


def test_the_first_episodes_are_written_and_others_steps_files_go(tmp_path):
    for step, keep in ((0, []), (5, [0]), (10, [0, 5]), (15, [0, 5])):
        strips = write_frames(tmp_path, step, rollout(Counter(), [3, 4, 5]), keep)
    assert [(s["file"], s["seed"], s["return"], s["length"], s["ended"]) for s in strips] == [
        ("frames/step-000015-0.png", 3, 7.0, 7, False), ("frames/step-000015-1.png", 4, 7.0, 7, False)]  # fmt: skip
    left = sorted(p.name for p in (tmp_path / "frames").iterdir())
    assert left == [f"step-{s:06d}-{k}.png" for s in (0, 5, 15) for k in (0, 1)]


def test_trouble_with_pictures_is_written_down_and_breaks_nothing(tmp_path):
    strips = write_frames(tmp_path, 0, rollout(Counter("render"), [3]))
    assert strips[0]["reason"] == "rendering raised OSError: no GL"
    assert "file" not in strips[0]
    (tmp_path / "frames").write_text("in the way")
    assert write_frames(tmp_path, 0, rollout(Counter(), [3]))[0]["reason"].startswith("not written: ")


def test_an_environment_that_broke_is_named(tmp_path):
    broken = rollout(Counter(), [3, 4]).replace(info={"failed": ["step raised OSError: gone", ""]})
    assert [s["reason"] for s in write_frames(tmp_path, 0, broken)] == ["the environment broke: step raised OSError: gone", ""]


def test_other_rows_have_no_strips(tmp_path):
    text = Rollout(["q"], ["a"], torch.zeros(1, 1).long(), torch.ones(1, 1, dtype=torch.bool), torch.zeros(1), torch.zeros(1))
    assert write_frames(tmp_path, 0, text) == []


# ---------------------------------------------------------------- the page
def run_folder(tmp_path, strips_at, **change):
    """A run whose evaluations at these steps have strips; (step, best) each."""
    rows = [{"event": "start", "step": 0, "time": 1.0, "plan": {"name": "counter", "steps": 20}, "task": "counter"}]
    for step, best in strips_at:
        if step:
            metrics = {"episode/count": 8.0, "episode/return": float(step), "env/steps": 100.0 * step, "reward/ok": 1.0}
            rows.append({"event": "draw", "step": step, "time": 2.0 + step, "metrics": metrics, "seconds": {"sample": 1.0}})
        strips = write_frames(tmp_path, step, rollout(Counter(**change), [3, 4]), range(100))
        rows.append({"event": "frames", "step": step, "time": 2.0 + step, "best": best, "strips": strips})
        metrics = {
            "episode/count": 8.0,
            "episode/return": float(step),
            "episode/return_std": 1.0,
            "n": 8.0,
            "proxy/mean": float(step),
        }
        rows.append({"event": "eval", "step": step, "time": 2.0 + step, "metrics": metrics, "samples": []})
    (tmp_path / "events.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    return tmp_path


def test_the_page_shows_the_first_the_best_and_the_last(tmp_path):
    folder = run_folder(tmp_path, [(0, True), (5, True), (10, True), (15, False), (20, False)])
    history = read_history(folder)
    assert [(f.step, f.best) for f in history.frames] == [(0, True), (10, True), (20, False)]
    episodes, note = strips_of(history, folder)
    assert [[s.when for s in e.strips] for e in episodes] == [
        ["Before training", "After 10 draws, the best evaluation", "After 20 draws"]] * 2  # fmt: skip
    assert episodes[0].strips[0].facts == "return 7.00, 7 steps, cut off at a limit"
    assert "the same starts each time" in note
    page = write_report(folder).read_text()
    assert page.count("url(data:image/png;base64,") == 6
    assert len(page.encode()) < 400_000
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "")
    png = base64.b64decode(re.search(r"base64,([A-Za-z0-9+/=]+)", page)[1])
    assert Image.open(io.BytesIO(png)).size == (8 * 60, 40)


def test_a_resumed_run_forgets_the_strips_it_makes_again(tmp_path):
    folder = run_folder(tmp_path, [(0, True), (5, True), (10, True)])
    with open(folder / "events.jsonl", "a") as f:
        f.write(json.dumps({"event": "start", "step": 5, "time": 99.0}) + "\n")
    assert [f.step for f in read_history(folder).frames] == [0, 5]


def test_no_pictures_are_said_in_a_sentence(tmp_path):
    folder = run_folder(tmp_path, [(0, True), (5, True)], trouble="blind")
    page = write_report(folder).read_text()
    assert "There are no pictures of episodes: the world has no pictures." in page
    assert "data:image" not in page


def test_missing_and_foreign_files_are_not_shown(tmp_path):
    folder = run_folder(tmp_path, [(0, True), (5, True)])
    (folder / "frames/step-000000-0.png").unlink()
    (folder / "frames/step-000000-1.png").write_bytes(b"<svg onload=alert(1)>")
    (folder / "frames/step-000005-0.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(TEXT_LIMIT))
    text = (folder / "events.jsonl").read_text().replace("frames/step-000005-1.png", "../../secret.png")
    (folder / "events.jsonl").write_text(text)
    episodes, _ = strips_of(read_history(folder), folder)
    assert {s.reason for e in episodes for s in e.strips} == {"its pictures are not in the run's folder"}
    assert "data:image" not in write_report(folder).read_text()


def test_hostile_events_do_no_harm(tmp_path):
    folder = run_folder(tmp_path, [(0, True), (5, True)])
    strips = [
        {
            "file": 7,
            "seed": "x",
            "return": "</div><script>",
            "length": -1,
            "at": ["a", 3, None],
            "reason": "<script>alert(1)</script>",
        }
    ]
    with open(folder / "events.jsonl", "a") as f:
        for bad in (strips, "x", None, [1, None]):
            f.write(json.dumps({"event": "frames", "step": 6, "strips": bad}) + "\n")
    page = write_report(folder).read_text()
    assert "<script>" not in page
    assert "alert(1)" in page  # as text


def test_pictures_beyond_the_page_limit_stay_in_the_folder(tmp_path, monkeypatch):
    folder = run_folder(tmp_path, [(0, True), (5, True), (10, False)])
    monkeypatch.setattr("guerdon.audit.report.frames.TEXT_LIMIT", 700)
    episodes, _ = strips_of(read_history(folder), folder)
    shown = [[bool(s.cells) for s in e.strips] for e in episodes]
    assert shown[0][-1]  # the last comes first when room is given away
    assert not shown[0][1]
    assert "would make this page too large" in episodes[0].strips[1].reason


def test_episodes_of_one_world_are_filmed_in_one(monkeypatch):
    opened = []
    monkeypatch.setattr(Counter, "open", lambda self, n: opened.append(self.height) or OpenCounter(self, n))
    pairs = [(Start(Counter(), 3), episode(3)), (Start(Counter(), 4), episode(4)), (Start(Counter(height=50), 3), episode(3))]
    found = films(pairs)
    assert opened == [40, 50]
    assert [int(f.pictures[0][0, 0, 0]) for f in found] == [30, 40, 30]


def test_one_broken_world_does_not_spoil_the_others():
    pairs = [(Start(Counter("render"), 3), episode(3)), (Start(Counter(), 4), episode(4))]
    assert [f.reason for f in films(pairs)] == ["rendering raised OSError: no GL", ""]
