"""ROUGE, by hand and against the package rouge-score."""

import numpy as np
import pytest

from guerdon.core import PlanError, RewardError
from guerdon.rewards import Rouge, recorded


def f(of: str, output: object, reference: object) -> float:
    return float(Rouge(of)(recorded(["q"], [output], {"reference": [reference]})).total[0])  # type: ignore[arg-type]


def test_three_numbers_by_hand() -> None:
    reference, output = "the cat sat on the mat", "the mat sat"
    assert f("1", output, reference) == pytest.approx(2 * 3 / (3 + 6))  # the, mat, sat
    assert f("2", output, reference) == pytest.approx(2 * 1 / (2 + 5))  # "the mat"
    assert f("L", output, reference) == pytest.approx(2 * 2 / (3 + 6))  # "the mat", or "the sat"
    assert f("1", "the the the", "the cat the") == pytest.approx(2 / 3)  # a word counts as often as the other text has it
    assert f("L", "", reference) == f("L", output, "") == f("2", "cat", "cat") == 0.0


def test_precision_and_recall_of_the_best_of_several_references() -> None:
    out = Rouge("1")(recorded(["q"], ["a b"], {"reference": [["a c d", "b"]]}))
    assert [round(float(x[0]), 4) for x in (out.total, out.parts["precision"], out.parts["recall"])] == [0.6667, 0.5, 1.0]


@pytest.mark.parametrize("of", ["1", "2", "L"])
def test_equal_to_the_package_rouge_score(of: str) -> None:
    from rouge_score.rouge_scorer import RougeScorer

    rng, words = np.random.default_rng(0), ["The", "cat", "sat.", "on", "a", "mat,", "naïve", "don't", "2nd", "e-mail", "!"]
    texts = [" ".join(rng.choice(words, rng.integers(0, 14))) for _ in range(200)]
    scorer, name = RougeScorer([f"rouge{of}"], use_stemmer=False), f"rouge{of}"
    expected = [scorer.score(a, b)[name] for a, b in zip(texts[:100], texts[100:], strict=True)]
    out = Rouge(of)(recorded(["q"] * 100, texts[100:], {"reference": texts[:100]}))  # type: ignore[arg-type]
    assert out.total.tolist() == pytest.approx([e.fmeasure for e in expected], abs=1e-6)
    assert out.parts["precision"].tolist() == pytest.approx([e.precision for e in expected], abs=1e-6)
    assert out.parts["recall"].tolist() == pytest.approx([e.recall for e in expected], abs=1e-6)


def test_bad_input_says_what_is_wrong() -> None:
    with pytest.raises(PlanError, match="of must be '1', '2' or 'L', got '3'"):
        Rouge("3")  # type: ignore[arg-type]
    with pytest.raises(RewardError, match="no column 'reference'; did you mean 'references'"):
        Rouge()(recorded(["q"], ["a"], {"references": ["a"]}))
    out = Rouge()(recorded(["q"] * 3, ["a", 3, "a"], {"reference": ["a", "a", None]}))
    assert out.ok.tolist() == [True, False, False]
    assert out.reason[1:] == ["TypeError: expected a text, got int", "ValueError: column 'reference' holds no reference text"]
