"""Files of feedback: every kind of file, real data sets with counts of their own, memory, random rows, writing."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import re
import tempfile
import tracemalloc
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guerdon.core.errors import DataError
from guerdon.core.feedback import Comparison, Critique, Feedback, Ranking, comparisons
from guerdon.feedback import formats, read, write
from guerdon.feedback.json_rows import rows_of_json
from guerdon.feedback.readers import FORMATS

PAIRS = [{"prompt": f"Frage {k}: ä", "chosen": f"good\n{k}", "rejected": f"bad {k}", "level": k % 3} for k in range(700)]


def raw(path: Path) -> list[dict]:
    """Rows of a packed file, read without any of the code under test."""
    with gzip.open(path, "rt", encoding="utf8") as file:
        return [json.loads(line) for line in file]


def expected(rows=PAIRS, info=("level",)):
    return [(r["prompt"], r["chosen"], r["rejected"], {n: r[n] for n in info}) for r in rows]


def got(records):
    return [(c.context, c.first, c.second, dict(c.info)) for c in records]


# ---------------------------------------------------------------- kinds of files
def put(path: Path, rows: list[dict]) -> Path:
    pack = gzip.compress if path.name.endswith(".gz") else bytes
    name = path.name.removesuffix(".gz")
    if name.endswith(".jsonl"):
        path.write_bytes(pack("".join(json.dumps(r) + "\n" for r in rows).encode()))
    elif name.endswith(".json"):
        path.write_bytes(pack(json.dumps(rows, ensure_ascii=False, indent=2).encode()))
    elif name.endswith(".csv"):
        text = io.StringIO()
        writer = csv.DictWriter(text, rows[0])
        writer.writeheader()
        writer.writerows(rows)
        path.write_bytes(pack(text.getvalue().encode()))
    else:
        pa = pytest.importorskip("pyarrow")
        pytest.importorskip("pyarrow.parquet").write_table(pa.Table.from_pylist(rows), path, row_group_size=300)
    return path


@pytest.mark.parametrize("name", ["d.jsonl", "d.jsonl.gz", "d.json", "d.json.gz", "d.csv", "d.csv.gz", "d.parquet"])
def test_every_kind_of_file(tmp_path: Path, name: str) -> None:
    path = put(tmp_path / name, PAIRS)
    records = list(read(str(path)))
    if ".csv" in name:  # where every value is a text
        assert got(records) == [(c, a, b, {"level": str(info["level"])}) for c, a, b, info in expected()]
    else:
        assert got(records) == expected()
    assert len({r.source for r in records}) == 700
    assert all(re.fullmatch(re.escape(name) + r":\d+", r.source) for r in records)
    assert len(list(read(path, limit=5))) == 5
    lines = [int(r.source.rpartition(":")[2]) for r in records[:3]]
    assert lines == {"d.json": [2, 8, 14], "d.csv": [3, 5, 7]}.get(name.removesuffix(".gz"), [1, 2, 3])


def test_json_behind_each_other_is_read_too(tmp_path: Path) -> None:
    path = tmp_path / "d.json"  # JSON lines under another name, and an object over several lines
    path.write_text(json.dumps(PAIRS[0]) + "\n" + json.dumps(PAIRS[1], indent=1) + json.dumps(PAIRS[2]), encoding="utf-8-sig")
    records = list(read(path))
    assert got(records) == expected(PAIRS[:3])
    assert [r.source for r in records] == ["d.json:1", "d.json:2", "d.json:7"]


@pytest.mark.parametrize("chunk", [1, 2, 7, 64, 10**6])
def test_json_is_the_same_however_it_is_cut(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("guerdon.feedback.json_rows.CHUNK", chunk)
    rows = [{"a": [1.5e-3, -2, True, None, 'é\n\\"]}'], "b": {"c": "😀" * k}} for k in range(5)]
    for text in (json.dumps(rows), json.dumps(rows, indent=3, ensure_ascii=False), " \n".join(map(json.dumps, rows))):
        assert [r for _, r in rows_of_json(io.BytesIO(text.encode()), Path("x.json"))] == rows
    for broken, line in (('[{"a": 1}, {"a": tru}]', 1), ('[{"a": 1},\n{"a": "x}]', 2), ('[\n{"a": 1} {"a": 2}]', 2), ("[1]", 1)):
        with pytest.raises(DataError, match=f"^x.json:{line}: "):
            list(rows_of_json(io.BytesIO(broken.encode()), Path("x.json")))


def test_a_row_of_json_without_end_is_not_read_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("guerdon.feedback.json_rows.LONGEST", 1 << 20)
    file = Counting(b'[{"a": "' + b"x" * (1 << 23))
    with pytest.raises(DataError, match=r"^x.json:1: a row longer than 1 MiB$"):
        list(rows_of_json(file, Path("x.json")))
    assert file.count < 1 << 22


def test_data_sets_in_memory_and_on_disk(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    talk = [{"role": "user", "content": "2 + 2?"}]
    rows = [
        {
            "prompt": talk,
            "chosen": [{"role": "assistant", "content": str(k)}],
            "rejected": [{"role": "assistant", "content": "x"}],
        }
        for k in range(20)
    ]
    data = datasets.Dataset.from_list(rows)
    in_memory = list(read(data))
    assert [(c.context, c.first, c.second) for c in in_memory] == [(talk, str(k), "x") for k in range(20)]
    assert in_memory[4].source == "rows:5"
    assert got(read(data.to_iterable_dataset())) == got(in_memory)
    datasets.disable_progress_bars()
    data.select(range(19, -1, -1)).save_to_disk(tmp_path / "saved", num_shards=3)
    on_disk = list(read(tmp_path / "saved"))
    assert got(on_disk) == got(in_memory)[::-1]
    assert on_disk[4].source == "saved:5"
    parts = datasets.DatasetDict(train=data, test=data)
    parts.save_to_disk(tmp_path / "parts")
    with pytest.raises(DataError, match=r"parts: a folder of several parts \(test, train\); read one, such as parts/train"):
        read(tmp_path / "parts")
    assert len(list(read(tmp_path / "parts" / "train"))) == 20
    with pytest.raises(DataError, match=r"got several parts \(train, test\): read one"):
        read(parts)
    (tmp_path / "saved" / "state.json").write_text('{"_data_files": [{"filename": "../../secret"}]}')
    with pytest.raises(DataError, match="names a data file outside of its folder"):
        read(tmp_path / "saved")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    put(tmp_path / "pairs.jsonl", PAIRS)
    for name, message in (
        ("pair.jsonl", "no such file; did you mean 'pairs.jsonl'?"),
        ("no/pairs.jsonl", "no such file; no folder"),
    ):
        with pytest.raises(DataError, match=re.escape(message)):
            read(tmp_path / name)  # at once
    with pytest.raises(DataError, match="expected a file, a folder or a data set, got int"):
        read(7)  # type: ignore[arg-type]
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "nothing.jsonl").write_text('{"output": "a", "spans": []}')
    for name, message in (("empty", "no rows in it"), ("nothing", "no feedback in it")):
        with pytest.raises(DataError, match=rf"{name}.jsonl: {message}"):
            list(read(tmp_path / f"{name}.jsonl"))
    (tmp_path / "late.jsonl").write_text(json.dumps(PAIRS[0]) + '\n\n{"prompt": "a", "chosen": "b"}\n')
    records = read(tmp_path / "late.jsonl")
    assert next(records).context == "Frage 0: ä"
    with pytest.raises(DataError) as caught:
        next(records)
    assert str(caught.value) == f"{tmp_path / 'late.jsonl'}:3: no column 'rejected'; known: chosen, prompt"


def test_values_that_json_does_not_have() -> None:
    numpy = pytest.importorskip("numpy")
    row = {
        "prompt": "q",
        "chosen": "a",
        "rejected": "b",
        "nan": float("nan"),
        "array": numpy.arange(3),
        "when": __import__("datetime").date(2024, 5, 1),
    }
    assert next(read([row])).info == {"nan": None, "array": [0, 1, 2], "when": "2024-05-01"}
    with pytest.raises(DataError, match=r"^rows:1: 'picture' holds bytes"):
        list(read([{**row, "picture": b"x"}]))


# ---------------------------------------------------------------- real data
def test_autoj(shared_data: Path) -> None:
    path = shared_data / "preferences" / "autoj_pairwise_human.jsonl.gz"
    records, rows = list(read(path)), raw(path)
    assert len(records) == len(rows) == 1392
    label = {0: 1.0, 1: 0.0, 2: 0.5}
    assert [(c.context, c.first, c.second, c.label) for c in records] == [
        (r["prompt"], r["response 1"], r["response 2"], label[r["label"]]) for r in rows
    ]
    assert records[7].info == {"scenario": rows[7]["scenario"]}


def test_pandalm(shared_data: Path) -> None:
    path = shared_data / "preferences" / "pandalm_testset_3annotators.jsonl.gz"
    records, rows = list(read(path)), raw(path)
    assert len(rows) == 999
    assert len(records) == 999 * 3
    names, label = ("annotator1", "annotator2", "annotator3"), {0: 0.5, 1: 1.0, 2: 0.0}
    assert [(c.annotator, c.label, c.info["idx"]) for c in records] == [
        (n, label[int(r[n])], r["idx"]) for r in rows for n in names
    ]
    assert [c.first for c in records[::3]] == [str(r["response1"]) for r in rows]  # some are true in the file


def test_hh(shared_data: Path) -> None:
    path = shared_data / "preferences" / "hh_rlhf_harmless_base_test_mild.jsonl.gz"
    records, rows = list(read(path)), raw(path)
    assert len(records) == len(rows) == 579
    for record, row in zip(records, rows, strict=True):
        said = {"user": "Human", "assistant": "Assistant"}
        talk = [f"{said[m['role']]}: {m['content']}" for m in record.context]
        for answer, column in ((record.first, "chosen"), (record.second, "rejected")):
            again = "".join("\n\n" + turn for turn in [*talk, f"Assistant: {answer}"])
            assert again.split() == row[column].split()  # the same but for white space


def test_fine_grained(shared_data: Path) -> None:
    path = shared_data / "preferences" / "fine_grained_rlhf_qa_dev_feedback.jsonl.gz"
    records, rows = list(read(path)), raw(path)
    assert len(rows) == 500
    said = [r["feedback"] for r in rows]
    mended = [r for r in rows if r["feedback"]["corrected-prediction"] not in ("", r["prediction 1"])]
    assert Counter(r.kind for r in records) == {
        "span": sum(len(s["errors"]) for s in said),
        "correction": len(mended),
        "comparison": sum(len(r["preference"]) for r in rows),
    }
    pairs = [c for c in records if isinstance(c, Comparison)]
    assert [c.label for c in pairs] == [{0: 0.5, 1: 1.0, 2: 0.0}[p] for r in rows for p in r["preference"]]
    assert [c.second for c in pairs[2::6]] == [r["prediction 4"] for r in rows]  # the third pair is 1 and 4
    assert len(list(comparisons(records))) == len(pairs) + len(mended)


def test_alpaca_eval(shared_data: Path) -> None:
    path = shared_data / "preferences" / "alpaca_eval_weighted_gpt4_turbo_subset.jsonl.gz"
    records, rows = list(read(path)), raw(path)
    assert len(records) == 2100
    assert [(c.first, c.second) for c in records] == [(r["output_1"], r["output_2"]) for r in rows]
    assert max(abs(c.label + r["preference"] - 2) for c, r in zip(records, rows, strict=True)) < 1e-12
    assert {c.annotator for c in records} == {"weighted_alpaca_eval_gpt4_turbo"}


@pytest.mark.parametrize(
    ("name", "count", "first", "codes"),
    [
        ("llmbar", 419, "output_1", {1: 1.0, 2: 0.0}),
        ("llmbar_processed_faireval_llmeval2_mtbench", 466, "output_1", {1: 1.0, 2: 0.0}),
        ("judgebench_gpt4o", 350, "response_A", {"A>B": 1.0, "B>A": 0.0}),
    ],
)
def test_benchmarks_of_judges(shared_data: Path, name: str, count: int, first: str, codes: dict) -> None:
    path = shared_data / "reward_bench" / f"{name}.jsonl.gz"
    records, rows = list(read(path)), raw(path)
    assert len(records) == count
    assert [(c.first, c.label) for c in records] == [(r[first], codes[r["label"]]) for r in rows]


def test_popquorn(shared_data: Path) -> None:
    path = shared_data / "personalised" / "popquorn_offensiveness_mild.jsonl.gz"
    with pytest.raises(DataError, match=r"popquorn_offensiveness_mild.jsonl.gz:1: no format has the columns"):
        list(read(path))  # which column is the score is not for us to guess
    names = {"output": "text", "scores": "offensiveness", "annotator": "user_id"}
    records, rows = list(read(path, columns=names, scale=(1, 5))), raw(path)
    assert len(records) == len(rows) == 11610
    assert [(r.output, r.scores["offensiveness"], r.annotator) for r in records] == [
        (r["text"], r["offensiveness"], str(r["user_id"])) for r in rows
    ]


# ---------------------------------------------------------------- memory
@pytest.mark.parametrize("name", ["big.jsonl", "big.json", "big.csv", "big.jsonl.gz"])
def test_the_first_record_needs_the_first_row_only(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    long = "x" * 10_000
    rows = [{"prompt": f"q{k}", "chosen": f"a{k}", "rejected": "b", "long": long} for k in range(2000)]  # 20 MB
    put(path, rows)
    del rows
    tracemalloc.start()
    try:
        records = read(path)
        first = next(records)
        at_first = tracemalloc.get_traced_memory()[1]
        count = 1 + sum(1 for _ in records)
        at_last = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (first.context, count) == ("q0", 2000)
    assert at_first < 2**20
    assert at_last < 2 * 2**20


class Counting(io.BytesIO):
    """A file that counts the bytes that were asked of it."""

    count = 0

    def read(self, size: int | None = -1) -> bytes:
        found = super().read(size)
        self.count += len(found)
        return found


def test_a_list_of_json_is_read_row_by_row() -> None:
    file = Counting(json.dumps([{"k": k, "x": "y" * 1000} for k in range(5000)]).encode())
    rows = rows_of_json(file, Path("x.json"))
    assert next(rows)[1]["k"] == 0
    assert file.count < 2**17
    assert sum(1 for _ in rows) == 4999


# ---------------------------------------------------------------- random rows
NAMES = sorted(
    {n for f in FORMATS for n in f.example}
    | {"kind", "margin", "score_chosen", "score_rejected", "annotator", "low", "ranks", "text", "id"}
)
TEXTS = st.sampled_from(
    [
        "",
        "a",
        "4",
        "N/A",
        "tie",
        "A>B",
        "comparison",
        "span",
        "\n\nHuman: a\n\nAssistant: b",
        "\n\nHuman: a\n\nAssistant: c",
        "\ud800",
    ]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 3) | st.just(10**400) | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["role", "content", "start", "end", "label", "errors", "corrected-prediction", "x"]), inner, max_size=4)
    | st.lists(st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant"]), "content": TEXTS}), max_size=3),
    max_leaves=6,
)  # fmt: skip
EXAMPLES = st.sampled_from([dict(f.example) for f in FORMATS])


@st.composite
def rows(draw) -> dict:
    """An example row with some columns changed, left out or added; or any columns at all."""
    row = draw(EXAMPLES) if draw(st.integers(0, 3)) else {}
    row = {n: v for n, v in row.items() if draw(st.integers(0, 9))}
    return row | draw(st.dictionaries(st.sampled_from([*(list(row) * 3), *NAMES]), VALUES, max_size=3))


@given(st.lists(rows(), min_size=1, max_size=3), st.none() | st.none() | st.sampled_from([*formats()]))
@settings(max_examples=600)
def test_rows_become_records_or_one_line(found: list[dict], format: str | None) -> None:
    said = None
    try:
        for record in read(found, format):
            assert isinstance(record, Feedback)
            json.dumps(record.to_record())
            assert record.id
    except DataError as e:
        said = str(e)
    assert said is None or re.fullmatch(r"rows:\d+: .+|rows: no feedback in it", said), said  # "." is no line end


@given(
    st.binary(max_size=200) | st.lists(rows(), max_size=2).map(lambda r: json.dumps(r).encode()[:150]),
    st.sampled_from([".jsonl", ".json", ".csv", ".jsonl.gz", ".json.gz", ".txt"]),
)
@settings(max_examples=150)
def test_bytes_become_records_or_one_line(data: bytes, kind: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "d" + kind)
        path.write_bytes(gzip.compress(data) if kind.endswith(".gz") and len(data) % 2 else data)
        said = None
        try:
            list(read(path))
        except DataError as e:
            said = str(e)
        assert said is None or re.fullmatch(re.escape(str(path)) + ":.+", said), said


# ---------------------------------------------------------------- writing
RECORDS = [
    Comparison(context=[{"role": "user", "content": "ä\ud800"}], first="a\nb", second="", label=0.3, margin=1.0, uids=(2**62, 1), info={"n": None}),
    Ranking(outputs=("a", "b"), ranks=(1, 1), annotator="ann", time=1.5, source="x:1"),
]  # fmt: skip


@pytest.mark.parametrize("name", ["r.jsonl", "r.jsonl.gz"])
def test_what_is_written_is_read_back(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    assert write(iter(RECORDS), path) == 2
    assert list(read(path)) == RECORDS
    assert [r.id for r in read(path)] == [r.id for r in RECORDS]
    before, old = path.read_bytes(), path.open("rb")
    with old:
        assert write(read(path), path) == 2  # a file may be read while it is replaced
        assert path.read_bytes() == before == old.read()
        assert path.stat().st_ino != os.fstat(old.fileno()).st_ino  # another file took its name, at once
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_writing_is_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    write(RECORDS, path)

    def broken():
        yield RECORDS[1]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(broken(), path)
    assert list(read(path)) == RECORDS
    write([Critique(output="a", text="b", info={"x": float("nan")})], tmp_path / "nan.jsonl")  # an empty cell of a table
    assert [c.info for c in read(tmp_path / "nan.jsonl")] == [{"x": None}]
    (tmp_path / "nan.jsonl").unlink()
    assert [p.name for p in tmp_path.iterdir()] == ["r.jsonl"]
    with pytest.raises(DataError, match=r"records are written as .jsonl or .jsonl.gz"):
        write(RECORDS, tmp_path / "r.parquet")
    with pytest.raises(DataError, match="cannot be written"):
        write(RECORDS, tmp_path / "no" / "r.jsonl")
