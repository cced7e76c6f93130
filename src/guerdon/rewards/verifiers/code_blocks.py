"""The program in a model's output: which of its fenced blocks is meant."""

from __future__ import annotations

import re
from typing import NamedTuple

ALIASES = {
    "python": ("python3", "py", "py3", "python2"),
    "verilog": ("systemverilog", "v", "sv"),
    "sql": ("sqlite", "sqlite3"),
    "cpp": ("c++", "cxx", "cc"),
    "javascript": ("js", "node"),
    "bash": ("sh", "shell"),
}
_FUTURE = re.compile(r"^from __future__ import [^\n(\\;#]*\n?", re.MULTILINE)


class Block(NamedTuple):
    """A fenced block.

    Attributes:
        label: First word behind the opening fence, in small letters; "" where there is none.
        text: What is inside, without the indentation of the fence.
        closed: Whether a fence ends it; only the last block of a text can be open.
    """

    label: str
    text: str
    closed: bool


def extract(text: str, language: str = "python", defines: str = "") -> str:
    r"""The program in a text: one of its fenced blocks, or the text itself where it has none.

    The first of these that there is, and of several the last: a closed block labelled with the language; a block so labelled that
    the end of the text cut off; a closed block without a label; an open one without a label; the only block of the text, whatever
    its label. A bare fence with nothing behind it ends a block that the prompt opened: what stands before it is the program.

    Args:
        text: A model's output.
        language: Label in small letters; usual short forms count too (``py`` and ``python3`` for ``python``).
        defines: Name of a Python function or class: blocks that define it go before all others, so that an example of use behind
            the program is not taken for it.

    Example:
        >>> extract("Like this:\n```python\nprint(1)\n```\nIt prints 1.")
        'print(1)\n'
        >>> extract("print(1)"), extract("```\nprint(1)\n```\nwhich prints\n```text\n1\n```")
        ('print(1)', 'print(1)\n')
    """
    found = blocks(text)
    if not found:
        return text
    last = found[-1]
    if not last.label and not last.closed and not last.text.strip():
        if len(found) == 1:
            return text[: text.rstrip().rfind("\n") + 1]
        found.pop()
    names = (language, *ALIASES.get(language, ()))
    labelled = [b for b in found if b.label in names]
    bare = [b for b in found if not b.label]
    order = [[b for b in some if b.closed is closed] for some in (labelled, bare) for closed in (True, False)]
    if len(found) == 1:
        order.append(found)
    if defines:
        definition = re.compile(rf"^[ \t]*(?:async[ \t]+def|def|class)[ \t]+{re.escape(defines)}\b", re.MULTILINE)
        order = [[b for b in some if definition.search(b.text)] for some in order] + order
    return next((some[-1].text for some in order if some), text)


def blocks(text: str) -> list[Block]:
    r"""All fenced blocks of a text in order, in time linear in its length.

    A fence is a line of at least three backticks or tildes, indented or not, with a label behind the opening one; it is closed by
    a line of as many or more of the same. What the end of the text cuts off is a block too; a fence at the end of its last line
    closes it.

    >>> blocks("  ```Python\n  if x:\n      y\n  ```\n~~~\nopen")
    [Block(label='python', text='if x:\n    y\n', closed=True), Block(label='', text='open\n', closed=False)]
    """
    found: list[Block] = []
    fence, label, indent = "", "", 0
    inside: list[str] = []
    for line in text.split("\n"):
        bare = line.strip()
        if fence:
            if bare.startswith(fence) and not bare.strip(fence[0]):
                found.append(_block(label, inside, True))
                fence = ""
            else:
                head = len(line) - len(line.lstrip(" \t"))
                inside.append(line[min(indent, head) :].rstrip("\r"))
        elif bare.startswith(("```", "~~~")):
            rest = bare.lstrip(bare[0])
            if "`" not in rest:  # else code within a line
                fence = bare[: len(bare) - len(rest)]
                label = (rest.split() or [""])[0].strip("{}.").lower()
                indent, inside = len(line) - len(line.lstrip(" \t")), []
    if fence:
        while inside and not inside[-1].strip():
            inside.pop()
        glued = bool(inside) and inside[-1].rstrip().endswith(fence)
        if glued:
            inside[-1] = inside[-1].rstrip().rstrip(fence[0])
        found.append(_block(label, inside, glued))
    return found


def _block(label: str, lines: list[str], closed: bool) -> Block:
    return Block(label, "".join(f"{line}\n" for line in lines), closed)


def in_front(preamble: str, program: str) -> str:
    r"""A program with code in front of it; its ``from __future__`` lines stay first, as Python wants them.

    >>> in_front("import math", "from __future__ import annotations\nprint(math.pi)")
    'from __future__ import annotations\nimport math\n\nprint(math.pi)'
    """
    if not preamble.strip():
        return program
    first = "".join(f"{line.rstrip()}\n" for line in _FUTURE.findall(program))
    return f"{first}{preamble.rstrip()}\n\n{_FUTURE.sub('', program)}"
