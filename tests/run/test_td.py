"""TD and Improve: exact on small MDPs, number by number with Stable-Baselines3, by hand, and through whole runs."""

import dataclasses
import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from guerdon import policies, rewards, samplers
from guerdon.core import PlanError, Rollout, Streams
from guerdon.core.world import Box, Discrete
from guerdon.run import (
    TD,
    AdamW,
    EntropyTarget,
    Evaluation,
    Expected,
    Fragments,
    Greedy,
    Improve,
    Plan,
    Prompts,
    Recorded,
    Replay,
    lazy,
    run,
)
from guerdon.worlds import MDP, GridWorld, Tabular
from guerdon.worlds.exact import action_values, optimum, soft_optimum, soft_values, uniform, values

LINEAR = policies.MLP(())
GAMMA = 0.9
UPDATES = 300

# Four states, the last one ends; every probability is a multiple of 1/4, so that four rows of each (s, a) are its exact law.
TRANSITIONS = [
    [[0.25, 0.5, 0.25, 0], [0, 0.25, 0.5, 0.25]],
    [[0.5, 0, 0.25, 0.25], [0.25, 0.75, 0, 0]],
    [[0, 0, 0.5, 0.5], [1, 0, 0, 0]],
    [[0, 0, 0, 0], [0, 0, 0, 0]],
]
REWARDS = [[0.3, -0.2], [1.0, 0.1], [-0.5, 0.6], [0, 0]]
WORLD = Tabular(TRANSITIONS, REWARDS, [1, 0, 0, 0], [False, False, False, True])


class Every:
    """A source that always answers with every transition, as often as it is likely."""

    def __init__(self, mdp: MDP) -> None:
        moves = [(s, a, t) for s in range(mdp.states) for a in range(mdp.actions) if not mdp.terminal[s]
                 for t in range(mdp.states) for _ in range(round(4 * mdp.transitions[s, a, t]))]  # fmt: skip
        s, a, t = (torch.tensor(c) for c in zip(*moves, strict=True))
        self.rows = given(torch.stack([s, t], 1), a, torch.tensor(mdp.mean_rewards)[s, a], torch.tensor(mdp.terminal)[t])

    def __len__(self) -> int:
        return len(self.rows)

    def sample(self, n: int, *, streams: Streams, policy: Any, steps: int = 1, gamma: float = 1.0) -> Rollout:
        return self.rows.replace(trace={**self.rows.trace, "discount": torch.full((len(self), 1), gamma, dtype=torch.float64)})


def given(states: Tensor, actions: Tensor, reward: Tensor, terminal: Tensor) -> Rollout:
    """One-step rows of states [N, 2, ...]."""
    n = len(states)
    return Rollout(range(n), range(n), actions[:, None], torch.ones(n, 1, dtype=torch.bool), torch.arange(n), torch.arange(n),
                   states=states, terminal=terminal, trace={"reward": reward[:, None]})  # fmt: skip


def pretend_run(policy: Any, source: Any = None, **more: Any) -> SimpleNamespace:
    return SimpleNamespace(streams=Streams(0), policy=policy, source=source, step=0, learners={}, critics={}, **more)


def table(network: Any, states: int = 4) -> np.ndarray:
    """[S, A] the smallest copy's values."""
    with torch.no_grad():
        return network.value(torch.arange(states)).amin(0).double().numpy()


def learned(learners: dict[str, Any], live: SimpleNamespace, updates: int) -> None:
    live.learners = learners
    for k in range(updates):
        for learner in learners.values():
            learner.update(SimpleNamespace(progress=k / updates), live)


def fast(updates: int = 1, **more: Any) -> dict[str, Any]:
    return {"gamma": GAMMA, "tau": 1.0, "updates": updates, "optim": AdamW(lr=0.2, decay="cosine"), **more}


@pytest.mark.parametrize("double", [True, False])
def test_greedy_backups_find_the_optimal_values(double: bool) -> None:
    policy = policies.Control.of(WORLD, body=LINEAR, head=policies.EpsilonGreedy(), dtype="float64")
    td = TD(of="policy", backup=Greedy(double=double), **fast()).build(policy)
    learned({"td": td}, pretend_run(policy, Every(WORLD.mdp)), UPDATES)
    assert np.abs(table(td.online)[:3] - optimum(WORLD.mdp, GAMMA).action_values[:3]).max() < 1e-4


@pytest.mark.parametrize("alpha", [0.0, 0.3])
def test_expected_backups_evaluate_the_policy(alpha: float) -> None:
    policy = policies.Control.of(WORLD, body=LINEAR, dtype="float64", seed=3)
    with torch.no_grad():
        policy.head.logits.weight.mul_(80)  # far from uniform
        pi = policy.head.log_probs(policy.features(torch.arange(4))).exp().numpy()
    assert 0.1 < np.abs(pi[:3] - 0.5).max() < 0.49
    critic = policies.ActionValue(LINEAR, copies=2).build(policy)
    td = TD(backup=Expected(alpha), **fast()).build(critic)
    learned({"td": td}, pretend_run(policy, Every(WORLD.mdp)), UPDATES)
    # Entropy as reward: KL to the uniform policy, plus log A a step.
    paid = MDP(TRANSITIONS, np.array(REWARDS) + alpha * math.log(2), WORLD.mdp.start, WORLD.mdp.terminal)
    v = values(WORLD.mdp, pi, GAMMA) if alpha == 0 else soft_values(paid, pi, uniform(paid), alpha, GAMMA)
    assert np.abs(table(td.online)[:3] - action_values(WORLD.mdp, v, GAMMA)[:3]).max() < 1e-4


def soft_answer(alpha: float) -> Any:
    """Optimum of return plus entropy, with the values of actions before that action's own entropy."""
    paid = MDP(TRANSITIONS, np.array(REWARDS) + alpha * math.log(2), WORLD.mdp.start, WORLD.mdp.terminal)
    best = soft_optimum(paid, uniform(paid), alpha, GAMMA)
    return best._replace(action_values=action_values(WORLD.mdp, best.values, GAMMA))


def test_soft_q_learning_finds_the_soft_optimum() -> None:
    policy = policies.Control.of(WORLD, body=LINEAR, head=policies.Boltzmann(alpha=0.3), dtype="float64")
    td = TD(of="policy", backup=Expected(0.3), **fast()).build(policy)
    learned({"td": td}, pretend_run(policy, Every(WORLD.mdp)), UPDATES)
    best = soft_answer(0.3)
    assert np.abs(table(td.online)[:3] - best.action_values[:3]).max() < 1e-4
    with torch.no_grad():
        pi = policy.head.log_probs(policy.features(torch.arange(3))).exp().numpy()
    assert np.abs(pi - best.policy[:3]).max() < 1e-4


def test_actor_and_critic_find_the_soft_optimum() -> None:
    """Discrete soft actor-critic at a fixed alpha, both learning at once."""
    policy = policies.Control.of(WORLD, body=LINEAR, dtype="float64")
    critic = policies.ActionValue(LINEAR, copies=2).build(policy)
    live = pretend_run(policy, Every(WORLD.mdp))
    live.critics = {"q": critic}
    actor = Improve(alpha=0.3, optim=AdamW(lr=0.2, decay="cosine")).build(policy)
    td = TD(backup=Expected("actor"), **fast()).build(critic)
    learned({"critic": td, "actor": actor}, live, UPDATES)
    best = soft_answer(0.3)
    with torch.no_grad():
        pi = policy.head.log_probs(policy.features(torch.arange(3))).exp().numpy()
    assert np.abs(pi - best.policy[:3]).max() < 1e-4
    assert np.abs(table(td.online)[:3] - best.action_values[:3]).max() < 1e-4


@pytest.mark.parametrize(
    ("head", "within"), [(policies.HLGauss(-2.0, 8.0, bins=51), 0.02), (policies.GaussianValue(), 1e-3)]
)  # fmt: skip
def test_other_value_heads_find_the_same_values(head: Any, within: float) -> None:
    """A histogram to a tenth of a bin (its bins are 0.196 wide); each head's mean is the mean of its targets."""
    policy = policies.Control.of(WORLD, body=LINEAR, head=policies.EpsilonGreedy(value=head), dtype="float64")
    td = TD(of="policy", backup=Greedy(), **fast()).build(policy)
    learned({"td": td}, pretend_run(policy, Every(WORLD.mdp)), 400)
    assert np.abs(table(td.online)[:3] - optimum(WORLD.mdp, GAMMA).action_values[:3]).max() < within


# -- by hand


class Fixed:
    """Values of two actions in numbered states that are written down."""

    discrete = True

    def __init__(self, *copies: list[list[float]]) -> None:
        self.q = torch.tensor(copies, dtype=torch.double)

    def value(self, states: Tensor, actions: Tensor | None = None) -> Tensor:
        return self.q[:, states]


def test_backups_by_hand() -> None:
    online, target = Fixed([[1.0, 2.0], [5.0, 4.0]]), Fixed([[3.0, 1.0], [0.0, 7.0]], [[2.0, 4.0], [6.0, 6.0]])
    states = torch.tensor([0, 1])
    policy = SimpleNamespace(
        features=lambda s: s, head=SimpleNamespace(log_probs=lambda _: torch.tensor([[0.25, 0.75], [0.5, 0.5]]).double().log())
    )
    # The smaller copies: [2, 1] and [0, 6]. DQN takes their largest; double DQN the online network's choice (1, then 0).
    ask = (states, policy, online, target, Streams(0), None)
    assert Greedy(double=False)(*ask).tolist() == [2.0, 6.0]
    assert Greedy(double=True)(*ask).tolist() == [1.0, 0.0]
    assert Expected()(*ask).tolist() == pytest.approx([0.25 * 2 + 0.75 * 1, 3.0])
    # Plus alpha times the entropy: 0.25 log 4 + 0.75 log 4/3 = 0.562335 and log 2.
    assert Expected(2.0)(*ask).tolist() == pytest.approx([1.25 + 2 * 0.562335, 3 + 2 * math.log(2)], abs=1e-5)


def test_what_ended_is_not_bootstrapped_and_what_was_cut_off_is() -> None:
    policy = policies.Control.of(WORLD, body=LINEAR, head=policies.EpsilonGreedy(), dtype="float64")
    td = TD(of="policy", gamma=0.5, backup=Greedy()).build(policy)
    with torch.no_grad():
        td.target.copies[0].head.logits.bias.fill_(4.0)  # every value of the copy is 4
        td.target.copies[0].head.logits.weight.zero_()
    rows = given(torch.tensor([[0, 1], [0, 1]]), torch.tensor([0, 0]), torch.tensor([1.0, 1.0]), torch.tensor([False, True]))
    source = SimpleNamespace(
        sample=lambda *_, gamma, **__: rows.replace(trace={**rows.trace, "discount": torch.full((2, 1), gamma)})
    )
    live = pretend_run(policy, source)
    assert td.target_of(td._draw(live, Streams(0)), live, Streams(0)).tolist() == [1 + 0.5 * 4, 1.0]


def test_the_copy_follows() -> None:
    for tau, every in ((0.25, 1), (1.0, 3)):
        policy = policies.Control.of(WORLD, body=LINEAR, head=policies.EpsilonGreedy(), dtype="float64")
        td = TD(of="policy", backup=Greedy(), tau=tau, target_every=every, optim=AdamW(lr=0.1)).build(policy)
        live, copy = pretend_run(policy, Every(WORLD.mdp)), td.target.copies[0].head.logits.weight
        own, expected = policy.head.logits.weight, policy.head.logits.weight.detach().clone()
        for k in range(1, 7):
            td.update(SimpleNamespace(progress=0.0), live)
            if k % every == 0:
                expected = (1 - tau) * expected + tau * own.detach()
            assert torch.allclose(copy, expected, atol=1e-12) and not torch.equal(copy, own) or (tau == 1 and k % 3 == 0)
        assert not copy.requires_grad


def test_epsilon_falls_as_the_run_goes_on() -> None:
    policy = policies.Control.of(WORLD, body=LINEAR, head=policies.EpsilonGreedy(0.1, fraction=0.5))
    td = TD(of="policy", backup=Greedy()).build(policy)
    seen = [
        td.update(SimpleNamespace(progress=p), pretend_run(policy, Every(WORLD.mdp)))["epsilon"] for p in (0.0, 0.25, 0.5, 0.9)
    ]
    assert seen == pytest.approx([1.0, 0.55, 0.1, 0.1])


class Pretend:
    """A world that is only looked at."""

    def __init__(self, action: Any, states: int = 3) -> None:
        self.observation, self.action = Box((states,)), action


BOX = Box((2,), (-2.0, 0.0), (2.0, 1.0))


def actor_and_critic(action: Any, head: Any = None, dtype: Any = "float64") -> tuple[Any, Any]:
    small = policies.MLP((5, 4), "relu")
    policy = policies.Control.of(Pretend(action), body=small, head=head, dtype=dtype)  # type: ignore[arg-type]
    critic = policies.ActionValue(small, copies=2).build(policy)
    with torch.no_grad():
        for p in [*policy.parameters(), *critic.parameters()]:
            p.copy_(0.5 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel()), dtype=p.dtype))
    return policy, critic


@pytest.mark.parametrize("action", [Discrete(3), BOX], ids=["discrete", "continuous"])
def test_the_actor_s_gradient_is_that_of_finite_differences(action: Any) -> None:
    policy, critic = actor_and_critic(action, policies.TanhGaussian() if action is BOX else None)
    actor = Improve(alpha=0.2).build(policy)
    states = torch.randn(7, 3, generator=torch.Generator().manual_seed(5))
    loss, _ = actor.loss(states, critic.estimator, Streams(1))
    gradients = torch.autograd.grad(loss, actor.parameters)
    checked = 0
    for parameter, gradient in zip(actor.parameters, gradients, strict=True):
        for place in range(0, parameter.numel(), 3):
            flat, h = parameter.data.view(-1), 1e-6
            before, ends = float(flat[place]), []
            for sign in (1, -1):
                flat[place] = before + sign * h
                ends.append(float(actor.loss(states, critic.estimator, Streams(1))[0].detach()))
            flat[place] = before
            assert (ends[0] - ends[1]) / (2 * h) == pytest.approx(float(gradient.view(-1)[place]), rel=1e-5, abs=1e-8)
            checked += 1
    assert checked > 20


def test_the_actor_leaves_the_critic_alone_and_alpha_seeks_its_entropy() -> None:
    policy, critic = actor_and_critic(Discrete(3))
    states = torch.randn(9, 2, 3)
    rows = given(states, torch.zeros(9, dtype=torch.long), torch.zeros(9), torch.zeros(9, dtype=torch.bool))
    rows = rows.replace(trace={**rows.trace, "discount": torch.ones(9, 1)})
    source = SimpleNamespace(sample=lambda *_, **__: rows, __len__=lambda: 9)
    live = pretend_run(policy, type("Nine", (), {"sample": source.sample, "__len__": lambda _: 9})())
    live.critics = {"q": critic}
    before = [p.detach().clone() for p in critic.parameters()]
    for entropy, up in ((1.09, True), (0.0, False)):  # more than it has, less than it has (of at most log 3)
        actor = Improve(alpha=EntropyTarget(entropy, initial=0.5, lr=0.1)).build(policy)
        assert actor.alpha == pytest.approx(0.5)
        actor.update(SimpleNamespace(progress=0.0), live)
        assert (actor.alpha > 0.5) == up
    assert all(p.grad is None and torch.equal(p, b) for p, b in zip(critic.parameters(), before, strict=True))


def test_default_entropies_are_those_of_the_papers() -> None:
    assert Improve().build(actor_and_critic(BOX, policies.TanhGaussian())[0]).target_entropy == -2.0
    assert Improve().build(actor_and_critic(Discrete(3))[0]).target_entropy == pytest.approx(0.98 * math.log(3))


# -- Stable-Baselines3

GOLDEN = Path(__file__).parent / "golden" / "sb3_sac.json"
OURS = {"latent_pi.0": "body.layers.0", "latent_pi.2": "body.layers.2", "mu": "head.mean", "log_std": "head.log_std",
        "0": "body.layers.0", "2": "body.layers.2", "4": "last"}  # fmt: skip


def named(part: dict[str, Any]) -> dict[str, Tensor]:
    """SB3's weights by our names."""
    out = {}
    for name, value in part.items():
        owner, _, kind = name.rpartition(".")
        if owner.startswith("qf"):
            copy, layer = owner[2:].split(".")
            owner = f"copies.{copy}.{OURS[layer]}"
        else:
            owner = OURS[owner]
        out[f"{owner}.{kind}"] = torch.tensor(value, dtype=torch.double)
    return out


def test_one_update_of_soft_actor_critic_is_that_of_stable_baselines3(monkeypatch: pytest.MonkeyPatch) -> None:
    """Critic target and loss, actor loss, alpha, and all weights after one step of Adam, number by number.

    SB3 computes in float32 and adds 1e-6 inside a logarithm, so that is how far they may be apart.
    """
    golden = json.loads(GOLDEN.read_text(encoding="utf8"))
    settings, data = golden["settings"], {k: torch.tensor(v, dtype=torch.double) for k, v in golden["batch"].items()}
    policy, critic = actor_and_critic(BOX, policies.TanhGaussian())
    td = TD(gamma=settings["gamma"], tau=settings["tau"], backup=Expected("actor"), optim=AdamW(lr=settings["lr"])).build(critic)
    alpha = EntropyTarget(settings["target_entropy"], initial=settings["alpha"], lr=settings["lr"])
    actor = Improve(alpha=alpha, optim=AdamW(lr=settings["lr"])).build(policy)
    networks = {"actor": policy, "critic": td.online, "target": td.target}
    for name, network in networks.items():
        network.load_state_dict(named(golden["before"][name]), strict=False)
    rows = given(
        torch.stack([data["states"], data["following"]], 1), data["actions"].atanh(), data["reward"], data["terminal"].bool()
    )
    rows = rows.replace(trace={**rows.trace, "discount": torch.full((6, 1), settings["gamma"])})
    live = pretend_run(policy, type("Six", (), {"sample": lambda *_, **__: rows, "__len__": lambda _: 6})())
    live.critics, live.learners = {"q": critic}, {"critic": td, "actor": actor}
    noises = {"guerdon.run.backups.noise_of": "next_noise", "guerdon.run.improve.noise_of": "noise"}
    for where, noise in noises.items():
        monkeypatch.setattr(where, lambda *_, noise=noise: data[noise])
    critic_figures = td.update(SimpleNamespace(progress=0.0), live)
    actor_figures = actor.update(SimpleNamespace(progress=0.0), live)
    logged = golden["logged"]
    assert critic_figures["loss"] == pytest.approx(logged["critic_loss"], rel=1e-5)
    assert actor_figures["loss"] == pytest.approx(logged["actor_loss"], rel=1e-4)
    entropy_loss = math.log(settings["alpha"]) * (actor_figures["entropy"] - settings["target_entropy"])
    assert entropy_loss == pytest.approx(logged["ent_coef_loss"], rel=1e-5)
    assert float(actor.log_alpha.detach()) == pytest.approx(golden["log_alpha_after"], abs=1e-6)
    for name, network in networks.items():
        after = dict(network.named_parameters())
        for parameter, value in named(golden["after"][name]).items():
            moved = (value - named(golden["before"][name])[parameter]).abs().max()
            assert float((after[parameter].detach() - value).abs().max()) < 2e-6, (name, parameter)
            assert moved > 1e-5 or name == "actor"  # the comparison is not one of weights that nothing moved


# -- plans

GRID = GridWorld("corridor")


def grid_plan(**changes: Any) -> Plan:
    plan = Plan(
        policy=lazy(policies.Control.of, world=GRID, body=LINEAR, head=policies.EpsilonGreedy(epsilon=0.2, fraction=0.5)),
        source=Replay(Fragments(GRID), capacity=3000),
        sampler=samplers.Group(contexts=8, n=1, controls={"steps": 8}),
        reward=rewards.Environment(),
        learners={"q": TD(of="policy", gamma=GAMMA, backup=Greedy(), batch=64, updates=8, tau=0.1, optim=AdamW(lr=0.02))},
        evaluation=Evaluation(samples=4, every=100, controls={"temperature": 0.0}),
        checks=(),
        steps=30,
        checkpoint_every=0,
    )
    return dataclasses.replace(plan, **changes)


def sac_plan(**changes: Any) -> Plan:
    return grid_plan(
        policy=lazy(policies.Control.of, world=GRID, body=LINEAR),
        critics={"q": policies.ActionValue(LINEAR)},
        learners={
            "critic": TD(backup=Expected("actor"), batch=16, updates=2),
            "actor": Improve(alpha=EntropyTarget(entropy=0.3), batch=16, updates=2),
        },
        **changes,
    )


@pytest.mark.parametrize("make", [grid_plan, sac_plan], ids=["dqn", "sac"])
def test_a_resumed_run_is_the_same_bit_for_bit(make: Any, tmp_path: Path) -> None:
    plan = make(steps=6, checkpoint_every=3, evaluation=None)
    whole = run(plan, tmp_path / "whole")
    half = dataclasses.replace(plan)
    run(half, tmp_path / "half")
    # Go back to the middle: forget what came after it.
    for step in (tmp_path / "half" / "checkpoints").iterdir():
        if step.name == "step-000006":
            for file in step.iterdir():
                file.unlink()
            step.rmdir()
    again = run(half, tmp_path / "half", resume_run=True)
    assert whole.history[3:] == again.history[3:]
    for a, b in zip(whole.policy.state_dict().values(), again.policy.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_offline_learning_from_a_file(tmp_path: Path) -> None:
    """From random walks alone: the values of all that was tried."""
    mdp, steps, generator = GRID.mdp, [], np.random.default_rng(0)
    for start in np.tile(np.arange(8), 12):
        s = int(start)
        for t in range(12):
            a = int(generator.integers(mdp.actions))
            after = int(generator.choice(mdp.states, p=mdp.transitions[s, a]))
            steps.append((s, a, float(mdp.mean_rewards[s, a]), bool(mdp.terminal[after]), t == 11))
            s = after
            if mdp.terminal[after]:
                break
    assert len({(s, a) for s, a, *_ in steps}) == 32  # everything, also the shortest way
    names = ("observations", "actions", "rewards", "terminals", "timeouts")
    np.savez(tmp_path / "walks.npz", **{n: np.array(c) for n, c in zip(names, zip(*steps, strict=True), strict=True)})
    td = TD(of="policy", gamma=GAMMA, backup=Greedy(), batch=128, updates=16, tau=0.1, optim=AdamW(lr=0.1, decay="cosine"))
    plan = grid_plan(source=Recorded(str(tmp_path / "walks.npz")), sampler=samplers.Given(contexts=1), reward=None, evaluation=None,
                     learners={"q": td})  # fmt: skip
    policy: Any = run(plan).policy
    assert np.abs(table(policy.head.estimator(policy), 8) - optimum(mdp, GAMMA).action_values[:8]).max() < 0.01


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"source": Prompts(("a",))}, "TD learns from transitions, and plan.source is Prompts: take run.Replay"),
        ({"learners": {"q": TD(backup=Expected("actr"))}, "critics": {"q": policies.ActionValue(LINEAR)}},
         "Expected: alpha names learner 'actr', and the plan has no run.Improve of that name"),
        ({"learners": {"q": Improve(critic="r")}, "critics": {"q": policies.ActionValue(LINEAR)}}, "Improve: no critic 'r'; "),
        ({"policy": lazy(policies.Control.of, world=GRID)}, "TD(of='policy'): the policy holds no action values"),
        ({"learners": {"v": TD(of="v")}, "critics": {"v": policies.StateValue()}},
         "TD(of='v'): this critic gives no values of actions; take policies.ActionValue"),
        ({"policy": lazy(policies.Control.of, world=GRID, body=policies.GRU(4), head=policies.EpsilonGreedy())},
         "TD reads transitions one by one, and this policy remembers"),
    ],
)  # fmt: skip
def test_plans_that_cannot_run_say_so_in_one_line(changes: dict[str, Any], line: str) -> None:
    with pytest.raises(PlanError) as e:
        run(grid_plan(**changes))
    assert str(e.value).startswith(line) and "\n" not in str(e.value)


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda: TD(gamma=1.5), "TD: gamma must be between 0 and 1, got 1.5"),
        (lambda: TD(tau=0.0), "TD: tau must be above 0 and at most 1, got 0.0"),
        (lambda: TD(batch=0), "TD: batch must be at least 1, got 0"),
        (lambda: TD(backup="max"), "TD: backup must be run.Expected or run.Greedy, got 'max'"),  # type: ignore[arg-type]
        (lambda: Expected(-1.0), "Expected: alpha must be at least 0, or the name of a run.Improve learner, got -1.0"),
        (lambda: Improve(of="q"), "Improve: it trains the policy, so of must be 'policy', got 'q'"),
        (lambda: Improve(alpha=-1.0), "Improve: alpha must be at least 0, or run.EntropyTarget, got -1.0"),
        (lambda: EntropyTarget(initial=0.0), "EntropyTarget: initial must be above 0 and lr at least 0, got 0.0 and 0.0003"),
    ],
)  # fmt: skip
def test_bad_settings(make: Any, line: str) -> None:
    with pytest.raises(PlanError) as e:
        make()
    assert str(e.value) == line


def test_vector_actions_cannot_be_compared() -> None:
    _, critic = actor_and_critic(BOX, policies.TanhGaussian())
    with pytest.raises(PlanError, match="it takes the best of numbered actions, and the actions are vectors"):
        TD(backup=Greedy()).build(critic)


def test_the_plan_survives_yaml() -> None:
    assert Plan.from_tree(sac_plan().to_tree()) == sac_plan()
    assert Plan.from_tree(grid_plan().to_tree()) == grid_plan()


def test_the_page_runs_and_solves_its_gridworld(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "off-policy.md"
    names: dict[str, Any] = {}
    for block in page.read_text(encoding="utf8").split("```python\n")[1:]:
        code = block.split("```")[0].replace("run(imitate)", "copied = run(imitate)")
        exec(code, names)
    assert [e["metrics"]["episode/return"] for e in names["result"].evaluations][::3] == [0.0, 1.0]
    solved, best = names["result"].policy, optimum(GRID.mdp, GAMMA)
    learned_values = table(solved.head.estimator(solved), 8)
    assert (learned_values.argmax(-1) == best.policy[:8].argmax(-1)).all()  # the shortest way, from everywhere
    assert abs(learned_values[0].max() - best.values[0]) < 0.1
    q = names["sac"]["critics"]["q"].build(names["result"].policy)  # what the second block names can be built
    assert len(q.estimator.copies) == 2
    policy = names["copied"].policy
    with torch.no_grad():
        chosen = policy.head.log_probs(policy.features(torch.arange(8))).argmax(-1)
    assert chosen.tolist() == [1] * 8
