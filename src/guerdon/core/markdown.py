"""Text that came from elsewhere, in Markdown."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from typing import Any


def plain(x: Any) -> str:
    r"""A value in one line that Markdown and HTML take as text.

    >>> print(plain({"name": "a<b> | *c*", "loss": 0.1234567}))
    name=a&lt;b&gt; \| \*c\*, loss=0.123457
    """
    if isinstance(x, float):
        return f"{x:.6g}"
    if isinstance(x, Mapping):
        return ", ".join(f"{plain(k)}={plain(v)}" for k, v in x.items())
    if isinstance(x, Sequence) and not isinstance(x, str):
        return ", ".join(map(plain, x))
    text = html.escape(" ".join(str(x).split()), quote=False)
    return re.sub(r"([\\|\[\]*_])", r"\\\1", text).replace("`", "'")
