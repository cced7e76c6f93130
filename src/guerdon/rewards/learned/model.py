"""RewardModel: a Hugging Face sequence classifier that scores outputs, with everything its scores depend on."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from guerdon.core import DataError, ModelError, PlanError, RewardOutput, Rollout, nearest, pad
from guerdon.core.hub import device_of, dtype_of, find, load_tokenizer, load_weights
from guerdon.core.reward import Scope
from guerdon.rewards.learned import backbone, folder
from guerdon.rewards.learned.text import PLAIN, Encoded, Template

_LONGEST = 2048  # ids of a row where nothing else says how many


class RewardModel(nn.Module):
    r"""Learned scores of (context, output), one for each attribute, from an encoder or a language model with a linear head.

    $r = (\sum_k w_k s_k - c) / s$ with the scores $s_k$ of attributes, the ``centre`` $c$ and the ``scale`` $s$; without
    ``weights`` the first attribute alone. Parts are the attributes; ``truncated`` counts ids that did not fit, in calls where
    some did not. ``temperature`` turns differences into probabilities and never changes a reward.

    The network is always in ``eval()`` mode: without dropout a row has one score. Rows are scored in order of length in batches
    of bounded size, and their scores do not depend on each other.

    Args:
        model: A transformers sequence classifier.
        template: How texts become ids.
        attributes: Names of its scores.
        weights: attribute -> weight in the total; None: the first attribute.
        units: attribute -> (mean, standard deviation) that turn a head's score into the units of its ratings.
        centre: Reward of an average output, taken off.
        scale: Spread of rewards, divided by.
        temperature: Of ``probability``; None where it was not fitted.
        name: Where it comes from.

    Example:
        >>> from guerdon.rewards import recorded
        >>> from guerdon.testing import tiny_reward_model
        >>> reward = tiny_reward_model()
        >>> out = reward(recorded(["2+2="] * 2, ["4", ""]))
        >>> out.ok.tolist(), out.reason[1], list(out.parts)
        ([True, False], 'the output is empty', ['overall'])
    """

    scope: ClassVar[Scope] = "sample"
    differentiable: ClassVar[bool] = False
    batch_tokens: int | None = None  # ids in one pass; None: what measured fastest

    def __init__(
        self, model: Any, template: Template, attributes: Sequence[str] = ("overall",), *,
        weights: Mapping[str, float] | None = None, units: Mapping[str, Sequence[float]] | None = None, centre: float = 0.0,
        scale: float = 1.0, temperature: float | None = None, name: str = "",
    ):  # fmt: skip
        super().__init__()
        self.model = model
        self.template = template
        self.attributes = tuple(attributes)
        for known in weights or {}:
            if known not in self.attributes:
                raise PlanError(f"weights: the reward model has no attribute {known!r}; {nearest(known, self.attributes)}")
        self.weights = dict(weights) if weights else None
        self.units = {a: (float(mean), float(sd)) for a, (mean, sd) in (units or {}).items()}
        self.centre, self.scale, self.temperature = centre, scale, temperature
        self.source = name
        self.train(False)
        self._hashed: tuple[Any, str] = ((), "")

    # -- where it comes from

    @classmethod
    def fresh(
        cls, base: str, attributes: Sequence[str] = ("overall",), *, max_length: int | None = None, template: str | None = None,
        weights: Mapping[str, float] | None = None, seed: int = 0, dtype: str = "float32", device: str = "auto",
    ) -> Self:  # fmt: skip
        """The body of a pretrained model under a new head, drawn small and from the seed alone.

        Args:
            base: Folder or name on the hub of an encoder (BERT, MiniLM) or a language model (Llama, Qwen, GPT-2).
            attributes: Names of the scores; one for comparisons.
            max_length: Most ids of a row; None: as many as the model has places for, at most 2048.
            template: Jinja chat template; None: the tokenizer's own, and ``PLAIN`` (a line for each message) where it has none.
            weights: attribute -> weight in the total; None: the first attribute.
            seed: Of the head.
            dtype: ``"float32"``, ``"float64"`` or ``"bfloat16"``.
            device: ``"auto"`` takes the first there is of cuda, mps and cpu.

        Raises:
            ModelError: in one line that says what is missing.
        """
        if not attributes or len(set(attributes)) != len(attributes):
            raise PlanError(f"attributes must be different names, got {list(attributes)}")
        place, kind = find(str(base)), dtype_of(dtype)
        model = backbone.fresh_classifier(place, tuple(attributes), seed, dtype=kind)
        tokenizer = load_tokenizer(place)
        text = _template(model, tokenizer, template or tokenizer.chat_template or PLAIN, max_length, new=True)
        return cls(model.to(device_of(device, kind)), text, attributes, weights=weights, name=str(base))

    @classmethod
    def from_pretrained(
        cls, path_or_name: str, *, device: str = "auto", dtype: str = "float32", template: str | None = None,
        max_length: int | None = None, weights: Mapping[str, float] | None = None,
    ) -> Self:  # fmt: skip
        """What ``save`` wrote, or any sequence classifier in safetensors, whose labels are then its attributes.

        Args:
            path_or_name: Folder or name on the hub.
            device: ``"auto"`` takes the first there is of cuda, mps and cpu.
            dtype: ``"float32"``, ``"float64"`` or ``"bfloat16"``.
            template: Jinja chat template in place of the tokenizer's own; another template is another reward.
            max_length: Most ids of a row, in place of the one it was fitted with.
            weights: attribute -> weight in the total, in place of those it was saved with.

        Raises:
            ModelError: in one line that says what is missing.
        """
        place, kind = find(str(path_or_name)), dtype_of(dtype)
        recipe = folder.read_recipe(place)
        if recipe.get("kind") == "ensemble":
            raise ModelError(f"{place}: holds an ensemble; load it with Ensemble.from_pretrained or load_learned")
        model, lost = load_weights(place, "AutoModelForSequenceClassification", dtype=kind)
        if lost:
            raise ModelError(f"{place}: the weights lack {len(lost)} tensors, such as {lost[0]}; for a new head on this base use "
                             "RewardModel.fresh or fit_reward")  # fmt: skip
        config: Any = model.config
        labels = [str(n) for _, n in sorted(config.id2label.items())]
        attributes = recipe.get("attributes") or (["overall"] if len(labels) == 1 else labels)
        text = _template(model, load_tokenizer(place), template, max_length or recipe.get("max_length"))
        known = {k: recipe[k] for k in ("units", "centre", "scale", "temperature") if k in recipe}
        model = model.to(device_of(device, kind))
        return cls(model, text, attributes, weights=weights or recipe.get("weights"), name=str(path_or_name), **known)

    def copy(self) -> Self:
        """A model of its own with the same weights and settings."""
        return copy.deepcopy(self)

    @property
    def identity(self) -> str:
        """32 hex digits that follow from weights, tokenizer, chat template and all settings: what makes it this reward.

        Weights are hashed again only after they have changed.
        """
        tensors = list(self.model.state_dict().items())
        state = tuple((n, v.data_ptr(), v._version) for n, v in tensors)
        if state != self._hashed[0]:
            self._hashed = (state, folder.weights_digest(tensors))
        rest = {k: v for k, v in self.recipe().items() if k not in ("base", "format")}
        text = json.dumps([self._hashed[1], self.template.identity, rest], sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    def train(self, mode: bool = True) -> Self:
        """Always ``eval()``: dropout is off in training too."""
        return super().train(False)

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    # -- scores

    def forward(self, rollout: Rollout) -> RewardOutput:
        """Rewards of a rollout, without gradients; a row that cannot be read is not ok."""
        rows: list[Encoded] = []
        place: list[int] = []
        reasons = [""] * len(rollout)
        for k in range(len(rollout)):
            try:
                rows.append(self.template.encode(rollout.contexts[k], rollout.outputs[k]))
                place.append(k)
            except DataError as e:
                reasons[k] = str(e)
        with torch.no_grad():
            scores = self.in_units(self.logits(rows)).cpu()
        ok = torch.tensor([not r for r in reasons], dtype=torch.bool)
        table = scores.new_zeros(len(rollout), len(self.attributes))
        table[place] = scores
        parts = {a: table[:, k].clone() for k, a in enumerate(self.attributes)}
        if any(r.cut for r in rows):
            parts["truncated"] = table.new_zeros(len(rollout))
            parts["truncated"][place] = torch.tensor([r.cut for r in rows], dtype=table.dtype)
        return RewardOutput(self.total(table), ok, reasons, parts=parts).checked()

    def total(self, scores: Tensor) -> Tensor:
        """[...] rewards from [..., K] scores."""
        if self.weights is None:
            raw = scores[..., 0]
        else:
            raw = scores @ torch.tensor(
                [self.weights.get(a, 0.0) for a in self.attributes], dtype=scores.dtype, device=scores.device
            )
        return (raw - self.centre) / self.scale

    def score(self, contexts: Sequence[Any], outputs: Sequence[Any]) -> Tensor:
        """[N, K] scores of every attribute, with gradients.

        Raises:
            DataError: for a row that cannot be read.
        """
        return self.in_units(self.logits([self.template.encode(c, o) for c, o in zip(contexts, outputs, strict=True)]))

    def in_units(self, logits: Tensor) -> Tensor:
        """[N, K] scores of attributes from what the head says."""
        if not self.units:
            return logits
        table = torch.tensor([self.units.get(a, (0.0, 1.0)) for a in self.attributes], dtype=logits.dtype, device=logits.device)
        return table[:, 0] + table[:, 1] * logits

    def probability(self, delta: Tensor) -> Tensor:
        r"""$\sigma(\Delta r / T)$: how likely the first of two outputs is better, from the difference of their rewards."""
        return torch.sigmoid(delta / (self.temperature or 1.0))

    def logits(self, rows: Sequence[Encoded]) -> Tensor:
        """[N, K] what the head says of encoded rows, bare of units; equal rows are computed once."""
        return self._by_length(rows, lambda *x: backbone.logits(*x))

    @torch.no_grad()
    def features(self, rows: Sequence[Encoded]) -> Tensor:
        """[N, ...] what the head reads of encoded rows."""
        return self._by_length(rows, lambda *x: backbone.features(*x)[0])

    def _by_length(self, rows: Sequence[Encoded], compute: Any) -> Tensor:
        first: dict[tuple[tuple[int, ...], tuple[int, ...]], int] = {}
        index = [first.setdefault((tuple(r.ids), tuple(r.types)), len(first)) for r in rows]
        unique = list(first)
        if not unique:
            return torch.zeros(0, len(self.attributes), dtype=next(self.model.parameters()).dtype, device=self.device)
        limit = self.batch_tokens or (2048 if self.device.type == "cpu" else 32768)
        order = sorted(range(len(unique)), key=lambda k: len(unique[k][0]))
        found: list[Tensor] = []
        part: list[int] = []
        for position, k in enumerate(order):
            part.append(k)
            more = position + 1 < len(order)
            if not more or (len(part) + 1) * len(unique[order[position + 1]][0]) > limit:
                ids, mask = pad([torch.tensor(unique[j][0]) for j in part], self.template.pad)
                types, _ = pad([torch.tensor(unique[j][1]) for j in part])
                found.append(compute(self.model, *(x.to(self.device) for x in (ids, mask, types)), self.template.pair))
                part = []
        back = torch.empty(len(order), dtype=torch.long)
        back[torch.tensor(order)] = torch.arange(len(order))
        out = torch.cat(found)[back[torch.tensor(index)].to(self.device)]
        return out.float() if out.dtype in (torch.bfloat16, torch.float16) else out

    # -- on disk

    def recipe(self) -> dict[str, Any]:
        """Settings beside the weights, for ``guerdon.json``."""
        return {
            "kind": "reward-model", "format": 1, "base": self.source, "attributes": list(self.attributes),
            "weights": self.weights, "units": {a: list(u) for a, u in self.units.items()}, "centre": self.centre,
            "scale": self.scale, "temperature": self.temperature, "max_length": self.template.max_length,
        }  # fmt: skip

    def save(self, path: str | Path, card: Mapping[str, Any] | None = None) -> Path:
        """A folder that ``from_pretrained`` and ``AutoModelForSequenceClassification`` load; it appears when all of it is there.

        Args:
            path: The folder; an older one is replaced.
            card: Facts for its README.md.
        """
        return folder.write(path, lambda new: folder.put_model(self, new, {**self.recipe(), **(card or {})}))


def _template(model: Any, tokenizer: Any, template: str | None, max_length: int | None, new: bool = False) -> Template:
    """The template, after model and tokenizer have agreed on an id for padding."""
    pair, config = backbone.is_pair_encoder(model), model.config.get_text_config()
    known = [config.pad_token_id, tokenizer.pad_token_id, tokenizer.unk_token_id, tokenizer.bos_token_id]
    ends = tokenizer.eos_token_id
    # A classifier on a language model reads the last id that is no padding: the end of a text should not be padding.
    choice = next((i for i in known if i is not None and (pair or i != ends)), ends)
    if config.pad_token_id is not None and not new:
        choice = config.pad_token_id  # as it was trained
    if choice is None:
        raise ModelError("the tokenizer has no token that could pad, such as pad, unk, bos or eos")
    config.pad_token_id = int(choice)
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(int(choice))
    places = getattr(config, "max_position_embeddings", None) or _LONGEST
    if config.model_type in ("roberta", "xlm-roberta", "camembert"):
        places -= 2  # their first places belong to padding
    return Template(tokenizer, pair, template, min(max_length or _LONGEST, places, tokenizer.model_max_length), int(choice))
