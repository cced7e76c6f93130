"""Labels, captions and edits become what a network is told, and what is not known is refused in a line."""

import dataclasses
from typing import Any

import pytest
import torch

from guerdon.core import DataError, PlanError
from guerdon.policies import Condition, Edit, Edits, Labels, Words

WORDS = Words(("a", "red", "blue", "circle", "left-of"), 6, 4)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def embedding(told: Condition) -> torch.Tensor:
    assert told.embedding is not None
    return told.embedding


def test_labels_have_rows_of_their_own_and_one_for_none() -> None:
    told = Labels(3, 5).build(seeded())
    assert (told.width, told.channels) == (5, 0)
    out = embedding(told([0, 2, 0, None, torch.tensor(2)]))
    assert torch.equal(out[0], out[2]) and torch.equal(out[1], out[4])
    assert len({tuple(row.tolist()) for row in out}) == 3
    dropped = embedding(told([0, 2], drop=torch.tensor([True, False])))
    assert torch.equal(dropped[0], out[3]) and torch.equal(dropped[1], out[1])


def test_captions_tell_order_and_length_but_not_case_or_punctuation() -> None:
    told = WORDS.build(seeded())
    first, second = "red circle left-of blue", "blue circle left-of red"
    out = told([first, second, "Red, CIRCLE left-of blue!", "red circle", "red circle red"])
    assert out.tokens is not None and out.tokens.shape == (5, 4, 6) and out.picture is None
    rows = embedding(out)
    assert torch.equal(rows[0], rows[2])
    assert all(bool((rows[a] != rows[b]).any()) for a, b in ((0, 1), (3, 4), (0, 3)))
    assert WORDS.ids("a red circle") == [1, 2, 4, 0]
    many = told([f"{'red ' * (k % 4)}circle" for k in range(12)])  # a batch says of a row what the row alone says
    torch.testing.assert_close(embedding(many)[7], embedding(told(["red red red circle"]))[0])


def test_the_null_condition_is_learned_and_is_the_empty_caption() -> None:
    told = WORDS.build(seeded())
    null = told(["red circle", "", None, "red circle"], drop=torch.tensor([True, False, False, False]))
    rows = embedding(null)
    assert torch.equal(rows[0], rows[1]) and torch.equal(rows[1], rows[2]) and bool((rows[0] != rows[3]).any())
    assert null.tokens is not None and torch.equal(null.tokens[0], null.tokens[2])
    rows[1].sum().backward()
    gradients = {name: p.grad for name, p in told.named_parameters()}
    assert gradients["null"] is not None and bool(gradients["null"].any())
    assert gradients["table"] is not None and not bool(gradients["table"].any())  # no word was read


def test_an_edit_keeps_its_picture_when_its_words_are_dropped() -> None:
    told = Edits(WORDS, 2).build(seeded())
    assert (told.width, told.channels) == (6, 2)
    source = torch.linspace(-1, 1, 24).reshape(2, 3, 4)
    edits = [Edit(source, "red"), Edit(-source, "blue")]
    asked, alone = told(edits), told(edits, drop=torch.ones(2, dtype=torch.bool))
    for out in (asked, alone):
        assert out.picture is not None and torch.equal(out.picture, torch.stack([source, -source]))
    assert bool((embedding(asked)[0] != embedding(asked)[1]).any())
    assert torch.equal(embedding(alone)[0], embedding(alone)[1])


def test_edits_are_values() -> None:
    source = torch.zeros(3, 2, 2)
    other = source.clone()
    other[0, 0, 0] = 1
    same = Edit(source.clone(), "red")
    assert Edit(source, "red") == same and hash(Edit(source, "red")) == hash(same)
    assert Edit(source, "red") != Edit(other, "red") and Edit(source, "red") != Edit(source, "blue") and same != "red"
    assert repr(Edit(source, "red")) == repr(same) != repr(Edit(other, "red"))


def test_rows_of_a_condition() -> None:
    whole = Condition(torch.arange(6.0).reshape(3, 2), None, torch.arange(12.0).reshape(3, 2, 2))
    for rows in (torch.tensor([2, 0]), torch.tensor([True, False, True])):
        part = whole.take(rows)
        assert part.picture is None and part.tokens is not None and part.tokens.shape == (2, 2, 2)
        assert set(embedding(part)[:, 0].tolist()) == {0.0, 4.0}
    assert Condition().take(torch.tensor([1])) == Condition()


@pytest.mark.parametrize("spec", [Labels(3, 5), WORDS, Edits(WORDS, 2)], ids=lambda s: type(s).__name__)
def test_weights_come_from_the_generator_alone(spec: Any) -> None:
    before = torch.get_rng_state()
    states = [spec.build(seeded(k)).state_dict() for k in (0, 0, 1)]
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])
    assert all(bool((states[0][k] != states[2][k]).any()) for k in states[0])


def test_in_float64() -> None:
    told = Edits(WORDS, 1).build(seeded()).to(torch.float64)
    out = told([Edit(torch.zeros(1, 2, 2), "red")])
    assert [part.dtype for part in out if part is not None] == [torch.float64] * 3


@pytest.mark.parametrize(
    ("spec", "context", "line"),
    [
        (Labels(3), 3, "label 3: expected a whole number from 0 to 2"),
        (Labels(3), True, "label True: expected a whole number"),
        (Labels(3), "red", "label 'red': expected a whole number"),
        (WORDS, "a rde circle", r"caption 'a rde circle': 'rde' is not in the vocabulary; did you mean 'red'\?"),
        (WORDS, "a a a a a", "caption 'a a a a a' has 5 words; at most 4 are read"),
        (WORDS, 7, "expected a caption, got int '7'"),
        (WORDS, ["red"], "expected a caption, got list"),
        (Edits(WORDS), "red", r"expected policies.Edit\(source, text\), got str 'red'"),
        (Edits(WORDS), Edit(torch.zeros(1, 2, 2), "red"), r"Edit\('red', 1x2x2 #\w+\): its source must be \[3, H, W\]"),
        (Edits(WORDS), Edit(torch.zeros(3, 2, 2), "green"), "'green' is not in the vocabulary"),
    ],
)
def test_contexts_that_are_refused(spec: Any, context: object, line: str) -> None:
    with pytest.raises(DataError, match=line) as caught:
        spec.build(seeded())([context])
    assert "\n" not in str(caught.value)


def test_sources_of_different_sizes_are_refused() -> None:
    with pytest.raises(DataError, match="sources of one batch must have one size"):
        Edits(WORDS).build(seeded())([Edit(torch.zeros(3, 2, 2), "red"), Edit(torch.zeros(3, 4, 2), "red")])


@pytest.mark.parametrize(
    ("build", "line"),
    [
        (lambda: Labels(0), "Labels: n and width must be at least 1"),
        (lambda: Words("red"), "Words: vocabulary must be a list of words, got the text 'red'"),
        (lambda: Words(()), "Words: expected at least one word"),
        (lambda: Words(("Red",)), "Words: 'Red' is not a lower-case word"),
        (lambda: Words(("two words",)), "Words: 'two words' is not a lower-case word"),
        (lambda: Words(("a", "b", "a")), "Words: 'a' is in the vocabulary twice"),
        (lambda: dataclasses.replace(WORDS, length=0), "length at least 1"),
        (lambda: Edits(WORDS, 0), "Edits: channels must be at least 1"),
    ],
)
def test_specs_that_are_refused(build: Any, line: str) -> None:
    with pytest.raises(PlanError, match=line) as caught:
        build()
    assert "\n" not in str(caught.value)
