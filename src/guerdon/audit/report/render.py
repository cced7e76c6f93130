"""Templates into pages, and pages onto the disk in one step."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

from guerdon.audit.formats import count
from guerdon.core.errors import RunError
from guerdon.core.files import replacing

if TYPE_CHECKING:
    import jinja2

_TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, **values: Any) -> str:
    """A template of this room with the pages' style; every value is escaped unless it is Markup made here."""
    style = chart_style() + Markup((_TEMPLATES / "style.css").read_text(encoding="utf8"))
    return _environment().get_template(template).render(**{"style": style, "count": count, "ticked": ticked, **values})


def chart_style() -> Markup:
    """Colours and strokes of charts, which a chart on its own needs too."""
    return Markup((_TEMPLATES / "chart.css").read_text(encoding="utf8"))


def standalone(svg: Markup) -> str:
    """A chart as a file of its own."""
    head, bracket, rest = str(svg).partition(">")
    return f"{head}{bracket}<style>{chart_style()}svg {{ background: var(--paper); }}</style>{rest}\n"


def ticked(text: str) -> Markup:
    """Escaped text in which `backticks` became code.

    >>> str(ticked("use `a<b`"))
    'use <code>a&lt;b</code>'
    """
    pieces = [Markup("<code>{}</code>").format(p) if k % 2 else escape(p) for k, p in enumerate(text.split("`"))]
    return Markup("").join(pieces)


@functools.cache
def _environment() -> jinja2.Environment:
    import jinja2

    loader = jinja2.FileSystemLoader(_TEMPLATES)
    return jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )


def write_text(path: Path, text: str) -> Path:
    """Replace a file's content in one step.

    Raises:
        RunError: where it cannot be written.
    """
    return write_bytes(path, text.encode("utf8", "replace"))


def write_bytes(path: Path, content: bytes) -> Path:
    """Replace a file's content in one step.

    Raises:
        RunError: where it cannot be written.
    """
    try:
        with replacing(path) as f:
            f.write(content)
    except OSError as e:
        raise RunError(f"{path}: not written: {e.strerror or e}") from None
    return path
