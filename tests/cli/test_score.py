"""``guerdon score``: figures worked out by hand, files read row by row, and one line for every kind of bad input."""

from __future__ import annotations

import csv
import json

import pytest

ROWS = [{"prompt": "1+1=", "output": "2", "answer": "2"}, {"prompt": "1+2=", "output": "4", "answer": "3"},
        {"prompt": "2+2=", "output": "four", "answer": "4"}]  # fmt: skip
REWARD = """
def distance(output, answer):
    return -abs(float(output) - float(answer))

def parts(output):
    return {"long": 0.25 * len(output), "one": 1.0}

def broken(output):
    raise ValueError("planted")

def hangs(output):
    while True:
        pass

def nan(output):
    return float("nan")

def short(completions, **kwargs):
    return [1.0]

def best(completions, prompts, **kwargs):
    return [float(c == max(completions)) for c in completions]
best.scope = "group"
"""


@pytest.fixture
def data(here):
    (here / "reward.py").write_text(REWARD)
    (here / "rows.jsonl").write_text("".join(json.dumps(r) + "\n" for r in ROWS))
    with open(here / "rows.csv", "w", newline="") as f:
        writer = csv.DictWriter(f, ROWS[0])
        writer.writeheader()
        writer.writerows(ROWS)
    return here


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.csv", "rows.parquet"])
def test_every_row_is_scored_or_says_why_not(guerdon, data, name):
    if name.endswith("parquet"):
        pa = pytest.importorskip("pyarrow")
        pytest.importorskip("pyarrow.parquet").write_table(pa.Table.from_pylist(ROWS), data / name)
    said = guerdon("score", "reward.py:distance", name)
    assert said.code == 0, said.err
    rows = [json.loads(line) for line in said.out.splitlines()]
    assert [r["total"] for r in rows] == [0.0, -1.0, None]
    assert [r["ok"] for r in rows] == [True, True, False]
    assert rows[2]["reason"] == "ValueError: could not convert string to float: 'four'"
    assert "this runs your code: reward.py:distance" in said.err
    assert "2 of 3 rows scored: mean -0.5, std 0.5, from -1 to 0" in said.err
    assert "1 failed: ValueError" in said.err


def test_rows_go_to_a_file_and_the_summary_to_stdout(guerdon, data):
    said = guerdon("score", "reward.py:parts", "rows.jsonl", "--out", "scored.jsonl", "--json", "--limit", "2")
    figures = {"mean": 1.25, "std": 0.0, "min": 1.25, "max": 1.25, "parts": {"long": 0.25, "one": 1.0}}
    assert said.json() == {"rows": 2, "ok": 2, **figures, "failures": {}}
    rows = [json.loads(line) for line in (data / "scored.jsonl").read_text().splitlines()]
    assert rows[1] == {"line": 2, "ok": True, "total": 1.25, "parts": {"long": 0.25, "one": 1.0}, "std": None, "reason": ""}
    assert sorted(p.name for p in data.iterdir() if p.name.startswith(".")) == []


@pytest.mark.parametrize("reward", ["{use: rewards.Length, target: 1}", "length.yaml", "plan.yaml", "rewards.Length"])
def test_a_reward_has_four_spellings(guerdon, data, reward):
    (data / "length.yaml").write_text("use: rewards.Length\ntarget: 1\n")
    (data / "plan.yaml").write_text("steps: 3\nreward: {use: rewards.Length, target: 1}\n")
    said = guerdon("score", reward, "rows.jsonl")
    if reward == "rewards.Length":  # needs an argument
        assert "Length" in said.complaint()
    else:
        assert [json.loads(line)["total"] for line in said.out.splitlines()] == [1.0, 1.0, 1.0]


def test_rewards_that_compare_answers_see_whole_groups(guerdon, data):
    rows = [{"prompt": p, "output": o} for p in ("a", "b") for o in ("1", "3", "2")]
    (data / "groups.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    said = guerdon("score", "reward.py:best", "groups.jsonl")
    assert [json.loads(line)["total"] for line in said.out.splitlines()] == [0.0, 1.0, 0.0] * 2
    (data / "mixed.jsonl").write_text("".join(json.dumps(r) + "\n" for r in [*rows, rows[0]]))
    complaint = guerdon("score", "reward.py:best", "mixed.jsonl").complaint()
    assert "mixed.jsonl:7: this reward compares answers to one prompt" in complaint


def test_memory_does_not_grow_with_the_file(guerdon, data, monkeypatch):
    from guerdon.cli import _score
    from guerdon.rewards import Scorer

    sizes = []
    score = Scorer.score
    monkeypatch.setattr(Scorer, "score", lambda self, rollout: sizes.append(len(rollout)) or score(self, rollout))
    (data / "many.jsonl").write_text('{"text": "a b"}\n' * 1000)
    assert guerdon("score", "{use: rewards.Length, target: 2}", "many.jsonl", "--out", "o.jsonl", "--json").json()["mean"] == 1.0
    assert (sum(sizes), max(sizes)) == (1000, _score.CHUNK)


def test_messages_are_read_as_text(guerdon, data):
    row = {"prompt": [{"role": "user", "content": "?"}], "completion": [{"role": "assistant", "content": "a b c"}]}
    (data / "chat.jsonl").write_text(json.dumps(row))
    said = guerdon("score", "{use: rewards.Length, target: 3}", "chat.jsonl")
    assert json.loads(said.out)["total"] == 1.0


@pytest.mark.parametrize(
    ("reward", "reason"),
    [
        ("broken", "ValueError: planted"),
        ("nan", "reward is nan"),
        ("short", "returned 1 rewards for 3 outputs"),
        ("hangs", "timed out after 1 s"),
    ],
)
def test_when_all_rows_fail_the_reason_is_the_message(guerdon, data, reward, reason):
    said = guerdon("score", f"reward.py:{reward}", "rows.jsonl", "--timeout", "1")
    assert said.complaint() == f"guerdon: all 3 rows failed, most with: {reason}"


@pytest.mark.parametrize(
    ("reward", "file", "complaint"),
    [
        ("reward.py:distanc", "rows.jsonl", "did you mean 'distance'?"),
        ("rewrd.py:distance", "rows.jsonl", "no such file; did you mean 'reward.py'?"),
        ("Lenght", "rows.jsonl", "did you mean 'rewards.Length'?"),
        ("{use: rewards.Length, targt: 3}", "rows.jsonl", "unknown key 'targt'; did you mean 'target'?"),
        ("{use: rewards.Length", "rows.jsonl", "not a valid YAML mapping"),
        ("reward.py:parts", "none.jsonl", "none.jsonl: no such file"),
        ("reward.py:parts", "reward.py", "reward.py: unknown kind of file"),
        ("reward.py:parts", "empty.jsonl", "empty.jsonl: no rows in it"),
        ("reward.py:parts", "torn.jsonl", "torn.jsonl:2: not valid JSON"),
        ("reward.py:parts", "list.jsonl", "list.jsonl:1: expected an object per line"),
        ("reward.py:parts", "wrong.jsonl", "wrong.jsonl:1: expected a column output, completion, text or response; it has: outp"),
        ("reward.py:parts", "later.jsonl", "later.jsonl:2: no column 'output'"),
        ("reward.py:parts", "short.csv", "short.csv:3: 1 fields, and the header has 2"),
        ("reward.py:parts", "bad.parquet", "bad.parquet: not a Parquet file"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(guerdon, data, reward, file, complaint):
    files = {
        "empty.jsonl": "\n", "torn.jsonl": '{"output": "a"}\n{"outp', "list.jsonl": "[1]\n", "wrong.jsonl": '{"outp": 1}\n',
        "later.jsonl": '{"output": "a"}\n{"text": "b"}\n', "short.csv": "output,answer\na,b\nc\n", "bad.parquet": "PAR1",
    }  # fmt: skip
    for name, text in files.items():
        (data / name).write_text(text)
    before = sorted(p.name for p in data.iterdir())
    said = guerdon("score", reward, file, "--out", "scored.jsonl")
    assert complaint in said.complaint()
    assert "no folder none" in guerdon("score", "reward.py:parts", "rows.jsonl", "--out", "none/scored.jsonl").complaint()
    assert [n for n in sorted(p.name for p in data.iterdir()) if n != "__pycache__"] == [n for n in before if n != "__pycache__"]
