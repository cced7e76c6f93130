"""Made rewards and comparisons whose audit is known."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from guerdon.audit import Scored
from guerdon.core import Comparison, RewardOutput, Rollout

WORDS = ["one", "small", "fact", "about", "rivers", "stones", "birds", "clouds", "letters", "numbers", "towns", "bridges"]


class TextReward:
    """Scores texts by a function of one."""

    scope = "sample"
    differentiable = False

    def __init__(self, score: Callable[[str], float], name: str = "made"):
        self.score, self.name, self.rows = score, name, 0

    def __call__(self, rollout: Rollout) -> RewardOutput:
        self.rows += len(rollout)
        return RewardOutput.of(torch.tensor([float(self.score(str(o))) for o in rollout.outputs], dtype=torch.double))


def sentence(generator: np.random.Generator, words: int) -> str:
    return " ".join(str(w) for w in generator.choice(WORDS, words)).capitalize() + "."


def pairs_of(n: int, seed: int = 0, per_context: int = 1) -> list[Comparison]:
    """Random texts; the longer side is better in 6 of 10 pairs, within contexts of ``per_context`` pairs."""
    g = np.random.default_rng(seed)
    out = []
    for k in range(n):
        a, b = (" ".join(sentence(g, int(w)) for w in g.integers(3, 12, 3)) for _ in range(2))
        longer = g.random() < 0.6
        label = float((len(a) > len(b)) == longer)
        out.append(
            Comparison(context=f"question {k // per_context}", first=a, second=b, label=label, info={"subset": f"s{k % 4}"})
        )
    return out


def bradley_terry(
    seed: int, n: int = 400, per_context: int = 1, scale: float = 1.0, flip: Callable[[int], bool] | None = None
) -> Scored:
    """A reward whose differences are exactly the log-odds of the labels (times ``scale``); lengths mean nothing."""
    g = np.random.default_rng(seed)
    pairs, scores = [], np.zeros((n, 2))
    for k in range(n):
        q = g.normal(0, 1.2, 2)
        label = float(g.random() < 1 / (1 + math.exp(q[1] - q[0])))
        sides = [f"{k}{'ab'[j]}" + "x" * int(v) for j, v in enumerate(g.integers(20, 200, 2))]
        subset = int(g.integers(8))
        pairs.append(
            Comparison(
                context=f"c{k // per_context}", first=sides[0], second=sides[1], label=label, info={"subset": f"s{subset}"}
            )
        )
        scores[k] = q * scale * (-1 if flip and flip(subset) else 1)
    return Scored.of(scores[:, 0], scores[:, 1], pairs)


def checks(found: Sequence[Any], least: str = "warning") -> set[str]:
    """Names of the findings of a level or a graver one."""
    levels = ("error", "warning", "info")
    return {f.check for f in found if levels.index(f.level) <= levels.index(least)}
