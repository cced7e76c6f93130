r"""Clip and Delta: process rewards that cannot be collected by repeating oneself.

A process reward scores every reasoning step. Added to the success of an answer it pays $\alpha \sum_k r_k + s$: steps that are
right but useless are paid as well, and the more of them, the more. With $\eta$ the mean score of the batch's steps,

- Clip: $r_k \leftarrow \min(r_k - \eta, 0)$, so that good steps earn nothing and bad ones cost;
- Delta: $r_k \leftarrow r_k - r_{k+1}$ for $k < K - 1$, $r_{K-1}$ stays, $r_K \leftarrow 0$, so that what follows from step $k$
  on is worth $\alpha r_k + s$, however many steps it has.

Clip, then Delta. Both need credit for every step by itself: returns with $\gamma = 1$, not one number for each answer.

The study: sums of four digits, worked out step by step (``1+2+3+4=`` asks for ``3+3+4=6+4=10``), by a language model of 60,000
weights. Its teacher was careless, so that about half of its samples are right, and sometimes said a step twice, for exploration
has to find a hole before it can widen it. The process reward is a model of the same size on the same base, fitted to answers of
that teacher; a step is labelled right where it has the value of the one before it, and so is what only repeats a step;
answers that say a step over and over are 15 % of them, for without any its scores there were chance. An answer that is cut off is
no answer. The arms share reward model, weight $\alpha$, draws, rates and KL price, and differ only in what is
done to the scores of steps. Accuracy is that of samples, not of greedy answers, on held-out sums: slips differ, so the most
probable answer is right long before most samples are. Scaled down and changed: returns whitened over the batch in place of PPO's
critic; an $\alpha$ far above the paper's, because answers have three steps and not dozens; one process reward for all seeds. So
small a process reward, read at the end of a step, hardly learns which sums are off (it is right on about 78 % of steps, right
and wrong ones counted alike), and choosing the best of 16 by its worst step does not help, unlike in the paper: what is shown is
the harm that it does and the cure, not a gain from its guidance.

Reference: Gao, Xu, Ye, Liu, He, Fu, Mei, Wang and Wu, On Designing Effective RL Reward at Training Time for LLM Reasoning,
arXiv:2410.15115.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch

from guerdon import advantages, objectives, policies, rewards, samplers, tasks, transforms
from guerdon.core import Batch, Rating, Reward, RewardOutput, Rollout, SpanLabel, Streams
from guerdon.core.reward import Scope
from guerdon.run import AdamW, Evaluation, Plan, Result, Train, lazy, run
from guerdon.study import Budget, Expect, Measured, Study
from guerdon.systems import Paper, System
from guerdon.tasks.cache import cached
from guerdon.tasks.expressions import ExpressionError, evaluate

ENDS = "process/end"  # the part in which a mixture notes where the steps of its process reward end
ALPHA = 0.5
SHAPING: tuple[transforms.ClipUpper | transforms.Delta, ...] = (transforms.ClipUpper(ENDS), transforms.Delta(ENDS))
WORDY = 0.25  # share of the teacher's answers that say a step twice
REPEATED = 0.15  # share of the answers for the process reward that say a step over and over
_VERSION = 1  # to be raised with any change to what is cached


def clip_delta(
    success: Any,
    process: Any,
    *,
    base: str,
    source: Any,
    alpha: float = ALPHA,
    shaping: Sequence[Any] = SHAPING,
    others: Mapping[str, Any] | None = None,
    beta: float = 0.01,
    sampler: Any = samplers.Group(contexts=32, n=8),
    lr: float = 4e-4,
    **rest: Any,
) -> Plan:
    """The plan of a run that is paid for right answers, and for good steps on the way to them.

    Args:
        success: What judges the answer.
        process: What judges its steps, a ``ProcessReward``.
        base: Folder or name of the model to start from.
        source: Prompts.
        alpha: Weight of the process reward.
        shaping: What is done to the scores of steps.
        others: Further rewards with their weights.
        beta: Price of leaving the base model, per nat.
        sampler: Which answers are drawn.
        lr: Learning rate.
        rest: Further fields of the plan.

    Example:
        >>> from guerdon.run import Prompts
        >>> from guerdon.testing import tiny_process_reward
        >>> plan = clip_delta(rewards.Maths(), tiny_process_reward(), base="gpt2", source=Prompts(("1+2=",)))
        >>> [type(t).__name__ for t in plan.transforms]
        ['ClipUpper', 'Delta', 'TokenKL']
    """
    return Plan(
        policy=lazy(policies.CausalLM.from_pretrained, path_or_name=base),
        source=source,
        sampler=sampler,
        reward=rewards.Mixture({"success": (success, 1.0), "process": (process, alpha), **(others or {})}),
        references={"reference": policies.Frozen()},
        transforms=(*shaping, transforms.TokenKL(beta)),
        advantage=advantages.Whiten(advantages.Returns()),
        learners={"policy": Train(objectives.PolicyGradient(), AdamW(lr=lr, warmup=0.1), minibatches=2)},
        **rest,
    )


class Answered:
    """A reward that counts where the answer ended by itself: what is cut off gives no answer.

    Args:
        inner: What judges the answers.
    """

    scope: ClassVar[Scope] = "sample"
    differentiable: ClassVar[bool] = False

    def __init__(self, inner: Reward):
        self.inner = inner

    def __call__(self, rollout: Rollout) -> RewardOutput:
        found = self.inner(rollout)
        return found.replace(total=found.total * rollout.terminal.to(found.total), parts={})


# ---------------------------------------------------------------- the world
def _world(budget: Budget) -> tasks.Arithmetic:
    shape = tasks.LMConfig(width=48, layers=2, heads=4, hidden=144)
    recipe = tasks.WarmStart(
        shape, corpus=budget.pick(tiny=400, default=40_000), steps=budget.pick(tiny=30, default=900), lr=4e-3
    )
    return tasks.Arithmetic(recipe, high=9, operands=4, style="steps", wrong=0.4)


def _room(budget: Budget) -> int:
    """Most tokens of an answer: three times what a plain one takes, so that there is room to repeat oneself."""
    return budget.pick(tiny=32, default=48)


def _base(budget: Budget) -> Path:
    """A model of the world whose teacher sometimes said a step twice."""
    world = _world(budget)
    recipe = {"world": world.recipe(), "wordy": WORDY, "version": _VERSION}

    def make() -> Callable[[Path], Mapping[str, Any]]:
        pairs, w = world.corpus(), world.warm_start
        u = Streams(w.seed).fork("wordy")("step", torch.arange(len(pairs))).uniform(2).tolist()
        said = [(p, twice(a, v) if chance < WORDY else a) for (p, a), (chance, v) in zip(pairs, u, strict=True)]
        return tasks.train_lm(said, w.model, steps=w.steps, lr=w.lr, batch=w.batch, seed=w.seed, title="wordy base model").save

    return cached("arithmetic-wordy", recipe, make)


def twice(answer: str, u: float) -> str:
    """An answer that says the step at a share ``u`` of its steps once more.

    >>> twice("3+3=6", 0.2), twice("3+3=6", 0.7)
    ('3+3=3+3=6', '3+3=6=6')
    """
    steps = answer.split("=")
    k = int(u * len(steps))
    return "=".join([*steps[: k + 1], *steps[k:]])


def verified(prompt: str, answer: str) -> list[SpanLabel]:
    """A label of every step: whether it has the value of the step before it.

    >>> [label.value for label in verified("1+2+3=", "3+3=3+3=7=7")]
    [1.0, 1.0, -1.0, 1.0]
    """
    labels, before, start = [], _value(prompt.rstrip("=")), 0
    for step in answer.split("="):
        end = min(start + len(step) + 1, len(answer))
        value = _value(step)
        if end > start:
            right = value is not None and value == before
            good = 1.0 if right else -1.0
            labels.append(
                SpanLabel(context=prompt, output=answer, start=start, end=end, label="right" if right else "wrong", value=good)
            )
        before, start = value, end
    return labels


def _value(text: str) -> Fraction | None:
    try:
        return evaluate(text)
    except ExpressionError:
        return None


def again(answer: str, u: float, times: float, room: int) -> str:
    """An answer that says one of its steps one to nine times more, cut to ``room`` characters.

    >>> again("3+3=6", 0.7, 0.2, 40), again("3+3=6", 0.2, 0.2, 8)
    ('3+3=6=6=6', '3+3=3+3=')
    """
    steps = answer.split("=")
    k = int(u * len(steps))
    return "=".join([*steps[:k], *[steps[k]] * (1 + int(9 * times)), *steps[k:]])[:room]


def _answers(budget: Budget, n: int) -> list[tuple[str, str]]:
    """Answers of the careless teacher, half of them wrong, some with a step said over and over."""
    world = replace(_world(budget), wrong=0.5)
    u = Streams(1).fork("process reward")("step", torch.arange(n)).uniform(3).tolist()
    rows = zip(world.corpus()[:n], u, strict=True)
    return [(p, again(a, v, m, _room(budget) - 1) if chance < REPEATED else a) for (p, a), (chance, v, m) in rows]


def _judge(budget: Budget, kind: str) -> str:
    """The folder of the process reward, or of an outcome reward fitted to a part of the same answers."""
    n = budget.pick(tiny=100, default=20_000)
    recipe = {"base": _base(budget).name, "answers": n, "repeated": REPEATED, "version": _VERSION}

    def make() -> Callable[[Path], Mapping[str, Any]]:
        base, said = str(_base(budget)), _answers(budget, n)
        if kind == "process":
            labels = [label for c, o in said for label in verified(c, o)]
            process = rewards.fit_process_reward(labels, base, separator="=", epochs=3, batch=64, lr=4e-3, device="cpu")
            return lambda folder: {"saved": process.save(folder / "reward").name}
        some = [(c, o, str(_value(c.rstrip("=")))) for c, o in said[:6000]]
        asked, answers, truth = (list(x) for x in zip(*some, strict=True))
        right = _world(budget).reward()(rewards.recorded(asked, answers, {"answer": truth})).total.tolist()
        rated = [Rating(context=c, output=o, scores={"overall": r}) for c, o, r in zip(asked, answers, right, strict=True)]
        fitted = rewards.fit_reward(rated, base, settings=rewards.FitSettings(epochs=2, batch=64, lr=2e-3, device="cpu"))
        return lambda folder: {"saved": fitted.save(folder / "reward").name}

    return str(cached(f"arithmetic-{kind}-reward", recipe, make) / "reward")


def _prepare(budget: Budget) -> None:
    _judge(budget, "process")


# ---------------------------------------------------------------- the arms
def _plan(
    seed: int, budget: Budget, *, alpha: float = ALPHA, shaping: Sequence[Any] = SHAPING, outcome: float = 0.0
) -> Plan:  # fmt: skip
    world = _world(budget)
    contexts, n = budget.pick(tiny=(4, 2), default=(32, 8))
    others = {}
    if outcome:
        others["outcome"] = (lazy(rewards.RewardModel.from_pretrained, path_or_name=_judge(budget, "outcome")), outcome)
    return clip_delta(
        Answered(world.reward()),
        lazy(rewards.ProcessReward.from_pretrained, path_or_name=_judge(budget, "process")),
        base=str(_base(budget)), source=world.prompts(), alpha=alpha, shaping=shaping, others=others,
        sampler=samplers.Group(contexts=contexts, n=n, controls={"max_tokens": _room(budget)}),
        evaluation=Evaluation(
            Answered(world.reward()), world.prompts("held_out"), samples=budget.pick(tiny=8, default=128),
            every=budget.pick(tiny=1, default=10), keep_best=False,
        ),
        steps=budget.pick(tiny=2, default=40, long=120), seed=seed, name="clip-delta",
    )  # fmt: skip


def _arm(seed: int, budget: Budget, **changes: Any) -> Measured:
    plan = _plan(seed, budget, **changes)
    return _measured(run(plan), plan, seed, budget)


def _measured(result: Result, plan: Plan, seed: int, budget: Budget) -> Measured:
    """Samples and greedy answers of the end on held-out problems; the curves of the evaluations on the way."""
    process = rewards.ProcessReward.from_pretrained(_judge(budget, "process"), device="cpu")
    alpha = plan.reward.parts["process"][1]
    judge = rewards.Mixture({"success": Answered(_world(budget).reward()), "process": (process, alpha)})
    items = _world(budget).prompts("held_out").draw(budget.pick(tiny=16, default=1024), streams=Streams(seed).fork("final"))
    found: dict[str, Any] = {}
    for name, temperature in (("accuracy", 1.0), ("greedy", 0.0)):
        streams = Streams(seed).fork("final", name)
        rollout = result.policy.sample(items, 1, streams=streams, max_tokens=_room(budget), temperature=temperature)
        batch = Batch.of(rollout, judge(rollout))
        found[name] = float(batch.reward.total.mean())
        if name == "accuracy":
            for shape in plan.transforms[:-1]:  # the last one is the KL price
                batch = batch.replace(reward=shape.apply(shape.init(), batch)[1])
            assert batch.reward.step is not None
            found |= {
                "steps": float(batch.reward.parts["process/steps"].mean()),
                "length": float(rollout.mask.sum(1).double().mean()),
                "cut": float((~rollout.terminal).double().mean()),
                "process": float(batch.reward.step.sum(1).mean()),
                "largest": float(batch.reward.step.sum(1).max()),
            }
    seen = [e["metrics"] for e in result.evaluations]
    curves = {"accuracy_curve": "held_out/mean", "steps_curve": "part/process/steps", "kl_curve": "kl"}
    return {
        **found, "kl": float(seen[-1]["kl"]), "draws": [float(e["step"]) for e in result.evaluations],
        **{name: [float(m[key]) for m in seen] for name, key in curves.items()},
    }  # fmt: skip


def _best_of_16(seed: int, budget: Budget) -> Measured:
    """No training: of 16 samples of the base the one whose worst step the process reward likes best."""
    n = 16
    policy = policies.CausalLM.from_pretrained(str(_base(budget)), device="cpu")
    process = rewards.ProcessReward.from_pretrained(_judge(budget, "process"), device="cpu")
    items = _world(budget).prompts("held_out").draw(budget.pick(tiny=4, default=256), streams=Streams(seed).fork("final"))
    rollout = policy.sample(items, n, streams=Streams(seed).fork("best of n"), max_tokens=_room(budget))  # without gradients
    right = Answered(_world(budget).reward())(rollout).total.reshape(-1, n)
    parts = process(rollout).parts
    best = parts["worst"].reshape(-1, n).argmax(1)
    return {
        "accuracy": float(right.gather(1, best[:, None]).mean()), "mean": float(right.mean()),
        "steps": float(parts["steps"].reshape(-1, n).gather(1, best[:, None]).mean()),
    }  # fmt: skip


SYSTEM = System(
    name="Clip and Delta",
    claim=(
        "Process rewards on top of success can ruin training, because the policy repeats right but useless steps; Clip and Delta "
        "bound what a trajectory can collect and undo this. A 1.5B model on MATH, greedy: 30.6 % with success only, 11.2 % with "
        "the process reward, 31.4 % with it clipped and differenced."
    ),
    paper=Paper(
        "On Designing Effective RL Reward at Training Time for LLM Reasoning",
        (
            "Gao, Jiaxuan",
            "Xu, Shusheng",
            "Ye, Wenjie",
            "Liu, Weilin",
            "He, Chuyi",
            "Fu, Wei",
            "Mei, Zhiyu",
            "Wang, Guangju",
            "Wu, Yi",
        ),
        2024,
        "2410.15115",
    ),
    study=Study(
        arms={
            "Clip+Delta": _arm,
            "process reward": partial(_arm, shaping=()),
            "success only": partial(_arm, alpha=0.0, shaping=()),
        },
        metric="accuracy",
        expect=[
            Expect("Clip+Delta", "higher", "process reward", by=0.1),
            Expect("process reward", "higher", "success only", by=0.0, times=1.5, metric="steps"),
            Expect("Clip+Delta", "higher", "success only", by=-0.03),
            Expect("Clip+Delta", "lower", "success only", by=0.0, times=1.1, metric="steps"),
        ],
        seeds=6,
        long_arms={
            "Clip alone": partial(_arm, shaping=SHAPING[:1]),
            "Delta alone": partial(_arm, shaping=SHAPING[1:]),
            "outcome reward": partial(_arm, alpha=0.0, shaping=(), outcome=ALPHA),
            "best of 16": _best_of_16,
        },
        prepare=_prepare,
        traces=["draws", "accuracy_curve", "steps_curve", "kl_curve"],
        labels={
            "accuracy": "share of samples that are right",
            "greedy": "share of greedy answers that are right",
            "steps": "steps of an answer",
            "length": "tokens of an answer",
            "cut": "share of answers cut off",
            "process": "shaped process reward of an answer",
            "largest": "largest shaped process reward",
            "kl": "KL to the base, nats an answer",
            "accuracy_curve": "share of samples that are right",
            "steps_curve": "steps of an answer",
            "kl_curve": "KL to the base, nats an answer",
        },
    ),
)
