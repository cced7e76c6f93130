"""Tiny reward models: two layers, characters, parameters from a generator of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from guerdon.testing._models import _ARCHITECTURES, CHARACTERS, SPECIAL, tiny_tokenizer

if TYPE_CHECKING:
    from guerdon.rewards import ProcessReward, RewardModel

_BERT = ("Bert", {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48,
                  "max_position_embeddings": 128})  # fmt: skip


def tiny_reward_model(
    arch: str = "gpt2", dtype: str = "float64", attributes: Sequence[str] = ("overall",), seed: int = 0, **settings: Any
) -> RewardModel:
    """A ``RewardModel`` of two layers and width 32 that reads characters: ``"bert"``, or a language model of ``tiny_model``.

    >>> reward = tiny_reward_model("bert")
    >>> reward.score(["2+2="], ["4"]).shape
    torch.Size([1, 1])
    """
    import transformers
    from tokenizers.processors import TemplateProcessing

    from guerdon.rewards.learned.model import RewardModel, _template

    name, shape = {**_ARCHITECTURES, "bert": _BERT}[arch]
    config = getattr(transformers, f"{name}Config")(
        vocab_size=len(SPECIAL) + len(CHARACTERS),
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        num_labels=len(attributes),
        **shape,
    )
    with torch.random.fork_rng(devices=[]):
        model: Any = transformers.AutoModelForSequenceClassification.from_config(config)
    _fill(model.to(getattr(torch, dtype)).eval(), seed)
    tokenizer = tiny_tokenizer()
    if arch == "bert":
        ends = [("<bos>", 1), ("<eos>", 2)]
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single="<bos> $A <eos>", pair="<bos> $A <eos> $B:1 <eos>:1", special_tokens=ends
        )
    text = _template(
        model, tokenizer, settings.pop("template", None) or tokenizer.chat_template, settings.pop("max_length", None)
    )
    return RewardModel(model, text, attributes, name=f"tiny-{arch}", **settings)


def tiny_process_reward(arch: str = "llama", dtype: str = "float64", seed: int = 0, separator: str = "\n") -> ProcessReward:
    """A ``ProcessReward`` of two layers and width 32 that reads the characters of ``tiny_lm``.

    >>> tiny_process_reward(separator="=").tokenizer.decode([8 + 28])
    '0'
    """
    import transformers

    from guerdon.rewards.learned.process import LABELS, ProcessReward

    name, shape = _ARCHITECTURES[arch]
    config = getattr(transformers, f"{name}Config")(
        vocab_size=len(SPECIAL) + len(CHARACTERS),
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        num_labels=2,
        id2label=LABELS,
        **shape,
    )
    with torch.random.fork_rng(devices=[]):
        model: Any = transformers.AutoModelForTokenClassification.from_config(config)
    _fill(model.to(getattr(torch, dtype)).eval(), seed)
    return ProcessReward(model, tiny_tokenizer(), separator, name=f"tiny-{arch}")


def _fill(model: Any, seed: int) -> None:
    """Weights that follow from the seed alone, of a size at which scores differ."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            noise = torch.randn(p.shape, generator=generator, dtype=torch.float64).to(p)
            p.copy_(noise * p.shape[-1] ** -0.5) if p.dim() > 1 else p.add_(0.1 * noise)
