"""BlackBox: anything that answers, as a policy that can only sample."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch

from guerdon.core import Behaviour, Items, ModelError, Policy, PolicyOutput, Rollout, Streams
from guerdon.core.policy import Want


class BlackBox(Policy):
    """A function that answers: an API, a program, a person. A row is one step, the whole answer, without log-probs.

    Args:
        fn: ``fn(context, n, seed) -> n outputs``; the seed (0 <= seed < 2**31) depends on the item alone.
        name: Who that is, for the records.

    Example:
        >>> from guerdon.core import Items, Streams
        >>> policy, streams = BlackBox(lambda context, n, seed: [context.upper()] * n), Streams(0)
        >>> policy.sample(Items(["ab", "c"], streams.uids(2)), 2, streams=streams).outputs
        ['AB', 'AB', 'C', 'C']
    """

    likelihood = "none"

    def __init__(self, fn: Callable[[Any, int, int], Sequence[Any]], name: str = "") -> None:
        super().__init__()
        self.fn = fn
        self.identity = name or getattr(fn, "__qualname__", type(fn).__name__)

    def sample(self, items: Items, n: int = 1, *, streams: Streams, **controls: Any) -> Rollout:
        """``n`` answers to every item.

        Raises:
            ModelError: where the function gives another number of answers, or is given controls it cannot know.
        """
        if controls:
            raise ModelError(f"a black box takes no controls, got {', '.join(sorted(controls))}; build them into its function")
        seeds = (streams("blackbox", items.uid).bits(1)[:, 0] & 0x7FFFFFFF).tolist()
        outputs: list[Any] = []
        for k, (context, seed) in enumerate(zip(items.contexts, seeds, strict=True)):
            said = list(self.fn(context, n, seed))
            if len(said) != n:
                raise ModelError(f"item {k}: {self.identity} was asked for {n} outputs and gave {len(said)}")
            outputs += said
        many = items.repeat(n)
        return Rollout(
            contexts=many.contexts, outputs=outputs, actions=torch.zeros(len(outputs), 1, dtype=torch.long), group=many.uid,
            mask=torch.ones(len(outputs), 1, dtype=torch.bool), uid=streams.samples(items.uid, n), info=many.info,
            behaviour=(Behaviour(self.identity, self.version, engine="blackbox"),),
        ).check()  # fmt: skip

    def forward(self, rollout: Rollout, *, want: Collection[Want] = ("logp",)) -> PolicyOutput:
        """There is none.

        Raises:
            ModelError: always.
        """
        raise ModelError(f"{self.identity} is a black box: it samples, but has no log-probs and cannot be trained by gradients")
