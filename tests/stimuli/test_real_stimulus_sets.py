"""Published data sets, read from the folder that the environment variable REP_DATA names."""

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from rep_kedro.stimuli import decode_images
from rep_kedro.stimuli.assembly import assemble_stimulus_set
from rep_kedro.stimuli.opening import open_source
from rep_kedro.stimuli.record import DamageLog
from rep_kedro.stimuli.sources import parse_source

ROOT = os.environ.get("REP_DATA", "")
pytestmark = pytest.mark.skipif(not ROOT, reason="REP_DATA does not name a folder of published data sets")


def ingest(**entry):
    spec, log = parse_source(entry), DamageLog()
    table = assemble_stimulus_set(open_source(spec, log), spec, log)
    return table, json.loads(table.schema.metadata[b"meta"])


def sha256_of(pixels):
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()


def test_cifar10_test_images_come_in_order_with_their_own_bytes():
    file = Path(ROOT) / "core/cifar10/test.parquet"
    table, meta = ingest(source="parquet", path=file)
    raw = pq.read_table(file)
    assert meta["counts"] == {"test": 10_000}
    assert meta["image_size_px"] == 32
    assert meta["class_names"] == [
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    ]
    assert set(meta["class_counts"]["test"].values()) == {1000}
    assert table["label"].to_pylist() == raw["label"].to_pylist()
    assert table["label"].to_pylist()[:10] == [3, 8, 8, 0, 6, 6, 1, 6, 3, 1]
    assert table["image"][0].as_py() == raw["image"][0].as_py()["bytes"]
    first = decode_images(table["image"].slice(0, 1), size_px=32)[0]
    assert first[:, 0, :3].tolist() == [[158, 159, 165], [112, 111, 116], [49, 47, 51]]  # the cat


def test_cifar10_splits_in_several_files_are_joined():
    root = Path(ROOT)
    train = [
        root / "core/cifar10/train_00000-01999.parquet",
        root / "extra/cifar10/train_02000-03999.parquet",
    ]
    table, meta = ingest(
        source="parquet", splits={"train": train, "test": root / "core/cifar10/test.parquet"}
    )
    assert meta["counts"] == {"train": 4000, "test": 10_000}
    assert table["label"].to_pylist()[:5] == [6, 9, 9, 4, 1]  # frog, truck, truck, deer, automobile
    assert table["stimulus_id"][3999].as_py() == "train/003999"


@pytest.mark.parametrize(
    ("folder", "labels", "sha256"),
    [
        (
            "core/mnist",
            [7, 2, 1, 0, 4, 1, 4, 9, 5, 9],
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        ),
        ("core/fashion-mnist", [9, 2, 1, 1, 6, 1, 4, 6, 5, 7], None),
    ],
)
def test_idx_test_sets_hold_the_official_pixels(folder, labels, sha256):
    import gzip

    table, meta = ingest(source="idx", path=Path(ROOT) / folder)
    assert meta["counts"] == {"test": 10_000}
    assert meta["image_size_px"] == 28
    assert table["label"].to_pylist()[:10] == labels
    raw = gzip.decompress((Path(ROOT) / folder / "t10k-images-idx3-ubyte.gz").read_bytes())
    if sha256 is not None:
        assert hashlib.sha256(raw).hexdigest() == sha256  # of the official file
    pixels = decode_images(table["image"], size_px=28, channels=1)
    assert pixels.tobytes() == raw[16:]


def test_mnist_train_and_test_may_lie_in_two_folders():
    root = Path(ROOT)
    _, meta = ingest(source="idx", splits={"train": root / "extra/mnist", "test": root / "core/mnist"})
    assert meta["counts"] == {"train": 60_000, "test": 10_000}
    assert list(meta["class_counts"]["train"].values()) == [
        5923,
        6742,
        5958,
        6131,
        5842,
        5421,
        5918,
        6265,
        5851,
        5949,
    ]


def test_fashion_mnist_training_images_come_from_an_npz_file():
    table, meta = ingest(source="npz", path=Path(ROOT) / "extra/fashion-mnist/train_first20000.npz")
    assert meta["counts"] == {"train": 20_000}
    assert table["label"].to_pylist()[:5] == [9, 0, 0, 3, 0]


def test_clothing_shards_keep_their_photographs():
    root = Path(ROOT)
    splits = {"train": root / "extra/wds/clothing/train", "test": root / "core/wds/clothing/test"}
    table, meta = ingest(source="webdataset", splits=splits)
    assert meta["counts"] == {"train": 3068, "test": 713}
    assert meta["class_names"] == [
        "dress",
        "hat",
        "longsleeve",
        "outwear",
        "pants",
        "shirt",
        "shoes",
        "shorts",
        "skirt",
        "t-shirt",
    ]
    assert meta["damaged"] == meta["ignored"] == []
    ids = table["stimulus_id"].to_pylist()
    assert (ids[0], ids[3068]) == ("train/0/s0000000", "test/0/s0000000")
    assert table["image"][3068].as_py()[:3] == b"\xff\xd8\xff"
    assert len(table["image"][3068].as_py()) == 4542
    assert decode_images(table["image"].slice(3068, 20), size_px=64).shape == (20, 3, 64, 64)
