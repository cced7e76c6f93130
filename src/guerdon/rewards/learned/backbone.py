"""What a reward model needs to know of a Hugging Face sequence classifier: its head, its features, and its layers."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from guerdon.core import ModelError, Streams
from guerdon.core.hub import load_weights

_HEADS = ("score", "classifier", "classification_head")
_INIT = 0.02  # standard deviation of a new head's weights: rewards start near 0 and near one another

Layers = Literal["all", "head"] | int


def fresh_classifier(name: str, attributes: tuple[str, ...], seed: int, **kwargs: Any) -> nn.Module:
    """The body of ``name`` under a new head, whose weights depend on the seed alone.

    Raises:
        ModelError: where parts of the body are missing.
    """
    labels = dict(enumerate(attributes))
    model, lost = load_weights(
        name, "AutoModelForSequenceClassification", num_labels=len(attributes), id2label=labels,
        label2id={n: k for k, n in labels.items()}, ignore_mismatched_sizes=True, **kwargs,
    )  # fmt: skip
    head = {n for n, p in model.named_parameters() if any(p is q for q in head_of(model).parameters())}
    body = [n for n in lost if n not in head and "pooler" not in n]  # masked-language models come without a pooler
    if body:
        raise ModelError(f"{name}: the weights lack {len(body)} tensors, such as {body[0]}")
    with torch.no_grad():
        for n in sorted(head | set(lost)):
            p = model.get_parameter(n)
            streams = Streams(seed if n in head else 0).fork("new", n)  # one body under all heads
            noise = torch.randn(p.shape, generator=streams.generator("weights"), dtype=torch.float64)
            p.copy_(_INIT * noise if p.dim() > 1 else torch.zeros_like(noise))
    return model


def is_pair_encoder(model: Any) -> bool:
    """Whether the model is an encoder, which reads pairs of texts, and not a language model."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

    return model.config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES


def head_of(model: Any) -> nn.Module:
    """What turns features into scores.

    Raises:
        ModelError: where it is not found.
    """
    for name in _HEADS:
        if isinstance(found := getattr(model, name, None), nn.Module):
            return found
    raise ModelError(f"{type(model).__name__}: no head found (looked for {', '.join(_HEADS)})")


def logits(model: Any, ids: Tensor, mask: Tensor, types: Tensor, pair: bool) -> Tensor:
    """[B, K] scores."""
    more: dict[str, Any] = {} if pair else {"use_cache": False}
    if pair and getattr(model.config, "type_vocab_size", 0) > 1:
        more["token_type_ids"] = types
    return model(input_ids=ids, attention_mask=mask.long(), **more).logits


def features(model: Any, ids: Tensor, mask: Tensor, types: Tensor, pair: bool) -> tuple[Tensor, Tensor]:
    """(what the head reads [B, ...], scores [B, K])."""
    seen: list[Tensor] = []
    hook = head_of(model).register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    try:
        scores = logits(model, ids, mask, types, pair)
    finally:
        hook.remove()
    x = seen[0]
    if x.dim() == 3:
        last = mask.long().cumsum(1).argmax(1)
        x = x[:, :1] if pair else x[torch.arange(len(x), device=x.device), last]  # heads of encoders read the first place
    return x, scores


def train_only(model: Any, layers: Layers) -> list[tuple[str, nn.Parameter]]:
    """Sets ``requires_grad`` for the layers to train, and returns their parameters.

    ``"all"`` everything; ``"head"`` the head alone; k the last k blocks, whatever comes behind them, and the head.
    """
    head = {id(p) for p in head_of(model).parameters()}
    body = getattr(model, model.base_model_prefix)
    blocks = max((m for m in body.modules() if isinstance(m, nn.ModuleList)), key=len, default=nn.ModuleList())
    inside = {id(p) for p in blocks.parameters()}
    late = (
        {id(p) for b in list(blocks)[max(len(blocks) - layers, 0) :] for p in b.parameters()}
        if isinstance(layers, int)
        else set()
    )
    found = []
    for name, p in model.named_parameters():
        behind = id(p) not in inside and not any(part in name for part in ("embed", "wte", "wpe"))
        p.requires_grad_(id(p) in head or layers == "all" or isinstance(layers, int) and (id(p) in late or behind))
        if p.requires_grad:
            found.append((name, p))
    return found
