"""ClipUpper and Delta against numbers worked out by hand."""

import pytest
import torch

from guerdon.core import Batch, PlanError, RewardOutput, Rollout
from guerdon.core.batch import returns, rewards
from guerdon.core.credit import rewards_to_go
from guerdon.transforms import ClipUpper, Delta


def batch_of(step, ends, total, ok=None):
    """Rows of one prompt token and as many chosen ones as there are numbers; ``None`` is padding."""
    rows, width = len(step), 1 + max(map(len, step))
    mask = torch.zeros(rows, width, dtype=torch.bool)
    dense, end = torch.zeros(rows, width, dtype=torch.double), torch.zeros(rows, width, dtype=torch.double)
    for k, (s, e) in enumerate(zip(step, ends, strict=True)):
        mask[k, 1 : 1 + len(s)] = True
        dense[k, 1 : 1 + len(s)], end[k, 1 : 1 + len(e)] = (
            torch.tensor(s, dtype=torch.double),
            torch.tensor(e, dtype=torch.double),
        )
    rollout = Rollout(["q"] * rows, ["a"] * rows, torch.zeros(rows, width), mask, torch.zeros(rows), torch.arange(rows))
    good = torch.tensor([True] * rows if ok is None else ok)
    reason = ["" if g else "planted" for g in good.tolist()]
    return Batch.of(rollout, RewardOutput(torch.tensor(total, dtype=torch.double), good, reason, dense, {"end": end}))


def shaped(batch, *transforms):
    for t in transforms:
        batch = batch.replace(reward=t.apply(t.init(), batch)[1])
    return batch


def test_delta_by_hand():
    # three steps with scores .75, .5, .25; two with 0 and 1 (a score of 0 is a score); one; padding behind the shorter rows
    batch = batch_of(
        [[0, 0.75, 0.5, 0, 0.25], [0, 0, 0, 1.0], [0.5, 0.5]], [[0, 1, 1, 0, 1], [0, 1, 0, 1], [0, 1]], [1.0, 0.0, 1.0]
    )
    found = shaped(batch, Delta()).reward.step[:, 1:]
    # .75 - .5, then .5 alone, the last one dropped; 0 alone; nothing. Where no step ends numbers stay (the .5 of the last row)
    assert found.tolist() == [[0, 0.25, 0.5, 0, 0], [0, 0, 0, 0, 0], [0.5, 0, 0, 0, 0]]


def test_clip_upper_by_hand():
    batch = batch_of([[0, 1.0, 0.5], [0.75, 0, 0.25]], [[0, 1, 1], [1, 0, 1]], [1.0, 0.0])
    # the mean of the four steps is 0.625, not that of the six tokens
    assert shaped(batch, ClipUpper()).reward.step[:, 1:].tolist() == [[0, 0, -0.125], [0, 0, -0.375]]
    assert shaped(batch, ClipUpper(eta=0.5)).reward.step[:, 1:].tolist() == [[0, 0, 0], [0, 0, -0.25]]


def test_failed_rows_and_padding_do_not_move_the_threshold():
    batch = batch_of([[1.0, 0.5], [0.0, 0.0], [0.0]], [[1, 1], [1, 1], [1]], [1.0, 0.0, 0.0], ok=[True, False, True])
    assert shaped(batch, ClipUpper()).reward.step[0, 1:].tolist() == [0.0, 0.0]  # the mean of 1, .5 and 0
    assert shaped(batch, ClipUpper()).reward.step[2, 1:].tolist() == [-0.5, 0.0]


def random_batch(seed, alpha):
    """Rows of up to 9 steps of 1 to 3 tokens with scores in [0, 1], some of them exactly 0."""
    draw = torch.Generator().manual_seed(seed)

    def upto(n):
        return int(torch.randint(n, (1,), generator=draw))

    step, ends, scores = [], [], []
    for _ in range(20):
        own = [
            0.0 if upto(4) == 0 else alpha * float(torch.rand(1, generator=draw, dtype=torch.double)) for _ in range(1 + upto(9))
        ]
        gaps = [upto(3) for _ in own]
        step.append([x for gap, s in zip(gaps, own, strict=True) for x in [0.0] * gap + [s]])
        ends.append([x for gap in gaps for x in [0] * gap + [1]])
        scores.append(own)
    return batch_of(step, ends, [float(upto(2)) for _ in step]), scores


@pytest.mark.parametrize("seed", range(5))
def test_the_return_from_a_step_is_its_score_and_the_success(seed):
    batch, scores = random_batch(seed, alpha=0.3)
    after = shaped(batch, Delta())
    left = rewards_to_go(rewards(after), batch.rollout.mask)
    for k, own in enumerate(scores):
        s = float(batch.reward.total[k])
        expected = [score + s for score in own[:-1]] + [s]
        at = batch.reward.parts["end"][k].nonzero()[:, 0]
        assert left[k, at].tolist() == pytest.approx(expected, abs=1e-12)
        assert left[k, 1].item() == pytest.approx(expected[0], abs=1e-12)  # the first token of the first step


@pytest.mark.parametrize("seed", range(5))
def test_the_clipped_sum_is_never_above_zero(seed):
    batch, scores = random_batch(seed, alpha=0.3)
    for eta in (None, 0.1):
        clipped = shaped(batch, ClipUpper(eta=eta))
        assert float((returns(clipped) - batch.reward.total).max()) <= 0
        both = shaped(clipped, Delta())
        assert float((returns(both) - batch.reward.total).max()) <= 1e-12
    flat = [x for own in scores for x in own]
    eta = sum(flat) / len(flat)
    lost = [sum(min(x - eta, 0) for x in own) for own in scores]
    found = returns(shaped(batch, ClipUpper())) - batch.reward.total
    assert found.tolist() == pytest.approx(lost, abs=1e-12)


def test_more_steps_earn_nothing():
    plain = batch_of([[0.5, 0.9]], [[1, 1]], [1.0])
    padded = batch_of([[0.5, *[0.9] * 20]], [[1] * 21], [1.0])
    assert float(returns(padded)) > 5 * float(returns(plain))
    for shaping in ((Delta(),), (ClipUpper(), Delta()), (ClipUpper(eta=0.9), Delta())):
        assert float(returns(shaped(padded, *shaping))) <= float(returns(shaped(plain, *shaping))) + 1e-12


@pytest.mark.parametrize("transform", [ClipUpper(), Delta(), ClipUpper("ends")])
def test_what_is_missing_is_named(transform):
    batch = batch_of([[0.5]], [[1]], [1.0])
    with pytest.raises(PlanError, match="dense part"):
        transform.apply(None, batch.replace(reward=batch.reward.replace(step=None)))
    other = batch.reward.replace(parts={"process/end": batch.reward.parts["end"]})
    with pytest.raises(PlanError, match="process/end"):
        transform.apply(None, batch.replace(reward=other))
    flat = batch.reward.replace(parts={transform.ends: torch.ones(1)})
    with pytest.raises(PlanError, match="one number per row"):
        transform.apply(None, batch.replace(reward=flat))


def test_a_threshold_is_a_number():
    with pytest.raises(PlanError, match="eta must be finite"):
        ClipUpper(eta=float("nan"))
