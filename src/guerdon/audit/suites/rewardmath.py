"""RewardMATH: is the one correct solution of a problem scored above nine wrong ones? From stored scores of reward models.

Source: arXiv:2410.01729. Scores and evaluation: github.com/kimsh0507/RewardMATH_official.
"""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike

from guerdon.audit.reward.estimates import Estimate, Floats, Resampler
from guerdon.core.errors import DataError, nearest

Ties = Literal["against", "random", "for"]
Aggregation = Literal["min", "product", "geometric mean", "mean", "last", "max", "mean logit"]

# What the authors' evaluation program (src/evaluation/eval.py, commit cde06ab3f546) prints for their own result files, in per
# cent: model -> (accuracy, mean reciprocal rank); of step-wise models by aggregation. Their README prints no figures.
PUBLISHED: dict[tuple[str, str], tuple[float, float]] = {
    ("internlm2", ""): (37.267, 55.171),
    ("internlm2_20b", ""): (33.954, 51.953),
    ("oasst-rm", ""): (7.039, 27.026),
    ("beaver", ""): (7.246, 26.585),
    ("grm_gemma", ""): (4.969, 24.101),
    ("grm_llama3", ""): (24.431, 45.795),
    ("ArmoRM", ""): (20.497, 42.182),
    ("skywork_llama3", ""): (22.153, 44.694),
    ("Eurus-RM", ""): (16.977, 38.303),
    ("gpt4o", ""): (25.979, 46.699),
    ("Math_Shepherd", "min"): (15.321, 34.669),
    ("Math_Shepherd", "product"): (17.184, 34.679),
    ("Math_Shepherd", "geometric mean"): (15.735, 33.612),
    ("Math_Shepherd", "mean"): (15.114, 32.778),
    ("Math_Shepherd", "last"): (18.219, 38.834),
    ("Math_Shepherd", "max"): (3.934, 21.823),
    ("Math_Shepherd", "mean logit"): (14.7, 31.923),
    ("ReasonEval_7B", "min"): (19.462, 38.673),
    ("ReasonEval_7B", "product"): (18.219, 38.495),
    ("ReasonEval_7B", "geometric mean"): (20.29, 39.257),
    ("ReasonEval_7B", "mean"): (20.083, 39.193),
    ("ReasonEval_7B", "last"): (14.907, 36.265),
    ("ReasonEval_7B", "max"): (12.008, 34.034),
    ("ReasonEval_7B", "mean logit"): (20.911, 40.445),
}

# The same program on results/Rewardbench/rewardbench_Math_Shepherd.json: share of pairs whose chosen solution scores higher.
PUBLISHED_MATH_PRM: dict[str, float] = {
    "min": 82.998,
    "max": 68.680,
    "product": 94.407,
    "mean": 81.208,
    "mean logit": 80.761,
    "last": 65.772,
}


FEWEST = "fewest steps"  # a rule that reads no score: solutions of fewer steps are better, equal numbers in random order


class OneToMany(NamedTuple):
    """How a reward ranks one correct answer among wrong ones.

    Attributes:
        accuracy: Share of problems whose correct answer is above all others.
        mrr: Mean of 1 / rank of the correct answer.
        pairwise: Share of (correct, wrong) pairs in the right order.
        problems: Problems judged.
        failed: Problems left out, because a score is missing.
        tied: Problems in which a wrong answer has the score of the correct one.
    """

    accuracy: Estimate
    mrr: Estimate
    pairwise: Estimate
    problems: int
    failed: int
    tied: int


class Model(NamedTuple):
    """One line of the suite.

    Attributes:
        name: Of the reward model.
        aggregation: How scores of steps became one; "" for models that score whole solutions; "fewest steps" for the baseline
            that only counts them.
        found: What its stored scores give.
        published: (accuracy, mean reciprocal rank) of the authors' program on their files, in per cent; None where there is none.
    """

    name: str
    aggregation: str
    found: OneToMany
    published: tuple[float, float] | None


def one_to_many(scores: ArrayLike, correct: int | ArrayLike = 0, *, ties: Ties = "against", seed: int = 0) -> OneToMany:
    r"""Accuracy, mean reciprocal rank and pairwise accuracy of one correct answer among $K - 1$ wrong ones.

    With $a$ wrong answers above the correct one and $e$ equal to it, its rank is $1 + a + e$ when ties count against it and
    $1 + a$ when they count for it; ``random`` is the expectation when ties are broken at random: accuracy $[a = 0] / (1 + e)$,
    reciprocal rank $\frac{1}{1 + e} \sum_{j=0}^{e} \frac{1}{1 + a + j}$, and half a point for an equal pair.

    Args:
        scores: [N, K] of K answers to each of N problems. A problem with a NaN or infinite score is left out and counted.
        correct: Column of the correct answer, one for all or [N].
        ties: What an equal score counts.
        seed: Of the bootstrap over problems.

    Raises:
        DataError: for another shape, or a column that is not there.

    Source: arXiv:2410.01729 (accuracy asks for strictly above, and ties count against in the rank).

    Example:
        >>> found = one_to_many([[3, 1, 2], [2, 2, 1], [1, 2, 3]])
        >>> [round(e.value, 4) for e in found[:3]]                        # ranks 1, 2 and 3
        [0.3333, 0.6111, 0.5]
        >>> round(one_to_many([[2, 2, 1]], ties="random").mrr.value, 4)   # rank 1 or 2
        0.75
    """
    x = np.asarray(scores, dtype=np.float64)
    if x.ndim != 2 or x.shape[1] < 2:
        raise DataError(f"scores must be [problems, two or more answers], got shape {x.shape}")
    column = np.broadcast_to(np.asarray(correct, dtype=np.int64), len(x))
    if len(x) and not bool(((column >= -x.shape[1]) & (column < x.shape[1])).all()):
        raise DataError(f"correct must be a column from 0 to {x.shape[1] - 1}")
    if ties not in get_args(Ties):
        raise DataError(f"unknown tie rule {ties!r}; {nearest(str(ties), get_args(Ties))}")
    fine = np.isfinite(x).all(1)
    right = x[np.arange(len(x)), column][fine, None]
    others = x[fine]
    above = (others > right).sum(1)
    equal = (others == right).sum(1) - 1
    wrong = x.shape[1] - 1
    if ties == "random":
        first = (above == 0) / (1 + equal)
        reciprocal = np.array([np.mean(1 / (1 + a + np.arange(e + 1))) for a, e in zip(above, equal, strict=True)])
    else:
        rank = 1 + above + (equal if ties == "against" else 0)
        first, reciprocal = (rank == 1).astype(float), 1 / rank
    won = (wrong - above - equal + {"against": 0.0, "random": 0.5, "for": 1.0}[ties] * equal) / wrong
    resampler = Resampler(np.arange(len(right)), seed=seed)
    estimates = [resampler.mean(v, share=True) for v in (first, reciprocal, won)]
    return OneToMany(estimates[0], estimates[1], estimates[2], len(right), int((~fine).sum()), int((equal > 0).sum()))


def aggregate(steps: Sequence[float], how: Aggregation) -> float:
    r"""One score from those of the steps of a solution: their minimum, maximum, product, geometric mean, mean, last, or the mean
    of their logits. NaN without steps.

    >>> [round(aggregate([0.5, 0.8], how), 4) for how in ("min", "product", "geometric mean", "mean", "last")]
    [0.5, 0.4, 0.6325, 0.65, 0.8]
    """
    p = np.asarray(steps, dtype=np.float64)
    if not len(p):
        return math.nan
    match how:
        case "min":
            return float(p.min())
        case "max":
            return float(p.max())
        case "product":
            return float(p.prod())
        case "geometric mean":
            return float(p.prod() ** (1 / len(p)))
        case "mean":
            return float(p.mean())
        case "last":
            return float(p[-1])
        case "mean logit":
            with np.errstate(divide="ignore"):
                return float(np.mean(np.log(p) - np.log1p(-p)))
    raise DataError(f"unknown aggregation {how!r}; {nearest(str(how), get_args(Aggregation))}")


def rewardmath(path: str | Path, *, ties: Ties = "against", seed: int = 0) -> list[Model]:
    """Every reward model of a score file, step-wise ones once for each aggregation and once for the number of their steps.

    Args:
        path: jsonl, gzipped or not: ``{"problem", "score": {model: [10 scores, or 10 lists of step scores]}}``, the correct
            solution first.
        ties: What an equal score counts.
        seed: Of the bootstrap over problems.

    Raises:
        DataError: for a line that is no such record.
    """
    columns: dict[str, list[Any]] = {}
    for line, record in _records(Path(path)):
        scores = record.get("score")
        if not isinstance(scores, Mapping) or not scores or columns and set(scores) != set(columns):
            raise DataError(f"{path}:{line}: 'score' must be a mapping of the same models to lists of scores in every line")
        for model, values in scores.items():
            if not isinstance(values, list) or len(values) < 2:
                raise DataError(f"{path}:{line}: score of {model!r} must be a list, one entry for each solution")
            columns.setdefault(model, []).append(values)
    if not columns:
        raise DataError(f"{path}: no records")
    out = []
    for model, rows in columns.items():
        if isinstance(rows[0][0], list):
            out += _stepwise(model, rows, ties, seed, {how: PUBLISHED.get((model, how)) for how in get_args(Aggregation)})
        else:
            out.append(Model(model, "", one_to_many(_table(rows), ties=ties, seed=seed), PUBLISHED.get((model, ""))))
    return out


def math_prm(path: str | Path, *, ties: Ties = "against", seed: int = 0) -> list[Model]:
    """RewardBench's math-prm pairs by step scores: a chosen against a rejected solution, as in ``rewardmath``.

    Args:
        path: jsonl, gzipped or not: ``{"problem_id", "solution_type": "chosen" | "rejected", "output": {"step_scores"}}``.
        ties: What an equal score counts.
        seed: Of the bootstrap over problems.

    Raises:
        DataError: for a line that is no such record, or a problem without its two solutions.
    """
    sides: dict[Any, dict[str, list[float]]] = {}
    for line, record in _records(Path(path)):
        try:
            sides.setdefault(record["problem_id"], {})[record["solution_type"]] = list(record["output"]["step_scores"])
        except (KeyError, TypeError):
            raise DataError(f"{path}:{line}: expected problem_id, solution_type and output.step_scores") from None
    for problem, both in sides.items():
        if set(both) != {"chosen", "rejected"}:
            raise DataError(f"{path}: problem {problem!r} needs one chosen and one rejected solution, has {sorted(both)}")
    rows = [[both["chosen"], both["rejected"]] for both in sides.values()]
    return _stepwise("Math_Shepherd", rows, ties, seed, {how: (v, math.nan) for how, v in PUBLISHED_MATH_PRM.items()})


def _stepwise(
    model: str, rows: Sequence[Sequence[list[float]]], ties: Ties, seed: int, published: Mapping[str, tuple[float, float] | None]
) -> list[Model]:
    """A step-wise model once for each aggregation, and the rule that counts steps."""
    out = [
        Model(model, how, one_to_many(_table(rows, how), ties=ties, seed=seed), published.get(how))
        for how in get_args(Aggregation)
    ]
    steps = _table([[-len(solution) for solution in row] for row in rows])
    return [*out, Model(model, FEWEST, one_to_many(steps, ties="random", seed=seed), None)]


def _table(rows: Sequence[Sequence[Any]], how: Aggregation | None = None) -> Floats:
    """[N, K] scores; NaN where one is missing."""
    width = max(len(r) for r in rows)
    table = np.full((len(rows), width), np.nan)
    for k, row in enumerate(rows):
        values = [v if how is None else aggregate(v, how) for v in row]
        table[k, : len(values)] = [math.nan if v is None else float(v) for v in values]
    return table


def _records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        with gzip.open(path, "rt", encoding="utf8") if path.suffix == ".gz" else path.open(encoding="utf8") as file:
            for line, text in enumerate(file, 1):
                if text.strip():
                    record = json.loads(text)
                    if not isinstance(record, dict):
                        raise DataError(f"{path}:{line}: expected an object")
                    yield line, record
    except json.JSONDecodeError as e:
        raise DataError(f"{path}:{line}: not JSON: {e.msg}") from None
    except (OSError, UnicodeDecodeError) as e:
        raise DataError(f"{path}: cannot be read: {e}") from None
