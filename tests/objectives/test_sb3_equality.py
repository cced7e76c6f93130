"""PPO is Stable-Baselines3's: log-probs, values, advantages, losses and the weights after an update, by numbers it once gave.

``golden/sb3_peer.py`` made them: three lanes of twelve steps with episodes that end by themselves, episodes that are cut off, and
lanes that the horizon cuts; one update from the whole draw, and six from shuffled minibatches. And three whole iterations on
CartPole, with its random numbers in place of ours.
"""

import functools
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from guerdon.advantages import GAE, LambdaReturns
from guerdon.core import Batch, RewardOutput, Rollout, pad
from guerdon.core.persistent import Persistent
from guerdon.core.streams import Stream
from guerdon.core.world import Box, Discrete, Spaces
from guerdon.objectives import PolicyGradient, ValueLoss
from guerdon.policies import MLP, Control, StateValue
from guerdon.policies.control import _acting
from guerdon.rewards import Environment
from guerdon.run import AdamW, Fragments, Plan, Term, Train, run
from guerdon.samplers import Group
from guerdon.worlds import Gym

NAMES = {
    "policy.body.layers.0": "mlp_extractor.policy_net.0",
    "policy.head.logits": "action_net",
    "policy.head.mean": "action_net",
    "policy.head.log_std": "log_std",
    "critic.body.layers.0": "mlp_extractor.value_net.0",
    "critic.last": "value_net",
}
CASES = [
    (kind, case, dtype) for kind in ("discrete", "continuous") for case in ("one", "several") for dtype in ("float32", "float64")
]
TIGHT = {"float32": 1e-6, "float64": 1e-12}


@functools.cache
def golden(kind: str) -> dict:
    return json.loads((Path(__file__).parent / "golden" / f"sb3_{kind}.json").read_text(encoding="utf-8"))


def networks(g: dict, dtype: str, world=None, widths=(4, 5)):
    """Policy and critic with the peer's weights."""
    continuous = "log_std" in g["before"]
    world = world or Spaces(Box((3,)), Box((2,), -1.0, 1.0) if continuous else Discrete(3))
    policy = Control.of(world, body=MLP(widths[:1]), dtype=dtype)
    both = StateValue(body=MLP(widths[1:])).build(policy).with_policy(policy)
    with torch.no_grad():
        for name, p in both.named_parameters():
            p.copy_(torch.tensor(g["before"][theirs(name)], dtype=p.dtype))
    return policy, both.critic, both


def theirs(name: str) -> str:
    """The peer's name of a parameter."""
    stem, _, last = name.rpartition(".")
    return NAMES[name] if name in NAMES else f"{NAMES[stem]}.{last}"


def rows(g: dict, dtype: str) -> tuple[Rollout, Tensor]:
    """The lanes cut into episodes, in order of lanes and time; and [N, 2] the (step, lane) of each step in that order."""
    number = getattr(torch, dtype)
    seen, last, gain = (torch.tensor(g[k], dtype=number) for k in ("observations", "last", "rewards"))
    actions = torch.tensor(g["actions"])
    terminated, truncated = ({tuple(x) for x in g[k]} for k in ("terminated", "truncated"))
    steps, lanes = gain.shape
    pieces, places = [], []
    for lane in range(lanes):
        begin = 0
        for t in range(steps):
            over = (t, lane) in terminated | truncated
            if over or t + 1 == steps:
                final = last[t, lane] if over else seen[t + 1, lane]
                states = torch.cat([seen[begin : t + 1, lane], final[None]])
                pieces.append((states, actions[begin : t + 1, lane], gain[begin : t + 1, lane], (t, lane) in terminated))
                places += [(k, lane) for k in range(begin, t + 1)]
                begin = t + 1
    states, acted, paid, ended = zip(*pieces, strict=True)
    acted, mask = pad(list(acted))
    n = len(pieces)
    rollout = Rollout(
        [""] * n, [""] * n, acted, mask, torch.arange(n), torch.arange(n), states=pad(list(states))[0],
        terminal=torch.tensor(ended), trace={"reward": pad(list(paid))[0]},
    ).check()  # fmt: skip
    return rollout, torch.tensor(places)


def ppo(g: dict, epochs: int, minibatches: int) -> Train:
    return Train(
        (Term(PolicyGradient(clip=g["clip"], entropy=g["entropy"])), Term(ValueLoss(target="return"), weight=2 * g["value"])),
        AdamW(lr=g["lr"], eps=1e-5), of=("policy", "critic"), epochs=epochs, minibatches=minibatches, by="step", whiten=True,
        max_grad_norm=g["norm"],
    )  # fmt: skip


class Orders:
    """The peer's minibatches in place of our own random order."""

    def __init__(self, orders):
        self.orders, self.epoch = orders, 0

    def fork(self, *keys):
        self.epoch = keys[-1]
        return self

    def __call__(self, role):
        return self

    def permutation(self, n):
        order = torch.tensor(self.orders[self.epoch])
        assert len(order) == n
        return order


@pytest.mark.parametrize(("kind", "case", "dtype"), CASES)
def test_an_update_gives_the_same_weights(kind, case, dtype):
    g, tight = golden(kind), TIGHT[dtype]
    found = g["cases"][f"{case}.{dtype}"]
    policy, critic, both = networks(g, dtype)
    rollout, place = rows(g, dtype)
    mask = rollout.mask

    def same(ours: Tensor, name: str):
        expected = torch.tensor(found[name], dtype=ours.dtype)[place[:, 0], place[:, 1]]
        torch.testing.assert_close(ours.detach()[mask], expected, rtol=10 * tight, atol=10 * tight)

    logp = policy(rollout).logp.detach()
    same(logp, "log_probs")
    moved = torch.tensor(g["moved"], dtype=logp.dtype)[place[:, 0], place[:, 1]]
    rollout = rollout.replace(logp=logp.masked_scatter(mask, logp[mask] + moved))
    reward = RewardOutput.of(torch.zeros(len(rollout)), step=rollout.trace["reward"])
    batch = Batch.of(rollout, reward).replace(values={"critic": critic.values(rollout)})
    same(batch.values["critic"][:, :-1], "values")
    advantage = {"main": GAE(g["gamma"], g["lam"])(batch), "return": LambdaReturns(g["gamma"], g["lam"])(batch)}
    same(advantage["main"], "advantages")
    same(advantage["return"], "returns")

    learner = ppo(g, found["epochs"], int(mask.sum()) // found["batch"]).build(both)
    figures = learner.update(batch.replace(advantage=advantage), SimpleNamespace(streams=Orders(found["orders"]), step=0))

    losses = found["losses"]
    surrogate = losses["policy_gradient_loss"] + g["entropy"] * losses["entropy_loss"]
    assert figures["loss/policygradient"] == pytest.approx(surrogate, rel=1e-4 if dtype == "float32" else 1e-9)
    assert 2 * figures["loss/valueloss"] == pytest.approx(losses["value_loss"], rel=1e-4 if dtype == "float32" else 1e-9)
    assert figures["grad_norm"] > 2 * g["norm"]  # the bound on the joint norm was at work
    for name, p in both.named_parameters():
        torch.testing.assert_close(p.detach(), torch.tensor(found["after"][theirs(name)], dtype=p.dtype), rtol=0, atol=tight)
    furthest = max(float((p.detach() - torch.tensor(g["before"][theirs(n)])).abs().max()) for n, p in both.named_parameters())
    assert furthest > 0.9 * g["lr"]


@pytest.mark.parametrize("kind", ["discrete", "continuous"])
def test_the_problem_is_hard_enough(kind):
    """Ratios beyond both bounds; every kind of end; rewards large enough for a critic to be wrong."""
    g = golden(kind)
    ratio = (-torch.tensor(g["moved"])).exp()
    assert (ratio > 1 + g["clip"]).any()
    assert (ratio < 1 - g["clip"]).any()
    rollout, _ = rows(g, "float64")
    ends = {tuple(x) for x in g["terminated"]}
    assert int(rollout.terminal.sum()) == len(ends)
    assert int((~rollout.terminal).sum()) > len(g["truncated"])  # some rows the horizon cut
    orders = g["cases"]["several.float64"]["orders"]
    assert len(orders) == 2
    assert orders[0] != orders[1]


def test_whole_iterations_on_cartpole(monkeypatch):
    """The same actions in the same episodes, advantages and weights, draw after draw, by a run of a plan."""
    pytest.importorskip("gymnasium")
    g = golden("cartpole")
    iterations, width = g["iterations"], len(g["before"]["action_net.weight"][0])
    lanes, steps = len(iterations[0]["actions"]), g["steps"]
    world = Gym("CartPole-v1", limit=g["limit"])
    policy, critic, both = networks(g, "float32", world, (width, width))
    draws = iter(g["uniform"])
    orders = iter([o for i in iterations for o in i["orders"]])

    def at(self, t, chosen):
        self.table = next(draws) if t == 0 else self.table
        return torch.tensor(self.table[t], dtype=torch.double)[chosen, None]

    monkeypatch.setattr(_acting.Noise, "at", at)
    monkeypatch.setattr(Persistent, "_seeds", lambda self, slots: 1000 * slots + self.episode[slots])
    monkeypatch.setattr(Stream, "permutation", lambda self, n: torch.tensor(next(orders)))
    apart, ends = [], set()

    def look(batch, run):
        found, rollout = iterations[run.step - 1], batch.rollout
        acted = torch.tensor([[int(a) for a in lane] for lane in found["actions"]])
        assert rollout.actions[rollout.mask].tolist() == acted.flatten().tolist()
        expected = torch.tensor(found["advantages"]).T.flatten()
        torch.testing.assert_close(batch.advantage["main"][rollout.mask], expected, rtol=0, atol=1e-4)
        gaps = [(p.detach() - torch.tensor(found["after"][theirs(n)])).abs().max() for n, p in both.named_parameters()]
        apart.append(float(max(gaps)))
        over = rollout.info["length"] > 0
        ends.update(zip(over.tolist(), rollout.terminal.tolist(), strict=True))
        return ()

    run(
        Plan(
            policy=policy,
            source=Fragments(world),
            sampler=Group(contexts=lanes, n=1, controls={"steps": steps}),
            reward=Environment(),
            critics={"critic": SimpleNamespace(build=lambda policy: critic)},
            checks=(look,),
            advantage={"main": GAE(g["gamma"], g["lam"]), "return": LambdaReturns(g["gamma"], g["lam"])},
            learners={"policy": ppo(g, 2, 4)},
            steps=len(iterations),
            checkpoint_every=0,
        )
    )
    assert len(apart) == len(iterations)
    assert max(apart) < 1e-5
    assert ends == {(True, True), (True, False), (False, False)}  # episodes that ended, that were cut off, that go on
    moved = [(p.detach() - torch.tensor(g["before"][theirs(n)])).abs().max() for n, p in both.named_parameters()]
    assert min(moved) > 0.01
