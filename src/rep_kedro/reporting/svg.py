"""Figures inside a page: ids and classes made unique, for a page holds many; nothing in them can run."""

import re

from markupsafe import Markup
from matplotlib.figure import Figure

from rep_kedro.datasets.figure import render_svg
from rep_kedro.errors import UserError

_PROLOGUE = re.compile(r"^.*?(?=<svg[\s>])", re.DOTALL)
_METADATA = re.compile(r"<metadata[^>]*>.*?</metadata>\s*", re.DOTALL)
_STYLE = re.compile(r"<style>.*?</style>", re.DOTALL)
_CLASS_RULE = re.compile(r"\.([a-z]+)\{")
_CLASS = re.compile(r'\bclass="([^"]+)"')
_ID = re.compile(r'\bid="([^"]+)"')
_REFERENCE = re.compile(r'(url\(#|href="#)([^")]+)')
_ACTIVE = re.compile(r"<\s*(script|foreignObject|iframe)\b|\son[a-z]+\s*=\s*[\"']|javascript:", re.IGNORECASE)


def inline_svg(figure: Figure | str, prefix: str, title: str) -> Markup:
    """Return a figure ready to stand inside an HTML page.

    Args:
        figure: A figure, or the text of an SVG document that was made from one.
        prefix: Put before every id and class; letters, digits and ``-``.
        title: Read aloud by screen readers in place of the drawing.

    Raises:
        ValueError: If the text is no SVG document or holds anything that could run.
    """
    document = render_svg(figure) if isinstance(figure, Figure) else figure
    if "<svg" not in document:
        raise UserError(f"figure {prefix!r} is no SVG document, received text that starts {document[:40]!r}")
    if _ACTIVE.search(document):
        raise UserError(f"figure {prefix!r} holds active content; only drawings are put into the report")
    drawing = _METADATA.sub("", _PROLOGUE.sub("", document, count=1))
    opening, closing, rest = drawing.partition(">")
    opening = re.sub(r'\s(?:width|height|id|role|aria-label|xmlns)="[^"]*"', "", opening)
    rest = _STYLE.sub(lambda found: _CLASS_RULE.sub(rf".{prefix}\1{{", found[0]), rest)
    rest = _CLASS.sub(rf'class="{prefix}\1"', rest)
    rest = _ID.sub(rf'id="{prefix}\1"', rest)
    rest = _REFERENCE.sub(rf"\1{prefix}\2", rest)
    label = Markup.escape(title)
    return Markup(f'{opening} role="img" aria-label="{label}"{closing}{rest}')  # noqa: S704 - checked above
