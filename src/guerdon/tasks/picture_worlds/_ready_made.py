"""Ready-made: a whole plan that improves a world's base model by its own reward."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from guerdon import advantages, audit, objectives, policies, samplers, transforms
from guerdon.core.errors import PlanError, nearest
from guerdon.run import AdamW, Evaluation, Plan, Train, lazy
from guerdon.tasks.picture_worlds._denoiser import DenoiserStart, Kind, check_kind
from guerdon.tasks.picture_worlds._digits import Digits, DigitsReward
from guerdon.tasks.picture_worlds._edit import ShapesEdit
from guerdon.tasks.picture_worlds._shapes import Shapes
from guerdon.tasks.picture_worlds._task import PictureTask
from guerdon.tasks.picture_worlds._video import ShapesVideo

# A base model that learned from a more careless corpus errs in more ways, so that pictures of one caption differ.
_READY: dict[str, PictureTask] = {"shapes": Shapes(DenoiserStart(steps=1200), wrong=0.1)}
WORLDS: dict[str, type[PictureTask]] = {t.name: t for t in (Digits, Shapes, ShapesEdit, ShapesVideo)}


@dataclass(frozen=True)
class GRPOSettings:
    """How a ready-made plan of pictures learns.

    Args:
        steps: Draws.
        contexts: Captions a draw.
        n: Pictures for each.
        chain: Steps of a sampling chain.
        lr: Of AdamW; it falls to 0 along a line.
        kl: Price of a nat to the base model, at every step of a chain.
        guidance: Weight of the condition against none, in training and evaluation.
    """

    steps: int = 100
    contexts: int = 16
    n: int = 8
    chain: int = 8
    lr: float = 1e-4
    kl: float = 3e-4
    guidance: float = 1.0

    def __post_init__(self) -> None:
        for name in ("steps", "contexts", "chain"):
            if getattr(self, name) < 1:
                raise PlanError(f"GRPOSettings.{name} must be at least 1, got {getattr(self, name)}")
        if self.n < 2:
            raise PlanError(f"GRPOSettings.n must be at least 2 (pictures of a caption are compared), got {self.n}")
        if not self.lr > 0 or self.kl < 0:
            raise PlanError(f"GRPOSettings: expected lr > 0 and kl >= 0, got lr={self.lr}, kl={self.kl}")


def picture_world(name: str | PictureTask, *, tiny: bool = False) -> PictureTask:
    """A world of pictures by its name; a world is returned as it is.

    Args:
        name: ``"shapes"``, ``"shapes-edit"``, ``"shapes-video"`` or ``"digits"``.
        tiny: The version whose base model is made in seconds.

    Raises:
        PlanError: for an unknown name, with the nearest known one.

    Example:
        >>> picture_world("shapes-video").shape
        (6, 3, 12, 12)
    """
    if isinstance(name, PictureTask):
        return name
    if name not in WORLDS:
        raise PlanError(f"no world of pictures {name!r}; {nearest(str(name), WORLDS)}")
    return WORLDS[name].tiny() if tiny else WORLDS[name]()


def pictures(
    task: str | PictureTask = "shapes",
    kind: Kind = "diffusion",
    *,
    tiny: bool = False,
    seed: int = 0,
    samples: int = 128,
    evaluations: int = 5,
    **changes: Any,
) -> Plan:
    """A plan that improves a base model of pictures by GRPO with a KL to it, on captions, against the world's own reward.

    The base model is trained now when the cache lacks it: about a minute. What is evaluated are combinations of attributes that
    neither the base model nor the policy was trained on. It is a plan like any other: ``run`` it, ``save`` it as YAML for
    ``guerdon train``, or take it apart.

    Args:
        task: A name as for ``picture_world``, or any world of pictures. By its name, ``"shapes"`` is the world with a more
            careless corpus (``wrong=0.1``), whose base model leaves more to be gained.
        kind: ``"diffusion"`` or ``"flow"``, which is evaluated by its ODE.
        tiny: The version that is made in seconds; for tests and dry runs.
        seed: Of everything that is drawn.
        samples: Pictures in each evaluation; 0: no evaluations.
        evaluations: How many of them, spread over the run, beside the one before it.
        changes: Fields of ``GRPOSettings``, such as ``steps=50`` or ``kl=0.0``.

    Raises:
        PlanError: for an unknown world or setting, with the nearest known one.

    Example:
        plan = pictures("shapes", kind="flow", steps=100)
        plan.save("shapes.yaml")  # guerdon train shapes.yaml

    Sources: GRPO (arXiv:2402.03300), a chain's steps as decisions (DDPO, arXiv:2305.13301), on flows (Flow-GRPO,
    arXiv:2505.05470).
    """
    world = _READY[task] if isinstance(task, str) and task in _READY and not tiny else picture_world(task, tiny=tiny)
    policy = {"diffusion": policies.Diffusion, "flow": policies.Flow}[check_kind(kind)]
    known = [f.name for f in dataclasses.fields(GRPOSettings)]
    for key in changes:
        if key not in known:
            raise PlanError(f"tasks.pictures has no setting {key!r}; {nearest(key, known)}")
    s = GRPOSettings(**changes)
    every = max(1, math.ceil(s.steps / max(1, evaluations)))
    evaluation = Evaluation(
        reward=DigitsReward(world, "neighbours") if isinstance(world, Digits) else None,
        source=world.prompts("held_out"),
        samples=samples,
        every=every,
        controls={"deterministic": True} if kind == "flow" else {},
        measures=(audit.PairwiseDistance(), audit.Vendi(), audit.OffDataDistance(world.real())),
    )
    return Plan(
        policy=lazy(policy.from_pretrained, path_or_name=str(world.base(kind)), steps=s.chain, guidance=s.guidance),
        source=world.prompts(),
        sampler=samplers.Group(contexts=s.contexts, n=s.n),
        reward=world.reward(),
        references={"reference": policies.Frozen()},
        transforms=(transforms.TokenKL(s.kl),) if s.kl else (),
        advantage=advantages.GroupNorm(),
        learners={"policy": Train(objectives.PolicyGradient(), AdamW(lr=s.lr, decay="linear"))},
        evaluation=evaluation if samples else None,
        steps=s.steps,
        checkpoint_every=every,
        seed=seed,
        name=f"{world.name}-{kind}",
    )
