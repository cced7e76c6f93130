"""Models of choice: from the utilities of two rows to the probabilities of first, tie and second."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from guerdon.core import PlanError, Rollout, Streams, mix
from guerdon.feedback.annotators._base import Annotator, Judgement, checked_pairs, key_of_person, pair_key
from guerdon.feedback.annotators._scale import RatingScale
from guerdon.feedback.annotators._utility import checked_reward, number_of, utilities

EULER = 0.5772156649015329  # mean of the standard Gumbel distribution


@dataclass(frozen=True)
class _Chooser(Annotator):
    """Base: one taste, one temperature, and ``chances`` of a verdict.

    Ratings are of the utility plus ``temperature`` times a Gumbel number of mean 0: the random-utility form of the
    Bradley-Terry model, so that of two rows the first is rated above the second with the probability
    sigmoid((u1 - u2) / T) on a scale fine enough to tell.
    """

    reward: Any
    temperature: float = 1.0
    soft: bool = False
    name: str = "annotator"

    def __post_init__(self) -> None:
        owner = type(self).__name__
        checked_reward(owner, self.reward)
        number_of(owner, "temperature", self.temperature)
        name: Any = self.name
        if not isinstance(name, str) or not name:
            raise PlanError(f"{owner}: name must be a text, got {name!r}")

    def chances(self, gap: Tensor) -> tuple[Tensor, Tensor]:
        """(P(first is stated to be better), P(a tie is stated)) for utility differences first - second."""
        raise NotImplementedError

    def label(self, rollout: Rollout, pairs: Tensor, streams: Streams, who: Tensor | int = 0) -> Judgement:
        pairs = checked_pairs(pairs, rollout)
        utility, fine, why = utilities(self.reward, rollout, pairs.reshape(-1))
        key, swapped = pair_key(rollout, pairs)
        person = key_of_person(who, self.name, len(pairs))
        gap = utility[pairs[:, 0]] - utility[pairs[:, 1]]
        win, tie = self.chances(torch.where(swapped, -gap, gap))  # always in the key's order, so that both orders agree
        if self.soft:
            value = win + 0.5 * tie
        else:
            u = streams("annotator.choice", mix(key, person)).uniform(1)[:, 0]
            value = torch.where(u <= win, 1.0, torch.where(u <= win + tie, 0.5, 0.0)).double()
        value = torch.where(swapped, 1 - value, value)
        reason = [why[i] or why[j] for i, j in pairs.tolist()]
        return Judgement(pairs, value, gap.abs(), person, fine[pairs].all(1), reason, [self.name] * len(pairs))

    def score(self, rollout: Rollout, rows: Tensor, streams: Streams, scale: RatingScale, who: Tensor | int = 0) -> Judgement:
        utility, fine, why = utilities(self.reward, rollout, rows)
        person = key_of_person(who, self.name, len(rows))
        u = streams("annotator.rating", mix(rollout.uid.cpu()[rows], person)).uniform(1)[:, 0]
        gumbel = -(-u.clamp(max=1 - 2**-53).log()).log() - EULER
        value = scale(utility[rows] + self.temperature * gumbel)
        reason = [why[k] for k in rows.tolist()]
        return Judgement(
            rows[:, None], value, torch.zeros_like(value), person, fine[rows], reason, [self.name] * len(rows)
        )  # fmt: skip


@dataclass(frozen=True)
class BradleyTerry(_Chooser):
    r"""States that the first is better with probability $\sigma((u_1 - u_2) / T)$; never a tie.

    At T = 0 the better one is always named, and equal utilities are a tie.

    Args:
        reward: What it likes: a Reward, or a function ``rollout -> [B]`` numbers. The utility is the row's return.
        temperature: T >= 0 in units of utility; the larger, the more random.
        soft: State the probability itself instead of drawing from it.
        name: The annotator's name in the records. Annotators of different names err independently.

    Example:
        >>> from guerdon.core import Streams, recorded
        >>> rollout = recorded(["q"] * 2, ["good", "bad"], {"gold": [1.0, 0.0]})
        >>> ann = BradleyTerry(lambda rollout: rollout.info["gold"], temperature=0.5, soft=True)
        >>> [round(c.label, 4) for c in ann.compare(rollout, torch.tensor([[0, 1], [1, 0]]), Streams(0))]
        [0.8808, 0.1192]

    Source: Bradley & Terry, Biometrika 39 (1952).
    """

    name: str = "bradley-terry"

    def chances(self, gap: Tensor) -> tuple[Tensor, Tensor]:
        return threshold_chances(gap, self.temperature, 0.0)


@dataclass(frozen=True)
class RaoKupper(_Chooser):
    r"""Bradley-Terry with a threshold: differences too small to notice are ties.

    With $\theta = e^{\eta / T}$ and $\pi_i = e^{u_i / T}$: $P(\text{first}) = \pi_1 / (\pi_1 + \theta \pi_2) =
    \sigma((u_1 - u_2 - \eta) / T)$, $P(\text{second}) = \sigma((u_2 - u_1 - \eta) / T)$, and a tie otherwise. At T = 0 it is a
    tie exactly where $|u_1 - u_2| \le \eta$.

    Args:
        reward: What it likes: a Reward, or a function ``rollout -> [B]`` numbers.
        temperature: T >= 0 in units of utility.
        soft: State P(first) + P(tie) / 2 instead of drawing.
        name: The annotator's name in the records.
        threshold: $\eta \ge 0$ in units of utility.

    Example:
        >>> import math
        >>> ann = RaoKupper(lambda rollout: rollout.info["gold"], threshold=math.log(2))      # theta = 2
        >>> [round(float(p[0]), 4) for p in ann.chances(torch.zeros(1))]                      # 1 / (1 + 2), and the rest
        [0.3333, 0.3333]

    Source: Rao & Kupper, JASA 62 (1967).
    """

    name: str = "rao-kupper"
    threshold: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        number_of("RaoKupper", "threshold", self.threshold)

    def chances(self, gap: Tensor) -> tuple[Tensor, Tensor]:
        return threshold_chances(gap, self.temperature, self.threshold)


@dataclass(frozen=True)
class Davidson(_Chooser):
    r"""Bradley-Terry with ties in proportion to the geometric mean of the strengths.

    With $\pi_i = e^{u_i / T}$: $P(\text{first}) = \pi_1 / (\pi_1 + \pi_2 + \nu \sqrt{\pi_1 \pi_2})$ and
    $P(\text{tie}) = \nu \sqrt{\pi_1 \pi_2} / (\pi_1 + \pi_2 + \nu \sqrt{\pi_1 \pi_2})$. Among verdicts that are no ties it is
    Bradley-Terry exactly. Equals tie with probability $\nu / (2 + \nu)$, at T = 0 always.

    Args:
        reward: What it likes: a Reward, or a function ``rollout -> [B]`` numbers.
        temperature: T >= 0 in units of utility.
        soft: State P(first) + P(tie) / 2 instead of drawing.
        name: The annotator's name in the records.
        nu: $\nu \ge 0$: the odds of a tie against half of the other verdicts, between equals; 0: never a tie.

    Example:
        >>> ann = Davidson(lambda rollout: rollout.info["gold"], nu=2.0)
        >>> [round(float(p[0]), 4) for p in ann.chances(torch.zeros(1))]
        [0.25, 0.5]

    Source: Davidson, JASA 65 (1970).
    """

    name: str = "davidson"
    nu: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        number_of("Davidson", "nu", self.nu)

    def chances(self, gap: Tensor) -> tuple[Tensor, Tensor]:
        if self.temperature == 0:
            return threshold_chances(gap, 0.0, 0.0)
        x = gap / (2 * self.temperature)
        high = x.abs()  # e^-|x| in numerator and denominator: nothing overflows
        tie = self.nu * torch.exp(-high)
        total = torch.exp(x - high) + torch.exp(-x - high) + tie
        return torch.exp(x - high) / total, tie / total


def threshold_chances(gap: Tensor, temperature: float, threshold: float) -> tuple[Tensor, Tensor]:
    """(P(first), P(tie)) of a logistic difference against a threshold; at temperature 0 what follows for certain."""
    if temperature == 0:
        return (gap > threshold).double(), (gap.abs() <= threshold).double()
    win = torch.sigmoid((gap - threshold) / temperature)
    if threshold == 0:
        return win, torch.zeros_like(win)
    lose = torch.sigmoid((-gap - threshold) / temperature)
    return win, (1 - win - lose).clamp(min=0)
