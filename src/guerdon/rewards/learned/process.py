"""ProcessReward: a Hugging Face token classifier that scores every reasoning step of an answer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from guerdon.core import DataError, ModelError, PlanError, RewardOutput, Rollout, pad
from guerdon.core.hub import device_of, dtype_of, find, load_tokenizer, load_weights
from guerdon.core.reward import Scope
from guerdon.rewards.learned import backbone, folder
from guerdon.rewards.learned.steps import Spelling

KIND = "process-reward"
LABELS = {0: "wrong", 1: "right"}  # as TRL's PRMTrainer numbers them


class ProcessReward(nn.Module):
    r"""A score $r_k \in [0, 1]$ of every reasoning step, read by a language model at the step's last token.

    Steps end behind each ``separator`` and at the end of the answer. The dense reward is $r_k$ at the last token of step $k$
    and 0 elsewhere; ``total`` is 0, for nothing is said of the answer as a whole. Parts: ``end`` [B, T] is 1 where a step ends
    (a score may be exactly 0, so the scores cannot tell), ``steps`` [B] their number, ``worst`` [B] the lowest score.

    It reads the policy's own ids, so it needs the policy's tokenizer: a row whose ids say something else than its output fails.
    Join it with a verifier by ``Mixture({"success": (verifier, 1.0), "process": (process, alpha)})``; the ends are then the
    part ``process/end``, which ``transforms.ClipUpper`` and ``transforms.Delta`` are told.

    Args:
        model: A transformers token classifier on a language model, of one label, or of two of which the second is "right".
        tokenizer: Its tokenizer.
        separator: What stands behind a step and belongs to it.
        name: Where it comes from.
        facts: How it was fitted, for its model card.

    Example:
        >>> from guerdon.core import Items, Streams
        >>> from guerdon.testing import tiny_lm, tiny_process_reward
        >>> items, streams = Items(["1+2+3="], torch.tensor([0])), Streams(0)
        >>> rollout = tiny_lm().rollout_from(items, ["3+3=6"], streams=streams)
        >>> out = tiny_process_reward(separator="=")(rollout)
        >>> out.parts["steps"].tolist(), out.parts["end"][0, -6:].tolist()  # 3+3= and 6, which the end-of-text token closes
        ([2.0], [0.0, 0.0, 0.0, 1.0, 0.0, 1.0])

    Sources: Let's Verify Step by Step (arXiv:2305.20050); Math-Shepherd (arXiv:2312.08935).
    """

    scope: ClassVar[Scope] = "sample"
    differentiable: ClassVar[bool] = False
    batch_tokens: int | None = None  # ids in one pass; None: what measured fastest

    def __init__(
        self, model: Any, tokenizer: Any, separator: str = "\n", *, name: str = "", facts: Mapping[str, Any] | None = None
    ):
        super().__init__()
        if not separator:
            raise PlanError("ProcessReward: separator is empty; expected what stands behind a step, such as '\\n'")
        if backbone.is_pair_encoder(model):
            raise ModelError(
                f"ProcessReward: {type(model).__name__} is an encoder; expected a token classifier on a language model"
            )
        if model.config.num_labels > 2:
            raise ModelError(
                f"ProcessReward: the classifier has {model.config.num_labels} labels; expected wrong and right, or one"
            )
        self.model = model
        self.tokenizer = tokenizer
        self.separator = separator
        self.spelling = Spelling(tokenizer)
        self.source = name
        self.facts = dict(facts or {})
        self.train(False)

    # -- where it comes from

    @classmethod
    def fresh(
        cls, base: str, separator: str = "\n", *, seed: int = 0, dtype: str = "float32", device: str = "auto"
    ) -> Self:  # fmt: skip
        """The body of a pretrained language model under a new head of two labels, drawn small and from the seed alone.

        Args:
            base: Folder or name on the hub; usually the policy's own base, whose tokenizer it then has.
            separator: What stands behind a step.
            seed: Of the head.
            dtype: ``"float32"``, ``"float64"`` or ``"bfloat16"``.
            device: ``"auto"`` takes the first there is of cuda, mps and cpu.

        Raises:
            ModelError: in one line that says what is missing.
        """
        from guerdon.core import Streams

        place, kind = find(str(base)), dtype_of(dtype)
        names = {name: k for k, name in LABELS.items()}
        model, lost = load_weights(
            place, "AutoModelForTokenClassification", dtype=kind, num_labels=2, id2label=LABELS, label2id=names,
            ignore_mismatched_sizes=True,
        )  # fmt: skip
        head = {n for n, p in model.named_parameters() if any(p is q for q in backbone.head_of(model).parameters())}
        if body := [n for n in lost if n not in head]:
            raise ModelError(f"{base}: the weights lack {len(body)} tensors, such as {body[0]}")
        with torch.no_grad():
            for n in sorted(head):
                p, generator = model.get_parameter(n), Streams(seed).fork("new", n).generator("weights")
                p.copy_(0.02 * torch.randn(p.shape, generator=generator, dtype=torch.float64) if p.dim() > 1 else p * 0)
        return cls(model.to(device_of(device, kind)), load_tokenizer(place), separator, name=str(base))

    @classmethod
    def from_pretrained(
        cls, path_or_name: str, *, separator: str | None = None, device: str = "auto", dtype: str = "float32"
    ) -> Self:
        """What ``save`` wrote, or any token classifier in safetensors whose last label is "right", as TRL's PRMTrainer fits them.

        Args:
            path_or_name: Folder or name on the hub.
            separator: In place of the one it was saved with; a line end where nothing was saved.
            device: ``"auto"`` takes the first there is of cuda, mps and cpu.
            dtype: ``"float32"``, ``"float64"`` or ``"bfloat16"``.

        Raises:
            ModelError: in one line that says what is missing.
        """
        place, kind = find(str(path_or_name)), dtype_of(dtype)
        recipe = folder.read_recipe(place, (KIND,))
        model, lost = load_weights(place, "AutoModelForTokenClassification", dtype=kind)
        if lost:
            raise ModelError(f"{place}: the weights lack {len(lost)} tensors, such as {lost[0]}; for a new head on this base use "
                             "ProcessReward.fresh or fit_process_reward")  # fmt: skip
        separator = separator or recipe.get("separator") or "\n"
        model = model.to(device_of(device, kind))
        return cls(model, load_tokenizer(place), separator, name=str(path_or_name), facts=recipe.get("facts"))

    @property
    def identity(self) -> str:
        """32 hex digits that follow from weights, tokenizer and separator."""
        weights = folder.weights_digest(self.model.state_dict().items())
        text = json.dumps([weights, self.separator, sorted(self.tokenizer.get_vocab().items())])
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    def train(self, mode: bool = True) -> Self:
        """Always ``eval()``: dropout is off in training too."""
        return super().train(False)

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    # -- scores

    def forward(self, rollout: Rollout) -> RewardOutput:
        """Scores of a rollout's steps, without gradients; a row that cannot be read is not ok."""
        rows: list[list[int]] = []
        ends: list[list[int]] = []
        reasons = [""] * len(rollout)
        for k, length in enumerate(rollout.lengths.tolist()):
            try:
                ids, found = self._read(rollout, k, length)
                rows.append(ids)
                ends.append(found)
            except DataError as e:
                reasons[k] = str(e)
        with torch.no_grad():
            scores = self.at_ends(rows, ends)
        ok = torch.tensor([not r for r in reasons], dtype=torch.bool)
        kind = scores[0].dtype if scores else torch.get_default_dtype()
        step, end = (torch.zeros(rollout.mask.shape, dtype=kind) for _ in range(2))
        count, worst = (torch.zeros(len(rollout), dtype=kind) for _ in range(2))
        for k, at, score in zip(ok.nonzero()[:, 0].tolist(), ends, scores, strict=True):
            step[k, at], end[k, at] = score.cpu(), 1.0
            count[k], worst[k] = len(at), float(score.min())
        parts = {"end": end, "steps": count, "worst": worst}
        return RewardOutput(torch.zeros(len(rollout), dtype=kind), ok, reasons, step, parts).checked()

    def score(self, contexts: Sequence[Any], outputs: Sequence[Any]) -> list[list[float]]:
        """The scores of the steps of texts, for choosing the best of n or for an audit.

        Raises:
            DataError: for a text that cannot be read.
        """
        read = [self.encode(c, o) for c, o in zip(contexts, outputs, strict=True)]
        with torch.no_grad():
            return [s.tolist() for s in self.at_ends([ids for ids, _ in read], [ends for _, ends in read])]

    def encode(self, context: Any, output: Any) -> tuple[list[int], list[int]]:
        """(ids of prompt, answer and the end of text, which of them a step ends with).

        Raises:
            DataError: for something that is no text, or is too long.
        """
        if not isinstance(context, str) or not isinstance(output, str):
            raise DataError(f"a process reward reads texts, got {type(context).__name__} and {type(output).__name__}")
        prompt = self.tokenizer(context, add_special_tokens=True)["input_ids"]
        ids = [*prompt, *self.tokenizer(output, add_special_tokens=False)["input_ids"]]
        if self.tokenizer.eos_token_id is not None:
            ids.append(int(self.tokenizer.eos_token_id))
        return self._fitting(ids), self.spelling.ends(ids, len(prompt), self.separator, output)

    def at_ends(self, rows: Sequence[Sequence[int]], ends: Sequence[Sequence[int]]) -> list[Tensor]:
        """Of each row its scores [K], with gradients: the probability of "right" at each end."""
        limit = self.batch_tokens or (2048 if self.device.type == "cpu" else 32768)
        order = sorted(range(len(rows)), key=lambda k: len(rows[k]))
        found: dict[int, Tensor] = {}
        while order:
            part: list[int] = []
            while order and (not part or (len(part) + 1) * len(rows[order[0]]) <= limit):
                part.append(order.pop(0))
            ids, mask = pad([torch.tensor(list(rows[k])) for k in part])
            logits = self.model(input_ids=ids.to(self.device), attention_mask=mask.long().to(self.device), use_cache=False).logits
            # Of two labels the odds of "right" are what counts; a single one is those odds.
            odds = logits[..., -1] - logits[..., 0] if logits.shape[-1] == 2 else logits[..., 0]
            right = torch.sigmoid(odds if odds.dtype == torch.float64 else odds.float())
            found |= {k: right[j, list(ends[k])] for j, k in enumerate(part)}
        return [found[k] for k in range(len(rows))]

    def _read(self, rollout: Rollout, k: int, length: int) -> tuple[list[int], list[int]]:
        """(ids, ends) of a row that a policy made."""
        output, mask = rollout.outputs[k], rollout.mask[k]
        if not isinstance(output, str):
            raise DataError(f"expected a text, got {type(output).__name__}")
        if rollout.actions.dim() != 2 or rollout.actions.is_floating_point() or not length:
            raise DataError("the row has no ids; expected a rollout of a language model (texts alone: ProcessReward.score)")
        start = int(mask.long().argmax())
        if not bool(mask[start:length].all()):
            raise DataError("the answer is interrupted by tokens that the policy did not choose; expected a single turn")
        ids = [int(i) for i in rollout.actions[k, :length].tolist()]
        if max(ids) >= self.model.config.vocab_size or min(ids) < 0:
            raise DataError("the row has ids outside the reward's vocabulary: a process reward needs the policy's tokenizer")
        return self._fitting(ids), self.spelling.ends(ids, start, self.separator, output)

    def _fitting(self, ids: list[int]) -> list[int]:
        places = getattr(self.model.config, "max_position_embeddings", None)
        if places is not None and len(ids) > places:
            raise DataError(f"the row has {len(ids)} ids, and the process reward reads at most {places}")
        return ids

    # -- on disk

    def recipe(self) -> dict[str, Any]:
        """Settings beside the weights, for ``guerdon.json``."""
        return {"kind": KIND, "format": 1, "base": self.source, "separator": self.separator, "facts": self.facts}

    def save(self, path: str | Path) -> Path:
        """A folder that ``from_pretrained`` and ``AutoModelForTokenClassification`` load; it appears when all of it is there.

        Args:
            path: The folder; an older one is replaced.
        """

        def fill(new: Path) -> None:
            self.model.save_pretrained(new)
            self.tokenizer.save_pretrained(new)
            recipe = self.recipe()
            (new / folder.RECIPE).write_text(json.dumps(recipe, indent=1, ensure_ascii=False) + "\n", encoding="utf8")
            (new / "README.md").write_text(_readme(recipe), encoding="utf8")

        return folder.write(path, fill)


def _readme(recipe: Mapping[str, Any]) -> str:
    text = folder.readme({**recipe, "separator": repr(recipe["separator"])})
    for old, new in (
        ("text-classification", "token-classification"), ("[guerdon, reward-model]", "[guerdon, process-reward]"),
        ("# Reward model", "# Process reward"), ("load_learned", "ProcessReward.from_pretrained"),
    ):  # fmt: skip
        text = text.replace(old, new)
    return text
