"""Base language models made from nothing in seconds: a tiny Llama and plain next-token training on a generated corpus."""

from __future__ import annotations

import importlib.metadata
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from guerdon.core.errors import DataError, PlanError, nearest
from guerdon.core.streams import Streams
from guerdon.tasks.vocabulary import Characters, Vocabulary, encode_pairs

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

VERSION = 1  # to be raised with any change below that changes the weights: cached models are found by it
# One thread: the same sums in the same order on every machine, and no waiting for each other where cores are shared (two
# threads are 1.5 times as fast on two idle cores, and ten times as slow on busy ones).
THREADS = 1
SHAPES = {"100k": (64, 2, 4, 160), "340k": (96, 3, 4, 256), "1m": (128, 5, 4, 352)}  # width, layers, heads, hidden
_log = logging.getLogger("guerdon")


@dataclass(frozen=True)
class LMConfig:
    """Shape of a tiny Llama.

    Args:
        width: Size of the residual stream.
        layers: Number of blocks.
        heads: Attention heads, a divisor of ``width``.
        hidden: Size of the gated feed-forward layer.
        positions: Longest sequence it is meant for, in tokens.
        vocabulary: Its tokens.
    """

    width: int = 64
    layers: int = 3
    heads: int = 4
    hidden: int = 192
    positions: int = 128
    vocabulary: Vocabulary = Characters()

    def __post_init__(self) -> None:
        if min(self.width, self.layers, self.heads, self.hidden, self.positions) < 1:
            raise PlanError(f"LMConfig: every size must be at least 1, got {self}")
        if self.width % self.heads or (self.width // self.heads) % 2:
            raise PlanError(f"LMConfig: width {self.width} must be an even multiple of heads {self.heads} (rotary positions)")

    @classmethod
    def sized(cls, size: str, *, vocabulary: Vocabulary = Characters(), positions: int = 128) -> LMConfig:
        """The shapes that studies use, by their number of parameters with a vocabulary of up to a hundred tokens.

        ``benchmarks/tiny_lm.py`` measures how many completions and training rows a second each of them makes on a CPU.

        Args:
            size: ``"100k"``, ``"340k"`` or ``"1m"``.
            vocabulary: Its tokens.
            positions: Longest sequence it is meant for, in tokens.

        Raises:
            PlanError: for any other size.

        Example:
            >>> config = LMConfig.sized("1m", positions=160)
            >>> config.width, config.layers, sum(p.numel() for p in config.build().parameters())
            (128, 5, 1007872)
        """
        if size not in SHAPES:
            raise PlanError(f"LMConfig: there is no size {size!r}; {nearest(size.lower(), SHAPES)}")
        width, layers, heads, hidden = SHAPES[size]
        return cls(width, layers, heads, hidden, positions, vocabulary)

    def build(self, seed: int = 0) -> LlamaForCausalLM:
        """A model with fresh weights; the global random state is left as it was."""
        from transformers import LlamaConfig, LlamaForCausalLM

        shape = LlamaConfig(
            hidden_size=self.width, intermediate_size=self.hidden, num_hidden_layers=self.layers,
            num_attention_heads=self.heads, num_key_value_heads=self.heads, max_position_embeddings=self.positions,
            tie_word_embeddings=True, initializer_range=0.05, **self.vocabulary.config(),
        )  # fmt: skip
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return LlamaForCausalLM(shape)


@dataclass(frozen=True)
class WarmStart:
    """How a world's base model is trained; part of the world's identity, so that another recipe is another cached model.

    Args:
        model: Shape of the network.
        corpus: Number of generated examples.
        steps: Optimiser steps.
        batch: Examples per step.
        lr: Peak learning rate.
        seed: Of the corpus, the first weights and the order of examples.
    """

    model: LMConfig = LMConfig()
    corpus: int = 40_000
    steps: int = 1200
    batch: int = 64
    lr: float = 3e-3
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.corpus, self.steps, self.batch) < 1 or not self.lr > 0:
            raise PlanError(f"WarmStart: corpus, steps, batch and lr must be positive, got {self}")


@dataclass(frozen=True)
class Trained:
    """A freshly trained language model.

    Args:
        model: On the CPU, in eval mode.
        tokenizer: Its tokenizer.
        loss: Mean training loss of the last tenth of the steps, nats per learned token.
        steps: Steps made.
        complete: False where ``seconds`` ran out first.
        seconds: Wall-clock time of the steps.
        tokens: Tokens read, padding included.
    """

    model: LlamaForCausalLM
    tokenizer: PreTrainedTokenizerFast
    loss: float
    steps: int
    complete: bool
    seconds: float
    tokens: int

    def save(self, folder: Path) -> dict[str, Any]:
        """Writes an ordinary Hugging Face folder (safetensors); returns notes on how it was made."""
        from transformers.utils import logging as hf_logging

        shown = hf_logging.is_progress_bar_enabled()
        hf_logging.disable_progress_bar()
        try:
            self.model.save_pretrained(folder)
        finally:
            if shown:
                hf_logging.enable_progress_bar()
        self.tokenizer.save_pretrained(folder)
        return {
            "steps": self.steps, "loss": self.loss, "seconds": round(self.seconds, 2), "tokens": self.tokens,
            "parameters": sum(p.numel() for p in self.model.parameters()),
            "versions": {name: importlib.metadata.version(name) for name in ("torch", "transformers")},
        }  # fmt: skip


def train_lm(
    corpus: Sequence[str] | Sequence[tuple[str, str]],
    config: LMConfig,
    *,
    steps: int,
    lr: float = 3e-3,
    batch: int = 64,
    seed: int = 0,
    seconds: float | None = None,
    title: str = "",
) -> Trained:
    """Trains a tiny language model from nothing by next-token loss: AdamW, linear warm-up, cosine decay to a twentieth.

    With the same arguments the weights are the same bits on the same kind of CPU and version of torch, whatever else the
    process does, unless ``seconds`` ends it early. It uses one thread and leaves the random state and the number of
    threads as they were.

    Args:
        corpus: (prompt, answer) pairs, of which the answer and its eos are learned; or texts, learned as a whole.
        config: Shape of the network.
        steps: Optimiser steps.
        lr: Peak learning rate.
        batch: Examples per step.
        seed: Of the first weights and the order of examples.
        seconds: Wall-clock limit; what was learned until then is returned with ``complete=False``.
        title: Shown beside the progress bar; "" shows none.

    Raises:
        DataError: for an empty corpus, a text longer than the model's positions, or a token outside its vocabulary.

    Example:
        >>> done = train_lm([("1+1=", "2"), ("1+2=", "3")], LMConfig(width=16, layers=1, hidden=32), steps=5, batch=4)
        >>> done.steps, done.complete, done.tokenizer.decode([4])
        (5, True, '1')
    """
    x, learn = encode_pairs([("", c) if isinstance(c, str) else c for c in corpus], config.vocabulary)
    if not len(x):
        raise DataError("the corpus is empty")
    if x.shape[1] > config.positions:
        raise DataError(f"a text of the corpus has {x.shape[1]} tokens, the model has {config.positions} positions")
    model = config.build(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    lengths = (x != 0).sum(1)
    labels = torch.where(learn, x, -100)
    losses: list[torch.Tensor] = []
    tokens, done = 0, 0
    start = time.monotonic()
    with _threads(THREADS), _progress(title, steps) as advance:
        for done, rows in enumerate(_batches(len(x), batch, steps, seed), 1):
            for group in optimizer.param_groups:
                group["lr"] = lr * _schedule(done - 1, steps)
            longest = int(lengths[rows].max())
            ids, targets = x[rows, :longest], labels[rows, 1:longest]
            logits = model(ids, use_cache=False).logits[:, :-1]
            loss = torch.nn.functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), targets.reshape(-1))
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.detach())
            tokens += ids.numel()
            advance(losses)
            if seconds is not None and time.monotonic() - start > seconds:
                break
    took = time.monotonic() - start
    late = torch.stack(losses[-max(1, done // 10) :]).mean().item()
    _log.info("trained %s in %.1f s: %d steps, loss %.3f", title or "a language model", took, done, late)
    return Trained(model.eval(), config.vocabulary.tokenizer(), late, done, done == steps, took, tokens)


def _schedule(step: int, steps: int, floor: float = 0.05) -> float:
    rise = min(1.0, (step + 1) / max(1, min(40, steps // 10)))
    return rise * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * step / steps)))


def _batches(n: int, batch: int, steps: int, seed: int) -> Iterator[torch.Tensor]:
    """Rows of every step: each pass over the corpus has its own order; batches run on over the end of a pass."""
    streams = Streams(seed).fork("warm start")
    rows, passes = torch.zeros(0, dtype=torch.long), 0
    for _ in range(steps):
        while len(rows) < batch:
            rows = torch.cat([rows, streams("order", passes).permutation(n)])
            passes += 1
        yield rows[:batch]
        rows = rows[batch:]


@contextmanager
def _threads(n: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _progress(title: str, steps: int) -> Iterator[Callable[[list[torch.Tensor]], None]]:
    """A bar on a terminal's stderr; elsewhere, and inside another live display, nothing."""
    from rich.console import Console
    from rich.errors import LiveError
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("loss {task.fields[loss]}"))
    bar = Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console, transient=True)
    if not title or not console.is_terminal:
        yield lambda losses: None
        return
    try:
        bar.start()
    except LiveError:
        yield lambda losses: None
        return
    task = bar.add_task(title, total=steps, loss="  ?  ")

    def advance(losses: list[torch.Tensor]) -> None:
        if len(losses) % 10 == 0 or len(losses) == steps:
            bar.update(task, completed=len(losses), loss=f"{losses[-1].item():.3f}")

    try:
        yield advance
    finally:
        bar.stop()
