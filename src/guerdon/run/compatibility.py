"""Whether the parts of a plan fit together, found out before any compute."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from guerdon.core.errors import PlanError, nearest
from guerdon.run.plan import Plan, dims_of
from guerdon.run.reward_learner import RewardLearner, RewardTrainer
from guerdon.run.reward_tree import modules_in, unbuilt
from guerdon.run.walking import begin_of

if TYPE_CHECKING:
    from guerdon.run.live import Run


def _advantages(plan: Plan) -> list[Any]:
    if plan.advantage is None:
        return []
    return list(plan.advantage.values()) if isinstance(plan.advantage, dict) else [plan.advantage]


def _objectives(plan: Plan) -> list[tuple[str, Any]]:
    return [(n, t) for n, spec in plan.learners.items() if hasattr(spec, "all_terms") for t in spec.all_terms()]


def needs_of(plan: Plan) -> frozenset[str]:
    """Everything that some part of the plan reads."""
    parts = [*plan.transforms, *plan.select, *_advantages(plan), *(t.objective for _, t in _objectives(plan))]
    return frozenset().union(*(getattr(p, "needs", frozenset()) for p in parts))


def check_plan(plan: Plan) -> None:
    """What can be told without building anything.

    Raises:
        PlanError: one line that names the part, what it needs and what to add.
    """
    needs = needs_of(plan)
    if not plan.learners:
        raise PlanError("plan.learners is empty: add one, such as {'policy': Train(objectives.PolicyGradient())}")
    if plan.steps < 1:
        raise PlanError(f"plan.steps must be at least 1, got {plan.steps}")
    for part in [*plan.transforms, *_advantages(plan), *(t.objective for _, t in _objectives(plan))]:
        name = type(part).__name__
        wanted: frozenset[str] = getattr(part, "needs", frozenset())
        reference = getattr(part, "reference", "reference")
        if "reference" in wanted and reference not in plan.references:
            raise PlanError(f"{name} compares with a reference, and the plan has none named {reference!r}: "
                            f"add references: {{{reference}: policies.Frozen}}")  # fmt: skip
        critic = getattr(part, "critic", "critic")
        if "values" in wanted and critic not in plan.critics:
            raise PlanError(f"{name} reads a critic, and there is none named {critic!r}: "
                            f"add critics: {{{critic}: policies.OwnTrunk}} and a learner with of: {critic}")  # fmt: skip
    if "advantage" in needs and plan.advantage is None:
        raise PlanError("an objective reads advantages, and plan.advantage is not set: add advantage: advantages.GroupNorm")
    if "pairs" in needs and not any("pairs" in getattr(s, "gives", ()) for s in plan.select):
        raise PlanError(
            "an objective learns from pairs, and nothing in plan.select makes them: add select: [selection.BestVsWorst]"
        )
    sampled = not getattr(plan.sampler, "columns", ())
    if plan.reward is None and (sampled or _advantages(plan)):
        raise PlanError("plan.reward is not set, and the sampled rows have nothing to be judged by")
    if "exact_logp" in needs and not getattr(plan.sampler, "exact_logp", sampled):
        kind = "steered" if sampled else "recorded"
        raise PlanError("a ratio objective needs the log-probs of the policy that acted; "
                        f"{kind} rows (samplers.{type(plan.sampler).__name__}) have none")  # fmt: skip
    for name, term in _objectives(plan):
        if term.advantage != "main" and (not isinstance(plan.advantage, dict) or term.advantage not in plan.advantage):
            known = list(plan.advantage) if isinstance(plan.advantage, dict) else ["main"]
            raise PlanError(f"learner {name!r} reads advantage {term.advantage!r}; {nearest(term.advantage, known)}")
    dims_of(plan)
    check_reward_learners(plan)
    for part in (*plan.learners.values(), plan.source, plan.sampler):
        if hasattr(part, "check_plan"):
            part.check_plan(plan)
    for name, spec in plan.learners.items():
        if isinstance(spec, RewardLearner):
            continue
        of = getattr(spec, "of", "policy")
        for network in (of,) if isinstance(of, str) else of:
            if network != "policy" and network not in plan.critics:
                raise PlanError(f"learner {name!r} trains {network!r}; {nearest(network, ['policy', *plan.critics])}")
        if not isinstance(of, str) and (of[0] != "policy" or of[1] == "policy"):
            raise PlanError(f"learner {name!r}: of two networks, the first must be 'policy' and the second a critic")
    if plan.stop.kl is not None and "reference" not in plan.references:
        raise PlanError("stop.kl needs references: {reference: policies.Frozen}")
    if plan.stop.patience is not None and plan.evaluation is None:
        raise PlanError("stop.patience needs an evaluation")


def check_reward_learners(plan: Plan) -> None:
    """What can be told of learners of rewards without building any.

    Raises:
        PlanError: where there is nothing to learn, two learn the same, or nothing says when to stop.
    """
    learners = {n: s for n, s in plan.learners.items() if isinstance(s, RewardLearner)}
    taken: dict[str, str] = {}
    for name, spec in learners.items():
        if not any(unbuilt(plan.reward)) and not modules_in(plan.reward):
            shown = "not set" if plan.reward is None else type(plan.reward).__name__
            raise PlanError(f"learner {name!r} trains a learned reward, and plan.reward is {shown}: expected "
                            "{use: rewards.RewardModel.from_pretrained, path_or_name: FOLDER}, or rewards.Ensemble")  # fmt: skip
        if taken.setdefault(spec.of, name) != name:
            raise PlanError(f"learners {taken[spec.of]!r} and {name!r} both train {spec.of!r}; a reward has one learner")
    if learners and plan.stop.patience is not None and plan.evaluation is not None and plan.evaluation.reward is None:
        raise PlanError("stop.patience compares evaluations, and a reward that learns is another one at each: "
                        "add a held-out evaluation.reward")  # fmt: skip


def check_run(run: Run) -> None:
    """What needs the built policy.

    Raises:
        PlanError: for an objective that the policy cannot serve, or a parameter with two learners.
    """
    if getattr(run.plan.sampler, "walks", False):
        begin_of(run.policy, f"samplers.{type(run.plan.sampler).__name__}")
    needs = run.needs()
    likelihood = run.policy.likelihood
    if likelihood == "none" and needs & {"logp", "exact_logp"}:
        raise PlanError("the policy is a black box without log-probs; gradient objectives cannot train it")
    if likelihood == "bound" and "exact_logp" in needs:
        raise PlanError("a ratio objective needs exact log-probs, and this policy has only a bound on them")
    if "exact_logp" in needs and "old" not in needs and low_precision(run.policy):
        raise PlanError("in low precision the sampler's and the trainer's log-probs differ: "
                        "set truncate on the objective, such as {use: objectives.PolicyGradient, truncate: 2.0}")  # fmt: skip
    trained = {id(p): n for n, v in run.learners.items() if isinstance(v, RewardTrainer) for p in v.parameters}
    for place, value in {
        "evaluation.reward": run.held_out,
        **{f"the annotator of learner {n!r}": v.spec.annotator for n, v in run.learners.items() if isinstance(v, RewardTrainer)},
    }.items():
        if learner := next((trained[id(p)] for m in modules_in(value) for p in m.parameters() if id(p) in trained), None):
            raise PlanError(f"{place} is the network that learner {learner!r} trains; "
                            "what a reward is judged by must not move with it: name another")  # fmt: skip
    for learner in run.learners.values():
        if hasattr(learner, "check_run"):
            learner.check_run(run)
    owner: dict[int, str] = {}
    for name, learner in run.learners.items():
        for parameter in getattr(learner, "parameters", ()):
            if owner.setdefault(id(parameter), name) != name:
                raise PlanError(
                    f"learners {owner[id(parameter)]!r} and {name!r} train the same parameters: make them two Terms of one Train"
                )


def low_precision(policy: Any) -> bool:
    """Whether any weight has fewer bits than float32."""
    import torch

    return any(p.dtype in (torch.bfloat16, torch.float16) for p in policy.parameters())
