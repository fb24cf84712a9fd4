"""Exact copies among stimuli: images whose encoded bytes are equal."""

import hashlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


def first_of_copies(batches: "Iterable[pa.RecordBatch]") -> list[int]:
    """Return for each row the first row with the same image, byte for byte; a row without copies is its own.

    Args:
        batches: Have a column ``image``; rows are counted through all of them.
    """
    first: dict[bytes, int] = {}
    found = list[int]()
    for batch in batches:
        for image in batch.column("image"):
            digest = hashlib.blake2b(image.as_buffer(), digest_size=16).digest()
            found.append(first.setdefault(digest, len(found)))
    return found


def count_copies(originals: Sequence[int], splits: Sequence[str]) -> dict[str, int]:
    """Count copies.

    Returns:
        ``n_copies``: stimuli beyond the first of each image; ``n_copies_across_splits``: stimuli of other
        splits that are copies of a training stimulus.

    Example:
        >>> count_copies([0, 1, 0, 0], ["train", "train", "train", "test"])
        {'n_copies': 2, 'n_copies_across_splits': 1}
    """
    in_training = {image for image, split in zip(originals, splits, strict=True) if split == "train"}
    return {
        "n_copies": len(originals) - len(set(originals)),
        "n_copies_across_splits": sum(
            split != "train" and image in in_training for image, split in zip(originals, splits, strict=True)
        ),
    }
