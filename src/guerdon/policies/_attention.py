"""Attention that samples and trains alike: one query at a time by small matrix products, whole rows by torch's fused kernel.

The fused kernel of the CPU is made for long rows; with one query a row it costs more than two batched products. Models
that cap their attention scores take the same products, in their own number format: the stock path rounds to float32.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "guerdon"
_FOREIGN = ("s_aux", "sinks", "position_bias", "indices", "block_indices", "cache")


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    softcap: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """[B, T, H, D] attention of ``query`` [B, H, T, D] over ``key`` and ``value`` [B, G, S, D]; a bool mask says who is seen."""
    if any(kwargs.get(name) is not None for name in _FOREIGN):
        raise NotImplementedError("attention with sinks, biases or block tables")
    rows, heads, steps, width = query.shape
    fused = steps > 1 or query.device.type != "cpu" or query.element_size() < 4
    if softcap is None and fused:
        is_causal = kwargs.get("is_causal")
        return sdpa_attention_forward(module, query, key, value, attention_mask, dropout, scaling, is_causal=is_causal)
    groups, seen = key.shape[1], key.shape[2]
    shared = heads // groups  # query heads that read the same keys
    scale = width**-0.5 if scaling is None else scaling
    q = (query * scale).reshape(rows, groups, shared * steps, width)
    scores = torch.matmul(q, key.transpose(-1, -2)).view(rows, groups, shared, steps, seen)
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    if attention_mask is not None:  # narrower than ``seen``: the rest is seen by all
        hidden = ~attention_mask[:, :, None]
        if softcap is None:
            scores[..., : hidden.shape[-1]].masked_fill_(hidden, -math.inf)
        else:
            scores = scores.masked_fill(nn.functional.pad(hidden, (0, seen - hidden.shape[-1])), -math.inf)
    elif steps > 1:
        future = torch.ones(steps, seen, dtype=torch.bool, device=query.device).triu(seen - steps + 1)
        scores = scores.masked_fill(future, -math.inf)
    weights = scores.softmax(-1).to(value.dtype).view(rows, groups, shared * steps, seen)
    out = torch.matmul(weights, value).reshape(rows, heads, steps, value.shape[-1])
    return out.transpose(1, 2).contiguous(), None


def install(model: Any, probe: Tensor) -> bool:
    """Lets ``model`` attend by ``attend``, where its logits on ``probe`` stay what they were; says whether it does."""
    config = model.config.get_text_config()
    before, name = model(probe).logits, config._attn_implementation
    if name not in ("sdpa", "eager") or not model._can_set_attn_implementation():
        return False
    try:
        model.set_attn_implementation(NAME)
        after = model(probe).logits
    except (NotImplementedError, ValueError, TypeError):
        after = None
    tolerance = 0.05 if before.dtype in (torch.bfloat16, torch.float16) else 1e-4
    if config._attn_implementation == NAME and after is not None and torch.allclose(before, after, tolerance, tolerance):
        return True
    model.set_attn_implementation(name)
    return False


def mask(
    *, q_length: int, kv_length: int, attention_mask: Tensor | None = None, local_size: int | None = None,
    allow_is_causal_skip: bool = True, **kwargs: Any,
) -> Tensor | None:  # fmt: skip
    """What ``attend`` is given: for one query a row only the first columns, up to the last that is hidden from some row."""
    plain = allow_is_causal_skip and q_length == 1 and (local_size is None or kv_length < local_size)
    fused = kwargs.get("dtype") not in (torch.float32, torch.float64)
    if plain and not fused and attention_mask is not None and attention_mask.device.type == "cpu":
        hidden = ~attention_mask[:, :kv_length].all(0)
        columns = int(hidden.nonzero()[-1]) + 1 if bool(hidden.any()) else 0
        return attention_mask[:, None, None, :columns] if columns else None
    return sdpa_mask(
        q_length=q_length, kv_length=kv_length, attention_mask=attention_mask, local_size=local_size,
        allow_is_causal_skip=allow_is_causal_skip, **kwargs,
    )  # fmt: skip


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, mask)
