"""One dict of objective objects and the one plan around them: the same for a token, a denoising step and an environment step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from guerdon import advantages, objectives, policies, samplers, selection
from guerdon.core import Batch, Items, Streams
from guerdon.run import AdamW, Plan, Term, Train

VALUE = objectives.ValueLoss(gamma=0.95, lam=0.9)
OBJECTIVES = {
    "grpo": Term(objectives.PolicyGradient(clip=objectives.Clip(0.2, 0.2), kl=objectives.KL(0.001)), over="sample"),
    "ppo": objectives.PolicyGradient(clip=0.2),
    "reinforce": objectives.Reinforce(entropy=0.001),
    "dpo": objectives.DPO(beta=0.5),
    "sft": objectives.SFT(),
}
ADVANTAGE = {
    "grpo": advantages.GroupNorm(), "ppo": advantages.Whiten(advantages.GAE(gamma=0.95, lam=0.9)),
    "reinforce": advantages.RLOO(), "dpo": None, "sft": None,
}  # fmt: skip


@dataclass(frozen=True)
class Fixed:
    """The same contexts and columns at every draw."""

    contexts: tuple[Any, ...]
    columns: Mapping[str, Any] = field(default_factory=dict)

    def draw(self, n: int, *, streams: Streams) -> Items:
        k = [i % len(self.contexts) for i in range(n)]
        return Items([self.contexts[i] for i in k], streams.uids(n), {c: [v[i] for i in k] for c, v in self.columns.items()})

    def tell(self, batch: Batch) -> None:
        pass


def plan_of(
    name: str, policy: Any, source: Any, reward: Any, n: int, draws: int, lr: float, columns: tuple[str, ...] = (), *,
    critic: Any = None, **controls: Any,
) -> Plan:  # fmt: skip
    """The one plan around an objective; only the modality's parts differ.

    Args:
        name: Of ``OBJECTIVES``.
        policy: Live.
        source: Contexts, with what ``columns`` names.
        reward: Of what is sampled.
        n: Contexts per draw; eight samples of each.
        draws: Steps of the plan.
        lr: Of the policy.
        columns: Of given outputs, for ``"dpo"`` and ``"sft"``; without any, those two learn from the best of the policy's own.
        critic: Spec of the critic of ``"ppo"``.
        controls: How to sample.
    """
    recorded = bool(columns)
    if name == "dpo":
        select: tuple[Any, ...] = (selection.GivenPairs() if recorded else selection.BestVsWorst(),)
    else:
        select = (selection.BestOfN(),) if name == "sft" and not recorded else ()
    learners: dict[str, Any] = {"policy": Train(OBJECTIVES[name], AdamW(lr=lr))}
    if name == "ppo":
        learners["critic"] = Train(VALUE, AdamW(lr=0.02), of="critic", epochs=3)
    return Plan(
        policy=policy, source=source,
        sampler=samplers.Given(columns, contexts=n) if recorded else samplers.Group(contexts=n, n=8, controls=controls),
        reward=None if recorded else reward, references={"reference": policies.Frozen()} if name in ("grpo", "dpo") else {},
        critics={"critic": critic} if name == "ppo" else {}, select=select,
        advantage=ADVANTAGE[name], learners=learners, steps=draws, checks=(), seed=2,
    )  # fmt: skip
