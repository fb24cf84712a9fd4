"""Figures as SVG text with deterministic bytes."""

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rep_kedro.datasets.marks import add_marks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SETTINGS: Any = {
    "font.sans-serif": ["DejaVu Sans", "Verdana"],  # a browser without the first takes the second
    "svg.fonttype": "none",
    "svg.hashsalt": "rep_kedro",
    "text.parse_math": False,
}
_NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}
_UNREADABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")  # XML does not allow them


def render_svg(figure: "Figure") -> str:
    """Return a figure as matplotlib's SVG document: text stays text, no date, the same ids every time."""
    import matplotlib as mpl

    stream = io.StringIO()
    with mpl.rc_context(_SETTINGS), every_letter():
        figure.savefig(stream, format="svg", metadata=_NO_METADATA)
    return add_marks(_UNREADABLE.sub("\N{REPLACEMENT CHARACTER}", stream.getvalue()), figure)


@contextmanager
def every_letter() -> Iterator[None]:
    """Silence warnings about letters that the font here lacks: the reader has other fonts."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from font")
        yield
