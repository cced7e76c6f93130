"""What annotators like: the utility of a row under a reward, and rewards that stand for particular tastes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from guerdon.core import Batch, PlanError, RewardError, RewardOutput, Rollout, nearest
from guerdon.core.batch import rewards
from guerdon.core.reward import Scope


def checked_reward(owner: str, reward: Any) -> None:
    """A plan may name a Reward here, or a program any function of a rollout."""
    if not callable(reward):
        raise PlanError(f"{owner}: reward must be a reward or a function of a rollout, got {type(reward).__name__}")


def number_of(owner: str, name: str, value: Any, low: float = 0.0, high: float = math.inf) -> None:
    """Raises a PlanError for anything but a finite number from ``low`` to ``high``."""
    if isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high and math.isfinite(value):
        return
    wanted = f" in [{low:g}, {high:g}]" if high < math.inf else f" of at least {low:g}" if low > -math.inf else ""
    raise PlanError(f"{owner}: {name} must be a number{wanted}, got {value!r}")


def scored(reward: Any, rollout: Rollout) -> RewardOutput:
    """What a reward, or a function ``rollout -> [B] numbers``, says of every row.

    Raises:
        RewardError: where that is not one number per row.
    """
    output = reward(rollout)
    if not isinstance(output, RewardOutput):
        output = RewardOutput.of(torch.as_tensor(output, dtype=torch.double))
    if output.total.shape != (len(rollout),):
        shape = tuple(output.total.shape)
        raise RewardError(f"{type(reward).__name__} gave {shape} numbers for {len(rollout)} rows, expected ({len(rollout)},)")
    return output.checked()


@torch.no_grad()
def utilities(reward: Any, rollout: Rollout, rows: Tensor) -> tuple[Tensor, Tensor, list[str]]:
    """([B] float64 utility, [B] bool ok, [B] reasons), where only ``rows`` need to be right.

    The utility of a row is its undiscounted return: ``total``, plus the dense rewards of its chosen steps where there are some.
    """
    used = rows.unique()
    if not len(used):  # nobody was asked: rewards need not bear rollouts without rows
        return torch.zeros(len(rollout), dtype=torch.double), torch.zeros(len(rollout), dtype=torch.bool), [""] * len(rollout)
    part = getattr(reward, "scope", "batch") == "sample" and len(used) < len(rollout)
    seen = rollout[used] if part else rollout
    output = scored(reward, seen)
    total = output.total.double()
    if output.step is not None:
        total = total + torch.where(seen.mask, output.step.double(), 0.0).sum(1)
    total, ok = total.cpu(), output.ok.cpu()
    if not part:
        return total, ok, list(output.reason)
    reason = [""] * len(rollout)
    for k, why in zip(used.tolist(), output.reason, strict=True):
        reason[k] = why
    zero = torch.zeros(len(rollout), dtype=torch.double)
    return zero.index_put((used,), total), torch.zeros(len(rollout), dtype=torch.bool).index_put((used,), ok), reason


@dataclass(frozen=True)
class Biased:
    """A taste that likes something else too: total = return of ``base`` + weight * return of ``bias``.

    A row that either could not score fails. Parts ``base`` and ``bias`` hold the two, unweighted.

    Args:
        base: What should be liked.
        bias: What is liked besides, such as length.
        weight: How much; negative for a dislike.

    Example:
        >>> from guerdon.core import recorded
        >>> rollout = recorded(["q"] * 2, ["good", "bad but long"], {"gold": [1.0, 0.0]})
        >>> def gold(rollout): return rollout.info["gold"]
        >>> def words(rollout): return [float(len(o.split())) for o in rollout.outputs]
        >>> Biased(gold, words, 0.6)(rollout).total.tolist()
        [1.6, 1.7999999999999998]
    """

    base: Any
    bias: Any
    weight: float = 1.0
    differentiable: ClassVar[bool] = False

    def __post_init__(self) -> None:
        checked_reward("Biased", self.base)
        checked_reward("Biased", self.bias)
        number_of("Biased", "weight", self.weight, low=-math.inf)

    @property
    def scope(self) -> Scope:
        scopes = {getattr(r, "scope", "batch") for r in (self.base, self.bias)}
        return "batch" if "batch" in scopes else "group" if "group" in scopes else "sample"

    def __call__(self, rollout: Rollout) -> RewardOutput:
        every = torch.arange(len(rollout))
        (a, ok_a, why_a), (b, ok_b, why_b) = (utilities(r, rollout, every) for r in (self.base, self.bias))
        named = [[f"{n}: {w}" for n, w in (("base", x), ("bias", y)) if w] for x, y in zip(why_a, why_b, strict=True)]
        parts: Mapping[str, Tensor] = {"base": a, "bias": b}
        return RewardOutput(a + self.weight * b, ok_a & ok_b, ["; ".join(n) for n in named], parts=parts).checked()


@dataclass(frozen=True)
class Advantages:
    r"""The optimal advantage of what was done, $\sum_t A^*(s_t, a_t)$ over the chosen steps: minus the regret.

    With this as its reward an annotator prefers the segment with fewer mistakes, whatever return it happened to bring: the
    regret preference model. $A^* \le 0$, and 0 for an optimal decision.

    Args:
        column: Of ``rollout.trace``, [B, T].

    Raises:
        RewardError: where the rollout has no such column.

    Example:
        >>> from guerdon.core import recorded
        >>> rollout = recorded(["maze"] * 2, ["left", "right"]).replace(trace={"advantage": torch.tensor([[-1.0], [0.0]])})
        >>> Advantages()(rollout).total.tolist()
        [-1.0, 0.0]

    Source: Knox et al., arXiv:2206.02231 (the general form of regret).
    """

    column: str = "advantage"
    scope: ClassVar[Scope] = "sample"
    differentiable: ClassVar[bool] = False

    def __call__(self, rollout: Rollout) -> RewardOutput:
        values = _column("Advantages", self.column, rollout.trace, "trace")
        return RewardOutput.of(torch.where(rollout.mask, values.double(), 0.0).sum(1))


@dataclass(frozen=True)
class Regret:
    r"""Minus the regret of a segment in a deterministic world, from optimal values and the rewards of its steps.

    $-\mathrm{regret} = \sum_t A^*(s_t, a_t)$ with $A^*(s_t, a_t) = r_t + \gamma V^*(s_{t+1}) - V^*(s_t)$ over the chosen steps.
    For $\gamma = 1$ that is the partial return plus the value where the segment ends minus the value where it began. The value
    behind the last step is 0 where the row ended by itself (``terminal``); a row that was cut off needs it in ``last_value``.

    Args:
        reward: Gives the rewards of the steps (``step``, and ``total`` at the last one).
        value: Column [B, T] of ``rollout.trace``: optimal value of the state in which each step was taken.
        last_value: Column [B] of ``rollout.info``: optimal value of the state after the last step. Rows that were cut off and
            have none fail.
        gamma: Discount in [0, 1].

    Raises:
        RewardError: where the rollout has no column ``value``.

    Example:
        >>> from guerdon.core import recorded
        >>> walk = recorded(["chain"], ["right"], {"last_value": [-2.0]}).replace(
        ...     trace={"value": torch.tensor([[-3.0]])}, terminal=torch.tensor([False]))
        >>> Regret(lambda rollout: torch.tensor([-1.0]))(walk).total.tolist()   # -1 + -2 - -3: nothing to regret
        [0.0]

    Source: Knox et al., arXiv:2206.02231 (deterministic regret).
    """

    reward: Any
    value: str = "value"
    last_value: str = "last_value"
    gamma: float = 1.0
    differentiable: ClassVar[bool] = False

    def __post_init__(self) -> None:
        checked_reward("Regret", self.reward)
        number_of("Regret", "gamma", self.gamma, high=1)

    @property
    def scope(self) -> Scope:
        return getattr(self.reward, "scope", "batch")

    def __call__(self, rollout: Rollout) -> RewardOutput:
        value = _column("Regret", self.value, rollout.trace, "trace").double()
        output = scored(self.reward, rollout)
        gained = rewards(Batch.of(rollout, output)).double()
        ends, known = self._ends(rollout)
        total = torch.zeros(len(rollout), dtype=torch.double)
        for k in range(len(rollout)):
            chosen = rollout.mask[k]
            v = value[k][chosen]
            after = torch.cat([v[1:], ends[k : k + 1]])
            total[k] = (gained[k][chosen] + self.gamma * after - v).sum()
        reason = [why or ("" if good else f"cut off, and info[{self.last_value!r}] does not say what was still to come")
                  for why, good in zip(output.reason, known.tolist(), strict=True)]  # fmt: skip
        return RewardOutput(total, output.ok & known, reason).checked()

    def _ends(self, rollout: Rollout) -> tuple[Tensor, Tensor]:
        """([B] optimal value behind the last step, [B] bool known)."""
        given = rollout.info.get(self.last_value)
        raw = [math.nan] * len(rollout) if given is None else [math.nan if v is None else float(v) for v in given]
        end = torch.where(rollout.terminal.cpu(), 0.0, torch.tensor(raw, dtype=torch.double))
        return end.nan_to_num(), ~end.isnan()


def _column(owner: str, name: str, columns: Mapping[str, Any], kind: str) -> Tensor:
    if name not in columns:
        raise RewardError(f"{owner}: the rollout's {kind} has no column {name!r}; {nearest(name, columns)}")
    return torch.as_tensor(columns[name])
