"""Transforms against numbers worked out by hand, and their promises about failed rows and state."""

import functools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from guerdon.core import Batch, PlanError, PolicyOutput, RewardOutput, Rollout
from guerdon.testing import example_batch, example_transforms
from guerdon.transforms import (
    AdaptiveKL,
    Center,
    Chain,
    Clip,
    Gate,
    LengthPenalty,
    NormaliseParts,
    On,
    OverlongPenalty,
    Ramp,
    RunningNormalise,
    Scale,
    Sigmoid,
    Standardise,
    TokenKL,
    WeightedParts,
    chain,
    on,
)

NAN = float("nan")


def tiny(total, ok=None, group=None, lengths=None, parts=None, step=None, logp=None, reference=None, progress=0.0):
    """Rows with these rewards; row b has lengths[b] chosen steps of max(lengths)."""
    total = torch.tensor(total, dtype=torch.double)
    n = len(total)
    lengths = torch.tensor(lengths or [2] * n)
    mask = torch.arange(int(lengths.max())) < lengths[:, None]
    zero = torch.zeros(mask.shape, dtype=torch.double)
    rollout = Rollout(
        [""] * n, [""] * n, torch.zeros(mask.shape), mask, torch.tensor(group or [0] * n), torch.arange(n),
        logp=zero if logp is None else torch.tensor(logp, dtype=torch.double),
    )  # fmt: skip
    ok = torch.tensor(ok or [True] * n)
    reward = RewardOutput(
        total, ok, ["" if k else "planted" for k in ok.tolist()],
        None if step is None else torch.tensor(step, dtype=torch.double),
        {k: torch.tensor(v, dtype=torch.double) for k, v in (parts or {}).items()},
    )  # fmt: skip
    refs = {} if reference is None else {"reference": PolicyOutput(logp=torch.tensor(reference, dtype=torch.double))}
    return Batch(rollout, reward, reward, refs=refs, progress=progress)


@functools.cache
def failing_batch(seed):
    return example_batch(seed, fail=0.3)


def total(transform, batch):
    return transform.apply(transform.init(), batch)[1].total.tolist()


@pytest.mark.parametrize(
    ("transform", "expected"),
    [
        (Center(), [-3.0, -1.0, 4.0]),
        (Center(over="group"), [-1.0, 1.0, 0.0]),
        (Scale(-2.0), [-2.0, -6.0, -16.0]),
        (Ramp(1.0, 3.0), [1.5, 4.5, 12.0]),
        (Standardise(eps=1e-12), [-3 / 13**0.5, -1 / 13**0.5, 4 / 13**0.5]),
        (Standardise(over="group", eps=1e-12), [-(0.5**0.5), 0.5**0.5, 0.0]),
        (RunningNormalise(eps=1e-12, clip=1.0), [-3 / 13**0.5, -1 / 13**0.5, 1.0]),
        (Clip(lo=2.0, hi=5.0), [2.0, 3.0, 5.0]),
        (Clip(hi=2.0), [1.0, 2.0, 2.0]),
        (Sigmoid(scale=2.0, shift=3.0), [1 / (1 + math.exp(4)), 0.5, 1 / (1 + math.exp(-10))]),
        (LengthPenalty(0.5), [0.5, 2.0, 6.5]),
        (LengthPenalty(0.5, free=2), [1.0, 3.0, 7.5]),
        (OverlongPenalty(limit=3, buffer=2), [1.0, 2.5, 7.0]),
        (OverlongPenalty(limit=2, buffer=1, weight=4.0), [1.0, -1.0, 4.0]),
        (Gate("right", threshold=1.0, floor=-9.0), [1.0, -9.0, 8.0]),
        (WeightedParts({"right": 2.0, "style": -1.0}), [1.9, -0.2, 1.7]),
        (Chain((Center(), Clip(hi=0.5), Scale(2.0))), [-6.0, -2.0, 1.0]),
        (Chain(()), [1.0, 3.0, 8.0]),
    ],
    ids=lambda x: str(x)[:40],
)
def test_hand_computed(transform, expected):
    batch = tiny(
        [1, 3, 8], group=[0, 0, 1], lengths=[1, 2, 3], progress=0.25, parts={"right": [1, 0, 1], "style": [0.1, 0.2, 0.3]}
    )
    assert total(transform, batch) == pytest.approx(expected, rel=1e-9)


def test_normalise_parts_gives_every_part_the_same_voice():
    batch = tiny([0] * 4, group=[0, 0, 1, 1], parts={"a": [0, 1000, 0, 0], "b": [0.0, 0.001, 0.001, 0.0]})
    # a: -+1/sqrt(2) in the first group, nothing in the second; b: -+ and +-
    s = 0.5**0.5
    expected = [-3 * s, 3 * s, s, -s]
    assert total(NormaliseParts({"a": 2.0, "b": 1.0}, eps=1e-15), batch) == pytest.approx(expected, rel=1e-9)


def test_normalise_parts_leaves_lonely_rows_at_zero():
    batch = tiny([0] * 3, group=[0, 0, 1], ok=[True, False, True], parts={"a": [5.0, 1.0, 7.0]})
    assert total(NormaliseParts({"a": 1.0}), batch) == [0.0, 0.0, 0.0]


def test_token_kl_is_taken_from_steps():
    batch = tiny([1, 1], lengths=[2, 1], logp=[[-1.0, -2.0], [-1.0, NAN]], reference=[[-1.5, -1.0], [-3.0, NAN]])
    for estimator, f in (("k1", lambda x: x), ("k2", lambda x: x * x / 2), ("k3", lambda x: math.exp(-x) - 1 + x)):
        reward = TokenKL(0.5, estimator=estimator).apply(None, batch)[1]
        assert reward.total.tolist() == [1.0, 1.0]
        assert reward.ok.all()  # the NaN stands in padding
        expected = [[-0.5 * f(0.5), -0.5 * f(-1.0)], [-0.5 * f(2.0), 0.0]]
        assert reward.step.tolist() == [pytest.approx(row) for row in expected]


def test_token_kl_adds_to_what_is_there_and_sums_to_the_log_ratio():
    batch = example_batch(fail=0.0)
    reward = TokenKL(0.3).apply(None, batch)[1]
    log_ratio = (batch.rollout.logp - batch.refs["reference"].logp).sum(1)
    torch.testing.assert_close(reward.step.sum(1), batch.reward.step.sum(1) - 0.3 * log_ratio)


def test_adaptive_kl_seeks_its_target():
    far = tiny([0, 0], logp=[[-1, -1], [-1, -1]], reference=[[-3, -3], [-5, -5]])  # 4 and 8 nats: 6 on average
    near = tiny([0, 0], logp=[[-1, -1], [-1, -1]], reference=[[-1, -1.1], [-1, -1.1]])
    control = AdaptiveKL(target=2.0, horizon=10, init_beta=0.5)
    state, reward = control.apply(control.init(), far)
    assert reward.step.tolist() == [[-1.0, -1.0], [-2.0, -2.0]]  # the price from before the update
    assert state["beta"] == pytest.approx(0.5 * (1 + 0.2 * 2 / 10))  # error 2, cut to 0.2; two rows
    state, _ = control.apply(state, near)
    assert state["beta"] == pytest.approx(0.5 * 1.04 * (1 - 0.2 * 2 / 10))
    close = tiny([0], logp=[[-1, -1]], reference=[[-2.0, -2.2]])  # 2.2 nats: 10 % too far
    state, _ = control.apply({"beta": 1.0}, close)
    assert state["beta"] == pytest.approx(1 + 0.1 * 1 / 10)


def test_adaptive_kl_learns_nothing_from_failed_rows():
    batch = tiny([0, 0], ok=[True, False], logp=[[-1, -1], [NAN, -1]], reference=[[-2.0, -2.2], [-1, -1]])
    control = AdaptiveKL(target=2.0, horizon=10, init_beta=1.0)
    assert control.apply(control.init(), batch)[0]["beta"] == pytest.approx(1.01)
    nobody = batch[torch.tensor([1])]
    assert control.apply({"beta": 0.7}, nobody)[0] == {"beta": 0.7}


def test_running_normalise_equals_one_pass_over_everything():
    control, state, seen = RunningNormalise(), RunningNormalise().init(), []
    for seed in range(5):
        batch = example_batch(seed)
        state, reward = control.apply(state, batch)
        seen.append(batch.reward.total[batch.reward.ok])
        everything = torch.cat(seen)
        expected = (seen[-1] - everything.mean()) / everything.std()
        torch.testing.assert_close(reward.total[batch.reward.ok], expected, rtol=1e-6, atol=1e-9)
    assert state["count"] == len(everything)


def test_running_normalise_before_there_is_a_deviation():
    control = RunningNormalise()
    state, reward = control.apply(control.init(), tiny([0.1]))
    assert reward.total.tolist() == [0.0]
    state, reward = control.apply(state, tiny([0.1, 0.1], ok=[True, False]))
    assert reward.total.tolist() == [0.0, 0.0]
    state, reward = control.apply(state, tiny([0.0], ok=[False]))
    assert state["count"] == 2


def test_on_a_part_leaves_the_rest():
    batch = tiny([1, 2], parts={"a": [3.0, 5.0], "b": [1.0, 1.0]})
    reward = on("part", "a", Center()).apply(None, batch)[1]
    assert reward.parts["a"].tolist() == [-1.0, 1.0]
    assert reward.parts["b"].tolist() == [1.0, 1.0]
    assert reward.total.tolist() == [1.0, 2.0]


def test_on_steps_counts_chosen_steps_of_good_rows_only():
    batch = tiny([0, 0, 0], ok=[True, True, False], lengths=[2, 1, 2], step=[[1.0, 3.0], [5.0, 99.0], [7.0, 7.0]])
    reward = on("step", Center()).apply(None, batch)[1]
    assert reward.step.tolist() == [[-2.0, 0.0], [2.0, 0.0], [0.0, 0.0]]
    grouped = tiny([0, 0], group=[0, 1], step=[[1.0, 3.0], [5.0, 9.0]])
    assert on("step", Center(over="group")).apply(None, grouped)[1].step.tolist() == [[-1.0, 1.0], [-2.0, 2.0]]


def test_on_keeps_state_for_its_transform():
    transform = on("step", chain(RunningNormalise(eps=1e-12), Clip(hi=0.5)))
    batch = tiny([0, 0], step=[[1.0, 2.0], [3.0, 4.0]])
    state, reward = transform.apply(transform.init(), batch)
    assert state[0]["count"] == 4
    assert state[1] is None
    assert reward.step.max().item() == 0.5


def test_weighted_parts_sums_steps_into_steps():
    batch = tiny([9, 9], lengths=[2, 1], parts={"end": [1.0, 2.0], "way": [[1.0, 2.0], [3.0, 0.0]]})
    reward = WeightedParts({"end": 3.0, "way": 0.5}).apply(None, batch)[1]
    assert reward.total.tolist() == [3.0, 6.0]
    assert reward.step.tolist() == [[0.5, 1.0], [1.5, 0.0]]


@pytest.mark.parametrize("name", example_transforms())
@pytest.mark.parametrize("bad", [NAN, math.inf, -math.inf])
def test_what_is_not_finite_becomes_a_failure_never_a_number(name, bad):
    """Also where the bad number claims to be ok, and for transforms whose formula would swallow it (clip, sigmoid, gate)."""
    batch = example_batch(fail=0.0)
    transform = example_transforms()[name]
    _, before = transform.apply(transform.init(), batch)
    assert before.ok.all()
    spoiled = batch.reward.replace(total=batch.reward.total.index_fill(0, torch.tensor([3]), bad))
    _, after = transform.apply(transform.init(), batch.replace(reward=spoiled))
    assert after.ok.tolist() == [k != 3 for k in range(12)]
    assert after.reason[3] != ""
    assert torch.isfinite(after.total).all()


@pytest.mark.parametrize("name", example_transforms())
@settings(max_examples=8)
@given(seed=st.integers(0, 15), number=st.floats(-1e6, 1e6))
def test_failed_rows_stay_failed_and_reach_nobody(name, seed, number):
    batch, transform = failing_batch(seed), example_transforms()[name]
    dead = ~batch.reward.ok

    def with_garbage(value):
        r = batch.reward
        parts = {k: torch.where(dead.reshape(-1, *[1] * (v.dim() - 1)), value, v) for k, v in r.parts.items()}
        spoiled = r.replace(total=torch.where(dead, value, r.total), step=torch.where(dead[:, None], value, r.step), parts=parts)
        return batch.replace(reward=spoiled)

    first_state, first = transform.apply(transform.init(), with_garbage(NAN))
    second_state, second = transform.apply(transform.init(), with_garbage(number))
    assert first_state == second_state
    assert (first.ok == batch.reward.ok).all()
    assert torch.equal(first.total, second.total)
    assert torch.equal(first.step, second.step)
    assert [bool(r) for r in first.reason] == dead.tolist()


def test_a_differentiable_reward_keeps_its_gradient():
    value = torch.tensor([0.3, 0.8], dtype=torch.double, requires_grad=True)
    batch = tiny([0.0, 0.0])
    batch = batch.replace(reward=batch.reward.replace(total=value))
    out = chain(Scale(3.0), Center()).apply([None, None], batch)[1].total
    out.sum().backward()
    assert value.grad.tolist() == [3.0, 3.0]  # the baseline is a constant


def test_statistics_survive_large_offsets():
    """A deviation of 1 around a million, in single precision."""
    batch = tiny([0, 0, 0])
    totals = torch.tensor([1e6, 1e6 + 1, 1e6 + 2])
    out = total(Standardise(), batch.replace(reward=batch.reward.replace(total=totals)))
    assert out == pytest.approx([-1, 0, 1], rel=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Clip(), "give lo, hi or both"),
        (lambda: Clip(lo=2.0, hi=1.0), "lo must not be above hi"),
        (lambda: Clip(lo=NAN, hi=1.0), "lo must not be above hi"),
        (lambda: Center(over="grup"), "did you mean 'group'"),
        (lambda: Standardise(eps=0.0), "eps"),
        (lambda: Scale(NAN), "finite"),
        (lambda: Ramp(0.0, math.inf), "finite"),
        (lambda: Sigmoid(scale=0.0), "scale"),
        (lambda: RunningNormalise(clip=0.0), "clip"),
        (lambda: TokenKL(-1.0), "beta"),
        (lambda: TokenKL(estimator="k4"), "k1"),
        (lambda: AdaptiveKL(target=0.0), "target"),
        (lambda: AdaptiveKL(init_beta=0.0), "stay 0"),
        (lambda: AdaptiveKL(horizon=0), "horizon"),
        (lambda: LengthPenalty(math.inf), "finite"),
        (lambda: LengthPenalty(1.0, free=-1), "free"),
        (lambda: OverlongPenalty(limit=2, buffer=3), "buffer"),
        (lambda: Gate("a", threshold=NAN), "threshold"),
        (lambda: WeightedParts({}), "empty"),
        (lambda: NormaliseParts({"a": NAN}), "'a'"),
        (lambda: On("stp", Clip(hi=1.0)), "'step' or 'part/NAME'"),
        (lambda: On("part/", Clip(hi=1.0)), "'step' or 'part/NAME'"),
        (lambda: On("step", TokenKL()), "TokenKL"),
        (lambda: On("step", Chain((Clip(hi=1.0), Gate("a")))), "Gate"),
        (lambda: on("part", Clip(hi=1.0)), "on("),
        (lambda: Chain(Clip(hi=1.0)), "chain(first, second)"),
        (lambda: Chain((3,)), "not a transform"),
    ],
)
def test_nonsense_is_refused_in_one_line(make, message):
    with pytest.raises(PlanError) as e:
        make()
    assert message in str(e.value)
    assert "\n" not in str(e.value)


def test_what_a_batch_lacks_is_named():
    batch = tiny([1.0], parts={"style": [1.0]})
    for transform, message in [
        (Gate("stile"), "did you mean 'style'"),
        (on("part", "stile", Clip(hi=1.0)), "did you mean 'style'"),
        (on("step", Clip(hi=1.0)), "no dense part"),
        (TokenKL(), "no reference 'reference'"),
    ]:
        with pytest.raises(PlanError, match=message):
            transform.apply(transform.init(), batch)
    with pytest.raises(PlanError, match="no log-probs"):
        TokenKL().apply(None, batch.replace(rollout=batch.rollout.replace(logp=None)))


def test_needs_of_the_parts_are_needs_of_the_whole():
    assert chain(Clip(hi=1.0), TokenKL()).needs == {"reference", "logp"}
    assert on("step", Clip(hi=1.0)).needs == frozenset()
    assert hash(WeightedParts({"a": 1.0})) is not None
    assert WeightedParts({"a": 1.0}) != WeightedParts({"a": 2.0})
