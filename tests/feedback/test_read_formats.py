"""What becomes of a row of each format: worked out by hand, and as TRL reads it."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from guerdon.core.errors import DataError
from guerdon.core.feedback import Comparison, Correction, Demonstration, Ranking, Rating, SpanLabel, from_record
from guerdon.feedback import formats, read
from guerdon.feedback.readers import FORMATS

USER = {"role": "user", "content": "2 + 2?"}
FOUR, FIVE = {"role": "assistant", "content": "4"}, {"role": "assistant", "content": "5"}
AGAIN = {"role": "user", "content": "Sure?"}
HH = "\n\nHuman: 2 + 2?\n\nAssistant: "


def one(row, *args, **options):
    """The record of a row, without its source."""
    [record] = read([row], *args, **options)
    assert record.source == "rows:1"
    return record.replace(source="")


# ---------------------------------------------------------------- chosen and rejected
@pytest.mark.parametrize(
    ("row", "context", "first", "second"),
    [
        ({"prompt": "2+2=", "chosen": "4", "rejected": "5"}, "2+2=", "4", "5"),
        ({"prompt": 42, "chosen": 4, "rejected": 5.5}, "42", "4", "5.5"),
        ({"prompt": "Is it so?", "chosen": True, "rejected": "no"}, "Is it so?", "True", "no"),
        ({"prompt": [USER], "chosen": [FOUR], "rejected": [FIVE]}, [USER], "4", "5"),
        ({"prompt": [USER], "chosen": [USER, FOUR], "rejected": [USER, FIVE]}, [USER], "4", "5"),
        ({"prompt": "2 + 2?", "chosen": [USER, FOUR], "rejected": [USER, FIVE]}, [USER], "4", "5"),
        ({"chosen": [USER, FOUR], "rejected": [USER, FIVE]}, [USER], "4", "5"),
        ({"chosen": "The sky is blue.", "rejected": "The sky is green."}, "The sky is", " blue.", " green."),
        # they part before the last turn: what follows is all theirs
        ({"chosen": [USER, FOUR, AGAIN, FOUR], "rejected": [USER, FIVE]}, [USER], [FOUR, AGAIN, FOUR], "5"),
        # one goes on where the other ends, or the user says other things: the answer before it is theirs too
        ({"chosen": [USER, FOUR, AGAIN, FOUR], "rejected": [USER, FOUR]}, [USER], [FOUR, AGAIN, FOUR], "4"),
        ({"chosen": [USER, FOUR, AGAIN, FIVE], "rejected": [USER, FOUR, USER, FIVE]}, [USER], [FOUR, AGAIN, FIVE], [FOUR, USER, FIVE]),
        # HH-RLHF
        ({"chosen": HH + "4", "rejected": HH + "5"}, [USER], "4", "5"),
        ({"chosen": HH + "4\n\nHuman: Sure?\n\nAssistant: 4", "rejected": HH + "5"}, [USER], [FOUR, AGAIN, FOUR], "5"),
        ({"chosen": HH + "4\n\nHuman: Sure?\n\nAssistant: 4", "rejected": HH + "4\n\nHuman: Sure?\n\nAssistant: 5"}, [USER, FOUR, AGAIN], "4", "5"),
        ({"chosen": HH + "", "rejected": HH + "5"}, [USER], "", "5"),
        ({"chosen": HH + "one\n\ntwo: Human: x", "rejected": HH + "5"}, [USER], "one\n\ntwo: Human: x", "5"),
    ],
)  # fmt: skip
def test_preferences(row, context, first, second) -> None:
    expected = Comparison(context=context, first=first, second=second, info={"subset": "a"})
    assert one({**row, "subset": "a"}) == expected


def test_margins_scores_and_soft_labels_of_preferences() -> None:
    row = {"prompt": "q", "chosen": "a", "rejected": "b"}
    assert one({**row, "margin": "1.5"}).margin == 1.5
    assert one({**row, "margin": None}).margin is None
    scored = one({**row, "score_chosen": 7, "score_rejected": "4.5"})
    assert (scored.label, scored.margin, scored.info) == (1.0, 2.5, {"score_chosen": 7, "score_rejected": "4.5"})
    assert one({**row, "score_chosen": 3, "score_rejected": 3}).margin == 0
    assert [one({**row, "label": v}).label for v in (0.75, "0.5", True, False, None)] == [0.75, 0.5, 1.0, 0.0, 1.0]
    assert one({**row, "weights": 2}).info == {"weights": 2}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"chosen": "same", "rejected": "same"}, "'chosen' and 'rejected' are the same"),
        ({"chosen": "a", "rejected": "b"}, "begin with nothing in common"),
        ({"chosen": [FOUR], "rejected": [FIVE]}, "begin with nothing in common"),
        ({"prompt": "q", "chosen": "a", "rejected": [FIVE]}, "must both be texts or both be messages"),
        ({"prompt": "q", "chosen": None, "rejected": "b"}, "'chosen' is missing, expected a text or a list of messages"),
        ({"prompt": {}, "chosen": "a", "rejected": "b"}, "'prompt' is an object, expected a text or a list of messages"),
        ({"prompt": [USER], "chosen": [USER], "rejected": [FIVE]}, "'chosen' must be one turn of the assistant, got 1: user"),
        ({"prompt": "q", "chosen": "a", "rejected": "b", "label": 2}, "'label' is 2, expected P(chosen better) in [0, 1]"),
        ({"prompt": "q", "chosen": "a", "rejected": "b", "margin": -1}, "'margin' is -1, expected at least 0"),
        ({"prompt": "q", "chosen": "a", "rejected": "b", "margin": "big"}, "'margin' is 'big', expected a number"),
        ({"prompt": "q", "chosen": "a", "rejected": "b", "score_chosen": 1, "score_rejected": 2}, "'score_chosen' (1) is below"),
        ({"chosen": HH + "4\n\nHuman: Bye", "rejected": HH + "5"}, "'chosen' ends with a turn of Human (turn 3), expected Assistant"),
        ({"chosen": HH + "4", "rejected": HH + "5\n\nAssistant: 6"}, "'rejected' has Assistant where Human should speak (turn 3)"),
        ({"chosen": "\n\nHuman: a\n\nHuman: b\n\nAssistant: c", "rejected": HH + "5"}, "'chosen' has Human where Assistant should speak (turn 2)"),
    ],
)  # fmt: skip
def test_preferences_that_cannot_be_used(row, message) -> None:
    fine = {"chosen": HH + "4", "rejected": HH + "5"} if "Human" in str(row) else {"prompt": "q", "chosen": "a", "rejected": "b"}
    with pytest.raises(DataError) as caught:
        list(read([fine, row]))
    assert str(caught.value).startswith("rows:2: ")
    assert message in str(caught.value)


def test_a_text_that_is_no_dialogue_but_should_be() -> None:
    with pytest.raises(DataError, match="rows:1: 'chosen' begins with 'Assistant: 4', expected 'Human:' and then"):
        list(read([{"chosen": "Assistant: 4", "rejected": HH + "5"}], "hh"))


def test_prompts_are_found_as_trl_finds_them() -> None:
    trl = pytest.importorskip("trl.data_utils")
    rng = random.Random(0)

    def words(n: int, start: str) -> str:
        return " ".join(start + "".join(rng.choices("abcd", k=rng.randint(1, 5))) for _ in range(n))

    def turns(n: int) -> list[dict[str, str]]:
        return [{"role": ("user", "assistant")[k % 2], "content": words(3, "t")} for k in range(n)]

    rows = []
    for _ in range(100):
        prompt = words(rng.randint(1, 6), "p")  # the answers begin with words of other letters, so TRL cuts at a space too
        rows.append({"chosen": f"{prompt} {words(3, 'x')}", "rejected": f"{prompt} {words(2, 'y')}"})
        rows.append({"prompt": prompt, "chosen": words(3, "x"), "rejected": words(2, "y")})
        talk, good, bad = turns(rng.choice((1, 3, 5))), FOUR, {"role": "assistant", "content": words(2, "y")}
        rows.append({"chosen": [*talk, good], "rejected": [*talk, bad]})
        rows.append({"prompt": talk, "chosen": [good], "rejected": [bad]})
        rows.append({"prompt": talk[0]["content"], "chosen": [*talk, good], "rejected": [*talk, bad]})
    for row, ours in zip(rows, read(rows), strict=True):
        theirs = trl.maybe_extract_prompt(dict(row))
        answers = [v[0]["content"] if isinstance(v, list) and len(v) == 1 else v for v in (theirs["chosen"], theirs["rejected"])]
        assert [ours.context, ours.first, ours.second] == [theirs["prompt"], *answers]


# ---------------------------------------------------------------- one output
def test_completions() -> None:
    for label in (True, 1, 1.0, "true", "True", "1"):
        row = {"prompt": "2+2=", "completion": 4, "label": label, "n": 3}
        assert one(row) == Rating(context="2+2=", output="4", scores={"overall": 1.0}, low=0, high=1, info={"n": 3})
    assert one({"prompt": [USER], "completion": [FIVE], "label": False}).scores == {"overall": 0.0}
    for label in (2, "good", None, 0.5, 10**400):
        with pytest.raises(DataError, match=r"^rows:1: 'label' is .*, expected true or false$"):
            list(read([{"prompt": "a", "completion": "b", "label": label}]))


def test_demonstrations() -> None:
    assert one({"prompt": "2+2=", "completion": "4", "n": 1}) == Demonstration(context="2+2=", output="4", info={"n": 1})
    assert one({"messages": [USER, FOUR, AGAIN, FIVE]}) == Demonstration(context=[USER, FOUR, AGAIN], output="5")
    assert one({"text": "once"}) == Demonstration(context="", output="once")
    assert one({"text": "once", "n": 1}, "demonstration").info == {"n": 1}
    with pytest.raises(DataError, match="if it is 'demonstration', say so with format='demonstration'"):
        list(read([{"text": "a text may be anything", "n": 1}]))


def test_ratings() -> None:
    row = {"prompt": "q", "response": 4, "helpfulness": 4, "correctness": "3.5", "verbosity": "N/A", "coherence": "", "id": 7}
    expected = Rating(context="q", output="4", scores={"helpfulness": 4.0, "correctness": 3.5}, low=0, high=4, info={"id": 7})
    assert one(row, scale=(0, 4)) == expected
    assert one({"question": "q", "output": "a", "score": "5"}) == Rating(context="q", output="a", scores={"overall": 5.0})
    mapping = {"prompt": "q", "output": "a", "scores": {"depth": "2", "tone": None}, "low": 1, "high": "5", "annotator": 12}
    assert one(mapping) == Rating(context="q", output="a", scores={"depth": 2.0}, low=1, high=5, annotator="12")
    assert one({**mapping, "scores": '{"depth": 2}'}).scores == {"depth": 2.0}  # as a cell of a CSV file
    named = one({"text": "x", "offence": 3, "user": 6}, columns={"scores": "offence", "annotator": "user"})
    assert named == Rating(output="x", scores={"offence": 3.0}, annotator="6")
    rated = list(read([{"output": "a", "rating": "N/A"}, {"output": "b", "rating": 1}]))
    assert [r.output for r in rated] == ["b"]  # nobody rated the first
    with pytest.raises(DataError, match=r"^rows:1: Rating.scores must be between 1 and 5, got"):
        list(read([{"output": "a", "rating": 6}], scale=(1, 5)))
    with pytest.raises(DataError, match=r"^rows:1: 'rating' is 'good', expected a number"):
        list(read([{"output": "a", "rating": "good"}]))
    with pytest.raises(DataError, match=r"name them with columns=\{'scores': \[...\]\}; columns with numbers: depth"):
        list(read([{"output": "a", "depth": 1}], "ratings"))


# ---------------------------------------------------------------- parts of an output
def test_steps_are_spans_of_the_joined_steps() -> None:
    row = {"prompt": "q", "completions": ["one", "two two", "three"], "labels": [True, False, 0.75], "id": 1}
    spans = list(read([row]))
    assert all(isinstance(s, SpanLabel) and s.output == "one\ntwo two\nthree" and s.context == "q" for s in spans)
    assert [s.output[s.start : s.end] for s in spans] == row["completions"]
    assert [(s.label, s.value, s.info) for s in spans] == [
        ("correct", 1.0, {"id": 1, "step": 1}), ("incorrect", -1.0, {"id": 1, "step": 2}), ("correct", 0.5, {"id": 1, "step": 3}),
    ]  # fmt: skip
    for change, message in (
        ({"labels": [True]}, "'labels' has 1 for 3 'completions'"),
        ({"labels": [True, 2, True]}, "'labels 2' is 2, expected true, false or a probability"),
        ({"completions": ["a", "", "b"]}, "'completions' 2 is empty"),
        ({"completions": "abc"}, "'completions' is a text, expected a list"),
    ):
        with pytest.raises(DataError, match=f"^rows:1: {message}"):
            list(read([{**row, **change}], "stepwise"))


def test_spans() -> None:
    span = {"start": 1, "end": "3", "type": "dull", "value": -0.5, "comment": "why?", "severity": 2}
    row = {"prompt": "q", "output": "abcdef", "spans": [span, {"start": 0, "end": 6, "label": "good", "value": 1}], "id": 1}
    first, second = (s.replace(source="") for s in read([row]))
    common = {"context": "q", "output": "abcdef"}
    assert first == SpanLabel(**common, start=1, end=3, label="dull", value=-0.5, text="why?", info={"id": 1, "severity": 2})
    assert second == SpanLabel(**common, start=0, end=6, label="good", value=1.0, info={"id": 1})
    for bad, message in (
        ({"start": 2, "end": 9, "label": "x"}, "'spans' 2 goes from 2 to 9, and the output has 6 characters"),
        ({"start": 2, "end": 2, "label": "x"}, "'spans' 2 goes from 2 to 2"),
        ({"end": 2, "label": "x"}, "'spans' 2 has no 'start'"),
        ({"start": 0, "end": 2}, "'spans' 2: no column 'label'"),
        (7, "'spans' 2 is a number, expected an object"),
    ):
        with pytest.raises(DataError, match=f"^rows:1: {message}"):
            list(read([{**row, "spans": [span, bad]}]))


def test_fine_grained_feedback() -> None:
    row = next(f.example for f in FORMATS if f.name == "fine-grained-rlhf")
    span, correction, *pairs = (r.replace(source="") for r in read([{**row, "gold": "4"}]))
    info = {"gold": "4", "missing-info": []}
    assert span == SpanLabel(context="2 + 2?", output="4, or 5", start=1, end=7, label="Irrelevant", info=info)
    assert correction == Correction(context="2 + 2?", output="4, or 5", corrected="4", info=info)
    assert [(c.first, c.second, c.label) for c in pairs] == [
        ("4, or 5", "4", 0.0), ("4, or 5", "5", 1.0), ("4, or 5", "6", 1.0), ("4", "5", 1.0), ("4", "6", 1.0), ("5", "6", 0.5),
    ]  # fmt: skip
    assert pairs[3].info == {**info, "predictions": [2, 3]}
    unmended = {**row["feedback"], "corrected-prediction": "4, or 5"}
    assert not any(isinstance(r, Correction) for r in read([{**row, "feedback": unmended}]))
    with pytest.raises(DataError, match=r"^rows:1: 'preference' has 3, expected 0 \(tie\), 1 \(the first\) or 2"):
        list(read([{**row, "preference": [1, 1, 1, 1, 1, 3]}]))
    with pytest.raises(DataError, match=r"^rows:1: 'preference' has 2 codes, expected 6"):
        list(read([{**row, "preference": [1, 1]}]))


# ---------------------------------------------------------------- two outputs and a label
PAIR = {"question": "q", "x": 1}
CASES = {
    "auto-j": ("response 1", "response 2", "label", {0: 1, "1": 0, 2: 0.5, "2.0": 0.5, "response 1": 1, "tie": 0.5}, [3, "both", None, 0.5, True]),
    "llmbar": ("output_1", "output_2", "label", {1: 1, "2": 0, "1.0": 1, "output_2": 0}, [0, 3, "x"]),
    "alpaca-eval": ("output_1", "output_2", "preference", {1: 1, 2.0: 0, "1.5": 0.5, 1.25: 0.75}, [0, 2.5, "A", None]),
    "judgebench": ("response_A", "response_B", "label", {"A>B": 1, "B>A": 0, "A=B": 0.5, "a>b": 1}, ["A>>B", 1, "C"]),
    "labelled-pair": ("answer_a", "answer_b", "winner", {"A": 1, "b": 0, "answer_b": 0, "Tie": 0.5, "B>A": 0, "model_a": 1}, [0, 1, "c", True]),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_labels_mean(name) -> None:
    first, second, column, good, bad = CASES[name]
    for code, label in good.items():
        row = {**PAIR, first: 4, second: "5", column: code}
        expected = Comparison(context="q", first="4", second="5", label=label, info={"x": 1})
        assert one(row) == expected == one(row, name)
    for code in bad:
        with pytest.raises(DataError, match=rf"^rows:1: '{column}' is .*(expected|name the format)"):
            list(read([{**PAIR, first: "4", second: "5", column: code}]))


def test_numbers_mean_nothing_without_a_code() -> None:
    row = {**PAIR, "response_a": "4", "response_b": "5", "label": 1}
    with pytest.raises(DataError, match=r"the columns do not say which output that is; name the format: 'auto-j' .* codes="):
        list(read([row]))
    assert one(row, "llmbar").label == 1.0
    assert one(row, "auto-j").label == 0.0
    assert one(row, codes={1: "second", 0: "first"}).label == 0.0
    assert one(row, codes={"1": 0.8}).label == 0.8
    with pytest.raises(DataError, match=r"^rows:1: 'label' is 1, expected one of: 0 \(first\)"):
        list(read([row], codes={0: "first"}))
    with pytest.raises(DataError, match=r"^rows:1: 'label' is 'tie', expected one of: 0 \(first\)"):  # the given codes are all
        list(read([{**row, "label": "tie"}], codes={0: "first"}))
    with pytest.raises(DataError, match=r"codes: 1 means 'frist', expected 'first', 'second', 'tie' or P"):
        read([row], codes={1: "frist"})
    safe = {"prompt": "q", "response_0": "4", "response_1": "5", "better": 1, "label": "response_1"}
    assert one(safe).label == 0.0  # the name of a column means that column
    assert one(safe, columns={"label": "better"}, codes={0: "first", 1: "second"}).label == 0.0


def test_three_outputs_are_no_pair() -> None:
    row = {"prompt": "q", "response_0": "a", "response_1": "b", "response_2": "c", "label": "A"}
    with pytest.raises(DataError, match="rows:1: no format has the columns"):
        list(read([row]))
    with pytest.raises(DataError, match="rows:1: expected exactly two outputs"):
        list(read([row], "labelled-pair"))


def test_annotators() -> None:
    row = {"instruction": "Add.", "input": "2 + 2", "response1": "4", "response2": "5", "idx": 3}
    said = {
        "annotator1": 0,
        "annotator2": "1",
        "annotator3": 2,
        "annotator_4": "tie",
        "annotator5": "A",
        "annotator6": "response2",
    }
    found = list(read([{**row, **said, "annotator7": None, "annotator8": "N/A"}]))
    assert [(c.annotator, c.label) for c in found] == list(zip(said, (0.5, 1, 0, 0.5, 1, 0), strict=True))
    assert all((c.context, c.first, c.second, c.info) == ("Add.\n\n2 + 2", "4", "5", {"idx": 3}) for c in found)
    named = list(read([{**row, **said}], annotator={"annotator2": "Ann", "annotator3": "Bo"}))
    assert [(c.annotator, c.label) for c in named] == [("Ann", 1), ("Bo", 0)]
    mapped = list(read([{**row, "ann": "x", "bo": "y"}], annotator={"ann": "Ann", "bo": "Bo"}, codes={"x": "first", "y": "tie"}))
    assert [(c.annotator, c.label) for c in mapped] == [("Ann", 1), ("Bo", 0.5)]
    with pytest.raises(DataError, match=r"^rows:1: 'annotator1' is 3, expected one of: 0 \(tie\), 1 \(first\), 2 \(second\)"):
        list(read([{**row, "annotator1": 3}]))
    with pytest.raises(DataError, match="annotator='Ann' is one name, and each column is an annotator"):
        list(read([{**row, **said}], annotator="Ann"))


# ---------------------------------------------------------------- several outputs, own records
def test_rankings() -> None:
    expected = Ranking(context="q", outputs=("a", "4", "c"), ranks=(2, 1, 2), info={"id": 1})
    assert one({"prompt": "q", "outputs": ["a", 4, "c"], "ranks": [2, "1", 2.0], "id": 1}) == expected
    assert one({"prompt": "q", "best_first": ["a", "b"]}) == Ranking(context="q", outputs=("a", "b"), ranks=(1, 2))
    for ranks, message in (([0, 1], "'ranks' has 0, expected whole numbers from 1"), ([1], "'ranks' has 1 for 2 outputs")):
        with pytest.raises(DataError, match=f"^rows:1: {message}"):
            list(read([{"prompt": "q", "outputs": ["a", "b"], "ranks": ranks}]))


def test_records_come_back_as_they_are() -> None:
    record = Comparison(context="q", first="a", second="b", label=0.25, annotator="ann", time=3.0, source="s", uids=(1, 2))
    assert list(read([record.to_record()])) == [record]
    assert next(read([{**record.to_record(), "annotator": ""}], annotator="Bo")).annotator == "Bo"
    for change, message in (
        ({"label": 2}, "Comparison.label must be"),
        ({"lable": 1}, "no field 'lable'"),
        ({"uids": 5}, "not a record"),
    ):
        with pytest.raises(DataError, match=f"^rows:1: .*{message}"):
            list(read([{**record.to_record(), **change}]))


# ---------------------------------------------------------------- recognition
@pytest.mark.parametrize("format", FORMATS, ids=lambda f: f.name)
def test_every_format_is_recognised_by_its_example(format, tmp_path: Path) -> None:
    assert next(f for f in FORMATS if f.recognises(format.example)) is format
    found = list(read([format.example]))
    assert found == list(read([format.example], format.name))
    assert [from_record(json.loads(json.dumps(r.to_record()))) for r in found] == found
    assert len({r.id for r in found}) == len(found)
    assert formats()[format.name] == format.about
    path = tmp_path / "d.jsonl"
    path.write_text(json.dumps(format.example) + "\n\n" + json.dumps(format.example) + "\n")
    assert [r.source for r in read(path)] == [
        *["d.jsonl:1"] * len(found),
        *["d.jsonl:3"] * len(found),
    ] or format.name == "records"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"promt": "q", "chosen": "a", "rejcted": "b"}, r"columns 'promt', 'chosen', 'rejcted'; the nearest is 'preference', which also needs 'rejected' \(did you mean 'rejcted'\?\)"),
        ({"question": "q", "output_1": "a", "output_2": "b"}, "the nearest is 'alpaca-eval', which also needs 'preference'"),
        ({"outputs": ["a", "b"]}, "the nearest is 'ranking', which also needs 'ranks'"),
        ({"sepal": 1, "petal": 2}, r"no format has the columns 'sepal', 'petal', or one like them; name columns with columns="),
        ({}, "no format has the columns none"),
        ({"kind": "comparision"}, "if it is 'records', say so with format='records'"),
        (["a"], "expected a mapping of columns, got list"),
    ],
)  # fmt: skip
def test_columns_that_no_format_has(row, message) -> None:
    with pytest.raises(DataError, match=message) as caught:
        list(read([row]))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "preferences"}, r"unknown format 'preferences'; did you mean 'preference'\?"),
        ({"limit": 0}, "limit must be at least 1"),
        ({"columns": {"promt": "q"}}, r"columns: nothing is called 'promt'; did you mean 'prompt'\?"),
        ({"columns": {"prompt": ["a", "b"]}}, "columns: 'prompt' must be the name of one column"),
    ],
)
def test_arguments_that_cannot_work(options, message) -> None:
    with pytest.raises(DataError, match=message):  # at once, not at the first record
        read([{}], **options)


def test_times_are_read_where_they_are_named() -> None:
    row = {"prompt": "q", "chosen": "a", "rejected": "b", "time": 5}
    assert (one(row).time, one(row).info) == (None, {"time": 5})
    assert (one(row, columns={"time": "time"}).time, one(row, columns={"time": "time"}).info) == (5.0, {})
    assert one({**row, "at": "2024-05-01T12:00:00+00:00"}, columns={"time": "at"}).time == 1714564800.0
    for bad in ("soon", [1], float("inf")):
        with pytest.raises(DataError, match=r"^rows:1: 'time' is .*, expected seconds since 1970"):
            list(read([{**row, "time": bad}], columns={"time": "time"}))


def test_what_is_said_must_mean_something() -> None:
    row = {"prompt": "q", "chosen": "a", "rejected": "b"}
    for options, option in (({"codes": {1: "first"}}, "codes"), ({"scale": (1, 5)}, "scale")):
        with pytest.raises(DataError, match=f"format 'preference' has no {option}"):
            list(read([row], **options))
        with pytest.raises(DataError, match=f"format 'preference' has no {option}"):
            list(read([row], "preference", **options))


def test_columns_of_other_names() -> None:
    row = {"q": "2+2=", "good": "4", "bad": "5", "x": 1}
    names = {"prompt": "q", "chosen": "good", "rejected": "bad"}
    assert one(row, columns=names) == Comparison(context="2+2=", first="4", second="5", info={"x": 1})
    with pytest.raises(DataError, match=r"^rows:1: no column 'god' for 'chosen'; did you mean 'good'\?"):
        list(read([row], columns={**names, "chosen": "god"}))
