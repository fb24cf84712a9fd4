"""Arrays in files, read some rows at a time: what all formats share."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    import numpy as np

BLOCK_BYTES = 4 << 20
LONGEST_TEXT_BYTES = 1 << 16


class StoredArray(Protocol):
    """An array in a file, of which nothing but the header was read."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the array; the first axis counts rows."""

    @property
    def kind(self) -> str:
        """Of its values: `number`, `text`, or the name of a type that is neither."""

    def blocks(self) -> "Iterator[np.ndarray[Any, Any]]":
        """Yield the array some rows at a time."""


class Sliced(NamedTuple):
    """An array whose rows can be sliced without reading all of it.

    Attributes:
        shape: Of the array.
        kind: Of its values.
        source: What is sliced.
        rows_at_once: How many rows are read together.
    """

    shape: tuple[int, ...]
    kind: str
    source: Any
    rows_at_once: int = 1

    def blocks(self) -> "Iterator[np.ndarray[Any, Any]]":
        """Yield the array some rows at a time."""
        import numpy as np

        for start in range(0, self.shape[0], self.rows_at_once):
            block = self.source[start : start + self.rows_at_once]
            yield block.float().numpy() if hasattr(block, "numpy") else np.asarray(block)


def kind_of(dtype: "np.dtype[Any]") -> str:
    """Return the kind of a numpy type."""
    if dtype.kind in "SU" and dtype.itemsize > LONGEST_TEXT_BYTES:
        return f"texts of {dtype.itemsize:,} bytes each"
    return {**dict.fromkeys("biuf", "number"), **dict.fromkeys("SU", "text")}.get(dtype.kind, str(dtype))


def rows_per_block(shape: tuple[int, ...], item_bytes: int = 8) -> int:
    """Return how many rows are read together."""
    row_bytes = item_bytes
    for side in shape[1:]:
        row_bytes *= side
    return max(1, BLOCK_BYTES // max(1, row_bytes))
