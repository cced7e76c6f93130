"""What a denoiser is told beside the noisy state: a label, a caption, or the picture that is to be edited."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from guerdon.core.errors import DataError, PlanError, nearest
from guerdon.policies.denoising._initial import initialise

_WORD = re.compile(r"[\w'-]+")


class Condition(NamedTuple):
    """What a network is told of N rows; a network that reads no such thing is given None.

    Attributes:
        embedding: [N, E] one vector a row.
        picture: [N, C', H, W] further channels beside the state.
        tokens: [N, L, E] one vector a word, for networks with cross attention.
    """

    embedding: Tensor | None = None
    picture: Tensor | None = None
    tokens: Tensor | None = None

    def take(self, rows: Tensor) -> Condition:
        """These rows: an index [M] or a mask [N]."""
        return Condition(*(None if part is None else part[rows.to(part.device)] for part in self))


@dataclass(frozen=True, eq=False, repr=False)
class Edit:
    """The context of an editing task: a picture and what is to change in it.

    Args:
        source: [C', H, W] the picture as it is, in [-1, 1].
        text: What is asked, in words.

    Example:
        >>> Edit(torch.zeros(3, 8, 8), "make it red")
        Edit('make it red', 3x8x8 #f5a0f415)
    """

    source: Tensor
    text: str

    def __repr__(self) -> str:  # short, and different for different pictures: it names contexts in files
        bits = self.source.detach().cpu().contiguous().view(torch.uint8) if self.source.numel() else torch.zeros(0)
        return f"Edit({self.text!r}, {'x'.join(map(str, self.source.shape))} #{zlib.crc32(bits.numpy().tobytes()):08x})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Edit) and self.text == other.text and torch.equal(self.source, other.source)

    def __hash__(self) -> int:
        return hash(repr(self))


class Conditioner(nn.Module):
    """Contexts to a ``Condition``.

    ``width`` is E of the embedding and the tokens (0: none), ``channels`` is C' of the picture (0: none).
    """

    width: int
    channels: int = 0

    def forward(self, contexts: Sequence[Any], drop: Tensor | None = None) -> Condition:
        """What the network is told.

        Args:
            contexts: [N] labels, captions or edits; None asks for nothing, like a dropped row.
            drop: [N] bool, True for rows that get the learned null condition.

        Raises:
            DataError: naming what is not known and the nearest that is.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class Labels:
    """Classes 0 .. n-1, each with a learned vector; one more is the null condition.

    Args:
        n: Number of classes.
        width: Of the vector.

    Example:
        >>> told = Labels(10, 16).build(torch.Generator().manual_seed(0))
        >>> told([3, 7, None]).embedding.shape
        torch.Size([3, 16])
    """

    n: int
    width: int = 32

    def __post_init__(self) -> None:
        if self.n < 1 or self.width < 1:
            raise PlanError(f"Labels: n and width must be at least 1, got n={self.n}, width={self.width}")

    def build(self, generator: torch.Generator) -> Conditioner:
        return _Labels(self, generator)


@dataclass(frozen=True)
class Words:
    """Captions of a small vocabulary: a learned vector for each word and place, mixed to one embedding by two layers.

    Upper case and punctuation do not count. The empty caption is the null condition.

    Args:
        vocabulary: The words, lower case.
        width: Of the vectors.
        length: Most words a caption may have.

    Example:
        >>> told = Words(("a", "red", "blue", "circle"), 16, length=4).build(torch.Generator().manual_seed(0))
        >>> [part is None or tuple(part.shape) for part in told(["A red circle.", ""])]
        [(2, 16), True, (2, 4, 16)]
    """

    vocabulary: tuple[str, ...]
    width: int = 32
    length: int = 12

    def __post_init__(self) -> None:
        given: Any = self.vocabulary
        if isinstance(given, str):
            raise PlanError(f"Words: vocabulary must be a list of words, got the text {given!r}")
        object.__setattr__(self, "vocabulary", tuple(given))
        if not self.vocabulary or self.width < 1 or self.length < 1:
            raise PlanError("Words: expected at least one word, width and length at least 1, got "
                            f"{len(self.vocabulary)} words, width={self.width}, length={self.length}")  # fmt: skip
        for word in given:
            if not isinstance(word, str) or word != word.lower() or not _WORD.fullmatch(word):
                raise PlanError(f"Words: {word!r} is not a lower-case word")
        if len(set(self.vocabulary)) < len(self.vocabulary):
            twice = next(w for w in self.vocabulary if self.vocabulary.count(w) > 1)
            raise PlanError(f"Words: {twice!r} is in the vocabulary twice")

    def ids(self, caption: Any) -> list[int]:
        """[length] indices from 1; 0 stands for no word.

        Raises:
            DataError: for a word that is not in the vocabulary, or too many of them.
        """
        if caption is not None and not isinstance(caption, str):
            raise DataError(f"expected a caption, got {type(caption).__name__} {str(caption)[:40]!r}")
        words = _WORD.findall((caption or "").lower())
        if len(words) > self.length:
            raise DataError(f"caption {caption!r} has {len(words)} words; at most {self.length} are read")
        index = {w: k for k, w in enumerate(self.vocabulary, 1)}
        for word in words:
            if word not in index:
                raise DataError(f"caption {caption!r}: {word!r} is not in the vocabulary; {nearest(word, index)}")
        return [index[w] for w in words] + [0] * (self.length - len(words))

    def build(self, generator: torch.Generator) -> Conditioner:
        return _Words(self, generator)


@dataclass(frozen=True)
class Edits:
    """``Edit`` contexts: the source picture as further channels of the state, and the words.

    A dropped row loses its words and keeps its picture, so that guidance strengthens what is asked and not the source.

    Args:
        words: How the text is read.
        channels: C' of the source pictures.

    Example:
        >>> told = Edits(Words(("make", "it", "red"), 16)).build(torch.Generator().manual_seed(0))
        >>> told([Edit(torch.zeros(3, 8, 8), "make it red")]).picture.shape
        torch.Size([1, 3, 8, 8])

    Source: InstructPix2Pix, arXiv:2211.09800 (channels beside the state; its second guidance, on the picture, is left out).
    """

    words: Words
    channels: int = 3

    def __post_init__(self) -> None:
        if self.channels < 1:
            raise PlanError(f"Edits: channels must be at least 1, got {self.channels}")

    def build(self, generator: torch.Generator) -> Conditioner:
        return _Edits(self, generator)


def _whether(drop: Tensor | None, nothing: list[bool], device: torch.device) -> Tensor:
    """[N] rows that get the null condition."""
    none = torch.tensor(nothing, dtype=torch.bool)
    return (none if drop is None else none | drop.cpu()).to(device)


class _Labels(Conditioner):
    def __init__(self, spec: Labels, generator: torch.Generator) -> None:
        super().__init__()
        self.n, self.width = spec.n, spec.width
        self.table = nn.Parameter(torch.randn(spec.n + 1, spec.width, generator=generator))

    def forward(self, contexts: Sequence[Any], drop: Tensor | None = None) -> Condition:
        rows = []
        for label in contexts:
            if isinstance(label, Tensor) and label.numel() == 1:
                label = label.item()
            if isinstance(label, str) and label.isdecimal():  # as a table's column gives it
                label = int(label)
            if label is not None and (not isinstance(label, int) or isinstance(label, bool) or not 0 <= label < self.n):
                raise DataError(f"label {label!r}: expected a whole number from 0 to {self.n - 1}")
            rows.append(self.n if label is None else label)
        index = torch.tensor(rows, dtype=torch.long, device=self.table.device)
        if drop is not None:
            index = index.masked_fill(drop.to(index.device), self.n)
        return Condition(self.table[index])


class _Words(Conditioner):
    def __init__(self, spec: Words, generator: torch.Generator) -> None:
        super().__init__()
        self.spec, self.width = spec, spec.width
        self.table = nn.Parameter(torch.randn(len(spec.vocabulary) + 1, spec.width, generator=generator))
        self.place = nn.Parameter(0.1 * torch.randn(spec.length, spec.width, generator=generator))
        self.null = nn.Parameter(torch.randn(spec.length, spec.width, generator=generator))
        self.mix = initialise(lambda: nn.Sequential(nn.Linear(spec.length * spec.width, 2 * spec.width), nn.SiLU(),
                                                    nn.Linear(2 * spec.width, spec.width)), generator)  # fmt: skip
        self.known: dict[str | None, list[int]] = {}

    def forward(self, contexts: Sequence[Any], drop: Tensor | None = None) -> Condition:
        for caption in contexts:
            if not isinstance(caption, str | None) or caption not in self.known:
                if len(self.known) > 10_000:
                    self.known.clear()
                self.known[caption] = self.spec.ids(caption)
        ids = torch.tensor([self.known[c] for c in contexts], dtype=torch.long, device=self.table.device)
        ids = ids.reshape(len(contexts), self.spec.length)
        null = _whether(drop, [not any(self.known[c]) for c in contexts], self.table.device)
        tokens = torch.where(null[:, None, None], self.null, self.table[ids] + self.place)
        return Condition(self.mix(tokens.flatten(1)), None, tokens)


class _Edits(Conditioner):
    def __init__(self, spec: Edits, generator: torch.Generator) -> None:
        super().__init__()
        self.words = spec.words.build(generator)
        self.width, self.channels = spec.words.width, spec.channels

    def forward(self, contexts: Sequence[Any], drop: Tensor | None = None) -> Condition:
        for edit in contexts:
            if not isinstance(edit, Edit):
                raise DataError(f"expected policies.Edit(source, text), got {type(edit).__name__} {str(edit)[:40]!r}")
            if edit.source.ndim != 3 or len(edit.source) != self.channels:
                raise DataError(f"{edit!r}: its source must be [{self.channels}, H, W]")
            if edit.source.shape != contexts[0].source.shape:
                raise DataError(f"{edit!r} and {contexts[0]!r}: sources of one batch must have one size")
        told = self.words([edit.text for edit in contexts], drop)
        assert told.embedding is not None
        picture = torch.stack([edit.source for edit in contexts]).to(told.embedding)
        return told._replace(picture=picture)
