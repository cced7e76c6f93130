"""Hypothesis strategies: valid rollouts, rewards and batches of every awkward shape, for property tests of one's own atoms.

Needs the package hypothesis; ``guerdon.testing`` works without it.
"""

from __future__ import annotations

import torch
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from guerdon.core import Batch, RewardOutput, Rollout, Streams

_NUMBERS = st.floats(-100, 100, allow_nan=False, width=32)


@st.composite
def rollouts(draw: DrawFn, max_rows: int = 8, max_steps: int = 7, vocab: int = 11) -> Rollout:
    """Rollouts of discrete actions in float64: ragged, with holes in the mask, rows that chose nothing, groups of any size."""
    rows = draw(st.integers(1, max_rows))
    steps = draw(st.integers(1, max_steps))
    mask = torch.tensor(draw(st.lists(st.lists(st.booleans(), min_size=steps, max_size=steps), min_size=rows, max_size=rows)))
    actions = torch.tensor(
        draw(st.lists(st.lists(st.integers(0, vocab - 1), min_size=steps, max_size=steps), min_size=rows, max_size=rows))
    )
    groups = draw(st.lists(st.integers(0, 2), min_size=rows, max_size=rows))
    streams = Streams(draw(st.integers(0, 2**32)))
    logp = -4 * streams("logp", torch.arange(rows)).uniform(steps)
    return Rollout(
        contexts=[f"context {g}" for g in groups],
        outputs=[a[m].tolist() for a, m in zip(actions, mask, strict=True)], actions=actions,
        mask=mask, group=torch.tensor(groups), uid=streams.uids(rows), logp=torch.where(mask, logp, 0.0),
        terminal=torch.tensor(draw(st.lists(st.booleans(), min_size=rows, max_size=rows))),
    ).check()  # fmt: skip


@st.composite
def reward_outputs(draw: DrawFn, rows: int, failures: bool = True) -> RewardOutput:
    """Rewards of ``rows`` rows; some fail, with a reason."""
    total = torch.tensor(draw(st.lists(_NUMBERS, min_size=rows, max_size=rows)), dtype=torch.double)
    ok = torch.tensor(draw(st.lists(st.booleans(), min_size=rows, max_size=rows)) if failures else [True] * rows)
    reason = ["" if good else "drawn as a failure" for good in ok.tolist()]
    return RewardOutput.of(total).replace(ok=ok, total=torch.where(ok, total, 0.0), reason=reason)


@st.composite
def batches(draw: DrawFn, rollout: SearchStrategy[Rollout] | None = None, failures: bool = True) -> Batch:
    """Scored rollouts, as transforms, selections and advantages get them.

    Example:
        >>> from hypothesis import given, settings
        >>> from guerdon.advantages import RLOO
        >>> from guerdon.testing import check_advantage
        >>> @settings(max_examples=5, deadline=None)
        ... @given(batches())
        ... def test_my_advantage(batch):
        ...     check_advantage(RLOO(), batch)
        >>> test_my_advantage()
    """
    found = draw(rollout if rollout is not None else rollouts())
    return Batch.of(found, draw(reward_outputs(len(found), failures)))
