"""A character-level tokenizer that is an ordinary Hugging Face tokenizer: one token per character, and nothing is lost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from guerdon.core.errors import DataError, PlanError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PAD, BOS, EOS = "<pad>", "<bos>", "<eos>"
SPECIAL = (PAD, BOS, EOS)  # ids 0, 1, 2; characters follow in the order given

# Both text worlds share one alphabet, so that a model can be trained on several and judged on any.
SYMBOLS = "0123456789+-*/()=:> "


def character_ids(characters: str) -> dict[str, int]:
    """Token -> id: the special tokens, then every character.

    >>> character_ids("ab")
    {'<pad>': 0, '<bos>': 1, '<eos>': 2, 'a': 3, 'b': 4}

    Raises:
        PlanError: where a character is given twice, or none is.
    """
    if not characters or len(set(characters)) < len(characters):
        raise PlanError(f"characters must be distinct and at least one, got {characters!r}")
    return {token: k for k, token in enumerate((*SPECIAL, *characters))}


def character_tokenizer(characters: str = SYMBOLS) -> PreTrainedTokenizerFast:
    """A fast tokenizer with one token per character; it puts the bos token in front and no eos behind.

    A character that it does not know is an error, never an unknown token: encoding and decoding give back the same text.

    Args:
        characters: The alphabet, each character once.

    Returns:
        A ``PreTrainedTokenizerFast`` with pad, bos and eos; ``save_pretrained`` and ``AutoTokenizer`` work as for any other.

    Example:
        >>> tokenizer = character_tokenizer("0123456789+=")
        >>> ids = tokenizer("47+85=")["input_ids"]
        >>> ids, tokenizer.decode(ids, skip_special_tokens=True)
        ([1, 7, 10, 13, 11, 8, 14], '47+85=')
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    ids = character_ids(characters)
    core = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))  # "<unk>" is not among the tokens: an unknown character raises
    core.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    core.decoder = decoders.Fuse()
    core.post_processor = processors.TemplateProcessing(single=f"{BOS} $A", special_tokens=[(BOS, ids[BOS])])
    return PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token=BOS, eos_token=EOS, pad_token=PAD,
        padding_side="left", clean_up_tokenization_spaces=False, model_input_names=["input_ids", "attention_mask"],
    )  # fmt: skip


def encode_pairs(pairs: Sequence[tuple[str, str]], ids: dict[str, int]) -> tuple[Tensor, Tensor]:
    """A corpus as one tensor: bos, prompt, answer, eos, then padding.

    Args:
        pairs: (prompt, answer); an empty prompt makes a plain text.
        ids: From ``character_ids``.

    Returns:
        [N, L] int64 ids, and [N, L] bool, True on the tokens to learn: the answer and its eos.

    Raises:
        DataError: naming the first pair with a character outside the alphabet.

    Example:
        >>> x, learn = encode_pairs([("1+1=", "2")], character_ids("12+="))
        >>> x.tolist(), learn.int().tolist()
        ([[1, 3, 5, 3, 6, 4, 2]], [[0, 0, 0, 0, 0, 1, 1]])
    """
    width = max((len(p) + len(a) for p, a in pairs), default=0) + 2
    x = torch.full((len(pairs), width), ids[PAD], dtype=torch.long)
    prompt = torch.tensor([len(p) for p, _ in pairs], dtype=torch.long)
    total = torch.tensor([len(p) + len(a) for p, a in pairs], dtype=torch.long)
    place = torch.arange(width)
    inside = (place >= 1) & (place <= total[:, None])
    try:
        x[inside] = torch.tensor([ids[c] for p, a in pairs for c in p + a], dtype=torch.long)
    except KeyError as error:
        k = next(k for k, (p, a) in enumerate(pairs) if error.args[0] in p + a)
        raise DataError(f"corpus line {k + 1}: {error.args[0]!r} is not in the alphabet") from None
    x[:, 0] = ids[BOS]
    x[torch.arange(len(pairs)), total + 1] = ids[EOS]
    return x, (place > prompt[:, None]) & (place <= total[:, None] + 1)


def vocabulary_of(characters: str) -> dict[str, Any]:
    """The part of a model's configuration that its tokenizer decides."""
    ids = character_ids(characters)
    return {"vocab_size": len(ids), "pad_token_id": ids[PAD], "bos_token_id": ids[BOS], "eos_token_id": ids[EOS]}
