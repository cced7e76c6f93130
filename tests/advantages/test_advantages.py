"""Advantages against numbers worked out by hand, closed forms and slow definitions."""

import functools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from guerdon.advantages import GAE, RLOO, BatchNorm, GroupNorm, PerPart, Remax, Returns, Whiten, gae, td_lambda_returns
from guerdon.core import Batch, PlanError, RewardOutput, Rollout, returns
from guerdon.testing import example_advantages, example_batch
from guerdon.transforms import NormaliseParts, TokenKL

NAN = float("nan")


@functools.cache
def example(seed, fail=0.25):
    return example_batch(seed, fail=fail)


def tiny(total, ok=None, group=None, mask=None, step=None, weight=None, info=None):
    total = torch.tensor(total, dtype=torch.double)
    n = len(total)
    mask = torch.tensor(mask) if mask is not None else torch.ones(n, 1, dtype=torch.bool)
    rollout = Rollout(
        [""] * n, [""] * n, torch.zeros(mask.shape), mask, torch.tensor(group or [0] * n), torch.arange(n), info=info or {}
    )
    ok = torch.tensor(ok or [True] * n)
    step = None if step is None else torch.tensor(step, dtype=torch.double)
    reward = RewardOutput(total, ok, ["" if k else "planted" for k in ok.tolist()], step)
    return Batch(rollout, reward, reward, weight=torch.tensor(weight or [1.0] * n, dtype=torch.double))


# ---------------------------------------------------------------- generalised advantage estimation
def test_gae_by_hand_with_a_hole():
    """Steps 0 and 2 are chosen; gamma = lam = 1/2."""
    r = torch.tensor([[1.0, 99.0, 2.0, NAN]], dtype=torch.double)
    v = torch.tensor([[0.5, 99.0, 1.0, 0.25, NAN]], dtype=torch.double)
    mask = torch.tensor([[True, False, True, False]])
    # the last step: 2 + 0.25/2 - 1 = 1.125 where cut off, 2 - 1 = 1 where it ended; the first: 1 + 1/2 - 0.5 = 1, plus a quarter
    assert gae(r, v, mask, torch.tensor([False]), 0.5, 0.5).tolist() == [[1.28125, 0.0, 1.125, 0.0]]
    assert gae(r, v, mask, torch.tensor([True]), 0.5, 0.5).tolist() == [[1.25, 0.0, 1.0, 0.0]]
    assert td_lambda_returns(r, v, mask, torch.tensor([True]), 0.5, 0.5).tolist() == [[1.75, 0.0, 2.0, 0.0]]


def slow_gae(r, v, mask, terminal, gamma, lam):
    """The definition, a double sum over each row's chosen steps."""
    out = torch.zeros_like(r)
    for b in range(len(r)):
        steps = mask[b].nonzero()[:, 0].tolist()
        if not steps:
            continue
        end = 0.0 if terminal[b] else float(v[b, steps[-1] + 1])
        values = [float(v[b, t]) for t in steps] + [end]
        deltas = [float(r[b, t]) + gamma * values[k + 1] - values[k] for k, t in enumerate(steps)]
        for k, t in enumerate(steps):
            out[b, t] = sum((gamma * lam) ** (j - k) * deltas[j] for j in range(k, len(steps)))
    return out


@settings(max_examples=30)
@given(seed=st.integers(0, 10_000), gamma=st.floats(0, 1), lam=st.floats(0, 1))
def test_gae_equals_its_definition(seed, gamma, lam):
    g = torch.Generator().manual_seed(seed)
    r, v = torch.randn(4, 6, generator=g, dtype=torch.double), torch.randn(4, 7, generator=g, dtype=torch.double)
    mask, terminal = torch.rand(4, 6, generator=g) < 0.6, torch.rand(4, generator=g) < 0.5
    advantage = gae(r, v, mask, terminal, gamma, lam)
    torch.testing.assert_close(advantage, slow_gae(r, v, mask, terminal, gamma, lam), rtol=1e-9, atol=1e-12)
    target = td_lambda_returns(r, v, mask, terminal, gamma, lam)
    torch.testing.assert_close(target - advantage, torch.where(mask, v[:, :-1], 0.0), rtol=1e-9, atol=1e-12)


@settings(max_examples=30)
@given(seed=st.integers(0, 10_000), gamma=st.floats(0, 1), lam=st.floats(0, 1))
def test_td_lambda_equals_its_recursion(seed, gamma, lam):
    g = torch.Generator().manual_seed(seed)
    r, v = torch.randn(1, 5, generator=g, dtype=torch.double), torch.randn(1, 6, generator=g, dtype=torch.double)
    expected, later = [0.0] * 5, float(v[0, 5])
    for t in range(4, -1, -1):
        later = float(r[0, t]) + gamma * ((1 - lam) * float(v[0, t + 1]) + lam * later)
        expected[t] = later
    found = td_lambda_returns(r, v, torch.ones(1, 5, dtype=torch.bool), torch.tensor([False]), gamma, lam)
    assert found[0].tolist() == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_gae_with_lambda_one_is_return_minus_value(seed):
    batch = example(seed)
    batch = batch.replace(rollout=batch.rollout.replace(terminal=torch.ones(12, dtype=torch.bool)))
    value = torch.where(batch.rollout.mask & batch.reward.ok[:, None], batch.values["critic"][:, :-1], 0.0)
    torch.testing.assert_close(GAE(gamma=0.9, lam=1.0)(batch), Returns(gamma=0.9)(batch) - value)


def test_gae_reads_total_at_the_last_chosen_step():
    batch = tiny([4.0], mask=[[True, True, False]], step=[[1.0, 2.0, 50.0]])
    batch = batch.replace(values={"critic": torch.tensor([[0.5, 1.5, 7.0, 7.0]], dtype=torch.double)})
    assert GAE(gamma=1.0, lam=0.0)(batch).tolist() == [[2.0, 4.5, 0.0]]  # 1 + 1.5 - 0.5 and 2 + 4 - 1.5


def test_gae_bootstraps_from_the_state_it_was_cut_off_in():
    batch = tiny([0.0], mask=[[True, True, False]])
    batch = batch.replace(
        rollout=batch.rollout.replace(terminal=torch.tensor([False])),
        values={"critic": torch.tensor([[0.0, 0.0, 3.0, 9.0]], dtype=torch.double)},
    )
    assert GAE(gamma=1.0, lam=1.0)(batch).tolist() == [[3.0, 3.0, 0.0]]


# ---------------------------------------------------------------- baselines from other rows
@pytest.mark.parametrize(
    ("advantage", "expected"),
    [
        (GroupNorm(std=False), [-2.0, -1.0, 3.0, 0.0]),
        (GroupNorm(eps=1e-15), [-2 / 7**0.5, -1 / 7**0.5, 3 / 7**0.5, 0.0]),
        (RLOO(), [-3.0, -1.5, 4.5, 0.0]),  # 1 - (2 + 6)/2, 2 - (1 + 6)/2, 6 - (1 + 2)/2
        (BatchNorm(std=False), [-4.0, -3.0, 1.0, 6.0]),
        (BatchNorm(eps=1e-15), [x / (62 / 3) ** 0.5 for x in (-4.0, -3.0, 1.0, 6.0)]),
        (Returns(), [1.0, 2.0, 6.0, 11.0]),
        (Remax(), [0.0, 0.5, 6.0, 0.0]),
        (Whiten(Returns(), eps=1e-15), [x / (62 / 3) ** 0.5 for x in (-4.0, -3.0, 1.0, 6.0)]),
        (Whiten(Returns(), shift=False, eps=1e-15), [x / (62 / 3) ** 0.5 for x in (1.0, 2.0, 6.0, 11.0)]),
    ],
    ids=lambda x: str(x)[:40],
)
def test_hand_computed(advantage, expected):
    """Returns 1, 2, 6 in one group, 11 alone in another, and a failed row that nobody may see."""
    info = {"baseline": [1.0, 1.5, 0.0, None, 3.0]}
    batch = tiny([1, 2, 6, 11, NAN], ok=[True] * 4 + [False], group=[7, 7, 7, 9, 7], info=info)
    assert advantage(batch)[:, 0].tolist() == pytest.approx([*expected, 0.0], rel=1e-9, abs=1e-12)


def test_dense_rewards_count_in_returns():
    batch = tiny([1, 2], mask=[[True, False, True]] * 2, step=[[0.5, 99.0, 0.5], [0.0, 99.0, 1.0]])
    assert returns(batch).tolist() == [2.0, 3.0]
    assert RLOO()(batch).tolist() == [[-1.0, 0.0, -1.0], [1.0, 0.0, 1.0]]
    assert Returns(gamma=0.5)(batch).tolist() == [[0.5 + 0.75, 0.0, 1.5], [1.5, 0.0, 3.0]]


@settings(max_examples=20)
@given(seed=st.integers(0, 30))
def test_rloo_is_leave_one_out_and_n_over_n_minus_one_of_centred(seed):
    batch = example(seed)
    total, ok, group = returns(batch), batch.reward.ok, batch.rollout.group
    first = batch.rollout.mask.int().argmax(1)
    found = RLOO()(batch)[torch.arange(12), first]
    centred = GroupNorm(std=False)(batch)[torch.arange(12), first]
    for i in range(12):
        others = ok & (group == group[i]) & (torch.arange(12) != i)
        n = int(others.sum()) + 1
        expected = float(total[i] - total[others].mean()) if ok[i] and n > 1 else 0.0
        assert float(found[i]) == pytest.approx(expected, abs=1e-12)
        assert float(found[i]) == pytest.approx(n / max(n - 1, 1) * float(centred[i]), abs=1e-12)


@pytest.mark.parametrize("advantage", [GroupNorm(), GroupNorm(std=False), RLOO()])
def test_groups_of_one_and_equal_groups_teach_nothing(advantage):
    lonely = tiny([5, 1, 2], ok=[True, False, True], group=[1, 1, 2])
    assert advantage(lonely).tolist() == [[0.0]] * 3
    equal = tiny([0.1, 0.1, 0.1], group=[4, 4, 4])
    assert advantage(equal).tolist() == [[0.0]] * 3


def test_group_deviation_is_the_one_trl_uses():
    pytest.importorskip("trl")
    from trl.trainer.utils import nanstd

    batch = example(3, 0.0)
    total = returns(batch).reshape(3, 4)
    expected = (total - total.mean(1, keepdim=True)) / (nanstd(total, dim=1, keepdim=True) + 1e-4)
    found = GroupNorm()(batch).abs().amax(1) * GroupNorm()(batch).sum(1).sign()
    torch.testing.assert_close(found.reshape(3, 4), expected)


def test_trained_only_asks_the_rows_that_are_trained_on():
    batch = tiny([1, 2, 6, 10], weight=[1.0, 0.0, 1.0, 0.0])
    assert GroupNorm(std=False, trained_only=True)(batch)[:, 0].tolist() == [-2.5, 0.0, 2.5, 0.0]
    assert RLOO(trained_only=True)(batch)[:, 0].tolist() == [-5.0, 0.0, 5.0, 0.0]
    assert BatchNorm(std=False, trained_only=True)(batch)[:, 0].tolist() == [-2.5, 0.0, 2.5, 0.0]
    assert Whiten(Returns(), eps=1e-15, trained_only=True)(batch)[:, 0].tolist() == pytest.approx([-(0.5**0.5), 0, 0.5**0.5, 0])
    assert GroupNorm(std=False)(batch)[:, 0].tolist() == [-3.75, -2.75, 1.25, 5.25]


def test_reinforce_plus_plus_is_whitened_returns_of_the_kl_penalised_reward():
    batch = example(2, 0.0)
    shaped = batch.replace(reward=TokenKL(0.5).apply(None, batch.replace(reward=batch.reward.replace(step=None)))[1])
    kl = batch.rollout.logp - batch.refs["reference"].logp
    mask = batch.rollout.mask
    to_go = torch.stack([kl[:, t:].sum(1) for t in range(8)], 1)
    raw = (batch.reward.total[:, None] - 0.5 * to_go)[mask]
    torch.testing.assert_close(Whiten(Returns(), eps=1e-15)(shaped)[mask], (raw - raw.mean()) / raw.std())


def test_whiten_has_mean_zero_and_deviation_one():
    batch = example(1)
    chosen = batch.rollout.mask & batch.reward.ok[:, None]
    white = Whiten(GAE(gamma=0.9))(batch)
    assert float(white[chosen].mean()) == pytest.approx(0, abs=1e-12)
    assert float(white[chosen].std()) == pytest.approx(1, rel=1e-6)
    assert Whiten(GroupNorm())(tiny([3.0, 3.0])).tolist() == [[0.0], [0.0]]


def test_per_part_agrees_with_normalised_parts():
    batch = example(4)
    weights = {"quality": 1.0, "correct": 0.5}
    shaped = NormaliseParts(weights).apply(None, batch)[1]
    expected = torch.where(batch.rollout.mask, shaped.total[:, None], 0.0)
    torch.testing.assert_close(PerPart(GroupNorm(), weights)(batch), expected)


def test_per_part_takes_step_parts_as_dense_rewards():
    batch = example(4)
    dense = batch.replace(reward=batch.reward.replace(total=batch.reward.total * 0, step=batch.reward.parts["fluency"]))
    torch.testing.assert_close(PerPart(Returns(0.9), {"fluency": 2.0})(batch), 2 * Returns(0.9)(dense))


def test_remax_reads_tensors_and_lists_and_survives_missing_baselines():
    for column in (torch.tensor([1.0, NAN, 5.0]), [1.0, None, 5]):
        batch = tiny([3, 3, 3], info={"baseline": column})
        assert Remax()(batch)[:, 0].tolist() == [2.0, 0.0, -2.0]
    with pytest.raises(PlanError, match="did you mean 'baseline'"):
        Remax("base_line")(tiny([1], info={"baseline": [1.0]}))


# ---------------------------------------------------------------- promises of all
@pytest.mark.parametrize("name", example_advantages())
@settings(max_examples=6)
@given(seed=st.integers(0, 10))
def test_zero_where_nothing_is_to_be_learnt_and_blind_to_failed_rows(name, seed):
    batch, advantage = example(seed), example_advantages()[name]
    dead = ~batch.reward.ok
    r = batch.reward
    poisoned = batch.replace(
        reward=r.replace(
            total=torch.where(dead, NAN, r.total), step=torch.where(dead[:, None], NAN, r.step),
            parts={k: torch.where(dead.reshape(-1, *[1] * (v.dim() - 1)), NAN, v) for k, v in r.parts.items()},
        ),
        values={k: torch.where(dead[:, None], NAN, v) for k, v in batch.values.items()},
    )  # fmt: skip
    found = advantage(batch)
    assert torch.equal(found, advantage(poisoned))
    assert not found[~batch.rollout.mask].any()
    assert not found[dead].any()
    assert found.any()
    assert not found.requires_grad


@pytest.mark.parametrize("name", example_advantages())
def test_single_precision_agrees_with_double(name):
    batch, advantage = example(1), example_advantages()[name]
    single = example_batch(1, dtype=torch.float32)
    found = advantage(single)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), advantage(batch), rtol=1e-4, atol=1e-4)


def test_nonsense_is_refused():
    for make in (
        lambda: GAE(gamma=1.1), lambda: GAE(lam=-0.1), lambda: Returns(gamma=2.0), lambda: GroupNorm(eps=0.0),
        lambda: BatchNorm(eps=-1.0), lambda: Whiten(RLOO(), eps=0.0), lambda: PerPart(RLOO(), {}),
        lambda: PerPart(RLOO(), {"a": NAN}),
    ):  # fmt: skip
        with pytest.raises(PlanError):
            make()
    with pytest.raises(PlanError, match="did you mean 'critic'"):
        GAE(critic="critik")(example(0))
    with pytest.raises(PlanError, match="did you mean 'quality'"):
        PerPart(RLOO(), {"qualty": 1.0})(example(0))


def test_needs():
    assert GAE().needs == {"reward", "values"}
    assert Whiten(GAE(critic="other")).needs == {"reward", "values"}
    assert Whiten(GAE(critic="other")).critic == "other"
    assert GroupNorm().needs == {"reward"}
