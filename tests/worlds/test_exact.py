"""Exact solvers against closed forms, brute force, finite differences, and core.credit over every trajectory."""

import itertools

import numpy as np
import pytest
import torch

from guerdon.core import PlanError
from guerdon.core.credit import rewards_to_go, td_lambda_returns
from guerdon.worlds import MDP, exact


def random_mdp(seed: int = 0, states: int = 4, actions: int = 2, ends: float = 0.2) -> MDP:
    """Every step ends with probability ``ends``, in the last state."""
    rng = np.random.default_rng(seed)
    p = np.zeros((states, actions, states))
    p[..., :-1] = (1 - ends) * rng.dirichlet(np.ones(states - 1), (states, actions))
    p[..., -1] = ends
    start = np.append(rng.dirichlet(np.ones(states - 1)), 0)
    return MDP(p, rng.normal(size=(states, actions, states)), start, np.arange(states) == states - 1)


def layered(seed: int = 0, layers: int = 3, wide: int = 2, actions: int = 2) -> MDP:
    """From layer to layer at random, from the last one to the end: every trajectory has ``layers`` steps, some fewer."""
    rng = np.random.default_rng(seed)
    n = layers * wide + 1
    p = np.zeros((n, actions, n))
    for k in range(layers * wide):
        after = range((k // wide + 1) * wide, (k // wide + 2) * wide) if k // wide + 1 < layers else [n - 1]
        p[k][:, after] = rng.dirichlet(np.ones(len(after)), actions) * 0.75
        p[k, :, n - 1] += 0.25
    return MDP(p, rng.normal(size=(n, actions)), [0.5] * wide + [0] * (n - wide), np.arange(n) == n - 1)


def random_policy(mdp: MDP, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.ones(mdp.actions), mdp.states)


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


# ---------------------------------------------------------------- what a policy is worth
def test_the_gamblers_ruin() -> None:
    # from i of n coins, up with p = 0.4: the chance to reach n is (1 - 1.5^i) / (1 - 1.5^n)
    n, p = 7, 0.4
    moves, rewards = np.zeros((n + 1, 1, n + 1)), np.zeros((n + 1, 1, n + 1))
    for i in range(1, n):
        moves[i, 0, i + 1], moves[i, 0, i - 1] = p, 1 - p
    rewards[n - 1, 0, n] = 1
    ends = np.isin(np.arange(n + 1), (0, n))
    mdp = MDP(moves, rewards, np.eye(n + 1)[3], ends)
    always = np.ones((n + 1, 1))
    expected = (1 - 1.5 ** np.arange(n)) / (1 - 1.5**n)
    np.testing.assert_allclose(exact.values(mdp, always)[:n], expected, atol=1e-12)
    visits = exact.occupancy(mdp, always)
    assert visits[n] == pytest.approx(expected[3]) and visits[0] == pytest.approx(1 - expected[3])


def test_an_endless_reward_with_a_discount() -> None:
    loop = MDP([[[1.0]]], [[1.0]], [1], [False])
    assert exact.values(loop, [[1]], gamma=0.9)[0] == pytest.approx(10)
    assert exact.values(loop, [[1]], gamma=0.9, steps=3)[0] == pytest.approx(1 + 0.9 + 0.81)
    with pytest.raises(PlanError, match="endless: state 0 leads to no end; use gamma < 1, or steps"):
        exact.values(loop, [[1]])


@pytest.mark.parametrize("gamma", [1.0, 0.9])
def test_occupancy_times_reward_is_the_return(gamma: float) -> None:
    mdp = random_mdp()
    policy = random_policy(mdp)
    expected = (exact.occupancy(mdp, policy, gamma)[:, None] * policy * mdp.mean_rewards).sum()
    assert exact.expected_return(mdp, policy, gamma) == pytest.approx(expected)
    limited = (exact.occupancy(mdp, policy, gamma, steps=3)[:, None] * policy * mdp.mean_rewards).sum()
    assert exact.expected_return(mdp, policy, gamma, steps=3) == pytest.approx(limited)
    assert exact.expected_return(mdp, policy, gamma, steps=500) == pytest.approx(expected)


def test_the_length_of_an_episode() -> None:
    mdp = random_mdp(ends=0.2)  # geometric, whatever the policy does
    assert exact.occupancy(mdp, random_policy(mdp))[:-1].sum() == pytest.approx(5)


@pytest.mark.parametrize(
    ("policy", "message"),
    [(np.ones((4, 2)), "policy: the probabilities of state 0"), (np.ones((2, 2)) / 2, r"policy must be \[4, 2\] probabilities"),
     ([[1.5, -0.5]] * 4, "of state 0 are not at least 0")],
)  # fmt: skip
def test_what_is_no_policy(policy: np.ndarray, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        exact.values(random_mdp(), policy)
    with pytest.raises(PlanError, match="gamma must be between 0 and 1"):
        exact.values(random_mdp(), random_policy(random_mdp()), gamma=1.1)


# ---------------------------------------------------------------- the best one
@pytest.mark.parametrize("gamma", [1.0, 0.8])
@pytest.mark.parametrize("seed", range(3))
def test_no_deterministic_policy_is_better_than_the_optimum(gamma: float, seed: int) -> None:
    mdp = random_mdp(seed, actions=3)
    every = [exact.values(mdp, np.eye(3)[[*choice, 0]], gamma) for choice in itertools.product(range(3), repeat=3)]
    best = exact.optimum(mdp, gamma)
    np.testing.assert_allclose(best.values, np.max(every, axis=0), atol=1e-10)
    np.testing.assert_allclose(best.action_values.max(-1), best.values, atol=1e-10)
    np.testing.assert_allclose(exact.values(mdp, best.policy, gamma), best.values, atol=1e-12)


def test_without_a_discount_the_optimum_comes_to_an_end() -> None:
    # 0 and 1 may go in circles or end; the end pays 1, so circles look as good at every single step
    p = np.zeros((3, 2, 3))
    p[0, 0, 1] = p[1, 0, 0] = p[0, 1, 2] = p[1, 1, 2] = 1
    r = np.zeros((3, 2))
    r[:2, 1] = 1
    best = exact.optimum(MDP(p, r, [1, 0, 0], [0, 0, 1]))
    assert best.values.tolist() == [1, 1, 0] and exact.values(MDP(p, r, [1, 0, 0], [0, 0, 1]), best.policy)[0] == 1
    r[0, 0] = 0.1
    with pytest.raises(PlanError, match="going in circles pays; use gamma < 1"):
        exact.optimum(MDP(p, r, [1, 0, 0], [0, 0, 1]))
    with pytest.raises(PlanError, match="state 0 leads to no end"):
        exact.optimum(MDP([[[1.0]]], [[1.0]], [1], [False]))


def test_a_time_limit_in_the_states() -> None:
    mdp, steps = random_mdp(3, states=3), 2
    every = []  # policies that may depend on the time: two states at two times
    for choice in itertools.product(range(2), repeat=4):
        late = exact.action_values(mdp, np.zeros(3))[[0, 1, 2], [*choice[2:], 0]]
        every.append(exact.action_values(mdp, late)[[0, 1], list(choice[:2])])
    best = exact.optimum(exact.unrolled(mdp, steps))
    np.testing.assert_allclose(best.values[:2], np.max(every, axis=0), atol=1e-12)
    policy = random_policy(mdp)
    unrolled = exact.unrolled(mdp, steps)
    assert exact.expected_return(unrolled, np.tile(policy, (3, 1))) == pytest.approx(exact.expected_return(mdp, policy, steps=2))


# ---------------------------------------------------------------- the best one that stays close
@pytest.mark.parametrize("gamma", [1.0, 0.9])
def test_the_soft_optimum_solves_its_equation_and_cannot_be_improved(gamma: float) -> None:
    mdp, beta = random_mdp(5, states=5, actions=3), 0.3
    ref = random_policy(mdp, 7)
    best = exact.soft_optimum(mdp, ref, beta, gamma)
    v = beta * np.log((ref * np.exp(best.action_values / beta)).sum(-1))
    np.testing.assert_allclose(best.values[:-1], v[:-1], atol=1e-12)
    np.testing.assert_allclose(exact.soft_values(mdp, best.policy, ref, beta, gamma), best.values, atol=1e-12)
    assert np.abs(exact.policy_gradient(mdp, best.policy, gamma, reference=ref, beta=beta)).max() < 1e-12
    for seed in range(20):
        assert (exact.soft_values(mdp, random_policy(mdp, seed), ref, beta, gamma) <= best.values + 1e-12).all()


def test_the_price_leads_from_the_optimum_to_the_reference() -> None:
    mdp = random_mdp(2)
    ref = random_policy(mdp)
    cheap, dear = exact.soft_optimum(mdp, ref, 1e-3), exact.soft_optimum(mdp, ref, 1e5)
    np.testing.assert_allclose(cheap.values, exact.optimum(mdp).values, atol=0.05)
    np.testing.assert_allclose(cheap.policy[:-1], exact.optimum(mdp).policy[:-1], atol=1e-6)
    np.testing.assert_allclose(dear.policy[:-1], ref[:-1], atol=1e-4)


def test_whole_trajectories_are_tilted_by_their_return() -> None:
    """Where the world is deterministic, pi*(trajectory) is ref(trajectory) exp(return / beta), normalised: the RLHF optimum."""
    rng = np.random.default_rng(0)
    p = np.zeros((8, 2, 8))  # a tree: 0 -> 1, 2 -> 3 .. 6, then the end
    for s in range(3):
        p[s, 0, 2 * s + 1] = p[s, 1, 2 * s + 2] = 1
    p[3:7, :, 7] = 1
    mdp = MDP(p, rng.normal(size=(8, 2)), np.eye(8)[0], np.arange(8) == 7)
    ref, every = random_policy(mdp), exact.trajectories(mdp, 3)
    tilted = every.probability(ref) * np.exp(every.rewards.sum(1) / 0.5)
    best = exact.soft_optimum(mdp, ref, 0.5)
    np.testing.assert_allclose(every.probability(best.policy), tilted / tilted.sum(), atol=1e-12)
    assert mdp.start @ best.values == pytest.approx(0.5 * np.log(tilted.sum()))


def test_what_has_no_soft_optimum() -> None:
    mdp = random_mdp()
    with pytest.raises(PlanError, match="beta must be above 0, got 0"):
        exact.soft_optimum(mdp, exact.uniform(mdp), 0)
    with pytest.raises(PlanError, match="takes action 1 in state 0, which the reference never takes"):
        exact.soft_values(mdp, exact.uniform(mdp), [[1, 0]] * 4, 0.1)
    circles = MDP([[[1, 0], [0, 1]], [[0, 0], [0, 0]]], [[5, 0], [0, 0]], [1, 0], [False, True])
    with pytest.raises(PlanError, match="no finite optimum"):
        exact.soft_optimum(circles, [[0.5, 0.5], [0.5, 0.5]], 1.0)


# ---------------------------------------------------------------- gradients
@pytest.mark.parametrize("gamma", [1.0, 0.7])
@pytest.mark.parametrize("beta", [0.0, 0.4])
def test_the_policy_gradient_is_that_of_finite_differences(gamma: float, beta: float) -> None:
    mdp = random_mdp(4, actions=3)
    logits, ref = np.random.default_rng(2).normal(size=(4, 3)), random_policy(mdp)

    def worth(x: np.ndarray) -> float:
        return float(mdp.start @ exact.soft_values(mdp, softmax(x), ref, beta, gamma))

    numeric, h = np.zeros_like(logits), 1e-5
    for place in np.ndindex(logits.shape):
        step = np.zeros_like(logits)
        step[place] = h
        numeric[place] = (worth(logits + step) - worth(logits - step)) / (2 * h)
    gradient = exact.policy_gradient(mdp, softmax(logits), gamma, reference=ref, beta=beta)
    np.testing.assert_allclose(gradient, numeric, atol=1e-9)


# ---------------------------------------------------------------- TD(lambda)
def every_step(mdp: MDP, policy: np.ndarray) -> tuple[exact.Trajectories, torch.Tensor, torch.Tensor]:
    """(all trajectories, [N] their probabilities, [N, T] bool)."""
    every = exact.trajectories(mdp, 4)
    assert every.terminated.all()
    inside = torch.arange(every.actions.shape[1]) < torch.from_numpy(every.length)[:, None]
    return every, torch.from_numpy(every.probability(policy)), inside


@pytest.mark.parametrize("gamma", [1.0, 0.9])
@pytest.mark.parametrize("lam", [0.0, 0.5, 1.0])
def test_td_lambda_returns_average_to_the_closed_form(gamma: float, lam: float) -> None:
    mdp = layered()
    policy, critic = random_policy(mdp), np.random.default_rng(3).normal(size=mdp.states)
    every, chance, inside = every_step(mdp, policy)
    states = torch.from_numpy(every.states)
    values = torch.from_numpy(critic)[states]  # nonsense behind the end must not be read
    got = td_lambda_returns(torch.from_numpy(every.rewards), values, inside, torch.from_numpy(every.terminated), gamma, lam)
    expected = exact.lambda_returns(mdp, policy, critic, gamma, lam)
    for s in range(mdp.states - 1):
        here = (states[:, :-1] == s) & inside
        weight = chance[:, None] * here
        assert float((weight * got).sum() / weight.sum()) == pytest.approx(expected[s], abs=1e-12)
    if lam == 1:
        np.testing.assert_allclose(expected, exact.values(mdp, policy, gamma), atol=1e-12)


def test_the_closed_form_has_the_values_as_its_fixed_point() -> None:
    mdp = random_mdp()
    policy = random_policy(mdp)
    v = exact.values(mdp, policy, 0.9)
    for lam in (0.0, 0.3, 1.0):
        np.testing.assert_allclose(exact.lambda_returns(mdp, policy, v, 0.9, lam), v, atol=1e-12)
    one_step = exact.lambda_returns(mdp, policy, np.ones(4), 0.9, 0.0)
    np.testing.assert_allclose(one_step[:-1], (policy * mdp.mean_rewards).sum(-1)[:-1] + 0.9 * 0.8, atol=1e-12)


@pytest.mark.parametrize("lam", [0.0, 0.5, 1.0])
def test_linear_td_rests_at_its_fixed_point(lam: float) -> None:
    """There the expected update, sum over steps of features * (lambda-return - value), is 0."""
    mdp = layered(1)
    policy = random_policy(mdp)
    tied = np.random.default_rng(0).normal(size=(mdp.states, 2))  # two features for six states: no perfect fit
    weights = exact.td_fixed_point(mdp, policy, tied, 0.9, lam)
    every, chance, inside = every_step(mdp, policy)
    states, phi = torch.from_numpy(every.states), torch.from_numpy(tied)
    values = (phi @ torch.from_numpy(weights))[states]
    target = td_lambda_returns(torch.from_numpy(every.rewards), values, inside, torch.from_numpy(every.terminated), 0.9, lam)
    error = torch.where(inside, target - values[:, :-1], 0.0)
    update = torch.einsum("n,nt,ntd->d", chance, error, phi[states[:, :-1]])
    assert update.abs().max() < 1e-12
    assert target[inside].std() > 0.1  # not for want of anything to learn


def test_the_fixed_point_depends_on_lambda_only_where_states_are_mixed_up() -> None:
    mdp = layered(1)
    policy = random_policy(mdp)
    apart = np.eye(mdp.states)[:, :-1]
    for lam in (0.0, 0.6, 1.0):
        np.testing.assert_allclose(
            exact.td_fixed_point(mdp, policy, apart, 0.9, lam), exact.values(mdp, policy, 0.9)[:-1], atol=1e-10
        )
    tied = np.ones((mdp.states, 1))
    assert abs(exact.td_fixed_point(mdp, policy, tied, 0.9, 0.0) - exact.td_fixed_point(mdp, policy, tied, 0.9, 1.0)) > 1e-3
    with pytest.raises(PlanError, match="do not determine their weights"):
        exact.td_fixed_point(mdp, policy, np.ones((mdp.states, 2)))
    with pytest.raises(PlanError, match="lam must be between 0 and 1"):
        exact.lambda_returns(mdp, policy, np.zeros(mdp.states), lam=2.0)


# ---------------------------------------------------------------- every trajectory
def test_every_trajectory_once() -> None:
    mdp = random_mdp(6)
    policy, every = random_policy(mdp), exact.trajectories(mdp, 3)
    chance = every.probability(policy)
    assert chance.sum() == pytest.approx(1)
    assert (chance * every.rewards.sum(1)).sum() == pytest.approx(exact.expected_return(mdp, policy, steps=3))
    assert len({(tuple(s), tuple(a)) for s, a in zip(every.states.tolist(), every.actions.tolist(), strict=True)}) == len(every)
    episodes = every.episodes()
    assert sum(len(e) for e in episodes) == every.length.sum() and len(episodes) == len(every)
    gains = torch.tensor([float(e.rewards.sum()) for e in episodes if e.rewards is not None], dtype=torch.float64)
    full = rewards_to_go(torch.from_numpy(every.rewards), torch.ones(len(every), 3, dtype=torch.bool))[:, 0]
    torch.testing.assert_close(gains, full)
    assert [e.terminated for e in episodes] == every.terminated.tolist()


def test_too_many_trajectories() -> None:
    with pytest.raises(PlanError, match="more than 200000; take fewer steps or a smaller world"):
        exact.trajectories(random_mdp(), 12)
    with pytest.raises(PlanError, match="steps must be at least 1"):
        exact.trajectories(random_mdp(), 0)
