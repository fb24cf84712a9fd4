"""Figures as SVG with deterministic bytes."""

import io
from typing import TYPE_CHECKING

from rep_kedro.datasets.atomic import write_bytes_atomically
from rep_kedro.datasets.file import FileDataset
from rep_kedro.datasets.previews import HTMLPreview

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SVG_SETTINGS = {"svg.hashsalt": "rep_kedro", "svg.fonttype": "none"}


def render_svg(figure: "Figure") -> str:
    """Return a figure as SVG text: text stays text, no date, stable ids."""
    import matplotlib as mpl

    stream = io.StringIO()
    with mpl.rc_context(_SVG_SETTINGS):  # type: ignore[arg-type]
        figure.savefig(stream, format="svg", bbox_inches="tight", metadata={"Date": None, "Creator": None})
    return stream.getvalue()


class FigureDataset(FileDataset["Figure", str]):
    """One matplotlib figure, saved as SVG; loading gives the SVG text."""

    def save(self, data: "Figure") -> None:
        """Render and write the figure."""
        write_bytes_atomically(self.path_to_write(), render_svg(data).encode())

    def load(self) -> str:
        """Return the SVG text."""
        return self.path_to_read().read_text(encoding="utf-8")

    def preview(self) -> HTMLPreview:
        """Return the figure for Kedro-Viz."""
        return HTMLPreview(self.load())
