"""One rule for splits and classes: folders of images, shards and tables."""

import numpy as np
import pytest
from pydantic import ValidationError
from tests.stimuli.trees import idx_of, npz_of, parquet_of, plant, shard_of

from rep_kedro.errors import UserError

CLASSES = ("cat", "dog")


def folders(**splits):
    """Return files of two classes in the folders of splits, each with another picture."""
    files = {}
    for first, folder in splits.items():
        files |= {
            f"{folder}/{name}/1.png": 100 * ord(first[0]) + 10 * ord(first[-1]) + position
            for position, name in enumerate(CLASSES)
        }
    return files


# ---------------------------------------------------------------- folders


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("Training", "Testing"),
        ("train_set", "test_set"),
        ("trainset", "testset"),
        ("TRAIN", "TEST"),
        ("train2017", "test2017"),
        ("train", "val"),
        ("train", "dev"),
        ("train", "eval"),
        ("training-images", "validation-images"),
        ("train/images", "test/images"),
        ("archive/data/train", "archive/data/test"),
    ],
)
def test_folders_with_names_of_splits_are_splits_whose_classes_are_the_folders_below(
    make_set, tmp_path, train, test
):
    plant(tmp_path, folders(a=train, b=test))
    _, meta = make_set(source="image_folder", path=tmp_path)
    assert meta["counts"] == {"train": 2, "test": 2}
    assert meta["class_names"] == ["cat", "dog"]
    assert meta["class_counts"]["test"] == {"cat": 1, "dog": 1}


def test_further_splits_keep_their_names_and_are_counted(make_set, tmp_path):
    plant(tmp_path, folders(a="train", b="val", c="test", d="extra"))
    _, meta = make_set(source="image_folder", path=tmp_path)
    assert meta["counts"] == {"train": 2, "val": 2, "test": 2, "extra": 2}
    assert (meta["test_is"], meta["notes"]) == ("test", [])


@pytest.mark.parametrize("splits", [{"b": "val"}, {"a": "train", "b": "val"}])
def test_val_serves_as_test_where_there_is_none(make_set, tmp_path, splits):
    plant(tmp_path, folders(**splits))
    table, meta = make_set(source="image_folder", path=tmp_path)
    assert meta["counts"]["test"] == 2
    assert "val" not in meta["counts"]
    assert meta["test_is"] == "val"
    assert "val/cat/1.png" in table["stimulus_id"].to_pylist()
    assert meta["notes"] == ["there is no split test; val serves as test (2 stimuli)"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["train", "car", "bus"], r"train \(next to bus, car\); say `splits: {train: train}` or"),
        (["train", "test", "cat"], r"test, train \(next to cat\); say `splits: {train: train, test: test}`"),
        (["valid", "invalid"], r"valid \(next to invalid\); say `splits: {val: valid}` or `splits: none`"),
        (["valid", "extra"], r"extra, valid; say `splits: {extra: extra, val: valid}` or `splits: none`"),
        (["seg_train", "seg_test", "seg_pred"], r"`splits: {train: seg_train, test: seg_test}` or"),
        (["trainA", "testA"], r"`splits: {train: trainA, test: testA}` or `splits: none`"),
        (["train", "unlabeled"], r"train \(next to unlabeled\)"),
    ],
)
def test_what_could_be_splits_or_classes_is_refused_with_both_readings(make_set, tmp_path, names, message):
    plant(tmp_path, {f"{name}/1.png": number for number, name in enumerate(names)})
    with pytest.raises(UserError, match=rf"could be splits or classes: .*{message}"):
        make_set(source="image_folder", path=tmp_path)
    _, meta = make_set(source="image_folder", path=tmp_path, splits="none")
    assert meta["class_names"] == sorted(names)
    assert meta["counts"] == {"train": len(names)}


@pytest.mark.parametrize(
    "names", [["train_station", "test_tube", "dog"], ["bullet_train", "car"], ["trainers", "contest"]]
)
def test_classes_may_hold_a_splits_word(make_set, tmp_path, names):
    plant(tmp_path, {f"{name}/1.png": number for number, name in enumerate(names)})
    assert make_set(source="image_folder", path=tmp_path)[1]["class_names"] == sorted(names)


@pytest.mark.parametrize("names", [["train", "training"], ["val", "dev"], ["train2014", "train2017"]])
def test_two_folders_for_one_split_are_refused_until_they_are_joined(make_set, tmp_path, names):
    plant(tmp_path, folders(a=names[0], b=names[1], c="test"))
    with pytest.raises(UserError, match="could each be the split"):
        make_set(source="image_folder", path=tmp_path)
    _, meta = make_set(source="image_folder", path=tmp_path, splits={"train": names, "test": "test"})
    assert meta["counts"] == {"test": 2, "train": 4}


def test_stated_splits_are_obeyed_and_what_they_leave_out_is_counted(make_set, tmp_path):
    plant(tmp_path, folders(a="Training", b="Testing", c="unlabeled") | {"stray.png": 1})
    given = {"source": "image_folder", "path": tmp_path}
    _, meta = make_set(**given, splits={"train": "Training", "test": "Test*"})
    assert meta["counts"] == {"train": 2, "test": 2}
    assert meta["left_out"] == {"unlabeled": 2, ".": 1}
    assert meta["source"]["splits"] == {"train": ["Training"], "test": ["Test*"]}
    with pytest.raises(UserError, match=r"named 'Trainin' \(train\); did you mean 'Training'\?"):
        make_set(**given, splits={"train": "Trainin"})
    with pytest.raises(UserError, match=r"'Training/cat' of .* is named by 'Training' and 'T\*'"):
        make_set(**given, splits={"train": "Training", "test": "T*"})


def test_a_picture_outside_of_the_splits_is_named_and_counted(make_set, tmp_path):
    plant(tmp_path, folders(a="train", b="val") | {"preview.png": 1})
    with pytest.raises(UserError, match=r"preview.png \(an image outside of the folders of the splits\)"):
        make_set(source="image_folder", path=tmp_path)
    _, meta = make_set(source="image_folder", path=tmp_path, on_damaged="skip")
    assert (meta["n_stimuli"], [entry["item"] for entry in meta["damaged"]]) == (4, ["preview.png"])


def test_places_of_splits_with_folders_of_other_splits_are_refused(make_set, tmp_path):
    plant(tmp_path, folders(a="here/train", b="here/test", c="there"))
    with pytest.raises(UserError, match=r"here to the split train, and its folders test, train have names"):
        make_set(source="image_folder", splits={"train": tmp_path / "here", "test": tmp_path / "there"})


# ---------------------------------------------------------------- folders in folders


@pytest.mark.parametrize(
    ("files", "class_names"),
    [
        ({"PetImages/cat/1.png": 1, "PetImages/dog/1.png": 2}, ["cat", "dog"]),
        ({"a/b/cat/1.png": 1, "a/b/dog/1.png": 2}, ["cat", "dog"]),
        ({"n01/images/1.png": 1, "n02/images/2.png": 2}, ["n01", "n02"]),
        ({"train/n01/images/1.png": 1, "train/n02/images/2.png": 2}, ["n01", "n02"]),
        ({"cat/deep/1.png": 1, "cat/2.png": 2, "dog/3.png": 3}, ["cat", "dog"]),
        ({"cat/train/1.png": 1, "cat/test/2.png": 2, "dog/train/3.png": 3}, ["cat", "dog"]),
        ({"train/seg_train/cat/1.png": 1, "test/seg_test/cat/2.png": 2}, ["cat"]),
        ({"train/a/cat/1.png": 1, "test/a/dog/2.png": 2}, ["cat", "dog"]),
        ({"images/train/1.png": 1, "images/val/2.png": 2}, None),
        ({"images/1.png": 1, "images/2.png": 2}, None),
    ],
)
def test_folders_in_folders_are_read_where_one_reading_fits(make_set, tmp_path, files, class_names):
    plant(tmp_path, files)
    _, meta = make_set(source="image_folder", path=tmp_path)
    assert meta["class_names"] == class_names
    assert meta["n_stimuli"] == len(files)


@pytest.mark.parametrize(
    ("files", "first", "last"),
    [
        ({"pet/cat/1.png": 1, "pet/dog/1.png": 2, "car/bus/3.png": 3}, ["car", "pet"], ["bus", "cat", "dog"]),
        ({"p1/scan/1.png": 1, "p2/scan/2.png": 2}, ["p1", "p2"], ["scan"]),
        ({"f1/train/a/1.png": 1, "f1/test/a/2.png": 2, "f2/train/a/3.png": 3}, ["f1", "f2"], ["a"]),
        ({"x/cat/1.png": 1, "cat/2.png": 2, "dog/3.png": 3}, ["cat", "dog", "x"], ["cat", "dog"]),
        ({"Pet/cat/1.png": 1, "Pet/dog/2.png": 2, "Pet/3.png": 3}, ["Pet"], ["Pet", "cat", "dog"]),
    ],
)  # fmt: skip
def test_folders_that_could_be_classes_at_two_levels_are_refused_with_the_tree(
    make_set, tmp_path, files, first, last
):
    plant(tmp_path, files)
    with pytest.raises(UserError, match=r"the classes of .* could be .*: it holds .*{.*}.*; say `classes: f"):
        make_set(source="image_folder", path=tmp_path)
    for level, expected in (("first", first), ("last", last), ("none", None)):
        _, meta = make_set(source="image_folder", path=tmp_path, classes=level)
        assert (meta["class_names"], meta["n_stimuli"]) == (expected, len(files))


def test_the_tree_is_shown_short(make_set, tmp_path):
    plant(tmp_path, {f"a{n}/b{m}/1.png": n * 7 + m for n in range(7) for m in range(7)})
    with pytest.raises(UserError) as caught:
        make_set(source="image_folder", path=tmp_path)
    assert "it holds a0/{b0, b1, b2, b3, b4 and 2 more}, a1/{" in str(caught.value)
    assert "and 2 more; say `classes: first`" in str(caught.value)


# ---------------------------------------------------------------- files


def make_files(kind, numbers):
    """Return one file of a kind for each number."""
    made = {"webdataset": (shard_of, ".tar"), "parquet": (parquet_of, ".parquet"), "npz": (_npz, ".npz")}
    write, ending = made[kind]
    return {f"{name}{ending}": write(number) for name, number in numbers.items()}


def _npz(number):
    pixels = np.random.default_rng(number).integers(0, 256, (1, 4, 4), dtype=np.uint8)
    return npz_of(x=pixels, y=[number % 2])


KINDS = ["webdataset", "parquet", "npz"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train-0000", "test-0000"),
        ("train-0000", "val-0000"),
        ("Training_1", "Testing_1"),
        ("imagenet-train-000000", "imagenet-val-000000"),
        ("train/0", "test/0"),
        ("data/train/part-7", "data/test/part-7"),
        ("train/train-0", "dev/dev-0"),
    ],
)
def test_names_of_files_or_their_folders_say_the_split_in_every_reader(make_set, tmp_path, kind, train, test):
    plant(tmp_path, make_files(kind, {train: 0, test: 1}))
    _, meta = make_set(source=kind, path=tmp_path)
    assert meta["counts"] == {"train": 1, "test": 1}
    assert meta["class_counts"]["test"] == {"0": 0, "1": 1}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["0", "train/0"], r"splits: train/0\.\w+, but not 0\.\w+; say `splits: {train: train/0"),
        (["cats-0", "test_tube-0"], r"test_tube-0.*, but not cats-0"),
        (["test_small"], r"test_small.*; say `splits: {test: test_small\.\w+}` or `splits: none`"),
        (["mnist-train", "birds-test"], "could be those of splits"),
        (["train/test-0"], "could belong to the split test or the split train"),
        (["val-0", "dev-0"], "'dev' and 'val' of .* could each be the split val"),
    ],
)  # fmt: skip
def test_files_that_could_belong_to_splits_or_not_are_refused(make_set, tmp_path, kind, names, message):
    plant(tmp_path, make_files(kind, {name: number for number, name in enumerate(names)}))
    with pytest.raises(UserError, match=message):
        make_set(source=kind, path=tmp_path)
    _, meta = make_set(source=kind, path=tmp_path, splits="none")
    assert meta["counts"] == {"train": len(names)}
    _, meta = make_set(source=kind, path=tmp_path, splits={"test": f"{names[-1]}.*"})
    assert meta["counts"] == {"test": 1}
    assert sum(meta["left_out"].values()) == len(names) - 1


def test_many_files_are_stated_by_a_pattern(make_set, tmp_path):
    plant(tmp_path, make_files("webdataset", {f"train-{n}": n for n in range(7)} | {"birds": 9}))
    with pytest.raises(UserError, match=r"and 2 more, but not birds.tar; say `splits: {train: train-\*}`"):
        make_set(source="webdataset", path=tmp_path)
    _, meta = make_set(source="webdataset", path=tmp_path, splits={"train": "train-*"})
    assert (meta["counts"], meta["left_out"]) == ({"train": 7}, {"birds.tar": 1})


def test_idx_files_follow_the_same_rule(make_set, tmp_path):
    pixels, labels = idx_of(np.arange(24).reshape(2, 3, 4)), idx_of(np.array([0, 1]))
    for start in ("emnist-letters-train", "emnist-letters-test"):
        plant(tmp_path, {f"{start}-images-idx3-ubyte": pixels, f"{start}-labels-idx1-ubyte": labels})
    assert make_set(source="idx", path=tmp_path)[1]["counts"] == {"train": 2, "test": 2}
    plant(tmp_path, {"latest-images-idx3-ubyte": pixels, "latest-labels-idx1-ubyte": labels})
    with pytest.raises(UserError, match="but not latest-images-idx3-ubyte"):
        make_set(source="idx", path=tmp_path)
    _, meta = make_set(source="idx", path=tmp_path, splits={"train": "latest-*"})
    assert (meta["counts"], len(meta["left_out"])) == ({"train": 2}, 2)


def test_hugging_face_folders_follow_the_same_rule(make_set, tmp_path):
    plant(tmp_path, {"data/train-0.parquet": parquet_of(0), "data/dev-0.parquet": parquet_of(1)})
    assert make_set(source="hugging_face", path=tmp_path)[1]["counts"] == {"train": 1, "test": 1}
    _, meta = make_set(source="hugging_face", path=tmp_path, official_splits={"train": "train"})
    assert (meta["counts"], meta["left_out"]) == ({"train": 1}, {"val": 1})
    plant(tmp_path, {"data/birds.parquet": parquet_of(2)})
    with pytest.raises(UserError, match=r"but not data/birds.parquet"):
        make_set(source="hugging_face", path=tmp_path)
    assert make_set(source="hugging_face", path=tmp_path, splits="none")[1]["counts"] == {"train": 3}


# ---------------------------------------------------------------- parameters without effect


@pytest.mark.parametrize("kind", ["image_folder", *KINDS])
@pytest.mark.parametrize("second", ["test", "val"])
def test_a_test_fraction_where_there_are_splits_is_refused(make_set, tmp_path, kind, second):
    files = (
        folders(a="train", b=second) if kind == "image_folder" else make_files(kind, {"train": 0, second: 1})
    )
    plant(tmp_path, files)
    with pytest.raises(UserError, match=rf"test_fraction has no effect, for .* splits .*{second}"):
        make_set(source=kind, path=tmp_path, test_fraction=0.5)
    with pytest.raises(
        UserError,
        match=rf"split: extra has no effect, for names in .* say {', '.join(sorted(['train', second]))}",
    ):
        make_set(source=kind, path=tmp_path, split="extra")


def test_a_test_split_is_drawn_where_all_is_training(make_set, tmp_path):
    plant(
        tmp_path, {f"train/{name}/{n}.png": 10 * len(name) + n for name in ("cat", "doge") for n in range(4)}
    )
    _, meta = make_set(source="image_folder", path=tmp_path, test_fraction=0.5)
    assert (meta["counts"], meta["test_is"]) == ({"test": 4, "train": 4}, "drawn")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"path": "a", "seed": 1}, "seed has no effect without test_fraction"),
        (
            {"splits": {"train": "a"}, "test_fraction": 0.5},
            "test_fraction has no effect together with splits",
        ),
        ({"splits": {"train": "a"}, "split": "x"}, "split has no effect together with splits"),
        (
            {"path": "a", "split": "test", "test_fraction": 0.5},
            "test_fraction has no effect where all is test",
        ),
        ({"path": "a", "splits": {"train": "/abs"}}, "named relative to it, received /abs"),
        ({"splits": "none"}, "needs either path or splits"),
    ],
)
def test_parameters_without_effect_are_refused(make_set, given, message):
    with pytest.raises(ValidationError, match=message):
        make_set(source="image_folder", **given)


def test_an_empty_environment_variable_counts_as_unset(make_set, tmp_path, monkeypatch):
    monkeypatch.setenv("EMPTY_PLACE", "")
    for path in ("$EMPTY_PLACE/a", "${EMPTY_PLACE}/a", "$EMPTY_PLACE"):
        with pytest.raises(ValidationError, match=r"variable EMPTY_PLACE, which is not set \(it is empty\)"):
            make_set(source="image_folder", path=path)


def test_folders_that_are_passed_over_are_noted(make_set, tmp_path):
    plant(tmp_path, {"PetImages/cat/1.png": 1, "PetImages/dog/1.png": 2})
    _, meta = make_set(source="image_folder", path=tmp_path)
    assert meta["notes"] == ["of folders in folders the classes are cat, dog"]
