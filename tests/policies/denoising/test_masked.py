"""Masked diffusion: exact log-probs, its bound, given tokens, and what a walk may do with it."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from guerdon import objectives, rewards, samplers
from guerdon.core import DataError, Items, PlanError, Streams
from guerdon.policies import (
    Ancestral,
    ByConfidence,
    Edits,
    Fill,
    Greedy,
    Labels,
    MaskedDiffusion,
    RandomOrder,
    TokenMLP,
    TokenTable,
    TokenTransformer,
    Words,
)
from guerdon.run import Plan, Prompts, Train, lazy
from guerdon.testing import check_policy

STREAMS = Streams(3)
L, V = 3, 2
KERNELS = [Ancestral(), RandomOrder(), ByConfidence(0.1)]


def tiny(kernel: Any = Ancestral(), steps: int = 3, **parts: Any) -> MaskedDiffusion:
    return MaskedDiffusion.of(L, V, network=TokenTable(1.0), kernel=kernel, steps=steps, seed=1, dtype="float64", **parts)


def step(policy: MaskedDiffusion, state: Any, level: int, n: int = 1, **how: Any) -> Any:
    rows = torch.tensor(state).expand(n, -1)
    settings = policy.how.changed("test", **how)
    with torch.no_grad():
        return policy.proposal(rows, torch.full((n,), level), policy.ask([None] * n, settings), settings)


def all_states(length: int = L) -> Tensor:
    return torch.tensor(list(itertools.product(range(V + 1), repeat=length)))


# ---------------------------------------------------------------- log-probs
def test_probabilities_by_hand() -> None:
    """Two positions, two tokens, logits 0, two steps: the first reveals half of what is masked."""
    after = torch.tensor([[0, 2], [0, 1], [2, 2], [1, 1]])
    expected = {
        Ancestral(): [
            1 / 2 * 1 / 2 * 1 / 2,
            1 / 2 * 1 / 2 * 1 / 4,
            1 / 4,
            1 / 16,
        ],  # shown, hidden, one token; both and two; none
        RandomOrder(): [1 / 2 * 1 / 2, 0, 0, 0],  # one of two positions, one of two tokens
    }
    for kernel, chances in expected.items():
        policy = MaskedDiffusion.of(2, 2, network=TokenTable(), kernel=kernel, steps=2, dtype="float64")
        assert step(policy, [2, 2], 0, 4).logp(after).exp().tolist() == pytest.approx(chances, abs=1e-15)
        last = step(policy, [0, 2], 1, 4).logp(torch.tensor([[0, 0], [0, 1], [0, 2], [1, 0]]))
        assert last.exp().tolist() == [0.5, 0.5, 0, 0]  # all is revealed, and what was given stays


def test_confidence_by_hand() -> None:
    """Largest probabilities 0.9 and 0.6: at temperature 1 the first position comes first in 0.9 of 1.5 cases."""
    policy = MaskedDiffusion.of(2, 2, network=TokenTable(), kernel=ByConfidence(1.0), steps=2, dtype="float64")
    with torch.no_grad():
        policy.network.logits[policy.network.state(torch.tensor([2, 2]))] = torch.tensor([[0.9, 0.1], [0.4, 0.6]]).double().log()
    found = step(policy, [2, 2], 0, 3).logp(torch.tensor([[0, 2], [1, 2], [2, 0]])).exp()
    assert found.tolist() == pytest.approx([0.6 * 0.9, 0.6 * 0.1, 0.4 * 0.4], abs=1e-7)


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda k: type(k).__name__)
@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_every_step_is_a_distribution_with_its_entropy(kernel: Any, temperature: float) -> None:
    policy, every = tiny(kernel), all_states()
    for level, state in itertools.product(range(3), every.tolist()):
        masked = state.count(V)
        if isinstance(kernel, ByConfidence) and masked > 3 - level:
            continue  # more than one is due: it refuses
        proposal = step(policy, state, level, len(every), temperature=temperature)
        logp = proposal.logp(every)
        if not masked:
            assert not proposal.chosen.any() and not logp.any() and not proposal.entropy().any()
            continue
        assert float(logp.exp().sum()) == pytest.approx(1, abs=1e-12)
        entropy = -(logp.exp() * logp.clamp(min=-1e9)).sum()
        assert proposal.entropy()[0].item() == pytest.approx(entropy.item(), abs=1e-12)


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda k: type(k).__name__)
def test_draws_come_as_often_as_their_log_probs_say(kernel: Any) -> None:
    n, every = 4000, all_states()
    proposal = step(tiny(kernel), [V, V, V], 0, n, temperature=0.8)
    drawn = proposal.draw(STREAMS("noise", STREAMS.uids(n)), 0)
    place = (every[None] == drawn[:, None]).all(2).long().argmax(1)
    seen = place.bincount(minlength=len(every)) / n
    chance = step(tiny(kernel), [V, V, V], 0, len(every), temperature=0.8).logp(every).exp()
    assert ((seen - chance).abs() <= 5 * (chance * (1 - chance) / n).sqrt()).all()


@pytest.mark.parametrize("network", [TokenMLP((8,)), TokenTransformer(8, 1, 2)], ids=["mlp", "transformer"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_networks_replay_what_they_sampled(network: Any, dtype: Any) -> None:
    policy = MaskedDiffusion.of(5, "ACGT", network=network, condition=Labels(3, 4), steps=4, guidance=1.5, dtype=dtype)
    items = Items([0, Fill("A??T?", 2), 1], STREAMS.uids(3))
    assert check_policy(policy, items, n=2) <= (1e-9 if dtype == "float64" else 1e-5)
    assert check_policy(policy, items, n=2, temperature=0.6, window=(1, 2), kernel=RandomOrder()) <= 1e-5
    hidden = policy(policy.sample(items, streams=STREAMS), want=("hidden",)).hidden
    assert hidden.shape == (3, 4, policy.width)


def test_guidance_contrasts_logits() -> None:
    policy = MaskedDiffusion.of(2, 2, network=TokenMLP((4,)), condition=Labels(2, 3), steps=2, guidance=3.0, dtype="float64")
    state, level = torch.tensor([[2, 2]]), torch.zeros(1, dtype=torch.long)
    asked = policy.ask([1], policy.how)
    said, alone = (policy.network(state, torch.ones(1), told) for told in (asked.given, asked.nothing))
    expected = (alone + 3 * (said - alone)).log_softmax(-1)
    torch.testing.assert_close(policy.proposal(state, level, asked, policy.how).tokens, expected)


def test_what_is_recorded() -> None:
    policy, items = tiny(temperature=0.9), Items([None], STREAMS.uids(1))
    rollout = policy.sample(items, 4, streams=STREAMS, temperature=0.5, kernel=RandomOrder())
    assert rollout.behaviour[0].temperature == 0.5 and dict(rollout.behaviour[0].extra)["kernel"] == RandomOrder()
    assert rollout.actions.data_ptr() == rollout.states[:, 1:].data_ptr() and rollout.states.dtype == torch.long
    policy.dims = "mean"
    mean = policy.sample(items, 4, streams=STREAMS, temperature=0.5, kernel=RandomOrder())
    assert torch.equal(mean.actions, rollout.actions) and mean.behaviour[0].dims == "mean"
    torch.testing.assert_close(mean.logp * L, rollout.logp)
    torch.testing.assert_close(policy(rollout).logp, rollout.logp)  # read as it was written


def test_a_step_that_finds_nothing_masked_chose_nothing() -> None:
    policy = tiny(Ancestral(), 6)
    rollout = policy.sample(Items([None], STREAMS.uids(1)), 64, streams=STREAMS)
    left = (rollout.states[:, :-1] == V).any(2)
    assert torch.equal(rollout.mask, left) and not left[:, -1].all() and left[:, 0].all()
    assert not (rollout.outputs == V).any()
    one_by_one = policy.sample(Items([None], STREAMS.uids(1)), 2, streams=STREAMS, kernel=RandomOrder())
    assert one_by_one.mask.tolist() == [[True, True, True, False, False, False]] * 2


def test_without_chance_and_at_temperature_0() -> None:
    policy, items = tiny(), Items([None], STREAMS.uids(1))
    still = policy.sample(items, 3, streams=STREAMS, deterministic=True)
    assert not still.mask.any() and not still.logp.any() and len(still.outputs.unique(dim=0)) == 1
    sure = policy.sample(items, 32, streams=STREAMS, temperature=0.0, kernel=RandomOrder())
    likeliest = [step(policy, s.tolist(), 0).clean[0] for s in sure.states[:, 0]]
    shown = sure.states[:, 1] != V
    assert torch.equal(sure.states[:, 1][shown], torch.stack(likeliest)[shown])
    torch.testing.assert_close(policy(sure).logp, sure.logp)
    assert (sure.logp < 0).any()  # log-probs are those of temperature 1
    part = policy.sample(items, 4, streams=STREAMS, window=(1, 1))
    assert not part.mask[:, 0].any() and not part.mask[:, 2].any()


# ---------------------------------------------------------------- the bound
def bound_by_paths(policy: MaskedDiffusion, data: Tensor, kernel: Any) -> float:
    """E_q[log p(path) - log q(path)] over all ways from all masks to the data."""

    def go(state: Tensor, level: int) -> float:
        hidden = [i for i in range(L) if state[i] == V]
        if level == 3 or not hidden:
            return 0.0
        share, total = 1 / (3 - level), 0.0
        due = math.ceil(len(hidden) * share - 1e-9)
        for k in range(len(hidden) + 1):
            for shown in itertools.combinations(hidden, k):
                if isinstance(kernel, Ancestral) and not isinstance(kernel, RandomOrder):
                    q = share**k * (1 - share) ** (len(hidden) - k)
                else:
                    q = 1 / math.comb(len(hidden), due) if k == due else 0.0
                if q:
                    after = state.clone()
                    after[list(shown)] = data[list(shown)]
                    total += q * (
                        step(policy, state.tolist(), level).logp(after[None]).item() - math.log(q) + go(after, level + 1)
                    )
        return total

    return go(torch.full((L,), V), 0)


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda k: type(k).__name__)
def test_the_bound_is_unbiased_and_below_the_likelihood(kernel: Any) -> None:
    policy, n = tiny(kernel), 3000
    data = torch.tensor([0, 1, 0])
    exact = bound_by_paths(policy, data, kernel)
    items = Items([None] * n, STREAMS.uids(n))
    rollout = policy.rollout_from(items, data.expand(n, -1), streams=STREAMS, draws=2)
    with torch.no_grad():
        terms = policy(rollout).logp.sum(1)
    assert abs(terms.mean() - exact) < 4 * terms.std() / math.sqrt(n) < 0.2
    sampled = policy.sample(Items([None], STREAMS.uids(1)), n, streams=STREAMS)
    frequency = (sampled.outputs == data).all(1).double().mean()
    assert exact < frequency.log()


def test_rows_of_given_sequences() -> None:
    policy = tiny(train_steps=10)
    items = Items([None] * 4, torch.tensor([7, 7, 8, 8]))
    outputs = torch.tensor([[0, 0, 0], [1, 1, 1], [0, 1, 0], [1, 0, 1]])
    rollout = policy.rollout_from(items, outputs, streams=STREAMS, draws=5)
    hidden, level = rollout.states[:, :-1] == V, rollout.trace["level"]
    assert torch.equal(hidden[0], hidden[1]) and torch.equal(level[0], level[1])  # one comparison, one noise
    assert not torch.equal(hidden[0], hidden[2]) and int(level.max()) > 3
    assert torch.equal(torch.where(hidden, outputs[:, None], rollout.states[:, :-1]), outputs[:, None].expand(-1, 5, -1))
    simple = policy.rollout_from(items, outputs, streams=STREAMS, draws=5, weight="simple")
    share = 1 / (10 - level.double())  # (t - u) / t
    with torch.no_grad():
        torch.testing.assert_close(policy(rollout).logp, policy(simple).logp * share * 10)


# ---------------------------------------------------------------- given tokens
@pytest.mark.parametrize("kernel", KERNELS, ids=lambda k: type(k).__name__)
def test_what_is_given_stays(kernel: Any) -> None:
    policy = MaskedDiffusion.of(5, "ACGT", network=TokenMLP((8,)), kernel=kernel, steps=5)
    items = Items([Fill("A??T?"), Fill((-1, 2, 2, -1, -1)), None], STREAMS.uids(3))
    rollout = policy.sample(items, 3, streams=STREAMS)
    assert all(o[0] == "A" and o[3] == "T" for o in rollout.outputs[:3]) and all(o[1:3] == "GG" for o in rollout.outputs[3:6])
    given = policy.rollout_from(items, ["ACGTA", "AGGTA", "CCCCC"], streams=STREAMS, draws=8)
    assert not (given.states[0, :, [0, 3]] == 4).any() and not (given.states[1, :, 1:3] == 4).any()
    if kernel == RandomOrder():
        assert rollout.mask[:6].sum(1).tolist() == [3] * 6
        left = torch.tensor([3, 2, 1, 0, 0])  # less 3/5, 2/4 and 1/3 of one, rounded up
        assert torch.equal((given.states[0, :-1] == 4).sum(1), left[given.trace["level"][0]])


def test_the_walk_looks_ahead_and_goes_back() -> None:
    policy = MaskedDiffusion.of(4, "ACGT", network=TokenMLP((8,)), kernel=RandomOrder(), steps=4, dtype="float64")
    items = Items([None, Fill("GA??")], STREAMS.uids(2))
    walk = policy.begin(items, 2, streams=STREAMS)
    walk.advance()
    states = walk.candidates(3)
    assert states.shape == (4, 3, 4) and len(states.flatten(0, 1).unique(dim=0)) > 4
    seen = walk.foresee(states)
    assert [len(row) for row in seen] == [3] * 4 and all(len(text) == 4 and "?" not in text for row in seen for text in row)
    shown = states[0, 0] != 4
    assert [seen[0][0][i] for i in shown.nonzero()[:, 0]] == ["ACGT"[t] for t in states[0, 0][shown]]
    tree = walk.fork(2).finish()
    assert torch.equal(tree.states[0, :2], tree.states[1, :2]) and len(tree) == 8
    torch.testing.assert_close(policy(tree).logp, tree.logp)
    again = policy.sample(items, 2, streams=STREAMS, outputs=["ACGT", "GACC"], level=2)
    assert again.steps == 2 and ((again.states[:, 0] == 4).sum(1) <= 2).all() and again.outputs[2][:2] == "GA"
    torch.testing.assert_close(policy(again).logp, again.logp)


@pytest.mark.parametrize("network", [TokenTable(1.0), TokenMLP((4,)), TokenTransformer(4, 1, 1)], ids=lambda n: type(n).__name__)
def test_folders_and_plans_hold_all_of_it(network: Any, tmp_path: Path) -> None:
    plain = {"length": 3, "vocabulary": "AB", "kernel": ByConfidence(0.3), "steps": 4, "train_steps": 6, "temperature": 0.5}
    policy = MaskedDiffusion.of(**plain, network=network, seed=2)
    policy.save(tmp_path / "tokens")
    back = MaskedDiffusion.from_pretrained(str(tmp_path / "tokens"))
    items = Items([Fill("A??"), None], STREAMS.uids(2))
    rollout = policy.sample(items, 4, streams=STREAMS)
    assert back.sample(items, 4, streams=STREAMS).outputs == rollout.outputs and torch.equal(
        back(rollout).logp, policy(rollout).logp
    )
    assert (back.how, back.train_steps, back.weight) == (policy.how, 6, "elbo")
    plan = Plan(policy=lazy(MaskedDiffusion.of, **plain, network=network), source=Prompts(("",)), reward=rewards.Length(target=1),
                sampler=samplers.Group(controls={"kernel": RandomOrder()}), learners={"policy": Train(objectives.SFT())})  # fmt: skip
    tree = yaml.safe_load(yaml.safe_dump(plan.to_tree()))
    assert Plan.from_tree(tree) == plan


# ---------------------------------------------------------------- what does not fit
def test_what_does_not_fit_is_said_in_one_line() -> None:
    policy = MaskedDiffusion.of(4, "ACGT", network=TokenMLP((8,)), steps=2)
    one = Items([None], STREAMS.uids(1))
    for outputs, message in (
        (["ACGX"], "item 0: 'X' is not one of the characters 'ACGT'"),
        (["ACG"], r"item 0: expected 4 whole numbers, got torch.int64 of shape \(3,\)"),
        ([torch.tensor([0, 1, 2, 4])], "item 0: tokens reach from 0 to 4, expected 0 to 3"),
        ([torch.zeros(4)], "item 0: expected 4 whole numbers, got torch.float32"),
    ):
        with pytest.raises(DataError, match=message):
            policy.rollout_from(one, outputs, streams=STREAMS)
    with pytest.raises(DataError, match=r"context 0: 'Z' is not one of the characters 'ACGT\?'"):
        policy.sample(Items([Fill("Z???")], STREAMS.uids(1)), streams=STREAMS)
    with pytest.raises(DataError, match="expected 3 whole numbers, got the text 'AAA'"):
        tiny().rollout_from(one, ["AAA"], streams=STREAMS)
    with pytest.raises(PlanError, match="reveals one position a step, and 2 are due"):
        policy.sample(one, streams=STREAMS, kernel=ByConfidence())
    with pytest.raises(PlanError, match=r"kernel is 3; expected one such as Greedy\(\)"):
        policy.sample(one, streams=STREAMS, kernel=3)
    with pytest.raises(PlanError, match="temperature must be at least 0, got -1"):
        policy.sample(one, streams=STREAMS, temperature=-1)
    for wrong, message in (
        ({"length": 0, "vocabulary": 3}, "length must be at least 1"),
        ({"length": 3, "vocabulary": "AA"}, "characters of the vocabulary must differ"),
        ({"length": 3, "vocabulary": 1}, "at least 2 tokens"),
        ({"length": 9, "vocabulary": 9, "network": TokenTable()}, "too many for a table"),
        ({"length": 2, "vocabulary": 2, "network": TokenTable(), "condition": Labels(2)}, "TokenTable: it reads no condition"),
        (
            {"length": 2, "vocabulary": 2, "condition": Edits(Words(("a",)))},
            "gives pictures, which networks of tokens do not read",
        ),
    ):
        with pytest.raises(PlanError, match=message):
            MaskedDiffusion.of(**wrong)
    with pytest.raises(PlanError, match=r"TokenTransformer: .* heads divide width"):
        TokenTransformer(10, 1, 4)
    with pytest.raises(PlanError, match="ByConfidence: temperature must be above 0"):
        ByConfidence(0.0)
    assert Greedy().certain
