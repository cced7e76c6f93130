"""Sentiment: how positive a text is, by a lexicon."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

from guerdon.core import PlanError, RewardOutput, Rollout
from guerdon.core.reward import Scope
from guerdon.rewards.rows import each, text_of


@dataclass(frozen=True)
class Sentiment:
    """VADER's compound score: the sum s of a text's word valences as s / sqrt(s^2 + 15), from -1 to 1.

    A lexicon is easy to game (a text of praise words alone scores highest), which makes it a good reward to study hacking on.
    (Hutto & Gilbert, VADER, ICWSM 2014)

    Raises:
        PlanError: where the package ``vaderSentiment`` is missing.

    Example:
        >>> from guerdon.rewards import recorded
        >>> Sentiment()(recorded(["q"] * 2, ["What a lovely day!", "It was a table."])).total.tolist()
        [0.6239, 0.0]
    """

    scope: ClassVar[Scope] = "sample"
    differentiable: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if importlib.util.find_spec("vaderSentiment") is None:
            raise PlanError("Sentiment needs the package vaderSentiment: pip install 'guerdon[text]'")

    def __call__(self, rollout: Rollout) -> RewardOutput:
        analyser = _analyser()
        return each(rollout, lambda output, _: analyser.polarity_scores(text_of(output))["compound"])


@lru_cache(maxsize=1)
def _analyser() -> Any:
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    return SentimentIntensityAnalyzer()
