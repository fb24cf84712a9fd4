"""Figures as members of a collection: SVG with the recipe in its own header."""

import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar
from xml.sax.saxutils import escape, unescape

from rep_kedro.datasets.atomic import write_bytes_atomically
from rep_kedro.datasets.collection import CollectionDataset
from rep_kedro.datasets.figure import render_svg
from rep_kedro.datasets.member import (
    HEADER_KEY,
    Header,
    MemberDataset,
    MemberHandle,
    header_from,
    unreadable,
)
from rep_kedro.datasets.previews import HTMLPreview, preview_svg
from rep_kedro.datasets.seal import BLANK_SEAL, MARK, DamagedMemberError, sealed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_HEADER = re.compile(rf'<metadata id="{HEADER_KEY}" class="(?:{MARK})?[0-9a-f]+">([^<]*)</metadata>')
_END = "</svg>\n"


class DrawingHandle(MemberHandle):
    """A figure that is there."""

    @cached_property
    def nothing_to_draw(self) -> str | None:
        """Why the figure shows nothing; None where it shows something."""
        reason = self.meta.get("nothing_to_draw")
        return None if reason is None else str(reason)

    def svg(self) -> str:
        """Return the drawing without the header.

        Raises:
            DamagedMemberError: If the content is not what was written.
        """
        self.require_whole()
        return _HEADER.sub("", self.path.read_text(encoding="utf-8"), count=1)


class DrawingDataset(MemberDataset):
    """A matplotlib figure as SVG with deterministic bytes; its header is the element ``metadata``.

    A figure with a label shows nothing, and the label says why
    (:func:`rep_kedro.reporting.style.plot_note`).
    """

    suffix: ClassVar[str] = ".svg"
    format: ClassVar[str] = "drawing/2"
    handle: ClassVar[type[MemberHandle]] = DrawingHandle

    def save(self, data: "Figure") -> None:
        """Render and write the figure atomically.

        Raises:
            TypeError: If the value is not a figure.
        """
        from matplotlib.figure import Figure

        if not isinstance(data, Figure):
            raise TypeError(f"{self._key}: expected a matplotlib Figure, received {type(data).__name__}")
        meta = {"nothing_to_draw": str(data.get_label()) or None}
        header = escape(Header(self.format, self._key, self._recipe, meta).to_json())
        drawing = render_svg(data)
        start = drawing.index(">", drawing.index("<svg")) + 1
        element = f'<metadata id="{HEADER_KEY}" class="{BLANK_SEAL}">{header}</metadata>'
        write_bytes_atomically(self.path, sealed(f"{drawing[:start]}{element}{drawing[start:]}"))

    @classmethod
    def read_header(cls, path: Path) -> Header:
        """Read and check the header (see :class:`MemberDataset`)."""
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as problem:
            raise unreadable(path, problem) from problem
        except UnicodeDecodeError as problem:
            raise DamagedMemberError(f"{path} is not UTF-8 text") from problem
        found = _HEADER.search(text)
        if found is None or not text.endswith(_END):
            raise DamagedMemberError(
                f"{path} is truncated or not a drawing of this project ({len(text)} characters)"
            )
        return header_from(unescape(found[1]), path, cls.format)


class FigureCollectionDataset(CollectionDataset):
    """A collection of figures; its preview is the figures themselves."""

    def preview(self, nrows: int = 24, columns: Sequence[str] = ()) -> HTMLPreview:
        """Return the first figures for Kedro-Viz, one below the other.

        Args:
            nrows: How many figures are shown.
            columns: Names of the figures to show instead of the first.
        """
        handles = self.load()
        shown = [handles[name] for name in columns] or list(handles.values())[:nrows]
        return HTMLPreview("".join(str(preview_svg(handle.svg())) for handle in shown))
