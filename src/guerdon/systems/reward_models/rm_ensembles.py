r"""Reward-model ensembles against over-optimisation: the worst member's word, or the mean less a price on disagreement.

Several rewards are fitted to the same comparisons with different heads and orders of the data, each is brought to mean 0 and
standard deviation 1 on a held-out reference batch, and a conservative summary of them is optimised:

$$R_{\mathrm{WCO}} = \min_i R_i, \qquad R_{\mathrm{UWO}} = \mu - \lambda \frac1k \sum_i (R_i - \mu)^2$$

with the mean $\mu = \frac1k \sum_i R_i$.

An answer that one member overrates by mistake has to mislead all the others, too.

The study: the best of n answers of a language model of 100,000 weights that writes short stories, chosen by five reward models
of that size. They are fitted for 5 epochs, as in the paper, to 400 comparisons of its stories, a quarter of them inverted;
every seed has comparisons and reward models of its own. Their learning rate is one at which the members of a seed differ in
what they get wrong, as those of the paper do; it is the same for all arms. The answers are drawn once, and the hidden
preference of the readers ("gold") knows them all. The arms differ in how the same five scores of an answer become one: each
member alone (the mean of five curves), their mean, the worst (WCO), the mean less half their variance (UWO). Gold is counted in
standard deviations of the answers' gold: *lift* at the largest n, and *drop* from the curve's peak to there.

Chosen for a reason: a corpus in which praise says nothing of quality (``Stories(praise=0)``). Where every reward model starts
from the same false hint, members err together, and no ensemble can know; the claim is about errors that they do not share.
Sizes that count: 0.2 of a standard deviation in lift (the size at which a drop is called over-optimisation), 0.15 in drop (from
at least 0.2 to at most 0.05). That the drop of WCO and UWO vanishes altogether is not among the expectations; the record shows
what is left of it.

Scaled down: n up to 256 instead of 12,500. With ``--budget long``: a policy gradient against a member, the mean, WCO and UWO
(lambda 0.1), without and with a KL price of 0.01 in standard deviations of the reward, whose members are then standardised on
the comparisons' answers. Left out: clean labels, sizes of models and data.

Reference: Coste, Anwar, Kirk and Krueger, Reward Model Ensembles Help Mitigate Overoptimization, arXiv:2310.02743.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from guerdon import advantages, objectives, policies, rewards, samplers, tasks, transforms
from guerdon.audit import best_of_n_curve
from guerdon.core import Reward, RewardError, RewardOutput, Rollout, Streams, recorded
from guerdon.core.reward import Scope
from guerdon.rewards import FitSettings
from guerdon.run import AdamW, Evaluation, Plan, Train, lazy, run
from guerdon.study import Budget, Expect, Measured, Study
from guerdon.systems import Paper, System
from guerdon.systems._shared import learned_reward, measured, plausible_verdicts
from guerdon.tasks.cache import cached

MEMBERS = 5
FIT = FitSettings(epochs=5, lr=1.2e-2, batch=32)  # at 1e-3 the members of a seed agree on nearly everything, errors included
VERSION = 1  # to be raised with any change below that changes what is cached


@dataclass(frozen=True)
class Standardised:
    r"""A reward in other units: $(r - \mathrm{centre}) / \mathrm{spread}$.

    Args:
        reward: Any reward.
        centre: What counts as 0.
        spread: What counts as 1, above 0.

    Raises:
        RewardError: for a spread that is not above 0.

    Example:
        >>> from guerdon.rewards import Length
        >>> Standardised(Length(high=2), 0.5, 0.25)(recorded(["q"] * 2, ["a b", "a b c d"])).total.tolist()
        [2.0, -2.0]
    """

    reward: Any
    centre: float
    spread: float

    def __post_init__(self) -> None:
        if not self.spread > 0:
            raise RewardError(
                f"Standardised: spread must be above 0, got {self.spread}; does the reward tell any two outputs apart?"
            )

    @property
    def scope(self) -> Scope:
        found: Scope = self.reward.scope
        return found

    @property
    def differentiable(self) -> bool:
        return bool(self.reward.differentiable)

    def __call__(self, rollout: Rollout) -> RewardOutput:
        found = self.reward(rollout)
        return RewardOutput((found.total - self.centre) / self.spread, found.ok, found.reason)


def rm_ensembles(
    members: Sequence[Reward], reference: Rollout, *, combine: Any = "worst", penalty: float = 0.5
) -> rewards.Ensemble:
    """A conservative ensemble of rewards that were fitted to the same feedback.

    Args:
        members: Rewards, two or more; their own scales do not matter.
        reference: Held-out outputs on which each member is brought to mean 0 and standard deviation 1.
        combine: ``"worst"`` (WCO), ``"uncertainty"`` (UWO) or ``"mean"``.
        penalty: Lambda of UWO: the paper's best for best-of-n is 0.5.

    Example:
        >>> from guerdon.rewards import Length, recorded
        >>> outputs = recorded(["q"] * 3, ["a", "a b c", "a b c d e"])
        >>> both = rm_ensembles([Length(low=1, high=1), Length(target=5)], outputs)
        >>> both(outputs).total.argmax().item()
        1
    """
    level = []
    for member in members:
        found = member(reference)
        known = found.total[found.ok].double()
        level.append(Standardised(member, float(known.mean()), float(known.std(correction=0))))
    return rewards.Ensemble(tuple(level), combine=combine, penalty=penalty)


def _world(budget: Budget) -> tasks.Stories:
    return budget.pick(tiny=tasks.Stories.tiny(), default=tasks.Stories(praise=0.0))


def _answers(budget: Budget, prompts: int, n: int, seed: int) -> Rollout:
    """``n`` answers of the base model to each of ``prompts`` held-out prompts, with their gold in a column; drawn once."""
    task = _world(budget)
    recipe = {"world": task.recipe(), "prompts": prompts, "n": n, "seed": seed, "version": VERSION}

    def make() -> Callable[[Path], Mapping[str, Any]]:
        policy = policies.CausalLM.from_pretrained(str(task.base()), device="cpu")
        streams = Streams(seed).fork("answers")
        items = task.prompts("held_out").draw(prompts, streams=streams.fork("items"))
        parts = []
        with torch.no_grad():
            for rows in torch.arange(prompts).split(8):
                parts.append(policy.sample(items[rows], n, streams=streams.fork("sample"), max_tokens=task.max_tokens))
        rollout = Rollout.cat(parts)
        columns = {**rollout.info, "gold": task.reward()(rollout).checked().total.tolist()}

        def write(folder: Path) -> Mapping[str, Any]:
            table = {"contexts": list(rollout.contexts), "outputs": list(rollout.outputs), "info": columns}
            (folder / "answers.json").write_text(json.dumps(table), encoding="utf8")
            return {}

        return write

    place = cached(f"{task.name}-answers", recipe, make) / "answers.json"
    return recorded(**json.loads(place.read_text(encoding="utf8")))


def _batches(budget: Budget) -> tuple[Rollout, Rollout]:
    """The answers that are chosen from, and the reference batch."""
    prompts, n = budget.pick(tiny=(4, 16), default=(48, 384))
    return _answers(budget, prompts, n, 0), _answers(budget, budget.pick(tiny=8, default=256), 2, 1)


def _fitted(seed: int, budget: Budget) -> Path:
    """The reward models of a seed."""
    task = _world(budget)
    comparisons, epochs = budget.pick(tiny=(32, 1), default=(400, FIT.epochs))
    return learned_reward(
        task, plausible_verdicts(task), comparisons=comparisons, seed=seed, members=MEMBERS, settings=replace(FIT, epochs=epochs)
    )


def _scored(seed: int, budget: Budget) -> tuple[Rollout, Rollout]:
    """Both batches with the scores of every member in columns; scored once for all arms."""
    folder, batches = _fitted(seed, budget), _batches(budget)
    recipe = {"reward": folder.parent.name, "answers": [len(b) for b in batches], "version": VERSION}

    def make() -> Callable[[Path], Mapping[str, Any]]:
        ensemble = rewards.Ensemble.from_pretrained(str(folder), device="cpu")
        found = [
            {f"member-{m}": member(b).checked().total.tolist() for m, member in enumerate(ensemble.members)} for b in batches
        ]

        def write(place: Path) -> Mapping[str, Any]:
            (place / "scores.json").write_text(json.dumps(found), encoding="utf8")
            return {}

        return write

    found = json.loads((cached("stories-scores", recipe, make) / "scores.json").read_text(encoding="utf8"))
    first, second = (b.replace(info={**b.info, **columns}) for b, columns in zip(batches, found, strict=True))
    return first, second


def _chosen(seed: int, budget: Budget, *, combine: str = "") -> Measured:
    """Best of n by each member alone; the mean over the members."""
    answers, reference = _scored(seed, budget)
    columns = [rewards.Column(f"member-{m}") for m in range(MEMBERS)]
    ensemble = rm_ensembles(columns, reference, combine=combine or "mean")
    chosen_by = [ensemble] if combine else list(ensemble.members)
    n, most = budget.pick(tiny=(16, 8), default=(384, 256))
    gold = torch.tensor(answers.info["gold"], dtype=torch.double).reshape(-1, n)
    ns = [2**k for k in range(most.bit_length())]
    curves = [best_of_n_curve(r(answers).checked().total.double().reshape(-1, n), gold, ns, resamples=1) for r in chosen_by]
    middle, unit = float(gold.mean()), float(gold.std())
    golds, proxies = np.mean([c.gold for c in curves], axis=0), np.mean([c.proxy for c in curves], axis=0)
    lifts = [float(g - middle) / unit for g in golds]
    return {
        "lift": lifts[-1], "drop": max(lifts) - lifts[-1], "gold": float(golds[-1]), "proxy": float(proxies[-1]),
        "nats": curves[0].kl.tolist(), "gold_curve": lifts, "proxy_curve": proxies.tolist(),
    }  # fmt: skip


def _mean(seed: int, budget: Budget) -> Measured:
    """Best of n by the mean of the members."""
    return _chosen(seed, budget, combine="mean")


def _worst(seed: int, budget: Budget) -> Measured:
    """Best of n by the worst of the members."""
    return _chosen(seed, budget, combine="worst")


def _uncertainty(seed: int, budget: Budget) -> Measured:
    """Best of n by the mean of the members less half their variance."""
    return _chosen(seed, budget, combine="uncertainty")


def _trained(seed: int, budget: Budget, *, combine: str = "", beta: float = 0.0) -> Measured:
    """A policy gradient against one member, or against the ensemble."""
    task, folder = _world(budget), _fitted(seed, budget)
    single = lazy(rewards.RewardModel.from_pretrained, path_or_name=str(folder / "member-0"), device="cpu")
    several = lazy(rewards.Ensemble.from_pretrained, path_or_name=str(folder), device="cpu", combine=combine, penalty=0.1)
    contexts, draws = budget.pick(tiny=(4, 2), default=(16, 40), long=(16, 150))
    plan = Plan(
        policy=lazy(policies.CausalLM.from_pretrained, path_or_name=str(task.base())),
        source=task.prompts(),
        sampler=samplers.Group(contexts=contexts, n=8, controls={"max_tokens": task.max_tokens}),
        reward=several if combine else single,
        references={"reference": policies.Frozen()},
        transforms=(transforms.TokenKL(beta),),
        advantage=advantages.RLOO(),
        learners={"policy": Train(objectives.PolicyGradient(), AdamW(lr=1e-3, warmup=0.1), minibatches=2)},
        evaluation=Evaluation(
            task.reward(), task.prompts("held_out"), samples=budget.pick(tiny=8, default=128), every=max(1, draws // 10),
            keep_best=False,
        ),
        steps=draws, seed=seed, name="rm-ensembles",
    )  # fmt: skip
    found = measured(run(plan))
    gold = torch.tensor(_batches(budget)[0].info["gold"], dtype=torch.double)
    curve = ((torch.tensor(found["gold_curve"], dtype=torch.double) - gold.mean()) / gold.std()).tolist()
    return {**found, "gold_curve": curve, "lift": curve[-1], "drop": max(curve) - curve[-1]}


SYSTEM = System(
    name="Reward-model ensembles against over-optimisation",
    claim=(
        "With and without a quarter of the labels inverted, worst-case and uncertainty-weighted optimisation of five reward "
        "models practically eliminate over-optimisation for best-of-n, and performance improves by up to 70 % (Pythia 1.4B on "
        "AlpacaFarm); with PPO they always reduce it, and with a small KL price prevent it at no cost."
    ),
    paper=Paper(
        "Reward Model Ensembles Help Mitigate Overoptimization",
        ("Coste, Thomas", "Anwar, Usman", "Kirk, Robert", "Krueger, David"),
        2023,
        "2310.02743",
    ),
    tried=(
        "On pilot seeds single members over-optimised throughout (drops of 0.2 to 0.6); here WCO and UWO ended higher in every "
        "one of them. The drop is the open part: ensembles also peak higher, and on some seeds they fell as far. In a corpus "
        "where praise hints at quality, and at learning rates of 1e-3 and 4e-3, members agreed on their errors and the ensembles "
        "helped less or not at all; half the variance is too small a price there to change much. In the verdict "
        "run all four differences have the stated sign; UWO's drop is smaller by 0.14, a little less than the 0.15 that counts, "
        "and neither drop vanishes."
    ),
    study=Study(
        arms={"WCO": _worst, "UWO": _uncertainty, "mean": _mean, "single": _chosen},
        metric="lift",
        expect=[
            Expect("WCO", "higher", "single", by=0.2),
            Expect("UWO", "higher", "single", by=0.2),
            Expect("WCO", "lower", "single", by=0.15, metric="drop"),
            Expect("UWO", "lower", "single", by=0.15, metric="drop"),
        ],
        seeds=8,
        long_arms={
            f"trained on {name}, KL {beta:g}": partial(_trained, combine=combine, beta=beta)
            for beta in (0.0, 0.01)
            for name, combine in (("WCO", "worst"), ("UWO", "uncertainty"), ("mean", "mean"), ("single", ""))
        },
        prepare=_batches,
        traces=["nats", "gold_curve", "proxy_curve"],
        labels={
            "lift": "gold of the best of 256 (s.d. above the mean answer)", "drop": "gold lost since the peak (s.d.)",
            "nats": "KL bound of best-of-n (nats)", "gold_curve": "gold (s.d.)", "proxy_curve": "what was optimised (s.d.)",
        },
    ),
)  # fmt: skip
