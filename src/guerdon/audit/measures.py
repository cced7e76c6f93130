"""Measures of what a policy writes: diversity, repetition, length; and intervals for means of few samples.

A row is one output: a sequence of token ids, a tensor of them, or a text (split at white space). Everything is a pure function.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Row = Sequence[Hashable] | str | Any


def tokens_of(row: Row) -> list[Hashable]:
    """The tokens of one row.

    >>> tokens_of("the cat  sat"), tokens_of(np.array([3, 1]))
    (['the', 'cat', 'sat'], [3, 1])
    """
    if isinstance(row, str):
        return list(row.split())
    return list(row.tolist() if hasattr(row, "tolist") else row)


def token_count(rows: Sequence[Row]) -> int:
    """Tokens in all rows together: the smaller of two pools' counts is what makes their ``distinct_n`` comparable.

    >>> token_count(["a b c", "a"])
    4
    """
    return sum(len(tokens_of(r)) for r in rows)


def ngrams(tokens: Sequence[Hashable], n: int) -> list[tuple[Hashable, ...]]:
    """All runs of ``n`` neighbouring tokens.

    >>> ngrams("a b c".split(), 2)
    [('a', 'b'), ('b', 'c')]
    """
    return [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]


def distinct_n(rows: Sequence[Row], n: int, tokens: int | None = None) -> float:
    r"""Share of different n-grams among all n-grams of a pooled sample: ``|set(ngrams)| / |ngrams|``.

    The share falls by itself as a sample grows, so two samples are only comparable at the same number of tokens: with
    ``tokens`` the rows are read in order until that many tokens were seen (the last row is cut). N-grams do not cross rows.

    Args:
        rows: Outputs.
        n: Length of the n-grams, at least 1.
        tokens: Size the pooled sample is cut to; None: all of it. A smaller pool is used whole (compare ``token_count``).

    Returns:
        A fraction in (0, 1]; NaN where there is no n-gram.

    Example:
        >>> distinct_n(["a b a b"], 1), distinct_n(["a b a b"], 2)       # {a, b} of 4; {ab, ba} of ab, ba, ab
        (0.5, 0.6666666666666666)
        >>> distinct_n(["a b", "a b", "a b"], 1, tokens=2)               # only the first row is read
        1.0

    Source: arXiv:1510.03055 (distinct-1 and distinct-2).
    """
    if n < 1:
        raise ValueError(f"distinct_n: n must be at least 1, got {n}")
    seen: set[tuple[Hashable, ...]] = set()
    total, left = 0, math.inf if tokens is None else tokens
    for row in rows:
        if left <= 0:
            break
        words = tokens_of(row)
        words = words[: int(left)] if left < len(words) else words
        left -= len(words)
        grams = ngrams(words, n)
        seen.update(grams)
        total += len(grams)
    return len(seen) / total if total else math.nan


def self_repetition(rows: Sequence[Row], n: int = 4) -> float:
    """Share of a row's n-grams that occurred earlier in the same row, averaged over rows that have n-grams.

    >>> self_repetition(["a b a b a b"], n=2)                            # ab ba ab ba ab: three of five are repeats
    0.6
    >>> self_repetition(["a b c d e"], n=2)
    0.0
    """
    shares = []
    for row in rows:
        grams = ngrams(tokens_of(row), n)
        if grams:
            shares.append(1 - len(set(grams)) / len(grams))
    return float(np.mean(shares)) if shares else math.nan


def duplicates(rows: Sequence[Row]) -> float:
    """Share of rows that are an exact copy of an earlier row.

    >>> duplicates(["a b", "a b", "c", "a b"])
    0.5
    """
    keys = [tuple(tokens_of(r)) for r in rows]
    return 1 - len(set(keys)) / len(keys) if keys else math.nan


def entropy(rows: Sequence[Row], n: int = 1) -> float:
    """Entropy in nats of the pooled n-gram frequencies, ``-sum p log p``: how evenly the vocabulary is used.

    >>> round(entropy(["a b", "c d"]), 6) == round(math.log(4), 6)
    True
    >>> entropy(["a a a"])
    0.0
    """
    counts = np.array(list(Counter(g for r in rows for g in ngrams(tokens_of(r), n)).values()), dtype=float)
    if not len(counts):
        return math.nan
    p = counts / counts.sum()
    return float(max(0.0, -(p * np.log(p)).sum()))


class Lengths(NamedTuple):
    """Lengths of rows, in tokens."""

    mean: float
    std: float
    min: int
    median: float
    max: int


def lengths(rows: Sequence[Row]) -> Lengths:
    """Length statistics; the standard deviation is that of a sample (n - 1).

    >>> lengths(["a", "a b", "a b c"])
    Lengths(mean=2.0, std=1.0, min=1, median=2.0, max=3)
    """
    x = np.array([len(tokens_of(r)) for r in rows], dtype=float)
    if not len(x):
        return Lengths(math.nan, math.nan, 0, math.nan, 0)
    std = float(x.std(ddof=1)) if len(x) > 1 else 0.0
    return Lengths(float(x.mean()), std, int(x.min()), float(np.median(x)), int(x.max()))


class Interval(NamedTuple):
    """A mean with its interval; NaN ends where too few values are known."""

    mean: float
    lo: float
    hi: float
    n: int


def bootstrap(values: ArrayLike, *, level: float = 0.95, resamples: int = 2000, seed: int = 0) -> Interval:
    """Percentile bootstrap interval of a mean: the same for the same values, no shared random state.

    Args:
        values: [n] numbers; NaN are left out.
        level: Coverage of the interval.
        resamples: Means drawn with replacement.
        seed: Of the resampling.

    Example:
        >>> bootstrap([2.0, 2.0, 2.0])
        Interval(mean=2.0, lo=2.0, hi=2.0, n=3)
        >>> bootstrap([1.0]).lo                                          # one value says nothing about its spread
        nan

    Source: Efron & Tibshirani, An Introduction to the Bootstrap (1993), chapter 13.
    """
    x = _finite(values)
    if len(x) < 2:
        return Interval(float(x.mean()) if len(x) else math.nan, math.nan, math.nan, len(x))
    lo, hi = np.quantile(_resampled_means(x, resamples, np.random.default_rng(seed)), [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(x.mean()), float(lo), float(hi), len(x))


def bootstrap_difference(
    a: ArrayLike, b: ArrayLike, *, paired: bool = False, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Interval:
    """Interval of ``mean(b) - mean(a)``.

    Args:
        a: [n] numbers; NaN are left out (in pairs, the pair).
        b: [m] numbers; with ``paired`` as many as ``a``, row by row for the same context.
        paired: Resample the differences, which removes what the rows have in common.
        level: Coverage of the interval.
        resamples: Means drawn with replacement.
        seed: Of the resampling.

    >>> bootstrap_difference([1.0, 5.0], [2.0, 6.0], paired=True)
    Interval(mean=1.0, lo=1.0, hi=1.0, n=2)
    """
    if paired:
        x, y = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
        if len(x) != len(y):
            raise ValueError(f"bootstrap_difference: paired values must be equally many, got {len(x)} and {len(y)}")
        return bootstrap(y - x, level=level, resamples=resamples, seed=seed)
    x, y = _finite(a), _finite(b)
    if not len(x) or not len(y):
        return Interval(math.nan, math.nan, math.nan, 0)
    middle = float(y.mean() - x.mean())
    if min(len(x), len(y)) < 2:
        return Interval(middle, math.nan, math.nan, min(len(x), len(y)))
    generator = np.random.default_rng(seed)
    means = _resampled_means(y, resamples, generator) - _resampled_means(x, resamples, generator)
    lo, hi = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(middle, float(lo), float(hi), min(len(x), len(y)))


def normal_interval(mean: float, std: float, n: int) -> Interval:
    """95 % interval of a mean from its sample's standard deviation: ``mean ± 1.96 std / sqrt(n)``.

    >>> normal_interval(1.0, 2.0, 16)
    Interval(mean=1.0, lo=0.02, hi=1.98, n=16)
    """
    half = 1.96 * std / math.sqrt(n) if n > 1 else math.nan
    return Interval(mean, mean - half, mean + half, n)


def _finite(values: ArrayLike) -> NDArray[np.float64]:
    x = np.asarray(values, dtype=np.float64).reshape(-1)
    return x[np.isfinite(x)]


def _resampled_means(x: NDArray[np.float64], resamples: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """[resamples] means; in blocks, so that memory stays small however long ``x`` is."""
    block = max(1, 2_000_000 // len(x))
    parts = []
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        parts.append(x[generator.integers(0, len(x), (rows, len(x)))].mean(1))
    return np.concatenate(parts)
