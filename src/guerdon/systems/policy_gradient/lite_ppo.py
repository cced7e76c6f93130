r"""Lite PPO: two tricks instead of many.

Of the tricks of reinforcement learning for reasoning two are said to suffice for PPO's clipped loss without a critic. The answers
to a question are centred by their own mean, but divided by the deviation of the whole draw,

$$A_{q,i} = \frac{r_{q,i} - \bar r_q}{\mathrm{std}_{\mathrm{draw}}(r) + \epsilon}$$

and the loss is a mean over all tokens. The reason given: on questions that are nearly always, or hardly ever, answered right, a
group's own deviation is tiny, and dividing by it blows the rare outcome up.

The study: tiny language models that add two numbers, an easy split (a model right in about two thirds of its answers) and a
medium one (about a third), by three methods: Lite PPO; GRPO (the group's deviation, a mean over each answer and then over
answers, a KL price); DAPO (clip-higher, groups drawn again until they differ, a mean over tokens, a penalty on overlong
answers). "area" is the mean accuracy on held-out sums while answers are drawn, over both splits, up to the number of answers
that Lite PPO draws; what DAPO draws again counts. Every method chooses its rate from the same values; at twice the largest all
three get worse again.

Scaled down and changed: answers have two to four tokens, so that little can come of how tokens are averaged. GRPO's KL price is
that of its paper, 0.04. Left out: the hard split, aligned models, and the grid of one trick at a time, of which the long budget
has Lite PPO without either of its two.

Reference: Liu et al., Part I: Tricks or Traps? A Deep Dive into RL for LLM Reasoning, arXiv:2508.08221.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from guerdon import advantages, objectives, policies, samplers, tasks, transforms
from guerdon.core import Advantage, Term
from guerdon.run import AdamW, Evaluation, Plan, Train, lazy, run
from guerdon.study import Budget, Expect, Measured, Study
from guerdon.systems import Paper, System
from guerdon.tasks.warm_start import LMConfig, WarmStart


def lite_ppo(
    reward: Any,
    *,
    base: str,
    source: Any,
    sampler: Any = samplers.Group(contexts=64, n=8),
    lr: float = 1e-6,
    minibatches: int = 4,
    **rest: Any,
) -> Plan:
    """The plan of a run with Lite PPO; what it is compared with is this plan with other parts.

    Args:
        reward: What is optimised.
        base: Folder or name of the model to start from.
        source: Prompts.
        sampler: Which answers are drawn.
        lr: Learning rate.
        minibatches: Steps per draw; the clip only matters from the second on.
        rest: Further fields of the plan.

    Example:
        >>> from guerdon import rewards
        >>> from guerdon.run import Prompts
        >>> lite_ppo(rewards.Maths(), base="gpt2", source=Prompts(("1+1=",), {"answer": ("2",)})).advantage
        GroupNorm(std='batch', eps=1e-06, trained_only=False)
    """
    return Plan(
        policy=lazy(policies.CausalLM.from_pretrained, path_or_name=base),
        source=source,
        sampler=sampler,
        reward=reward,
        advantage=advantages.GroupNorm(std="batch", eps=1e-6),
        learners={"policy": _learner(Term(objectives.PolicyGradient(clip=0.2)), lr, minibatches)},
        **rest,
    )


def grpo(plan: Plan, *, kl: float = 0.04) -> Plan:
    """The same run with GRPO.

    >>> from guerdon.run import Prompts
    >>> plan = grpo(lite_ppo(None, base="gpt2", source=Prompts(("1+1=",))))
    >>> plan.advantage.std, plan.learners["policy"].terms.over
    (True, 'sample')
    """
    term = Term(objectives.PolicyGradient(clip=0.2, kl=kl), over="sample")
    changed = replace(plan, references={"reference": policies.Frozen()}, advantage=advantages.GroupNorm())
    return replace(changed, learners={"policy": replace(plan.learners["policy"], terms=term)})


def dapo(plan: Plan, *, max_tokens: int, buffer: int, tries: int = 4) -> Plan:
    """The same run with DAPO.

    Args:
        plan: A run whose sampler is a ``Group``.
        max_tokens: The longest answer.
        buffer: The tokens before it over which the penalty grows to 1.
        tries: How often groups are drawn at most, to find enough that differ.

    >>> from guerdon.run import Prompts
    >>> plan = dapo(lite_ppo(None, base="gpt2", source=Prompts(("1+1=",))), max_tokens=20480, buffer=4096)
    >>> plan.learners["policy"].terms.objective.clip
    Clip(low=0.2, high=0.28, dual=None)
    """
    group = plan.sampler
    term = Term(objectives.PolicyGradient(clip=objectives.Clip(0.2, 0.28)))
    return replace(
        plan,
        sampler=samplers.Refill(group.contexts, group.n, tries, group.chunk, group.controls),
        transforms=(transforms.OverlongPenalty(limit=max_tokens, buffer=buffer), *plan.transforms),
        advantage=advantages.GroupNorm(),
        learners={"policy": replace(plan.learners["policy"], terms=term)},
    )


def _learner(term: Term, lr: float, minibatches: int) -> Train:
    return Train(term, AdamW(lr=lr), minibatches=minibatches)


def mean_until(x: Sequence[float], y: Sequence[float], end: float) -> float:
    """The mean height of a curve of straight pieces from ``x[0]`` to ``end``.

    >>> mean_until([0, 2, 4], [0.0, 1.0, 1.0], 3)  # (1 + 1) / 3
    0.6666666666666666
    """
    area = 0.0
    for a, b, low, high in zip(x, x[1:], y, y[1:], strict=False):
        stop = min(b, end)
        if stop > a:
            at_stop = low + (high - low) * (stop - a) / (b - a)
            area += (stop - a) * (low + at_stop) / 2
    return area / (end - x[0])


def _world(split: str, budget: Budget) -> tasks.Arithmetic:
    wrong = {"easy": 0.25, "medium": 0.8}[split]
    if budget.name == "tiny":
        recipe = WarmStart(LMConfig(width=32, layers=2, heads=2, hidden=96), corpus=1000, steps=30, lr=8e-3)
        return tasks.Arithmetic(recipe, high=14, wrong=wrong)
    return tasks.Arithmetic(WarmStart(LMConfig(width=48, layers=2, hidden=144), steps=900, lr=4e-3), high=49, wrong=wrong)


def _prepare(budget: Budget) -> None:
    for split in ("easy", "medium"):
        _world(split, budget).base()


def _arm(seed: int, budget: Budget, *, method: str, lr: float = 1e-3) -> Measured:
    splits = [_trained(_world(split, budget), method, lr, seed, budget) for split in ("easy", "medium")]
    found: dict[str, float | Sequence[float]] = {}
    for split, (area, last, answers, curve) in zip(("easy", "medium"), splits, strict=True):
        found |= {f"area_{split}": area, f"gold_{split}": last, f"answers_{split}": answers, f"curve_{split}": curve}
    return {"area": sum(s[0] for s in splits) / 2, "gold": sum(s[1] for s in splits) / 2, **found}


def _trained(
    task: tasks.Arithmetic, method: str, lr: float, seed: int, budget: Budget
) -> tuple[float, float, list[float], list[float]]:
    """Mean accuracy while answers are drawn, the last accuracy, and the curve: answers drawn so far, accuracy."""
    contexts, n, draws = budget.pick(tiny=(2, 2, 2), default=(32, 8, 30), long=(32, 8, 60))
    plan = lite_ppo(
        task.reward(), base=str(task.base()), source=task.prompts(), lr=lr,
        sampler=samplers.Group(contexts=contexts, n=n, controls={"max_tokens": task.max_tokens}),
        evaluation=Evaluation(
            task.reward(), task.prompts("held_out"), samples=budget.pick(tiny=8, default=400),
            every=budget.pick(tiny=2, default=3), keep_best=False,
        ),
        steps=draws, seed=seed, name=method,
    )  # fmt: skip
    result = run(_METHODS[method](plan, task))
    rounds = [h.get("part/rounds", 1.0) for h in result.history]  # those drawn again are paid for
    answers = [contexts * n * sum(rounds[: e["step"]]) for e in result.evaluations]
    accuracy = [float(e["metrics"]["held_out/mean"]) for e in result.evaluations]
    return mean_until(answers, accuracy, draws * contexts * n), accuracy[-1], answers, accuracy


def _with(plan: Plan, advantage: Advantage | None = None, over: Any = "step") -> Plan:
    learner = plan.learners["policy"]
    learner = replace(learner, terms=replace(learner.terms, over=over))
    return replace(plan, advantage=advantage or plan.advantage, learners={"policy": learner})


_METHODS = {
    "lite": lambda plan, task: plan,
    "grpo": lambda plan, task: grpo(plan),
    "dapo": lambda plan, task: dapo(plan, max_tokens=task.max_tokens, buffer=max(1, task.max_tokens // 5)),
    "group deviation": lambda plan, task: _with(plan, advantages.GroupNorm()),
    "no deviation": lambda plan, task: _with(plan, advantages.GroupNorm(std=False)),
    "mean of answers": lambda plan, task: _with(plan, over="sample"),
}

SYSTEM = System(
    name="Lite PPO",
    claim=(
        "Centring by the group's mean, scaling by the batch's deviation and averaging over tokens let PPO without a critic beat "
        "GRPO and DAPO consistently, on six maths benchmarks with 4B and 8B models that were not aligned."
    ),
    paper=Paper(
        "Part I: Tricks or Traps? A Deep Dive into RL for LLM Reasoning",
        (
            "Liu, Zihe", "Liu, Jiashun", "He, Yancheng", "Wang, Weixun", "Liu, Jiaheng", "Pan, Ling", "Hu, Xinyu",
            "Xiong, Shaopan", "Huang, Ju", "Hu, Jian", "Huang, Shengyi", "Obando-Ceron, Johan", "Yang, Siran", "Wang, Jiamang",
            "Su, Wenbo", "Zheng, Bo",
        ),
        2025,
        "2508.08221",
    ),
    tried=(
        "Pilots on one seed, three rates: at 0.0003 and 0.001 Lite PPO was ahead of GRPO by 0.007 and 0.009, less than the 0.01 "
        "that counts, and of DAPO by 0.036 and 0.026; at 0.002 all methods lost what they knew, and Lite PPO most. DAPO ends "
        "higher after as many draws, for about twice the answers. What may keep the lead over GRPO small (not taken apart): "
        "the questions of a split are about equally hard, so that a group's deviation is near the draw's, and answers are too "
        "short for the mean over tokens to matter. In the verdict run the lead over GRPO is 0.004 in area; in accuracy at the "
        "end, which is not what was to be compared, it is 0.016."
    ),
    study=Study(
        arms={name: partial(_arm, method=key) for name, key in (("Lite PPO", "lite"), ("GRPO", "grpo"), ("DAPO", "dapo"))},
        metric="area",
        expect=[
            Expect("Lite PPO", "higher", "GRPO", by=0.01),
            Expect("Lite PPO", "higher", "DAPO", by=-0.005),
        ],
        seeds=8,
        long_arms={
            "group deviation": partial(_arm, method="group deviation"),
            "no deviation": partial(_arm, method="no deviation"),
            "mean of answers": partial(_arm, method="mean of answers"),
        },
        tune={"lr": (3e-4, 6e-4, 1e-3)},
        prepare=_prepare,
        traces=["answers_medium", "curve_medium"],
        labels={
            "area": "mean accuracy while answers are drawn", "answers_medium": "answers drawn, medium split",
            "curve_medium": "held-out accuracy, medium split", "gold": "held-out accuracy at the end",
        },
    ),
)  # fmt: skip
