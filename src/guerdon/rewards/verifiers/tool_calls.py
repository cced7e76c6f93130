"""ToolCalls: calls of tools that equal the known ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from guerdon.rewards.verifiers.tool_call_match import likeness
from guerdon.rewards.verifiers.tool_call_text import Unreadable, calls_in, calls_of
from guerdon.rewards.verifiers.verifier import Checked, Verifier

_NOTHING = dict.fromkeys(("exact", "graded", "names", "keys", "values", "order", "parsed"), 0.0)


@dataclass(frozen=True)
class ToolCalls(Verifier):
    r"""1 where an output makes the known calls, else 0; or, with ``partial``, how much of them it gets right.

    Formats: ``<tool_call>`` parts that hold JSON objects (one or several, on lines of their own or not) or a list; or a text
    that is nothing but such JSON. A call is ``{"name": ..., "arguments": ...}`` with ``parameters`` as another word for
    arguments, which may be JSON in a text; OpenAI's ``{"function": {...}}`` and ``{"tool_calls": [...]}`` are read, too.
    Values are equal as JSON: 1 and 1.0 are, 1 and "1" or 1 and true are not; the order of keys says nothing. An output whose
    calls cannot be read gets 0 with a note (broken JSON, the same key twice, NaN, more than 128 calls, 1,000,000 characters
    or 100 levels); known calls that cannot be read are a row that could not be checked. Where no call is wanted, an output
    without calls gets 1 and any other 0.

    With ``partial`` the total is ToolRL's correctness reward, moved from [-3, 3] to [0, 1] (``6 * total - 3`` is the original):
    shared tool names, argument names and argument values over all there are; ``likeness`` has the formula. Calls beyond
    the known ones lower nothing but the share of names. Where no call is wanted, the original gives 0 to all outputs.

    Parts: ``exact`` and ``graded``, the two totals; ``names``, ``keys`` and ``values``, the three terms of the second, each over
    its maximum; ``order``, the graded total where order counts / where it does not; ``parsed``.

    Args:
        calls: Column with the known calls: a list of calls, one call, the same as JSON text, or a text with ``<tool_call>`` tags.
        partial: The graded total in place of the exact one.
        ordered: Whether the calls must come in the known order.
        loose: Whether texts in arguments are compared without capitals and with every white space as one blank.

    Raises:
        RewardError: where the rollout lacks the column.

    Example:
        >>> from guerdon.rewards import recorded
        >>> gold = [{"name": "weather", "parameters": {"city": "Oslo", "days": 2}}]
        >>> said = '<tool_call>{"name": "weather", "arguments": {"days": 2.0, "city": "%s"}}</tool_call>'
        >>> out = ToolCalls()(recorded(["q"] * 2, [said % "Oslo", said % "Bergen"], {"calls": [gold] * 2}))
        >>> out.total.tolist(), out.parts["graded"].tolist()  # all of names and keys, 1 of 2 values: (1 + 1 + 1) / (1 + 1 + 2)
        ([1.0, 0.0], [1.0, 0.75])

    Source: arXiv:2504.13958, section 3.3.
    """

    calls: str = "calls"
    partial: bool = False
    ordered: bool = False
    loose: bool = False

    def columns(self) -> dict[str, str]:
        return {"calls": self.calls}

    def check(self, output: str, *, calls: Any) -> Checked:  # type: ignore[override]
        try:
            wanted = calls_of(calls, self.loose)
        except Unreadable as e:
            return Checked(reason=f"the known calls cannot be read: {e}")
        try:
            made = calls_in(output, self.loose)
        except Unreadable as e:
            return Checked(parts=_NOTHING, note=f"calls that cannot be read: {e}")
        free, fixed = (likeness(wanted, made or [], in_order=o) for o in (False, True))
        counted = fixed if self.ordered else free
        order = fixed.graded / free.graded if free.graded else 0.0
        parts = {**counted._asdict(), "order": order, "parsed": 1.0}
        total = counted.graded if self.partial else counted.exact
        return Checked(total, parts, note="" if counted.exact else _note([c.name for c in wanted], [c.name for c in made or []]))


def _note(wanted: list[str], made: list[str]) -> str:
    """What to look at first."""
    if sorted(wanted) != sorted(made):
        return f"calls {', '.join(made)[:100] or 'nothing'}, expected {', '.join(wanted)[:100] or 'nothing'}"
    return "other arguments, or another order"
