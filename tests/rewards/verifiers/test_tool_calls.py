"""ToolCalls: calls as models write them, scores worked out by hand, real tasks, and texts that mean harm."""

import copy
import gzip
import itertools
import json
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from guerdon.core import RewardError
from guerdon.rewards import recorded
from guerdon.rewards.verifiers.tool_call_match import assign, likeness
from guerdon.rewards.verifiers.tool_call_text import Unreadable, calls_in, calls_of, canonical
from guerdon.rewards.verifiers.tool_calls import ToolCalls
from guerdon.rewards.verifiers.verifier import Checked

NEWS = {"name": "news", "parameters": {"topic": "ai", "page": 1}}
MAIL = {"name": "mail", "parameters": {"to": "ann@x.org"}}
PLAIN = {"name": "now", "parameters": {}}


def tagged(*calls: Any) -> str:
    """As in ToolRL: one part, a call on each line."""
    return "<think> I should call. </think>\n<tool_call>\n" + "\n".join(json.dumps(c) for c in calls) + "\n</tool_call>"


def one(output: str, calls: Any, **options: Any) -> Checked:
    return ToolCalls(**options).check(output, calls=calls)


FORMATS = {
    "ToolRL": tagged(NEWS, MAIL),
    "Hermes": "\n".join(f"<tool_call>\n{json.dumps({'name': c['name'], 'arguments': c['parameters']})}\n</tool_call>" for c in (NEWS, MAIL)),
    "arguments as a text": tagged(*({"name": c["name"], "arguments": json.dumps(c["parameters"])} for c in (NEWS, MAIL))),
    "a list": json.dumps([NEWS, MAIL]),
    "a list in a part": f"<tool_call>{json.dumps([NEWS, MAIL])}</tool_call>",
    "lines": f"{json.dumps(NEWS)}\n{json.dumps(MAIL)}",
    "indented": f"<tool_call>{json.dumps(NEWS, indent=2)},\n{json.dumps(MAIL, indent=2)}</tool_call>",
    "fenced": f"```json\n{json.dumps([NEWS, MAIL], indent=1)}\n```",
    "OpenAI": json.dumps({"tool_calls": [{"id": "a1", "type": "function", "function": {"name": c["name"], "arguments": json.dumps(c["parameters"])}} for c in (NEWS, MAIL)]}),
    "a thought about tags": "<think>In the <tool_call> part {I} write</think> Now: " + tagged(NEWS, MAIL).partition("</think>")[2],
    "a thought that the prompt opened": "So <tool_call> it is. </think>" + tagged(NEWS, MAIL).partition("</think>")[2],
    "a thought between": f"<tool_call>{json.dumps(NEWS)}</tool_call><think><tool_call>no</think><tool_call>{json.dumps(MAIL)}</tool_call>",
    "an answer behind": tagged(NEWS, MAIL) + "\n<response> I called. </response>",
}  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_read(name: str) -> None:
    assert one(FORMATS[name], [NEWS, MAIL]).total == 1.0
    assert one(FORMATS["ToolRL"], FORMATS[name]).total == 1.0  # as the known calls, too
    assert one(FORMATS[name], [NEWS]).total == 0.0


@pytest.mark.parametrize(
    ("a", "b", "equal"),
    [
        (1, 1.0, True), (0.0, -0.0, True), (10**20, 1e20, True), (1, "1", False), (1, True, False), (0, False, False), (0, None, False), ("", None, False),
        ("Oslo", "oslo", False), ("Oslo", "Oslo ", False), ("é", "e\u0301", False), ([1, 2], [1.0, 2.0], True), ([1, 2], [2, 1], False), ((1,), [1], True),
        ({"a": 1, "b": [2]}, {"b": [2.0], "a": 1}, True), ({"a": 1}, {"a": 1, "b": None}, False), ([[]], [], False), ({}, [], False), (0.1 + 0.2, 0.3, False),
    ],
)  # fmt: skip
def test_values_are_equal_as_json(a: Any, b: Any, equal: bool) -> None:
    assert (canonical(a) == canonical(b)) is equal
    assert one(tagged({"name": "f", "parameters": {"x": b}}), [{"name": "f", "arguments": {"x": a}}]).total == float(equal)


def test_loose_texts() -> None:
    gold, said = [{"name": "f", "arguments": {"x": ["Straße  7"]}}], tagged({"name": "f", "arguments": {"x": [" STRASSE\n7"]}})
    assert (one(said, gold).total, one(said, gold, loose=True).total) == (0.0, 1.0)
    assert one(tagged({"name": "F", "arguments": {"x": ["Straße 7"]}}), gold, loose=True).total == 0.0  # names of tools are exact
    assert one(tagged({"name": "f", "arguments": {"X": ["Straße 7"]}}), gold, loose=True).total == 0.0  # and of arguments


# Worked out by hand: (names + keys + values) / (1 + calls + arguments); 5 + 1 = 1 + 2 + 3 for NEWS and MAIL together.
SCORES = [
    ("all", [NEWS, MAIL], [NEWS, MAIL], 1.0),
    ("another order", [MAIL, NEWS], [NEWS, MAIL], 1.0),
    ("nothing", [], [NEWS, MAIL], 0.0),
    ("one missing", [NEWS], [NEWS, MAIL], (1 / 2 + 1 + 2) / 6),
    ("one too many", [NEWS, MAIL, PLAIN], [NEWS, MAIL], (2 / 3 + 1 + 2 + 1 + 1) / 6),
    ("one twice", [NEWS, NEWS], [NEWS], (1 / 2 + 1 + 2) / 4),
    ("wrong name", [{**NEWS, "name": "newz"}], [NEWS], 0.0),
    ("wrong name of one", [{**NEWS, "name": "newz"}, MAIL], [NEWS, MAIL], (1 / 3 + 1 + 1) / 6),
    ("missing argument", [{"name": "news", "parameters": {"topic": "ai"}}], [NEWS], (1 + 1 / 2 + 1) / 4),
    ("extra argument", [{"name": "news", "parameters": {"topic": "ai", "page": 1, "size": 3}}], [NEWS], (1 + 2 / 3 + 2) / 4),
    ("wrong value", [{"name": "news", "parameters": {"topic": "ai", "page": 2}}], [NEWS], (1 + 1 + 1) / 4),
    ("wrong argument", [{"name": "news", "parameters": {"subject": "ai", "page": 1}}], [NEWS], (1 + 1 / 3 + 1) / 4),
    ("no arguments", [{"name": "news"}], [NEWS], (1 + 0 + 0) / 4),
    ("no arguments wanted", [PLAIN], [PLAIN], 1.0),
    ("arguments not wanted", [{"name": "now", "parameters": {"zone": "UTC"}}], [PLAIN], (1 + 0) / 2),
    ("names only", [{"name": "mail", "parameters": {"cc": "x"}}, {"name": "news", "parameters": {}}], [NEWS, MAIL], 1 / 6),
]  # fmt: skip


@pytest.mark.parametrize(("made", "wanted", "score"), [c[1:] for c in SCORES], ids=[c[0] for c in SCORES])
def test_graded_scores_by_hand(made: list[Any], wanted: list[Any], score: float) -> None:
    output = tagged(*made) if made else "I cannot."
    checked = one(output, wanted, partial=True)
    assert checked.total == pytest.approx(score)
    assert one(output, wanted).total == checked.parts["exact"] == float(score == 1.0)
    assert (checked.note == "") == (score == 1.0)


def test_order() -> None:
    swapped = tagged(MAIL, NEWS)
    assert one(swapped, [NEWS, MAIL]).total == 1.0
    assert one(swapped, [NEWS, MAIL], ordered=True).total == 0.0
    assert one(tagged(NEWS, MAIL), [NEWS, MAIL], ordered=True).total == 1.0
    # in order only one of the two can count: the larger, NEWS; names share one of three
    expected = (1 / 3 + 1 + 2) / 6
    assert one(swapped, [NEWS, MAIL], ordered=True, partial=True).total == pytest.approx(expected)
    assert one(swapped, [NEWS, MAIL]).parts["order"] == pytest.approx(expected)
    assert one(tagged(NEWS, MAIL), [NEWS, MAIL]).parts["order"] == 1.0


def test_the_best_assignment_counts() -> None:
    # the first wanted call alone would take the call that the second needs: 1 + 1 against 1 + 2 for the same partner
    first, second = ({"name": "f", "parameters": p} for p in ({"a": 1, "b": 1}, {"a": 1, "b": 2}))
    made = [second, {"name": "f", "parameters": {"a": 9, "b": 1}}]
    # pairs first-made[1] (keys 1, values 1) and second-made[0] (1, 2): (1 + 2 + 3) / (1 + 2 + 4)
    assert one(tagged(*made), [first, second], partial=True).total == pytest.approx(6 / 7)


def test_assignment_equals_trying_everything() -> None:
    rng = random.Random(0)
    for _ in range(150):
        rows, columns = rng.randint(1, 5), rng.randint(1, 5)
        scores = [[rng.choice([0.0, 0.5, 1.0, 2.0, rng.random()]) for _ in range(columns)] for _ in range(rows)]
        pairs = assign(scores)
        assert len({i for i, _ in pairs}) == len({j for _, j in pairs}) == len(pairs) == min(rows, columns)
        wide = scores if rows <= columns else [list(c) for c in zip(*scores, strict=True)]
        best = max(sum(wide[i][j] for i, j in enumerate(p)) for p in itertools.permutations(range(len(wide[0])), len(wide)))
        assert sum(scores[i][j] for i, j in pairs) == pytest.approx(best)


def test_no_call_wanted() -> None:
    for nothing in ([], "[]", "<think> It is known. </think>\n<response> Oslo. </response>"):
        assert one("It is Oslo.", nothing).total == one("[1] says Oslo", nothing).total == 1.0
        assert one("It is Oslo.", nothing, partial=True).parts["graded"] == 1.0
        assert one(tagged(PLAIN), nothing).total == one(tagged(PLAIN), nothing, partial=True).total == 0.0
        assert one("<tool_call></tool_call>", nothing).total == 0.0
        assert one("<think> I wonder", nothing).total == 0.0  # cut off before it answered


@pytest.mark.parametrize(
    "gold", [None, 7, "", "Oslo", "<tool_call>", "{", ["f"], [{"arguments": {}}], [{"name": "f", "args": {}}], [{"name": "f", "arguments": [1]}], [{"name": "f", "arguments": {"x": float("nan")}}], [{"name": "f", "arguments": {"x": {1: 2}}}], [{"name": "f", "arguments": {"x": b"y"}}], [PLAIN] * 129],
)  # fmt: skip
def test_known_calls_that_cannot_be_read_are_no_verdict(gold: Any) -> None:
    checked = one(tagged(NEWS), gold)
    assert checked.reason.startswith("the known calls cannot be read: ")
    with pytest.raises(Unreadable):
        calls_of(gold)


def test_columns() -> None:
    out = ToolCalls("gold", partial=True)(
        recorded(["q"] * 3, [tagged(NEWS), "none", tagged(NEWS)], {"gold": [[NEWS], [NEWS], 3]})
    )
    assert out.total.tolist() == [1.0, 0.0, 0.0] and out.ok.tolist() == [True, True, False]
    assert set(out.parts) == {"exact", "graded", "names", "keys", "values", "order", "parsed"}
    with pytest.raises(RewardError, match="no column 'calls'; did you mean 'cals'"):
        ToolCalls()(recorded(["q"], ["a"], {"cals": [[]]}))


def part(content: str) -> str:
    return f"<tool_call>{content}</tool_call>"


HOSTILE = {
    "10 MB": "x" * 10**7,
    "10 MB of calls": part('{"name": "news"}' * 650_000),
    "deep lists": part("[" * 100_000 + "]" * 100_000),
    "deep objects": '{"a":' * 100_000 + "1" + "}" * 100_000,
    "deep arguments": part('{"name": "news", "arguments": {"topic": ' + "[" * 100_000 + "]" * 100_000 + "}}"),
    "101 levels": part('{"name": "news", "arguments": {"topic": ' + "[" * 101 + "]" * 101 + "}}"),
    "deep in a text": part(json.dumps({"name": "news", "arguments": '{"topic":' * 50_000})),
    "a name twice": part('{"name": "mail", "name": "news", "arguments": {"topic": "ai", "page": 1}}'),
    "an argument twice": part('{"name": "news", "arguments": {"topic": "x", "topic": "ai", "page": 1}}'),
    "arguments twice": part('{"name": "news", "arguments": {"topic": "ai", "page": 1}, "parameters": {}}'),
    "NaN": part('{"name": "news", "arguments": {"topic": "ai", "page": NaN}}'),
    "infinite": part('{"name": "news", "arguments": {"topic": "ai", "page": 1e999}}'),
    "a long number": part('{"name": "news", "arguments": {"page": ' + "9" * 900_000 + "}}"),
    "a long fraction": part('{"name": "news", "arguments": {"page": 0.' + "9" * 900_000 + "}}"),
    "129 calls": part('{"name": "news"}' * 129),
    "only openings": "<tool_call>" * 90_000,
    "only closings": "</tool_call>" * 80_000,
    "only thoughts": "<think></think>" * 60_000 + "<tool_call>",
    "open thoughts": "<think>" * 140_000,
    "only ends of thoughts": "</think>" * 120_000,
    "no end": "<tool_call>" + json.dumps(NEWS),
    "broken": part('{"name": "news", "arguments": {"topic": "ai", "page": 1}'),
    "not a call": part("7"),
    "a list of texts": part('["news"]'),
    "no name": part('{"arguments": {}}'),
    "name is no text": part('{"name": ["news"], "arguments": {"topic": "ai", "page": 1}}'),
    "arguments are a list": part('{"name": "news", "arguments": ["ai", 1]}'),
    "fences": "```json\n" * 110_000,
    "blanks": part(" " * 900_000),
    "a call in a thought only": "<think>" + part(json.dumps(NEWS)) + "</think> done",
    "nothing": "",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_gets_nothing_at_once(name: str) -> None:
    start = time.monotonic()
    checked = one(HOSTILE[name], [NEWS], partial=True)
    assert (checked.total, checked.reason) == (0.0, "") and checked.note
    assert time.monotonic() - start < 10


def test_large_arguments_and_odd_characters_are_compared() -> None:
    start = time.monotonic()
    assert one(
        part('{"name": "news", "arguments": {"page": [' + "1," * 400_000 + "1]}}"), [NEWS], partial=True
    ).total == pytest.approx((1 + 1 / 2) / 4)
    many = [{"name": "f", "arguments": {"x": k, "y": 0}} for k in range(128)]
    assert one(json.dumps(many[::-1]), many).total == 1.0
    assert time.monotonic() - start < 20
    deep = {"name": "f", "arguments": {"x": json.loads("[" * 100 + "]" * 100)}}
    assert one(tagged(deep), [deep]).total == 1.0
    odd = {"name": "f\ud800", "arguments": {"x": "\udfff\0"}}
    assert one(tagged(odd), [odd]).total == 1.0
    assert one('<tool_call>{"name": "f\ud800", "arguments": {"x": "\udfff\\u0000"}}</tool_call>', [odd]).total == 1.0
    text = {"name": "f", "arguments": {"x": "</tool_call><think>"}}
    assert one(tagged(text), [text]).total == 1.0


def rows_of(folder: Path, name: str) -> Iterator[Any]:
    with gzip.open(folder / "verifiable" / f"{name}.jsonl.gz", "rt", encoding="utf8") as lines:
        yield from map(json.loads, lines)


@pytest.fixture(scope="module")
def texts(shared_data: Path) -> list[str]:
    """What ToolRL's tasks hold as the right output."""
    tests = [r["reward_model"]["ground_truth"] for r in rows_of(shared_data, "toolrl_rlla_rl_test")]
    return tests + [r["output"] for r in rows_of(shared_data, "toolrl_rlla_sft")]


def test_every_known_answer_of_toolrl_is_right(texts: list[str]) -> None:
    assert len(texts) == 480
    assert sum(not calls_in(t) for t in texts) == 63  # answered without a call
    for ordered in (False, True):
        assert {one(t, t, ordered=ordered).total for t in texts} == {1.0}


def test_every_known_answer_of_api_bank_is_right(shared_data: Path) -> None:
    golds = [r["answer"] for r in rows_of(shared_data, "api_bank_processed")]
    assert (len(golds), sum(isinstance(g, dict) for g in golds)) == (597, 67)
    for gold in golds:
        calls = gold if isinstance(gold, list) else [gold]
        for output in (
            json.dumps(gold),
            tagged(*calls),
            tagged(*({"name": c["name"], "arguments": json.dumps(c["parameters"])} for c in calls)),
        ):
            assert one(output, gold).total == 1.0


def changed(calls: list[Any], how: str) -> list[Any]:
    calls = copy.deepcopy(calls)
    arguments = calls[0]["parameters"]
    if how == "name":
        calls[0]["name"] += "?"
    elif how == "value":
        arguments[min(arguments)] = {"no": "such value"}
    elif how == "missing":
        del arguments[min(arguments)]
    elif how == "extra call":
        calls.append({"name": "?", "parameters": {}})
    elif how == "swapped":
        calls.reverse()
    return calls


@pytest.mark.parametrize("how", ["name", "value", "missing", "extra call", "swapped"])
def test_changed_answers_of_toolrl(texts: list[str], how: str) -> None:
    """One change to the first call of a real task; what it costs follows from the formula for names that are all different."""
    seen = 0
    for text in texts:
        wanted = [
            {"name": c.name, "parameters": {k: json.loads(v) for k, v in c.arguments.items()}} for c in calls_in(text) or []
        ]
        names = [c["name"] for c in wanted]
        if not wanted or len(set(names)) < len(names) or not wanted[0]["parameters"] or (how == "swapped" and len(wanted) == 1):
            continue
        n, m = len(wanted), len(wanted[0]["parameters"])
        most = 1 + n + sum(len(c["parameters"]) for c in wanted)
        lost = {
            "name": 1 - (n - 1) / (n + 1) + 1 + m,  # shared names, and all of the first call
            "value": 1,
            "missing": 1 / m + 1,  # (m - 1) of m names, and the value
            "extra call": 1 - n / (n + 1),
            "swapped": 0,
        }[how]
        output = tagged(*changed(wanted, how))
        assert one(output, wanted, partial=True).total == pytest.approx(1 - lost / most)
        assert one(output, wanted).total == float(how == "swapped")
        assert one(output, wanted, ordered=True).total == 0.0
        seen += 1
    assert seen >= (60 if how == "swapped" else 250)


def test_likeness_of_nothing() -> None:
    assert likeness([], []).exact == 1.0 and likeness([], [], in_order=True).graded == 1.0
    assert likeness(calls_of([PLAIN]), [], in_order=True) == (0.0, 0.0, 0.0, 0.0, 0.0)
