"""Small pictures, files and archives for tests of sources."""

import io
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rep_kedro.stimuli.png import encode_png


def picture(number):
    """Return a PNG of 4 x 4 pixels that differs from those of other numbers."""
    return encode_png(np.random.default_rng(number).integers(0, 256, (4, 4, 3), dtype=np.uint8))


def plant(root, files):
    """Write files by relative name; a number is a picture."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(content) if isinstance(content, int) else content)
    return root


def tar_of(members):
    """Return a tar file of (name, content) members."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def shard_of(*numbers, ending="cls"):
    """Return a shard with one sample for each number, of class number % 2."""
    return tar_of(
        [
            member
            for number in numbers
            for member in (
                (f"s{number}.png", picture(number)),
                (f"s{number}.{ending}", b"%d" % (number % 2)),
            )
        ]
    )


def parquet_of(*numbers, labels=None):
    """Return a Parquet file with one row for each number, of class number % 2."""
    stream = io.BytesIO()
    labels = [number % 2 for number in numbers] if labels is None else labels
    pq.write_table(pa.table({"image": [picture(number) for number in numbers], "label": labels}), stream)
    return stream.getvalue()


def idx_of(array):
    """Return an idx file of unsigned bytes."""
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.astype(np.uint8).tobytes()


def npz_of(**arrays):
    """Return an npz file."""
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()
