r"""PPO-max: PPO for language models with the choices that keep it stable.

The report takes PPO apart and finds that what keeps the policy near its start is what keeps it from collapsing, and that the
reward alone does not show a collapse, while KL, length and perplexity do. PPO-max is a preset of the choices that held up:

- rewards in units of all rewards so far, then clipped: $\tilde r = \mathrm{clip}((r - \mu) / \sigma, \pm\delta)$;
- a price on every token: $r_t = [t = T]\,\tilde r - \eta\,(\log \pi_{\mathrm{old}} - \log \pi_{\mathrm{ref}})$;
- a critic that starts as the reward model and is fitted to rollouts before the policy moves; advantages by GAE with
  $\gamma = 1$, $\lambda = 0.95$;
- clipped losses of both: $\max(-A\rho, -A\,\mathrm{clip}(\rho, 1 \pm 0.2))$ for the policy,
  $\frac12 \max((V - G)^2, (V_{\mathrm{old}} + \mathrm{clip}(V - V_{\mathrm{old}}, \pm 0.2) - G)^2)$ for the critic;
- a small buffer, one pass over it, and gradients clipped by their norm.

The study takes one part away at a time, as the report does: the KL price, the policy's clip, the scaling and clipping of
rewards. The world is a language model of 100,000 weights that writes short stories, and a reward model of that size fitted to
1,000 comparisons, a quarter of them inverted, which a policy can game; every seed has comparisons and a reward model of its own.
The hidden preference of the readers ("gold", from 0 to 1 for a perfect story) is only measured, as are perplexity, KL and length.
All arms have the same rates and seeds, and 108 updates of the policy. At the long budget more parts are exchanged, some of them
also without the KL price.

Changed for the scale: $\eta = 0.1$, as in the released script for Chinese (0.02 is the code's default), because an answer has 40
tokens; after its warm-up the rate stays. Left out: mixing in pretraining data, starting from a base model that was
not fine-tuned, the entropy term, and how many updates before the fall an alarm on KL, length or perplexity would ring.

Reference: Zheng et al., Secrets of RLHF in Large Language Models Part I: PPO, arXiv:2307.04964.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from guerdon import advantages, objectives, policies, rewards, samplers, tasks, transforms
from guerdon.core import Due
from guerdon.run import AdamW, Evaluation, Plan, Train, lazy, run
from guerdon.study import Budget, Expect, Measured, Study
from guerdon.systems import Paper, System
from guerdon.systems._shared import Floored, learned_reward, measured, plausible_verdicts


def ppo_max(
    reward_model: str,
    *,
    base: str,
    source: Any,
    sampler: Any = samplers.Group(contexts=96, n=1),
    eta: float = 0.1,
    delta: float = 10.0,
    lr: float = 5e-4,
    pretrain: int = 3,
    minibatches: int = 4,
    **rest: Any,
) -> Plan:
    """The plan of a PPO-max run.

    Args:
        reward_model: Folder of a sequence classifier of one label; the critic starts from it.
        base: Folder or name of the model to start from.
        source: Prompts.
        sampler: Which answers are drawn; one to each prompt, as the critic is the baseline.
        eta: Price of leaving the base model, in deviations of the reward per nat.
        delta: Largest reward, in deviations.
        lr: Learning rate of the policy; the critic's is three times as high.
        pretrain: Draws from which only the critic learns.
        minibatches: Updates per draw.
        rest: Further fields of the plan.

    Example:
        >>> from guerdon.run import Prompts
        >>> plan = ppo_max("my-reward", base="gpt2", source=Prompts(("Once upon a time",)))
        >>> [type(t).__name__ for t in plan.transforms], list(plan.learners)
        (['RunningNormalise', 'TokenKL'], ['critic', 'policy'])
    """
    adam = AdamW(lr=lr, betas=(0.9, 0.95), warmup=0.1)
    value = objectives.ValueLoss(gamma=1.0, lam=0.95, clip=0.2)
    policy = objectives.PolicyGradient(clip=objectives.Clip(0.2, 0.2))
    return Plan(
        policy=lazy(policies.CausalLM.from_pretrained, path_or_name=base),
        source=source,
        sampler=sampler,
        reward=lazy(rewards.RewardModel.from_pretrained, path_or_name=reward_model),
        references={"reference": policies.Frozen()},
        critics={"critic": policies.FromReward(reward_model)},
        transforms=(transforms.RunningNormalise(clip=delta), transforms.TokenKL(eta)),
        advantage=advantages.GAE(gamma=1.0, lam=0.95),
        learners={
            "critic": Train(value, replace(adam, lr=3 * lr, warmup=0.0), of="critic", minibatches=minibatches),
            "policy": Train(policy, adam, minibatches=minibatches, due=Due(start=pretrain)),
        },
        **rest,
    )


def _world(budget: Budget) -> tasks.Stories:
    return budget.pick(tiny=tasks.Stories.tiny(), default=tasks.Stories())


def _plan(seed: int, budget: Budget) -> Plan:
    """What all arms begin with."""
    task = _world(budget)
    comparisons, most = budget.pick(tiny=64, default=1000), budget.pick(tiny=24, default=task.max_tokens)
    return ppo_max(
        str(learned_reward(task, plausible_verdicts(task), comparisons=comparisons, seed=seed)),
        base=str(task.base()),
        source=task.prompts(),
        sampler=samplers.Group(budget.pick(tiny=8, default=96), 1, controls={"max_tokens": most}),
        pretrain=budget.pick(tiny=0, default=3),
        steps=budget.pick(tiny=2, default=30, long=90),
        evaluation=Evaluation(
            Floored(task.reward()), task.prompts("held_out"), samples=budget.pick(tiny=8, default=128),
            every=budget.pick(tiny=2, default=10), keep_best=False,
        ),
        seed=seed,
        name="ppo-max",
    )  # fmt: skip


def _arm(seed: int, budget: Budget, *, without: tuple[str, ...] = ()) -> Measured:
    plan = _plan(seed, budget)
    for part in without:
        plan = PARTS[part](plan)
    result = run(plan)
    found = measured(result)
    gold = found["gold_curve"]
    assert isinstance(gold, list)
    perplexity = [math.exp(e["metrics"]["entropy"]) for e in result.evaluations]  # of answers, under the policy that gave them
    return {**found, "drop": max(gold) - gold[-1], "perplexity": perplexity[-1], "perplexity_curve": perplexity}


def _learners(plan: Plan, **changes: Mapping[str, Any]) -> Plan:
    """The plan with some fields of its learners changed."""
    return replace(plan, learners={n: replace(learner, **changes.get(n, {})) for n, learner in plan.learners.items()})


def no_kl(plan: Plan) -> Plan:
    """Leaving the base model costs nothing."""
    return replace(plan, transforms=plan.transforms[:1])


def no_clip(plan: Plan) -> Plan:
    """The policy's ratio is not clipped."""
    return _learners(plan, policy={"terms": objectives.PolicyGradient(clip=None)})


def no_scaling(plan: Plan) -> Plan:
    """Rewards as the reward model gives them, times 8: those of large reward models spread by units, those here by a quarter."""
    return replace(plan, transforms=(transforms.Scale(8.0), *plan.transforms[1:]))


def no_value_clip(plan: Plan) -> Plan:
    """The critic's loss is not clipped."""
    return _learners(plan, critic={"terms": objectives.ValueLoss(gamma=1.0, lam=0.95)})


def critic_of_policy(plan: Plan) -> Plan:
    """The critic starts as a copy of the policy with a new head."""
    return replace(plan, critics={"critic": policies.OwnTrunk()})


def full_returns(plan: Plan) -> Plan:
    """Lambda is 1: advantages are returns minus values."""
    plan = _learners(plan, critic={"terms": objectives.ValueLoss(gamma=1.0, lam=1.0, clip=0.2)})
    return replace(plan, advantage=advantages.GAE(gamma=1.0, lam=1.0))


def whitened(plan: Plan) -> Plan:
    """Advantages have mean 0 and deviation 1 in every draw."""
    return replace(plan, advantage=advantages.Whiten(plan.advantage))


PARTS: Mapping[str, Callable[[Plan], Plan]] = {  # what can be taken away -> the plan without it
    "KL price": no_kl,
    "policy clip": no_clip,
    "reward scaling": no_scaling,
    "value clip": no_value_clip,
    "critic from the reward": critic_of_policy,
    "lambda 0.95": full_returns,
    "bare advantages": whitened,
}


def _without(*parts: str) -> Callable[..., Measured]:
    return partial(_arm, without=parts)


SYSTEM = System(
    name="PPO-max",
    claim=(
        "Policy constraints are the key factor for PPO to work on language models: without a KL penalty the reward rises while "
        "the answers collapse, which shows in KL, length and perplexity and not in the reward. PPO-max is stable over long runs."
    ),
    paper=Paper(
        "Secrets of RLHF in Large Language Models Part I: PPO",
        (
            "Zheng, Rui", "Dou, Shihan", "Gao, Songyang", "Hua, Yuan", "Shen, Wei", "Wang, Binghai", "Liu, Yan", "Jin, Senjie",
            "Liu, Qin", "Zhou, Yuhao", "Xiong, Limao", "Chen, Lu", "Xi, Zhiheng", "Xu, Nuo", "Lai, Wenbin", "Zhu, Minghao",
            "Chang, Cheng", "Yin, Zhangyue", "Weng, Rongxiang", "Cheng, Wensen", "Huang, Haoran", "Sun, Tianxiang", "Yan, Hang",
            "Gui, Tao", "Zhang, Qi", "Qiu, Xipeng", "Huang, Xuanjing",
        ),
        2023,
        "2307.04964",
    ),
    study=Study(
        arms={
            "PPO-max": _arm,
            "without KL price": _without("KL price"),
            "without policy clip": _without("policy clip"),
            "without reward scaling": _without("reward scaling"),
        },
        metric="gold",
        expect=[
            # A collapse costs at least a fifth of what there is to gain (0.33 above the base model's 0.67) ...
            Expect("PPO-max", "higher", "without KL price", by=0.07),
            # ... and the reward that is optimised does not tell: it ends no lower (it spreads by 0.25 at the start).
            Expect("without KL price", "higher", "PPO-max", by=-0.02, metric="proxy"),
        ],
        seeds=5,
        long_arms={
            "without value clip": _without("value clip"),
            "critic from the policy": _without("critic from the reward"),
            "lambda 1": _without("lambda 0.95"),
            "whitened advantages": _without("bare advantages"),
            "without KL price, lambda 1": _without("KL price", "lambda 0.95"),
            "without KL price, whitened": _without("KL price", "bare advantages"),
        },
        traces=["draws", "gold_curve", "proxy_curve", "kl_curve", "perplexity_curve", "length_curve"],
        labels={
            "draws": "draws of 96 stories", "gold": "hidden preference", "gold_curve": "hidden preference",
            "proxy": "learned reward", "proxy_curve": "learned reward", "drop": "peak minus end of the hidden preference",
            "kl": "KL, nats per story", "kl_curve": "KL, nats per story", "perplexity": "perplexity of the stories",
            "perplexity_curve": "perplexity of the stories", "length": "tokens", "length_curve": "tokens",
        },
    ),
)  # fmt: skip
