"""Credit along a trajectory: discounted returns and their bootstrapped relatives, over the steps the policy chose."""

from __future__ import annotations

import torch
from torch import Tensor

from guerdon.core.rollout import last_step


def gae(rewards: Tensor, values: Tensor, mask: Tensor, terminal: Tensor, gamma: float = 1.0, lam: float = 0.95) -> Tensor:
    r"""Generalised advantage estimates over the chosen steps.

    With $t'$ the next chosen step after $t$: $\delta_t = r_t + \gamma V_{t'} - V_t$ and $A_t = \delta_t + \gamma \lambda A_{t'}$.
    Behind the last chosen step $V$ is 0 where the trajectory ended by itself, and the value of the state it was cut off in
    otherwise. Steps that were not chosen (tool output, padding) are stepped over and cost no discount.

    Args:
        rewards: [B, T] reward of every step.
        values: [B, T+1] expected return from every state on.
        mask: [B, T] bool, chosen steps.
        terminal: [B] bool, ended by itself.
        gamma: Discount per chosen step.
        lam: 1: return minus value; 0: one-step temporal difference.

    Returns:
        [B, T] in units of reward; 0 where ``mask`` is False.

    Example:
        >>> one = torch.ones(1, 3)
        >>> gae(one, torch.zeros(1, 4), one.bool(), torch.tensor([True]), gamma=1.0, lam=1.0).tolist()
        [[3.0, 2.0, 1.0]]

    Source: GAE (arXiv:1506.02438).
    """
    end = (last_step(mask) + 1)[:, None]
    bootstrap = torch.where(terminal.to(values.device), 0.0, values.gather(1, end)[:, 0])
    carry, later = torch.zeros_like(bootstrap), bootstrap
    columns = []
    for t in range(mask.shape[1] - 1, -1, -1):
        chosen = mask[:, t]
        advantage = rewards[:, t] + gamma * later - values[:, t] + gamma * lam * carry
        carry = torch.where(chosen, advantage, carry)
        later = torch.where(chosen, values[:, t], later)
        columns.append(torch.where(chosen, advantage, 0.0))
    return torch.stack(columns[::-1], 1) if columns else torch.zeros_like(rewards)


def td_lambda_returns(
    rewards: Tensor, values: Tensor, mask: Tensor, terminal: Tensor, gamma: float = 1.0, lam: float = 0.95
) -> Tensor:
    r"""[B, T] targets for a critic: $G_t = r_t + \gamma \left((1 - \lambda) V_{t'} + \lambda G_{t'}\right)$.

    Arguments are those of ``gae``, and the result is ``gae`` plus the values. With ``lam=1`` it is the discounted return,
    bootstrapped only where a trajectory was cut off.

    Example:
        >>> one = torch.ones(1, 3)
        >>> td_lambda_returns(one, torch.full((1, 4), 9.0), one.bool(), torch.tensor([False]), gamma=1.0, lam=1.0).tolist()
        [[12.0, 11.0, 10.0]]
    """
    return gae(rewards, values, mask, terminal, gamma, lam) + torch.where(mask, values[:, :-1], 0.0)


def rewards_to_go(rewards: Tensor, mask: Tensor, gamma: float = 1.0) -> Tensor:
    r"""[B, T] $G_t = r_t + \gamma G_{t'}$ over the chosen steps; 0 elsewhere.

    Example:
        >>> mask = torch.tensor([[True, False, True]])
        >>> rewards_to_go(torch.tensor([[1.0, 9.0, 4.0]]), mask, gamma=0.5).tolist()
        [[3.0, 0.0, 4.0]]
    """
    nothing = rewards.new_zeros(len(rewards), rewards.shape[1] + 1)
    return gae(rewards, nothing, mask, torch.ones(len(mask), dtype=torch.bool, device=mask.device), gamma, 1.0)
