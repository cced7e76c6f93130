"""One small instance of every public reward, with rows that it scores, refuses and fails on."""

from __future__ import annotations

import importlib.util
import shutil

import torch

from guerdon.core import Items, Reward, Rollout, Streams
from guerdon.rewards import (
    SQL,
    Column,
    Ensemble,
    Environment,
    Flipped,
    Format,
    InputOutput,
    Instructions,
    JSONSchema,
    Keywords,
    Length,
    Maths,
    Mixture,
    Molecules,
    ReasoningPattern,
    Regex,
    Rouge,
    Sentiment,
    ToolCalls,
    UnitTests,
    Verilog,
    as_reward,
    recorded,
)
from guerdon.testing._learned import tiny_process_reward, tiny_reward_model
from guerdon.testing._models import tiny_lm


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

    streams = Streams(0)
    asked_of = Items(["1+2+3="] * 3 + ["2+2="] * 3, torch.arange(6), {})
    steps = tiny_lm().rollout_from(asked_of, ["3+3\n6", "6", "", "4", "\n\n", "2+2\n4\n"], streams=streams)
    steps = steps.replace(outputs=[*steps.outputs[:5], "other words"])
    texts = rows("a good cat", "bad dog!", "", "the cat sat on the mat", "a good cat", "\x00 cat")
    tagged = "<think>2+2</think><answer>4</answer>"
    answers = rows(r"\boxed{\frac{2}{4}}", "0.5", "3", r"\boxed{x+1}", "none", "1", answer=["1/2"] * 3 + ["x+1"] * 2 + [""])
    doubles = rows(
        "def f(x): return 2 * x", "def f(x): return x", "def f(:", "f = (2).__mul__", "1/0", "\x00", test=["assert f(3) == 6"] * 6
    )
    prints = rows(
        "print(int(input()) * 2)", "print(input())", "print(", "print(6)", "", "\x00", inputs=[["3\n"]] * 6, outputs=[["6\n"]] * 6
    )
    said = '{"name": "f", "arguments": {"x": 1}}'
    calls = rows(
        said,
        said.replace("1", "2"),
        "",
        f"<tool_call>{said}</tool_call>",
        "{",
        "\x00",
        calls=[[{"name": "f", "parameters": {"x": 1}}]] * 6,
    )
    queries = rows(
        "SELECT a FROM t", "SELECT 1", "DROP TABLE t", "SELECT max(a) FROM t", "", "\x00",
        query=["SELECT a FROM t"] * 6, database=["CREATE TABLE t (a); INSERT INTO t VALUES (2)"] * 6,
    )  # fmt: skip
    smiles = rows("CCO", "C1CC(", "", "c1ccccc1", "C" * 600, "\x00")
    asked = {"instruction_id_list": [["punctuation:no_comma"]] * 6, "kwargs": [[{}]] * 6}
    bench = """module tb; reg a = 0; wire good, q; int n, bad; RefModule r(a, good); TopModule t(a, q);
      initial begin repeat (8) begin #1 n++; if (q !== good) bad++; a = ~a; end
        $display("Mismatches: %0d in %0d samples", bad, n); $finish; end endmodule"""
    gates = rows(
        *(f"module TopModule(input a, output q); {gate} g(q, a); endmodule" for gate in ("not", "buf", "none")),
        "module", "", "\x00",
        test=[bench] * 6, reference=["module RefModule(input a, output q); assign q = ~a; endmodule"] * 6,
    )  # fmt: skip
    moves = texts.replace(
        trace={"reward": torch.tensor([[1.0], [-2.0], [0.0], [0.5], [0.25], [0.0]])},
        info={"failed": [""] * 5 + ["step raised ValueError: no wheels"]},
    )
    found: dict[str, tuple[Reward, Rollout]] = {
        "Column": (Column("score"), texts.replace(info={"score": [0.5, 1, True, "2.5", -3.0, None]})),
        "Ensemble": (Ensemble((Length(target=3), Keywords(("cat",))), combine="uncertainty"), texts),
        "Environment": (Environment(), moves),
        "Environment, summed": (Environment(dense=False), moves),
        "Flipped": (Flipped(Keywords(("cat",)), 0.5), texts),
        "Format": (Format(), rows(tagged, "4", tagged * 2, "<answer>4</answer>", tagged + "!", "<think>")),
        "JSONSchema": (JSONSchema({"type": "object", "required": ["a"]}), rows('{"a": 1}', "{}", "[]", "4", "{", '{"a": NaN}')),
        "Keywords": (Keywords(("cat", "dog")), texts),
        "Length": (Length(low=2, high=4), texts),
        "Maths": (Maths(), answers),
        "Mixture": (Mixture({"short": (Length(target=3), 0.5), "cat": Keywords(("cat",))}), texts),
        "ProcessReward": (tiny_process_reward(), steps),
        "ReasoningPattern": (ReasoningPattern(("the", "good"), full=2, window=2), texts),
        "Regex": (Regex(r"\bcat\b"), texts),
        "RewardModel": (tiny_reward_model("bert"), texts),
        "Rouge": (Rouge(), texts.replace(info={"reference": ["a cat"] * 3 + [["the mat", "a dog"]] * 2 + [None]})),
        "Sentiment": (Sentiment(), texts),
        "as_reward": (as_reward(word_overlap), texts.replace(info={"answer": ["a good cat"] * 3 + ["the mat"] * 2 + [""]})),
        "as_reward, lists by group": (as_reward(distinct_in_group), texts),
        "InputOutput": (InputOutput(), prints),
        "Instructions": (Instructions(), texts.replace(info=asked)),
        "SQL": (SQL(), queries),
        "ToolCalls": (ToolCalls(partial=True), calls),
        "UnitTests": (UnitTests(), doubles),
    }
    if importlib.util.find_spec("rdkit"):  # an extra of its own
        found["Molecules"] = (Molecules(("qed", "sa")), smiles)
    if shutil.which("iverilog"):
        found["Verilog"] = (Verilog(), gates)
    return found
