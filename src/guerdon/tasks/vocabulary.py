"""Closed vocabularies that are ordinary Hugging Face tokenizers: one token per character, or one per word; nothing is lost."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from guerdon.core.errors import DataError, PlanError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PAD, BOS, EOS, UNKNOWN = "<pad>", "<bos>", "<eos>", "<unk>"
SPECIAL = (PAD, BOS, EOS)  # ids 0, 1, 2; the vocabulary's own tokens follow in the order given

# The worlds of numbers share one alphabet, so that a model can be trained on several and judged on any.
SYMBOLS = "0123456789+-*/()=:> "


@dataclass(frozen=True)
class Vocabulary(ABC):
    """Base: a list of tokens, and the pattern that cuts a text into them."""

    pattern: ClassVar[str]
    unknown: ClassVar[bool]  # whether what is not in the list becomes <unk>; else it is an error

    @property
    @abstractmethod
    def tokens(self) -> Sequence[str]:
        """The tokens behind the special ones."""

    def __post_init__(self) -> None:
        if not self.tokens or len(set(self.tokens)) < len(self.tokens):
            raise PlanError(f"{type(self).__name__}: tokens must be distinct and at least one, got {self.tokens!r}")

    def ids(self) -> dict[str, int]:
        """Token -> id: the special tokens first.

        >>> Characters("ab").ids()
        {'<pad>': 0, '<bos>': 1, '<eos>': 2, 'a': 3, 'b': 4}
        """
        special = (*SPECIAL, UNKNOWN) if self.unknown else SPECIAL
        return {token: k for k, token in enumerate((*special, *self.tokens))}

    def pieces(self, text: str) -> list[str]:
        """The text cut into tokens; joined they are the text again.

        >>> Words((" fox", ".")).pieces(" fox. fox")
        [' fox', '.', ' fox']
        """
        return re.findall(self.pattern, text)

    def tokenizer(self) -> PreTrainedTokenizerFast:
        """A fast tokenizer that puts the bos token in front and no eos behind; ``save_pretrained`` works as for any other.

        Returns:
            A ``PreTrainedTokenizerFast`` with pad, bos and eos.

        Example:
            >>> tokenizer = Characters("0123456789+=").tokenizer()
            >>> ids = tokenizer("47+85=")["input_ids"]
            >>> ids, tokenizer.decode(ids, skip_special_tokens=True)
            ([1, 7, 10, 13, 11, 8, 14], '47+85=')
        """
        from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
        from transformers import PreTrainedTokenizerFast

        ids = self.ids()
        core = Tokenizer(models.WordLevel(ids, unk_token=UNKNOWN))  # where it is not among the tokens, an unknown piece raises
        core.pre_tokenizer = pre_tokenizers.Split(Regex(self.pattern), behavior="isolated")
        core.decoder = decoders.Fuse()
        core.post_processor = processors.TemplateProcessing(single=f"{BOS} $A", special_tokens=[(BOS, ids[BOS])])
        return PreTrainedTokenizerFast(
            tokenizer_object=core, bos_token=BOS, eos_token=EOS, pad_token=PAD, padding_side="left",
            clean_up_tokenization_spaces=False, model_input_names=["input_ids", "attention_mask"],
            **({"unk_token": UNKNOWN} if self.unknown else {}),
        )  # fmt: skip

    def config(self) -> dict[str, Any]:
        """The part of a model's configuration that its tokenizer decides."""
        ids = self.ids()
        return {"vocab_size": len(ids), "pad_token_id": ids[PAD], "bos_token_id": ids[BOS], "eos_token_id": ids[EOS]}


@dataclass(frozen=True)
class Characters(Vocabulary):
    """One token per character; a character that it does not know is an error.

    Args:
        symbols: The alphabet, each character once.
    """

    pattern: ClassVar[str] = r"[\s\S]"
    unknown: ClassVar[bool] = False

    symbols: str = SYMBOLS

    @property
    def tokens(self) -> Sequence[str]:
        return self.symbols


@dataclass(frozen=True)
class Words(Vocabulary):
    """One token per word, the space before it included, and one per other character; other words become ``<unk>``.

    Args:
        words: The tokens as they stand in texts, such as ``" fox"`` or ``"."``.
    """

    pattern: ClassVar[str] = r" ?[A-Za-z]+|[^A-Za-z]"
    unknown: ClassVar[bool] = True

    words: tuple[str, ...]

    @property
    def tokens(self) -> Sequence[str]:
        return self.words


def encode_pairs(pairs: Sequence[tuple[str, str]], vocabulary: Vocabulary) -> tuple[Tensor, Tensor]:
    """A corpus as one tensor: bos, prompt, answer, eos, then padding.

    Args:
        pairs: (prompt, answer); an empty prompt makes a plain text.
        vocabulary: Its tokens.

    Returns:
        [N, L] int64 ids, and [N, L] bool, True on the tokens to learn: the answer and its eos.

    Raises:
        DataError: naming the first pair with a token outside the vocabulary.

    Example:
        >>> x, learn = encode_pairs([("1+1=", "2")], Characters("12+="))
        >>> x.tolist(), learn.int().tolist()
        ([[1, 3, 5, 3, 6, 4, 2]], [[0, 0, 0, 0, 0, 1, 1]])
    """
    ids = vocabulary.ids()
    cut = [(vocabulary.pieces(p), vocabulary.pieces(a)) for p, a in pairs]
    width = max((len(p) + len(a) for p, a in cut), default=0) + 2
    x = torch.full((len(pairs), width), ids[PAD], dtype=torch.long)
    prompt = torch.tensor([len(p) for p, _ in cut], dtype=torch.long)
    total = torch.tensor([len(p) + len(a) for p, a in cut], dtype=torch.long)
    place = torch.arange(width)
    inside = (place >= 1) & (place <= total[:, None])
    try:
        x[inside] = torch.tensor([ids[c] for p, a in cut for c in (*p, *a)], dtype=torch.long)
    except KeyError as error:
        k = next(k for k, (p, a) in enumerate(cut) if error.args[0] in (*p, *a))
        raise DataError(f"corpus line {k + 1}: {error.args[0]!r} is not in the vocabulary") from None
    x[:, 0] = ids[BOS]
    x[torch.arange(len(pairs)), total + 1] = ids[EOS]
    return x, (place > prompt[:, None]) & (place <= total[:, None] + 1)
