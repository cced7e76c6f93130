"""What fits a reward to feedback: losses of differences between rewards, and of ratings. Pure functions of tensors."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from guerdon.core import PlanError


@dataclass(frozen=True)
class BradleyTerry:
    r"""$-y \log \sigma(\Delta - m) - (1-y) \log \sigma(-\Delta - m)$ with $\Delta = r_1 - r_2$, the probability $y$ that the
    first is better, and a margin $m \ge 0$ that the better one has to lead by.

    With $m = 0$ it is the cross-entropy of $y$ and $\sigma(\Delta)$; a tie is $y = 1/2$. Label smoothing $\epsilon$ puts
    $(1-\epsilon) y + \epsilon / 2$ in the place of $y$.

    Args:
        margin: Factor of the margins of the data, which are in the annotators' units; 0 leaves them out. Ties have no margin.
            With margins $\sigma(\Delta)$ is no longer an estimate of $y$, until a temperature is fitted.
        label_smoothing: $\epsilon \in [0, 1)$: labels are wrong by chance with probability $\epsilon / 2$.

    Source: Bradley & Terry, Biometrika 1952; margins: Llama 2, arXiv:2307.09288.

    Example:
        >>> BradleyTerry()(torch.tensor([0.0, 2.0]), torch.tensor([1.0, 0.5]))
        tensor([0.6931, 1.1269])
    """

    margin: float = 0.0
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        if not self.margin >= 0:
            raise PlanError(f"BradleyTerry: margin must be at least 0, got {self.margin}")
        if not 0 <= self.label_smoothing < 1:
            raise PlanError(f"BradleyTerry: label_smoothing must be at least 0 and below 1, got {self.label_smoothing}")

    @property
    def parameters(self) -> dict[str, float]:
        """Numbers that are learned with the weights, and where they start."""
        return {}

    def __call__(self, delta: Tensor, label: Tensor, margin: Tensor | None = None, tie: Tensor | None = None) -> Tensor:
        """[P] losses in nats.

        Args:
            delta: [P] reward of the first output minus that of the second.
            label: [P] probability that the first is better.
            margin: [P] leads of the better ones; None for none.
            tie: For models of ties; unused.
        """
        lead = delta.new_zeros(()) if margin is None else self.margin * torch.where(label == 0.5, 0.0, margin).to(delta)
        y = (1 - self.label_smoothing) * label.to(delta) + self.label_smoothing / 2
        return -(y * logsigmoid(delta - lead) + (1 - y) * logsigmoid(-delta - lead))


@dataclass(frozen=True)
class RaoKupper:
    r"""Ties where neither leads by enough: $P(1 \succ 2) = \sigma(\Delta - \eta)$, $P(2 \succ 1) = \sigma(-\Delta - \eta)$, and
    the rest is $P(\text{tie})$, with the threshold $\eta = \log \theta > 0$.

    The loss is $-\log P$ of what was said. Soft labels count as that share of each side; a label of 1/2 is a tie.

    Args:
        threshold: $\eta$, or where it starts.
        learned: Whether it is fitted with the weights.

    Source: Rao & Kupper, JASA 1967.

    Example:
        >>> RaoKupper(threshold=1.0)(torch.zeros(2), torch.tensor([1.0, 0.5]))
        tensor([1.3133, 0.7720])
    """

    threshold: float = 0.5
    learned: bool = True

    def __post_init__(self) -> None:
        if not self.threshold > 0:
            raise PlanError(f"RaoKupper: threshold must be above 0, got {self.threshold}")

    @property
    def parameters(self) -> dict[str, float]:
        return {"tie": math.log(math.expm1(self.threshold))} if self.learned else {}

    def __call__(self, delta: Tensor, label: Tensor, margin: Tensor | None = None, tie: Tensor | None = None) -> Tensor:
        """[P] losses in nats.

        Args:
            delta: [P] reward of the first output minus that of the second.
            label: [P] probability that the first is better; 1/2 a tie.
            margin: Unused: a lead that counts is what the threshold is for.
            tie: Number whose softplus is the threshold, where it is learned.
        """
        eta = delta.new_tensor(self.threshold) if tie is None else softplus(tie.to(delta))
        y = label.to(delta)
        one, two = logsigmoid(delta - eta), logsigmoid(-delta - eta)
        # 1 - s(d - e) - s(-d - e) = (exp(2 e) - 1) s(d - e) s(-d - e)
        even = one + two + 2 * eta + torch.log(-torch.expm1(-2 * eta))
        return -torch.where(y == 0.5, even, y * one + (1 - y) * two)


@dataclass(frozen=True)
class Davidson:
    r"""Ties that are likeliest between equals: $P(1 \succ 2) \propto e^{\Delta/2}$, $P(2 \succ 1) \propto e^{-\Delta/2}$,
    $P(\text{tie}) \propto \nu$.

    The loss is $-\log P$ of what was said. Soft labels count as that share of each side; a label of 1/2 is a tie.

    Args:
        tie: $\nu > 0$, or where it starts.
        learned: Whether it is fitted with the weights.

    Source: Davidson, JASA 1970.

    Example:
        >>> Davidson(tie=1.0)(torch.zeros(2), torch.tensor([1.0, 0.5]))
        tensor([1.0986, 1.0986])
    """

    tie: float = 1.0
    learned: bool = True

    def __post_init__(self) -> None:
        if not self.tie > 0:
            raise PlanError(f"Davidson: tie must be above 0, got {self.tie}")

    @property
    def parameters(self) -> dict[str, float]:
        return {"tie": math.log(self.tie)} if self.learned else {}

    def __call__(self, delta: Tensor, label: Tensor, margin: Tensor | None = None, tie: Tensor | None = None) -> Tensor:
        """[P] losses in nats.

        Args:
            delta: [P] reward of the first output minus that of the second.
            label: [P] probability that the first is better; 1/2 a tie.
            margin: Unused: this model has none.
            tie: Logarithm of nu, where it is learned.
        """
        log_nu = (delta.new_tensor(math.log(self.tie)) if tie is None else tie.to(delta)).expand_as(delta)
        y = label.to(delta)
        norm = torch.stack([delta / 2, -delta / 2, log_nu]).logsumexp(0)
        return norm - torch.where(y == 0.5, log_nu, (y - 0.5) * delta)


PairLoss = BradleyTerry | RaoKupper | Davidson


@dataclass(frozen=True)
class SquaredError:
    r"""$\frac12 (s_k - x_k)^2$ of every rated attribute.

    Example:
        >>> SquaredError()(torch.tensor([[1.0, 0.0]]), torch.tensor([[3.0, float("nan")]]))
        tensor([[2., 0.]])
    """

    def parameters_of(self, attributes: int) -> dict[str, list[float]]:
        """Numbers that are learned with the weights, and where they start."""
        return {}

    def __call__(self, score: Tensor, rating: Tensor, log_sd: Tensor | None = None) -> Tensor:
        """[N, K] losses, 0 where an attribute was not rated.

        Args:
            score: [N, K] predictions.
            rating: [N, K] ratings, nan where there is none.
            log_sd: For losses that learn the noise; unused.
        """
        rated = ~rating.isnan()
        return torch.where(rated, 0.5 * (score - torch.where(rated, rating, 0.0).to(score)).square(), 0.0)


@dataclass(frozen=True)
class GaussianNLL:
    r"""$\frac{(s_k - x_k)^2}{2 \sigma_k^2} + \log \sigma_k$ of every rated attribute, with a learned spread $\sigma_k$ for each:
    attributes that people rate with more noise pull less. The constant $\frac12 \log 2\pi$ is left out.

    Args:
        sd: Where the spreads start.

    Source: Kendall, Gal & Cipolla, arXiv:1705.07115.

    Example:
        >>> GaussianNLL(sd=2.0)(torch.tensor([[1.0]]), torch.tensor([[3.0]]))
        tensor([[1.1931]])
    """

    sd: float = 1.0

    def __post_init__(self) -> None:
        if not self.sd > 0:
            raise PlanError(f"GaussianNLL: sd must be above 0, got {self.sd}")

    def parameters_of(self, attributes: int) -> dict[str, list[float]]:
        return {"log_sd": [math.log(self.sd)] * attributes}

    def __call__(self, score: Tensor, rating: Tensor, log_sd: Tensor | None = None) -> Tensor:
        """[N, K] losses, 0 where an attribute was not rated.

        Args:
            score: [N, K] predictions.
            rating: [N, K] ratings, nan where there is none.
            log_sd: [K] logarithms of the spreads, where they are learned.
        """
        rated = ~rating.isnan()
        spread = score.new_full((score.shape[-1],), math.log(self.sd)) if log_sd is None else log_sd.to(score)
        error = score - torch.where(rated, rating, 0.0).to(score)
        return torch.where(rated, 0.5 * (error * torch.exp(-spread)).square() + spread, 0.0)


RatingLoss = SquaredError | GaussianNLL


def centring(first: Tensor, second: Tensor) -> Tensor:
    """[P] $(r_1 + r_2)^2$, which keeps rewards around 0; comparisons alone leave their level open.

    Source: arXiv:2312.09244.

    >>> centring(torch.tensor([2.0]), torch.tensor([-0.5]))
    tensor([2.2500])
    """
    return (first + second).square()
