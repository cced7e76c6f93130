"""Language models as policies: any Hugging Face causal model samples, and says with gradients how likely its samples are."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, nn

from guerdon.core import Behaviour, DataError, Items, ModelError, PlanError, Policy, PolicyOutput, Rollout, Streams, pad
from guerdon.core.hub import check_folder, device_of, dtype_of, load_tokenizer
from guerdon.core.policy import Want
from guerdon.policies._draw import Ways
from guerdon.policies._load import LoRA, load_model
from guerdon.policies._rows import by_length
from guerdon.policies._save import save
from guerdon.policies._text import Text

if TYPE_CHECKING:
    from guerdon.policies._generate import Answers

_AT_ONCE = 1024  # steps of a pass without gradients on a CPU: few enough for the caches


class CausalLM(Policy):
    r"""A causal language model whose steps are tokens.

    $\log \pi(a_t | a_{<t}) = \log \mathrm{softmax}(z_t / \tau)_{a_t}$, over the ids that top-p and top-k kept when the token was
    drawn. The network is always in ``eval()`` mode: what samples is what is trained.

    Contexts are texts, lists of messages (``{"role", "content"}``, or ``{"messages": [...], "tools": [...]}``; rendered with the
    chat template) or lists of ids. A rollout's tensors are on the CPU, wherever the model is.

    Example:
        >>> from guerdon.core import Items, Streams
        >>> from guerdon.testing import tiny_lm
        >>> policy, streams = tiny_lm(), Streams(0)
        >>> rollout = policy.sample(Items(["2+2=", "10-7="], streams.uids(2)), 3, streams=streams, max_tokens=5)
        >>> len(rollout), policy.mismatch(rollout)["max"] < 1e-9
        (6, True)
    """

    def __init__(self, model: nn.Module, text: Text, name: str) -> None:
        from guerdon.policies._network import Network  # with transformers, which takes seconds to import

        super().__init__()
        self.model = model
        self.text = text
        self.source = name
        self.train(False)
        self.network = Network(_inner(model))
        self.identity = f"{name} {text.identity}"

    @classmethod
    def from_pretrained(
        cls, path_or_name: str, *, lora: int | LoRA | None = None, dtype: str = "float32", device: str = "auto",
        template: str | None = None,
    ) -> Self:  # fmt: skip
        """A model of a folder or of the Hugging Face hub, from safetensors.

        Args:
            path_or_name: Folder (a model, or an adapter that names its base) or a name on the hub.
            lora: Train low-rank adapters of this rank in place of all weights.
            dtype: ``"float32"``, ``"float64"`` or ``"bfloat16"``.
            device: ``"auto"`` takes the first there is of cuda, mps and cpu.
            template: Jinja chat template in place of the tokenizer's own.

        Raises:
            ModelError: in one line that says what is missing.
        """
        name, kind = str(path_or_name), dtype_of(dtype)
        name = str(Path(name).expanduser()) if name.startswith("~") else name
        check_folder(name)
        tokenizer = load_tokenizer(name)
        model = load_model(name, dtype=kind).to(device_of(device, kind))
        return cls.from_parts(model, tokenizer, lora=lora, template=template, name=name)

    @classmethod
    def from_parts(
        cls, model: Any, tokenizer: Any, *, lora: int | LoRA | None = None, template: str | None = None, name: str | None = None
    ) -> Self:
        """A model and a tokenizer that are there already.

        The model stays the caller's, set up for sampling: in ``eval()`` mode, with guerdon's attention where that gives the same
        logits, and, in float64, with norms that do not round to float32.
        """
        if lora is not None and hasattr(model, "peft_config"):
            raise PlanError("the model has an adapter already; leave lora out to train that one")
        ends = getattr(model.generation_config, "eos_token_id", None)
        text = Text(tokenizer, template, ends=[ends] if isinstance(ends, int) else ends or [])
        name = name or _inner(model).config.name_or_path or type(model).__name__
        if lora is not None:
            model = (LoRA(lora) if isinstance(lora, int) else lora).adapt(model)
        return cls(model, text, name)

    def train(self, mode: bool = True) -> Self:
        """Keeps the network in ``eval()`` mode: dropout would make it another one than the one that sampled."""
        return super().train(False)

    @property
    def lora(self) -> bool:
        """Whether adapters are trained in place of all weights."""
        return hasattr(self.model, "peft_config")

    @property
    def width(self) -> int:
        """D of ``hidden``."""
        return int(getattr(self.network.model.get_output_embeddings(), "in_features", self.network.config.hidden_size))

    @property
    def device(self) -> torch.device:
        return self.network.model.device

    @property
    def dtype(self) -> str:
        return str(self.network.model.dtype).removeprefix("torch.")

    # -- acting

    @torch.no_grad()
    def sample(  # type: ignore[override]
        self, items: Items, n: int = 1, *, streams: Streams, max_tokens: int = 64, temperature: float = 1.0, top_p: float = 1.0,
        top_k: int = 0, stop: str | Sequence[str] | None = None, rows: int | None = None,
    ) -> Rollout:  # fmt: skip
        """``n`` answers to every item; row k*n + j is answer j to item k.

        A row's tokens depend on its uid and its prompt, not on what is sampled beside it. ``temperature=0`` takes the most
        probable tokens; such rows are recorded, and replayed, with temperature 1. After a cut (``top_p`` or ``top_k``),
        ``trace["kept"]`` [B, T, K] holds the ids + 1 that were kept (0: none), or, where more than 256 were,
        ``trace["log_kept"]`` [B, T] the log of their mass (nucleus sampling: arXiv:1904.09751).

        Args:
            items: What is asked.
            n: Answers per item.
            streams: Where randomness comes from; the role is ``"token"``.
            max_tokens: Most tokens of an answer, its end included.
            temperature: Divisor of the logits.
            top_p: Mass of the most probable tokens that is kept, of what ``top_k`` left.
            top_k: Number of most probable tokens kept (0: all).
            stop: Texts that end an answer; ``outputs`` leave them out.
            rows: Most rows sampled at once (groups stay whole).

        Raises:
            DataError: where a prompt leaves no room in the model's context.
        """
        from guerdon.policies._generate import chunks, generate

        ways = Ways(temperature, top_p, top_k)
        if n < 1 or max_tokens < 1 or (rows is not None and rows < 1):
            raise PlanError(f"n={n}, max_tokens={max_tokens}, rows={rows}: each must be at least 1")
        if not self.network.samples:
            raise ModelError(f"{type(self.network.model).__name__} has no cache of keys and values that sampling can use")
        if not len(items.contexts):
            raise DataError("there is nothing to sample for: no items")
        prompts = [self.text.prompt(c, k) for k, c in enumerate(items.contexts)]
        stop = [stop] if isinstance(stop, str) else [s for s in stop or [] if s]
        stopped = self.text.stopper(stop) if stop else None
        uid = streams.samples(items.uid, n)
        room = [min(max_tokens, self._room(len(p), k)) for k, p in enumerate(prompts)]
        ends = torch.zeros(self.network.config.vocab_size, dtype=torch.bool)
        ends[[e for e in self.text.ends if e < len(ends)]] = True

        order, parts = [], []
        for part in chunks([len(p) for p in prompts], n, rows, self.network.ragged):
            which = (torch.tensor(part)[:, None] * n + torch.arange(n)).flatten()
            asked, numbers = [prompts[k] for k in part], streams("token", uid[which])
            answers = generate(self.network, asked, n, numbers, [room[k] for k in part], ways, ends, stopped)
            order.append(which)
            parts.append(self._rows([p for p in asked for _ in range(n)], answers))
        many = items.repeat(n)
        rollout = Rollout.cat(parts)[torch.cat(order).argsort()] if len(parts) > 1 else parts[0]
        cut = (temperature, top_p, top_k) if not ways.greedy else (1.0, 1.0, 0)
        behaviour = Behaviour(
            self.identity, self.version, *cut, dtype=self.dtype, extra=(("greedy", True),) if ways.greedy else ()
        )
        outputs = rollout.outputs if not stop else [_before(str(o), stop) for o in rollout.outputs]
        trace = rollout.trace
        if ways.greedy and (top_p < 1 or top_k > 0):  # empty columns, so that these rows may join sampled ones
            trace = {"kept": torch.zeros(*rollout.mask.shape, 1, dtype=torch.int32), "log_kept": torch.zeros(rollout.mask.shape)}
        return rollout.replace(
            contexts=many.contexts, outputs=outputs, group=many.uid, uid=uid, behaviour=(behaviour,), info=many.info, trace=trace
        ).check()

    def _room(self, prompt: int, k: int) -> int:
        limit = self.network.limit
        if limit is not None and prompt >= limit:
            raise DataError(f"item {k}: a prompt of {prompt} tokens leaves no room for an answer in a context of {limit}")
        return (limit or 1 << 40) - prompt

    def _rows(self, prompts: list[list[int]], answers: Answers) -> Rollout:
        """Prompts and answers as rows that start at step 0; who asked what is filled in by the caller."""
        said = [t[:n] for t, n in zip(answers.tokens.tolist(), answers.length.tolist(), strict=True)]
        actions, real = pad([torch.tensor([*p, *s]) for p, s in zip(prompts, said, strict=True)])
        start = torch.tensor([len(p) for p in prompts])
        mask = real & (torch.arange(actions.shape[1]) >= start[:, None])
        row, t = (torch.arange(answers.tokens.shape[1]) < answers.length[:, None]).nonzero(as_tuple=True)

        def place(x: Tensor) -> Tensor:
            out = x.new_zeros(*actions.shape, *x.shape[2:])
            out[row, start[row] + t] = x[row, t]
            return out

        trace = {}
        if answers.kept is not None and answers.log_kept is not None:
            trace = {"kept": place(answers.kept), "log_kept": place(answers.log_kept)}
        nobody = torch.zeros(len(said), dtype=torch.long)
        return Rollout(
            contexts=prompts, outputs=self.text.decode(prompts, said), actions=actions, mask=mask, group=nobody, uid=nobody,
            logp=place(answers.logp), terminal=answers.ended, trace=trace,
        )  # fmt: skip

    # -- replaying

    def forward(self, rollout: Rollout, *, want: Collection[Want] = ("logp",)) -> PolicyOutput:
        """Log-probs and entropies of the chosen steps, as they were drawn; ``hidden`` [B, T, D] of the state before each step.

        Logits are made for chosen steps only, a chunk at a time. Rows of different behaviours may be mixed. Behind a wide cut
        (``trace["log_kept"]``) the mass of the kept set is taken as it was, and the entropy is that of all ids.
        """
        if bool(rollout.mask[:, :1].any()):
            raise ValueError("a language model cannot choose step 0: nothing stands before it")
        large = rollout.mask.numel() > _AT_ONCE and self.device.type == "cpu"
        if large and not torch.is_grad_enabled() and "hidden" not in want:  # parts are trimmed to what was chosen
            return by_length(rollout, self._read, want, _AT_ONCE)
        return self._read(rollout, want=want)

    def _read(self, rollout: Rollout, *, want: Collection[Want]) -> PolicyOutput:
        """``forward`` of all rows at once."""
        mask, steps = rollout.mask.to(self.device), rollout.steps
        lengths = rollout.lengths.to(self.device)
        read = min(steps - 1, int(lengths.max()) - ("hidden" not in want)) if len(rollout) else 0
        if self.network.limit is not None and read > self.network.limit:
            raise ModelError(f"rows of {read} tokens do not fit the model's context of {self.network.limit}")
        ids = rollout.actions.to(self.device)
        inside = torch.arange(steps, device=self.device) < lengths[:, None]
        ids = torch.where(inside, ids, self.network.filler)  # padding may hold anything, and causal attention never looks ahead
        wants_logp = "logp" in want or "entropy" in want
        hidden = logp = entropy = None
        home = rollout.mask.device
        if "hidden" in want:
            features = self.network.features(ids[:, : max(read, 1)])
            hidden = nn.functional.pad(features, (0, 0, 1, 0))[:, :steps]
            hidden = nn.functional.pad(hidden, (0, 0, 0, steps - hidden.shape[1]))  # stays where the model is: it is large
        if wants_logp:
            both = self._selected(rollout, ids, mask, read, features if "hidden" in want and self.network.head else None)
            logp, entropy = (x.to(home) for x in both)
        return PolicyOutput(logp if "logp" in want else None, entropy if "entropy" in want else None, hidden)

    def _selected(self, rollout: Rollout, ids: Tensor, mask: Tensor, read: int, states: Tensor | None) -> tuple[Tensor, Tensor]:
        """([B, T] log-probs, [B, T] entropies), 0 where nothing was chosen."""
        if states is None:
            states = self.network.states(ids[:, : max(read, 1)])
        row, t = mask[:, 1 : read + 1].nonzero(as_tuple=True)
        chosen, step = ids[row, t + 1], t + 1
        kept = log_kept = None
        if "kept" in rollout.trace:
            kept = rollout.trace["kept"].to(self.device)[row, step].long() - 1
        if "log_kept" in rollout.trace:
            log_kept = rollout.trace["log_kept"].to(self.device)[row, step]
        heat = sorted({b.temperature for b in rollout.behaviour})
        level = torch.tensor([heat.index(b.temperature) for b in rollout.behaviour])[rollout.actor.cpu()].to(self.device)[row]
        out = [torch.zeros(mask.shape, dtype=torch.promote_types(states.dtype, torch.float32), device=self.device)] * 2
        for k, temperature in enumerate(heat):
            at = (level == k).nonzero()[:, 0]
            support = None if kept is None else kept[at]
            found = self.network.selected(states[row[at], t[at]], chosen[at], support, temperature)
            out = [o.index_put((row[at], step[at]), f) for o, f in zip(out, found, strict=True)]
        if log_kept is not None:
            out[0] = out[0].index_put((row, step), -log_kept.to(out[0]), accumulate=True)
        return out[0], out[1]

    @torch.no_grad()
    def mismatch(self, rollout: Rollout) -> dict[str, float]:
        """How far the log-probs of sampling and of training are apart, in nats a chosen step: ``max`` and ``mean``.

        Expected: at most 1e-9 in float64 and 1e-4 in float32; in bfloat16 it is what it is.
        """
        if rollout.logp is None:
            raise ValueError("a rollout without log-probs was not sampled by a policy that knows them")
        apart = (by_length(rollout, self).need("logp") - rollout.logp)[rollout.mask].abs().double()
        return {"max": float(apart.max()), "mean": float(apart.mean())} if len(apart) else {"max": 0.0, "mean": 0.0}

    # -- given answers

    def rollout_from(self, items: Items, outputs: Sequence[Any], *, streams: Streams, split: bool = False) -> Rollout:
        """Given outputs as rows: demonstrations and preference answers.

        An output is a text (what follows the prompt, word for word; the token that ends an answer is added), a list of ids, or,
        for chat contexts, the messages that follow: then the assistant's turns are chosen steps and ``node`` counts them. The
        prompt's ids are exactly those that ``sample`` starts from. Log-probs are None until recomputed.

        Args:
            items: What was asked.
            outputs: [N] one per item.
            streams: For the rows' uids.
            split: One row per assistant turn (of the same group), for templates that rewrite earlier turns; there may then be
                more rows than items.

        Raises:
            DataError: naming the item, where an output has no ids that generation could have made.
        """
        if len(outputs) != len(items.contexts) or not len(outputs):
            raise DataError(f"{len(outputs)} outputs for {len(items.contexts)} items")
        contexts, said, rows, owner, nth = [], [], [], [], []
        for k, (context, output) in enumerate(zip(items.contexts, outputs, strict=True)):
            turns = self.text.turns(context, output, k) if split else [(context, self.text.answer(context, output, k))]
            for i, (asked, row) in enumerate(turns):
                limit = self.network.limit
                if limit is not None and len(row.ids) > limit:
                    raise DataError(f"item {k}: {len(row.ids)} tokens of prompt and answer exceed the context of {limit}")
                contexts.append(asked)
                said.append(output)
                rows.append(row)
                owner.append(k)
                nth.append(i)
        own = torch.tensor(owner)
        uid = streams.samples(items.uid, max(nth) + 1).view(len(outputs), -1)[own, torch.tensor(nth)]
        many = items[own]
        return Rollout(
            contexts=contexts, outputs=said, actions=pad([torch.tensor(r.ids) for r in rows])[0],
            mask=pad([torch.tensor(r.mask) for r in rows])[0], node=pad([torch.tensor(r.node) for r in rows])[0],
            group=many.uid, uid=uid, info=many.info,
            behaviour=(Behaviour(self.identity, self.version, engine="recorded", dtype=self.dtype),),
        ).check()  # fmt: skip

    # -- keeping

    def save(self, folder: str | Path, *, merged: bool = True, card: Mapping[str, Any] | None = None) -> Path:
        """A Hugging Face folder: weights, tokenizer, template, generation config, and a model card of the run's facts.

        Args:
            folder: Where; what is there is replaced, at once, when all is written.
            merged: Adapters merged into the weights; False: the adapter alone.
            card: Facts for README.md: ``base_model``, ``plan_hash``, ``metrics``, ``references`` and whatever else is known.
        """
        return save(self, Path(folder), merged, dict(card or {}))

    def freeze_output(self) -> None:
        """Leaves the output layer out of training, for a copy of which only ``hidden`` is read; tied weights stay."""
        model = self.network.model
        used = {id(p) for p in model.get_input_embeddings().parameters()}
        for p in model.get_output_embeddings().parameters():
            p.requires_grad_(p.requires_grad and id(p) in used)

    def without_adapters(self) -> Any:
        """A context in which a LoRA policy is its base model."""
        if not self.lora:
            raise ModelError("this policy has no adapters to switch off; load it with lora=...")
        return self.model.disable_adapter()  # type: ignore[operator]


def _inner(model: Any) -> Any:
    """The Hugging Face model itself; adapters are layers inside it."""
    return model.get_base_model() if hasattr(model, "peft_config") else model


def _before(output: str, stop: Sequence[str]) -> str:
    return output[: min((i for s in stop if (i := output.find(s)) >= 0), default=len(output))]
