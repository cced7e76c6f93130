r"""PAR: preference as reward.

A learned reward has no upper bound, and a policy that climbs it for long enough games it. PAR pays the probability, by the
reward model's own word, that an answer beats reference answers of the model that training starts from:

$$R(x, y) = \frac1M \sum_{m=1}^M \sigma\left(k\,(r(x, y) - r(x, y^{\mathrm{ref}}_m))\right)$$

with M references sampled once before training and kept with their prompt. It is bounded, steepest where answers are like the
references, and flat where the reward model has long been won over, which is where it is gamed.

The study: a language model of 100,000 weights that writes short stories, and a reward model of that size fitted to 1,000
comparisons, a quarter of them inverted; every seed has comparisons and a reward model of its own. Both arms climb it from the
same start with the same rate (one for all, as in the paper), KL price (0.005), prompts and draws (two and a half epochs over 256
prompts), and differ in the shaping alone. The hidden preference of the readers ("gold", from 0 to 1 for a perfect story) is only
measured. "drop" is its highest value along training less its last.

Scaled down and changed: a leave-one-out baseline in place of PPO's critic (one that also divides by the group's deviation would
undo the bound; the long budget shows it), 5 references a prompt, and k = 8, because so small a reward model's rewards spread by a
quarter only and a gamed one rises by half a unit where the paper's rises by eight; the unshaped reward is multiplied by the same
8. Centring alone is no arm: what is constant for a prompt cancels under this baseline. Left out: win rates by a judge, the fitted
polynomial, ceilings, and what changes the reward model instead (WARM, ODIN, a penalty on its outputs).

Reference: Fu, Zhao, Yao, Wang, Han and Xiao, Reward Shaping to Mitigate Reward Hacking in RLHF, arXiv:2502.18770.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from guerdon import advantages, objectives, policies, rewards, samplers, tasks, transforms
from guerdon.core import Advantage, Items, Policy, Reward, Streams, Transform
from guerdon.run import AdamW, Evaluation, File, Plan, Train, lazy, run
from guerdon.study import Budget, Expect, Measured, Study
from guerdon.systems import Paper, System
from guerdon.systems._shared import Floored, learned_reward, measured, plausible_verdicts
from guerdon.tasks.cache import cached

K = 8.0  # brings the rewards here to the spread of a large reward model's


def par(
    reward: Any,
    *,
    base: str,
    source: Any,
    k: float = 1.0,
    references: int | None = None,
    beta: float = 0.005,
    sampler: Any = samplers.Group(contexts=8, n=8),
    lr: float = 1e-3,
    **rest: Any,
) -> Plan:
    """The plan of a run that is paid by preference over reference answers.

    Args:
        reward: A Bradley-Terry reward.
        base: Folder or name of the model to start from.
        source: Prompts with a column ``reference_rewards``; ``reference_rewards(...)`` makes it.
        k: Steepness, in one over reward units.
        references: How many of each prompt's references are used (None: all).
        beta: Price of leaving the base model, per nat.
        sampler: Which answers are drawn.
        lr: Learning rate.
        rest: Further fields of the plan.

    Example:
        >>> from guerdon import rewards
        >>> from guerdon.run import Prompts
        >>> asked = Prompts(("Once upon a time",), {"reference_rewards": ([0.1, 0.4],)})
        >>> par(rewards.Sentiment(), base="gpt2", source=asked).transforms[0].shape
        Sigmoid(scale=1.0, shift=0.0)
    """
    return Plan(
        policy=lazy(policies.CausalLM.from_pretrained, path_or_name=base),
        source=source,
        sampler=sampler,
        reward=reward,
        references={"reference": policies.Frozen()},
        transforms=(transforms.AgainstReferences(transforms.Sigmoid(k), first=references), transforms.TokenKL(beta)),
        advantage=advantages.RLOO(),
        learners={"policy": Train(objectives.PolicyGradient(), AdamW(lr=lr, warmup=0.1), minibatches=2)},
        **rest,
    )


@torch.no_grad()
def reference_rewards(
    items: Items, policy: Policy, reward: Reward, samples: int, *, streams: Streams, **controls: Any
) -> list[list[float]]:
    """Rewards of ``samples`` answers of the policy to every prompt: what a column ``reference_rewards`` holds.

    Args:
        items: Prompts, with the columns the reward reads.
        policy: Whose answers are the references, usually the one that training starts from.
        reward: The reward that will be optimised.
        samples: M, the answers to each prompt.
        streams: Of the answers.
        controls: How they are sampled, such as ``max_tokens``.

    Returns:
        For each prompt the rewards of those answers that could be scored.
    """
    rollout = policy.sample(items, samples, streams=streams, **controls)
    found = reward(rollout).checked()
    rows = torch.arange(len(rollout)).split(samples)
    return [[float(r) for r in found.total[row][found.ok[row]]] for row in rows]


def _world(budget: Budget) -> tasks.Stories:
    return budget.pick(tiny=tasks.Stories.tiny(), default=tasks.Stories())


def _controls(budget: Budget) -> dict[str, int]:
    return {"max_tokens": budget.pick(tiny=24, default=_world(budget).max_tokens)}


def _proxy(seed: int, budget: Budget) -> Path:
    """The reward model of a seed."""
    task = _world(budget)
    return learned_reward(task, plausible_verdicts(task), comparisons=budget.pick(tiny=64, default=1000), seed=seed)


def _prompts(seed: int, budget: Budget) -> File:
    """The prompts of a seed with their references."""
    task, proxy = _world(budget), _proxy(seed, budget)
    prompts, samples = budget.pick(tiny=(8, 2), default=(256, 5), long=(256, 10))
    recipe = {
        "reward": proxy.parent.name,
        "prompts": prompts,
        "samples": samples,
        "seed": seed,
        **_controls(budget),
        "version": 1,
    }

    def make() -> Callable[[Path], Mapping[str, Any]]:
        streams = Streams(seed).fork("references")
        items = task.prompts().draw(prompts, streams=streams.fork("items"))
        policy = policies.CausalLM.from_pretrained(str(task.base()), device="cpu")
        reward = rewards.RewardModel.from_pretrained(str(proxy), device="cpu")
        found = reference_rewards(items, policy, reward, samples, streams=streams.fork("sample"), **_controls(budget))

        def write(folder: Path) -> Mapping[str, Any]:
            columns = {**items.info, "reference_rewards": found}
            rows = [{"prompt": p, **{n: c[k] for n, c in columns.items()}} for k, p in enumerate(items.contexts)]
            (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf8")
            return {}

        return write

    return File(str(cached(f"{task.name}-references", recipe, make) / "prompts.jsonl"))


def _arm(
    seed: int, budget: Budget, *, shaping: Transform | None = None, beta: float = 0.005, advantage: Advantage | None = None
) -> Measured:
    task = _world(budget)
    contexts, n = budget.pick(tiny=(4, 2), default=(16, 8))
    draws = budget.pick(tiny=2, default=40, long=64)
    plan = par(
        lazy(rewards.RewardModel.from_pretrained, path_or_name=str(_proxy(seed, budget)), device="cpu"),
        base=str(task.base()),
        source=_prompts(seed, budget),
        k=K,
        beta=beta,
        sampler=samplers.Group(contexts=contexts, n=n, controls=_controls(budget)),
        evaluation=Evaluation(
            Floored(task.reward()), task.prompts("held_out"), samples=budget.pick(tiny=8, default=128),
            every=budget.pick(tiny=2, default=5), keep_best=False,
        ),
        steps=draws, seed=seed, name="par",
    )  # fmt: skip
    if shaping is not None:
        plan = replace(plan, transforms=(shaping, *plan.transforms[1:]))
    if advantage is not None:
        plan = replace(plan, advantage=advantage)
    found = measured(run(plan))
    gold = found["gold_curve"]
    assert isinstance(gold, list)
    return {**found, "drop": max(gold) - gold[-1]}


_UNSHAPED = transforms.Scale(K)
_TANH = transforms.Chain((transforms.Sigmoid(2 * K), transforms.Scale(2.0)))  # tanh(z) = 2 sigmoid(2 z) - 1; the 1 cancels

SYSTEM = System(
    name="PAR: preference as reward",
    claim=(
        "A reward that is bounded and a function of the centred reward resists hacking: PAR beats other shapings by at least 5 "
        "points of AlpacaEval 2.0 win rate on Gemma2-2B, needs a single reference reward, and stays robust after two full epochs."
    ),
    paper=Paper(
        "Reward Shaping to Mitigate Reward Hacking in RLHF",
        ("Fu, Jiayi", "Zhao, Xuandong", "Yao, Chengyuan", "Wang, Heng", "Han, Qi", "Xiao, Yanghua"),
        2025,
        "2502.18770",
    ),
    study=Study(
        arms={"PAR": _arm, "unshaped": partial(_arm, shaping=_UNSHAPED)},
        metric="gold",
        expect=[
            Expect("PAR", "higher", "unshaped", by=0.1),
            Expect("PAR", "lower", "unshaped", by=0.05, metric="drop"),
        ],
        seeds=7,
        long_arms={
            "PAR, one reference": partial(_arm, shaping=transforms.AgainstReferences(transforms.Sigmoid(K), first=1)),
            "mean and deviation": partial(_arm, shaping=transforms.RunningNormalise()),
            "clip at one deviation": partial(_arm, shaping=transforms.RunningNormalise(clip=1.0)),
            "min-max": partial(_arm, shaping=transforms.RunningMinMax()),
            "log-sigmoid centred": partial(_arm, shaping=transforms.LogSigmoidCentred(K)),
            "sigmoid, not centred": partial(_arm, shaping=transforms.Sigmoid(K)),
            "tanh": partial(_arm, shaping=transforms.AgainstReferences(_TANH)),
            "slow, then fast": partial(_arm, shaping=transforms.AgainstReferences(transforms.Sigmoid(K, 3 / K))),
            "unshaped, KL price 0.02": partial(_arm, shaping=_UNSHAPED, beta=0.02),
            "PAR, GRPO": partial(_arm, advantage=advantages.GroupNorm()),
            "unshaped, GRPO": partial(_arm, shaping=_UNSHAPED, advantage=advantages.GroupNorm()),
        },
        traces=["draws", "gold_curve", "proxy_curve", "kl_curve"],
        labels={
            "draws": "draws of 128 stories", "gold": "hidden preference", "gold_curve": "hidden preference",
            "proxy": "learned reward", "proxy_curve": "learned reward", "drop": "peak minus end of the hidden preference",
            "kl": "KL, nats per story", "kl_curve": "KL, nats per story", "length": "tokens",
        },
    ),
)  # fmt: skip
