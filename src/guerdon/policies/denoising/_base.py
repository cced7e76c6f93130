"""Denoising: what all generators share that go from noise to data in steps."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from guerdon.core import Behaviour, DataError, Items, PlanError, Policy, PolicyOutput, Rollout, Streams
from guerdon.core.policy import Want
from guerdon.core.stepper import Proposal
from guerdon.policies.denoising._asked import Asked
from guerdon.policies.denoising._how import Bound, How, Weight
from guerdon.policies.denoising._walk import Walk

_NUMBERS = 1 << 18  # of states that go through the network at once: more only fills memory
_ROWS = 1024


class Denoising(Policy):
    """A step is a denoising step: its state is the noisy sample, its action the next, less noisy one.

    Subclasses say what noise is (``noise``), where a step may go (``proposal``), how given data becomes a noisy level
    (``noised``), and what a step of the denoising bound is worth (``bound``).
    """

    kind: ClassVar[str] = "denoising"
    markov = True  # each step is read by itself
    weight: Weight = "simple"  # of the levels in ``rollout_from``
    source: str = ""  # where its weights were loaded from

    def __init__(self, shape: Sequence[int], network: nn.Module, condition: nn.Module | None, how: How) -> None:
        super().__init__()
        self.shape, self.network, self.condition, self.how = tuple(shape), network, condition, how
        self.name = self.kind

    # -- folders

    @classmethod
    def from_pretrained(cls, path_or_name: str, **how: Any) -> Self:
        """A trained model: a folder that guerdon saved, or one of ``diffusers`` (a UNet or a whole pipeline).

        Args:
            path_or_name: A folder, or a name on the hub.
            how: ``steps``, ``kernel``, ``guidance``, ``dtype``, where they differ from what the folder says; ``device``. For
                models of ``diffusers`` also ``lora`` (rank of adapters), ``null_label`` and ``scheduler``.

        Raises:
            ModelError: in one line, naming the file and what does not fit.
        """
        from guerdon.policies.denoising._load import load

        return load(path_or_name, cls, **how)

    def save(self, folder: str | Path, *, card: Mapping[str, Any] | None = None) -> Path:
        """A folder with config.json, model.safetensors and a model card; ``from_pretrained`` reads it back, bit for bit."""
        from guerdon.policies.denoising._save import save

        return save(self, Path(folder), dict(card or {}))

    # -- what subclasses say

    def noise(self, contexts: Sequence[Any], streams: Streams, uid: Tensor) -> Tensor:
        """[N, *shape] states at level 0."""
        raise NotImplementedError

    def proposal(self, state: Tensor, level: Tensor, asked: Asked, how: How) -> Proposal:
        """Where rows [N, *shape] at levels [N] may go."""
        raise NotImplementedError

    def noised(self, contexts: Sequence[Any], data: Tensor, level: Tensor, how: How, streams: Streams, uid: Tensor) -> Tensor:
        """[N, *shape] given data at levels [N], with noise of the rows' own."""
        raise NotImplementedError

    def bound(self, state: Tensor, data: Tensor, level: Tensor, asked: Asked, how: How, weight: str) -> Tensor:
        """[N] float64: the denoising bound's term of going from ``state`` at ``level`` to the data, up to a constant."""
        raise NotImplementedError

    @property
    def finest(self) -> int:
        """Levels that the network is trained on."""
        raise NotImplementedError

    def decoded(self, state: Tensor) -> Tensor | Sequence[Any]:
        """[N, ...] outputs of final states; autoencoders decode here."""
        return state

    def encoded(self, outputs: Sequence[Any] | Tensor) -> Tensor:
        """[N, *shape] final states of given outputs.

        Raises:
            DataError: naming the row, where an output is no such state.
        """
        rows = []
        for k, x in enumerate(outputs):
            if not isinstance(x, Tensor):
                raise DataError(f"item {k}: expected a tensor of shape {self.shape}, got {type(x).__name__}")
            if tuple(x.shape) != self.shape:
                raise DataError(f"item {k}: has shape {tuple(x.shape)}, expected {self.shape}")
            if not bool(torch.isfinite(x).all()):
                raise DataError(f"item {k}: holds a NaN or an infinite number")
            rows.append(x)
        return torch.stack(rows).to(self.device, self.dtype)

    # -- what is asked of the network

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype

    @property
    def width(self) -> int:
        """Of the features."""
        return int(self.network.width)  # type: ignore[arg-type]

    @property
    def steps_at_once(self) -> int:
        """How many steps go through the network together; no result depends on it."""
        return max(1, min(_ROWS, _NUMBERS // max(1, torch.Size(self.shape).numel())))

    def ask(self, contexts: Sequence[Any], how: How) -> Asked:
        """What is asked, as the network reads it."""
        if self.condition is None:
            if how.guidance != 1:
                who = type(self).__name__
                raise PlanError(f"{who}: guidance {how.guidance} contrasts what is asked with nothing; there is no condition")
            return Asked()
        given = self.condition(contexts)
        nothing = self.condition(contexts, drop=torch.ones(len(contexts), dtype=torch.bool)) if how.guidance != 1 else None
        return Asked(given, nothing)

    def predicted(self, state: Tensor, time: Tensor, asked: Asked, guidance: float) -> Tensor:
        """[N, *shape] what the network says of the rows; with guidance, its contrast to what it says unasked."""
        time = time.to(state.device)
        said: Tensor = self.network(state, time, asked.given)
        if guidance == 1:
            return said
        alone: Tensor = self.network(state, time, asked.nothing)
        return alone + guidance * (said - alone)

    def behaviour(self, how: How, engine: str = "guerdon", extra: tuple[tuple[str, Any], ...] = ()) -> Behaviour:
        """Who acts, and how."""
        return Behaviour(
            self.name, self.version, engine=engine, dtype=str(self.dtype).removeprefix("torch."), dims=self.dims,
            extra=tuple(sorted((*how.extra, *extra), key=lambda pair: pair[0])),
        )  # fmt: skip

    # -- acting

    def begin(
        self, items: Items, n: int = 1, *, streams: Streams, outputs: Sequence[Any] | None = None, shared_start: bool = False,
        **controls: Any,
    ) -> Walk:  # fmt: skip
        """Chains at their first level, to be walked step by step.

        Args:
            items: What is asked.
            n: Chains for each item.
            streams: Where all randomness comes from.
            outputs: [len(items)] given outputs that the chains begin from, noised to ``level`` (editing, resets); None: noise.
            shared_start: The chains of one item begin in the same noise.
            controls: ``steps``, ``kernel``, ``guidance``, ``deterministic`` (the ODE), ``window`` (which levels are noisy),
                ``level`` (where to begin, with ``outputs``).

        Raises:
            PlanError: for unknown controls, or values that make no sense.
            DataError: for contexts or outputs that the policy cannot read.
        """
        how = self.how.changed(type(self).__name__, **controls)
        if n < 1:
            raise PlanError(f"{type(self).__name__}: n must be at least 1, got {n}")
        if (outputs is None) != (how.level == 0):
            raise PlanError(f"{type(self).__name__}: outputs and level go together: level {how.level} with "
                            f"{'no outputs' if outputs is None else 'outputs'}")  # fmt: skip
        rows, uid = items.repeat(n), streams.samples(items.uid, n)
        seed = items.uid.repeat_interleave(n) if shared_start else uid
        if outputs is None:
            start = self.noise(rows.contexts, streams, seed)
        else:
            if len(outputs) != len(items):
                raise DataError(f"{len(outputs)} outputs for {len(items)} items")
            data = self.encoded(outputs).repeat_interleave(n, 0)
            start = self.noised(rows.contexts, data, torch.full((len(uid),), how.level), how, streams, seed)
        return Walk(self, how, rows, uid, items.uid.repeat_interleave(n), streams, start)

    def sample(self, items: Items, n: int = 1, *, streams: Streams, **controls: Any) -> Rollout:
        """``n`` chains for every item, walked to their end; arguments as for ``begin``."""
        with torch.no_grad():
            return self.begin(items, n, streams=streams, **controls).finish()

    def rsample(
        self, items: Items, n: int = 1, *, streams: Streams, grad_steps: int = 1, stop: int | None = None,
        reference: Denoising | None = None, **controls: Any,
    ) -> Rollout:  # fmt: skip
        """What ``sample`` gives, with gradients from ``outputs`` through the last ``grad_steps`` steps.

        Args:
            items: What is asked.
            n: Chains for each item.
            streams: Where all randomness comes from; the same ones give the same outputs as ``sample``.
            grad_steps: Steps that keep their graph, counted from the data; 0: none.
            stop: Level whose foreseen outputs are given instead of walking on to the data; None: the data.
            reference: Told in ``trace["kl"]`` [B, S]: nats of every step that keeps its graph against this policy.
            controls: As for ``begin``.

        Sources: DRaFT (arXiv:2309.17400), AlignProp (arXiv:2310.03739), one foreseen step: ImageReward (arXiv:2304.05977).
        """
        from guerdon.policies.denoising._reparametrised import reparametrise

        return reparametrise(self, items, n, streams=streams, grad_steps=grad_steps, stop=stop, reference=reference, **controls)

    # -- replaying

    def forward(self, rollout: Rollout, *, want: Collection[Want] = ("logp",)) -> PolicyOutput:
        """Log-probs (float64) and entropies of the chosen steps; terms of the denoising bound for rows of ``rollout_from``.

        ``hidden`` [B, T, D]: pooled features of the state that each step was chosen in.
        """
        if rollout.states is None or "level" not in rollout.trace:
            raise DataError(f"{type(self).__name__} reads states and their levels, and these rows have none")
        out: dict[str, Tensor] = {}
        names = [w for w in ("logp", "entropy") if w in want]
        if names:
            parts: list[tuple[Tensor, Tensor, dict[str, Tensor]]] = []
            for k, behaviour in enumerate(rollout.behaviour):
                here = rollout.mask & (rollout.actor == k).to(rollout.mask.device)[:, None]
                row, t = here.nonzero(as_tuple=True)
                if len(row):
                    parts.append((row, t, self._read(rollout, row, t, behaviour, names)))
            for name in names:
                blank = torch.zeros(rollout.mask.shape, dtype=torch.double, device=rollout.mask.device)
                for row, t, found in parts:
                    blank = blank.index_put((row, t), found[name].to(blank))
                out[name] = blank
        if "hidden" in want:
            out["hidden"] = self._hidden(rollout)
        return PolicyOutput(**out)

    def _read(self, rollout: Rollout, row: Tensor, t: Tensor, behaviour: Behaviour, names: Sequence[str]) -> dict[str, Tensor]:
        """name -> [len(row)] of single steps, computed in parts whose activations are not all kept at once."""
        how, bound = type(self.how).of(behaviour)
        used, place = row.unique(return_inverse=True)
        asked = self.ask([rollout.contexts[int(k)] for k in used], how)
        assert rollout.states is not None
        level = rollout.trace["level"]

        def one(part: Tensor) -> tuple[Tensor, ...]:
            r, s = row[part], t[part]
            state = rollout.states[r, s].to(self.device)  # type: ignore[index]
            after = rollout.actions[r, s].to(self.device)
            mine = asked.take(place[part])
            if bound is not None:
                value = self._bound(state, after, level[r, s].cpu(), mine, how, bound, behaviour.dims)
                return tuple(value if n == "logp" else torch.zeros_like(value) for n in names)
            proposal = self.proposal(state, level[r, s].cpu(), mine, how)
            if hasattr(proposal, "dims"):
                proposal = dataclasses.replace(proposal, dims=behaviour.dims)  # type: ignore[type-var]
            return tuple(proposal.logp(after) if n == "logp" else proposal.entropy() for n in names)

        parts = torch.arange(len(row)).split(self.steps_at_once)
        if not torch.is_grad_enabled():  # small tensors kept between large ones would leave holes in the heap
            out = {name: torch.zeros(len(row), dtype=torch.double) for name in names}
            for part in parts:
                for name, value in zip(names, one(part), strict=True):
                    out[name][part] = value.cpu()
            return out
        found = [checkpoint(one, p, use_reentrant=False) if len(parts) > 1 else one(p) for p in parts]
        return {name: torch.cat([f[k] for f in found]) for k, name in enumerate(names)}

    def _bound(self, state: Tensor, data: Tensor, level: Tensor, asked: Asked, how: How, bound: Bound, dims: str) -> Tensor:
        value = self.bound(state, data, level, asked, how, bound.weight)
        value = value * (self.finest / bound.draws if bound.weight == "elbo" else 1 / bound.draws)
        return value / torch.Size(self.shape).numel() if dims == "mean" else value

    def _hidden(self, rollout: Rollout) -> Tensor:
        """[B, T, D] features."""
        assert rollout.states is not None
        features: Any = self.network.features
        asked, level = self.ask(rollout.contexts, self.how), rollout.trace["level"].cpu()
        time = torch.zeros(level.shape, dtype=torch.double)
        for k, behaviour in enumerate(rollout.behaviour):
            mine = rollout.actor.cpu() == k
            if bool(mine.any()):
                time[mine] = self.times(type(self.how).of(behaviour)[0].steps)[level[mine]]
        row = torch.arange(len(rollout)).repeat_interleave(rollout.steps)
        flat = rollout.states[:, :-1].flatten(0, 1)
        parts = [
            features(flat[p].to(self.device), time.flatten()[p].to(self.device), asked.take(row[p]).given)
            for p in torch.arange(len(row)).split(self.steps_at_once)
        ]
        return torch.cat(parts).unflatten(0, (len(rollout), rollout.steps))

    def times(self, steps: int) -> Tensor:
        """[steps + 1] float64 what the network is told at each level of a chain."""
        raise NotImplementedError

    # -- given outputs

    def rollout_from(
        self, items: Items, outputs: Sequence[Any], *, streams: Streams, draws: int = 1,
        weight: Weight | None = None,
    ) -> Rollout:  # fmt: skip
        r"""Given outputs as rows whose log-prob is an unbiased estimate of the denoising bound, up to a constant.

        A row is (x_t1, ..., x_tk, x_0): the data at ``draws`` levels, each of which is to be denoised to it. Levels and noise
        belong to the item, so both sides of a comparison have the same: the preference loss over such rows is Diffusion-DPO
        (arXiv:2311.12908), the likelihood loss is denoising training.

        Args:
            items: What was asked.
            outputs: [N] given outputs.
            streams: For levels, noise and the rows' uids.
            draws: Levels for each row.
            weight: ``"elbo"``: terms of the bound itself, in nats; ``"simple"``: minus half the squared error of what the
                network predicts, at every level alike (arXiv:2006.11239, equation 14), which learns better and is no bound.
                None: the policy's own ``weight``.

        Raises:
            DataError: naming the item, where an output is none of this policy's.
            PlanError: for numbers that make no sense.
        """
        weight = weight or self.weight
        Bound(weight, draws)
        if len(outputs) != len(items.contexts) or not len(outputs):
            raise DataError(f"{len(outputs)} outputs for {len(items.contexts)} items")
        how = dataclasses.replace(self.how, steps=self.finest, guidance=1.0, level=0, window=None)
        data = self.encoded(outputs)
        level = streams("level", items.uid).integers(self.finest, draws)
        noised = [self.noised(items.contexts, data, level[:, k], how, streams.fork("draw", k), items.uid) for k in range(draws)]
        states = torch.stack([*noised, data], 1)
        return Rollout(
            contexts=items.contexts, outputs=outputs, actions=states[:, -1:].expand(-1, draws, *self.shape), states=states,
            mask=torch.ones(len(items), draws, dtype=torch.bool), group=items.uid, uid=streams.samples(items.uid, 1),
            behaviour=(self.behaviour(how, "recorded", (("bound", weight), ("draws", draws))),), info=items.info,
            trace={"level": level},
        ).check()  # fmt: skip
