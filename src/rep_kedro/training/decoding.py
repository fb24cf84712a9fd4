"""The images of a stimulus set as a training reads them: in memory, or in a temporary file."""

import math
import shutil
import tempfile
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from rep_kedro.errors import UserError
from rep_kedro.stimuli.decoding import decode_images
from rep_kedro.stimuli.label_columns import find_labels
from rep_kedro.stimuli.limits import limits_of
from rep_kedro.training.stimuli import LabelledImages, TrainingStimuli

if TYPE_CHECKING:
    from rep_kedro.datasets import ArrowHandle

_CHUNK = 512
_SEED = 0  # of the test images that are drawn


def decode_splits(
    handle: "ArrowHandle",
    size_px: int,
    channels: int,
    *,
    labels: str | None = None,
    n_test: int | None = None,
    memory_bytes: int,
) -> TrainingStimuli:
    """Return the training and the test images of a stimulus set.

    Args:
        handle: The stimulus set.
        size_px: Side of the images.
        channels: 1 or 3.
        labels: Label column; None for the set's own label.
        n_test: Of more test images so many are drawn, the same ones every time; None for all.
        memory_bytes: Training images that need more, decoded, go to a temporary file, from which batches are
            read; the file has no name and is gone with the process. The pixels are the same.

    Raises:
        ValueError: If there is no split to train on, or the disk has no room for the file.
    """
    limits = limits_of(handle.meta)
    column, class_names = find_labels(handle.meta, labels, handle.key)
    table = handle.table(["stimulus_id", "image", column, "split"])
    found = {}
    for split in ("train", "test"):
        rows = table.filter(pc.equal(table["split"], split))
        if split == "train" and len(rows) == 0:
            raise UserError(f"stimulus set {handle.key!r} has no split 'train' to train on")
        if split == "test" and n_test is not None and n_test < len(rows):
            drawn = torch.randperm(len(rows), generator=torch.Generator().manual_seed(_SEED))[:n_test]
            rows = rows.take(drawn.sort().values.numpy())
        shape = (len(rows), channels, size_px, size_px)
        is_streamed = math.prod(shape) > memory_bytes
        pixels = make_room(shape, handle.key) if is_streamed else np.empty(shape, np.uint8)
        for start in range(0, len(rows), _CHUNK):
            part = rows.slice(start, _CHUNK)
            names = [f"{handle.key}: {each}" for each in part["stimulus_id"].to_pylist()]
            pixels[start : start + len(part)] = decode_images(
                part["image"], size_px=size_px, channels=channels, names=names, limits=limits
            )
        found[split] = LabelledImages(
            torch.from_numpy(pixels),
            _read_labels(rows[column], len(class_names or ())),
            is_streamed=is_streamed,
        )
    return TrainingStimuli(found["train"], found["test"], len(class_names) if class_names else None)


def _read_labels(column: pa.ChunkedArray, n_classes: int) -> Tensor | None:
    """Return the labels of images; of several labels one column of ones and zeros for each class."""
    if column.null_count:
        return None
    values = column.to_pylist()
    if not pa.types.is_list(column.type):
        return torch.tensor(values, dtype=torch.int64)
    found = torch.zeros(len(values), n_classes)
    for row, chosen in enumerate(values):
        found[row, chosen] = 1
    return found


def make_room(shape: tuple[int, ...], stimulus_set: str) -> np.ndarray:
    """Return an array in a temporary file."""
    needed, free = math.prod(shape), shutil.disk_usage(tempfile.gettempdir()).free
    if needed > free:
        raise UserError(
            f"training images of {stimulus_set!r} need {needed:,} bytes in {tempfile.gettempdir()}, which has"
            f" {free:,}; set TMPDIR to a larger disk, or raise training.memory_bytes"
        )
    with tempfile.TemporaryFile() as file:
        file.truncate(needed)
        return np.memmap(file, np.uint8, mode="r+", shape=shape)
