"""Dawid and Skene's model: what is true and how each annotator errs, found together by expectation maximisation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from guerdon.core.errors import DataError
from guerdon.feedback.krippendorff import table

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class DawidSkene:
    """A fitted model of A annotators, U units and K classes.

    Args:
        classes: [K] values of the labels, in order.
        posterior: [U, K] probability of each class given the unit's labels.
        confusion: [A, K, K] probability that the annotator says the second class where the first is true.
        prior: [K] share of each class.
        objective: Log-likelihood plus the log of the smoothing prior, after each iteration; it never falls.
        converged: Whether the last iteration gained less than the tolerance.
    """

    classes: Floats
    posterior: Floats
    confusion: Floats
    prior: Floats
    objective: tuple[float, ...]
    converged: bool

    @property
    def accuracy(self) -> Floats:
        """[A] probability that the annotator says what is true, over the shares of the classes."""
        return np.einsum("k,akk->a", self.prior, self.confusion)


def dawid_skene(labels: ArrayLike, *, smoothing: float = 0.1, iterations: int = 500, tolerance: float = 1e-8) -> DawidSkene:
    r"""Fits confusion matrices by EM, beginning with the shares of the votes.

    E: $P(k \mid \text{labels of } u) \propto \pi_k \prod_a C_{a k l_{au}}$. M: $\pi_k$ and $C_{akl}$ are the expected shares,
    with ``smoothing`` added to every expected count, so that nobody's few labels give a probability of 0. Beginning at the votes
    keeps the classes' names: a solution in which everybody lies is as likely, and not the one that is wanted.

    Annotators are taken to err independently given the truth; a mistake that most of them share is invisible to it.

    Args:
        labels: [annotators, units] numbers, NaN where missing.
        smoothing: Pseudo-count of every entry, at least 0.
        iterations: Most iterations.
        tolerance: Least gain of the objective per label, in nats, that goes on.

    Raises:
        DataError: for units without any label, or a negative smoothing.

    Example:
        >>> fit = dawid_skene([[1, 0, 1, 0, 1, 0], [1, 0, 1, 0, 1, 0], [1, 1, 0, 0, 0, 1]])
        >>> fit.posterior.argmax(1).tolist(), fit.accuracy.round(1).tolist()
        ([1, 0, 1, 0, 1, 0], [1.0, 1.0, 0.3])

    Source: Dawid & Skene, Applied Statistics 28 (1979).
    """
    x = table(labels)
    known = ~np.isnan(x)
    if not known.any(0).all() or not x.size:
        raise DataError("dawid_skene: every unit needs at least one label")
    if smoothing < 0:
        raise DataError(f"dawid_skene: smoothing must be at least 0, got {smoothing}")
    classes = np.unique(x[known])
    said = (x[:, :, None] == classes).astype(float)  # [A, U, K]
    posterior = said.sum(0) / said.sum((0, 2))[:, None]
    objective: list[float] = []
    converged = False
    for _ in range(max(1, iterations)):
        prior, confusion = _shares(posterior, said, smoothing)
        with np.errstate(divide="ignore"):
            log_prior, log_confusion = np.log(prior), np.log(confusion)
        # 0 * log 0 is 0: what was never said does not speak against a class.
        joint = log_prior + np.einsum("aul,akl->uk", said, np.maximum(log_confusion, -1e30))
        top = joint.max(1, keepdims=True)
        weight = np.exp(joint - top)
        posterior = weight / weight.sum(1, keepdims=True)
        likelihood = float((top[:, 0] + np.log(weight.sum(1))).sum())
        bonus = smoothing * float(log_prior.sum() + log_confusion.sum()) if smoothing else 0.0
        objective.append(likelihood + bonus)
        if len(objective) > 1 and objective[-1] - objective[-2] < tolerance * known.sum():
            converged = True
            break
    return DawidSkene(classes, posterior, confusion, prior, tuple(objective), converged)


def _shares(posterior: Floats, said: Floats, smoothing: float) -> tuple[Floats, Floats]:
    """The M step: ([K] prior, [A, K, K] confusion)."""
    prior = posterior.sum(0) + smoothing
    counts = np.einsum("uk,aul->akl", posterior, said) + smoothing
    total = counts.sum(-1, keepdims=True)
    even = np.full_like(counts, 1 / counts.shape[-1])  # an annotator who never met a class
    return prior / prior.sum(), np.divide(counts, total, out=even, where=total > 0)
