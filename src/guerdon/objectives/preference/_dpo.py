"""DPO: learning from comparisons without a reward model."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from guerdon.core.batch import Batch, Pairs
from guerdon.core.errors import PlanError
from guerdon.core.policy import PolicyOutput
from guerdon.core.protocols import Need
from guerdon.core.reduction import Unit
from guerdon.objectives._base import counted, new_logp, ref_logp
from guerdon.objectives.divergences import Alpha, ForwardKL, JensenShannon, ReverseKL
from guerdon.objectives.preference._losses import HingeLoss, IPOLoss, SigmoidLoss


@dataclass(frozen=True)
class DPO:
    r"""Loss of every pair from $z = \beta\,(s_w - s_l) - m$ with $s = \log(\pi_\theta / \pi_{\mathrm{ref}})(y \mid x)$.

    Log-probs are summed over the chosen steps. With the defaults the loss is $-\log \sigma(z)$, or its cross-entropy with
    ``pairs.label`` where comparisons are not certain.

    Args:
        beta: How much a nat counts; above 0.
        label_smoothing: Probability that a comparison is the wrong way round; labels become $p(1 - \epsilon) + (1 - p)\epsilon$.
        loss: ``SigmoidLoss()``, ``HingeLoss()`` or ``IPOLoss()``.
        margin: Constant part of the target margin $m$.
        margin_scale: Factor of ``pairs.margin`` in $m$: better by more, further apart (ODPO). 0: not read.
        average: Mean over the chosen steps instead of the sum, so that length does not count.
        reference: Which of ``batch.refs``; None: $s = \log \pi_\theta$. With ``average=True`` and a margin that is SimPO.
        divergence: $s = f'(\pi_\theta / \pi_{\mathrm{ref}})$ of another divergence (f-DPO); applied after the sum or mean.

    Returns:
        [P] loss per pair, 0 for pairs with a row that does not count.

    Raises:
        PlanError: for numbers that make no sense, or a batch without pairs, reference or margins that are needed.

    Example:
        >>> from guerdon.testing import example_batch, example_output
        >>> batch = example_batch()
        >>> DPO(beta=0.1)(example_output(batch), batch).shape == batch.pairs.win.shape
        True

    Sources: DPO (arXiv:2305.18290), ODPO (arXiv:2402.10571), SimPO (arXiv:2405.14734), for other divergences:
    Beyond Reverse KL (arXiv:2309.16240), for smoothed labels: Mitchell 2023, A note on DPO with noisy preferences and
    relationship to IPO.
    """

    unit: ClassVar[Unit] = "pair"

    beta: float = 0.1
    label_smoothing: float = 0.0
    loss: SigmoidLoss | HingeLoss | IPOLoss = SigmoidLoss()
    margin: float = 0.0
    margin_scale: float = 0.0
    average: bool = False
    reference: str | None = "reference"
    divergence: ReverseKL | ForwardKL | JensenShannon | Alpha = ReverseKL()

    def __post_init__(self) -> None:
        if not (math.isfinite(self.beta) and self.beta > 0):
            raise PlanError(f"DPO: beta must be above 0, got {self.beta}")
        if not 0 <= self.label_smoothing < 0.5:
            raise PlanError(f"DPO: label_smoothing must be at least 0 and below 0.5, got {self.label_smoothing}")
        if not (math.isfinite(self.margin) and math.isfinite(self.margin_scale)):
            raise PlanError(f"DPO: margins must be finite, got margin={self.margin} and margin_scale={self.margin_scale}")
        if self.reference is None and not isinstance(self.divergence, ReverseKL):
            raise PlanError(f"DPO: divergence {self.divergence!r} compares with a reference, and reference is None")

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset({"pairs", "logp"}) if self.reference is None else frozenset({"pairs", "reference", "logp"})

    def __call__(self, new: PolicyOutput, batch: Batch) -> Tensor:
        pairs = pairs_of(batch, "DPO")
        score = self.divergence.derivative(trajectory_score(new, batch, self.reference, self.average, "DPO"))
        gap = score[pairs.win] - score[pairs.lose]
        z = self.beta * gap - self.margin
        if self.margin_scale:
            if pairs.margin is None:
                raise PlanError("DPO: margin_scale is set, and the pairs have no margin")
            z = z - self.margin_scale * pairs.margin.to(z)
        label = pairs.label.to(z)
        label = label * (1 - self.label_smoothing) + (1 - label) * self.label_smoothing
        live = counted(batch).any(1)
        keep = live[pairs.win] & live[pairs.lose]
        return torch.where(keep, self.loss(z, label, self.beta), 0.0)

    def describe(self, new: PolicyOutput, batch: Batch) -> dict[str, float]:
        """Where the likelihood of both sides has gone (see ``displacement``); nothing without a reference to compare with."""
        return {} if self.reference is None else displacement(new, batch, self.reference)


def pairs_of(batch: Batch, asked_by: str) -> Pairs:
    if batch.pairs is None:
        raise PlanError(f"{asked_by}: the batch has no pairs; add a pair maker to select, such as selection.BestVsWorst")
    return batch.pairs


def trajectory_score(new: PolicyOutput, batch: Batch, reference: str | None, average: bool, asked_by: str) -> Tensor:
    """[B] log-ratio of whole trajectories to the reference, summed or averaged over the chosen steps."""
    keep = counted(batch)
    step = new_logp(new, keep)
    if reference is not None:
        step = step - ref_logp(batch, reference, keep, asked_by)
    total = step.sum(1)
    return total / keep.sum(1).clamp(min=1).to(total) if average else total


@torch.no_grad()
def displacement(new: PolicyOutput, batch: Batch, reference: str = "reference") -> dict[str, float]:
    r"""Where the likelihood has gone since the reference: preferred answers often fall too, only less than the others.

    Args:
        new: Log-probs under the present weights.
        batch: Rows with their pairs.
        reference: Which of ``batch.refs``.

    Returns:
        Means over the pairs that count, in nats per trajectory: ``displacement/chosen`` and ``displacement/rejected``, the change
        of the log-prob of either side; ``displacement/gap``, their difference; ``displacement/accuracy``, the fraction of pairs
        whose preferred side gained more. Empty without such pairs.

    Example:
        >>> from guerdon.testing import example_batch, example_output
        >>> d = displacement(example_output(example_batch()), example_batch())
        >>> bool(abs(d["displacement/chosen"] - d["displacement/rejected"] - d["displacement/gap"]) < 1e-12)
        True

    Source: likelihood displacement (arXiv:2410.08847).
    """
    pairs = pairs_of(batch, "displacement")
    change, live = trajectory_score(new, batch, reference, False, "displacement"), counted(batch).any(1)
    keep = live[pairs.win] & live[pairs.lose] & (pairs.weight > 0)
    chosen, rejected = change[pairs.win][keep].double(), change[pairs.lose][keep].double()
    if not len(chosen):
        return {}
    return {
        "displacement/chosen": float(chosen.mean()),
        "displacement/rejected": float(rejected.mean()),
        "displacement/gap": float((chosen - rejected).mean()),
        "displacement/accuracy": float((chosen > rejected).double().mean()),
    }
