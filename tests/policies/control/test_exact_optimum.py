"""Where everything can be computed: gradients, the KL-regularised optimum and TD(lambda) values against their closed forms.

The policy is a linear softmax over one-hot states, the critic linear over one-hot states: both can represent the solution, so
what is left is the error of the loop, the objective and the learner.
"""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from guerdon import advantages, objectives, rewards, samplers, transforms
from guerdon.core import Batch, Behaviour, Items, PolicyOutput, RewardOutput, Rollout, Streams
from guerdon.objectives.policy_gradient import KL
from guerdon.policies import MLP, Control, Frozen, StateValue
from guerdon.run import AdamW, Fragments, Plan, Term, Train, run
from guerdon.run.live import Run
from guerdon.run.loop import loop
from guerdon.worlds import Tabular, exact

BETA = 0.5


def bandit() -> Tabular:
    """Three contexts, four arms; which of two ends an arm leads to is drawn, and they pay differently."""
    rng = np.random.default_rng(0)
    p, r = np.zeros((5, 4, 5)), np.zeros((5, 4, 5))
    p[:3, :, 3] = rng.uniform(0.1, 0.9, (3, 4))
    p[:3, :, 4] = 1 - p[:3, :, 3]
    r[:3, :, 3:] = rng.normal(size=(3, 4, 2))
    return Tabular(p, r, [0.5, 0.3, 0.2, 0, 0], [0, 0, 0, 1, 1])


def three_layers() -> Tabular:
    """Three steps through layers of two states; which state of the next layer follows is drawn, and some steps end early."""
    rng = np.random.default_rng(1)
    p = np.zeros((7, 3, 7))
    for s in range(6):
        after = [6] if s >= 4 else [2 * (s // 2) + 2, 2 * (s // 2) + 3, 6]
        p[s][:, after] = rng.dirichlet(np.ones(len(after)), 3)
    return Tabular(p, rng.normal(size=(7, 3)), [0.6, 0.4, 0, 0, 0, 0, 0], np.arange(7) == 6)


WORLDS = {"bandit": (bandit(), 1), "three layers": (three_layers(), 3)}


def softmax_policy(world: Tabular, seed: int = 0) -> Control:
    """A logit per state and action, none of them 0."""
    policy = Control.of(world, body=MLP(()), dtype="float64")
    with torch.no_grad():
        policy.head.logits.weight.copy_(
            torch.from_numpy(np.random.default_rng(seed).normal(size=policy.head.logits.weight.shape))
        )
    return policy


def table(policy: Control) -> np.ndarray:
    """[S, A] its probabilities."""
    with torch.no_grad():
        return policy.head.log_probs(policy.features(torch.arange(policy.observation.n))).exp().numpy()


def every_trajectory(policy: Control, world: Tabular, steps: int) -> tuple[exact.Trajectories, Rollout]:
    """All trajectories of a world, as rows of the policy."""
    every = exact.trajectories(world.mdp, steps)
    items = Items([0] * len(every), Streams(0).uids(len(every)))
    rollout = policy.rollout_from(items, every.episodes(), streams=Streams(0))
    return every, rollout.replace(behaviour=(Behaviour("control", dtype="float64"),))


def expected_batch(
    policy: Control, every: exact.Trajectories, rollout: Rollout, reference: Control, progress: float = 0.0
) -> Batch:
    """Every trajectory, weighted by its probability under the policy: a draw without sampling noise."""
    with torch.no_grad():
        logp, ref = policy(rollout).logp, reference(rollout).logp
    assert logp is not None
    paid = torch.zeros(rollout.mask.shape, dtype=torch.float64)
    paid[:, : every.rewards.shape[1]] = torch.from_numpy(every.rewards)
    chance = torch.from_numpy(every.dynamics) * logp.sum(1).exp()
    assert float(chance.sum()) == pytest.approx(1, abs=1e-12)
    reward = RewardOutput.of(torch.zeros(len(every), dtype=torch.float64), step=paid)
    batch = Batch.of(rollout.replace(logp=logp), reward, progress).replace(
        weight=chance, refs={"reference": PolicyOutput(logp=ref)}
    )
    _, reward = transforms.TokenKL(BETA).apply(None, batch)
    batch = batch.replace(reward=reward)
    return batch.replace(advantage={"main": advantages.Returns()(batch)})


OBJECTIVES = {
    "Reinforce": objectives.Reinforce(),
    "PPO": objectives.PolicyGradient(),
    "unclipped": objectives.PolicyGradient(clip=None),
}


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("place", WORLDS)
def test_the_gradient_over_all_trajectories_is_the_policy_gradient(place: str, name: str) -> None:
    world, steps = WORLDS[place]
    policy, reference = softmax_policy(world), softmax_policy(world, 1)
    every, rollout = every_trajectory(policy, world, steps)
    batch = expected_batch(policy, every, rollout, reference)
    trainer = Train(Term(OBJECTIVES[name], over=1), AdamW(lr=0.0), max_grad_norm=None).build(policy)  # over=1: a sum over steps
    trainer.update(batch, SimpleNamespace(streams=Streams(0), step=0))
    expected = exact.policy_gradient(world.mdp, table(policy), reference=table(reference), beta=BETA)
    np.testing.assert_allclose(-policy.head.logits.weight.grad.T.numpy(), expected, atol=1e-12)
    assert np.abs(expected).max() > 0.01


def test_a_kl_in_the_loss_is_the_same_only_where_there_is_one_step() -> None:
    """k2 has the gradient of each step's own KL; what an action does to the KL of later steps only the reward can tell."""
    for place, same in (("bandit", True), ("three layers", False)):
        world, steps = WORLDS[place]
        policy, reference = softmax_policy(world), softmax_policy(world, 1)
        every, rollout = every_trajectory(policy, world, steps)
        batch = expected_batch(policy, every, rollout, reference)
        batch = batch.replace(reward=batch.raw)
        batch = batch.replace(advantage={"main": advantages.Returns()(batch)})
        loss = objectives.PolicyGradient(clip=None, kl=KL(BETA, estimator="k2"))
        Train(Term(loss, over=1), AdamW(lr=0.0), max_grad_norm=None).build(policy).update(
            batch, SimpleNamespace(streams=Streams(0), step=0)
        )
        expected = exact.policy_gradient(world.mdp, table(policy), reference=table(reference), beta=BETA)
        assert np.allclose(-policy.head.logits.weight.grad.T.numpy(), expected, atol=1e-12) == same


def gap_and_distance(world: Tabular, policy: np.ndarray, reference: np.ndarray) -> tuple[float, float]:
    """(return below the KL-regularised optimum, total variation to its policy, weighted by how often states are visited)."""
    best = exact.soft_optimum(world.mdp, reference, BETA)
    gap = world.mdp.start @ (best.values - exact.soft_values(world.mdp, policy, reference, BETA))
    visits = exact.occupancy(world.mdp, best.policy) * ~world.mdp.terminal
    return float(gap), float(0.5 * (np.abs(policy - best.policy).sum(-1) * visits).sum() / visits.sum())


@pytest.mark.parametrize("place", WORLDS)
def test_without_sampling_noise_the_learner_reaches_the_optimum(place: str) -> None:
    world, steps = WORLDS[place]
    policy, reference = softmax_policy(world), softmax_policy(world, 1)
    every, rollout = every_trajectory(policy, world, steps)
    assert gap_and_distance(world, table(policy), table(reference))[0] > 0.1
    trainer = Train(objectives.Reinforce(), AdamW(lr=0.3, betas=(0.5, 0.99), decay="linear")).build(policy)
    for k in range(150):
        trainer.update(expected_batch(policy, every, rollout, reference, k / 150), SimpleNamespace(streams=Streams(0), step=k))
    gap, distance = gap_and_distance(world, table(policy), table(reference))
    assert 0 <= gap < 1e-5 and distance < 1e-3


@pytest.mark.parametrize("place", WORLDS)
def test_a_run_reaches_the_optimum_within_a_thousandth(place: str) -> None:
    """An ordinary plan: PPO with TokenKL against the frozen start and GAE from a learned critic, on 15 360 sampled steps."""
    world, _ = WORLDS[place]
    policy = softmax_policy(world, 1)
    reference = table(policy)
    plan = Plan(
        policy=policy,
        source=Fragments(world),
        sampler=samplers.Group(contexts=32, n=1, controls={"steps": 8}),
        reward=rewards.Environment(),
        references={"reference": Frozen()},
        transforms=(transforms.TokenKL(BETA),),
        critics={"critic": StateValue(body=MLP(()))},
        advantage=advantages.GAE(lam=0.5),
        learners={
            "critic": Train(objectives.ValueLoss(lam=0.5), AdamW(lr=0.1, decay="linear"), of="critic", epochs=8),
            "policy": Train(objectives.PolicyGradient(), AdamW(lr=0.03, betas=(0.8, 0.99), decay="linear"), epochs=8),
        },
        checks=(),
        steps=60,
        checkpoint_every=0,
    )
    assert gap_and_distance(world, reference, reference)[0] > 0.4
    gap, distance = gap_and_distance(world, table(run(plan).policy), reference)
    assert 0 <= gap < 1e-3 and distance < 0.02


# ---------------------------------------------------------------- TD(lambda)
def loops() -> Tabular:
    """Three states that lead to each other; a tenth of the steps end."""
    rng = np.random.default_rng(2)
    p = np.zeros((4, 2, 4))
    p[:3, :, :3] = 0.9 * rng.dirichlet(np.ones(3), (3, 2))
    p[:3, :, 3] = 0.1
    return Tabular(p, 1 + rng.normal(size=(4, 2, 4)), [0.4, 0.3, 0.3, 0], [0, 0, 0, 1])


def learned(critic: Any, states: int) -> np.ndarray:
    """[S] what a critic says of every state."""
    with torch.no_grad():
        return critic.raw(torch.arange(states))[:, 0].double().numpy()


@pytest.mark.parametrize("lam", [0.0, 0.5, 1.0])
def test_a_critic_learns_the_values_from_all_pieces_of_two_steps(lam: float) -> None:
    """Pieces that are cut off bootstrap from the critic, so its fixed point is V itself at any lambda, lambda 1 included."""
    world, gamma = loops(), 0.9
    policy = softmax_policy(world)
    every, rollout = every_trajectory(policy, world, 2)
    assert not every.terminated.all()
    chance = torch.from_numpy(every.probability(table(policy)))
    critic = StateValue(body=MLP(())).build(policy)
    reward = RewardOutput.of(torch.zeros(len(every), dtype=torch.float64), step=torch.from_numpy(every.rewards))
    trainer = Train(objectives.ValueLoss(gamma, lam), AdamW(lr=0.5, betas=(0.5, 0.99), decay="linear"), of="critic").build(critic)
    n = 200
    for k in range(n):
        batch = Batch.of(rollout, reward, k / n).replace(weight=chance, values={"critic": critic.values(rollout)})
        trainer.update(batch, SimpleNamespace(streams=Streams(0), step=k))
    expected = exact.values(world.mdp, table(policy), gamma)
    np.testing.assert_allclose(learned(critic, 3), expected[:3], atol=1e-9)
    assert np.abs(expected[:3]).min() > 1


def test_critics_learn_the_values_from_fragments() -> None:
    """An ordinary run whose policy stays as it is: 16 000 sampled steps in pieces of at most five, one critic for each lambda."""
    world, gamma = loops(), 0.9
    policy = softmax_policy(world)
    lams = {"one step": 0.0, "between": 0.5, "returns": 1.0}
    plan = Plan(
        policy=policy,
        source=Fragments(world),
        sampler=samplers.Group(contexts=64, n=1, controls={"steps": 5}),
        reward=rewards.Environment(),
        critics=dict.fromkeys(lams, StateValue(body=MLP(()))),
        learners={
            name: Train(objectives.ValueLoss(gamma, lam, critic=name), AdamW(lr=0.1, decay="linear"), of=name, epochs=4)
            for name, lam in lams.items()
        },
        checks=(),
        steps=50,
        checkpoint_every=0,
    )
    live = Run(plan)
    live.open(None, 0, ())
    loop(live)
    live.close()
    expected = exact.values(world.mdp, table(policy), gamma)[:3]  # 5.3 to 5.4, rewards of a step vary by 1
    for critic in live.critics.values():
        np.testing.assert_allclose(learned(critic, 3), expected, rtol=0.03)
