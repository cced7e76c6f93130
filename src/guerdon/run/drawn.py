"""One draw without a run: steering a trained policy, or looking at what a sampler gives."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, cast

from guerdon.core import Policy, RewardOutput, Rollout, Sampler, Streams
from guerdon.run.live import LiveDraw, Run, opened
from guerdon.run.sources import Prompts


def drawn(
    sampler: Sampler, policy: Policy, source: Any, reward: Any, *, seed: int = 0, step: int = 0, timeout: float | None = 60.0
) -> tuple[Rollout, RewardOutput]:
    """The rows that a sampler draws, with their rewards; nothing is trained and nothing is written.

    Args:
        sampler: Any of ``guerdon.samplers``.
        policy: What acts.
        source: Where contexts come from; a list of contexts is short for ``Prompts``.
        reward: Anything a plan takes.
        seed: Addresses all randomness.
        step: Which draw of a run this would be, for samplers that change from draw to draw.
        timeout: Seconds before a call of the reward counts as hung.

    Example:
        >>> from guerdon import policies, samplers
        >>> policy = policies.Flow.of((2,), network=policies.DenoiserMLP((8,)), steps=4)
        >>> guided = samplers.SoftValue(contexts=1, n=2, candidates=4)
        >>> rows, found = drawn(guided, policy, ["anything"], lambda output: float(output.sum()))
        >>> rows.outputs.shape, rows.behaviour[0].engine, len(found)
        (torch.Size([2, 2]), 'steered', 2)
    """
    from guerdon.rewards import Scorer  # whatever scores lives with the rewards

    if isinstance(source, Sequence) and not isinstance(source, str):
        source = Prompts(tuple(source), shuffle=False)
    alone = SimpleNamespace(plan=SimpleNamespace(sampler=sampler), step=step, phase=_uncounted)
    with Scorer(reward, timeout=timeout) as scorer:
        return sampler(LiveDraw(cast(Run, alone), policy, opened(source, seed), Streams(seed).fork("draw", step), scorer))


@contextmanager
def _uncounted(name: str) -> Iterator[None]:
    """Seconds that nobody asks for."""
    yield
