"""How the documentation is built: navigation from folders, formulas as MathML, doctests as code.

mkdocs.yml names this file twice: as hooks of MkDocs (the functions) and as an extension of griffe, which reads the docstrings.
"""

import html
import re
from pathlib import Path

import griffe
from latex2mathml.converter import convert
from mkdocs.exceptions import PluginError

SECTIONS = {"concepts": "Concepts", "how-to": "How to", "api": "API"}  # in the order of a first reading
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.+?)\\[)\]]</\1>', re.DOTALL)
DOCTEST = re.compile(r"^( *)>>> .*(?:\n\1\S.*)*", re.MULTILINE)  # up to a blank line or a smaller indent


def on_config(config):
    """List every page of every section: adding a page is adding a file."""
    docs = Path(config.docs_dir)
    config.nav = [{"Home": "index.md"}]
    for folder, title in SECTIONS.items():
        pages = sorted(page.relative_to(docs).as_posix() for page in (docs / folder).rglob("*.md"))
        if pages:
            config.nav.append({title: pages})
    return config


def on_page_content(content, page, config, files):
    """Turn what arithmatex marked as LaTeX into MathML, which browsers show without a script or a font from elsewhere."""

    def mathml(match):
        latex = html.unescape(match[3]).strip()
        try:
            return convert(latex, display="inline" if match[2] == "(" else "block")
        except Exception as error:
            raise PluginError(f"{page.file.src_uri}: formula {latex!r}: {type(error).__name__} {error}") from error

    return FORMULA.sub(mathml, content)


class Doctests(griffe.Extension):
    """Fence the doctests of a docstring wherever they stand; Markdown would read them as quotations and links."""

    def on_object(self, *, obj, **kwargs):
        if obj.docstring:
            obj.docstring.value = DOCTEST.sub(lambda m: f"{m[1]}```pycon\n{m[0]}\n{m[1]}```", obj.docstring.value)
