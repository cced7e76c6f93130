"""Transforms that compare with the rewards of reference answers, and RunningMinMax, against numbers worked out by hand."""

import pytest
import torch

from guerdon.core import Batch, PlanError, RewardOutput, recorded
from guerdon.transforms import (
    AgainstReferences,
    Chain,
    LogSigmoidCentred,
    RunningMinMax,
    RunningNormalise,
    Scale,
    Sigmoid,
    TokenKL,
)


def scored(total, references=None, ok=None):
    n = len(total)
    info = {} if references is None else {"reference_rewards": references}
    ok = torch.tensor(ok or [True] * n)
    reason = ["" if k else "planted" for k in ok.tolist()]
    return Batch.of(recorded(["q"] * n, ["a"] * n, info), RewardOutput(torch.tensor(total, dtype=torch.double), ok, reason))


def totals(transform, *batches):
    state, out = transform.init(), []
    for batch in batches:
        state, reward = transform.apply(state, batch)
        out.append(reward.total)
    return out[-1]


def test_preference_over_references():
    # sigmoid(1) = 0.731059 and sigmoid(0) = 0.5, mean 0.615529; sigmoid(-2) = 0.119203
    found = totals(AgainstReferences(), scored([1.0, 0.0], [[0.0, 1.0], [2.0]]))
    assert found.tolist() == pytest.approx([0.615529, 0.119203], abs=1e-6)


def test_steepness_and_first_reference():
    # first of two references at k = 2: sigmoid(2 (1 - 0)) = 0.880797
    found = totals(AgainstReferences(Sigmoid(2.0), first=1), scored([1.0], [[0.0, 1.0]]))
    assert found.tolist() == pytest.approx([0.880797], abs=1e-6)


def test_any_shape_without_a_state():
    batch = scored([1.0], [[0.0, 3.0]])
    assert totals(AgainstReferences(None), batch).tolist() == [-0.5]  # (1 + -2) / 2
    tanh = Chain((Sigmoid(2.0), Scale(2.0)))  # tanh(z) + 1; tanh(1) = 0.761594, tanh(-2) = -0.964028
    assert totals(AgainstReferences(tanh), batch).tolist() == pytest.approx([1 + (0.761594 - 0.964028) / 2], abs=1e-6)


def test_one_number_is_one_reference():
    batch = scored([1.0, 1.0], [0.0, 1.0])
    assert torch.equal(totals(AgainstReferences(), batch), totals(AgainstReferences(), scored([1.0, 1.0], [[0.0], [1.0]])))
    column = batch.replace(rollout=batch.rollout.replace(info={"reference_rewards": torch.tensor([0.0, 1.0])}))
    assert torch.equal(totals(AgainstReferences(), batch), totals(AgainstReferences(), column))


def test_a_row_without_references_fails_and_failed_rows_stay():
    batch = scored([1.0, 1.0, 1.0, 1.0], [[], [float("nan")], [0.0], [float("nan"), 0.0]], ok=[True, True, False, True])
    _, reward = AgainstReferences().apply(None, batch)
    assert reward.ok.tolist() == [False, False, False, True]
    assert all(reward.reason[k] for k in (0, 1, 2))
    assert float(reward.total[3]) == pytest.approx(0.731059, abs=1e-6)  # the reference that is no number does not count


@pytest.mark.parametrize("shape", [RunningNormalise(), TokenKL(), 3.0])
def test_other_shapes_are_refused(shape):
    with pytest.raises(PlanError, match="shape must be a transform of numbers without a state"):
        AgainstReferences(shape)


def test_bad_columns_and_settings_are_told():
    rollout = recorded(["q"], ["a"], {"reference_reward": [[0.0]]})
    with pytest.raises(PlanError, match=r"no column 'reference_rewards'.*'reference_reward'"):
        AgainstReferences().apply(None, Batch.of(rollout))
    with pytest.raises(PlanError, match="must hold rewards"):
        AgainstReferences().apply(None, scored([1.0], [["high"]]))
    with pytest.raises(PlanError, match="first must be at least 1"):
        AgainstReferences(first=0)
    with pytest.raises(PlanError, match="quantile must be between 0 and 1"):
        LogSigmoidCentred(quantile=1.0)
    with pytest.raises(PlanError, match="scale must be above 0"):
        LogSigmoidCentred(scale=0.0)


def test_log_sigmoid_about_a_quantile():
    # references 0 and 2: mean 1, deviation 1; the normal's 85th percentile is 1.0364334 deviations up, so q = 2.0364334.
    # At q: log 1/2. At 1: -log(1 + e^1.0364334) = -log 3.819144 = -1.340026. A padded row has the same quantile.
    batch = scored([2.0364334, 1.0, 1.0], [[0.0, 2.0], [0.0, 2.0], [0.0, 2.0, 0.0, 2.0]])
    assert totals(LogSigmoidCentred(), batch).tolist() == pytest.approx([-0.693147, -1.340026, -1.340026], abs=1e-6)


def test_running_min_max():
    transform = RunningMinMax()
    assert totals(transform, scored([1.0, 3.0])).tolist() == [0.0, 1.0]
    # then from 1 to 5: (2 - 1) / 4; what failed moves no bound
    later = scored([2.0, 5.0, 100.0], ok=[True, True, False])
    assert totals(transform, scored([1.0, 3.0]), later).tolist()[:2] == [0.25, 1.0]
    assert totals(transform, scored([2.0, 2.0])).tolist() == [0.0, 0.0]
    assert transform.apply(transform.init(), scored([9.0], ok=[False]))[0] == {"low": None, "high": None}
