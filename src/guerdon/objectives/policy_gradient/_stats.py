"""ratio_stats: how far an update has moved the policy from the one that acted."""

from __future__ import annotations

import torch
from torch import Tensor

from guerdon.core.batch import Batch
from guerdon.core.policy import PolicyOutput
from guerdon.core.stats import kl_estimate
from guerdon.objectives._base import behaviour_logp, clean, counted
from guerdon.objectives.policy_gradient._clip import Clip


@torch.no_grad()
def ratio_stats(new: PolicyOutput, batch: Batch, clip: Clip | None = None) -> dict[str, float]:
    r"""What the step ratios $r = \pi_\theta / \pi_{\mathrm{acted}}$ look like over the steps that count.

    Args:
        new: Log-probs under the present weights.
        batch: The rows they belong to.
        clip: The bounds of ``clipped`` (None: those of ``Clip()``).

    Returns:
        ``ratio/max``, ``ratio/min``, ``ratio/mean``; ``clipped``: fraction of steps whose gradient the clip stops (the ratio is
        outside on the side the advantage pushes to; without an advantage: outside at all); ``approx_kl``: mean of
        $r - 1 - \log r$, nats per step to the policy that acted. All 0 except ratios of 1 where no step counts.

    Example:
        >>> from guerdon.testing import example_batch, example_output
        >>> sorted(ratio_stats(example_output(example_batch()), example_batch()))
        ['approx_kl', 'clipped', 'ratio/max', 'ratio/mean', 'ratio/min']
    """
    clip = clip or Clip()
    keep = counted(batch)
    log_ratio = (clean(new.need("logp"), keep) - behaviour_logp(batch, keep, "ratio_stats"))[keep].double()
    if not len(log_ratio):
        return {"ratio/max": 1.0, "ratio/min": 1.0, "ratio/mean": 1.0, "clipped": 0.0, "approx_kl": 0.0}
    ratio = log_ratio.exp()
    high, low = ratio > 1 + clip.high, ratio < 1 - clip.low
    if "main" in batch.advantage:
        advantage: Tensor = batch.advantage["main"][keep]
        high, low = high & (advantage > 0), low & (advantage < 0)
    return {
        "ratio/max": float(ratio.max()),
        "ratio/min": float(ratio.min()),
        "ratio/mean": float(ratio.mean()),
        "clipped": float((high | low).double().mean()),
        "approx_kl": float(kl_estimate(-log_ratio, "k3").mean()),
    }
