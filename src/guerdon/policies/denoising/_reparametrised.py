"""Samples as functions of the weights: gradients through the last steps of a chain, and none before."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from guerdon.core import Items, PlanError, Rollout, Streams
from guerdon.core.streams import Stream
from guerdon.policies.denoising._chain import GaussianDenoising
from guerdon.policies.denoising._gaussian import GaussianStep
from guerdon.policies.denoising._kernels import backward_variance

if TYPE_CHECKING:
    from guerdon.policies.denoising._asked import Asked
    from guerdon.policies.denoising._base import Denoising
    from guerdon.policies.denoising._walk import Walk


def reparametrise(
    policy: Denoising,
    items: Items,
    n: int,
    *,
    streams: Streams,
    grad_steps: int = 1,
    stop: int | None = None,
    reference: Denoising | None = None,
    **controls: Any,
) -> Rollout:
    r"""What ``sample`` gives, with gradients from ``outputs`` through the last ``grad_steps`` steps.

    A step is $x_u = \mu_\theta(x_t) + \sigma \epsilon$ with noise that does not depend on the weights, so a sample is a
    differentiable function of them. The state that the first of these steps starts from is a constant.

    Args:
        policy: Whose steps are Gaussian.
        items: What is asked.
        n: Chains for each item.
        streams: Where all randomness comes from; the same ones give the same outputs as ``sample``.
        grad_steps: Steps that keep their graph, counted from the data; 0: none.
        stop: End at this level with what the policy foresees there (one prediction) instead of walking on; it counts as a step.
        reference: Also give the divergence from this policy's steps.
        controls: As for ``begin``.

    Returns:
        As ``sample``; states and actions are constants. With ``reference``, ``trace["kl"]`` [B, S] float64: nats of
        $\mathrm{KL}(\pi \| \pi_\mathrm{ref})$ of each step that keeps its graph, at the very states walked through, 0 elsewhere.
        With equal noise that is $\lVert\mu - \mu_\mathrm{ref}\rVert^2 / 2\sigma^2$; a step without noise is priced as one with
        DDPM's larger variance $\beta_t$, which at the last step is that of DDPM's decoder.

    Raises:
        PlanError: for numbers that make no sense, or a policy whose steps cannot be differentiated.

    Sources: DRaFT (arXiv:2309.17400), AlignProp (arXiv:2310.03739), ReFL's ``stop`` (arXiv:2304.05977).
    """
    with torch.no_grad():
        walk = policy.begin(items, n, streams=streams, **controls)
        last = _length(walk, stop)
        if grad_steps < 0:
            raise PlanError(f"rsample: grad_steps must be at least 0, got {grad_steps}")
        while walk.at < last - max(grad_steps, int(stop is not None)):
            walk.advance()
        walk._given = walk.state.clone()  # a graph must not hold what later steps are written into
    prices: list[Tensor] = []
    asked = None if reference is None else reference.ask(walk.items.contexts, walk.how)
    with torch.set_grad_enabled(grad_steps > 0):
        while walk.at < last:
            prices.append(_step(walk, stop is not None and walk.at == last - 1, reference, asked))
        outputs = policy.decoded(walk.state)
    walk.steps = last
    for name, length in (("states", last + 1), ("logp", last), ("mask", last), ("node", last)):
        setattr(walk, name, getattr(walk, name)[:, :length])
    rollout = walk.finish(outputs=outputs)
    if reference is None:
        return rollout
    kl = torch.zeros(len(walk.uid), last - len(prices), dtype=torch.double, device=policy.device)
    return rollout.replace(trace={**rollout.trace, "kl": torch.cat([kl, *(p[:, None] for p in prices)], 1)})


def _length(walk: Walk, stop: int | None) -> int:
    """Steps that are walked, a prediction in place of the last ones counted as one."""
    if stop is None:
        return walk.steps
    if not walk.first <= stop < walk.first + walk.steps:
        raise PlanError(f"rsample: stop is a level from {walk.first} to {walk.first + walk.steps - 1}, got {stop}")
    return stop - walk.first + 1


def _step(walk: Walk, final: bool, reference: Denoising | None, asked: Asked | None) -> Tensor:
    """Go on by a step, or (``final``) to what is foreseen; [N] its price."""
    state, key = walk.state, walk.stream.key
    drawn, prices = [], []
    for rows in torch.arange(len(walk.uid)).split(walk.policy.steps_at_once):  # the parts that sample takes: the same bits
        part = slice(int(rows[0]), int(rows[-1]) + 1)
        proposal = walk._proposed(rows, state[part])
        if not isinstance(proposal, GaussianStep):
            raise PlanError(f"{walk.policy.name}: its steps choose among tokens, so its samples are no differentiable function")
        if final:
            proposal = replace(proposal, mean=proposal.clean, std=torch.zeros_like(proposal.std))
        after = proposal.draw(Stream(key[part]), walk.level)
        walk._write(part, proposal, after)
        drawn.append(after)
        if reference is not None and asked is not None:
            level = torch.full((len(rows),), walk.level, dtype=torch.long)
            other = reference.proposal(state[part], level, asked.take(rows), walk.how)
            assert isinstance(other, GaussianStep)
            mean = other.clean if final else other.mean
            prices.append(_nats(proposal, mean, _deviation(walk, rows, proposal, final)))
    walk._given = torch.cat(drawn)
    walk.at += 1
    walk._proposal = None
    return torch.cat(prices) if prices else torch.zeros(len(key), dtype=torch.double)


def _nats(step: GaussianStep, mean: Tensor, std: Tensor) -> Tensor:
    """[N] float64: between two Gaussians of the same deviation."""
    square = (step.mean - mean).flatten(1).square().sum(1, dtype=torch.double)
    nats = 0.5 * square / std.to(square).square()
    return nats / step.size if step.dims == "mean" else nats


def _deviation(walk: Walk, rows: Tensor, step: GaussianStep, final: bool) -> Tensor:
    """[N] of the step's noise; for one without, that of DDPM's larger variance."""
    policy = walk.policy
    assert isinstance(policy, GaussianDenoising)
    levels = policy.levels(walk.how.steps)
    level = torch.full((len(rows),), walk.level, dtype=torch.long)
    there = levels.at(torch.full_like(level, levels.steps) if final else level + 1)
    wide = backward_variance(levels.at(level), there)[0].sqrt()
    return torch.where(step.std > 0, step.std, wide)
