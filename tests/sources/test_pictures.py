"""A table that names picture files: read when drawn, checked before."""

from __future__ import annotations

import json

import pytest
import torch
from PIL import Image

from guerdon import objectives, policies, samplers, selection
from guerdon.core import DataError, PlanError, Streams
from guerdon.core.pictures import read_picture
from guerdon.run import AdamW, Pictures, Plan, Train, run


@pytest.fixture
def table(tmp_path):
    """Four captions, each with a better and a worse picture of 6 x 4 pixels."""
    rows = []
    for k in range(4):
        for name, grey in (("good", 200), ("bad", 20)):
            Image.new("RGB", (6, 4), (grey + k, grey, grey)).save(tmp_path / f"{name}-{k}.png")
        rows.append({"prompt": f"picture {k}", "chosen": f"good-{k}.png", "rejected": f"bad-{k}.png", "who": "ann"})
    (tmp_path / "table.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    return tmp_path / "table.jsonl"


def test_rows_have_their_pictures_as_tensors(table):
    source = Pictures(str(table), ("chosen", "rejected"), shuffle=False).open()
    items = source.draw(2, streams=Streams(0))
    assert items.contexts == ["picture 0", "picture 1"]
    assert items.info["who"] == ["ann", "ann"]
    chosen, rejected = items.info["chosen"][1], items.info["rejected"][1]
    assert chosen.shape == (3, 4, 6)
    torch.testing.assert_close(chosen[:, 0, 0], torch.tensor([201.0, 200.0, 200.0]) / 127.5 - 1)
    torch.testing.assert_close(rejected[:, 0, 0], torch.tensor([21.0, 20.0, 20.0]) / 127.5 - 1)


def test_they_are_scaled_cut_and_made_grey(table):
    items = Pictures(str(table), ("chosen",), size=(2, 2), channels=1).open().draw(4, streams=Streams(0))
    assert {tuple(x.shape) for x in items.info["chosen"]} == {(1, 2, 2)}


def test_a_source_goes_on_where_it_was(table):
    source = Pictures(str(table), ("chosen",)).open(3)
    source.draw(3, streams=Streams(0))
    other = Pictures(str(table), ("chosen",)).open(3)
    other.load_state_dict(source.state_dict())
    assert other.draw(2, streams=Streams(1)).contexts == source.draw(2, streams=Streams(1)).contexts


def test_comparisons_of_pictures_train_a_diffusion_model(table, tmp_path):
    policy = policies.Diffusion.of((1, 2, 2), network=policies.DenoiserMLP((16,)), steps=4)
    plan = Plan(
        policy=policy, source=Pictures(str(table), ("chosen", "rejected"), size=(2, 2), channels=1),
        sampler=samplers.Given(("chosen", "rejected"), contexts=4), references={"reference": policies.Frozen()},
        select=(selection.GivenPairs(),), learners={"policy": Train(objectives.DPO(beta=0.5), AdamW(lr=3e-3))},
        steps=60, checks=(),
    )  # fmt: skip
    tree = {**plan.to_tree(), "policy": {"use": "policies.Diffusion.of", "shape": [1, 2, 2]}}
    assert Plan.from_tree(tree).source == plan.source
    gap = [h["displacement/policy.gap"] for h in run(plan).history]
    assert gap[0] == pytest.approx(0.0, abs=1e-6)
    assert sum(gap[-10:]) / 10 > 1.0


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (
            lambda f: (f.parent / "good-2.png").unlink(),
            r"table.jsonl:3: 'chosen' names 'good-2.png', and there is no such file in",
        ),
        (
            lambda f: f.write_text('{"prompt": "a", "chosen": 3}\n'),
            "table.jsonl:1: 'chosen' is '3', expected a file ending in .png",
        ),
        (
            lambda f: f.write_text('{"prompt": "a", "chosn": "x.png"}\n'),
            "table.jsonl:1: no column 'chosen'; did you mean 'chosn'",
        ),
    ],
)
def test_what_is_not_there_is_told_before_the_first_row(table, spoil, said):
    spoil(table)
    with pytest.raises(DataError, match=said):
        Pictures(str(table), ("chosen",)).open()


def test_what_is_no_picture_is_told_when_it_is_read(table):
    (table.parent / "good-0.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"0" * 50)
    with pytest.raises(DataError, match=r"good-0\.png: not a picture that can be read"):
        Pictures(str(table), ("chosen",), shuffle=False).open().draw(1, streams=Streams(0))
    with pytest.raises(DataError, match=r"nothing.png: no such file"):
        read_picture(table.parent / "nothing.png")


def test_pictures_of_two_sizes_need_a_size(table):
    Image.new("RGB", (3, 3)).save(table.parent / "bad-1.png")
    source = Pictures(str(table), ("chosen", "rejected"), shuffle=False).open()
    with pytest.raises(DataError, match=r"bad-1.png: 3 x 3 pixels, and others have 6 x 4: say size="):
        source.draw(2, streams=Streams(0))


def test_settings_that_make_no_sense_are_one_line():
    for how, said in (({"columns": "chosen"}, "must be a list"), ({"channels": 2}, "channels"), ({"size": (0, 3)}, "size")):
        with pytest.raises(PlanError, match=said):
            Pictures("table.csv", **how)
