"""Contexts and outputs as the ids a reward model reads: what is written, what is joined, and what is cut."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping
from functools import cached_property
from typing import Any, NamedTuple

from guerdon.core import DataError, ModelError

PLAIN = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
"""Template of a fresh reward model whose base has none: one line for each message."""


class Encoded(NamedTuple):
    """One row as a model reads it.

    Attributes:
        ids: Token ids.
        types: Segment of each id (encoders of pairs); all 0 elsewhere.
        cut: Ids that did not fit.
    """

    ids: list[int]
    types: list[int]
    cut: int


class Template:
    """How a context and an output become ids.

    Plain texts: a language model reads context, output and its end-of-text id, joined as ids just as ``policies.CausalLM`` joins
    them; an encoder reads them as its pair of texts. Where a context is a list of messages, both are rendered with the chat
    template and read likewise, without a further end. What is too long loses the start of its context first, and then the end of
    its output; the count of lost ids is returned.

    Args:
        tokenizer: A fast Hugging Face tokenizer.
        pair: Whether the model is an encoder of pairs.
        template: Jinja chat template; None: the tokenizer's own.
        max_length: Most ids of a row.
        pad: Id of padding. A language model reads its score at the last id that is not this one.
    """

    def __init__(self, tokenizer: Any, pair: bool, template: str | None, max_length: int, pad: int):
        if getattr(tokenizer, "backend_tokenizer", None) is None:
            raise ModelError("a reward model needs a fast tokenizer (tokenizer.json)")
        self.tokenizer = tokenizer
        self.pair = pair
        self.template = template if template is not None else tokenizer.chat_template
        self.max_length = max_length
        self.pad = pad
        self.end = None if pair or tokenizer.eos_token_id in (None, pad) else int(tokenizer.eos_token_id)
        if max_length < 8:
            raise ModelError(f"max_length is {max_length}, expected at least 8")

    def __deepcopy__(self, memo: dict[int, Any]) -> Template:
        return self  # never changed, and slow to copy

    @cached_property
    def identity(self) -> str:
        """Hash of all that decides which ids are read: tokenizer, template, length and which part is cut."""
        digest = hashlib.blake2b(digest_size=16)
        for value in (self._backend.to_str(), self.template, self.max_length, self.pair, self.pad, self.end, "context-left"):
            digest.update(f"{len(str(value))}:{value}".encode("utf8", "surrogatepass"))
        return digest.hexdigest()

    @cached_property
    def _backend(self) -> Any:
        """The tokenizer's own engine, without the padding and cutting that its file may ask for."""
        backend = copy.deepcopy(self.tokenizer.backend_tokenizer)
        backend.no_truncation()
        backend.no_padding()
        return backend

    def encode(self, context: Any, output: Any) -> Encoded:
        """One row.

        Raises:
            DataError: for an output that is empty or neither a text nor messages, and for a context of another kind.
        """
        chat = isinstance(context, list | tuple | Mapping)
        before, after = self._rendered(context, output) if chat else self._plain(context, output)
        return self._pair(before, after) if self.pair else self._joined(before, after, chat)

    def _plain(self, context: Any, output: Any) -> tuple[str, str]:
        if context is not None and not isinstance(context, str):
            raise DataError(f"a context is a text or a list of messages, got {type(context).__name__}")
        if not isinstance(output, str):
            raise DataError(f"expected a text, got {type(output).__name__}")
        if not output.strip():
            raise DataError("the output is empty")
        return context or "", output

    def _rendered(self, context: Any, output: Any) -> tuple[str, str]:
        tools = context.get("tools") if isinstance(context, Mapping) else None
        messages = _messages(context.get("messages") if isinstance(context, Mapping) else context, "context")
        if isinstance(output, str):
            output = {"role": "assistant", "content": output}
        said = _messages([output] if isinstance(output, Mapping) else output, "output")
        if not any(str(m.get("content") or "").strip() or m.get("tool_calls") for m in said):
            raise DataError("the output is empty")
        before = self._render(messages, tools, True)
        whole = self._render(messages + said, tools, False)
        if not whole.startswith(before):  # templates that open a turn as they never write one: thinking, for one
            before = self._render(messages, tools, False)
        if not whole.startswith(before):
            raise DataError("the chat template rewrites the context when the output follows")
        return before, whole[len(before) :]

    def _render(self, messages: list[dict[str, Any]], tools: Any, generation: bool) -> str:
        if not self.template:
            raise DataError("the model has no chat template; give one with template=...")
        try:
            return self.tokenizer.apply_chat_template(
                messages, tools=tools, chat_template=self.template, add_generation_prompt=generation, tokenize=False
            )
        except Exception as e:
            raise DataError(f"the chat template refuses these messages: {type(e).__name__}: {e}") from e

    def _pair(self, before: str, after: str) -> Encoded:
        a, b = (self._backend.encode(t, add_special_tokens=False) for t in (before, after))
        room = self.max_length - self._backend.num_special_tokens_to_add(bool(before))
        keep_b = min(len(b), room)
        keep_a = min(len(a), room - keep_b)
        cut = len(a) + len(b) - keep_a - keep_b
        b.truncate(keep_b, direction="right")
        if keep_a < len(a):
            a.truncate(keep_a, direction="left")
        found = self._backend.post_process(a, b) if before else self._backend.post_process(b)
        return Encoded(list(found.ids), list(found.type_ids), cut)

    def _joined(self, before: str, after: str, chat: bool) -> Encoded:
        first = self._before(before, special=not chat)
        joint = self._ids(before + after, special=not chat)
        # The output's ids never reach into the context's: where they would, the output is written on its own.
        second = joint[len(first) :] if joint[: len(first)] == first else self._ids(after)
        end = [] if chat or self.end is None else [self.end]
        keep = min(len(second), self.max_length - len(end))
        room = self.max_length - len(end) - keep
        start = first[:1] if first[:1] == [self.tokenizer.bos_token_id] and len(first) > room > 0 else []
        ids = [*start, *first[max(len(first) - room + len(start), 0) :], *second[:keep], *end]
        return Encoded(ids, [0] * len(ids), len(first) + len(second) + len(end) - len(ids))

    def _before(self, text: str, special: bool) -> list[int]:
        ids = self._ids(text, special)
        if not ids:  # as generation does, which cannot start from nothing
            start = self.tokenizer.bos_token_id
            start = self.tokenizer.eos_token_id if start is None else start
            ids = [] if start is None else [int(start)]
        return ids

    def _ids(self, text: str, special: bool = False) -> list[int]:
        """Ids of a text; ``special`` adds what the tokenizer puts before one, never what it puts behind."""
        ids = list(self._backend.encode(text, add_special_tokens=special).ids)
        own = self.tokenizer.eos_token_id
        while special and len(ids) > 1 and ids[-1] == own and not text.endswith(self.tokenizer.decode(ids[-1:])):
            ids.pop()
        return ids


def _messages(value: Any, what: str) -> list[dict[str, Any]]:
    if not isinstance(value, list | tuple) or not value or not all(isinstance(m, Mapping) and "role" in m for m in value):
        raise DataError(f"{'expected a text; ' if what == 'output' else ''}the {what} is neither a text nor a list of messages")
    return [dict(m) for m in value]
