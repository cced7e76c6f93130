"""The clipped surrogate family against numbers worked out by hand, closed forms and exact expectations."""

import math

import pytest
import torch

from guerdon.core import Batch, PlanError, PolicyOutput, RewardOutput, Rollout, denominator, reduce
from guerdon.objectives import CISPO, KL, SFT, Clip, PolicyGradient, Reinforce, SequenceRatio, SoftClip, TokenRatio, ratio_stats

NAN = float("nan")


def tiny(acted, advantage, mask=None, ok=None, **refs):
    """One row per inner list; log-probs of the policy that acted and advantages, step by step."""
    acted = torch.tensor(acted, dtype=torch.double)
    n, t = acted.shape
    mask = torch.ones(n, t, dtype=torch.bool) if mask is None else torch.tensor(mask)
    rollout = Rollout([""] * n, [""] * n, torch.zeros(n, t), mask, torch.zeros(n, dtype=torch.long), torch.arange(n), logp=acted)
    ok = torch.tensor(ok or [True] * n)
    reward = RewardOutput(torch.zeros(n, dtype=torch.double), ok, ["" if k else "planted" for k in ok.tolist()])
    return Batch(
        rollout, reward, reward, advantage={"main": torch.tensor(advantage, dtype=torch.double)},
        refs={k: PolicyOutput(logp=torch.tensor(v, dtype=torch.double)) for k, v in refs.items()},
        weight=torch.ones(n, dtype=torch.double),
    )  # fmt: skip


def new(logp, entropy=None):
    logp = torch.tensor(logp, dtype=torch.double, requires_grad=True)
    return PolicyOutput(logp=logp, entropy=None if entropy is None else torch.tensor(entropy, dtype=torch.double))


def log(*xs):
    return [[math.log(x) for x in xs]]


@pytest.mark.parametrize(
    ("clip", "expected", "slope"),
    [
        # ratios 1.5, 0.5, 1.5, 0.5 with advantages 2, 2, -2, -2; slope: of the loss in the log-ratio
        (None, [-3.0, -1.0, 3.0, 1.0], [-3.0, -1.0, 3.0, 1.0]),
        (Clip(0.2, 0.2), [-2.4, -1.0, 3.0, 1.6], [0.0, -1.0, 3.0, 0.0]),
        (Clip(0.2, 0.28), [-2.56, -1.0, 3.0, 1.6], [0.0, -1.0, 3.0, 0.0]),
        (Clip(0.6, 0.2), [-2.4, -1.0, 3.0, 1.0], [0.0, -1.0, 3.0, 1.0]),
        (Clip(0.2, 0.2, dual=1.4), [-2.4, -1.0, 2.8, 1.6], [0.0, -1.0, 0.0, 0.0]),
    ],
)
def test_clip_by_hand(clip, expected, slope):
    batch = tiny([[-1.0] * 4], [[2.0, 2.0, -2.0, -2.0]])
    out = new([[-1 + math.log(r) for r in (1.5, 0.5, 1.5, 0.5)]])
    loss = PolicyGradient(clip=clip)(out, batch)
    assert loss[0].tolist() == pytest.approx(expected)
    loss.sum().backward()
    assert out.logp.grad[0].tolist() == pytest.approx(slope)


def test_cispo_by_hand():
    """Every step keeps its gradient, weighted by the clipped ratio as a constant."""
    batch = tiny([[-1.0] * 3], [[2.0, 2.0, -2.0]])
    out = new([[-1 + math.log(r) for r in (1.5, 0.5, 3.0)]])
    loss = PolicyGradient(clip=CISPO(high=0.25))(out, batch)
    weight = [1.25, 0.5, 1.25]
    assert loss[0].tolist() == pytest.approx(
        [-w * a * p for w, a, p in zip(weight, (2, 2, -2), out.logp[0].tolist(), strict=True)]
    )
    loss.sum().backward()
    assert out.logp.grad[0].tolist() == pytest.approx([-2.5, -1.0, 2.5])
    low = new([[-1 + math.log(r) for r in (1.5, 0.5, 3.0)]])
    PolicyGradient(clip=CISPO(low=0.2, high=0.25))(low, batch).sum().backward()
    assert low.logp.grad[0].tolist() == pytest.approx([-2.5, -1.6, 2.5])


def test_soft_clip_by_hand():
    batch = tiny([[0.0] * 3], [[1.0, -1.0, 1.0]])
    out = new([[0.0, 0.0, math.log(2.0)]])
    loss = PolicyGradient(clip=SoftClip(positive=1.0, negative=2.0))(out, batch)
    assert loss[0].tolist() == pytest.approx([-2.0, 1.0, -4 / (1 + math.exp(-1))])
    loss.sum().backward()
    s = 1 / (1 + math.exp(-1))
    assert out.logp.grad[0].tolist() == pytest.approx([-1.0, 1.0, -4 * s * (1 - s) * 2.0])  # slope 1 at ratio 1, either sign


def test_sequence_ratio_by_hand():
    """Two chosen steps of three; the geometric mean of 2 and 1/8 is 1/2."""
    batch = tiny([[-1.0, -1.0, -1.0]], [[2.0, 0.0, 2.0]], mask=[[True, False, True]])
    values = [[-1 + math.log(2), -1.0, -1 - math.log(8)]]
    out = new(values)
    whole = PolicyGradient(ratio=SequenceRatio(), clip=None)(out, batch)
    assert whole[0].tolist() == pytest.approx([-1.0, 0.0, -1.0])
    reduce(whole, batch, denominator(batch, "step", "sample"), "step", "sample").backward()
    assert out.logp.grad[0].tolist() == pytest.approx([-0.5, 0.0, -0.5])  # -A s / n each
    split = new(values)
    loss = PolicyGradient(ratio=SequenceRatio(per_step=True), clip=None)(split, batch)
    assert loss[0].tolist() == pytest.approx([-1.0, 0.0, -1.0])
    reduce(loss, batch, denominator(batch, "step", "sample"), "step", "sample").backward()
    assert split.logp.grad[0].tolist() == pytest.approx([-0.5, 0.0, -0.5])  # with equal advantages the two agree


def test_gspo_token_keeps_advantages_apart():
    batch = tiny([[-1.0, -1.0]], [[2.0, -4.0]])
    out = new([[-1.0, -1.0]])
    PolicyGradient(ratio=SequenceRatio(per_step=True), clip=None)(out, batch).sum().backward()
    assert out.logp.grad[0].tolist() == pytest.approx([-2.0, 4.0])


@pytest.mark.parametrize("estimator", ["k1", "k2", "k3"])
def test_kl_by_hand(estimator):
    f = {"k1": lambda x: x, "k2": lambda x: x * x / 2, "k3": lambda x: math.exp(-x) - 1 + x}[estimator]
    batch = tiny([[-1.0, -1.0]], [[0.0, 0.0]], reference=[[-2.0, -0.5]])
    out = new([[-1.5, -1.2]])
    loss = PolicyGradient(kl=KL(0.3, estimator=estimator))(out, batch)
    assert loss[0].tolist() == pytest.approx([0.3 * f(0.5), 0.3 * f(-0.7)])
    corrected = PolicyGradient(kl=KL(0.3, estimator=estimator, corrected=True))(out, batch)
    assert corrected[0].tolist() == pytest.approx([0.3 * f(0.5) * math.exp(-0.5), 0.3 * f(-0.7) * math.exp(-0.2)])


@pytest.mark.parametrize(("estimator", "truth"), [("k1", "nothing"), ("k2", "reverse"), ("k3", "forward")])
def test_expected_gradients_of_the_kl_estimators(estimator, truth):
    """Exact expectation over four actions, each drawn as often as the policy draws it."""
    logits = torch.tensor([0.3, -0.2, 0.9, 0.1], dtype=torch.double, requires_grad=True)
    p, q = logits.log_softmax(0), torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.double).log()
    estimate = KL(1.0, estimator=estimator).penalty(p, q, torch.ones(4))
    (found,) = torch.autograd.grad((p.detach().exp() * estimate).sum(), logits, retain_graph=True)
    exact = {"nothing": 0 * p.sum(), "reverse": (p.exp() * (p - q)).sum(), "forward": (q.exp() * (q - p)).sum()}[truth]
    (expected,) = torch.autograd.grad(exact, logits)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-9)


def test_a_corrected_kl_of_stale_samples_estimates_the_new_policys():
    """Samples from an old policy, weighted by the ratio: value and gradient of the reverse KL of the new one (k1)."""
    logits = torch.tensor([0.3, -0.2, 0.9], dtype=torch.double, requires_grad=True)
    p = logits.log_softmax(0)
    old, q = torch.tensor([0.5, 0.3, 0.2]).double().log(), torch.tensor([0.1, 0.2, 0.7]).double().log()
    estimate = (old.exp() * KL(1.0, estimator="k1", corrected=True).penalty(p, q, (p - old).exp())).sum()
    exact = (p.exp() * (p - q)).sum()
    torch.testing.assert_close(estimate, exact)
    torch.testing.assert_close(
        torch.autograd.grad(estimate, logits, retain_graph=True)[0], torch.autograd.grad(exact, logits)[0], atol=1e-12, rtol=1e-9
    )


def test_truncated_weights_by_hand():
    """Ratios against the trainer's own log-probs, times min(old / sampler, 1.5) as a constant; the KL is not weighted."""
    batch = tiny([[-1.0, -1.0]], [[2.0, 2.0]], old=[[-1 + math.log(3), -1 + math.log(0.5)]], reference=[[-1.0, -1.0]])
    out = new([[-1 + math.log(3.3), -1 + math.log(0.25)]])
    loss = PolicyGradient(clip=Clip(0.2, 0.2), truncate=1.5)(out, batch)
    assert loss[0].tolist() == pytest.approx([-2 * 1.1 * 1.5, -2 * 0.5 * 0.5])
    loss.sum().backward()
    assert out.logp.grad[0].tolist() == pytest.approx([-3.3, -0.5])
    with_kl = PolicyGradient(clip=Clip(0.2, 0.2), truncate=1.5, kl=KL(1.0, estimator="k1"))(out, batch)
    assert (with_kl - loss)[0].tolist() == pytest.approx([math.log(3.3), math.log(0.25)])


def test_reinforce_and_sft_by_hand():
    batch = tiny([[-9.0, -9.0, NAN]], [[2.0, -3.0, NAN]], mask=[[True, True, False]])
    out = new([[-1.0, -2.0, NAN]], entropy=[[0.5, 0.25, NAN]])
    assert Reinforce()(out, batch)[0].tolist() == [2.0, -6.0, 0.0]
    assert Reinforce(entropy=0.1)(out, batch)[0].tolist() == pytest.approx([1.95, -6.025, 0.0])
    assert SFT()(out, batch)[0].tolist() == [1.0, 2.0, 0.0]


@pytest.mark.parametrize("clip", [None, Clip(), CISPO(), SoftClip()])
@pytest.mark.parametrize("ratio", [TokenRatio(), SequenceRatio(per_step=True)])
def test_on_fresh_samples_every_member_has_the_gradient_of_reinforce(clip, ratio):
    batch = tiny([[-1.0, -0.5, -2.0]], [[2.0, -1.0, 0.5]])
    out, plain = new([[-1.0, -0.5, -2.0]]), new([[-1.0, -0.5, -2.0]])
    PolicyGradient(ratio=ratio, clip=clip)(out, batch).sum().backward()
    Reinforce()(plain, batch).sum().backward()
    torch.testing.assert_close(out.logp.grad, plain.logp.grad)


def test_nan_behind_the_mask_and_in_failed_rows_reaches_no_gradient():
    everything = PolicyGradient(kl=KL(0.1, corrected=True), truncate=2.0, entropy=0.1)
    batch = tiny(
        [[-1.0, NAN], [NAN, NAN]], [[2.0, NAN], [NAN, NAN]], mask=[[True, False], [True, True]], ok=[True, False],
        old=[[-1.1, NAN], [NAN, NAN]], reference=[[-0.9, NAN], [NAN, NAN]],
    )  # fmt: skip
    out = new([[-1.2, NAN], [NAN, -1.0]], entropy=[[0.5, NAN], [NAN, 0.5]])
    loss = everything(out, batch)
    assert torch.isfinite(loss).all()
    assert loss[1].tolist() == [0.0, 0.0]
    loss.sum().backward()
    assert torch.isfinite(out.logp.grad).all()
    assert out.logp.grad[0, 0] != 0
    assert out.logp.grad.count_nonzero() == 1


def test_ratio_stats_by_hand():
    batch = tiny([[0.0] * 4, [NAN] * 4], [[1.0, 1.0, -1.0, -1.0], [NAN] * 4], mask=[[True] * 4, [True] * 4], ok=[True, False])
    out = new([[math.log(2.0), math.log(0.5), math.log(2.0), 0.0], [NAN] * 4])
    stats = ratio_stats(out, batch)
    assert stats["ratio/max"] == pytest.approx(2.0)
    assert stats["ratio/min"] == pytest.approx(0.5)
    assert stats["ratio/mean"] == pytest.approx(5.5 / 4)
    assert stats["clipped"] == 0.25  # only the first step is stopped on the side its advantage pushes to
    assert stats["approx_kl"] == pytest.approx((2 * (1 - math.log(2)) + (-0.5 + math.log(2))) / 4)
    assert ratio_stats(out, batch.replace(advantage={}))["clipped"] == 0.75
    assert ratio_stats(out, batch, Clip(0.2, 1.5))["clipped"] == 0.0
    assert ratio_stats(out[torch.tensor([1])], batch[torch.tensor([1])])["ratio/max"] == 1.0


def test_needs_follow_the_options():
    base = {"exact_logp", "advantage"}
    assert PolicyGradient().needs == base
    assert PolicyGradient(kl=KL()).needs == base | {"reference"}
    assert PolicyGradient(truncate=2.0, entropy=0.1).needs == base | {"old", "entropy"}
    assert PolicyGradient(kl=KL(reference="teacher")).reference == "teacher"
    assert Reinforce().needs == {"logp", "advantage"}
    assert Reinforce(entropy=0.1).needs == {"logp", "advantage", "entropy"}


def test_numbers_are_short_for_the_usual_atoms():
    assert PolicyGradient(clip=0.3, kl=0.02) == PolicyGradient(clip=Clip(0.3, 0.3), kl=KL(0.02))
    assert PolicyGradient(kl=0.0).kl is None
    assert hash(PolicyGradient()) == hash(PolicyGradient(clip=0.2))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PolicyGradient(clip=KL(0.1)), "clip is KL"),
        (lambda: PolicyGradient(ratio="sequence"), "expected one of TokenRatio, SequenceRatio"),
        (lambda: PolicyGradient(kl=Clip()), "kl is Clip"),
        (lambda: PolicyGradient(clip=True), "clip is True"),
        (lambda: PolicyGradient(truncate=0.0), "truncate"),
        (lambda: PolicyGradient(entropy=NAN), "entropy"),
        (lambda: PolicyGradient(clip=-0.1), "low"),
        (lambda: Clip(low=1.1), "low"),
        (lambda: Clip(high=NAN), "high"),
        (lambda: Clip(dual=1.0), "dual"),
        (lambda: CISPO(high=0.0), "high"),
        (lambda: SoftClip(positive=0.0), "temperatures"),
        (lambda: KL(beta=0.0), "set kl to None"),
        (lambda: KL(estimator="k5"), "k1"),
        (lambda: Reinforce(entropy=math.inf), "entropy"),
    ],
)
def test_nonsense_is_refused_in_one_line(make, message):
    with pytest.raises(PlanError, match=message):
        make()


def test_what_a_batch_lacks_is_named():
    batch = tiny([[-1.0]], [[1.0]], referenc=[[-1.0]])
    for objective, changes, message in [
        (PolicyGradient(kl=KL()), {}, "did you mean 'referenc'"),
        (PolicyGradient(truncate=1.0), {}, "no reference 'old'"),
        (PolicyGradient(), {"advantage": {}}, "no advantage 'main'"),
        (PolicyGradient(), {"rollout": batch.rollout.replace(logp=None)}, "no log-probs of the policy that acted"),
    ]:
        with pytest.raises(PlanError, match=message):
            objective(new([[-1.0]]), batch.replace(**changes))
    with pytest.raises(ValueError, match="entropy"):
        PolicyGradient(entropy=0.1)(new([[-1.0]]), batch)
