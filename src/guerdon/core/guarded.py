"""Guards around an open world: what it does wrong becomes the failure of the slots that were asked, with a reason in one line."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from guerdon.core.errors import GuerdonError
from guerdon.core.world import Discrete, Space, Stepped, World


def guarded_reset(world: World, space: Space, slots: Tensor, seeds: Tensor) -> tuple[Tensor, list[str]]:
    """``world.reset``, whatever it raises or returns: ([k, ...] observations, 0 where it failed, and [k] why, or ``""``)."""
    try:
        observation, failed = world.reset(slots, seeds)
        why = _unlike(observation, space, len(slots)) or _miscounted(failed, len(slots))
    except GuerdonError:
        raise
    except Exception as e:  # noqa: BLE001  a world may raise anything; its slots keep the reason
        why = f"reset raised {reason_of(e)}"
    if why:
        return torch.zeros(len(slots), *space.shape, dtype=space.dtype), [why] * len(slots)
    bad = _outside(observation, space)
    if bad is None and not any(failed):
        return observation, list(failed)
    reasons = [f or (bad[k] if bad else "") for k, f in enumerate(failed)]
    return _blanked(observation, reasons), reasons


def guarded_step(world: World, space: Space, slots: Tensor, actions: Tensor) -> Stepped:
    """``world.step``, whatever it raises or returns. A slot that failed shows 0, earned 0, and has not ended."""
    k = len(slots)
    try:
        done = world.step(slots, actions)
        why = _unlike(done.observation, space, k) or _miscounted(done.failed, k)
        for name in ("reward", "terminated", "truncated"):
            if not why and tuple(getattr(done, name).shape) != (k,):
                why = f"step returned {name} of shape {tuple(getattr(done, name).shape)}, expected ({k},)"
    except GuerdonError:
        raise
    except Exception as e:  # noqa: BLE001  a world may raise anything; its slots keep the reason
        why = f"step raised {reason_of(e)}"
    if why:
        never = torch.zeros(k, dtype=torch.bool)
        blank = torch.zeros(k, *space.shape, dtype=space.dtype)
        return Stepped(blank, torch.zeros(k, dtype=torch.float64), never, never, [why] * k)
    bad, paid = _outside(done.observation, space), torch.isfinite(done.reward)
    if bad is None and not any(done.failed) and bool(paid.all()):
        return done
    gains = done.reward.tolist()
    unpaid = ["" if fine else f"reward is {gains[j]}" for j, fine in enumerate(paid.tolist())]
    reasons = [f or unpaid[j] or (bad[j] if bad else "") for j, f in enumerate(done.failed)]
    fine = torch.tensor([not r for r in reasons])
    gain = torch.where(fine, done.reward, 0.0)
    return Stepped(_blanked(done.observation, reasons), gain, done.terminated & fine, done.truncated & fine, reasons)


def reason_of(error: BaseException) -> str:
    """A raised exception as its first line.

    >>> reason_of(ValueError("no wheels"))
    'ValueError: no wheels'
    """
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


def _unlike(observation: Tensor, space: Space, k: int) -> str:
    """What is wrong with the observations as a whole; ``""`` for nothing."""
    if len(observation) != k:
        return f"{len(observation)} observations for {k} slots"
    if tuple(observation.shape[1:]) != space.shape:
        return f"observation has shape {tuple(observation.shape[1:])}, expected {space.shape}"
    return "" if observation.dtype == space.dtype else f"observation is {observation.dtype}, expected {space.dtype}"


def _miscounted(failed: Sequence[str], k: int) -> str:
    return "" if len(failed) == k else f"the world gave {len(failed)} reasons for {k} slots"


def _outside(observation: Tensor, space: Space) -> list[str] | None:
    """[k] what is wrong with each observation; None where all are fine."""
    if isinstance(space, Discrete):
        fine = (observation >= 0) & (observation < space.n)
    elif observation.is_floating_point():
        fine = torch.isfinite(observation)
    else:
        return None
    if bool(fine.all()):
        return None
    rows = fine.flatten(1).all(1) if fine.dim() > 1 else fine
    expected = f"not one of 0 to {space.n - 1}" if isinstance(space, Discrete) else "not finite"
    return ["" if ok else f"observation is {expected}" for ok in rows.tolist()]


def _blanked(observation: Tensor, reasons: Sequence[str]) -> Tensor:
    fine = torch.tensor([not r for r in reasons]).reshape(-1, *[1] * (observation.dim() - 1))
    return torch.where(fine, observation, torch.zeros((), dtype=observation.dtype))
