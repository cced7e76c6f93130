"""The first rewards, by numbers computed by hand."""

import pytest
import torch

from guerdon.core import PlanError, RewardError, RewardOutput, Rollout
from guerdon.rewards import Column, Format, JSONSchema, Keywords, Length, Maths, Mixture, Regex, Sentiment, recorded


def score(reward, outputs, contexts=None, **columns):
    return reward(recorded(contexts or ["q"] * len(outputs), outputs, columns))


def totals(reward, outputs, contexts=None, **columns):
    return score(reward, outputs, contexts, **columns).total.tolist()


def test_length() -> None:
    words = ["", "a", "a b", "a b c", "a b c d", "a b c d e f g h"]
    assert totals(Length(target=2), words) == [0.0, 0.5, 1.0, 0.5, 0.0, 0.0]
    assert totals(Length(low=2), words) == [0.0, 0.5, 1.0, 1.0, 1.0, 1.0]
    assert totals(Length(high=4), words) == [1.0, 1.0, 1.0, 1.0, 1.0, 0.0]
    assert totals(Length(target=4, unit="character"), ["abc", "abcd"]) == [0.75, 1.0]
    assert score(Length(target=2), words).parts["length"].tolist() == [0, 1, 2, 3, 4, 8]
    rollout = recorded(["q"] * 2, ["x", "y"]).replace(
        actions=torch.zeros(2, 4, dtype=torch.long), mask=torch.tensor([[False, True, True, False], [True, True, True, True]])
    )
    assert Length(target=4, unit="step")(rollout).total.tolist() == [0.5, 1.0]


def test_keywords() -> None:
    texts = ["The cat and the DOG", "a cat", "catalogue", ""]
    assert totals(Keywords(("cat", "dog")), texts) == [1, 1, 0, 0]
    assert totals(Keywords(("cat", "dog"), need="all"), texts) == [1, 0, 0, 0]
    assert totals(Keywords(("cat", "dog"), need="none"), texts) == [0, 0, 1, 1]
    assert totals(Keywords(("cat", "dog"), need="share"), texts) == [1, 0.5, 0, 0]
    assert totals(Keywords(("dog",), case=True), texts) == [0, 0, 0, 0]
    assert totals(Keywords(("C++", "a.b")), ["I like C++.", "axb"]) == [1, 0]


def test_format() -> None:
    good = "<think>2+2</think>\n<answer>4</answer>\n"
    cases = {
        good: 1,
        " " + good: 1,
        "so " + good: 0,
        good + "done": 0,
        good + good: 0,
        "<answer>4</answer><think>2+2</think>": 0,
        "<think>2+2</think>": 0,
        "<think>2+2<answer>4</answer></think>": 0,
        "<think>a</think></think><answer>4</answer>": 0,
        "": 0,
    }
    assert totals(Format(), list(cases)) == list(cases.values())
    assert totals(Format(rest=True), [good + "done", good + good]) == [1, 0]
    out = score(Format(), ["<think>2+2</think> 4"])
    assert (out.parts["think"].item(), out.parts["answer"].item()) == (1, 0)


def test_format_where_the_prompt_holds_the_first_tag() -> None:
    """A reward that misses the prefilled tag gives 0 for a good answer and 1 for one that repeats the tag."""
    behind = "2+2</think><answer>4</answer>"
    messages = [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "<think>\n"}]
    for context in ("2+2? <think>", "2+2? <think>\n", messages):
        assert totals(Format(), [behind, "<think>" + behind], [context] * 2) == [1, 0]
    plain = [{"role": "user", "content": "Answer after <think>"}]
    assert totals(Format(), [behind, "<think>" + behind], [plain] * 2) == [0, 1]
    assert totals(Format(prefilled=True), [behind, "<think>" + behind], [plain] * 2) == [1, 0]


def test_json_schema() -> None:
    schema = {"type": "array", "items": {"$ref": "#/$defs/n"}, "$defs": {"n": {"type": "number", "minimum": 0}}}
    out = score(JSONSchema(schema), ["[1, 2.5]", "[-1]", "[1", "NaN", "[" * 100_000, "[1e999]", "9" * 5000])
    assert out.total.tolist() == [1, 0, 0, 0, 0, 1, 0]
    assert out.parts["json"].tolist() == [1, 1, 0, 0, 0, 1, 0]
    assert out.ok.all()
    as_in_a_plan = JSONSchema({"enum": ("a", "b")})  # lists of YAML become tuples
    assert as_in_a_plan == JSONSchema({"enum": ["a", "b"]})
    assert totals(as_in_a_plan, ['"a"', '"c"']) == [1, 0]


def test_json_schema_fetches_nothing() -> None:
    out = score(JSONSchema({"$ref": "http://127.0.0.1:9/schema.json"}), ["4"])
    assert not out.ok[0]
    assert "Unresolvable" in out.reason[0] or "Unretrievable" in out.reason[0]


def test_sentiment_is_vaders_compound() -> None:
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    texts = ["I love it!", "I hate it.", "A table.", ""]
    expected = [SentimentIntensityAnalyzer().polarity_scores(t)["compound"] for t in texts]
    assert expected[0] > 0 > expected[1]
    assert totals(Sentiment(), texts) == pytest.approx(expected)


def test_column() -> None:
    out = score(Column("score"), ["a"] * 5, score=[1, 0.25, "x", None, float("nan")])
    assert out.total.tolist() == [1, 0.25, 0, 0, 0]
    assert out.reason[2:] == [
        "ValueError: could not convert string to float: 'x'",
        "ValueError: column 'score' is empty",
        "reward is nan",
    ]
    assert totals(Column("score"), ["a"] * 2, score=torch.tensor([0.5, 2.0])) == [0.5, 2.0]
    with pytest.raises(RewardError, match="no column 'scor'; did you mean 'score'"):
        score(Column("scor"), ["a"], score=[1])


def test_regex() -> None:
    assert totals(Regex(r"\d+"), ["a 4", "b", "é5"]) == [1, 0, 1]
    assert totals(Regex(r"\d+", full=True), ["44", "44 "]) == [1, 0]
    out = recorded(["q"] * 2, [torch.zeros(2), "4"])
    assert Regex("4")(out).reason == ["expected a text, got Tensor", ""]


def test_regex_that_would_never_end() -> None:
    out = score(Regex(r"^(a+)+$", timeout=0.5), ["aaa", "a" * 40 + "b", "b"])
    assert out.reason == ["", "timed out after 0.5 s", ""]
    assert out.total.tolist() == [1, 0, 0]


def test_mixture() -> None:
    def dense(total: list[float], ok: list[bool], **more: torch.Tensor) -> RewardOutput:
        return RewardOutput(torch.tensor(total), torch.tensor(ok), ["" if k else "lost" for k in ok], **more)

    mixed = Mixture({"a": (Length(target=2), 0.5), "b": (Keywords(("x",)), -2.0)})
    assert totals(mixed, ["x y", "y z", "x"]) == [0.5 - 2, 0.5, 0.25 - 2]
    out = mixed.combine({
        "a": dense([1.0, 2.0], [True, True], std=torch.tensor([2.0, 0.0]), parts={"p": torch.tensor([7.0, 8.0])}),
        "b": dense([3.0, 0.0], [True, False], std=torch.tensor([1.0, 0.0]), step=torch.ones(2, 3)),
    })  # fmt: skip
    assert out.total.tolist() == [0.5 * 1 - 2 * 3, 0]
    assert out.reason == ["", "b: lost"]
    assert out.step is not None
    assert out.step.tolist() == [[-2] * 3, [0] * 3]
    assert out.std is not None
    assert out.std[0].item() == pytest.approx((0.5**2 * 4 + 4 * 1) ** 0.5)
    assert {k: v[0].item() for k, v in out.parts.items()} == {"a": 1, "a/p": 7, "b": 3}


def test_mixture_of_functions_and_nested() -> None:
    inner = Mixture({"n": lambda output: len(output)})
    mixed = Mixture({"inner": [inner, 2], "one": lambda output: 1.0})
    assert totals(mixed, ["abc"]) == [7.0]
    assert sorted(score(mixed, ["abc"]).parts) == ["inner", "inner/n", "one"]
    assert mixed.scope == "sample"

    def alike(completions: list[str]) -> list[float]:
        return [float(len(completions))] * len(completions)

    alike.scope = "group"  # type: ignore[attr-defined]
    assert Mixture({"a": alike, "b": Length(target=1)}).scope == "group"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Length(), "give either target, or low and high"),
        (lambda: Length(target=3, low=1), "give either target, or low and high"),
        (lambda: Length(low=5, high=2), "low 5 is above high 2"),
        (lambda: Length(target=0), "at least 1"),
        (lambda: Length(target=1, unit="line"), "unit must be"),  # type: ignore[arg-type]
        (lambda: Keywords("cat"), "list of words"),  # type: ignore[arg-type]
        (lambda: Keywords(()), "list of words"),
        (lambda: Keywords(("a",), need="some"), "need must be"),  # type: ignore[arg-type]
        (lambda: Format(("<think>",)), "without brackets"),
        (lambda: Format(("a", "a")), "different names"),
        (lambda: Regex("("), "'(' is not a pattern: missing )"),
        (lambda: Regex("a", timeout=0), "timeout must be above 0"),
        (lambda: JSONSchema({"type": "objekt"}), "schema.type is not valid: 'objekt'"),
        (lambda: Maths(timeout=0), "timeout must be above 0"),
        (lambda: Mixture({}), "parts must be a mapping"),
        (lambda: Mixture({"a": (Length(target=1), float("nan"))}), "the weight of 'a' must be a number"),
        (lambda: Mixture({"a/b": Length(target=1)}), "without '/'"),
    ],
)
def test_settings_that_cannot_work(make, message) -> None:
    with pytest.raises(PlanError) as caught:
        make()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_recorded_is_a_sound_rollout() -> None:
    rollout = recorded(["a", "b", "a"], ["x", "y", "z"], {"n": [1, 2, 3]})
    assert isinstance(rollout, Rollout)
    assert rollout.group.tolist() == [0, 1, 0]
