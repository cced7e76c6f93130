"""The nine records: what they refuse, what they imply, and that they survive the way through JSON."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guerdon.core.contexts import key_of, split
from guerdon.core.errors import DataError
from guerdon.core.feedback import (
    KINDS,
    Comparison,
    Correction,
    Critique,
    Demonstration,
    ImplicitFeedback,
    Ranking,
    Rating,
    RubricLabel,
    SpanLabel,
    comparisons,
    from_record,
)

ONE_OF_EACH = [
    Comparison(context="q", first="a", second="b", label=0.25, margin=2.0, annotator="ann", time=5.0, uids=(1, -2)),
    Ranking(context="q", outputs=("a", "b", "c"), ranks=(1, 1, 2)),
    Rating(context=[{"role": "user", "content": "q"}], output="a", scores={"overall": 4, "tone": 2.5}, low=1, high=5),
    ImplicitFeedback(output="a", event="dwell", value=3.5, position=2, propensity=0.25),
    SpanLabel(output="a wrong word", start=2, end=7, label="fact"),
    Critique(output="a", text="too long"),
    Correction(context="q", output="a", corrected="b"),
    Demonstration(context="q", output="a", info={"source": "book", "page": 3}),
    RubricLabel(output="a", criterion="names the hero", value=0.5, weight=-1.0),
]


def test_there_are_nine_kinds_and_an_example_of_each() -> None:
    assert [type(f) for f in ONE_OF_EACH] == list(KINDS.values())
    assert len(KINDS) == 9


@pytest.mark.parametrize("record", ONE_OF_EACH, ids=lambda f: f.kind)
def test_the_way_through_json(record) -> None:
    back = from_record(json.loads(json.dumps(record.to_record())))
    assert type(back) is type(record)
    assert back.to_record() == record.to_record()
    assert back.id == record.id
    assert back.replace(annotator="someone else").id != record.id


@pytest.mark.parametrize(
    ("kind", "values", "said"),
    [
        (Comparison, {"first": "a", "second": "b", "label": 1.2}, "Comparison.label must be a probability in [0, 1], got 1.2"),
        (Comparison, {"first": "a", "second": "b", "label": math.nan}, "label"),
        (Comparison, {"first": "a", "second": "b", "margin": -1}, "margin"),
        (Comparison, {"first": "a", "second": "b", "time": 10**400}, "time"),
        (Ranking, {"outputs": ("a",), "ranks": (1,)}, "two or more outputs"),
        (Ranking, {"outputs": ("a", "b"), "ranks": (0, 1)}, "ranks"),
        (Rating, {"output": "a", "scores": {}}, "scores"),
        (Rating, {"output": "a", "scores": {"overall": 6}, "low": 1, "high": 5}, "between 1 and 5"),
        (ImplicitFeedback, {"output": "a", "event": ""}, "event"),
        (ImplicitFeedback, {"output": "a", "event": "click", "propensity": 0}, "propensity"),
        (SpanLabel, {"output": "abc", "start": 2, "end": 4, "label": "x"}, "in the output's 3 characters"),
        (RubricLabel, {"output": "a", "criterion": "c", "value": 2}, "value"),
        (Critique, {"output": "a", "text": "t", "annotator": 3}, "annotator must be a text"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(kind, values, said: str) -> None:
    with pytest.raises(DataError) as error:
        kind(**values)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_records_from_elsewhere_are_checked() -> None:
    with pytest.raises(DataError, match="unknown kind of feedback 'comparision'; did you mean 'comparison'"):
        from_record({"kind": "comparision"})
    with pytest.raises(DataError, match="has no field 'chosen'"):
        from_record({"kind": "comparison", "chosen": "a"})
    with pytest.raises(DataError, match="needs the field 'second'"):
        from_record({"kind": "comparison", "first": "a"})
    with pytest.raises(DataError, match="plain values only"):
        Critique(output=object(), text="t").to_record()


def test_empty_cells_of_tables_are_none() -> None:
    record = Critique(output="a", text="t", info={"age": math.nan, "nested": [1.0, math.inf]}).to_record()
    assert record["info"] == {"age": None, "nested": [1.0, None]}


def test_what_implies_comparisons() -> None:
    found = list(comparisons(ONE_OF_EACH))
    assert [(c.first, c.second, c.label) for c in found] == [
        ("a", "b", 0.25), ("a", "b", 0.5), ("a", "c", 1.0), ("b", "c", 1.0), ("b", "a", 1.0),
    ]  # fmt: skip
    rated = [Rating(context="q", output=o, scores={"overall": s}, annotator=a, uids=(k,))
             for k, (o, s, a) in enumerate((("x", 3, "ann"), ("y", 3, "ann"), ("z", 1, "ann"), ("x", 9, "bob")))]  # fmt: skip
    assert [(c.first, c.second, c.label, c.margin, c.uids) for c in comparisons(rated)] == [
        ("x", "y", 0.5, None, (0, 1)), ("x", "z", 1.0, 2.0, (0, 2)), ("y", "z", 1.0, 2.0, (1, 2)),
    ]  # fmt: skip


@given(st.lists(st.text(max_size=5), max_size=30), st.integers(0, 3), st.floats(0, 1))
def test_a_split_keeps_contexts_together_and_does_not_look_at_the_others(contexts: list[str], seed: int, share: float) -> None:
    records = [Comparison(context=c, first=str(k), second="z") for k, c in enumerate(contexts)]
    train, held_out = split(records, share, seed)
    assert len(train) + len(held_out) == len(records)
    assert not {key_of(r.context) for r in train} & {key_of(r.context) for r in held_out}
    for record in records:
        assert (record in split([record], share, seed)[0]) == (record in train)


def test_about_the_asked_share_is_held_out() -> None:
    records = [Comparison(context=str(k), first="a", second="b") for k in range(4000)]
    assert len(split(records, 0.2)[1]) / 4000 == pytest.approx(0.2, abs=0.02)
    assert split(records, 0.0)[1] == []
    assert split(records, 1.0)[0] == []
