"""Sources larger than the memory they may take are ingested all the same, and streamed to a network."""

import io
import json
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from rep_kedro.datasets import ArrowDataset, arrow
from rep_kedro.stimuli import selection, spool
from rep_kedro.stimuli.png import encode_png
from rep_kedro.stimuli.selection import locate_stimuli, stream_images

pytestmark = pytest.mark.slow

CHILD = Path(__file__).with_name("ingest_child.py")
SIDE, N_IMAGES = 256, 1600  # 105 MB of pixels
BOUND_BYTES = 45 << 20
PIXELS = np.random.default_rng(0).integers(0, 256, (16, SIDE, SIDE), dtype=np.uint8)
LABELS = (np.arange(N_IMAGES) % 7).astype(np.uint8)


def write_blocks(stream):
    for _ in range(N_IMAGES // len(PIXELS)):
        stream.write(PIXELS.tobytes())


def make_idx(folder):
    shape = b"".join(size.to_bytes(4, "big") for size in (N_IMAGES, SIDE, SIDE))
    with (folder / "train-images-idx3-ubyte").open("wb") as stream:
        stream.write(b"\0\0\x08\x03" + shape)
        write_blocks(stream)
    header = b"\0\0\x08\x01" + N_IMAGES.to_bytes(4, "big")
    (folder / "train-labels-idx1-ubyte").write_bytes(header + LABELS.tobytes())
    return {"source": "idx", "path": str(folder)}


def make_npz(folder, *, fortran=False):
    header, labels = io.BytesIO(), io.BytesIO()
    described = {"descr": "|u1", "fortran_order": fortran, "shape": (N_IMAGES, SIDE, SIDE)}
    np.lib.format.write_array_header_1_0(header, described)
    np.save(labels, LABELS)
    with zipfile.ZipFile(folder / "set.npz", "w") as archive:
        archive.writestr("y.npy", labels.getvalue())
        with archive.open("x.npy", "w", force_zip64=True) as stream:
            stream.write(header.getvalue())
            write_blocks(stream)
    return {"source": "npz", "path": str(folder / "set.npz")}


def make_columns_first_npz(folder):
    return make_npz(folder, fortran=True)


def make_shards(folder):
    (folder / "train").mkdir()
    with tarfile.open(folder / "train" / "0.tar", "w") as archive:
        for number in range(N_IMAGES):
            for ending, content in (
                ("png", encode_png(PIXELS[number % len(PIXELS)])),
                ("cls", b"%d" % LABELS[number]),
            ):
                member = tarfile.TarInfo(f"s{number:07d}.{ending}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return {"source": "webdataset", "path": str(folder)}


def make_hugging_face(folder):
    schema = pa.schema(
        [("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])), ("label", pa.int64())]
    )
    with pa.ipc.new_stream(folder / "data-00000-of-00001.arrow", schema) as stream:
        for start in range(0, N_IMAGES, 800):  # few and large batches
            rows = range(start, start + 800)
            images = [{"bytes": encode_png(PIXELS[row % len(PIXELS)]), "path": None} for row in rows]
            labels = [int(LABELS[row]) for row in rows]
            stream.write_batch(
                pa.record_batch([pa.array(images, schema[0].type), pa.array(labels)], schema=schema)
            )
    (folder / "state.json").write_text(
        json.dumps({"_data_files": [{"filename": "data-00000-of-00001.arrow"}]})
    )
    return {"source": "hugging_face", "path": str(folder)}


@pytest.mark.parametrize(
    "make",
    [make_idx, make_npz, make_columns_first_npz, make_shards, make_hugging_face],
    ids=lambda make: make.__name__,
)
def test_a_source_takes_less_memory_than_it_holds(make, tmp_path):
    """The source holds 105 MB; what its reading, its checks and its storing add must stay below 45 MB."""
    (tmp_path / "source").mkdir()
    entry = make(tmp_path / "source")
    done = subprocess.run(
        [sys.executable, str(CHILD), json.dumps(entry), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    shown = json.loads(done.stdout)
    assert "error" not in shown
    assert sum(shown["meta"]["counts"].values()) == N_IMAGES
    files = [path for path in (tmp_path / "source").rglob("*") if path.is_file()]
    assert sum(file.stat().st_size for file in files) > 2 * BOUND_BYTES
    assert shown["peak_bytes"] < BOUND_BYTES


# ---------------------------------------------------------------- from the stored set to a network


@pytest.fixture
def stored(tmp_path, monkeypatch):
    """Return a set of 60 stimuli in many groups of rows, and a function that stores a subset of it."""
    monkeypatch.setattr(arrow, "ROW_GROUP_BYTES", 1000)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    ids = [f"train/{row:03d}" for row in range(60)]
    images = pa.array([b"%03d" % row * 40 for row in range(60)], pa.binary())

    def store(key, table):
        dataset = ArrowDataset(filepath=str(tmp_path / "set" / f"{key}.parquet"), key=key, recipe={})
        dataset.save(table)
        return dataset.load()

    stimuli = store("birds", pa.table({"stimulus_id": ids, "image": images}))
    return stimuli, lambda rows: store("subset", pa.table({"stimulus_id": [ids[row] for row in rows]}))


@pytest.mark.parametrize("memory_limit", [100, 1 << 20])
@pytest.mark.parametrize(
    "rows", [list(range(60)), [3, 4, 59], [59, 0, 30, 1], [7, 7, 2, 7, 40, 2], list(range(59, -1, -1))]
)
def test_images_stream_in_the_order_of_the_subset(stored, rows, memory_limit, monkeypatch, tmp_path):
    monkeypatch.setitem(spool.BatchSpool.__init__.__kwdefaults__, "memory_limit_bytes", memory_limit)
    stimuli, make_subset = stored
    ids, found = locate_stimuli(stimuli, make_subset(rows))
    assert found == rows
    assert ids == [f"train/{row:03d}" for row in rows]
    batches = list(stream_images(stimuli, found, batch_size=4))
    assert [len(batch) for batch in batches[:-1]] == [4] * (len(batches) - 1)
    assert [image for batch in batches for image in batch] == [b"%03d" % row * 40 for row in rows]
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_ascending_rows_are_read_as_they_are_asked_for(stored, monkeypatch):
    stimuli, _ = stored
    monkeypatch.setattr(selection, "BatchSpool", None)
    stream = stream_images(stimuli, range(60), batch_size=2)
    assert next(stream) == [b"000" * 40, b"001" * 40]


def test_a_stimulus_that_the_set_lacks_is_named(stored):
    stimuli, make_subset = stored
    subset = make_subset([1])
    with pytest.raises(
        ValueError, match="subset 'birds' names 59 stimuli that set 'subset' does not hold, first"
    ):
        locate_stimuli(subset, stimuli)
    twice = make_subset([1, 1])
    with pytest.raises(ValueError, match="stimulus set 'subset' holds some stimulus_id twice"):
        locate_stimuli(twice, stimuli)
    assert locate_stimuli(stimuli, twice)[1] == [1, 1]
