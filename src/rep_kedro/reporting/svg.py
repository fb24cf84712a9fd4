"""Figures as SVG text: the same figure always gives the same bytes, and many fit into one page.

Text stays text (small files, searchable); the layout is that of DejaVu Sans, which matplotlib brings along,
and browsers without it take a narrower font. Ids are made unique per figure: a page holds many.
"""

import io
import re
from typing import Any

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.figure import Figure

HASH_SALT = "rep_kedro"
FONT_FAMILIES = "'DejaVu Sans', Verdana, 'Segoe UI', 'Helvetica Neue', Arial, sans-serif"
SVG_RC: Any = {"svg.fonttype": "none", "svg.hashsalt": HASH_SALT, "text.parse_math": False}
NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}

_PROLOGUE = re.compile(r"^.*?(?=<svg[\s>])", re.DOTALL)
_METADATA = re.compile(r"<metadata>.*?</metadata>\s*", re.DOTALL)
_ID = re.compile(r'\bid="([^"]+)"')
_REFERENCE = re.compile(r'(url\(#|href="#)([^")]+)')
_ACTIVE = re.compile(r"<\s*(script|foreignObject|iframe)\b|\son[a-z]+\s*=\s*[\"']|javascript:", re.IGNORECASE)
_FONT = re.compile(r"'DejaVu Sans'(?:, sans-serif)?")


def render_svg(figure: Figure) -> str:
    """Return the figure as a standalone SVG document, free of dates and random ids.

    Example:
        >>> from rep_kedro.reporting.style import plot_note
        >>> render_svg(plot_note("Why?", "no rows")) == render_svg(plot_note("Why?", "no rows"))
        True
    """
    buffer = io.StringIO()
    with mpl.rc_context(SVG_RC):
        figure.savefig(buffer, format="svg", metadata=NO_METADATA)
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()) + "\n"


def inline_svg(figure: Figure | str, prefix: str, title: str) -> Markup:
    """Return a figure ready to stand inside an HTML page.

    Args:
        figure: A figure, or the text of an SVG document that was made from one.
        prefix: Put before every id; letters, digits and ``-``.
        title: Read aloud by screen readers in place of the drawing.

    Raises:
        ValueError: If the text is no SVG document or holds anything that could run.
    """
    document = render_svg(figure) if isinstance(figure, Figure) else figure
    if "<svg" not in document:
        raise ValueError(f"figure {prefix!r} is no SVG document, received text that starts {document[:40]!r}")
    if _ACTIVE.search(document):
        raise ValueError(f"figure {prefix!r} holds active content; only drawings are put into the report")
    drawing = _METADATA.sub("", _PROLOGUE.sub("", document, count=1))
    opening, closing, rest = drawing.partition(">")
    opening = re.sub(r'\s(?:width|height|id|role|aria-label)="[^"]*"', "", opening)
    rest = re.sub(r"<style[^>]*>.*?</style>", "", rest, flags=re.DOTALL)
    rest = _ID.sub(rf'id="{prefix}-\1"', rest)
    rest = _REFERENCE.sub(rf"\1{prefix}-\2", rest)
    rest = _FONT.sub(FONT_FAMILIES, rest)
    label = Markup.escape(title)
    return Markup(f'{opening} role="img" aria-label="{label}"{closing}{rest}')  # noqa: S704 - checked above
