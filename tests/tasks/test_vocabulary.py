import string

import pytest
from hypothesis import given, strategies
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from guerdon.core.errors import DataError, PlanError
from guerdon.tasks.vocabulary import SYMBOLS, Characters, encode_pairs

TOKENIZER = Characters().tokenizer()
ALL = Characters(string.printable).tokenizer()


def test_it_is_an_ordinary_fast_tokenizer() -> None:
    assert isinstance(TOKENIZER, PreTrainedTokenizerFast)
    assert (TOKENIZER.pad_token_id, TOKENIZER.bos_token_id, TOKENIZER.eos_token_id) == (0, 1, 2)
    assert len(TOKENIZER) == 3 + len(SYMBOLS)


@given(strategies.text(SYMBOLS))
def test_round_trip_is_exact_with_one_token_per_character(text: str) -> None:
    ids = TOKENIZER(text)["input_ids"]
    assert ids[0] == TOKENIZER.bos_token_id
    assert len(ids) == len(text) + 1
    assert TOKENIZER.decode(ids, skip_special_tokens=True) == text
    assert TOKENIZER.decode(ids) == "<bos>" + text


@given(strategies.text(string.printable))
def test_round_trip_keeps_every_kind_of_white_space(text: str) -> None:
    assert ALL.decode(ALL(text, add_special_tokens=False)["input_ids"]) == text


def test_saved_and_loaded_it_is_the_same(tmp_path) -> None:
    TOKENIZER.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    texts = ["3 7 25  4 -> 46:", "(1+2)*3=9", ""]
    assert [loaded(t)["input_ids"] for t in texts] == [TOKENIZER(t)["input_ids"] for t in texts]
    assert [loaded.decode(loaded(t)["input_ids"], skip_special_tokens=True) for t in texts] == texts
    assert (loaded.pad_token_id, loaded.bos_token_id, loaded.eos_token_id) == (0, 1, 2)


def test_prompts_are_padded_on_the_left_for_generation() -> None:
    assert TOKENIZER(["1", "12"], padding=True)["input_ids"] == [[0, 1, 4], [1, 4, 5]]


def test_an_unknown_character_is_an_error_not_an_unknown_token() -> None:
    with pytest.raises(Exception, match="UNK"):
        TOKENIZER("1+x")


@pytest.mark.parametrize("characters", ["", "abca"])
def test_an_alphabet_without_or_with_repeated_characters_is_refused(characters: str) -> None:
    with pytest.raises(PlanError, match="distinct"):
        Characters(characters)


@given(
    strategies.lists(strategies.tuples(strategies.text(SYMBOLS, max_size=9), strategies.text(SYMBOLS, max_size=9)), min_size=1)
)
def test_the_corpus_is_encoded_as_the_tokenizer_would(pairs: list[tuple[str, str]]) -> None:
    x, learn = encode_pairs(pairs, Characters())
    for (prompt, answer), ids, mask in zip(pairs, x.tolist(), learn.tolist(), strict=True):
        whole = [*TOKENIZER(prompt + answer)["input_ids"], TOKENIZER.eos_token_id]
        assert ids == whole + [0] * (len(ids) - len(whole))
        start, end = len(prompt) + 1, len(whole)
        assert mask == [start <= k < end for k in range(len(ids))]


def test_a_foreign_character_in_the_corpus_is_named_with_its_line() -> None:
    with pytest.raises(DataError, match="corpus line 2: 'x'"):
        encode_pairs([("1=", "1"), ("1=", "x")], Characters())
