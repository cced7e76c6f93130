"""Between words and ids: prompts as generation sees them, given answers as it would have made them, and back."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from guerdon.core import DataError, ModelError

Messages = list[dict[str, Any]]


@dataclass(frozen=True)
class Row:
    """One row of ids; ``mask`` says which of them the policy chose and ``node`` in which of its turns."""

    ids: list[int]
    mask: list[bool]
    node: list[int]


class Text:
    """A tokenizer with its chat template and the ids that end an answer.

    Args:
        tokenizer: Any Hugging Face tokenizer.
        template: Jinja chat template in place of the tokenizer's own.
        ends: Ids that end an answer, beside the tokenizer's end-of-sequence id.
    """

    def __init__(self, tokenizer: Any, template: str | None = None, ends: Sequence[int] = ()) -> None:
        self.tokenizer = tokenizer
        self.template = template if template is not None else tokenizer.chat_template
        own = tokenizer.eos_token_id
        self.ends = frozenset(ends) | (frozenset() if own is None else {own})

    def __deepcopy__(self, memo: dict[int, Any]) -> Text:
        return self  # never changed, and slow to copy

    @cached_property
    def identity(self) -> str:
        """Short hashes of the template and the tokenizer: what must be equal for ids to mean the same."""
        fast = getattr(self.tokenizer, "backend_tokenizer", None)
        vocabulary = fast.to_str() if fast is not None else repr(sorted(self.tokenizer.get_vocab().items()))
        short = [hashlib.sha256(str(s).encode()).hexdigest()[:10] for s in (self.template, vocabulary)]
        return f"template:{short[0]} tokenizer:{short[1]}"

    # -- words to ids

    def encode(self, text: str, special: bool = False) -> list[int]:
        """Ids of ``text``; ``special`` adds what the tokenizer puts before a text (and never what it puts behind one)."""
        ids = list(self.tokenizer(text, add_special_tokens=special, return_attention_mask=False)["input_ids"])
        while special and ids and ids[-1] in self.ends and len(ids) > 1 and not text.endswith(self.tokenizer.decode(ids[-1:])):
            ids.pop()
        return ids

    def prompt(self, context: Any, k: int = 0) -> list[int]:
        """Ids that generation starts from, for item number ``k``: at least one.

        Raises:
            DataError: for a context of another kind than text, messages or ids.
        """
        if isinstance(context, str):
            ids = self.encode(context, special=True)
        elif isinstance(context, Tensor) or _is_ids(context):
            ids = [int(i) for i in context]
        else:
            ids = self.encode(self.render(*_chat(context, k), generation=True))
        if not ids:  # a model cannot start from nothing
            start = self.tokenizer.bos_token_id
            start = self.tokenizer.eos_token_id if start is None else start
            if start is None:
                raise DataError(f"item {k}: the prompt is empty, and the tokenizer has no token that starts a text")
            ids = [start]
        return ids

    def render(self, messages: Sequence[Mapping[str, Any]], tools: Any = None, generation: bool = False) -> str:
        """Messages as the template writes them; ``generation`` adds the opening of the assistant's turn."""
        if not self.template:
            raise ModelError("the tokenizer has no chat template; give one with template=... or use plain text as contexts")
        try:
            return self.tokenizer.apply_chat_template(
                list(messages), tools=tools, chat_template=self.template, add_generation_prompt=generation, tokenize=False
            )
        except Exception as e:
            raise DataError(f"the chat template refuses these messages: {type(e).__name__}: {e}") from e

    def extend(self, text: str, ids: list[int], more: str, special: bool = False) -> list[int]:
        """Ids of ``more`` behind ``text``, whose ids are given and stay as they are.

        Raises:
            DataError: where no such ids say exactly ``more``.
        """
        joint = self.encode(text + more, special)
        if joint[: len(ids)] == ids:
            return joint[len(ids) :]
        alone = self.encode(more)
        if self._verbatim([*ids, *alone]) == self._verbatim(ids) + more:
            return alone
        raise DataError(
            f"the tokenizer does not keep the prompt's ids when {more[:40]!r} follows {text[-20:]!r}, nor can it write that text"
            " alone; move spaces from the end of the prompt to the start of the answer"
        )

    def _verbatim(self, ids: list[int]) -> str:
        return self.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)

    # -- given answers

    def answer(self, context: Any, output: Any, k: int = 0) -> Row:
        """A given answer as a row.

        Args:
            context: As for ``prompt``.
            output: A string: what follows the prompt, word for word, and then the token that ends an answer. A list of ids:
                taken as they are. A message or a list of them: the conversation's continuation, as the template writes it; the
                policy chose the assistant's turns.
            k: Number of the item, for messages.
        """
        if not isinstance(output, str) and not _is_ids(output):
            messages, tools = _chat(context, k)
            said = [dict(output)] if isinstance(output, Mapping) else [dict(m) for m in output]
            return self._conversation(messages, said, tools, k)
        prompt = self.prompt(context, k)
        if isinstance(output, str):
            plain, chat = isinstance(context, str), not (isinstance(context, str | Tensor) or _is_ids(context))
            before = context if plain else self.render(*_chat(context, k), generation=True) if chat else self._verbatim(prompt)
            said_ids = self.extend(before, prompt, output, special=plain)
            end = self.chat_end if chat else self.tokenizer.eos_token_id
            said_ids = said_ids if end is None else [*said_ids, end]
        else:
            said_ids = [int(i) for i in output]
        return Row(prompt + said_ids, [False] * len(prompt) + [True] * len(said_ids), [0] * (len(prompt) + len(said_ids)))

    def turns(self, context: Any, output: Any, k: int = 0) -> list[tuple[Messages, Row]]:
        """Every assistant turn of a continuation as a row of its own, with the messages it answers."""
        messages, tools = _chat(context, k)
        said = [dict(output)] if isinstance(output, Mapping) else [dict(m) for m in output]
        full = messages + said
        rows: list[tuple[Messages, Row]] = []
        for j in range(len(messages), len(full)):
            if full[j].get("role") == "assistant":
                row = self._conversation(full[:j], full[j : j + 1], tools, k)
                rows.append((full[:j], Row(row.ids, row.mask, [len(rows)] * len(row.ids))))
        return rows

    def _conversation(self, messages: Messages, said: Messages, tools: Any, k: int) -> Row:
        full, text, row, turn = messages + said, "", Row([], [], []), -1
        for j in range(len(messages), len(full)):
            if full[j].get("role") != "assistant":
                continue
            turn += 1
            asked = self.render(full[:j], tools, generation=True)
            if not asked.startswith(text):
                raise DataError(
                    f"item {k}: the chat template rewrites what stands before message {j} (such as thinking it strips), so no"
                    " single row is what generation saw; pass split=True for one row per assistant turn"
                )
            _add(row, self.extend(text, row.ids, asked[len(text) :]) if row.ids else self.encode(asked), False, turn)
            text = self.render(full[: j + 1], tools)
            if text.startswith(asked):
                ids = self.extend(asked, row.ids, text[len(asked) :])
            elif set(full[j]) == {"role", "content"} and isinstance(full[j]["content"], str):
                # Generation gets an opening that the written turn lacks: the words simply follow it.
                ids = self.extend(asked, row.ids, full[j]["content"])
                text = asked + full[j]["content"]
            else:
                raise DataError(f"item {k}: the chat template writes message {j} unlike the opening it gives to generation")
            end = next((i for i, token in enumerate(ids) if token in self.ends), None)
            if end is None and j + 1 == len(full) and self.chat_end is not None:
                end, ids = len(ids), [*ids, self.chat_end]
            chosen = len(ids) if end is None else end + 1
            _add(row, ids[:chosen], True, turn)
            _add(row, ids[chosen:], False, turn)
        if turn < 0:
            raise DataError(f"item {k}: no message of the given output has the role 'assistant'")
        return row

    @cached_property
    def chat_end(self) -> int | None:
        """The id that ends an assistant's turn."""
        try:
            asked = self.render([{"role": "user", "content": "a"}], generation=True)
            told = self.render([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}])
            rest = told[len(asked) :] if told.startswith(asked) else told[told.rindex("b") :]
        except (DataError, ModelError, ValueError):
            rest = ""
        return next((i for i in self.encode(rest) if i in self.ends), self.tokenizer.eos_token_id)

    # -- ids to words

    def decode(self, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]) -> list[str]:
        """What each answer adds to its prompt, without special tokens; a space at its start is kept."""
        anchor = [list(p[-1:]) for p in prompts]
        before = self._words(anchor)
        after = self._words([[*a, *w] for a, w in zip(anchor, answers, strict=True)])
        out = [a[len(b) :] if a.startswith(b) else None for a, b in zip(after, before, strict=True)]
        return [self._words([list(w)])[0] if o is None else o for o, w in zip(out, answers, strict=True)]

    def _words(self, ids: list[list[int]]) -> list[str]:
        return self.tokenizer.batch_decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)

    def stopper(self, stop: Sequence[str]) -> Callable[[Tensor], Tensor]:
        """Says of rows of tokens said so far whether the last one completed a stop string."""
        last = {s[-1] for s in stop}
        words = self._words([[i, i] for i in range(len(self.tokenizer))])  # twice: the first may lose its space
        can = torch.tensor([bool(last & set(w)) or "\ufffd" in w for w in words])  # only these can complete one

        def stopped(tokens: Tensor) -> Tensor:
            newest = tokens[:, -1].cpu()
            may = (newest < len(can)) & can[newest.clamp(max=len(can) - 1)]
            for b in may.nonzero()[:, 0].tolist():
                said = self._words([tokens[b].tolist()])[0]
                may[b] = any(s in said for s in stop)
            return may.to(tokens.device)

        return stopped


def _is_ids(x: Any) -> bool:
    return isinstance(x, Tensor) or (isinstance(x, list | tuple) and all(isinstance(i, int) for i in x))


def _chat(context: Any, k: int) -> tuple[Messages, Any]:
    """The messages of a context and the tools they may call: a list of messages, or {"messages": [...], "tools": [...]}."""
    tools = context.get("tools") if isinstance(context, Mapping) else None
    messages = context.get("messages") if isinstance(context, Mapping) else context
    if not isinstance(messages, list | tuple) or not all(isinstance(m, Mapping) and "role" in m for m in messages):
        what = type(context).__name__
        raise DataError(f"item {k}: a context is a text, a list of messages ({{'role', 'content'}}) or a list of ids, got {what}")
    return [dict(m) for m in messages], tools


def _add(row: Row, ids: list[int], chosen: bool, turn: int) -> None:
    row.ids.extend(ids)
    row.mask.extend([chosen] * len(ids))
    row.node.extend([turn] * len(ids))
