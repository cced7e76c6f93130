"""Kappas and plain agreement: for two annotators (Cohen), for a fixed number of them (Fleiss), and without chance."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from guerdon.core.errors import DataError, nearest
from guerdon.feedback.krippendorff import table, value_counts

Floats = NDArray[np.float64]


def cohen_kappa(a: ArrayLike, b: ArrayLike, weights: Literal["none", "linear", "quadratic"] = "none") -> float:
    r"""$\kappa = 1 - \sum_{ck} w_{ck} p_{ck} / \sum_{ck} w_{ck} p_{c \cdot} p_{\cdot k}$ of two annotators.

    The weights of a disagreement are $[c \ne k]$, $|c - k|$ or $(c - k)^2$, with c and k the places of the values in their order.

    Args:
        a: [U] labels of one annotator; units where either is NaN are left out.
        b: [U] labels of the other.
        weights: What a disagreement counts.

    Returns:
        Kappa; NaN where there is no unit, or both gave one and the same value throughout.

    Example:
        >>> cohen_kappa([1, 1, 0, 0], [1, 1, 1, 0])          # agreement 3/4, by chance 1/2
        0.5

    Source: Cohen, Educational and Psychological Measurement 20 (1960); weighted: Psychological Bulletin 70 (1968).
    """
    powers = {"none": 0, "linear": 1, "quadratic": 2}
    if weights not in powers:
        raise DataError(f"unknown weights {weights!r}; {nearest(str(weights), powers)}")
    x, y = np.asarray(a, dtype=np.float64).reshape(-1), np.asarray(b, dtype=np.float64).reshape(-1)
    if len(x) != len(y):
        raise DataError(f"cohen_kappa: two annotators of the same units, got {len(x)} and {len(y)} labels")
    both = ~(np.isnan(x) | np.isnan(y))
    values, index = np.unique(np.stack([x[both], y[both]]), return_inverse=True)
    index = index.reshape(2, -1)
    seen = np.zeros((len(values),) * 2)
    np.add.at(seen, (index[0], index[1]), 1.0)
    place = np.arange(len(values))
    apart = np.abs(place[:, None] - place[None, :]).astype(float)
    weight = apart ** powers[weights] * (apart > 0)
    chance = float((weight * np.outer(seen.sum(1), seen.sum(0))).sum())
    return 1.0 - float((weight * seen).sum()) * float(seen.sum()) / chance if chance > 0 else math.nan


def fleiss_kappa(labels: ArrayLike) -> float:
    r"""$\kappa = (\bar P - \bar P_e) / (1 - \bar P_e)$ for units that all have the same number r of labels.

    $\bar P$ is the mean over units of $\sum_c n_{uc} (n_{uc} - 1) / (r (r - 1))$, and $\bar P_e = \sum_c p_c^2$ with the shares
    $p_c$ of all labels. Who gave them does not matter.

    Args:
        labels: [annotators, units]; NaN where an annotator did not label a unit. Units without any label are left out.

    Raises:
        DataError: where units differ in their number of labels (``krippendorff_alpha`` does not mind), or have fewer than two.

    Example:
        >>> fleiss_kappa([[1, 1, 0, 0], [1, 1, 1, 0]])       # P = 3/4, P_e = (5/8)^2 + (3/8)^2
        0.4666666666666667

    Source: Fleiss, Psychological Bulletin 76 (1971).
    """
    _, counts = value_counts(table(labels))
    counts = counts[counts.sum(1) > 0]
    sizes = counts.sum(1)
    if not len(counts):
        return math.nan
    r = float(sizes[0])
    if (sizes != r).any() or r < 2:
        raise DataError(
            f"fleiss_kappa: every unit needs the same number of labels, at least 2; got {sizes.min():g} to {sizes.max():g}"
        )
    observed = float((counts * (counts - 1)).sum(1).mean()) / (r * (r - 1))
    chance = float(np.square(counts.sum(0) / counts.sum()).sum())
    return (observed - chance) / (1 - chance) if chance < 1 else math.nan


def percent_agreement(labels: ArrayLike) -> float:
    """Share of all pairs of labels of the same unit that are equal, in [0, 1]; NaN where there is none.

    >>> percent_agreement([[1, 0], [1, 0], [1, 1]])          # three of three pairs, and one of three
    0.6666666666666666
    """
    _, counts = value_counts(table(labels))
    sizes = counts.sum(1)
    pairs = float((sizes * (sizes - 1)).sum())
    return float((counts * (counts - 1)).sum()) / pairs if pairs else math.nan


def pairwise_agreement(labels: ArrayLike) -> Floats:
    """[A, A] share of common units on which two annotators agree; NaN where they have none in common.

    >>> pairwise_agreement([[1, 0], [1, 1]]).tolist()
    [[1.0, 0.5], [0.5, 1.0]]
    """
    x = table(labels)
    known = ~np.isnan(x)
    common = known.astype(float) @ known.T.astype(float)
    equal = sum(((x == v).astype(float) @ (x == v).T.astype(float) for v in np.unique(x[known])), start=np.zeros_like(common))
    return np.divide(equal, common, out=np.full_like(common, np.nan), where=common > 0)
