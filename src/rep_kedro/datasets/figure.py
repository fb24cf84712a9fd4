"""Figures as SVG with deterministic bytes."""

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rep_kedro.datasets.atomic import write_bytes_atomically
from rep_kedro.datasets.compaction import compact_svg
from rep_kedro.datasets.file import FileDataset
from rep_kedro.datasets.previews import HTMLPreview, preview_svg
from rep_kedro.datasets.seal import with_seal_comment, without_seal_comment

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FONT_FAMILIES = "'DejaVu Sans',Verdana,'Segoe UI','Helvetica Neue',Arial,sans-serif"
_SETTINGS: Any = {"svg.fonttype": "none", "svg.hashsalt": "rep_kedro", "text.parse_math": False}
_NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}
_NO_TURN = re.compile(r' transform="rotate\(-?0 [^)]*\)"')
_UNREADABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")  # XML does not allow them
_FONT = re.compile(r"font-family: 'DejaVu Sans'(?:, sans-serif)?;? ?")


def render_svg(figure: "Figure") -> str:
    """Return a figure as a compact SVG document: text stays text, no date, stable ids.

    The font is named once, for the whole drawing; see :func:`~rep_kedro.datasets.compaction.compact_svg`.
    """
    import matplotlib as mpl

    stream = io.StringIO()
    with mpl.rc_context(_SETTINGS), every_letter():
        figure.savefig(stream, format="svg", metadata=_NO_METADATA)
    text = _UNREADABLE.sub("\N{REPLACEMENT CHARACTER}", stream.getvalue())
    return compact_svg(_NO_TURN.sub("", _FONT.sub("", text)), FONT_FAMILIES)


@contextmanager
def every_letter() -> Iterator[None]:
    """Say nothing of letters that the font here lacks: text stays text, and the reader has other fonts."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from font")
        yield


class FigureDataset(FileDataset["Figure", str]):
    """One matplotlib figure, saved as SVG; loading gives the SVG text."""

    def save(self, data: "Figure") -> None:
        """Render and write the figure."""
        write_bytes_atomically(self.path_to_write(), with_seal_comment(render_svg(data)))

    def load(self) -> str:
        """Return the SVG text."""
        return without_seal_comment(self.path_to_read().read_text(encoding="utf-8"))

    def preview(self) -> HTMLPreview:
        """Return the figure for Kedro-Viz."""
        return preview_svg(self.load())
