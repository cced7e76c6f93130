"""From feedback to a reward: one loop for comparisons and ratings, one model or several."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from guerdon.core import DataError, Feedback, ModelError, PlanError, Streams, mix, nearest
from guerdon.rewards.learned import folder
from guerdon.rewards.learned.backbone import Layers
from guerdon.rewards.learned.data import Units, attributes_of, has_pairs, hash_of, pairs_of, ratings_of
from guerdon.rewards.learned.ensemble import Ensemble
from guerdon.rewards.learned.held_out import finite_temperature, pair_figures, rating_figures
from guerdon.rewards.learned.losses import BradleyTerry, PairLoss, RatingLoss, SquaredError
from guerdon.rewards.learned.model import RewardModel
from guerdon.rewards.learned.training import Training

Progress = Callable[[float, Mapping[str, float]], None]


@dataclass(frozen=True)
class FitSettings:
    """How a reward is fitted.

    Dropout is off: a reward gives an output one score, in training too.

    Args:
        epochs: Passes over the data.
        batch: Pairs (or ratings) of one optimiser step.
        micro_batch: Pairs (or ratings) computed at once; None: all of a step. It bounds memory and never changes the gradient.
        lr: Peak learning rate of AdamW (arXiv:1711.05101); None: 1e-2 for a head alone, else 1e-4.
        weight_decay: Decoupled decay of matrices.
        warmup: Fraction of the run over which the rate rises.
        decay: How it falls afterwards.
        clip: Largest norm of the gradient; None: any.
        train_layers: ``"all"``; ``"head"``, whose features are computed once; or a number k: the last k blocks and the head.
        centring: Weight of (r1 + r2)^2 of pairs, which keeps rewards around 0 (arXiv:2312.09244).
        patience: Stop after as many epochs without a lower held-out loss, and keep the weights of the best one. None: all epochs,
            last weights. Held-out figures are then a little too good, and the facts say so.
        bootstrap: Each member of an ensemble sees the data drawn anew with replacement, beside its own head and order.
        max_length: Most ids of a row; None: as many as the model has places for.
        template: Jinja chat template in place of the tokenizer's own.
        attributes: Which attributes of ratings are learned, in this order; None: all, ``overall`` first.
        weights: attribute -> weight in the total, for ratings; None: the first attribute.
        seed: Of heads and orders.
        dtype: Number format.
        device: ``"auto"`` takes the first there is of cuda, mps and cpu.
    """

    epochs: int = 1
    batch: int = 32
    micro_batch: int | None = None
    lr: float | None = None
    weight_decay: float = 0.0
    warmup: float = 0.05
    decay: Literal["constant", "linear", "cosine"] = "linear"
    clip: float | None = 1.0
    train_layers: Layers = "all"
    centring: float = 0.01
    patience: int | None = None
    bootstrap: bool = False
    max_length: int | None = None
    template: str | None = None
    attributes: tuple[str, ...] | None = None
    weights: Mapping[str, float] | None = None
    seed: int = 0
    dtype: str = "float32"
    device: str = "auto"

    def __post_init__(self) -> None:
        for name in ("epochs", "batch", "micro_batch", "patience"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise PlanError(f"FitSettings: {name} must be at least 1, got {value}")
        if self.lr is not None and not self.lr > 0:
            raise PlanError(f"FitSettings: lr must be above 0, got {self.lr}")
        if not 0 <= self.warmup < 1:
            raise PlanError(f"FitSettings: warmup is a fraction of the run, at least 0 and below 1, got {self.warmup}")
        if self.decay not in ("constant", "linear", "cosine"):
            raise PlanError(f"FitSettings: decay must be 'constant', 'linear' or 'cosine', got {self.decay!r}")
        layers = self.train_layers
        if layers not in ("all", "head") and not (isinstance(layers, int) and layers >= 1):
            raise PlanError(f"FitSettings: train_layers must be 'all', 'head' or a number of blocks, got {layers!r}")


@dataclass(frozen=True)
class Fitted:
    """What a fit gives.

    Args:
        reward: The reward, centred; a ``RewardModel`` or an ``Ensemble`` of them.
        facts: Plain data: counts, hash of the data, history by member and epoch, figures on held-out feedback, seconds, notes.
        held_out: The feedback that was held out.
    """

    reward: RewardModel | Ensemble
    facts: Mapping[str, Any]
    held_out: Sequence[Feedback] = ()

    def save(self, path: str | Path) -> Path:
        """A folder that ``load_learned`` loads, with its recipe, model card and the held-out feedback, for an audit."""

        def fill(new: Path) -> None:
            if isinstance(self.reward, Ensemble):
                self.reward.put(new, {"facts": self.facts})
            else:
                folder.put_model(self.reward, new, {**self.reward.recipe(), "facts": self.facts})
            lines = [json.dumps(f.to_record(), ensure_ascii=False) + "\n" for f in self.held_out]
            (new / folder.HELD_OUT).write_text("".join(lines), encoding="utf8")

        return folder.write(path, fill)


def fit_reward(
    train: Sequence[Feedback], base: str | RewardModel, *, held_out: Sequence[Feedback] = (),
    settings: FitSettings = FitSettings(), loss: PairLoss | RatingLoss | None = None, members: int = 1,
    progress: Progress | None = None,
) -> Fitted:  # fmt: skip
    """Fits a reward to comparisons (and what implies them) or to ratings.

    The reward is centred: its mean over the outputs trained on is 0. Members of an ensemble are also brought to the standard
    deviation 1 there, so that their disagreement is in one unit (arXiv:2310.02743). A temperature is fitted to held-out pairs and
    to nothing else. The same seed gives the same bits on a CPU.

    Args:
        train: Feedback; ``core.feedback.split`` takes a part off by context.
        base: Folder or name of an encoder or a language model, which gets a new head; or a reward model to go on from.
        held_out: Feedback for figures, the temperature, and ``patience``.
        settings: How.
        loss: None: ``BradleyTerry`` where some feedback compares outputs, else ``SquaredError`` on ratings.
        members: How many models; two or more make an ``Ensemble``, whose members differ by head and order.
        progress: Called after every optimiser step with the share done, and the loss.

    Raises:
        DataError: where there is nothing to learn from.
        PlanError: for settings that do not fit together.
        ModelError: where the base cannot be loaded.

    Example:
        >>> from guerdon.core import Comparison
        >>> from guerdon.testing import tiny_reward_model
        >>> data = [Comparison(context="say", first="b" * n, second="a" * n) for n in (1, 2, 3, 4)]
        >>> fitted = fit_reward(data, tiny_reward_model(), settings=FitSettings(epochs=20, lr=1e-2))
        >>> fitted.facts["history"][0][-1]["accuracy"], fitted.facts["temperature"]
        (1.0, None)
    """
    begun = time.perf_counter()
    train, held_out = list(train), list(held_out)
    if members < 1 or members > 1 and isinstance(base, RewardModel):
        raise PlanError("members must be at least 1, and more than one need a base's name to start from")
    loss = loss or (BradleyTerry() if has_pairs(train) or not attributes_of(train) else SquaredError())
    rated = not isinstance(loss, PairLoss)
    attributes = attributes_of(train) if rated else ("overall",)
    if rated and not attributes:
        raise DataError(f"{type(loss).__name__} needs ratings, and there are none")
    for name in settings.attributes or ():
        if rated and name not in attributes:
            raise DataError(f"no rating has the attribute {name!r}; {nearest(name, attributes)}")
    attributes = tuple(settings.attributes) if rated and settings.attributes else attributes
    fitted: list[RewardModel] = []
    histories: list[list[dict[str, float]]] = []
    held_totals: list[Tensor] = []
    caches: list[Tensor | None] = [None, None]
    for m in range(members):
        streams = Streams(settings.seed).fork("fit", m)
        reward = _start(base, attributes, settings, int(mix(settings.seed, "head", m)))
        units, held = (
            ratings_of(part, reward.template, reward.attributes) if rated else pairs_of(part, reward.template)
            for part in (train, held_out)
        )
        if not len(units):
            why = f": {units.skipped[0]}" if units.skipped else ""
            raise DataError(f"nothing to learn from among {len(train)} records of feedback{why}")
        if rated:
            reward.units = _units(units.label, reward.attributes)
        training = Training(reward, units, held, settings, loss, streams, caches)
        histories.append(training.run(_share(progress, m, members)))
        _level(reward, training.all_scores(0), members > 1)
        if len(held) and not rated:
            held_totals.append(reward.total(training.all_scores(1)).double().cpu())
        fitted.append(reward)
    reward_: RewardModel | Ensemble = Ensemble(tuple(fitted)) if members > 1 else fitted[0]
    both = set(units.contexts) & set(held.contexts)
    notes = [f"{len(both)} contexts are in both parts, so the held-out figures are too good"] if both else []
    facts: dict[str, Any] = {
        "feedback": {"train": len(train), "held_out": len(held_out)}, "units": "ratings" if rated else "pairs",
        "train": len(units), "train_contexts": len(set(units.contexts)), "skipped": len(units.skipped) + len(held.skipped),
        "skipped_reasons": sorted({*units.skipped, *held.skipped})[:5], "truncated_rows": sum(r.cut > 0 for r in units.rows),
        "data_hash": hash_of(train), "held_out_hash": hash_of(held_out), "loss": repr(loss), "members": members,
        "settings": asdict(settings), "temperature": None,
    }  # fmt: skip
    if len(held) and rated:
        facts["held_out"] = rating_figures(fitted, held)
    elif len(held):
        facts |= _calibrated(fitted, torch.stack(held_totals), held)
        if facts["temperature"] is None:
            notes.append("the held-out pairs fix no temperature: they are too few, all told apart, or all contradicted")
        if isinstance(reward_, Ensemble):
            reward_ = Ensemble(reward_.members, temperature=facts["temperature"])
    else:
        notes.append("no held-out feedback: there are no figures and no temperature")
    if settings.patience is not None and len(held):
        notes.append("the epoch was chosen by the held-out loss, so the held-out figures are a little too good")
    facts |= {"notes": notes, "history": histories, "seconds": round(time.perf_counter() - begun, 3)}
    return Fitted(reward_, facts, held_out)


def _calibrated(fitted: Sequence[RewardModel], totals: Tensor, held: Units) -> dict[str, Any]:
    """Temperatures of the members [M] and of their mean, from totals [M, N] of held-out outputs, and the mean's figures."""
    deltas = totals[:, held.index[:, 0]] - totals[:, held.index[:, 1]]
    for r, delta in zip(fitted, deltas, strict=True):
        r.temperature = finite_temperature(delta, held.label)
    mean = deltas.mean(0)
    return {"temperature": finite_temperature(mean, held.label), "held_out": pair_figures(mean, held)}


def _share(progress: Progress | None, m: int, members: int) -> Progress:
    """What member m's share of all work is told to."""
    return lambda done, figures: progress((m + done) / members, figures) if progress else None


def _start(base: str | RewardModel, attributes: Sequence[str], settings: FitSettings, seed: int) -> RewardModel:
    if isinstance(base, RewardModel):
        if settings.template is not None or settings.max_length is not None:
            raise PlanError("a reward model that is fitted further keeps its template and max_length")
        missing = [a for a in attributes if a not in base.attributes]
        if missing and len(attributes) > 1:
            raise ModelError(f"the reward model has no attribute {missing[0]!r}; it has {', '.join(base.attributes)}")
        return base.copy()
    return RewardModel.fresh(
        base, attributes, max_length=settings.max_length, template=settings.template, weights=settings.weights, seed=seed,
        dtype=settings.dtype, device=settings.device,
    )  # fmt: skip


def _units(ratings: Tensor, attributes: Sequence[str]) -> dict[str, tuple[float, float]]:
    """attribute -> (mean, standard deviation) of its ratings; a spread of 0 counts as 1."""
    found = {}
    for k, name in enumerate(attributes):
        x = ratings[:, k][~ratings[:, k].isnan()]
        sd = float(x.std(correction=0)) if len(x) else 0.0
        found[name] = (float(x.mean()) if len(x) else 0.0, sd if sd > 0 else 1.0)
    return found


def _level(reward: RewardModel, scores: Tensor, standardise: bool) -> None:
    """Mean 0 over the given [N, K] scores of the head, and standard deviation 1 where asked for."""
    reward.centre, reward.scale = 0.0, 1.0
    raw = reward.total(reward.in_units(scores.double()))
    reward.centre = float(raw.mean())
    spread = float(raw.std(correction=0)) if standardise else 1.0
    if not math.isfinite(reward.centre):
        raise ModelError("the fitted reward is not finite on its training data; try a lower learning rate")
    if not spread > 0:
        raise ModelError("the fitted reward gives every output of the training data the same score")
    reward.scale = spread
