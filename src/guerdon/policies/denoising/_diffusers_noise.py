"""The noise schedule of a scheduler of Hugging Face diffusers, number by number as the scheduler itself computes it."""

from __future__ import annotations

import inspect
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from guerdon.core.errors import ModelError, PlanError, nearest
from guerdon.core.hub import line_of
from guerdon.policies.denoising._kernels import DDIM, DDPM, Kernel
from guerdon.policies.denoising._levels import Levels, check_steps
from guerdon.policies.denoising._predictions import Predict

_OWN = ("DDIMScheduler", "DDPMScheduler")
_ALIKE = (  # other samplers of the same chains: their schedule is read, and walked as DDIMScheduler would
    "DEISMultistepScheduler", "DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler", "EulerAncestralDiscreteScheduler",
    "EulerDiscreteScheduler", "HeunDiscreteScheduler", "LMSDiscreteScheduler", "PNDMScheduler", "UniPCMultistepScheduler",
)  # fmt: skip
KNOWN = (*_OWN, *_ALIKE)
_PREDICTS: dict[str, Predict] = {"epsilon": "noise", "sample": "data", "v_prediction": "velocity"}
_VARIANCES: dict[str, Literal["small", "large"]] = {"fixed_small": "small", "fixed_small_log": "small", "fixed_large": "large"}
_LONGEST = 100_000  # timesteps a file may ask for


class Chain(NamedTuple):
    """What a scheduler says of a policy's chain.

    Attributes:
        noise: The schedule.
        predict: What the network's output stands for.
        kernel: The sampler.
        clip: Range that foreseen data is kept in; None: it is not.
    """

    noise: SchedulerNoise
    predict: Predict
    kernel: Kernel
    clip: float | None


@dataclass(frozen=True)
class SchedulerNoise:
    """A ``DDPMScheduler`` or ``DDIMScheduler`` as a noise schedule.

    The products of its alphas, its timesteps and where its last step ends are asked from the scheduler. The network is told
    (timestep + 1) / N: 1 for pure noise, 0 for data. A chain of all N timesteps has each of them once and ends in data, whatever
    ``steps_offset`` and ``set_alpha_to_one`` say: it is what a network is trained on.

    Args:
        kind: Class of the scheduler.
        config: Its settings, as sorted (name, value) pairs.

    Example:
        >>> noise = SchedulerNoise("DDIMScheduler", (("num_train_timesteps", 100),))
        >>> noise.finest, noise.levels(4).time.tolist()
        (100, [0.76, 0.51, 0.26, 0.01, 0.0])
    """

    kind: str
    config: tuple[tuple[str, Any], ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in _OWN:
            raise PlanError(f"SchedulerNoise: kind is {self.kind!r}; {nearest(self.kind, _OWN)}")

    @property
    def finest(self) -> int:
        """Timesteps the network is trained on."""
        return int(self.scheduler.config.num_train_timesteps)

    @property
    def scheduler(self) -> Any:
        """The scheduler itself."""
        return _scheduler(self)

    def levels(self, steps: int) -> Levels:
        """Where a chain of so many steps stops.

        Raises:
            PlanError: where the scheduler has no such chain, or one whose steps do not meet.
        """
        check_steps(self, steps)
        n, scheduler = self.finest, self.scheduler
        bar, final = scheduler.alphas_cumprod.double(), 1.0
        if steps == n:
            told = torch.arange(n).flip(0)
        else:
            scheduler.set_timesteps(steps)
            told = scheduler.timesteps.long()
            final = float(getattr(scheduler, "final_alpha_cumprod", 1.0))
            self._meets(told, steps)
        kept = torch.cat([bar[told], torch.tensor([final], dtype=torch.double)])
        time = torch.cat([told + 1, torch.zeros(1, dtype=torch.long)]).double() / n
        return Levels(time, kept.sqrt(), (1 - kept).sqrt())

    def _meets(self, told: Tensor, steps: int) -> None:
        """``DDIMScheduler`` counts back N // steps from each timestep, which need not be the next one."""
        n, config = self.finest, self.scheduler.config
        if int(told.max()) >= n:
            raise PlanError(f"{self.kind}: steps={steps} begins at timestep {int(told.max())} of {n} (steps_offset="
                            f"{config.steps_offset}); ask for fewer steps")  # fmt: skip
        if self.kind == "DDIMScheduler":
            goes = told - n // steps
            if bool((goes[:-1] != told[1:]).any()) or int(goes[-1]) >= 0:
                fits = [k for k in range(1, n) if n % k == 0 and config.timestep_spacing != "linspace"]
                hint = f"steps={min(fits, key=lambda k: abs(k - steps))}" if fits else "timestep_spacing='trailing'"
                raise PlanError(f"DDIMScheduler: with timestep_spacing={config.timestep_spacing!r} its steps do not meet at "
                                f"steps={steps} (it goes back {n // steps} timesteps); take {hint}")  # fmt: skip
        elif config.variance_type == "fixed_large" and int(told[-1]) != 0:
            raise PlanError(f"DDPMScheduler: with variance_type='fixed_large' a chain must end at timestep 0, and that of "
                            f"steps={steps} ends at {int(told[-1])}; take variance_type='fixed_small'")  # fmt: skip


@lru_cache(16)
def _scheduler(noise: SchedulerNoise) -> Any:
    import diffusers

    return getattr(diffusers, noise.kind)(**dict(noise.config))


def chain_of(scheduler: Any, name: str, *, clips: bool = True) -> Chain:
    """What a live scheduler means.

    Args:
        scheduler: One of ``KNOWN``.
        name: Where it comes from, for messages.
        clips: False: a pipeline in latents, which never clips and begins its timesteps at 1.

    Raises:
        ModelError: in one line, for a scheduler or a setting that gives no Gaussian chain.
    """
    import diffusers

    kind = check_kind(type(scheduler).__name__, name)
    config = settings(scheduler)
    if kind in _ALIKE:
        config.setdefault("clip_sample", False)
        if config.get("timestep_spacing") == "linspace":  # on which DDIM's steps do not meet
            config["timestep_spacing"] = "trailing"
        kind, config = "DDIMScheduler", settings(diffusers.DDIMScheduler.from_config(config))
    if not clips:
        config |= {"clip_sample": False, "steps_offset": 1}
    plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in config.items()}
    _check(plain, name)
    noise = SchedulerNoise(kind, tuple(sorted(plain.items())))
    try:
        bar = noise.scheduler.alphas_cumprod
    except (ValueError, TypeError, RuntimeError, NotImplementedError) as e:
        raise ModelError(f"{name}: {kind} cannot be made: {line_of(e)}") from None
    predict = _PREDICTS[plain["prediction_type"]]
    if len(bar) != plain["num_train_timesteps"] or not bool((bar >= 0).all() and (bar < 1).all() and (bar.diff() < 0).all()):
        raise ModelError(f"{name}: {kind}: its betas are no noise schedule of {plain['num_train_timesteps']} timesteps")
    if float(bar[-1]) == 0 and predict == "noise":
        raise ModelError(f"{name}: {kind}: at zero signal (rescale_betas_zero_snr) noise says nothing of the data; such a "
                         "network has prediction_type 'v_prediction' or 'sample'")  # fmt: skip
    kernel = DDPM(_VARIANCES[plain["variance_type"]]) if kind == "DDPMScheduler" else DDIM(1.0)
    return Chain(noise, predict, kernel, float(plain["clip_sample_range"]) if plain["clip_sample"] else None)


def settings(scheduler: Any) -> dict[str, Any]:
    """What a scheduler takes to be made again.

    Without what it only carries along for other classes, and without the library's notes on which settings were left at their
    defaults: these make another class take its own defaults instead, and count what was given by position among them.
    """
    taken = inspect.signature(type(scheduler).__init__).parameters
    return {k: v for k, v in scheduler.config.items() if k in taken}


def check_kind(kind: str, name: str) -> str:
    """The class of a scheduler, where it is one that is read.

    Raises:
        ModelError: where it is not.
    """
    if kind not in KNOWN:
        raise ModelError(f"{name}: scheduler {kind} gives no discrete Gaussian chain; {nearest(kind, KNOWN)}")
    return kind


def check_length(n: Any, name: str) -> None:
    """Whether a scheduler of so many timesteps may be made.

    Raises:
        ModelError: where it may not.
    """
    if not isinstance(n, int) or not 1 <= n <= _LONGEST:
        raise ModelError(f"{name}: num_train_timesteps is {n!r}, expected 1 to {_LONGEST}")


def _check(config: dict[str, Any], name: str) -> None:
    """What cannot be a Gaussian chain, or no chain at all."""
    check_length(config["num_train_timesteps"], name)
    if config["thresholding"]:
        raise ModelError(f"{name}: thresholding=True scales each sample by its own quantile; set it to False (clip_sample works)")
    if config["prediction_type"] not in _PREDICTS:
        raise ModelError(
            f"{name}: prediction_type is {config['prediction_type']!r}; {nearest(str(config['prediction_type']), _PREDICTS)}"
        )
    variance = config.get("variance_type", "fixed_small")
    if variance not in _VARIANCES:
        raise ModelError(
            f"{name}: variance_type is {variance!r}, expected {' or '.join(sorted(_VARIANCES))}: a learned variance is not read"
        )
    reach = config["clip_sample_range"]
    if config["clip_sample"] and not (isinstance(reach, int | float) and math.isfinite(reach) and reach > 0):
        raise ModelError(f"{name}: clip_sample_range is {reach!r}, expected a number above 0")
