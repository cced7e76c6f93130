"""The figures of one draw, and how a few of its rows are shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from guerdon.audit.measures import distinct_n
from guerdon.audit.pictures import told
from guerdon.core import Batch, RewardOutput, Rollout, by_group, returns
from guerdon.core.stats import differing_groups
from guerdon.run.episodes import environment_steps, episode_metrics, is_control, of_slots, only_dense, steps_before, with_returns
from guerdon.run.pictures import SHOWN


def masked_mean(x: Tensor, mask: Tensor) -> float:
    """Mean where the mask is True; NaN where it never is."""
    return float(x[mask].double().mean()) if bool(mask.any()) else float("nan")


def reward_metrics(reward: RewardOutput, prefix: str = "reward") -> dict[str, float]:
    """Moments over the rows that could be scored, how many could, and how sure the reward is of them (mean of its std)."""
    out = {f"{prefix}/ok": float(reward.ok.double().mean())}
    total = reward.total[reward.ok].double()
    if len(total):
        out |= {f"{prefix}/mean": float(total.mean()), f"{prefix}/std": float(total.std(unbiased=False)),
                f"{prefix}/min": float(total.min()), f"{prefix}/max": float(total.max())}  # fmt: skip
        out |= {f"part/{k}": float(v[reward.ok].double().mean()) for k, v in reward.parts.items()}
        if reward.std is not None:
            out[f"{prefix}/uncertainty"] = float(reward.std[reward.ok].double().mean())
    return out


def rollout_metrics(rollout: Rollout, reference: Tensor | None, first: Mapping[str, float] | None = None) -> dict[str, float]:
    """Length, ending, diversity and, where they are known, KL to the reference and entropy.

    Distinct n-grams are counted among as many tokens as at ``first`` (half of what it had, so that answers may shorten), and
    over one answer to each context where there are many: that the answers to one question agree is no loss.

    The length of a denoised row is the number of its chosen steps (those with noise); it has no end of its own to tell of. Its
    KL is told in nats per sample whether log-probs were summed or averaged over dimensions, and once more by step and dimension
    (``kl_dim``), which compares between sizes.
    """
    mask = rollout.mask
    control = is_control(rollout)
    out = episode_metrics(rollout) if control else {"length": float(mask.sum(1).double().mean())}
    if not control and not is_denoised(rollout):
        out["terminal"] = float(rollout.terminal.double().mean())
    rows = tokens_of(rollout, one_of_each(rollout.group))
    if rows is not None:
        tokens = int((first or {}).get("distinct_tokens", (sum(map(len, rows)) + 1) // 2))
        out |= {f"distinct_{n}": distinct_n(rows, n, tokens) for n in (1, 2)} | {"distinct_tokens": float(tokens)}
    if control and any(b.temperature == 0 for b in rollout.behaviour):
        return out  # the likeliest actions are no sample: neither KL nor entropy can be had from them
    if not bool(mask.any()):
        return out  # an ODE chooses nothing: it has neither
    # Sampled estimates. The surprise of a density may be negative, and is no share of a start.
    density = rollout.actions.is_floating_point() and rollout.actions.dim() > 2
    summed = 1.0 if control or not density else of_sums(rollout)
    if reference is not None and rollout.logp is not None:
        ratio = torch.where(mask, rollout.logp - reference, torch.zeros_like(reference)).double() * summed
        out["kl"] = float(ratio.sum(1).mean())  # unbiased for samples of the policy itself
        wide = density and not control  # a nat by step is much for one choice, and nothing for a picture of them
        out["kl_dim" if wide else "kl_step"] = masked_mean(ratio, mask) / (dimensions(rollout) if wide else 1)
    if rollout.logp is not None:
        out["differential_entropy" if density else "entropy"] = -masked_mean(rollout.logp.double() * summed, mask)
    return out


def tokens_of(rollout: Rollout, rows: Tensor) -> list[list[int]] | None:
    """The tokens of some rows: those chosen where the actions tell all, the last state of masked diffusion; None for others."""
    if rollout.actions.is_floating_point():
        return None
    if rollout.states is None and rollout.actions.dim() == 2:
        return [a[m].tolist() for a, m in zip(rollout.actions[rows].cpu(), rollout.mask[rows].cpu(), strict=True)]
    if rollout.states is not None and rollout.states.dim() == 3 and is_denoised(rollout):
        tokens: list[list[int]] = rollout.states[rows, -1].cpu().tolist()
        return tokens
    return None


def is_denoised(rollout: Rollout) -> bool:
    """Whether the rows went from noise to data, level by level."""
    return "level" in rollout.trace


def dimensions(rollout: Rollout) -> int:
    """Numbers that one step chooses."""
    return max(1, rollout.actions[0, 0].numel()) if rollout.mask.numel() else 1


def of_sums(rollout: Rollout) -> Tensor:
    """[B, 1] what turns recorded log-probs into those of all dimensions together: their number where they were averaged."""
    averaged = torch.tensor([b.dims == "mean" for b in rollout.behaviour], device=rollout.mask.device)[rollout.actor]
    return torch.where(averaged, float(dimensions(rollout)), 1.0).double()[:, None]


def one_of_each(group: Tensor, many: int = 8) -> Tensor:
    """Rows that stand for a draw's diversity: the first of each group where there are ``many`` groups, else all."""
    index, n = by_group(group)
    if n < many:
        return torch.arange(len(group))
    return torch.full((n,), len(group)).scatter_reduce(0, index, torch.arange(len(group)), "amin")


def draw_metrics(batch: Batch, history: Sequence[Mapping[str, float]] = ()) -> dict[str, float]:
    """What the log says of a draw, the learners' figures aside.

    Args:
        batch: The draw.
        history: Figures of all earlier draws; environment steps are counted on from the last.
    """
    reference = batch.refs.get("reference")
    control = is_control(batch.rollout)
    scored = reward_metrics(batch.raw)
    if control and only_dense(batch.raw):  # a total of 0 in every row says nothing; what the world paid is the return
        scored = {k: v for k, v in scored.items() if k not in ("reward/mean", "reward/std", "reward/min", "reward/max")}
    out = scored | rollout_metrics(
        batch.rollout, reference.logp if reference is not None else None, history[0] if history else None
    )
    if control:
        out["env/steps"] = steps_before(history) + environment_steps(batch.rollout)
    ok = batch.reward.ok
    raw = batch.replace(reward=batch.raw)
    if batch.raw.step is not None and bool(ok.any()):
        out["return"] = float(returns(raw)[ok].double().mean())
    if bool(ok.any()) and not torch.equal(batch.reward.total, batch.raw.total):
        out["shaped/mean"] = float(batch.reward.total[ok].double().mean())
    group = batch.rollout.group
    groups = one_of_each(group, many=1)
    if len(groups) < len(batch) and not of_slots(batch.rollout):
        out["groups/dead"] = float((~differing_groups(group, returns(raw), ok)[groups]).double().mean())
    return out


def show_samples(batch: Batch, n: int, held_out: RewardOutput | None = None, pictures: str = "") -> list[dict[str, Any]]:
    """Up to ``n`` rows, one from each group first, as plain data; of pictures, what they are and where they are shown.

    Args:
        batch: Scored.
        n: Rows.
        held_out: Held-out reward of the same rows.
        pictures: File with a grid of the first rows, where there is one.
    """
    group, _ = by_group(batch.rollout.group)
    seen: dict[int, int] = {}
    order = []
    for k, g in enumerate(group.tolist()):
        seen[g] = seen.get(g, 0) + 1
        order.append((seen[g], k))
    rows = [k for _, k in sorted(order)[:n]]
    raw = with_returns(batch.rollout, batch.raw)
    outputs = [shown(batch.rollout.outputs[k]) for k in rows]
    if pictures:
        outputs = [f"{o} (number {k + 1} in {pictures})" if k < SHOWN else o for k, o in zip(rows, outputs, strict=True)]
    return [{
        "context": shown(batch.rollout.contexts[k]), "output": output, "ok": bool(raw.ok[k]),
        "reward": float(raw.total[k]) if raw.ok[k] else None, "reason": raw.reason[k],
        "held_out": float(held_out.total[k]) if held_out is not None and held_out.ok[k] else None,
        "parts": {p: float(v[k].sum()) for p, v in raw.parts.items()},
    } for k, output in zip(rows, outputs, strict=True)]  # fmt: skip


def shown(value: Any) -> str:
    """What a reader sees of a context or an output: text as it is, pictures and large tensors in a few words."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "\n".join(f"{m.get('role', '')}: {m.get('content', '')}" for m in value)
    return told(value)
