"""The three sources that need no files."""

import hashlib
import io

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.datasets import load_digits, load_sample_image
from sklearn.neighbors import KNeighborsClassifier

from rep_kedro.stimuli import decode_images
from rep_kedro.stimuli.assembly import digest_rows
from rep_kedro.stimuli.readers.shapes import SHAPES, ShapesSpec, draw_shape


def pixels_of(table, size_px, channels=3):
    return decode_images(table["image"], size_px=size_px, channels=channels)


def test_digits_hold_scikit_learns_pixels_and_labels_in_its_order(make_set):
    table, meta = make_set(source="digits")
    digits = load_digits()
    grey = pixels_of(table, 8, channels=1)[:, 0]
    assert np.array_equal(np.rint(grey * (16 / 255)), digits.images)
    assert table["label"].to_pylist() == digits.target.tolist()
    assert table["stimulus_id"].to_pylist()[:3] == ["0/0000", "1/0001", "2/0002"]
    assert meta["class_names"] == list("0123456789")
    assert (meta["image_size_px"], meta["n_stimuli"], meta["damaged"]) == (8, 1797, [])


def test_digits_are_split_by_class_and_seed(make_set):
    table, meta = make_set(source="digits", test_fraction=0.5)
    for name, n_test in meta["class_counts"]["test"].items():
        assert abs(n_test - meta["class_counts"]["train"][name]) <= 1
    other, _ = make_set(source="digits", test_fraction=0.5, seed=1)
    assert table["split"] != other["split"]
    assert table["image"] == other["image"]


def test_bytes_of_the_embedded_sets_are_the_same_everywhere(make_set):
    """Golden digests: a change here changes every stimulus of the default study."""
    digests = {source: make_set(source=source)[1]["sha256"][:16] for source in ("digits", "shapes")}
    assert digests == {"digits": "6bf0418c5aacc2af", "shapes": "1c5f55a3d8730af7"}


def test_the_embedded_sets_stay_small(make_set):
    total = 0
    for source in ("digits", "photograph_patches", "shapes"):
        stream = io.BytesIO()
        pq.write_table(make_set(source=source)[0], stream, compression="zstd")
        total += len(stream.getvalue())
    assert total < 700_000


def test_photograph_patches_are_pixels_of_the_photographs_and_do_not_overlap(make_set):
    table, meta = make_set(source="photograph_patches", n_train=60, n_test=40, seed=3)
    photographs = {name: load_sample_image(f"{name}.jpg") for name in meta["class_names"]}
    used = {name: np.zeros(image.shape[:2], dtype=int) for name, image in photographs.items()}
    patches = pixels_of(table, 16).transpose(0, 2, 3, 1)
    columns = {"train": [], "test": []}
    for row, patch in zip(table.to_pylist(), patches, strict=True):
        name, corner = row["stimulus_id"].split("/")
        top, left = (int(part) for part in corner.split("-"))
        assert np.array_equal(photographs[name][top : top + 16, left : left + 16], patch)
        assert meta["class_names"][row["label"]] == name
        used[name][top : top + 16, left : left + 16] += 1
        columns[row["split"]].append(left)
    assert max(grid.max() for grid in used.values()) == 1
    assert max(columns["train"]) + 16 <= 426
    assert min(columns["test"]) >= 426
    assert meta["class_counts"] == {"train": {"china": 30, "flower": 30}, "test": {"china": 20, "flower": 20}}


def test_a_smaller_draw_of_patches_lies_within_a_larger_one(make_set):
    few, many = (
        set(make_set(source="photograph_patches", n_train=n, n_test=0)[0]["stimulus_id"].to_pylist())
        for n in (20, 50)
    )
    assert few < many


def test_more_patches_than_the_photographs_hold_are_refused(make_set):
    with pytest.raises(ValueError, match=r"photograph 'china' has 36 patches of 64 px .* 50 were asked for"):
        make_set(source="photograph_patches", size_px=64, n_train=100)


def test_shapes_do_not_change_when_more_are_asked_for(make_set):
    few, _ = make_set(source="shapes", n_train=10, n_test=5)
    many, _ = make_set(source="shapes", n_train=20, n_test=7)
    images = dict(zip(many["stimulus_id"].to_pylist(), many["image"].to_pylist(), strict=True))
    assert all(images[row["stimulus_id"]] == row["image"] for row in few.to_pylist())
    assert few["image"][0] != few["image"][10]  # the first of train and the first of test


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_covers_the_area_that_geometry_says(shape):
    spec = ShapesSpec(size_px=64, min_size_fraction=0.75, max_size_fraction=0.75, noise_levels=0)
    area = {
        "disk": np.pi / 4,
        "ring": np.pi / 4 * 3 / 4,
        "square": 1,
        "frame": 3 / 4,
        "triangle": 1 / 2,
        "cross": 5 / 9,
    }[shape]
    image = draw_shape(spec, shape, "train", 5).astype(float)
    corners = image[[0, 0, -1, -1], [0, -1, 0, -1]]
    ground = np.median(corners, axis=0)  # the shape leaves three corners free at least
    contrast = image - ground
    peak = contrast.reshape(-1, 3)[abs(contrast).sum(axis=2).argmax()]
    covered = (contrast @ peak).sum() / (peak @ peak)
    assert covered / 48**2 == pytest.approx(area, abs=0.02)


def test_shapes_keep_the_contrast_and_the_noise_asked_for():
    quiet = ShapesSpec(size_px=32, noise_levels=0, min_contrast_levels=100)
    noisy = quiet.model_copy(update={"noise_levels": 9})
    for number in range(20):
        image = draw_shape(quiet, "square", "train", number).astype(int)
        brightness = image.mean(axis=2)
        assert brightness.max() - brightness.min() >= 99
        change = draw_shape(noisy, "square", "train", number).astype(int) - image
        assert abs(change).max() <= 9
        assert abs(change).max() >= 5


def test_shapes_can_be_distinguished_but_not_by_colour(make_set):
    table, _ = make_set(source="shapes", n_train=600, n_test=120)
    pixels = pixels_of(table, 16).reshape(720, 3, -1).astype(float)
    labels, is_test = np.array(table["label"]), np.array(table["split"]) == "test"
    colours = pixels.mean(axis=2)

    def accuracy(features):
        fitted = KNeighborsClassifier(5).fit(features[~is_test], labels[~is_test])
        return fitted.score(features[is_test], labels[is_test])

    assert accuracy(colours) < 0.3  # chance: 1 / 6
    centred = pixels.mean(axis=1) - np.median(pixels.mean(axis=1), axis=1, keepdims=True)
    shape_only = abs(centred) / abs(centred).max(axis=1, keepdims=True)
    assert accuracy(shape_only) > 0.45


def test_impossible_shapes_are_refused(make_set):
    with pytest.raises(ValueError, match=r"min_size_fraction 0.9 exceeds max_size_fraction 0.5"):
        make_set(source="shapes", min_size_fraction=0.9, max_size_fraction=0.5)


def test_the_digest_covers_ids_images_labels_and_splits(make_set):
    table, meta = make_set(source="shapes", n_train=3, n_test=0)
    expected = hashlib.sha256()
    for row in table.to_pylist():
        parts = (row["stimulus_id"].encode(), row["image"], str(row["label"]).encode(), row["split"].encode())
        expected.update(b"".join(b"%d:" % len(part) + part for part in parts))
    assert meta["sha256"] == digest_rows(table) == expected.hexdigest()
