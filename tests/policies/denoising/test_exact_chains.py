"""Optima on chains so small that every trajectory can be written down: each objective ends where its closed form says.

Why "tilted": with $R(\\tau) = r(x_0)$ and a price $\\beta$ on the KL between whole trajectories, the best policy is
$\\pi(\\tau) = \\rho(\\tau) e^{r(x_0) / \\beta} / Z$ (Gibbs). Its factor depends on the last state alone, so summing over the ways
there leaves $\\rho(x_0) e^{r(x_0) / \\beta} / Z$. That takes two things. The policy must be able to say it: positions that one step
reveals together get independent tokens, so the tilted distribution is theirs only where reward and reference fall apart into
positions, and everybody's where they come one by one. And the start must not be remembered: nobody chose it, so nobody can
tilt it (all masks are one state; the noise of a flow is not).

Expectations are exact (every trajectory, weighted by its probability) or sampled by ordinary runs.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from guerdon import advantages, objectives, samplers, selection, transforms
from guerdon.core import Batch, Items, Pairs, PolicyOutput, RewardOutput, Rollout, Streams
from guerdon.objectives.policy_gradient import KL
from guerdon.policies import (
    DDIM,
    Ancestral,
    Cosine,
    Diffusion,
    Flow,
    FlowSDE,
    Frozen,
    HeadOnPolicy,
    MaskedDiffusion,
    RandomOrder,
    Straight,
    TokenTable,
)
from guerdon.run import AdamW, Plan, Prompts, Term, Train, run

L, V, BETA = 2, 3, 0.5
JOINT = (
    torch.tensor([[4, 1, 2], [1, 4, 1], [2, 2, 3]], dtype=torch.double) / 20
)  # the reference's distribution of (first, second)
# the first token 0 may turn out best or worst: how a step weighs what later steps can still do makes a difference
REWARD = torch.tensor([[1.5, -1.5, 0.0], [0.0, 0.0, 0.2], [-0.5, 0.5, 0.3]], dtype=torch.double)
APART = JOINT.sum(1)[:, None] * JOINT.sum(0)  # without the dependence
SUM = REWARD[:, :1] + REWARD[:1]  # a reward for each position


# ---------------------------------------------------------------- every trajectory
def tiny(reveal: Any = RandomOrder(), steps: int = 2, *, scale: float = 0.0) -> MaskedDiffusion:
    return MaskedDiffusion.of(L, V, network=TokenTable(scale), kernel=reveal, steps=steps, seed=5, dtype="float64")


def knowing(joint: Tensor, reveal: Any = RandomOrder(), steps: int = 2) -> MaskedDiffusion:
    """Its table holds the conditionals of a joint distribution [V, V]."""
    policy = tiny(reveal, steps)
    every = torch.tensor(list(itertools.product(range(V), repeat=L)))
    with torch.no_grad():
        for state in map(torch.tensor, itertools.product(range(V + 1), repeat=L)):
            fits = ((every == state) | (state == V)).all(1)
            for i, v in itertools.product(range(L), range(V)):
                chance = (joint.flatten() * fits * (every[:, i] == v)).sum()
                policy.network.logits[policy.network.state(state), i, v] = chance.clamp(min=1e-30).log()
    return policy


def every_trajectory(policy: MaskedDiffusion) -> Rollout:
    """All of them, once: at each step all sequences that it can lead to."""
    paths, steps = [(torch.full((L,), V),)], policy.how.steps
    for k in range(steps):
        longer = []
        for path in paths:
            after = torch.tensor(list(itertools.product(*(range(V + 1) if t == V else [int(t)] for t in path[-1]))))
            level = torch.full((len(after),), k)
            step = policy.proposal(
                path[-1].expand(len(after), -1), level, policy.ask([None] * len(after), policy.how), policy.how
            )
            longer += [(*path, a) for a in after[step.logp(after).isfinite()]]
        paths = longer
    states = torch.stack([torch.stack(path) for path in paths])
    rows = torch.arange(len(states))
    return Rollout(
        [None] * len(rows), states[:, -1], states[:, 1:], (states[:, :-1] == V).any(2), torch.zeros_like(rows), rows,
        states=states, behaviour=(policy.behaviour(policy.how),), trace={"level": torch.arange(steps).expand(len(rows), -1)},
    ).check()  # fmt: skip


def logp_of(policy: MaskedDiffusion, rollout: Rollout) -> Tensor:
    with torch.no_grad():
        return policy(rollout).logp


def number(tokens: Tensor) -> Tensor:
    """[...] which of the nine sequences [..., 2]."""
    return tokens[..., 0] * V + tokens[..., 1]


def distribution(policy: MaskedDiffusion) -> Tensor:
    """[9] of its final states, by summing over trajectories."""
    every = every_trajectory(policy)
    chance = logp_of(policy, every).sum(1).exp()
    assert float(chance.sum()) == pytest.approx(1, abs=1e-12)
    return torch.zeros(V**L, dtype=torch.double).index_add(0, number(every.outputs), chance)


def normalised(x: Tensor) -> Tensor:
    return x.flatten() / x.sum()


def far(a: Tensor, b: Tensor) -> float:
    """Total variation."""
    return float(0.5 * (a.flatten() - b.flatten()).abs().sum())


def learn(policy: MaskedDiffusion, objective: Any, batch: Any, n: int) -> MaskedDiffusion:
    """``n`` updates on what ``batch(progress)`` gives."""
    term = Term(objective, over=1) if objective.unit == "step" else objective
    trainer = Train(term, AdamW(lr=0.7, betas=(0.5, 0.9), decay="linear")).build(policy)
    for k in range(n):
        trainer.update(batch(k / n), SimpleNamespace(streams=Streams(0), step=k))
    return policy


def improved(reference: MaskedDiffusion, reward: Tensor, objective: Any, advantage: Any, *, priced: bool, n: int = 20) -> Tensor:
    """[9] where an objective over advantages ends, without sampling noise, from a start that is not the reference."""
    every = every_trajectory(reference)
    ref, total = logp_of(reference, every), reward.flatten()[number(every.outputs)]
    policy = tiny(reference.how.kernel, reference.how.steps, scale=1.0)

    def batch(progress: float) -> Batch:
        logp = logp_of(policy, every)
        b = Batch.of(every.replace(logp=logp), RewardOutput.of(total), progress)
        b = b.replace(weight=logp.sum(1).exp(), refs={"reference": PolicyOutput(ref), "old": PolicyOutput(logp)})
        if priced:
            b = b.replace(reward=transforms.TokenKL(BETA).apply(None, b)[1])
        return b.replace(advantage={"main": advantage(b)})

    return distribution(learn(policy, objective, batch, n))


PG = objectives.PolicyGradient
TILTED = normalised(JOINT * (REWARD / BETA).exp())
PRICED = {
    "REINFORCE": (objectives.Reinforce(), advantages.Returns()),
    "RLOO": (objectives.Reinforce(), advantages.RLOO()),
    "PPO": (PG(), advantages.Returns()),
    "GRPO": (PG(), advantages.GroupNorm()),
    "GSPO": (PG(ratio=objectives.SequenceRatio()), advantages.GroupNorm(std=False)),
    "CISPO": (PG(clip=objectives.CISPO()), advantages.GroupNorm()),
    "SAPO": (PG(clip=objectives.SoftClip()), advantages.GroupNorm()),
    "truncated": (PG(clip=None, truncate=2.0), advantages.BatchNorm()),
}


@pytest.mark.parametrize("name", PRICED)
def test_a_price_paid_in_the_reward_tilts_the_final_states(name: str) -> None:
    found = improved(knowing(JOINT), REWARD, *PRICED[name], priced=True)
    assert far(found, TILTED) < 0.01 < 0.5 < far(JOINT, TILTED)


@pytest.mark.parametrize("steps", [1, 3])
def test_positions_that_are_revealed_together_are_tilted_where_the_reward_falls_apart(steps: int) -> None:
    found = improved(knowing(APART, Ancestral(), steps), SUM, objectives.Reinforce(), advantages.Returns(), priced=True, n=30)
    tilted = normalised(APART * (SUM / BETA).exp())
    assert far(found, tilted) < 0.01 < 0.5 < far(APART, tilted)


def test_revealed_together_the_tilted_distribution_of_a_dependent_reward_is_out_of_reach() -> None:
    """Its optimum is another distribution, as its tokens are independent; it moves closer with more steps."""
    gaps = []
    for steps in (1, 3):
        reference = knowing(JOINT, Ancestral(), steps)
        tilted = normalised(distribution(reference) * (REWARD.flatten() / BETA).exp())
        found = improved(reference, REWARD, objectives.Reinforce(), advantages.Returns(), priced=True)
        gaps.append(far(found, tilted))
    assert gaps[0] > 0.15 > gaps[1] > 0.05


# ---------------------------------------------------------------- a penalty in the loss
def reverse(ref: Tensor, q: Tensor) -> Tensor:
    r"""$\arg\max_\pi \pi \cdot q - \beta\,\mathrm{KL}(\pi \| \rho)$."""
    return normalised(ref * (q / BETA).exp())


def forward(ref: Tensor, q: Tensor) -> Tensor:
    r"""$\arg\max_\pi \pi \cdot q - \beta\,\mathrm{KL}(\rho \| \pi)$: $\beta \rho / (\lambda - q)$ with $\lambda$ for a sum of 1."""
    low, high = float(q.max()), float(q.max()) + 100.0
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if float((BETA * ref / (middle - q)).sum()) > 1 else (low, middle)
    return BETA * ref / (high - q)


def entropic(ref: Tensor, q: Tensor) -> Tensor:
    r"""$\arg\max_\pi \pi \cdot q + \beta H(\pi)$."""
    return normalised((q / BETA).exp())


def step_by_step(reference: MaskedDiffusion, reward: Tensor, solve: Any) -> Tensor:
    """[9] of a policy that at every step weighs the expected reward against its distance to the reference there and then.

    That is what a penalty in the loss asks for: its gradient leaves out that a token also decides which states, and so which
    penalties, come later.
    """
    tokens = reference.network.logits.detach().log_softmax(-1).exp()

    def go(state: tuple[int, ...]) -> tuple[float, Tensor]:
        """(expected reward, [9] final states) from here."""
        free = [i for i, t in enumerate(state) if t == V]
        if not free:
            place = number(torch.tensor(state))
            return float(reward.flatten()[place]), nn.functional.one_hot(place, V**L).double()
        value, ends = 0.0, torch.zeros(V**L, dtype=torch.double)
        for i in free:
            after = [go((*state[:i], v, *state[i + 1 :])) for v in range(V)]
            q = torch.tensor([worth for worth, _ in after], dtype=torch.double)
            pi = solve(tokens[reference.network.state(torch.tensor(state)), i], q)
            value += float(pi @ q) / len(free)
            ends += pi @ torch.stack([e for _, e in after]) / len(free)
        return value, ends

    return go((V,) * L)[1]


IN_THE_LOSS = {
    "k2": (PG(kl=KL(BETA, estimator="k2")), reverse),
    "k1, corrected": (PG(kl=KL(BETA, estimator="k1", corrected=True)), reverse),
    "k3, corrected": (PG(kl=KL(BETA, estimator="k3", corrected=True)), reverse),
    "k3": (PG(kl=KL(BETA, estimator="k3")), forward),
    "entropy": (objectives.Reinforce(entropy=BETA), entropic),
}


@pytest.mark.parametrize("name", IN_THE_LOSS)
def test_a_penalty_in_the_loss_weighs_every_step_by_itself(name: str) -> None:
    objective, solve = IN_THE_LOSS[name]
    reference = knowing(JOINT)
    found = improved(reference, REWARD, objective, advantages.Returns(), priced=False)
    assert far(found, step_by_step(reference, REWARD, solve)) < 0.01
    assert far(found, TILTED) > 0.03  # it is not the optimum of the price on whole trajectories


@pytest.mark.parametrize(("estimator", "solve"), [("k2", reverse), ("k3", forward)])
def test_where_one_step_is_all_k2_in_the_loss_tilts_and_k3_does_not(estimator: Any, solve: Any) -> None:
    reference = knowing(APART, Ancestral(), 1)
    objective = PG(kl=KL(BETA, estimator=estimator))
    found = improved(reference, SUM, objective, advantages.Returns(), priced=False, n=30)
    expected = solve(APART.sum(1), SUM[:, 0])[:, None] * solve(APART.sum(0), SUM[0])
    assert far(found, expected) < 0.01
    assert (far(found, normalised(APART * (SUM / BETA).exp())) < 0.01) == (estimator == "k2")


@pytest.mark.parametrize("objective", [objectives.Reinforce(), PG(kl=KL(BETA, estimator="k1"))], ids=["no KL", "k1 in the loss"])
def test_without_a_price_all_goes_to_the_best(objective: Any) -> None:
    """The expected gradient of k1 is 0: it measures and does nothing."""
    found = improved(knowing(JOINT), REWARD, objective, advantages.Returns(), priced=False, n=40)
    assert int(found.argmax()) == int(REWARD.argmax()) and float(found.max()) > 0.97


# ---------------------------------------------------------------- comparisons
def preferred(objective: objectives.DPO, reward: Tensor, label: Any, across: bool = False, n: int = 20) -> Tensor:
    """[9] where a loss of pairs ends on all pairs of trajectories (``across``: of unequal reward), with exact labels."""
    reference = knowing(JOINT)
    every = every_trajectory(reference)
    total = reward.flatten()[number(every.outputs)]
    win, lose = torch.triu_indices(len(every), len(every), offset=1)
    if across:
        win, lose = (total[:, None] > total).nonzero(as_tuple=True)
    gap = total[win] - total[lose]
    pairs, refs = Pairs(win, lose, label=label(gap), margin=gap), {"reference": PolicyOutput(logp_of(reference, every))}
    rows = Batch.of(every)
    return distribution(learn(tiny(scale=1.0), objective, lambda p: rows.replace(progress=p, pairs=pairs, refs=refs), n))


def solved(inverse: Any, low: float) -> Tensor:
    r"""[9] $\rho\,(f')^{-1}((r - \lambda) / \beta)$ with $\lambda$ for a sum of 1, above ``low`` where it begins to exist."""
    low, high = low + 1e-9, low + 100
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if float((JOINT * inverse((REWARD - middle) / BETA)).sum()) > 1 else (low, middle)
    return JOINT * inverse((REWARD - high) / BETA)


TOP = float(REWARD.max())
WINS = torch.sigmoid(REWARD.flatten()[:, None] - REWARD.flatten()).mean(1)  # against all trajectories: two for each sequence
COMPARED = {
    "DPO": (objectives.DPO(BETA), TILTED),
    "ODPO": (objectives.DPO(BETA, margin_scale=1.0), normalised(JOINT * (2 * REWARD / BETA).exp())),
    "mean over steps": (objectives.DPO(BETA, average=True), normalised(JOINT * (2 * REWARD / BETA).exp())),
    "no reference": (objectives.DPO(BETA, reference=None), normalised((REWARD / BETA).exp())),
    "IPO": (objectives.DPO(BETA, loss=objectives.IPOLoss()), normalised(JOINT.flatten() * (WINS / BETA).exp())),
    "forward KL": (
        objectives.DPO(BETA, divergence=objectives.ForwardKL()),
        solved(lambda z: -1 / z, TOP),
    ),
    "Jensen-Shannon": (
        objectives.DPO(BETA, divergence=objectives.JensenShannon()),
        solved(lambda z: 1 / (2 * (-z).exp() - 1), TOP - BETA * math.log(2)),
    ),
    "alpha 1/2": (
        objectives.DPO(BETA, divergence=objectives.Alpha(0.5)),
        solved(lambda z: (1 - z / 2) ** -2, TOP - 2 * BETA),
    ),
}


@pytest.mark.parametrize("name", COMPARED)
def test_comparisons_by_bradley_terry_lead_to_the_closed_form(name: str) -> None:
    objective, expected = COMPARED[name]
    found = preferred(objective, REWARD, torch.sigmoid, n=80 if name == "forward KL" else 30)
    assert far(found, expected) < 0.02 < 0.09 < far(JOINT, expected)


BINARY = (REWARD > 0.1).double()
LOGIT = math.log(0.8 / 0.2)
ONE_GAP = {  # good against bad, right in four of five cases: the gap of log-ratios that the loss settles at
    "DPO": (objectives.DPO(BETA), LOGIT / BETA),
    "smoothed": (objectives.DPO(BETA, label_smoothing=0.1), math.log(0.74 / 0.26) / BETA),  # 0.8 * 0.9 + 0.2 * 0.1
    "margin": (objectives.DPO(BETA, margin=0.5), (LOGIT + 0.5) / BETA),
    "hinge": (objectives.DPO(BETA, loss=objectives.HingeLoss()), 1 / BETA),
    "IPO": (objectives.DPO(BETA, loss=objectives.IPOLoss()), 0.6 / (2 * BETA)),  # (2 * 0.8 - 1) / (2 beta)
}


@pytest.mark.parametrize("name", ONE_GAP)
def test_good_against_bad_settles_at_one_gap(name: str) -> None:
    objective, gap = ONE_GAP[name]
    found = preferred(objective, BINARY, lambda x: torch.full_like(x, 0.8), across=True)
    assert far(found, normalised(JOINT * (gap * BINARY).exp())) < 0.02


# ---------------------------------------------------------------- likelihood
def fitted(rollout: Rollout, weight: Tensor) -> Tensor:
    rows = Batch.of(rollout).replace(weight=weight)
    return distribution(learn(tiny(scale=1.0), objectives.SFT(), lambda p: rows.replace(progress=p), 20))


def best_of(n: int) -> Tensor:
    r"""[9] $\rho(x)\,(F(x)^n - F(x^-)^n) / \rho(\text{equal reward})$ with F the distribution function of the reward."""
    r, p = REWARD.flatten(), JOINT.flatten()
    below, equal = (p * (r < r[:, None])).sum(1), (p * (r == r[:, None])).sum(1)
    return p * ((below + equal) ** n - below**n) / equal


def test_likelihood_of_the_best_of_two_is_the_distribution_of_the_best_of_two() -> None:
    reference = knowing(JOINT)
    every = every_trajectory(reference)
    chance = logp_of(reference, every).sum(1).exp()
    a, b = torch.cartesian_prod(torch.arange(len(every)), torch.arange(len(every))).T
    rows = torch.stack([a, b], 1).flatten()  # every group of two, the first wins a tie
    groups = every[rows].replace(group=torch.arange(len(a)).repeat_interleave(2), uid=torch.arange(len(rows)))
    batch = Batch.of(groups, RewardOutput.of(REWARD.flatten()[number(groups.outputs)]))
    kept = selection.BestOfN()(batch.replace(weight=(chance[a] * chance[b]).repeat_interleave(2)), Streams(0)).weight
    of_each = torch.zeros(len(every), dtype=torch.double).index_add(0, rows, kept.double())
    assert far(fitted(every, of_each), best_of(2)) < 0.01 < 0.2 < far(JOINT, best_of(2))


def test_likelihood_weighted_by_exponential_rewards_tilts() -> None:
    """Reward-weighted regression: on the reference's samples, one step of it is the whole way."""
    reference = knowing(JOINT)
    every = every_trajectory(reference)
    weight = logp_of(reference, every).sum(1).exp() * (REWARD.flatten()[number(every.outputs)] / BETA).exp()
    assert far(fitted(every, weight), TILTED) < 0.01


def test_likelihood_of_data_learns_its_distribution() -> None:
    """The denoising bound over all sequences, weighted as the data has them; levels and masks belong to the item's uid."""
    every = torch.tensor(list(itertools.product(range(V), repeat=L)))
    items = Items([None] * 9 * 40, torch.arange(40).repeat_interleave(9))
    rollout = tiny().rollout_from(items, every.repeat(40, 1), streams=Streams(0))
    assert far(fitted(rollout, JOINT.flatten().repeat(40)), JOINT) < 0.01


# ---------------------------------------------------------------- sampled
@dataclass(frozen=True)
class BradleyTerry:
    """All pairs of a draw, with the probability that a Bradley-Terry judge of the reward prefers the first."""

    needs: ClassVar[frozenset[str]] = frozenset({"reward"})
    gives: ClassVar[frozenset[str]] = frozenset({"pairs"})

    def __call__(self, batch: Batch, streams: Streams) -> Batch:
        win, lose = torch.triu_indices(len(batch), len(batch), offset=1)
        return batch.replace(pairs=Pairs(win, lose, label=torch.sigmoid(batch.reward.total[win] - batch.reward.total[lose])))


def judged(output: Tensor) -> float:
    return float(REWARD[tuple(output)])


def sampled(
    objective: Any, n: int, steps: int, seed: int, *, lr: float, contexts: int = 1, epochs: int = 1, **parts: Any
) -> Tensor:
    """[9] where an ordinary run ends that starts at the reference."""
    optim = AdamW(lr=lr, betas=(0.5, 0.99), decay="linear")
    learners = {"policy": Train(Term(objective, over=1) if objective.unit == "step" else objective, optim, epochs=epochs)}
    if "critics" in parts:
        learners = {"critic": Train(objectives.ValueLoss(), optim, of="critic", epochs=4), **learners}
    plan = Plan(
        policy=knowing(JOINT), source=Prompts(("",)), sampler=samplers.Group(contexts, n), reward=judged, learners=learners,
        checks=(), steps=steps, checkpoint_every=0, seed=seed, **parts,
    )  # fmt: skip
    return distribution(run(plan).policy)


FROZEN: dict[str, Any] = {"references": {"reference": Frozen()}}
PRICE = {**FROZEN, "transforms": (transforms.TokenKL(BETA),)}
CRITIC = {"critics": {"critic": HeadOnPolicy()}, "advantage": advantages.GAE()}
RLOO, GROUP, BEST = ({"advantage": advantages.RLOO()}, {"advantage": advantages.GroupNorm()}, {"select": (selection.BestOfN(),)})
RUNS: dict[str, Any] = {  # name -> (where a run with a seed ends, where it should, how far it may be)
    "PPO with a critic": (lambda seed: sampled(PG(), 128, 24, seed, lr=0.3, epochs=2, **PRICE, **CRITIC), TILTED, 0.02),
    "GRPO": (lambda seed: sampled(PG(), 128, 24, seed, lr=0.4, **PRICE, **GROUP), TILTED, 0.02),
    "k3 in the loss": (
        lambda seed: sampled(PG(kl=KL(BETA)), 256, 32, seed, lr=0.15, **FROZEN, **RLOO),
        step_by_step(knowing(JOINT), REWARD, forward),
        0.02,
    ),
    "DPO": (lambda seed: sampled(objectives.DPO(BETA), 64, 20, seed, lr=0.4, select=(BradleyTerry(),), **FROZEN), TILTED, 0.02),
    # one draw of 800 winners, which are as far from their own distribution as samples are: 0.025 on average
    "best of 4": (lambda seed: sampled(objectives.SFT(), 4, 1, seed, lr=0.5, contexts=800, epochs=15, **BEST), best_of(4), 0.06),
}


@pytest.mark.parametrize("name", RUNS)
def test_a_run_ends_there_too(name: str) -> None:
    play, expected, near = RUNS[name]
    assert far(play(0), expected) < near < 0.4 < far(JOINT, expected)


# ---------------------------------------------------------------- Gaussian steps
class Line(nn.Module):
    """A line for every level."""

    width = 1

    def __init__(self, times: Tensor) -> None:
        super().__init__()
        self.times = times[:-1]
        self.slope = nn.Parameter(torch.linspace(0.1, 0.9, len(times) - 1, dtype=torch.double))
        self.offset = nn.Parameter(torch.linspace(-0.2, 0.3, len(times) - 1, dtype=torch.double))

    def forward(self, x: Tensor, time: Tensor, condition: Any) -> Tensor:
        level = (time[:, None] - self.times).abs().argmin(1)
        return self.slope[level, None] * x + self.offset[level, None]


def steps_of(policy: Any) -> list[tuple[float, float, float]]:
    """(slope, offset, deviation) of every step."""
    out = []
    for level in range(policy.how.steps):
        with torch.no_grad():
            at = torch.tensor([[0.0], [1.0]], dtype=torch.double)
            step = policy.proposal(at, torch.full((2,), level), policy.ask([None] * 2, policy.how), policy.how)
        out.append((float(step.mean[1] - step.mean[0]), float(step.mean[0]), float(step.std[0])))
    return out


def normal_end(steps: list[tuple[float, float, float]], shifts: list[float] | None = None) -> tuple[float, float]:
    """(mean, variance) of the last state, from a standard normal start."""
    mean, variance = 0.0, 1.0
    for (slope, offset, std), shift in zip(steps, shifts or [0.0] * len(steps), strict=True):
        mean, variance = slope * mean + offset + shift, slope**2 * variance + std**2
    return mean, variance


def far_normals(a: tuple[float, float], b: tuple[float, float]) -> float:
    x = torch.linspace(-10, 10, 4001, dtype=torch.double)
    density = [(-(x - m).square() / (2 * v)).exp() / math.sqrt(2 * math.pi * v) for m, v in (a, b)]
    return float(0.5 * (density[0] - density[1]).abs().sum() * (x[1] - x[0]))


@pytest.mark.parametrize("kind", ["diffusion", "flow"])
def test_a_linear_reward_shifts_the_means_of_linear_gaussian_steps(kind: str) -> None:
    r"""With $V(x) = (\prod_{j > k} A_j)\,x + \ldots$ linear, the best step is the reference's, its mean moved by
    $\sigma_k^2 \prod_{j > k} A_j / \beta$. The final marginal is tilted only as far as its variance was chosen on the way: a flow
    remembers its first noise, and that share of the variance stays untilted.
    """
    policy: Any = (
        Diffusion((1,), Line(Cosine().levels(4).time), None, noise=Cosine(), predict="data", kernel=DDIM(1.0), steps=4)
        if kind == "diffusion"
        else Flow((1,), Line(Straight().levels(4).time), None, noise=Straight(), predict="flow", kernel=FlowSDE(0.7), steps=4)
    ).double()
    before = steps_of(policy)
    rest = [math.prod(slope for slope, _, _ in before[k + 1 :]) for k in range(4)]
    expected = normal_end(before, [std**2 * r / BETA for r, (_, _, std) in zip(rest, before, strict=True)])
    plan = Plan(
        policy=policy, source=Prompts(("",)), sampler=samplers.Group(2, 64, controls={"shared_start": True}),
        reward=lambda output: float(output[0]), advantage=advantages.RLOO(),
        learners={"policy": Train(objectives.Reinforce(), AdamW(lr=0.3, betas=(0.5, 0.9), decay="linear"))},
        checks=(), steps=16, checkpoint_every=0, **PRICE,
    )  # fmt: skip
    found, start = normal_end(steps_of(run(plan).policy)), normal_end(before)
    tilted = (start[0] + start[1] / BETA, start[1])
    assert far_normals(found, expected) < 0.01 < 0.25 < far_normals(start, expected)
    assert (far_normals(expected, tilted) > 0.05) == (kind == "flow")
