"""Over-optimisation curves: what a reward and a held-out one do as the policy is pushed against the first.

Two ways to push: choosing the best of n answers (from scores alone, no training), and training (from a run's evaluations).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from guerdon.audit.events import History
from guerdon.audit.formats import number
from guerdon.audit.measures import Interval
from guerdon.audit.outcome import mean_of
from guerdon.core.errors import DataError

Floats = NDArray[np.float64]
Law = Literal["best-of-n", "rl"]
LEAST = 5  # points for a law of three numbers


@dataclass(frozen=True)
class Fit:
    r"""A law of over-optimisation fitted to a curve: $R(d) = R_0 + d(\alpha - \beta d)$ or $R_0 + d(\alpha - \beta \log d)$.

    Args:
        law: Which of the two.
        reason: Why it cannot be fitted; "" where it was, and only then the numbers below mean something.
        alpha: Gain per unit of distance, $d = \sqrt{KL}$.
        beta: What is lost to over-optimisation.
        start: $R_0$, the value at no distance; fitted too, because the first reading is as noisy as the others.
        r2: Share of the variance that the law explains.
        points: Readings it was fitted to.
        peak_kl: KL in nats at which the law is highest; None where it has no highest point, or none within reach.
        peak: Its value there.
    """

    law: Law
    reason: str = ""
    alpha: float = math.nan
    beta: float = math.nan
    start: float = math.nan
    r2: float = math.nan
    points: int = 0
    peak_kl: float | None = None
    peak: float | None = None

    def __bool__(self) -> bool:
        """Whether it could be fitted."""
        return not self.reason

    def at(self, kl: ArrayLike) -> Floats:
        """The law's values at these distances in nats; NaN where it was not fitted."""
        d = _distance(np.asarray(kl, dtype=float))
        return self.start + self.alpha * d - self.beta * _bend(d, self.law)

    def __str__(self) -> str:
        if not self:
            return f"cannot be fitted: {self.reason}"
        sign, beta = ("−", self.beta) if self.beta >= 0 else ("+", -self.beta)
        inner = f"{number(self.alpha)} {sign} {number(beta)} {'d' if self.law == 'best-of-n' else 'log d'}"
        peak = f"; highest at {number(self.peak_kl)} nats" if self.peak_kl is not None else ""
        return f"R(d) = {number(self.start)} + d ({inner}) with d = √KL, R² = {number(max(self.r2, 0.0), 2)}{peak}"


def fit_law(kl: ArrayLike, reward: ArrayLike, law: Law) -> Fit:
    r"""Least squares of a law of over-optimisation, linear in its three numbers.

    Args:
        kl: [n] distances in nats; small negative estimates count as 0.
        reward: [n] rewards; pairs with a NaN are left out.
        law: ``"best-of-n"``: $R_0 + d(\alpha - \beta d)$; ``"rl"``: $R_0 + d(\alpha - \beta \log d)$; $d = \sqrt{KL}$.

    Returns:
        The fit; with fewer than five different distances, or a constant reward, one that says why there is none.

    Example:
        >>> d = np.array([0.0, 0.5, 1.0, 1.5, 2.0, 2.5])
        >>> f = fit_law(d**2, 0.3 + d * (2.0 - 0.5 * d), "best-of-n")
        >>> round(f.alpha, 6), round(f.beta, 6), round(f.start, 6), round(f.peak_kl, 6)       # d = 2 / (2 * 0.5)
        (2.0, 0.5, 0.3, 4.0)
        >>> str(fit_law([0.0, 1.0], [0.0, 1.0], "rl"))
        'cannot be fitted: 2 points, and it takes 5'

    Source: the functional forms of arXiv:2210.10760; the constant is an addition.
    """
    x, y = np.asarray(kl, dtype=float), np.asarray(reward, dtype=float)
    keep = np.isfinite(x) & np.isfinite(y)
    d, y = _distance(x[keep]), y[keep]
    different = len(np.unique(np.round(d, 9)))
    if different < LEAST:
        return Fit(law, f"{different} point{'' if different == 1 else 's'}, and it takes {LEAST}", points=len(y))
    total = float(((y - y.mean()) ** 2).sum())
    if total <= 1e-18 * max(1.0, float((y**2).sum())):
        return Fit(law, "the reward is constant", points=len(y))
    columns = np.stack([np.ones_like(d), d, -_bend(d, law)], 1)
    (start, alpha, beta), _, rank, _ = np.linalg.lstsq(columns, y, rcond=1e-10)
    if rank < 3:
        return Fit(law, "the policy stayed at about the same distance", points=len(y))
    residual = float(((columns @ np.array([start, alpha, beta]) - y) ** 2).sum())
    d_peak = _peak(float(alpha), float(beta), law)
    out = Fit(law, "", float(alpha), float(beta), float(start), 1 - residual / total, len(y))
    if d_peak is None:
        return out
    top = float(out.at([d_peak**2])[0])
    return Fit(law, "", out.alpha, out.beta, out.start, out.r2, out.points, d_peak**2, top)


def _distance(kl: Floats) -> Floats:
    return np.sqrt(np.maximum(kl, 0.0))


def _bend(d: Floats, law: Law) -> Floats:
    """What beta multiplies: d^2, or d log d (0 at 0)."""
    return d**2 if law == "best-of-n" else d * np.log(np.where(d > 0, d, 1.0))


def _peak(alpha: float, beta: float, law: Law) -> float | None:
    """Where the law is highest: d = alpha / 2 beta, or exp(alpha / beta - 1); None without a maximum or out of any reach."""
    if not beta > 0:
        return None
    if law == "best-of-n":
        return alpha / (2 * beta) if alpha > 0 else None
    return math.exp(alpha / beta - 1) if alpha / beta < 10 else None


@dataclass(frozen=True, eq=False)
class BestOfN:
    """Proxy and gold reward of the best of n answers, best by the proxy.

    Args:
        n: [K] answers chosen from.
        kl: [K] nats, ``log n - (n - 1) / n``: an upper bound of the distance to the policy itself.
        proxy: [K] mean over contexts of the expected proxy reward of the chosen answer.
        proxy_lo: [K] lower end of its 95 % interval.
        proxy_hi: [K] upper end.
        gold: [K] the same of the gold reward.
        gold_lo: [K] lower end of its 95 % interval.
        gold_hi: [K] upper end.
        peak: n at which the gold reward is highest (the smallest of equals).
        drop: Gold reward at that peak minus at the largest n; its interval keeps the peak where all contexts put it, and below 0
            says that there may be no fall at all.
        contexts: Contexts averaged.
        left_out: Contexts without enough scored answers.
        failed: Answers left out because one of their scores was NaN.
        fit: The law of best-of-n, fitted to ``gold``.
    """

    n: NDArray[np.int64]
    kl: Floats
    proxy: Floats
    proxy_lo: Floats
    proxy_hi: Floats
    gold: Floats
    gold_lo: Floats
    gold_hi: Floats
    peak: int
    drop: Interval
    contexts: int
    left_out: int
    failed: int
    fit: Fit


def best_of_n_weights(total: int, n: int) -> Floats:
    r"""[total] chance that the i-th smallest of ``total`` values is the largest of ``n`` drawn without replacement.

    $\binom{i-1}{n-1} / \binom{N}{n}$, by the ratios of neighbours so that nothing overflows.

    >>> best_of_n_weights(4, 2).round(6).tolist()                    # 0, 1, 2, 3 of 6 pairs
    [0.0, 0.166667, 0.333333, 0.5]
    """
    i = np.arange(n, total)  # w(i) / w(i + 1) = (i - n + 1) / i for i = n .. N - 1
    steps = np.log((i - n + 1) / i)
    out = np.zeros(total)
    out[n - 1 :] = np.exp(math.log(n / total) + np.concatenate([np.cumsum(steps[::-1])[::-1], [0.0]]))
    return out


def best_of_n_curve(
    proxy: ArrayLike, gold: ArrayLike, ns: Sequence[int] | None = None, *, resamples: int = 1000, seed: int = 0
) -> BestOfN:
    r"""What choosing the best of n answers by a proxy reward does to a gold reward, from scores alone.

    With a context's N answers in the order of their proxy rewards, the best of n drawn without replacement is the i-th with
    probability $\binom{i-1}{n-1} / \binom{N}{n}$, so that $E_n = \sum_{i=n}^{N} \binom{i-1}{n-1} g_{(i)} / \binom{N}{n}$ uses
    every answer and is unbiased. Among equal proxy rewards any is as likely to be chosen: they share their weight evenly.

    Args:
        proxy: [contexts, N] rewards by which the best is chosen; NaN: not scored, that answer is left out.
        gold: [contexts, N] rewards by which the choice is judged; NaN likewise.
        ns: Which n; None: powers of two up to the number of answers that nine contexts of ten have.
        resamples: Bootstrap samples of contexts for the 95 % intervals.
        seed: Of the bootstrap.

    Returns:
        The curve. Contexts with fewer scored answers than the largest n are left out of all of it, so that every n is an average
        over the same contexts.

    Raises:
        DataError: where the shapes differ, n is out of reach or nothing is left.

    Example:
        >>> curve = best_of_n_curve([[1.0, 2.0, 3.0, 4.0]], [[0.0, 2.0, 3.0, 1.0]], ns=[1, 2, 4])
        >>> curve.gold.round(4).tolist(), curve.peak, round(curve.drop.mean, 4)               # n = 2: (1*2 + 2*3 + 3*1) / 6
        ([1.5, 1.8333, 1.0], 2, 0.8333)

    Source: the estimator is that of arXiv:2112.09332 (appendix), the curve that of arXiv:2210.10760 and arXiv:2310.02743; the KL
    is an upper bound by arXiv:2401.01879.
    """
    p, g = np.asarray(proxy, dtype=float), np.asarray(gold, dtype=float)
    if p.ndim != 2 or p.shape != g.shape:
        raise DataError(f"best_of_n_curve: proxy and gold must both be [contexts, answers], got {p.shape} and {g.shape}")
    ok = np.isfinite(p) & np.isfinite(g)
    have = ok.sum(1)
    if not (have > 0).any():
        raise DataError("best_of_n_curve: no answer has both scores")
    sizes = _sizes(have, ns)
    kept = have >= sizes[-1]
    if not kept.any():
        raise DataError(f"best_of_n_curve: n = {sizes[-1]}, and no context has more than {have.max()} scored answers")
    rows = np.flatnonzero(kept)
    values = np.empty((2, len(rows), len(sizes)))
    weights: dict[int, Floats] = {}
    for k, row in enumerate(rows):
        x, y = p[row][ok[row]], g[row][ok[row]]
        if len(x) not in weights:
            weights[len(x)] = np.stack([best_of_n_weights(len(x), n) for n in sizes])
        order = np.argsort(x, kind="stable")
        x, y = x[order], _averaged(y[order], x[order])
        values[:, k] = weights[len(x)] @ x, weights[len(x)] @ y
    means, lo, hi, drop, top = _bootstrap(values, resamples, seed)
    n = np.array(sizes)
    kl = np.log(n) - (n - 1) / n
    return BestOfN(
        n, kl, means[0], lo[0], hi[0], means[1], lo[1], hi[1], int(n[top]), drop, len(rows), int(len(have) - len(rows)),
        int((~ok).sum()), fit_law(kl, means[1], "best-of-n"),
    )  # fmt: skip


def _sizes(have: NDArray[np.int64], ns: Sequence[int] | None) -> list[int]:
    if ns is None:
        most = max(1, int(np.sort(have)[len(have) // 10]))
        return sorted({*(2**k for k in range(most.bit_length()) if 2**k <= most), most})
    sizes = sorted({int(n) for n in ns})
    if not sizes or sizes[0] < 1:
        raise DataError(f"best_of_n_curve: ns must be whole numbers of at least 1, got {list(ns)}")
    return sizes


def _averaged(y: Floats, x: Floats) -> Floats:
    """``y`` with the mean of its tie wherever the (ordered) ``x`` are equal: the same as sharing the weights evenly."""
    first = np.flatnonzero(np.concatenate([[True], x[1:] != x[:-1]]))
    size = np.diff(np.append(first, len(x)))
    return np.repeat(np.add.reduceat(y, first) / size, size)


def _bootstrap(values: Floats, resamples: int, seed: int) -> tuple[Floats, Floats, Floats, Interval, int]:
    """Means over contexts with intervals, and the fall from the peak of the second kind; NaN ends for a single context."""
    means = values.mean(1)
    top, contexts = int(np.argmax(means[1])), values.shape[1]
    fall = float(means[1, top] - means[1, -1])
    if contexts < 2:
        none = np.full_like(means, math.nan)
        return means, none, none, Interval(fall, math.nan, math.nan, contexts), top
    generator = np.random.default_rng(seed)
    chosen = generator.multinomial(contexts, np.full(contexts, 1 / contexts), resamples) / contexts  # [resamples, contexts]
    drawn = np.einsum("rc,kcn->krn", chosen, values)
    lo, hi = np.quantile(drawn, [0.025, 0.975], axis=1)
    ends = np.quantile(drawn[1, :, top] - drawn[1, :, -1], [0.025, 0.975])
    return means, lo, hi, Interval(fall, float(ends[0]), float(ends[1]), contexts), top


@dataclass(frozen=True, eq=False)
class RLCurve:
    """Training and held-out reward over the distance from the reference, in the order of a run's evaluations.

    Args:
        steps: [E] draws done.
        kl: [E] nats per sample; NaN where there is no reference.
        proxy: [E] training reward.
        gold: [E] held-out reward.
        proxy_ends: [E, 2] 95 % intervals, NaN where unknown.
        gold_ends: [E, 2] 95 % intervals, NaN where unknown.
        proxy_unit: Standard deviation of the training reward between the first evaluation's answers, NaN where unknown.
        gold_unit: The same of the held-out reward: what makes the two comparable.
        peak: Position of the highest held-out reward (the earliest of equals); None for an empty curve.
        fit: The law of training, fitted to ``gold``.
    """

    steps: NDArray[np.int64]
    kl: Floats
    proxy: Floats
    gold: Floats
    proxy_ends: Floats
    gold_ends: Floats
    proxy_unit: float
    gold_unit: float
    peak: int | None
    fit: Fit

    def __len__(self) -> int:
        return len(self.steps)


def rl_curve(history: History) -> RLCurve:
    """The over-optimisation curve of a run: its evaluations that have both rewards.

    Args:
        history: A recorded run.

    Example:
        >>> from guerdon.audit.events import Evaluation
        >>> from pathlib import Path
        >>> rows = [{"kl": k * k, "proxy/mean": k, "held_out/mean": k * (2 - 0.5 * k)} for k in (0.0, 1.0, 2.0, 3.0)]
        >>> curve = rl_curve(History(Path("x"), evals=tuple(Evaluation(k, r) for k, r in enumerate(rows))))
        >>> curve.peak, curve.gold.tolist(), str(curve.fit)
        (2, [0.0, 1.5, 2.0, 1.5], 'cannot be fitted: 4 points, and it takes 5')

    Source: arXiv:2210.10760.
    """
    known = [e for e in history.evals if "proxy/mean" in e.metrics and "held_out/mean" in e.metrics]

    def column(name: str) -> Floats:
        return np.array([e.metrics.get(name, math.nan) for e in known], dtype=float)

    def ends(of: Any) -> Floats:
        return np.array([(i.lo, i.hi) for i in (mean_of(e, of) for e in known)], dtype=float).reshape(-1, 2)

    gold, kl = column("held_out/mean"), column("kl")
    first: dict[str, float] = dict(known[0].metrics) if known else {}
    return RLCurve(
        np.array([e.step for e in known], dtype=np.int64), kl, column("proxy/mean"), gold, ends("reward"), ends("held_out"),
        first.get("proxy/std", math.nan), first.get("held_out/std", math.nan), int(np.argmax(gold)) if known else None,
        fit_law(kl, gold, "rl"),
    )  # fmt: skip
