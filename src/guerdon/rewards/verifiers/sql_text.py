"""What can be told of a query from its text: where it is in an output, whether it asks for an order, whether time matters."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

from guerdon.rewards.verifiers.code_blocks import extract

_TOKEN = re.compile(
    r"""--[^\n]* | /\*.*?(?:\*/|\Z)
    | '[^']*(?:''[^']*)*(?:'|\Z) | "[^"]*(?:""[^"]*)*(?:"|\Z) | `[^`]*(?:`|\Z) | \[[^\]]*(?:\]|\Z)
    | \w+ | [()]""",
    re.DOTALL | re.VERBOSE,
)
_CLOCK = {"DATE", "TIME", "DATETIME", "JULIANDAY", "STRFTIME", "UNIXEPOCH", "TIMEDIFF"}
_NOW = {"CURRENT_DATE", "CURRENT_TIME", "CURRENT_TIMESTAMP"}


def query_of(output: str) -> str:
    r"""The query in an output: its last fenced block labelled as SQL, else another block, else all of it.

    What stands before the end of a ``<think>`` part is left out.

    >>> query_of("<think>```sql\nSELECT 0\n```</think>First\n```sql\nSELECT 1;\n```\nor\n```sqlite\nSELECT 2\n```\n```text\n2```")
    'SELECT 2'
    >>> query_of(" SELECT 3 ")
    'SELECT 3'
    """
    return extract(output.rpartition("</think>")[2], "sql").strip()


def ordered(query: str) -> bool:
    """Whether the result as a whole has an order: an ORDER BY outside brackets, quotes and comments.

    >>> ordered("SELECT a FROM t ORDER /* x */ BY a"), ordered("SELECT 'ORDER BY' FROM (SELECT a FROM t ORDER BY a) -- ORDER BY")
    (True, False)
    """
    top = [word for word, depth in _words(query) if depth == 0]
    return any(a == "ORDER" and b == "BY" for a, b in pairwise(top))


def timely(query: str) -> bool:
    """Whether the result may depend on the clock.

    >>> timely("SELECT date('now')"), timely("SELECT CURRENT_DATE"), timely("SELECT date FROM t WHERE x = 'date()'")
    (True, True, False)
    """
    words = [word for word, _ in _words(query)]
    return any(a in _NOW or (a in _CLOCK and b == "(") for a, b in zip(words, [*words[1:], ""], strict=True))


def _words(query: str) -> Iterator[tuple[str, int]]:
    """(bare word in capitals or bracket, depth of brackets around it)."""
    depth = 0
    for match in _TOKEN.finditer(query):
        token = match.group()
        if token == ")":
            depth = max(0, depth - 1)
        if token in "()" or token[0].isalnum() or token[0] == "_":
            yield token.upper(), depth
        elif token[0] in "'\"`[":
            yield "''", depth  # something stands here, such as the column between ORDER and BY
        if token == "(":
            depth += 1
