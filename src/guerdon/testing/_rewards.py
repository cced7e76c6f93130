"""One small instance of every public reward, with rows that it scores, refuses and fails on."""

from __future__ import annotations

from guerdon.core import Reward, Rollout
from guerdon.rewards import (
    Column,
    Ensemble,
    Format,
    JSONSchema,
    Keywords,
    Length,
    Maths,
    Mixture,
    Regex,
    Sentiment,
    as_reward,
    recorded,
)
from guerdon.testing._learned import tiny_reward_model


def word_overlap(output: str, answer: str) -> dict[str, float]:
    """A function of one row, with named parts."""
    found, wanted = set(output.split()), set(answer.split())
    return {"recall": len(found & wanted) / len(wanted), "extra": -0.1 * len(found - wanted)}


def distinct_in_group(completions: list[str], **_: object) -> list[float | None]:
    """A function of lists that compares the rows of a group."""
    return [None if not c else 1.0 / completions.count(c) for c in completions]


distinct_in_group.scope = "group"  # type: ignore[attr-defined]


def example_rewards() -> dict[str, tuple[Reward, Rollout]]:
    """name -> (a tiny reward, a rollout of two groups of three rows to score; the last row is hard to read)."""

    def rows(*outputs: str, **columns: object) -> Rollout:
        return recorded(["first question"] * 3 + ["second question"] * 3, list(outputs), columns)

    texts = rows("a good cat", "bad dog!", "", "the cat sat on the mat", "a good cat", "\x00 cat")
    tagged = "<think>2+2</think><answer>4</answer>"
    answers = rows(r"\boxed{\frac{2}{4}}", "0.5", "3", r"\boxed{x+1}", "none", "1", answer=["1/2"] * 3 + ["x+1"] * 2 + [""])
    return {
        "Column": (Column("score"), texts.replace(info={"score": [0.5, 1, True, "2.5", -3.0, None]})),
        "Ensemble": (Ensemble((Length(target=3), Keywords(("cat",))), combine="uncertainty"), texts),
        "Format": (Format(), rows(tagged, "4", tagged * 2, "<answer>4</answer>", tagged + "!", "<think>")),
        "JSONSchema": (JSONSchema({"type": "object", "required": ["a"]}), rows('{"a": 1}', "{}", "[]", "4", "{", '{"a": NaN}')),
        "Keywords": (Keywords(("cat", "dog")), texts),
        "Length": (Length(low=2, high=4), texts),
        "Maths": (Maths(), answers),
        "Mixture": (Mixture({"short": (Length(target=3), 0.5), "cat": Keywords(("cat",))}), texts),
        "Regex": (Regex(r"\bcat\b"), texts),
        "RewardModel": (tiny_reward_model("bert"), texts),
        "Sentiment": (Sentiment(), texts),
        "as_reward": (as_reward(word_overlap), texts.replace(info={"answer": ["a good cat"] * 3 + ["the mat"] * 2 + [""]})),
        "as_reward, lists by group": (as_reward(distinct_in_group), texts),
    }
