"""``guerdon feedback``: into a store, out of it, and erased; one line for bad input, nothing made by a mistake."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("sqlalchemy")


@pytest.fixture
def votes(here, put):
    put("votes.jsonl", [{"kind": "comparison", "context": f"p {k}", "first": "a", "second": "b", "label": 1, "annotator": who}
                        for k in range(3) for who in ("ann", "bob", "")])  # fmt: skip
    return here


def test_into_a_store_and_out_again(guerdon, votes):
    assert guerdon("feedback", "add", "f.db", "votes.jsonl", "--json").json() == {"store": "f.db", "read": 9, "added": 9}
    assert "added 0 of 9 records; the others were there already" in guerdon("feedback", "add", "f.db", "votes.jsonl").out
    facts = guerdon("feedback", "list", "f.db", "--json").json()
    assert facts["kinds"] == {"comparison": 9}
    assert facts["annotators"] == {"ann": 3, "bob": 3, "": 3}
    assert "(no name)" in guerdon("feedback", "list", "f.db").out
    said = guerdon("feedback", "export", "f.db", "ann.jsonl", "--annotator", "ann")
    assert said.out == "wrote 3 records to ann.jsonl\n"
    assert {json.loads(line)["annotator"] for line in (votes / "ann.jsonl").read_text().splitlines()} == {"ann"}
    assert "ann.jsonl exists and is not overwritten" in guerdon("feedback", "export", "f.db", "ann.jsonl").complaint()


def test_what_a_person_said_is_erased_when_it_is_meant(guerdon, votes, monkeypatch):
    guerdon("feedback", "add", "f.db", "votes.jsonl")
    assert "cannot be undone; say --yes" in guerdon("feedback", "erase", "f.db", "ann").complaint()
    assert (
        "nobody named 'an' in this store; did you mean 'ann'?" in guerdon("feedback", "erase", "f.db", "an", "--yes").complaint()
    )
    assert guerdon("feedback", "list", "f.db", "--json").json()["current"] == 9
    assert guerdon("feedback", "erase", "f.db", "ann", "--yes", "--json").json() == {"erased": 3}
    facts = guerdon("feedback", "list", "f.db", "--json").json()
    assert (facts["annotators"], facts["erasures"]) == ({"bob": 3, "": 3}, 1)
    assert b"ann" not in (votes / "f.db").read_bytes().replace(b"annotator", b"")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["list", "none.db"], "none.db: no feedback store there; guerdon feedback add none.db FEEDBACK makes one"),
        (["list", "votes.jsonl"], "votes.jsonl: no feedback store there"),
        (["export", "none.db", "x.jsonl"], "none.db: no feedback store there"),
        (["erase", "none.db", "ann", "--yes"], "none.db: no feedback store there"),
        (["add", "new.db", "none.jsonl"], "none.jsonl: no such file"),
        (["add", "new.db", "torn.jsonl"], "torn.jsonl:2: not valid JSON"),
        (["add", "mysql://me:secret@here/x", "votes.jsonl"], "no feedback store opens mysql://"),
        (["add", "votes.jsonl", "votes.jsonl"], "votes.jsonl"),
        (["ad"], "no such command 'ad'; did you mean 'add'?"),
    ],
)
def test_bad_input_is_one_line_and_makes_no_store(guerdon, votes, words, complaint):
    (votes / "torn.jsonl").write_text('{"kind": "comparison", "first": "a", "second": "b"}\n{"kin')
    before = sorted(votes.iterdir())
    said = guerdon("feedback", *words)
    assert complaint in said.complaint()
    assert "secret" not in said.err
    assert sorted(votes.iterdir()) == before
