"""Documents of several pages as members of a collection: PDF with the recipe in its own information."""

import base64
import binascii
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from rep_kedro.datasets.figure import every_letter
from rep_kedro.datasets.member import Header, MemberDataset, MemberHandle, header_from, unreadable
from rep_kedro.datasets.seal import BLANK_SEAL, MARK, DamagedMemberError, write_sealed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SETTINGS: Any = {"pdf.fonttype": 42, "pdf.compression": 6, "text.parse_math": False}
_HEADER = re.compile(rb"/Keywords \(([A-Za-z0-9+/=\s\\]+)\)")
_END = b"%%EOF"


class DocumentHandle(MemberHandle):
    """A document that is there."""

    def pdf(self) -> bytes:
        """Return the file.

        Raises:
            DamagedMemberError: If the content is not what was written.
        """
        self.require_whole()
        return self.path.read_bytes()


class DocumentDataset(MemberDataset):
    """Matplotlib figures as pages of a PDF with deterministic bytes; its header is among the keywords."""

    suffix: ClassVar[str] = ".pdf"
    format: ClassVar[str] = "document/2"
    handle: ClassVar[type[MemberHandle]] = DocumentHandle

    def save(self, data: "Sequence[Figure]") -> None:
        """Render and write the pages atomically.

        Raises:
            TypeError: If the value is not a sequence of figures.
        """
        from matplotlib.figure import Figure

        pages = list(data) if isinstance(data, list | tuple) else []
        if not pages or not all(isinstance(page, Figure) for page in pages):
            raise TypeError(f"{self._key}: expected matplotlib figures, received {type(data).__name__}")
        header = Header(self.format, self._key, self._recipe, {"n_pages": len(pages)}).to_json()
        content = render_pdf(pages, header)
        write_sealed(self.path, lambda partial: partial.write_bytes(content))

    @classmethod
    def read_header(cls, path: Path) -> Header:
        """Read and check the header (see :class:`MemberDataset`)."""
        try:
            content = path.read_bytes()
        except OSError as problem:
            raise unreadable(path, problem) from problem
        found = _HEADER.search(content)
        if found is None or not content.rstrip().endswith(_END) or MARK.encode() not in content:
            raise DamagedMemberError(
                f"{path} is truncated or not a document of this project ({len(content)} bytes)"
            )
        try:
            text = base64.b64decode(re.sub(rb"[\s\\]", b"", found[1]), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError) as problem:
            raise DamagedMemberError(f"{path} has a header that is not text of this project") from problem
        return header_from(text, path, cls.format)


def render_pdf(pages: "Sequence[Figure]", header: str) -> bytes:
    """Return figures as a PDF without dates, with a header among its keywords and a blank seal."""
    import matplotlib as mpl
    from matplotlib.backends.backend_pdf import PdfPages

    stream = io.BytesIO()
    information: Any = {
        "CreationDate": None,
        "ModDate": None,
        "Creator": "rep_kedro",
        "Producer": "rep_kedro",
        "Keywords": base64.b64encode(header.encode()).decode(),
        "Subject": BLANK_SEAL,
    }
    with mpl.rc_context(_SETTINGS), every_letter(), PdfPages(stream, metadata=information) as document:
        for page in pages:
            document.savefig(page)
    return stream.getvalue()
