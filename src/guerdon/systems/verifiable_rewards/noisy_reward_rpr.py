r"""Noisy verdicts: reinforcement when the verifier is wrong for many questions.

With probability p, decided once per question and draw, all answers to a question are paid $1 - s$ instead of the verdict $s \in
\{0, 1\}$. On average a question pays $(1 - 2p)\,s + p$: below p = 0.5 right answers still earn more, and a model that knows how
to solve the questions finds that out. The learner is PPO without a KL price, and with advantages that keep p in sight: a group
normalisation would give every group the same size.

The study: sums of two numbers below 50, and a tiny language model that knows their values but usually writes its answer in a form
that the verifier rejects, so that it starts near 10 %, as the paper's model starts at 5 %. Noise is all that the arms differ in;
the rate is the same for all. "gold" is the accuracy on held-out sums by the true verifier.

Scaled down and changed: 200 draws of 64 questions with 8 answers, and a leave-one-out baseline in place of the paper's critic,
which costs twice the time and learns more slowly under noise (in pilots of 100 to 120 draws it had 73 to 89 % of the noiseless
accuracy at p = 0.4, and fell to 0 at 0.5); the long budget has it. Every verdict may be flipped, as in the paper's text; its
code leaves answers that cannot be read at 0, which ``spare`` does. The long budget adds p = 0.1 to 0.3, noise per answer, and a
model that does not know the values. Left out: the reward of reasoning phrases alone and the calibration of a reward model with
it, because these sums have no such phrases; ``rewards.ReasoningPattern`` and ``transforms.Lift`` are their atoms.

Reference: Lv, Xie, Sun, Kang and Yan, The Climb Carves Wisdom Deeper Than the Summit, arXiv:2505.22653.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal, Self

from guerdon import advantages, objectives, policies, rewards, samplers, tasks
from guerdon.core import Due
from guerdon.run import AdamW, Evaluation, Plan, Train, lazy, run
from guerdon.study import Budget, Expect, Measured, Study
from guerdon.systems import Paper, System
from guerdon.systems._shared import measured
from guerdon.tasks.arithmetic import slipped
from guerdon.tasks.task import Problem
from guerdon.tasks.warm_start import LMConfig, WarmStart


def noisy_verdicts(
    reward: Any,
    p: float,
    *,
    base: str,
    source: Any,
    per: Literal["group", "sample", "question"] = "group",
    spare: str = "",
    sampler: Any = samplers.Group(contexts=128, n=4),
    lr: float = 1e-6,
    critic_lr: float = 5e-6,
    warmup: int = 20,
    critic: bool = True,
    seed: int = 0,
    **rest: Any,
) -> Plan:
    """The plan of a run whose verdicts are flipped.

    Args:
        reward: A verifier of 0 and 1.
        p: Probability of a flip.
        base: Folder or name of the model to start from.
        source: Questions.
        per: What shares a flip, as in ``rewards.Flipped``.
        spare: Name of a part of the reward; where it is 0, nothing is flipped.
        sampler: Which answers are drawn.
        lr: Learning rate of the policy.
        critic_lr: Learning rate of the critic.
        warmup: Draws in which the critic learns alone.
        critic: Values from a critic as in the paper, or else a leave-one-out baseline.
        seed: Of the run and its flips.
        rest: Further fields of the plan.

    Example:
        >>> from guerdon.run import Prompts
        >>> noisy_verdicts(rewards.Maths(), 0.4, base="gpt2", source=Prompts(("1+1=",), {"answer": ("2",)})).reward.p
        0.4
    """
    optim = AdamW(lr=lr, warmup=0.05, decay="linear")
    learners = {"policy": Train(objectives.PolicyGradient(), optim, due=Due(start=warmup if critic else 0))}
    if critic:
        learners["critic"] = Train(objectives.ValueLoss(gamma=1.0, lam=1.0), AdamW(lr=critic_lr), of="critic")
    return Plan(
        policy=lazy(policies.CausalLM.from_pretrained, path_or_name=base),
        source=source,
        sampler=sampler,
        reward=rewards.Flipped(reward, p, per=per, spare=spare, seed=seed),
        critics={"critic": policies.OwnTrunk()} if critic else {},
        advantage=advantages.Whiten(advantages.GAE(gamma=1.0, lam=1.0) if critic else advantages.RLOO()),
        learners=learners,
        seed=seed,
        **rest,
    )


@dataclass(frozen=True)
class BrokenFormat(tasks.Arithmetic):
    """Sums whose teacher mostly knew the value and mostly spoilt the form: ``47+85=`` is answered ``132+``.

    Args:
        broken: Fraction of the corpus with a sign behind the answer, which the verifier rejects. What ``wrong`` counts are wrong
            numbers only.
    """

    name: ClassVar[str] = "broken-format"
    title: ClassVar[str] = "Sums by a language model that knows them, but not how to write the answer."
    version: ClassVar[int] = 1

    warm_start: WarmStart = WarmStart(LMConfig(width=48, layers=2, hidden=144), steps=900, lr=4e-3)
    high: int = 49
    wrong: float = 0.1
    broken: float = 0.85

    @classmethod
    def tiny(cls) -> Self:
        recipe = WarmStart(LMConfig(width=32, layers=2, heads=2, hidden=96), corpus=2000, steps=50, lr=8e-3)
        return cls(warm_start=recipe, high=14)

    def corpus_answer(self, problem: Problem, u: Sequence[float]) -> str:
        said: str = problem.info["answer"]
        if u[0] < self.wrong:
            said = slipped(said, (u[2] * 5 / 6, u[3], u[4]))  # a number, in any case
        return said + "+" if u[1] < self.broken else said


def _arm(
    seed: int, budget: Budget, *, p: float, per: Literal["group", "sample"] = "group", wrong: float = 0.1, critic: bool = False
) -> Measured:
    task = _world(budget, wrong)
    draws = budget.pick(tiny=2, default=200, long=300)
    contexts = budget.pick(tiny=8, default=64)
    plan = noisy_verdicts(
        task.reward(), p, base=str(task.base()), source=task.prompts(), per=per,
        sampler=samplers.Group(contexts=contexts, n=8, controls={"max_tokens": task.max_tokens}),
        lr=5e-4, critic_lr=2.5e-3, warmup=3, critic=critic, seed=seed,
        evaluation=Evaluation(
            task.reward(), task.prompts("held_out"), samples=budget.pick(tiny=16, default=400),
            every=budget.pick(tiny=1, default=20, long=30), keep_best=False,
        ),
        steps=draws, name="noisy-verdicts",
    )  # fmt: skip
    return measured(run(plan))


def _world(budget: Budget, wrong: float = 0.1) -> BrokenFormat:
    tiny, full = BrokenFormat.tiny(), BrokenFormat(wrong=wrong)
    return budget.pick(tiny=tiny, default=full)


def _prepare(budget: Budget) -> None:
    _world(budget).base()


SYSTEM = System(
    name="Noisy verdicts: learning when the verifier is often wrong",
    claim=(
        "With 40 % of the questions' rewards flipped, Qwen-2.5-7B still goes from 5 % to 72 % in maths, against 75 % without "
        "noise; at 50 %, where rewards say nothing, training collapses."
    ),
    paper=Paper(
        "The Climb Carves Wisdom Deeper Than the Summit: On the Noisy Rewards in Learning to Reason",
        ("Lv, Ang", "Xie, Ruobing", "Sun, Xingwu", "Kang, Zhanhui", "Yan, Rui"),
        2025,
        "2505.22653",
    ),
    study=Study(
        arms={"p=0.4": partial(_arm, p=0.4), "p=0": partial(_arm, p=0.0), "p=0.5": partial(_arm, p=0.5)},
        metric="gold",
        expect=[
            Expect("p=0.4", "higher", "p=0.5", by=0.1),
            Expect("p=0.4", "higher", "p=0", by=0.0, times=0.85),
        ],
        seeds=6,
        long_arms={
            **{f"p={p}": partial(_arm, p=p) for p in (0.1, 0.2, 0.3)},
            **{f"p={p:g}, critic": partial(_arm, p=p, critic=True) for p in (0.0, 0.4, 0.5)},
            "p=0.4, per answer": partial(_arm, p=0.4, per="sample"),
            "p=0, weak prior": partial(_arm, p=0.0, wrong=0.8),
            "p=0.4, weak prior": partial(_arm, p=0.4, wrong=0.8),
        },
        prepare=_prepare,
        traces=["draws", "gold_curve"],
        labels={"gold": "held-out accuracy", "gold_curve": "held-out accuracy"},
    ),
)
