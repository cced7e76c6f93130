"""How any Hugging Face causal language model is run: features of whole rows, one step with a cache, from states to log-probs."""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from guerdon.core import Head, ModelError, selected_logp
from guerdon.policies import _attention
from guerdon.policies._cache import GrowingCache
from guerdon.policies._draw import support
from guerdon.policies._exact import exact_norms

_PROBE_LOGITS = 20.0  # large enough for a soft cap or a scale to show


class Network:
    """A model with its output layer set apart, so that logits are made only where, and as long as, they are needed.

    ``head`` is None where the way from features to logits could not be established; ``states`` are then whole logits:
    correct, and slow.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.config = model.config.get_text_config(decoder=True)
        self.limit: int | None = getattr(self.config, "max_position_embeddings", None)
        self.filler = int(getattr(self.config, "pad_token_id", None) == 0)  # any id that is not the pad token, which some warn of
        self.backbone: Any = next((b for b in (model.base_model, getattr(model, "model", None)) if b not in (None, model)), None)
        if model.dtype == torch.float64 and hasattr(model, "set_experts_implementation"):
            model.set_experts_implementation("eager")  # grouped products know no float64
        with torch.no_grad():
            exact_norms(model)
            probe = torch.arange(1, 5, device=model.device)[None] % self.config.vocab_size
            _attention.install(model, probe)
            self.head = self._find_head(probe)
            runs: Any = model if self.head is None else self.backbone
            self.takes = frozenset(inspect.signature(runs.forward).parameters)
            self.ragged = "past_key_values" in self.takes and GrowingCache(self.config).aligned
            self.samples = "past_key_values" in self.takes and self._cache_works(probe[0])

    def states(self, ids: Tensor, **cached: Any) -> Tensor:
        """[B, T, D] features after each of ``ids`` [B, T] ([B, T, V] logits without a head); padding only at the end."""
        if not cached:
            cached = {"use_cache": False}
        if self.head is None:
            return self.model(input_ids=ids, **cached).logits
        return self.backbone(input_ids=ids, **cached).last_hidden_state

    def features(self, ids: Tensor) -> Tensor:
        """[B, T, D] features after each of ``ids``, also where there is no head."""
        if self.backbone is None:
            raise ModelError(f"{type(self.model).__name__} does not show its hidden states")
        return self.backbone(input_ids=ids, use_cache=False).last_hidden_state

    def start(self, ids: Tensor, lengths: Tensor) -> tuple[GrowingCache, Tensor]:
        """Reads prompts [G, P] padded at the end: their cache, and the [G, D] states behind each one's last token."""
        cache = GrowingCache(self.config)
        states = self.states(ids, past_key_values=cache, use_cache=True)
        if bool((lengths < ids.shape[1]).any()):
            cache.align(ids.shape[1] - lengths)
        return cache, states[torch.arange(len(ids), device=ids.device), lengths - 1]

    def step(self, token: Tensor, position: Tensor, cache: GrowingCache, seen: Tensor | None) -> Tensor:
        """[n, D] states behind one more ``token`` [n] at ``position`` [n]; ``seen`` [n, S] bool hides unread slots."""
        more: dict[str, Any] = {"past_key_values": cache, "use_cache": True}
        if seen is not None:
            more["attention_mask"] = seen
        if "position_ids" in self.takes:
            more["position_ids"] = position[:, None]
        return self.states(token[:, None], **more)[:, -1]

    def logits(self, states: Tensor, temperature: float = 1.0) -> Tensor:
        """[n, V] logits over ``temperature``, in at least float32."""
        if self.head is None:
            raw = states.to(torch.promote_types(states.dtype, torch.float32))
            return raw if temperature == 1 else raw / temperature
        linear = self.model.get_output_embeddings()
        return replace(self.head, temperature=temperature).logits(states, linear.weight, linear.bias)

    def selected(self, states: Tensor, ids: Tensor, kept: Tensor | None, temperature: float) -> tuple[Tensor, Tensor]:
        """([n] log-probs of ``ids``, [n] entropies) over the ``kept`` [n, K] ids, with gradients."""
        if self.head is not None:
            linear = self.model.get_output_embeddings()
            head = replace(self.head, temperature=temperature)
            return selected_logp(states, linear.weight, ids, bias=linear.bias, kept=kept, head=head)
        logits = self.logits(states, temperature)
        inside = torch.ones_like(logits, dtype=torch.bool) if kept is None else support(kept, logits.shape[1])
        lp = logits.masked_fill(~inside, -torch.inf).log_softmax(-1)
        entropy = -torch.where(inside, lp.exp() * lp.masked_fill(~inside, 0), 0).sum(-1)
        return lp.gather(1, ids[:, None])[:, 0], entropy

    def _cache_works(self, row: Tensor) -> bool:
        """Whether a step behind a cache, its rows moved and multiplied, says what the whole row says."""
        ids, lengths = torch.stack([row, row.flip(0)]), torch.tensor([4, 2 if self.ragged else 4], device=row.device)
        again = torch.tensor([0, 1, 1], device=row.device)
        seen = torch.arange(5, device=row.device) >= 4 - lengths[again, None]
        try:
            cache, _ = self.start(ids, lengths)
            cache.reorder_cache(again)
            stepped = self.step(row[again], lengths[again], cache, seen if self.ragged else None)
        except (ValueError, TypeError, AttributeError, IndexError, RuntimeError):  # a cache of its own
            return False
        rows = [torch.cat([ids[k, : lengths[k]], row[k : k + 1]]) for k in again.tolist()]
        whole = torch.cat([self.states(r[None])[:, -1] for r in rows])
        apart = (stepped - whole).abs().max() / whole.abs().max()
        return bool(apart < (0.1 if whole.dtype in (torch.bfloat16, torch.float16) else 1e-3))

    def _find_head(self, probe: Tensor) -> Head | None:
        """The head that makes the model's own logits from its features, tried on features loud enough to tell."""
        model = self.model
        linear = model.get_output_embeddings()
        if type(linear) is not nn.Linear or self.backbone is None:  # such as an output layer with an adapter
            return None
        heard: list[Tensor] = []

        def louder(_: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor]:
            quiet = args[0]
            size = nn.functional.linear(quiet, linear.weight, linear.bias).float().std().clamp(min=1e-6)
            heard.extend([quiet, (quiet * (_PROBE_LOGITS / size)).to(quiet)])
            return (heard[1],)

        hook = linear.register_forward_pre_hook(louder)
        try:
            logits = model(probe, use_cache=False).logits
        finally:
            hook.remove()
        tolerance = 0.02 if logits.dtype in (torch.bfloat16, torch.float16) else 1e-4
        if not heard or not torch.allclose(heard[0], self.features(probe), tolerance, tolerance):
            return None
        factors = [getattr(self.config, name, None) for name in ("logit_scale", "output_multiplier", "lm_head_multiplier")]
        divisor = getattr(self.config, "logits_scaling", None)
        for scale in [1.0, *(float(f) for f in factors if f), *([1 / divisor] if divisor else [])]:
            for softcap in (None, getattr(self.config, "final_logit_softcapping", None)):
                head = Head(scale=scale, softcap=softcap)
                ours = head.logits(heard[1], linear.weight, linear.bias)
                if torch.allclose(ours, logits.to(ours), tolerance, tolerance * _PROBE_LOGITS):
                    return head
        return None
