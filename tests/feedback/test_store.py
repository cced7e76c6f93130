"""The store, the same on SQLite and PostgreSQL: what goes in comes out, once, in order; corrections; erasure; copies."""

import json
import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError

from guerdon.core.errors import DataError
from guerdon.feedback import (
    Comparison,
    Correction,
    Critique,
    Demonstration,
    Feedback,
    ImplicitFeedback,
    Ranking,
    Rating,
    RubricLabel,
    SpanLabel,
    Store,
    from_record,
)
from guerdon.feedback.store import chain, queries, tables, writing

COMMON = {"context": "2 + 2?", "annotator": "ann", "time": 12.5, "source": "a.jsonl:3", "uids": (1, -2), "info": {"k": [1, None]}}
NINE = [
    Comparison(first="4", second="5", label=0.75, margin=1.0, **COMMON),
    Ranking(outputs=("4", "5", "6"), ranks=(1, 2, 2), **COMMON),
    Rating(output="4", scores={"overall": 5, "tone": 2.5}, low=1, high=5, **COMMON),
    ImplicitFeedback(output="4", event="click", position=2, propensity=0.5, **COMMON),
    SpanLabel(output="four", start=0, end=2, label="wrong", **COMMON),
    Critique(output="4", text="good", **COMMON),
    Correction(output="5", corrected="4", **COMMON),
    Demonstration(output=[{"role": "assistant", "content": "4"}], **COMMON),
    RubricLabel(output="4", criterion="right", value=1, **COMMON),
]


def said(text: str, annotator: str = "ann", **fields: Any) -> Critique:
    return Critique(**{"context": "2 + 2?", "output": "4", "text": text, "annotator": annotator, **fields})


def texts(records: Any) -> list[str]:
    return [r.text for r in records]


def letters(seed: int, n: int) -> str:
    """A text that does not compress away."""
    return random.Random(seed).randbytes(n // 2).hex()


def test_what_goes_in_comes_out(place: str) -> None:
    with Store(place, clock=lambda: 99.0) as store:
        ids = store.add(NINE)
        assert ids == [r.id for r in NINE]
        assert list(store.read()) == NINE
        assert [store.get(i) for i in ids] == NINE
        assert store.kinds() == dict.fromkeys(sorted(r.kind for r in NINE), 1)
        assert {v.stored for i in ids for v in store.history(i)} == {99.0}
    with Store(place) as store:  # and after closing
        assert list(store.read()) == NINE
    with pytest.raises(DataError, match="closed"):
        len(store)


def test_adding_again_is_no_copy_and_no_error(place: str) -> None:
    with Store(place) as store:
        once = store.add([said("a"), said("b"), said("a")])
        assert once[0] == once[2] != once[1]
        assert store.add(said("b")) == [once[1]]
        assert store.add(iter([said("c"), said("a")]))[1] == once[0]
        assert texts(store.read()) == ["a", "b", "c"]
        assert store.add([]) == []
        assert len(store) == 3 and bool(store)


@pytest.mark.parametrize(
    "awkward",
    ["a\x00b", "\x00", "\ud800 alone", "\udfff\ud800", "😀 Zoë 漢字", "back\\slash \\u0000 \\\\", "'; DROP TABLE guerdon_feedback; --",
     "%s %(x)s :name ?", "\u2028\r\n\t\x01", "a" * 400],
)  # fmt: skip
def test_awkward_texts_in_every_place(place: str, awkward: str) -> None:
    record = said(
        awkward, annotator=awkward, context=[{"role": awkward, "content": awkward}], source=awkward, info={awkward: awkward}
    )
    with Store(place) as store:
        [old] = store.add(record)
        assert list(store.read(annotator=awkward, source=awkward, context=record.context)) == [record]
        assert store.annotators() == {awkward: 1}
        assert store.get(old).id == old
        new = store.correct(old, record.replace(text="x", annotator="bob"), by=awkward)
        store.retract(new, by="bob", reason=awkward)
        assert [(v.by, v.reason) for v in store.history(new)] == [(awkward, ""), ("bob", awkward)]
        assert store.erase(awkward) == 1
        assert store.annotators(corrected=True) == {"bob": 1}


def test_long_texts_and_extreme_uids(place: str) -> None:
    low, high = -(2**63), 2**63 - 1
    records = [said(letters(k, 1_000_000), uids=(low, high, high, k)) for k in range(9)]  # more than one page holds
    with Store(place) as store:
        store.add(records)
        assert list(store.read()) == records
        assert list(store.read(uid=low)) == records
        assert store.count(uid=high) == 9 and list(store.read(uid=5)) == [records[5]]
        assert store.count(uid=10**30) == 0
        for uid in (high + 1, low - 1):
            with pytest.raises(DataError, match="record 2: uids are 64-bit numbers"):
                store.add([said("fine"), said("b", uids=(uid,))])
        assert len(store) == 9


def test_what_is_refused(place: str) -> None:
    class Mine(Critique):
        kind = "mine"

    with Store(place) as store:
        for wrong, message in (
            (["text"], "record 1: a store holds records of feedback, got str"),
            ([said("a"), Mine(output="a", text="b")], "record 2: .* got Mine"),
            ([said("a", annotator="é" * 1001)], "record 1: an annotator's name has at most 2000 bytes, got 1001 characters"),
            ([said("a", info={"k": {1, 2}})], "plain values only"),
        ):
            with pytest.raises(DataError, match=message):
                store.add(wrong)  # type: ignore[arg-type]
        assert len(store) == 0
        store.add(said("a", annotator="é" * 1000))
        with pytest.raises(DataError, match="unknown kind of feedback 'ratings'; did you mean 'rating'"):
            store.read("ratings")
        for unknown in (store.get, store.history, store.retract):
            with pytest.raises(DataError, match="holds no record 'nobody'"):
                unknown("nobody")
        with pytest.raises(DataError, match="holds no record 'nobody'"):
            store.correct("nobody", said("b"))
        with pytest.raises(DataError, match="name of an annotator"):
            store.erase("")


def test_an_iterable_that_breaks_keeps_the_chunks_before(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "_CHUNK", 3)

    def broken() -> Any:
        yield from (said(str(k)) for k in range(7))
        raise ValueError("broken")

    with Store(place) as store:
        with pytest.raises(ValueError, match="broken"):
            store.add(broken())
        assert texts(store.read()) == ["0", "1", "2", "3", "4", "5"]


def test_filters(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "_PAGE", 3)
    records = [
        (Rating if k % 2 else Demonstration)(
            output=str(k), context=f"q{k % 3}", annotator="ab"[k % 2], time=float(k) if k % 5 else None, source=f"{'xyx%'[k % 4]}:{k}",
            uids=(k, k + 1), **({"scores": {"overall": k}} if k % 2 else {}),
        )
        for k in range(20)
    ]  # fmt: skip
    asked: list[tuple[dict[str, Any], Callable[[int, Feedback], bool]]] = [
        ({}, lambda k, r: True),
        ({"kind": "rating"}, lambda k, r: k % 2 == 1),
        ({"kind": Demonstration}, lambda k, r: k % 2 == 0),
        ({"kind": "Rating", "annotator": "a"}, lambda k, r: False),
        ({"annotator": "a"}, lambda k, r: k % 2 == 0),
        ({"source": "x"}, lambda k, r: k % 4 in (0, 2)),
        ({"source": "%"}, lambda k, r: k % 4 == 3),
        ({"source": "x:4"}, lambda k, r: k == 4),
        ({"source": "X"}, lambda k, r: False),
        ({"context": " q1\n"}, lambda k, r: k % 3 == 1),
        ({"uid": 7}, lambda k, r: k in (6, 7)),
        ({"since": 6, "until": 9}, lambda k, r: k in (6, 7, 8)),
        ({"since": 6, "until": 9, "uid": 7}, lambda k, r: k in (6, 7)),
    ]
    with Store(place) as store:
        store.add(records)
        for question, fits in asked:
            expected = [r for k, r in enumerate(records) if fits(k, r)]
            assert list(store.read(**question)) == expected, question
            assert store.count(**question) == len(expected), question


def test_corrections_and_retractions(place: str) -> None:
    clock = iter(range(100, 200))
    with Store(place, clock=lambda: float(next(clock))) as store:
        a, other = store.add([said("a"), said("other")])
        b = store.correct(a, said("b", annotator="bob", uids=(5,)))
        c = store.correct(b, said("c"), by="carl")
        assert texts(store.read()) == ["other", "c"]
        assert texts(store.read(corrected=True)) == ["a", "other", "b", "c"]
        assert texts(store.read(uid=5)) == [] and texts(store.read(uid=5, corrected=True)) == ["b"]
        assert (len(store), store.count(corrected=True)) == (2, 4)
        assert (store.annotators(), store.annotators(corrected=True)) == ({"ann": 2}, {"ann": 3, "bob": 1})
        store.retract(c, by="dora", reason="spam")
        chain_ = store.history(a)
        assert chain_ == store.history(b) == store.history(c)
        assert [(v.id, v.record.text, v.stored, v.status, v.by, v.time, v.reason) for v in chain_] == [  # type: ignore[attr-defined]
            (a, "a", 100, "corrected", "bob", 102, ""),
            (b, "b", 102, "corrected", "carl", 103, ""),
            (c, "c", 103, "retracted", "dora", 104, "spam"),
        ]
        assert [v.status for v in store.history(other)] == ["current"]
        assert store.get(a).text == "a"  # type: ignore[attr-defined]
        for ended in (a, b, c):
            store.add(said("cab"[(c, a, b).index(ended)], **({"annotator": "bob", "uids": (5,)} if ended == b else {})))
        assert texts(store.read()) == ["other"]  # adding again does not bring back


def test_correcting_what_is_no_longer_current_names_what_is(place: str) -> None:
    with Store(place) as store:
        a, x = store.add([said("a"), said("x")])
        with pytest.raises(DataError, match=f"{a} cannot be corrected: what should replace it is the same record"):
            store.correct(a, said("a"))
        with pytest.raises(DataError, match=f"{a} cannot be corrected: .* is already stored as {x}"):
            store.correct(a, said("x"))
        b = store.correct(a, said("b"))
        c = store.correct(b, said("c"))
        for old in (a, b):
            with pytest.raises(DataError, match=f"{old} is no longer current: {c} is current"):
                store.correct(old, said("d"))
            with pytest.raises(DataError, match=f"{old} is no longer current: {c} is current"):
                store.retract(old)
        with pytest.raises(DataError, match=f"{c} cannot be corrected: .* already stored as {a}"):  # no circles
            store.correct(c, said("a"))
        store.retract(c)
        with pytest.raises(DataError, match=f"{a} is no longer current: {c} was retracted"):
            store.correct(a, said("d"))
        with pytest.raises(DataError, match=f"{c} is no longer current: it was retracted"):
            store.retract(c)
        assert texts(store.read(corrected=True)) == ["a", "x", "b", "c"]


def test_of_corrections_at_the_same_time_one_wins(place: str) -> None:
    with Store(place) as store:
        for turn in range(3):
            [old] = store.add(said(f"old {turn}"))
            start, won, lost = threading.Barrier(6), [], []

            def work(k: int, old: str = old, turn: int = turn, start: Any = start, won: Any = won, lost: Any = lost) -> None:
                start.wait()
                try:
                    won.append(store.correct(old, said(f"new {turn} {k}")))
                except DataError as e:
                    lost.append(str(e))

            threads = [threading.Thread(target=work, args=(k,)) for k in range(6)]
            [t.start() for t in threads]
            [t.join() for t in threads]
            assert len(won) == 1 and len(lost) == 5
            assert all(f"{won[0]} is current" in message for message in lost)
            assert len(store.history(old)) == 2
        assert store.count(corrected=True) == 6


def test_the_database_itself_forbids_two(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store(place) as store:
        a, b, c = store.add([said("a"), said("b"), said("c")])
        looked = []

        def blind(*args: Any, look: Any = chain._refuse) -> None:
            looked.append(args)
            if len(looked) % 2 == 0:  # the look before the deed sees nothing
                look(*args)

        new = store.correct(a, said("new"))
        monkeypatch.setattr(chain, "_refuse", blind)
        with pytest.raises(DataError, match=f"{a} is no longer current: {new} is current"):
            store.correct(a, said("newer"))
        assert len(looked) == 2 and store.count(corrected=True) == 4  # the loser's record is not there
        for old, tip in ((a, c), (b, new)):  # a second end; a second beginning of one correction
            with pytest.raises(IntegrityError), store._db.write() as connection:
                connection.execute(tables.mark.insert().values(old=old, new=tip, by="", reason=""))


def test_reading_sees_the_state_of_its_beginning_and_holds_nobody_up(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "_PAGE", 2)
    with Store(place) as store:
        ids = store.add([said(str(k), annotator="bob" if k == 6 else "ann") for k in range(8)])
        before = store.correct(ids[0], said("new 0"))
        reader = store.read()
        assert next(reader).text == "1"  # type: ignore[attr-defined]
        store.correct(ids[1], said("new 1"))
        store.correct(ids[5], said("new 5"))
        store.correct(before, said("newer 0"))
        store.retract(ids[4])
        store.add(said("added"))
        assert store.erase("bob") == 1
        assert texts(reader) == ["2", "3", "4", "5", "7", "new 0"]  # "6" was erased
        assert texts(store.read()) == ["2", "3", "7", "new 1", "new 5", "newer 0", "added"]


def everything(store: Store) -> str:
    """All that the tables hold."""
    with store._db.read() as c:
        return repr([tuple(row) for t in tables.metadata.sorted_tables for row in c.execute(select(t))])


def test_erasing_one_person(place: str) -> None:
    clock = iter(range(100, 200))
    with Store(place, clock=lambda: float(next(clock))) as store:
        by_bob = [said(f"bobtext {k}", annotator="bobname", uids=(k, 77)) for k in range(3)]
        bob = store.add(by_bob)
        ann = store.add([said(f"ann {k}", uids=(k, 77)) for k in range(6)])
        store.correct(bob[0], said("bobtext new", annotator="bobname"))  # his own, corrected by himself
        tip = store.correct(ann[0], said("bobtext better", annotator="bobname"))  # he corrected ann
        back = store.correct(tip, said("ann again"))  # and ann him
        store.correct(ann[1], said("bobtext last word", annotator="bobname"))  # nothing after it
        store.retract(ann[2], by="bobname", reason="bobreason")
        clerk = store.correct(ann[3], said("ann's, typed by bob"), by="bobname")  # both ends are ann's
        store.correct(ann[4], said("bobtext as ann reports", annotator="bobname"), by="ann")
        store.retract(ann[5], by="ann", reason="mine")
        assert "bobtext" in everything(store) and "bobname" in everything(store) and "bobreason" in everything(store)

        assert store.erase("bobname") == 3 + 1 + 1 + 1 + 1

        assert "bob" not in everything(store).replace("typed by bob", "")
        assert texts(store.read()) == ["ann 1", "ann 2", "ann again", "ann's, typed by bob"]
        assert [(v.id, v.status, v.by, v.time) for v in store.history(ann[0])] == [
            (ann[0], "corrected", "", None),
            (back, "current", "", None),
        ]
        assert [v.status for v in store.history(ann[1]) + store.history(ann[2])] == ["current", "current"]
        assert [(v.id, v.status, v.by) for v in store.history(clerk)] == [(ann[3], "corrected", ""), (clerk, "current", "")]
        assert [(v.status, v.by) for v in store.history(ann[4])] == [("retracted", "ann")]  # ann said so, and ann stays
        assert [(v.status, v.by, v.reason) for v in store.history(ann[5])] == [("retracted", "ann", "mine")]
        assert store.count(uid=77, corrected=True) == 6 and store.annotators(corrected=True) == {"ann": 8}
        for gone in (*bob, tip):
            with pytest.raises(DataError, match="holds no record"):
                store.get(gone)
        [row] = store.erasures()
        assert (row.records, row.marks) == (7, 6)  # a0-tip, tip-again, a1, a2, a3 and bob's own; not a4, a5, which are ann's
        assert row.finished is not None and row.finished > row.time
        assert store.erase("bobname") == 0 == store.erasures()[1].records
        assert store.add(by_bob) == bob and store.count(annotator="bobname") == 3  # he may come back


def test_export_is_lines_that_from_record_reads(place: str, fresh: Any, tmp_path: Path) -> None:
    path = tmp_path / "out" / "all.jsonl"
    path.parent.mkdir()
    with Store(place) as store:
        ids = store.add([*NINE, said("\x00\ud800😀\n")])
        store.retract(ids[0])
        assert store.export(path) == 9
        records = [from_record(json.loads(line)) for line in path.read_text().splitlines()]
        assert [r.id for r in records] == ids[1:]
        assert store.export(path, corrected=True) == 10 and [p.name for p in path.parent.iterdir()] == ["all.jsonl"]
        with pytest.raises(DataError, match=r"nowhere.x\.jsonl: cannot be written"):
            store.export(tmp_path / "nowhere" / "x.jsonl")
    with Store(fresh()) as other:
        assert other.add(map(from_record, map(json.loads, path.read_text().splitlines()))) == ids
        assert list(other.read()) == [*NINE, said("\x00\ud800😀\n")]


def test_a_copy_on_the_other_back_end_is_the_same_store(place: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    other = request.getfixturevalue("server").fresh() if place.startswith("sqlite") else tmp_path / "other.db"
    with Store(place, clock=lambda: 5.0) as store:
        ids = store.add([*NINE, said("\x00"), said("bob", annotator="bob")])
        new = store.correct(ids[5], said("new", uids=(9,)), by="carl")
        store.retract(ids[2], by="dora", reason="why")
        store.erase("bob")
        assert store.copy(other) == 11
        with Store(other) as copied:
            assert list(copied.read()) == list(store.read()) and list(copied.read(corrected=True)) == list(
                store.read(corrected=True)
            )
            assert copied.history(new) == store.history(new) and copied.history(ids[2]) == store.history(ids[2])
            assert copied.erasures() == store.erasures() and copied.count(uid=9) == 1
            copied.correct(new, said("newest"))  # its numbers go on
            assert copied.add(said("more"))
        with pytest.raises(DataError, match="is not empty"):
            store.copy(other)


def test_threads_share_one_store(place: str) -> None:
    with Store(place) as store:
        got: dict[int, list[str]] = {}

        def work(k: int) -> None:  # the same records from all, each in an order of its own
            records = [said(str(n)) for n in range(60)]
            random.Random(k).shuffle(records)
            ids = [i for start in range(0, 60, 12) for i in store.add(records[start : start + 12])]
            got[k] = sorted(ids) if len(list(store.read())) <= 60 else []

        threads = [threading.Thread(target=work, args=(k,)) for k in range(6)]
        [t.start() for t in threads]
        [t.join() for t in threads]
        assert sorted(got) == list(range(6)) and all(ids == got[0] for ids in got.values())
        assert len(set(got[0])) == len(store) == 60


@pytest.mark.parametrize("version", [2, 0, None])
def test_another_version_is_refused_unchanged(place: str, version: int | None) -> None:
    with Store(place) as store:
        store.add(said("a"))
        with store._db.write() as c:
            c.execute(tables.version.delete())
            if version is not None:
                c.execute(tables.version.insert().values(version=version))
        before = everything(store)
        with pytest.raises(
            DataError, match="version 2, made by a newer guerdon, .* upgrade" if version == 2 else "names no version"
        ) as e:
            Store(place)
        assert "\n" not in str(e.value) and everything(store) == before


def test_tables_of_something_else_are_left_alone(place: str) -> None:
    with Store(place) as store, store._db.write() as c:
        tables.metadata.drop_all(c)
        c.execute(text("CREATE TABLE accounts (name text)"))
        c.execute(text("INSERT INTO accounts VALUES ('ann')"))
    for _ in range(2):
        with pytest.raises(DataError, match=r"holds tables of something else \(accounts\); a feedback store needs its own"):
            Store(place)
