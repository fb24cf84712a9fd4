"""NumPy archives and idx files: names of arrays, labels in files of their own, transposed images."""

import io

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError
from tests.stimuli.trees import idx_of, npz_of, plant

from rep_kedro.errors import UserError
from rep_kedro.stimuli.fingerprint import fingerprint_source
from rep_kedro.stimuli.record import DamagedSourceError
from rep_kedro.stimuli.sources import parse_source

PIXELS = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5)
LABELS = np.array([0, 2, 1])


def pixels_of(table):
    return np.stack([np.asarray(Image.open(io.BytesIO(image))) for image in table["image"].to_pylist()])


def test_arrays_of_other_names_are_named_in_the_parameters(make_set, tmp_path):
    plant(tmp_path, {"set.npz": npz_of(images=PIXELS, labels=LABELS)})
    given = {"source": "npz", "path": tmp_path / "set.npz"}
    with pytest.raises(
        DamagedSourceError, match=r"no array 'x' \(`images:` or `labels:` names it\); known: images, labels"
    ):
        make_set(**given)
    with pytest.raises(DamagedSourceError, match=r"no array 'y' .*; known: images, labels"):
        make_set(**given, images="images")
    table, _ = make_set(**given, images="images", labels="labels")
    assert np.array_equal(pixels_of(table), PIXELS)
    assert table["label"].to_pylist() == [0, 2, 1]


@pytest.fixture
def kmnist(tmp_path):
    """Return a folder with images and labels in files of their own, under NumPy's name for an array."""
    files = {}
    for split, rows in {"train": slice(0, 2), "test": slice(2, 3)}.items():
        files[f"kmnist-{split}-imgs.npz"] = npz_of(arr_0=PIXELS[rows])
        files[f"kmnist-{split}-labels.npz"] = npz_of(arr_0=LABELS[rows])
    return plant(tmp_path, files)


def test_labels_in_files_of_their_own_are_refused_with_what_to_write(make_set, kmnist):
    given = {"source": "npz", "path": kmnist}
    with pytest.raises(UserError, match=r"holds labels in files of their own; say `label_files: {") as caught:
        make_set(**given)
    for split in ("train", "test"):
        assert f"{split}: {kmnist}/kmnist-{split}-labels.npz" in str(caught.value)
    label_files = {split: kmnist / f"kmnist-{split}-labels.npz" for split in ("train", "test")}
    table, meta = make_set(**given, images="arr_0", labels="arr_0", label_files=label_files)
    assert meta["counts"] == {"train": 2, "test": 1}
    assert table["label"].to_pylist() == [0, 2, 1]
    assert np.array_equal(pixels_of(table), PIXELS)
    assert str(kmnist) not in str(meta)


def test_one_file_of_images_alone_says_what_to_write(make_set, kmnist):
    given = {"source": "npz", "path": kmnist / "kmnist-train-imgs.npz"}
    with pytest.raises(DamagedSourceError, match=r"no array 'x' .*; known: arr_0"):
        make_set(**given)
    with pytest.raises(
        DamagedSourceError, match=r"one array, 'arr_0', .*`label_files: {train: FILE}`.*`labels: null`"
    ):
        make_set(**given, images="arr_0")
    assert make_set(**given, images="arr_0", labels=None)[1]["class_names"] is None
    files = {"labels": "arr_0", "images": "arr_0"}
    own = {"train": kmnist / "kmnist-train-labels.npz"}
    assert make_set(**given, **files, label_files=own)[0]["label"].to_pylist() == [0, 2]
    with pytest.raises(UserError, match="label_files has no file for the split 'train'; known: test"):
        make_set(**given, **files, label_files={"test": own["train"]})
    with pytest.raises(UserError, match="label_files names splits without images: test"):
        make_set(**given, **files, label_files=own | {"test": own["train"]})


def test_changed_labels_change_the_fingerprint(kmnist):
    entry = {"source": "npz", "path": str(kmnist / "kmnist-train-imgs.npz")}
    entry["label_files"] = {"train": str(kmnist / "kmnist-train-labels.npz")}
    before = fingerprint_source(parse_source(entry))
    plant(kmnist, {"kmnist-train-labels.npz": npz_of(arr_0=LABELS[1:])})
    assert fingerprint_source(parse_source(entry)) != before


def test_a_folder_without_archives_is_one_line(make_set, tmp_path):
    plant(tmp_path, {"x.npy": b"\x93NUMPY"})
    with pytest.raises(DamagedSourceError, match=rf"^no npz files \(\*.npz\) in {tmp_path}$"):
        make_set(source="npz", path=tmp_path)
    with pytest.raises(DamagedSourceError, match=r"x.npy holds one array, expected images and labels"):
        make_set(source="npz", path=tmp_path / "x.npy")


@pytest.mark.parametrize("given", [{"split": "x"}, {"splits": "none"}])
def test_a_split_where_arrays_say_it_has_no_effect(make_set, given):
    with pytest.raises(ValidationError, match="has no effect together with"):
        make_set(source="npz", path="a", images={"train": "x"}, **given)


@pytest.mark.parametrize("kind", ["idx", "npz"])
def test_transposed_images_come_out_upright(make_set, tmp_path, kind):
    stored = PIXELS.transpose(0, 2, 1)
    files = {
        "npz": {"train.npz": npz_of(x=stored, y=LABELS)},
        "idx": {"train-images-idx3-ubyte": idx_of(stored), "train-labels-idx1-ubyte": idx_of(LABELS)},
    }[kind]
    plant(tmp_path, files)
    assert np.array_equal(pixels_of(make_set(source=kind, path=tmp_path)[0]), stored)
    assert np.array_equal(pixels_of(make_set(source=kind, path=tmp_path, transpose=True)[0]), PIXELS)


def test_transposed_colours_stay_in_their_channels(make_set, tmp_path):
    colours = np.random.default_rng(0).integers(0, 256, (2, 4, 5, 3), dtype=np.uint8)
    for stored in (colours.transpose(0, 2, 1, 3), colours.transpose(0, 3, 2, 1)):
        plant(tmp_path, {"set.npz": npz_of(x=stored, y=[0, 1])})
        table, _ = make_set(source="npz", path=tmp_path / "set.npz", transpose=True)
        assert np.array_equal(pixels_of(table), colours)


def test_a_single_number_is_no_array_of_labels(make_set, tmp_path):
    plant(tmp_path, {"set.npz": npz_of(x=PIXELS, y=np.int64(3))})
    with pytest.raises(
        DamagedSourceError, match=r"'y' of set\.npz is a single number, expected one entry for"
    ):
        make_set(source="npz", path=tmp_path / "set.npz")
