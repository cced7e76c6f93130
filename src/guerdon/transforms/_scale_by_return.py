"""ScaleByReturn: dense rewards in units of what discounted returns vary by."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from guerdon.core.batch import Batch, rewards
from guerdon.core.errors import PlanError
from guerdon.core.protocols import Need
from guerdon.core.reward import RewardOutput
from guerdon.core.rollout import last_step
from guerdon.transforms._base import changed


@dataclass(frozen=True)
class ScaleByReturn:
    r"""$r_t / \sqrt{\sigma^2_R + \epsilon}$, bounded, where $\sigma^2_R$ is the variance of $R_t = \gamma R_{t-1} + r_t$.

    Critics and step sizes like rewards of unit scale; a mean must not be taken from rewards, for it would change what a long
    episode is worth. The running return $R_t$ looks backwards from step t to the start of its episode, and $\sigma^2_R$ is over
    every $R_t$ of the run so far, this draw included (moments merged as by Chan, Golub & LeVeque 1983). A fragment goes on with
    the return of its slot, ``info["slot"]``, where the last one left it. An episode's end (``info["length"]`` above 0, or else
    ``terminal``) sets it to 0. Rows without slots (or with -1) are whole episodes; rows of one slot stand in the order of time.

    With ``by="step"`` each step is divided by the deviation as it stood at that step, all slots together: number for number what
    Stable-Baselines3's ``VecNormalize`` does with rewards. The first steps of a run are then out of proportion (there is hardly a
    deviation yet, and the bound cuts them). With ``by="draw"`` a draw is divided by the deviation at its own end, all steps
    alike. The moments behind a draw are the same either way.

    The state is ``{"mean", "var", "count", "returns"}``, the last by slot.

    Args:
        gamma: Discount of the running return.
        by: ``"step"`` or ``"draw"``: what has one deviation.
        clip: Largest absolute value of a scaled reward.
        eps: Added to the variance.

    Raises:
        PlanError: for numbers that make no sense, or a reward without steps.

    Example:
        >>> from guerdon.testing import example_batch
        >>> state, reward = ScaleByReturn().apply(ScaleByReturn().init(), example_batch())
        >>> sorted(state), reward.step.shape
        (['count', 'mean', 'returns', 'var'], torch.Size([12, 8]))

    Source: the reward scaling of PPO's code, examined in Implementation Matters in Deep Policy Gradients (arXiv:2005.12729).
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"reward"})

    gamma: float = 0.99
    by: Literal["step", "draw"] = "step"
    clip: float = 10.0
    eps: float = 1e-8

    def __post_init__(self) -> None:
        if not 0 <= self.gamma <= 1:
            raise PlanError(f"ScaleByReturn: gamma must be between 0 and 1, got {self.gamma}")
        if self.by not in ("step", "draw"):
            raise PlanError(f"ScaleByReturn: by is {self.by!r}; expected 'step' or 'draw'")
        for name in ("clip", "eps"):
            if not getattr(self, name) > 0:
                raise PlanError(f"ScaleByReturn: {name} must be above 0, got {getattr(self, name)}")

    def init(self) -> dict[str, Any]:
        # A variance of 1 before anything was seen; its weight is soon nothing.
        return {"mean": 0.0, "var": 1.0, "count": 1e-4, "returns": {}}

    def apply(self, state: Any, batch: Batch) -> tuple[dict[str, Any], RewardOutput]:
        reward = batch.reward.checked()
        if reward.step is None:
            raise PlanError(
                "ScaleByReturn: the reward has no dense steps to scale; expected one such as rewards.Environment(dense=True)"
            )
        running, left, when = self._running(state["returns"], batch.replace(reward=reward))
        mask = batch.rollout.mask
        keep = mask & reward.ok[:, None].to(mask.device)
        if self.by == "draw":
            when = torch.zeros_like(when)
        state, deviations = self._moved(state, running[keep], when[keep])
        unit = deviations[when.clamp(max=len(deviations) - 1)].to(reward.step)

        def scaled(x: Tensor, unit: Tensor) -> Tensor:
            return (x / unit).clamp(-self.clip, self.clip)

        last = unit.gather(1, last_step(mask).clamp(min=0)[:, None])[
            :, 0
        ]  # what a row earns at its end, it earns at its last step
        step = torch.where(mask, scaled(reward.step, unit), 0.0)
        return {**state, "returns": left}, changed(reward, step=step, total=scaled(reward.total, last.to(reward.total)))

    def _moved(self, state: Mapping[str, Any], x: Tensor, when: Tensor) -> tuple[dict[str, float], Tensor]:
        """Moments with ``x`` merged in, time after time; [times] the deviation at each."""
        times = int(when.max()) + 1 if len(when) else 0
        zero = x.new_zeros(times)
        count = zero.index_add(0, when, torch.ones_like(x))
        mean = zero.index_add(0, when, x) / count.clamp(min=1)
        square = zero.index_add(0, when, (x - mean[when]).square())
        moments = {k: float(state[k]) for k in ("mean", "var", "count")}
        deviations = []
        for n, m, s in zip(count.tolist(), mean.tolist(), square.tolist(), strict=True):
            moments = merged(moments, n, m, s)
            deviations.append(math.sqrt(moments["var"] + self.eps))
        return moments, x.new_tensor(deviations or [math.sqrt(moments["var"] + self.eps)])

    def _running(self, before: Mapping[str, float], batch: Batch) -> tuple[Tensor, dict[str, float], Tensor]:
        """[B, T] running returns in float64; slot -> where its return stands then; [B, T] each step's time in the draw."""
        rollout, gain = batch.rollout, rewards(batch).detach().double()
        # First as if every row began at 0; what its slot brought along then fades with the discount.
        own, faded = torch.zeros_like(gain), torch.ones_like(gain)
        sum_, fade = gain.new_zeros(len(gain)), gain.new_ones(len(gain))
        for t in range(rollout.steps):
            chosen = rollout.mask[:, t]
            sum_ = torch.where(chosen, self.gamma * sum_ + gain[:, t], sum_)
            fade = torch.where(chosen, self.gamma * fade, fade)
            own[:, t], faded[:, t] = sum_, fade
        returns = dict(before)
        brought, began, clock = [], [], dict[str, int]()
        lengths = rollout.mask.sum(1).tolist()
        slots, length = _column(rollout.info, "slot"), _column(rollout.info, "length")
        ended = rollout.terminal.tolist() if length is None else [n > 0 for n in length]
        ok, ends, lost = batch.reward.ok.tolist(), sum_.tolist(), fade.tolist()
        for k in range(len(batch)):
            name = None if slots is None or slots[k] < 0 else str(int(slots[k]))
            start = returns.get(name, 0.0) if name is not None and ok[k] else 0.0
            brought.append(start)
            began.append(0 if name is None else clock.get(name, 0))
            if name is not None:  # a broken slot begins anew
                clock[name] = began[-1] + lengths[k]
                returns[name] = ends[k] + lost[k] * start if ok[k] and not ended[k] else 0.0
        when = torch.tensor(began, device=gain.device)[:, None] + (rollout.mask.long().cumsum(1) - 1).clamp(min=0)
        return own + faded * torch.tensor(brought, dtype=torch.double, device=gain.device)[:, None], returns, when


def merged(state: Mapping[str, float], n: float, mean: float, square: float) -> dict[str, float]:
    """Mean, population variance and count with ``n`` more numbers, given their mean and summed squared deviations."""
    old = state["count"]
    total, delta = old + n, mean - state["mean"]
    m2 = state["var"] * old + square + delta * delta * old * n / total
    return {"mean": state["mean"] + delta * n / total, "var": m2 / total, "count": total}


def _column(info: Mapping[str, Any], name: str) -> list[float] | None:
    """A column of numbers as a list; None where there is none."""
    if name not in info:
        return None
    values = info[name]
    return values.tolist() if isinstance(values, Tensor) else list(values)
