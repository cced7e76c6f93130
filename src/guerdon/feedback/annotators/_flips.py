"""Flips: an annotator who sometimes states the opposite of what it thinks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from guerdon.core import PlanError, Rollout, Streams, mix
from guerdon.feedback.annotators._base import Annotator, Judgement, pair_key
from guerdon.feedback.annotators._scale import RatingScale
from guerdon.feedback.annotators._utility import number_of


@dataclass(frozen=True)
class Flips(Annotator):
    """Inverts a verdict with probability ``p``: label -> 1 - label, rating -> low + high - rating. Ties stay.

    A flip is drawn per pair and person. A base that is right with probability a is right with a (1 - p) + (1 - a) p
    afterwards; ``Flips(BradleyTerry(gold, temperature=0), 0.25)`` is wrong in a quarter of all pairs, hard or easy.

    Args:
        base: The annotator.
        p: Probability of a flip in [0, 1].

    Example:
        >>> from guerdon.core import Streams, recorded
        >>> from guerdon.feedback import BradleyTerry
        >>> rollout = recorded(["q"] * 2, ["good", "bad"], {"gold": [1.0, 0.0]})
        >>> liar = Flips(BradleyTerry(lambda rollout: rollout.info["gold"], temperature=0), p=1.0)
        >>> liar.compare(rollout, torch.tensor([[0, 1]]), Streams(0))[0].label
        0.0
    """

    base: Annotator
    p: float = 0.25

    def __post_init__(self) -> None:
        base: Any = self.base
        if not isinstance(base, Annotator):
            raise PlanError(f"Flips: base must be an annotator such as feedback.BradleyTerry, got {type(base).__name__}")
        number_of("Flips", "p", self.p, high=1)

    @property
    def voices(self) -> int:
        return self.base.voices

    def label(self, rollout: Rollout, pairs: Tensor, streams: Streams, who: Tensor | int = 0) -> Judgement:
        judged = self.base.label(rollout, pairs, streams, who)
        key, _ = pair_key(rollout, judged.rows)
        return self._flipped(judged, key, streams, 1.0)

    def score(self, rollout: Rollout, rows: Tensor, streams: Streams, scale: RatingScale, who: Tensor | int = 0) -> Judgement:
        judged = self.base.score(rollout, rows, streams, scale, who)
        return self._flipped(judged, rollout.uid.cpu()[judged.rows[:, 0]], streams, scale.low + scale.high)

    def _flipped(self, judged: Judgement, key: Tensor, streams: Streams, both: float) -> Judgement:
        u = streams("annotator.flip", mix(key, judged.who)).uniform(1)[:, 0]
        # A further Flips around this one draws numbers of its own.
        return judged.replace(value=torch.where(u <= self.p, both - judged.value, judged.value), who=mix(judged.who, "flip"))
