"""Contexts and recorded answers: formats, orders, resumption, memory, and one clear line for each mistake."""

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from guerdon.core import DataError, PlanError, Streams
from guerdon.core.protocols import Source, Stateful
from guerdon.run.sources import Demonstrations, File, Preferences, Prompts

CHAT = [{"role": "user", "content": "2 + 2?"}]
STREAMS = Streams(3)


def write(path: Path, rows: list[object]) -> str:
    text = "".join(json.dumps(r) + "\n" for r in rows)
    if path.name.endswith(".gz"):
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text, encoding="utf8")
    return str(path)


def all_of(source, streams=STREAMS):
    return source.draw(len(source), streams=streams)


# ---------------------------------------------------------------- orders
def numbers(n: int = 7, **options):
    return Prompts(tuple(str(k) for k in range(n)), {"k": tuple(range(n))}, **options)


def test_an_epoch_has_every_row_once_in_an_order_of_its_own() -> None:
    source = numbers(50).open(seed=1)
    epochs = [all_of(source).info["k"] for _ in range(3)]
    assert all(sorted(e) == list(range(50)) for e in epochs)
    assert len({tuple(e) for e in epochs}) == 3
    expected = Streams(1).fork("epoch", 2)("order").permutation(50).tolist()
    assert epochs[2] == expected
    assert all_of(numbers(50).open(seed=2)).info["k"] != epochs[0]
    assert all_of(numbers(50, shuffle=False).open()).info["k"] == list(range(50))


def test_how_rows_are_drawn_does_not_change_their_order() -> None:
    one, many = numbers().open(4), numbers().open(4)
    together = one.draw(20, streams=STREAMS).contexts  # over two ends of epochs
    apart = [c for n in (1, 6, 8, 2, 3) for c in many.draw(n, streams=STREAMS).contexts]
    assert together == apart


def test_identities_come_from_the_streams() -> None:
    items = numbers().open().draw(5, streams=STREAMS)
    assert torch.equal(items.uid, STREAMS.uids(5))
    assert items.info["k"] == [int(c) for c in items.contexts]


def test_going_on_where_a_run_was_saved() -> None:
    source = numbers().open(9)
    source.draw(17, streams=STREAMS)
    state = json.loads(json.dumps(source.state_dict()))
    again = numbers().open(9)
    again.load_state_dict(state)
    assert again.draw(9, streams=STREAMS).contexts == source.draw(9, streams=STREAMS).contexts
    with pytest.raises(DataError, match="it has 8 rows now, and had 7"):
        numbers(8).open(9).load_state_dict(state)


def test_the_protocols_are_met() -> None:
    running = numbers().open()
    source: Source = running
    assert isinstance(running, Stateful)
    assert len(source.draw(0, streams=STREAMS)) == 0


# ---------------------------------------------------------------- prompts
def test_prompts() -> None:
    spec = Prompts(["plain", CHAT, [5, 6]], {"answer": ["a", "b", "c"]}, shuffle=False)
    items = all_of(spec.open())
    assert items.contexts == ["plain", CHAT, [5, 6]]
    assert items.info == {"answer": ["a", "b", "c"]}
    assert spec == Prompts(("plain", tuple(CHAT), (5, 6)), {"answer": ("a", "b", "c")}, shuffle=False)
    items.contexts[1][0]["content"] = "changed"  # what a run does to its copy stays there
    assert all_of(spec.open()).contexts[1] == CHAT
    assert spec.check() == 3


def test_labels_records_and_nothing_are_contexts_too():
    from guerdon.policies import Fill

    contexts = (3, None, Fill("AC??"))
    assert Prompts(contexts, shuffle=False).open().draw(3, streams=Streams(0)).contexts == list(contexts)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Prompts(()), "at least one prompt"),
        (lambda: Prompts("text"), "at least one prompt"),  # type: ignore[arg-type]
        (lambda: Prompts((3.5,)), "a prompt is a text, a list of messages or a label, got 3.5"),
        (lambda: Prompts(([{"rule": "user"}],)), "'prompt' message 1 has no 'role'"),
        (lambda: Prompts(("a",), {"n": (1, 2)}), "column 'n' has 2 values for 1 prompts"),
        (lambda: File("x.jsonl", limit=0), "File: limit must be at least 1"),
        (lambda: File("x.jsonl", columns="answer"), "columns must be a list"),  # type: ignore[arg-type]
        (lambda: Preferences("x", limit=0), "Preferences: limit must be at least 1"),
        (lambda: Preferences("x", format="hhh"), "Preferences: unknown format 'hhh'; did you mean 'hh'?"),
    ],
)
def test_specs_that_cannot_work(make, message) -> None:
    with pytest.raises(PlanError) as caught:
        make()
    assert message in str(caught.value)


# ---------------------------------------------------------------- files
ROWS = [{"prompt": f"Frage {k}: “ä”\n?", "answer": k / 3, "tags": ["a", None]} for k in range(23)]


@pytest.mark.parametrize("name", ["d.jsonl", "d.jsonl.gz", "d.json", "d.parquet"])
def test_kinds_of_files_that_hold_values(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name.endswith("parquet"):
        pa = pytest.importorskip("pyarrow")
        pa.parquet = pytest.importorskip("pyarrow.parquet")
        pa.parquet.write_table(pa.Table.from_pylist(ROWS), path, row_group_size=5)
    elif name.endswith(".json"):
        path.write_text(json.dumps(ROWS, indent=1))
    else:
        write(path, ROWS)
    items = all_of(File(str(path), shuffle=False).open())
    assert items.contexts == [r["prompt"] for r in ROWS]
    assert items.info == {"answer": [r["answer"] for r in ROWS], "tags": [r["tags"] for r in ROWS]}
    shuffled = all_of(File(str(path), columns=("answer",), limit=9).open(1))
    assert sorted(shuffled.info["answer"]) == [k / 3 for k in range(9)]
    assert shuffled.contexts == [ROWS[round(a * 3)]["prompt"] for a in shuffled.info["answer"]]
    assert File(str(path)).check() == 23


@pytest.mark.parametrize("name", ["d.csv", "d.csv.gz"])
def test_csv(tmp_path: Path, name: str) -> None:
    text = '\ufeffprompt,answer\r\n"two\nlines, ""quoted""",4\r\n\r\nö,007\r\n' + "x" * 200_000 + ",9\r\n"
    data = text.encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    items = all_of(File(str(tmp_path / name), shuffle=False).open())
    assert items.contexts == ['two\nlines, "quoted"', "ö", "x" * 200_000]
    assert items.info == {"answer": ["4", "007", "9"]}


@pytest.mark.parametrize("name", ["d.txt", "d.txt.gz"])
def test_text(tmp_path: Path, name: str) -> None:
    data = "\ufefffirst\n\n  second \r\nthird".encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    items = all_of(File(str(tmp_path / name), shuffle=False).open())
    assert items.contexts == ["first", "  second ", "third"]
    assert items.info == {}


def test_columns_that_some_rows_lack_are_none_there(tmp_path: Path) -> None:
    path = write(tmp_path / "d.jsonl", [{"prompt": "a"}, {"prompt": "b", "hint": "x"}])
    assert all_of(File(path, shuffle=False).open()).info == {"hint": [None, "x"]}
    assert File(path, shuffle=False).open().draw(1, streams=STREAMS).info == {"hint": [None]}  # in every draw


def test_conversations(tmp_path: Path) -> None:
    path = write(tmp_path / "d.jsonl", [{"prompt": CHAT}, {"prompt": [*CHAT, {"role": "assistant", "content": "It is"}]}])
    assert all_of(File(path, shuffle=False).open()).contexts[0] == CHAT
    path = write(tmp_path / "m.jsonl", [{"messages": CHAT}])
    assert all_of(File(path, prompt="messages").open()).contexts == [CHAT]


def test_a_relative_path_begins_in_the_folder(tmp_path: Path) -> None:
    write(tmp_path / "d.jsonl", [{"prompt": "a"}])
    assert File("d.jsonl").check(tmp_path) == 1
    assert len(Preferences(write(tmp_path / "p.jsonl", [{"prompt": "a", "chosen": "b", "rejected": "c"}])).open(0, "/")) == 1


BAD = {
    "missing.jsonl": (None, "missing.jsonl: no such file; did you mean 'mising.jsonl'?"),
    "no/file.jsonl": (None, "no such file; no folder"),
    "data.yaml": (b"a: 1", "data.yaml: unknown kind of file '.yaml'; expected .jsonl, .json, .csv, .parquet, .txt or .jsonl.gz"),
    "empty.json": (b"[]", "empty.json: no rows in it"),
    "broken.json": (b'[{"prompt": "a"},\n {"prompt" "b"}]', "broken.json:2: not valid JSON: Expecting ':' delimiter"),
    "numbers.json": (b'[{"prompt": "a"},\n\n 7]', "numbers.json:3: expected an object per row"),
    "behind.json": (b'[{"prompt": "a"}]\n{}', "behind.json:2: expected nothing behind the list"),
    "cut.json": (b'[{"prompt": "a"}\n', "cut.json:2: not valid JSON: the list has no end"),
    "comma.json": (
        b'[{"prompt": "a"}\n{"prompt": "b"}]',
        "comma.json:2: not valid JSON: expected ',' or ']' behind a row, got '{'",
    ),
    "latin.json": (b'[{"prompt": "\xe4"}]', "latin.json:1: not UTF-8 text"),
    "deep.json": (b'[{"prompt": ' + b"[" * 100_000, "deep.json:1: not valid JSON: nested too deeply"),
    "twice.csv": (b"prompt,n,n\na,1,2\n", "twice.csv:1: the header has column 'n' twice"),
    "empty.jsonl": (b"", "empty.jsonl: no rows in it"),
    "blank.jsonl": (b"\n \n", "blank.jsonl: no rows in it"),
    "header.csv": (b"prompt,answer\n", "header.csv: no rows in it"),
    "broken.jsonl": (
        b'{"prompt": "a"}\n\n{"prompt" "b"}\n',
        "broken.jsonl:3: not valid JSON: Expecting ':' delimiter at column 11",
    ),
    "broken.jsonl.gz": (gzip.compress(b'{"prompt": "a"}\n{'), "broken.jsonl.gz:2: not valid JSON: "),
    "deep.jsonl": (b'{"prompt": ' + b"[" * 100_000 + b"\n", "deep.jsonl:1: not valid JSON: nested too deeply"),
    "list.jsonl": (b"[1, 2]\n", "list.jsonl:1: expected an object per line, such as {'prompt': ...}, got list"),
    "latin.jsonl": (b'{"prompt": "a"}\n{"prompt": "\xe4"}\n', "latin.jsonl:2: not UTF-8 text"),
    "latin.csv": (b"prompt\na\n\xe4\n", "latin.csv:3: not UTF-8 text"),
    "column.jsonl": (b'{"promt": "a"}\n', "column.jsonl:1: no column 'prompt'; did you mean 'promt'?"),
    "later.jsonl": (b'{"prompt": "a"}\n{"question": "b"}\n', "later.jsonl:2: no column 'prompt'; known: question"),
    "object.jsonl": (b'{"prompt": {}}\n', "object.jsonl:1: 'prompt' is an object, expected a text or a list of messages"),
    "none.jsonl": (b'{"prompt": []}\n', "none.jsonl:1: 'prompt' is an empty list, expected"),
    "role.jsonl": (b'{"prompt": [{"content": "a"}]}\n', "role.jsonl:1: 'prompt' message 1 has no 'role'"),
    "ragged.csv": (b"prompt,answer\na,1\nb\n", "ragged.csv:3: 1 fields, and the header has 2"),
    "quote.csv": (b'prompt\n"a" b\n', "quote.csv:2: not valid CSV: "),
    "fake.jsonl.gz": (b"{}", "fake.jsonl.gz: not a whole gzip file"),
    "cut.jsonl.gz": (gzip.compress(json.dumps({"prompt": "a" * 1000}).encode())[:-9], "cut.jsonl.gz: not a whole gzip file"),
    "fake.parquet": (b"PAR1 and no more", "fake.parquet: not a Parquet file that can be read"),
}


@pytest.mark.parametrize("name", BAD)
def test_files_that_cannot_be_used(tmp_path: Path, name: str) -> None:
    data, message = BAD[name]
    (tmp_path / "mising.jsonl").touch()
    if data is not None:
        (tmp_path / name).write_bytes(data)
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    with pytest.raises(DataError) as caught:
        File(str(tmp_path / name)).check()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_wrong_columns_and_wrong_kinds_of_prompts(tmp_path: Path) -> None:
    path = write(tmp_path / "d.jsonl", [{"prompt": "a", "answer": "b"}])
    with pytest.raises(DataError, match=r"d.jsonl:1: no column 'anser'; did you mean 'answer'\?"):
        File(path, columns=("anser",)).check()
    path = write(tmp_path / "m.jsonl", [{"messages": [*CHAT, {"role": "assistant", "content": "4"}]}])
    with pytest.raises(DataError, match=r"m.jsonl:1: 'messages' ends with an answer .* use Demonstrations"):
        File(path, prompt="messages").check()


def test_the_limit_is_a_limit_of_reading(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text('{"prompt": "a"}\n{"prompt": "b"}\nbroken\n')
    assert File(str(path), limit=2).check() == 2
    with pytest.raises(DataError, match=":3: not valid JSON"):
        File(str(path)).check()


def test_a_file_that_changes_in_use(tmp_path: Path) -> None:
    path = write(tmp_path / "d.jsonl", ROWS)
    source = File(path).open()
    source.draw(2, streams=STREAMS)
    write(tmp_path / "d.jsonl", ROWS[:-1])
    with pytest.raises(DataError, match="was changed while it is in use"):
        source.draw(2, streams=STREAMS)


MEASURE = """
import json, resource, sys
from guerdon.core import Streams
from guerdon.run.sources import File
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)
found = []
for path in sys.argv[1:]:
    before = peak()
    source = File(path).open()
    for k in range(20):
        source.draw(32, streams=Streams(k))
    found.append([len(source), peak() - before])
print(json.dumps(found))
"""


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    paths = [tmp_path / "big.jsonl", tmp_path / "big.jsonl.gz"]
    for path in paths:
        with gzip.open(path, "wt", compresslevel=1) if path.suffix == ".gz" else path.open("w") as f:
            for k in range(1200):
                f.write(json.dumps({"prompt": f"{k} " + "x" * 40_000}) + "\n")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", MEASURE, *map(str, paths)]
    out = subprocess.run(command, capture_output=True, check=True, text=True, env=environment)
    for rows, mib in json.loads(out.stdout):
        assert rows == 1200
        assert mib < 32  # of 48 MB of text; a packed file may keep 16 MiB in memory


# ---------------------------------------------------------------- recorded answers
A, B = {"role": "assistant", "content": "4"}, {"role": "assistant", "content": "5"}


@pytest.mark.parametrize(
    ("row", "context", "chosen", "rejected"),
    [
        ({"prompt": "2+2=", "chosen": "4", "rejected": "5"}, "2+2=", "4", "5"),
        ({"prompt": CHAT, "chosen": [A], "rejected": [B]}, CHAT, "4", "5"),
        ({"prompt": CHAT, "chosen": "4", "rejected": "5"}, CHAT, "4", "5"),
        ({"chosen": [*CHAT, A], "rejected": [*CHAT, B]}, CHAT, "4", "5"),
        ({"prompt": "2 + 2?", "chosen": [*CHAT, A], "rejected": [*CHAT, B]}, CHAT, "4", "5"),
        ({"chosen": [*CHAT, A, *CHAT, A], "rejected": [*CHAT, A, *CHAT, B]}, [*CHAT, A, *CHAT], "4", "5"),
        ({"chosen": "The sky is blue.", "rejected": "The sky is green."}, "The sky is", " blue.", " green."),
        ({"chosen": "Q: x A: cannot", "rejected": "Q: x A: can"}, "Q: x A:", " cannot", " can"),
        ({"prompt": 42, "chosen": 1.5, "rejected": "5"}, "42", "1.5", "5"),
        ({"chosen": "\n\nHuman: 2 + 2?\n\nAssistant: 4", "rejected": "\n\nHuman: 2 + 2?\n\nAssistant: 5"}, CHAT, "4", "5"),
    ],
)
def test_preferences(tmp_path: Path, row, context, chosen, rejected) -> None:
    items = all_of(Preferences(write(tmp_path / "p.jsonl", [{**row, "margin": 2}])).open())
    assert items.contexts == [context]
    assert items.info == {"chosen": [chosen], "rejected": [rejected], "margin": [2]}


@pytest.mark.parametrize(
    ("row", "context", "completion"),
    [
        ({"prompt": "2+2=", "completion": "4"}, "2+2=", "4"),
        ({"prompt": CHAT, "completion": [A]}, CHAT, "4"),
        ({"messages": [*CHAT, A]}, CHAT, "4"),
        ({"messages": [*CHAT, A, *CHAT, B]}, [*CHAT, A, *CHAT], "5"),
        ({"text": "once"}, "", "once"),
    ],
)
def test_demonstrations(tmp_path: Path, row, context, completion) -> None:
    items = all_of(Demonstrations(write(tmp_path / "d.jsonl", [{**row, "n": 1}])).open())
    assert items.contexts == [context]
    assert items.info == {"completion": [completion], "n": [1]}


@pytest.mark.parametrize(
    ("spec", "row", "message"),
    [
        (Preferences, {"prompt": "a", "chosen": "b", "rejcted": "c"}, "no column 'rejected'; did you mean 'rejcted'?"),
        (Preferences, {"prompt": "a", "chosen": {}, "rejected": "c"}, "'chosen' is an object, expected a text"),
        (Preferences, {"prompt": "a", "chosen": "b", "rejected": None}, "'rejected' is missing, expected"),
        (Preferences, {"prompt": "a", "chosen": "b", "rejected": [A]}, "must both be texts or both be messages"),
        (Preferences, {"chosen": "same", "rejected": "same"}, "'chosen' and 'rejected' are the same"),
        (Preferences, {"chosen": "a", "rejected": "b"}, "begin with nothing in common"),
        (
            Preferences,
            {"chosen": [*CHAT, A, *CHAT, A], "rejected": [*CHAT, B]},
            "'chosen' must be one turn of the assistant, got 3: ",
        ),
        (Preferences, {"prompt": CHAT, "chosen": CHAT, "rejected": [A]}, "must be one turn of the assistant, got 1: user"),
        (Demonstrations, {"prompt": "a"}, "no column 'completion'"),
        (
            Demonstrations,
            {"promt": "a", "completion": "b"},
            "no column 'prompt' (with 'completion'), 'messages' or 'text'; did you mean 'promt'?",
        ),
        (Demonstrations, {"messages": CHAT}, "must end with an answer of the assistant"),
        (Demonstrations, {"messages": "a"}, "'messages' is a text, expected a list of messages"),
    ],
)
def test_recorded_answers_that_cannot_be_used(tmp_path: Path, spec, row, message) -> None:
    good = {"prompt": "a", "chosen": "b", "rejected": "c", "completion": "d"}
    path = write(tmp_path / "d.jsonl", [good, row])
    with pytest.raises(DataError) as caught:
        spec(path).check()
    assert f"{path}:2: " in str(caught.value)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_dialogues_can_stay_texts(tmp_path: Path) -> None:
    row = {"chosen": "\n\nHuman: 2 + 2?\n\nAssistant: 4", "rejected": "\n\nHuman: 2 + 2?\n\nAssistant: 5"}
    items = all_of(Preferences(write(tmp_path / "p.jsonl", [row]), format="preference").open())
    assert (items.contexts, items.info) == ([row["chosen"][:-2]], {"chosen": [" 4"], "rejected": [" 5"]})


def test_real_preferences(shared_data: Path) -> None:
    path = str(shared_data / "preferences" / "hh_rlhf_harmless_base_test_mild.jsonl.gz")
    items = all_of(Preferences(path).open())
    assert len(items) == 579
    assert all([m["role"] for m in c] == ["user", "assistant"] * (len(c) // 2) + ["user"] for c in items.contexts)
    assert all(a != b for a, b in zip(items.info["chosen"], items.info["rejected"], strict=True))
    as_text = all_of(Preferences(path, format="preference").open())
    assert all(c.lstrip().startswith("Human:") and "Assistant:" in c for c in as_text.contexts)


def test_real_prompts(shared_data: Path) -> None:
    source = File(str(shared_data / "verifiable" / "gsm8k_train.jsonl.gz"), prompt="question", columns=("answer",)).open()
    assert len(source) == 7473
    assert all("####" in a for a in source.draw(64, streams=STREAMS).info["answer"])
