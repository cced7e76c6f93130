"""Promises of every objective: finite differences, and one loss and gradient however the optimiser step is cut up."""

import dataclasses
import functools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from guerdon.core import PolicyOutput, denominator, micro_batches, reduce
from guerdon.objectives import PolicyGradient
from guerdon.run.spec import from_tree, to_tree
from guerdon.testing import (
    example_advantages,
    example_batch,
    example_objectives,
    example_output,
    example_selects,
    example_transforms,
)

OBJECTIVES = example_objectives()
CASES = [(n, over) for n, o in OBJECTIVES.items() for over in (("step", "sample", 7) if o.unit == "step" else ("step",))]
NAN = float("nan")


@functools.cache
def example(seed=0, fail=0.3):
    """Rows of unequal weight, some 0, some failed."""
    batch = example_batch(seed, fail=fail)
    weight = torch.tensor([1.0, 0.5, 2.0, 1.0, 0.0, 1.5] * 2, dtype=torch.double)
    return batch.replace(weight=weight)


def loss_and_gradient(objective, batch, over, rows, output):
    """Reduced over micro-batches; gradients of everything the network gives, in the order of the rows' uids."""
    leaves = [x.detach().clone().requires_grad_() for x in (output.logp, output.entropy, output.value)]
    at = {int(u): k for k, u in enumerate(batch.rollout.uid)}
    total = denominator(batch, objective.unit, over)
    loss = 0.0
    for micro in micro_batches(batch, [objective.unit], rows):
        here, steps = [at[int(u)] for u in micro.rollout.uid], micro.rollout.steps
        logp, entropy, value = leaves
        new = PolicyOutput(logp=logp[here][:, :steps], entropy=entropy[here][:, :steps], value=value[here][:, : steps + 1])
        part = reduce(objective(new, micro), micro, total, objective.unit, over)
        part.backward()
        loss += float(part.detach())
    order = batch.rollout.uid.argsort()
    grads = [torch.zeros_like(x) if x.grad is None else x.grad for x in leaves]
    return loss, torch.cat([g[order].flatten(1) for g in grads], 1)


def close(a, b):
    assert a[0] == pytest.approx(b[0], rel=1e-6)
    torch.testing.assert_close(a[1], b[1], rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize(("name", "over"), CASES)
def test_micro_batch_size_does_not_matter(name, over):
    batch, objective = example(), OBJECTIVES[name]
    whole = loss_and_gradient(objective, batch, over, None, example_output(batch))
    assert whole[1].any()
    for rows in (1, 3, 5):
        close(loss_and_gradient(objective, batch, over, rows, example_output(batch)), whole)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_order_of_rows_does_not_matter(name):
    batch, objective = example(1), OBJECTIVES[name]
    order = torch.randperm(12, generator=torch.Generator().manual_seed(3))
    out = example_output(batch)
    close(
        loss_and_gradient(objective, batch[order], "sample", 4, out[order]), loss_and_gradient(objective, batch, "sample", 4, out)
    )


@pytest.mark.parametrize("name", OBJECTIVES)
def test_padding_does_not_matter(name):
    from guerdon.testing._base import padded

    batch, objective = example(2), OBJECTIVES[name]
    out = example_output(batch)
    pad = torch.nn.functional.pad
    wide = PolicyOutput(
        logp=pad(out.logp, (0, 3), value=NAN), entropy=pad(out.entropy, (0, 3)), value=pad(out.value, (0, 3), value=NAN)
    )
    a = loss_and_gradient(objective, batch, "step", None, out)[0]
    assert loss_and_gradient(objective, padded(batch), "step", None, wide)[0] == pytest.approx(a, rel=1e-6)
    # without trimming, too: the objective itself, on the padded whole
    loss = objective(wide, padded(batch))
    total = denominator(padded(batch), objective.unit)
    assert float(reduce(loss, padded(batch), total, objective.unit).detach()) == pytest.approx(a, rel=1e-6)


@pytest.mark.parametrize(("name", "over"), CASES)
def test_failed_rows_change_neither_numerator_nor_denominator(name, over):
    """Even when they are full of NaN and nobody has sorted them out before."""
    batch, objective = example(3), OBJECTIVES[name]
    out = example_output(batch)
    dead = ~batch.live

    def spoil(x):
        return torch.where(dead.reshape(-1, *[1] * (x.dim() - 1)), NAN, x)

    spoiled = batch.replace(
        rollout=batch.rollout.replace(logp=spoil(batch.rollout.logp)),
        reward=batch.reward.replace(total=spoil(batch.reward.total), step=spoil(batch.reward.step)),
        advantage={k: spoil(v) for k, v in batch.advantage.items()}, values={k: spoil(v) for k, v in batch.values.items()},
        refs={k: PolicyOutput(logp=spoil(v.logp)) for k, v in batch.refs.items()},
    )  # fmt: skip
    leaf = out.logp.detach().clone().requires_grad_()
    new = PolicyOutput(logp=spoil(leaf), entropy=spoil(out.entropy), value=spoil(out.value))
    total = denominator(spoiled, objective.unit, over)
    alive = batch[batch.live]
    assert total == pytest.approx(denominator(alive, objective.unit, over), rel=1e-12)
    value = reduce(objective(new, spoiled), spoiled, total, objective.unit, over)
    expected, _ = loss_and_gradient(objective, alive, over, None, out[batch.live])
    assert float(value.detach()) == pytest.approx(expected, rel=1e-6)
    value.backward()
    assert leaf.grad is None or torch.isfinite(leaf.grad).all()


@settings(max_examples=15)
@given(seed=st.integers(0, 30), rows=st.integers(1, 12), name=st.sampled_from(sorted(OBJECTIVES)))
def test_accumulation_is_one_big_batch(seed, rows, name):
    batch, objective = example(seed), OBJECTIVES[name]
    out = example_output(batch, seed)
    close(loss_and_gradient(objective, batch, "step", rows, out), loss_and_gradient(objective, batch, "step", None, out))


CONSTANTS_INSIDE = {"PolicyGradient.cispo", "PolicyGradient.gspo_token"}  # their gradient is by design not that of their value


@pytest.mark.parametrize("name", sorted(set(OBJECTIVES) - CONSTANTS_INSIDE))
def test_finite_differences(name):
    batch, objective = example(4)[torch.arange(4)], OBJECTIVES[name]
    out = example_output(example(4))[torch.arange(4)]
    reads = {"entropy": "entropy" in objective.needs, "value": "value" in objective.needs}
    reads["logp"] = bool(objective.needs & {"logp", "exact_logp"})
    leaves = {k: getattr(out, k).detach().clone().requires_grad_() for k, read in reads.items() if read}
    mix = torch.arange(1.0, 33.0, dtype=torch.double).sin()  # each loss counts, none like another

    def f(*inputs):
        loss = objective(PolicyOutput(**dict(zip(leaves, inputs, strict=True))), batch).flatten()
        return (mix[: len(loss)] * loss).sum()

    assert torch.autograd.gradcheck(f, list(leaves.values()))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_what_is_not_declared_is_not_read(name):
    """Without the columns that needs does not name, the loss is the same."""
    batch, objective = example(0), OBJECTIVES[name]
    needs, out = objective.needs, example_output(batch)
    bare = batch.replace(
        refs={k: v for k, v in batch.refs.items() if k in needs}, values=batch.values if "values" in needs else {},
        advantage=batch.advantage if "advantage" in needs else {}, pairs=batch.pairs if "pairs" in needs else None,
        rollout=batch.rollout if "exact_logp" in needs else batch.rollout.replace(logp=None),
    )  # fmt: skip
    given = PolicyOutput(
        logp=out.logp if needs & {"logp", "exact_logp"} else None, entropy=out.entropy if "entropy" in needs else None,
        value=out.value if "value" in needs else None,
    )  # fmt: skip
    assert torch.equal(objective(given, bare), objective(out, batch))


EVERYTHING = {
    **{f"objectives {k}": v for k, v in OBJECTIVES.items()},
    **{f"transforms {k}": v for k, v in example_transforms().items()},
    **{f"advantages {k}": v for k, v in example_advantages().items()},
    **{f"selects {k}": v for k, v in example_selects().items()},
}


@pytest.mark.parametrize("name", EVERYTHING)
def test_a_plan_can_hold_it(name):
    """Plain fields: to a tree of plain data and back it is equal; it can be hashed and printed."""
    atom = EVERYTHING[name]
    assert from_tree(to_tree(atom)) == atom
    assert dataclasses.is_dataclass(atom)
    hash(atom)
    assert type(atom).__name__ in repr(atom)


def test_every_public_atom_is_among_the_examples():
    import guerdon.advantages
    import guerdon.objectives
    import guerdon.selection
    import guerdon.transforms

    def inside(atom):
        yield type(atom)
        for f in dataclasses.fields(atom):
            value = getattr(atom, f.name)
            for v in value if isinstance(value, tuple) else (value,):
                if dataclasses.is_dataclass(v):
                    yield from inside(v)

    shown = {kind for atom in EVERYTHING.values() for kind in inside(atom)}
    shown |= {type(a) for a in (guerdon.objectives.ForwardKL(), guerdon.objectives.Alpha())}  # tried in test_preference
    for room in (guerdon.advantages, guerdon.objectives, guerdon.selection, guerdon.transforms):
        kinds = {getattr(room, n) for n in room.__all__ if dataclasses.is_dataclass(getattr(room, n))}
        assert kinds <= shown, kinds - shown
    assert PolicyGradient in shown
