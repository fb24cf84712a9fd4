"""How large a single thing in a source may be, decided before memory is taken for it.

Small files can unpack to gigabytes. Every reader asks here before it allocates what a header, an index or a
compressed stream announces; what is announced wrongly is refused by the reader when it arrives.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from rep_kedro.parameter_model import Parameters
from rep_kedro.stimuli.record import DamagedSourceError

_ROW_PIXELS = 8  # what a decoder keeps for each row takes as much memory as a few pixels


class TooLargeError(DamagedSourceError):
    """Something exceeds a limit; the message says what, how large it is, and how to raise the limit."""


class Limits(Parameters):
    """Largest sizes that a stimulus set accepts.

    Attributes:
        record_bytes: One record, unpacked: an encoded image, a member of an archive, a row of an array, a
            page or a buffer of a table.
        image_pixels: Width times height of one image; a row counts as 8 pixels at least.
        stimuli: Stimuli of the set; their ids are held in memory.
    """

    record_bytes: int = Field(default=256 << 20, ge=1)
    image_pixels: int = Field(default=64 << 20, ge=1)
    stimuli: int = Field(default=5_000_000, ge=1)

    def require_bytes(self, n_bytes: int, what: str) -> None:
        """Raise TooLargeError if something takes more bytes than one record may."""
        if n_bytes > self.record_bytes:
            raise self.too_many_bytes(n_bytes, what)

    def too_many_bytes(self, n_bytes: int, what: str) -> TooLargeError:
        """Return the error about a record that is too large."""
        return TooLargeError(_message(what, f"{n_bytes:,} bytes", "record_bytes", self.record_bytes))

    def require_pixels(self, width: int, height: int, what: str) -> None:
        """Raise TooLargeError if an image has more pixels than it may."""
        if max(width, _ROW_PIXELS) * height > self.image_pixels:
            short = f" (a row counts as {_ROW_PIXELS} at least)" if width < _ROW_PIXELS else ""
            size = f"{width:,} x {height:,} pixels{short}"
            raise TooLargeError(_message(what, size, "image_pixels", self.image_pixels))

    def require_stimuli(self, n_stimuli: int, what: str) -> None:
        """Raise TooLargeError if there are more stimuli than a set may hold."""
        if n_stimuli > self.stimuli:
            raise TooLargeError(_message(what, f"{n_stimuli:,} stimuli", "stimuli", self.stimuli))


DEFAULT_LIMITS = Limits()


def limits_of(meta: Mapping[str, Any]) -> Limits:
    """Return the limits under which a stimulus set was made, from its meta."""
    return Limits.model_validate(meta.get("source", {}).get("limits", {}))


def _message(what: str, size: str, name: str, limit: int) -> str:
    return f"{what} has {size}, the limit is {limit:,}; if meant, raise limits.{name} of the stimulus set"
