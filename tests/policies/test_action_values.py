"""ActionValue and the heads that act on values: shapes, scaling, gradients, who owns what, and the contract of policies."""

from typing import Any

import pytest
import torch
from torch import nn

from guerdon import policies
from guerdon.core import Items, ModelError, PlanError, Rollout, Streams
from guerdon.core.world import Box, Discrete, Episode, Start
from guerdon.policies import MLP, ActionValue, Boltzmann, Control, EpsilonGreedy, HLGauss, TanhGaussian
from guerdon.testing import check_policy
from guerdon.worlds import GridWorld


class Pretend:
    """A world that is only looked at."""

    def __init__(self, observation: Any, action: Any) -> None:
        self.observation, self.action = observation, action


VECTOR, PIXELS = Box((3,)), Box((20, 20, 2), 0, 255, "uint8")
PLANE = Box((2,), (-2.0, 0.0), (2.0, 1.0))
SMALL, SEES = MLP((8,), "relu"), policies.CNN((4,), (5,), (3,), width=8)


def made(observation: Any, action: Any, spec: ActionValue, head: Any = None) -> tuple[Control, Any]:
    body = SEES if observation is PIXELS else SMALL
    policy = Control.of(Pretend(observation, action), body=body, head=head)  # type: ignore[arg-type]
    return policy, spec.build(policy)


def seen(observation: Any, n: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(n)
    if observation is PIXELS:
        return torch.randint(0, 256, (n, 20, 20, 2), generator=generator, dtype=torch.uint8)
    if isinstance(observation, Discrete):
        return torch.arange(n) % observation.n
    return torch.randn(n, 3, generator=generator)


@pytest.mark.parametrize("observation", [VECTOR, PIXELS, Discrete(5)], ids=["vector", "pixels", "numbers"])
@pytest.mark.parametrize("head", [policies.Scalar(), HLGauss(-3.0, 9.0, bins=7)], ids=["scalar", "histogram"])
def test_shapes_and_start(observation: Any, head: Any) -> None:
    body = SEES if observation is PIXELS else SMALL
    states = seen(observation, 5)
    _, critic = made(observation, Discrete(4), ActionValue(body, head, copies=3))
    q = critic.estimator
    assert q.raw(states).shape == (3, 5, 4, head.outputs) and q.value(states).shape == (3, 5, 4)
    chosen = torch.tensor([0, 3, 1, 2, 2])
    picked = q.value(states)[:, torch.arange(5), chosen]
    assert torch.allclose(q.value(states, chosen), picked, atol=1e-6)
    assert float(q.value(states).detach().abs().max()) < 0.2  # begins at about 0
    _, critic = made(observation, PLANE, ActionValue(body, head, copies=3), TanhGaussian())
    assert critic.estimator.raw(states, torch.zeros(5, 2)).shape == (3, 5, head.outputs)
    with pytest.raises(ValueError, match="the values of vector actions need an action"):
        critic.estimator.value(states)


def test_actions_are_scaled_by_the_box() -> None:
    """Bounded: the box becomes [-1, 1]; unbounded: as they are. The first layer shows it."""
    for box, action, expected in [(PLANE, [2.0, 0.25], [1.0, -0.5]), (Box((2,)), [2.0, 0.25], [2.0, 0.25])]:
        _, critic = made(VECTOR, box, ActionValue(MLP(()), copies=1), policies.Gaussian())
        copy = critic.estimator.copies[0]
        inputs: list[torch.Tensor] = []
        copy.last.register_forward_hook(lambda _, given, __, inputs=inputs: inputs.append(given[0]))
        critic.estimator.value(torch.zeros(1, 3), torch.tensor([action]))
        assert inputs[0][0, 3:].tolist() == expected


def test_copies_begin_apart_and_belong_to_the_critic_alone() -> None:
    policy, critic = made(VECTOR, Discrete(4), ActionValue(SMALL))
    one, two = critic.estimator.copies
    assert not torch.equal(one.body.layers[0].weight, two.body.layers[0].weight)
    assert not {id(p) for p in critic.parameters()} & {id(p) for p in policy.parameters()}
    assert not any("policy" in n for n in critic.state_dict())


def test_values_of_states_by_hand() -> None:
    """The policy's mean of the smaller copy: (0.25, 0.75) of min([1, 5], [3, 2]) = 0.25 + 1.5."""
    policy, critic = made(VECTOR, Discrete(2), ActionValue(MLP(()), copies=2))
    with torch.no_grad():
        for copy, bias in zip(critic.estimator.copies, ([1.0, 5.0], [3.0, 2.0]), strict=True):
            copy.last.weight.zero_()
            copy.last.bias.copy_(torch.tensor(bias))
        policy.head.logits.weight.zero_()
        policy.head.logits.bias.copy_(torch.tensor([0.25, 0.75]).log())
    episodes = [
        Episode(torch.zeros(n + 1, 3), torch.zeros(n, dtype=torch.long), terminated=ended) for n, ended in ((2, True), (1, False))
    ]
    rollout = policy.rollout_from(Items(["a", "b"], Streams(0).uids(2)), episodes, streams=Streams(0))
    assert torch.allclose(critic.values(rollout), torch.tensor([[1.75, 1.75, 0.0], [1.75, 1.75, 0.0]]))
    assert torch.equal(critic(rollout).value, critic.values(rollout))


def test_gradients_reach_the_action() -> None:
    _, critic = made(VECTOR, PLANE, ActionValue(SMALL), TanhGaussian())
    action = torch.tensor([[0.3, 0.4]], requires_grad=True)
    critic.estimator.value(torch.randn(1, 3), action).sum().backward()
    assert action.grad is not None and bool((action.grad != 0).all())


def test_bad_specs_are_one_line() -> None:
    with pytest.raises(PlanError, match="ActionValue: copies must be at least 1, got 0"):
        ActionValue(copies=0)
    with pytest.raises(PlanError, match="a recurrent body has nothing to remember"):
        ActionValue(policies.GRU(4))  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="ActionValue reads observations, and Linear has none"):
        ActionValue().build(nn.Linear(1, 1))  # type: ignore[arg-type]
    for make, line in [
        (lambda: EpsilonGreedy(epsilon=0.0), "EpsilonGreedy: epsilon must be above 0 and at most 1, got 0.0"),
        (lambda: EpsilonGreedy(fraction=2.0), "EpsilonGreedy: fraction must be between 0 and 1, got 2.0"),
        (lambda: Boltzmann(alpha=0.0), "Boltzmann: alpha must be above 0, got 0.0"),
    ]:
        with pytest.raises(PlanError) as e:
            make()
        assert str(e.value).startswith(line)
    with pytest.raises(PlanError, match="it compares numbered actions"):
        made(VECTOR, PLANE, ActionValue(), EpsilonGreedy())


# -- acting on values


def valued(head: Any, values: list[float]) -> Control:
    """A policy whose values are the same in every state."""
    policy = Control.of(Pretend(VECTOR, Discrete(len(values))), body=SMALL, head=head, dtype="float64")  # type: ignore[arg-type]
    with torch.no_grad():
        policy.head.logits.weight.zero_()
        policy.head.logits.bias.copy_(torch.tensor(values))
    return policy


def chances(policy: Control, temperature: float | None = None) -> list[float]:
    with torch.no_grad():
        return policy.head.log_probs(policy.features(torch.zeros(1, 3)), temperature)[0].exp().tolist()  # type: ignore[operator]


def test_probabilities_by_hand() -> None:
    # Half of the time any of three, otherwise the second.
    assert chances(valued(EpsilonGreedy(start=0.5), [1.0, 3.0, 2.0])) == pytest.approx([1 / 6, 4 / 6, 1 / 6])
    # exp(0), exp(4), exp(2) at alpha 0.5, over their sum 62.98721.
    assert chances(valued(Boltzmann(alpha=0.5), [1.0, 3.0, 2.0])) == pytest.approx([0.0158762, 0.8668133, 0.1173104], abs=1e-6)
    # A temperature of 2 divides logits: epsilon-greedy's are log-probs, so ratios of 4 become ratios of 2.
    assert chances(valued(EpsilonGreedy(start=0.5), [1.0, 3.0, 2.0]), 2.0) == pytest.approx([0.25, 0.5, 0.25])
    # Of equal values the first is the best.
    assert chances(valued(EpsilonGreedy(start=0.3), [1.0, 1.0, 1.0]))[0] == pytest.approx(0.8)


def test_the_estimator_is_the_policy_itself() -> None:
    policy = Control.of(
        Pretend(VECTOR, Discrete(3)),
        body=SMALL,
        head=EpsilonGreedy(value=HLGauss(-4.0, 4.0, bins=5)),  # type: ignore[arg-type]
    )
    q = policy.head.estimator(policy)  # type: ignore[operator]
    assert q.raw(torch.zeros(2, 3)).shape == (1, 2, 3, 5)
    assert {id(p) for p in q.parameters()} == {id(p) for p in policy.parameters()}


@pytest.mark.parametrize("head", [Boltzmann(alpha=0.05), Boltzmann(0.1, HLGauss(-1.0, 2.0, bins=11))])
def test_a_boltzmann_policy_is_a_policy(head: Boltzmann) -> None:
    world = GridWorld("corridor")
    items = Items([Start(world, k) for k in range(3)], Streams(0).uids(3))
    assert check_policy(Control.of(world, head=head), items, steps=12) < 1e-4


def test_an_epsilon_greedy_log_prob_replayed_is_the_sampled_one() -> None:
    world = GridWorld("corridor")
    policy = Control.of(world, head=EpsilonGreedy(start=0.4))
    items = Items([Start(world, k) for k in range(20)], Streams(0).uids(20))
    for temperature in (1.0, 0.5):
        rollout: Rollout = policy.sample(items, streams=Streams(1), steps=30, temperature=temperature)
        with torch.no_grad():
            assert float((policy(rollout).need("logp") - rollout.logp).abs().max()) < 1e-6
    rollout = policy.sample(items, streams=Streams(1), steps=30)
    assert rollout.states is not None
    with torch.no_grad():
        q = policy.head.estimator(policy).value(rollout.states[:, :-1][rollout.mask])[0]  # type: ignore[operator]
    greedy = (q.argmax(-1) == rollout.actions[rollout.mask]).double().mean()
    assert abs(float(greedy) - 0.7) < 3 * (0.7 * 0.3 / int(rollout.mask.sum())) ** 0.5  # 1 - 0.4 + 0.4 / 4
