"""Control: a policy that acts in worlds, one environment step at a time."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from guerdon.core import Behaviour, DataError, Items, PlanError, Policy, PolicyOutput, Rollout, Streams, pad
from guerdon.core.persistent import Persistent
from guerdon.core.policy import Want
from guerdon.core.world import Discrete, Episode, Slot, Space, Spaces, Start, WorldSpec
from guerdon.policies.control._acting import Noise, act_on, rows_of
from guerdon.policies.control._bodies import MLP, Activation, Body, BodySpec
from guerdon.policies.control._front import Front
from guerdon.policies.control._heads import ActionHead, Categorical, Gaussian, HeadSpec

_AT_ONCE = 64  # episodes that are open at the same time


class Control(Policy):
    """Front, body and head: what a world shows becomes features, and features a distribution of actions.

    Contexts say where to act: a ``Start`` is an episode from its beginning (samples of one Start begin in the same state), a
    ``Slot`` goes on in an environment that lives between draws (``run.Fragments``), and may give several rows, one for each
    episode it touches.

    Example:
        >>> from guerdon.core import Items, Streams
        >>> from guerdon.core.world import Start
        >>> from guerdon.worlds import GridWorld
        >>> world, streams = GridWorld("corridor"), Streams(0)
        >>> policy = Control.of(world)
        >>> rollout = policy.sample(Items([Start(world, 7)], streams.uids(1)), 2, streams=streams, steps=5)
        >>> bool((policy(rollout).logp - rollout.logp).abs().max() < 1e-4)
        True
    """

    source: str = ""  # where its weights were loaded from

    def __init__(
        self, world: WorldSpec | Spaces, front: Front, body: Body, head: ActionHead, spec: tuple[BodySpec, HeadSpec] | None = None
    ) -> None:
        super().__init__()
        self.world, self.front, self.body, self.head, self.spec = world, front, body, head, spec
        self.name = "control"
        self._open = _Open()

    @classmethod
    def of(
        cls,
        world: WorldSpec | Spaces,
        *,
        body: BodySpec = MLP(),
        head: HeadSpec | None = None,
        normalise: bool = False,
        seed: int = 0,
        dtype: Literal["float32", "float64"] = "float32",
    ) -> Control:
        """A new policy for a world.

        Args:
            world: What it will see and do; other worlds with the same spaces do as well.
            body: ``MLP``, ``CNN`` (pixels) or ``GRU`` (memory).
            head: ``Categorical``, ``Gaussian`` or ``TanhGaussian``; None: categorical or Gaussian, as the actions are.
            normalise: Scale observations by running statistics (``run.ObservationStatistics`` moves them).
            seed: Of the initial weights.
            dtype: Number format.

        Raises:
            PlanError: where body or head do not fit the world's spaces.
        """
        generator = torch.Generator().manual_seed(seed)
        number = getattr(torch, dtype)
        front = Front(world.observation, normalise, number)
        head = head if head is not None else Categorical() if isinstance(world.action, Discrete) else Gaussian()
        made = body.build(front.shape, generator)
        policy = cls(world, front, made, head.build(made.width, world.action, generator), (body, head))
        policy.body.to(number)
        policy.head.to(number)
        return policy

    @classmethod
    def from_pretrained(
        cls,
        path_or_name: str,
        *,
        world: WorldSpec | Spaces | None = None,
        activation: Activation | None = None,
        normalisation: str | None = None,
        dtype: Literal["float32", "float64"] | None = None,
    ) -> Control:
        """A trained policy: from a folder that guerdon saved, or an agent of Stable-Baselines3 (PPO, A2C, SAC).

        Files may come from anybody: safetensors, JSON, and ``policy.pth`` with nothing but tensors in it. Pickles are refused.

        Args:
            path_or_name: A folder of ``save`` or a name on the hub; ``agent.zip`` of Stable-Baselines3, its ``policy.pth``, or
                ``agent.safetensors`` with the same tensor names and an ``agents.json`` beside it (or ``folder#agent``).
            world: What it acts in; checked against the agent's shapes. A bare ``policy.pth`` needs one.
            activation: Of its layers, where the file does not say and it is not the default of its algorithm.
            normalisation: JSON or safetensors with ``obs_mean``, ``obs_var``, ``epsilon``, ``clip_obs``; ``"none"``: not
                normalised; None: as the file, or ``vecnormalize.json`` beside it, says.
            dtype: Number format (None: as saved; float32 for an agent of Stable-Baselines3).

        Raises:
            ModelError: in one line, naming the file and the tensor or key that does not fit.
        """
        from guerdon.policies.control._agents import load

        return load(path_or_name, world=world, activation=activation, normalisation=normalisation, dtype=dtype)

    @property
    def width(self) -> int:
        """Of the features."""
        return self.body.width

    @property
    def markov(self) -> bool:
        """Whether each step is read by itself, so that steps may be shuffled."""
        return not self.body.memory

    @property
    def dtype(self) -> torch.dtype:
        return self.front.dtype

    @property
    def observation(self) -> Space:
        """What is observed."""
        return self.front.space

    @property
    def action(self) -> Space:
        """What can be done."""
        return self.world.action

    def features(self, observation: Tensor) -> Tensor:
        """[N, D] of [N, ...] observations, for a policy without memory."""
        return self.body(self.front(observation.to(self.device)))

    def save(self, folder: str | Path, *, card: Mapping[str, Any] | None = None) -> Path:
        """A folder with config.json, model.safetensors and a model card; ``from_pretrained`` reads it back, bit for bit."""
        from guerdon.policies.control._save import save

        return save(self, Path(folder), dict(card or {}))

    def _behaviour(self, temperature: float, engine: str = "guerdon") -> Behaviour:
        return Behaviour(self.name, self.version, temperature, engine=engine, dtype=str(self.dtype).removeprefix("torch."))

    # -- acting

    def blank(self, n: int) -> Tensor | None:
        """[n, H] memory before anything was seen; None for a policy without."""
        return torch.zeros(n, self.body.memory, dtype=self.dtype) if self.body.memory else None

    @torch.no_grad()
    def act(
        self, observation: Tensor, noise: Tensor | None, temperature: float | None = None, memory: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """One action for each observation.

        Args:
            observation: [N, ...] as the world gave them.
            noise: [N, head.noise] of the head's kind; None: the most likely action.
            temperature: None: 1.
            memory: [N, H] of a recurrent policy; None for others.

        Returns:
            ([N, ...] actions as they are kept in rollouts, [N] log-probs, [N, H] memory or None).
        """
        x = self.front(observation.to(self.device))
        if memory is None:
            features = self.body(x)
        else:
            features, memory = self.body(x[:, None], memory.to(x.device))
            features = features[:, 0]
        action, logp = self.head.draw(features, None if noise is None else noise.to(x.device), temperature)
        return action.cpu(), logp.cpu(), memory

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @torch.no_grad()
    def sample(  # type: ignore[override]
        self, items: Items, n: int = 1, *, streams: Streams, steps: int | None = None, temperature: float = 1.0
    ) -> Rollout:
        """Episodes from ``Start`` contexts, fragments from ``Slot`` contexts.

        Args:
            items: What is asked; all of one kind.
            n: Episodes from each start; 1 for slots.
            streams: Where all randomness comes from.
            steps: At most how many steps a row has (None: episodes run to their end); of slots, exactly how many each takes.
            temperature: Divides logits, multiplies standard deviations; 0 takes the most likely action, with the log-probs of 1.

        Raises:
            DataError: for contexts that are neither.
            PlanError: for numbers that make no sense.
        """
        if n < 1 or (steps is not None and steps < 1) or not (math.isfinite(temperature) and temperature >= 0):
            raise PlanError(f"Control.sample: n={n}, steps={steps}, temperature={temperature}: n and steps must be at least 1, "
                            "temperature at least 0")  # fmt: skip
        kinds = {type(c) for c in items.contexts}
        if kinds == {Start}:
            return self._episodes(items.repeat(n), streams.samples(items.uid, n), streams, steps, temperature)
        if kinds != {Slot}:
            got = ", ".join(sorted(k.__name__ for k in kinds)) or "no items"
            raise DataError("Control acts from core.Start or core.Slot contexts, all of one kind: take run.Episodes or "
                            f"run.Fragments as the source (got {got})")  # fmt: skip
        if n != 1 or steps is None:
            raise PlanError("Control.sample: fragments need n=1 and a number of steps (sampler controls: {steps: 128})")
        return self._fragments(items, streams, steps, temperature)

    def _episodes(self, rows: Items, uid: Tensor, streams: Streams, steps: int | None, temperature: float) -> Rollout:
        done: list[tuple[Tensor, Rollout]] = []
        for world in dict.fromkeys(c.world for c in rows.contexts):
            mine = torch.tensor([k for k, c in enumerate(rows.contexts) if c.world == world])
            for part in mine.split(_AT_ONCE):
                asked = rows[part]
                live = self._open.of(world, min(len(mine), _AT_ONCE))
                live.starts(torch.tensor([c.seed for c in asked.contexts]))
                noise = Noise(self, streams, uid[part], temperature)
                record = act_on(self, live, torch.arange(len(part)), noise, steps or 1 << 40, temperature, False)
                done.append((part, rows_of(self, record, asked, uid[part], [-1] * len(part), self._behaviour(temperature))))
        order = torch.cat([p for p, _ in done])
        rollout = Rollout.cat([r for _, r in done])
        return rollout if len(done) == 1 else rollout[order.argsort()]

    def _fragments(self, items: Items, streams: Streams, steps: int, temperature: float) -> Rollout:
        done = []
        for live in {id(c.live): c.live for c in items.contexts}.values():
            if live is None:
                raise DataError("a Slot without its environment: slots cannot be copied; take those that run.Fragments gives")
            mine = torch.tensor([k for k, c in enumerate(items.contexts) if c.live is live])
            asked = items[mine]
            slots = [c.index for c in asked.contexts]
            uid = streams.samples(asked.uid, 1)
            noise = Noise(self, streams, uid, temperature)
            record = act_on(self, live, torch.tensor(slots), noise, steps, temperature, True)
            done.append(rows_of(self, record, asked, uid, slots, self._behaviour(temperature)))
        return Rollout.cat(done)

    # -- replaying

    def forward(self, rollout: Rollout, *, want: Collection[Want] = ("logp",)) -> PolicyOutput:
        """Log-probs and entropies of the chosen steps; ``hidden`` [B, T, D] features of the state before each step."""
        if rollout.states is None:
            raise DataError("Control reads states, and these rows have none")
        mask = rollout.mask
        if self.body.memory:
            hidden = self._through_time(rollout)
            chosen = hidden[mask.to(hidden.device)]
        elif "hidden" in want:
            hidden = self.body(self.front(rollout.states[:, :-1].flatten(0, 1).to(self.device))).unflatten(0, mask.shape)
            chosen = hidden[mask.to(hidden.device)]
        else:
            chosen = self.body(self.front(rollout.states[:, :-1][mask].to(self.device)))
        logp = entropy = None
        if "logp" in want or "entropy" in want:
            both = self.head.read(chosen, rollout.actions[mask].to(self.device), _heat(rollout, mask))
            logp, entropy = (_placed(x.to(mask.device), mask) for x in both)
        return PolicyOutput(
            logp if "logp" in want else None, entropy if "entropy" in want else None, hidden if "hidden" in want else None
        )

    def _through_time(self, rollout: Rollout) -> Tensor:
        """[B, T, D] features of a recurrent body, from the memory each row began with."""
        assert rollout.states is not None
        memory = rollout.info.get("memory")
        start = self.blank(len(rollout)) if memory is None else memory
        assert start is not None
        x = self.front(rollout.states[:, :-1].flatten(0, 1).to(self.device)).unflatten(0, rollout.mask.shape)
        return self.body(x, start.to(x))[0]

    # -- given episodes

    def rollout_from(self, items: Items, outputs: Sequence[Any], *, streams: Streams) -> Rollout:
        """Given episodes or segments as rows: demonstrations, preference segments.

        Args:
            items: What was asked, one for each; contexts may be anything.
            outputs: [N] ``Episode``s, of any lengths.
            streams: For the rows' uids.

        Raises:
            DataError: naming the item, where an episode does not fit the policy's spaces.
        """
        if len(outputs) != len(items.contexts) or not len(outputs):
            raise DataError(f"{len(outputs)} outputs for {len(items.contexts)} items")
        for k, episode in enumerate(outputs):
            self._check(k, episode)
        space, action = self.front.space, self.world.action
        states = pad([e.observations.to(space.dtype) for e in outputs])[0]
        number = action.dtype if isinstance(action, Discrete) else self.dtype
        actions, mask = pad([self.head.from_world(e.actions.to(number)) for e in outputs])
        gains = [torch.zeros(len(e)) if e.rewards is None else e.rewards.float() for e in outputs]
        return Rollout(
            contexts=items.contexts, outputs=list(outputs), actions=actions, mask=mask, group=items.uid, states=states,
            uid=streams.samples(items.uid, 1), terminal=torch.tensor([e.terminated for e in outputs]),
            behaviour=(self._behaviour(1.0, "recorded"),), info={**items.info, "failed": [""] * len(outputs)},
            trace={"reward": pad(gains)[0]},
        ).check()  # fmt: skip

    def _check(self, k: int, episode: Any) -> None:
        if not isinstance(episode, Episode):
            raise DataError(f"item {k}: expected a core.world.Episode, got {type(episode).__name__}")
        for name, value, space in (("observations", episode.observations, self.front.space),
                                   ("actions", episode.actions, self.world.action)):  # fmt: skip
            if tuple(value.shape[1:]) != space.shape:
                raise DataError(f"item {k}: {name} have shape {tuple(value.shape[1:])}, expected {space.shape}")
            if isinstance(space, Discrete) and (value.is_floating_point() or value.dtype == torch.bool):
                raise DataError(f"item {k}: {name} are {value.dtype}, expected whole numbers from 0 to {space.n - 1}")
            if isinstance(space, Discrete) and len(value) and not 0 <= int(value.min()) <= int(value.max()) < space.n:
                raise DataError(
                    f"item {k}: {name} reach from {int(value.min())} to {int(value.max())}, expected 0 to {space.n - 1}"
                )
            if value.is_floating_point() and not bool(torch.isfinite(value).all()):
                raise DataError(f"item {k}: {name} hold a NaN or an infinite number")


class _Starts(Persistent):
    """Open environments whose episodes begin from given seeds."""

    seeds: Tensor

    def starts(self, seeds: Tensor) -> None:
        self.seeds = seeds
        self.running[:] = False

    def _seeds(self, slots: Tensor) -> Tensor:
        return self.seeds[slots]


class _Open:
    """Worlds kept open for episodes. It belongs to one policy and does not travel: a copy begins with none."""

    def __init__(self) -> None:
        self.worlds: dict[WorldSpec, _Starts] = {}

    def of(self, world: WorldSpec, n: int) -> _Starts:
        live = self.worlds.get(world)
        if live is None or live.n < n:
            if live is not None:
                live.close()
            live = self.worlds[world] = _Starts(world, n, 0)
        return live

    def __deepcopy__(self, memo: Any) -> _Open:
        return _Open()

    def __reduce__(self) -> tuple[Any, ...]:
        return _Open, ()

    def __del__(self) -> None:
        for live in self.worlds.values():
            live.close()


def _heat(rollout: Rollout, mask: Tensor) -> Tensor | None:
    """[N] temperatures of the chosen steps; None where all are 1."""
    heats = [b.temperature or 1.0 for b in rollout.behaviour]
    if all(h == 1 for h in heats):
        return None
    return torch.tensor(heats, dtype=torch.float64)[rollout.actor.cpu()].to(mask.device)[:, None].expand_as(mask)[mask]


def _placed(x: Tensor, mask: Tensor) -> Tensor:
    """[N] values of the chosen steps as [B, T], 0 elsewhere."""
    if x.numel() == mask.numel():
        return x.reshape(mask.shape)
    return x.new_zeros(mask.shape).masked_scatter(mask, x)
