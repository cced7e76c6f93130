"""Steps as rows: a transition is a rollout row of one step."""

from __future__ import annotations

import torch
from torch import Tensor

from guerdon.core.batch import Batch
from guerdon.core.policy import PolicyOutput
from guerdon.core.reward import RewardOutput
from guerdon.core.rollout import Rollout, last_step


def transitions(rollout: Rollout, rows: Tensor | None = None) -> Rollout:
    """Every chosen step of the rollout as a row of its own, in order of rows and steps.

    A row's ``states`` [N, 2, ...] are the state it was chosen in and the next one; ``terminal`` is True only at the last step of
    a row that ended by itself. ``contexts`` and ``outputs`` are the steps' numbers.

    Args:
        rollout: Whose steps do not depend on earlier ones but through the state.
        rows: [B] bool, which rows (None: all).

    Example:
        >>> mask = torch.tensor([[True, True], [True, False]])
        >>> r = Rollout(["a", "b"], ["", ""], torch.tensor([[1, 2], [3, 0]]), mask, torch.zeros(2), torch.arange(2),
        ...             states=torch.arange(6).view(2, 3))
        >>> t = transitions(r)
        >>> t.actions[:, 0].tolist(), t.states.tolist(), t.terminal.tolist()
        ([1, 2, 3], [[0, 1], [1, 2], [3, 4]], [False, True, True])
    """
    row, t = _where(rollout, rows)
    n = len(row)
    return Rollout(
        contexts=range(n), outputs=range(n), actions=rollout.actions[row, t][:, None],
        mask=torch.ones(n, 1, dtype=torch.bool, device=row.device), group=rollout.group[row], uid=rollout.uid[row],
        logp=None if rollout.logp is None else rollout.logp[row, t][:, None],
        states=None if rollout.states is None else torch.stack([rollout.states[row, t], rollout.states[row, t + 1]], 1),
        terminal=rollout.terminal[row] & (t == last_step(rollout.mask)[row]), behaviour=rollout.behaviour,
        actor=rollout.actor[row], trace={k: v[row, t][:, None] for k, v in rollout.trace.items()},
    )  # fmt: skip


def one_step_rows(batch: Batch) -> Batch:
    """The batch with every chosen step of its live rows as a row of its own, advantages and values included.

    The reward of each row is 0: what it was worth is in ``advantage`` by now. ``group`` still says which trajectory's group.
    """
    live = batch.live.to(batch.rollout.mask.device)
    row, t = _where(batch.rollout, live)
    nothing = torch.zeros(len(row), dtype=batch.reward.total.dtype, device=row.device)
    reward = RewardOutput(nothing, torch.ones_like(nothing, dtype=torch.bool), [""] * len(row))

    def at(x: Tensor | None, more: int = 0) -> Tensor | None:
        if x is None:
            return None
        return x[row, t][:, None] if not more else torch.stack([x[row, t], x[row, t + 1]], 1)

    refs = {
        k: PolicyOutput(at(v.logp), at(v.entropy), at(v.hidden), at(v.value, 1), at(v.value_raw, 1))
        for k, v in batch.refs.items()
    }
    # what comes after a step is in its advantages by now: no critic has to look at the next state
    alone = transitions(batch.rollout, live).replace(terminal=torch.ones_like(row, dtype=torch.bool))
    return Batch(
        alone, reward, reward,
        {k: v[row, t][:, None] for k, v in batch.advantage.items()},
        {k: torch.stack([v[row, t], v[row, t + 1]], 1) for k, v in batch.values.items()},
        refs, batch.weight[row], None, batch.progress,
    )  # fmt: skip


def _where(rollout: Rollout, rows: Tensor | None) -> tuple[Tensor, Tensor]:
    mask = rollout.mask if rows is None else rollout.mask & rows[:, None]
    row, t = mask.nonzero(as_tuple=True)
    return row, t
