"""What names say of splits."""

import pytest

from rep_kedro.errors import UserError
from rep_kedro.stimuli.split_names import canonical_split, is_neutral, parse_name, require_one_name_each


@pytest.mark.parametrize(
    ("split", "names"),
    [
        ("train", "train Train TRAIN training Training train_set train-set trainset TrainSet train2017 trn"),
        ("train", "train_images images_train train.data train-0000 0000_train trainval train_val"),
        ("test", "test Testing test_set testset TESTDATA test-00000-of-00003 t10k-images test2015 tst"),
        ("val", "val Valid validation validation-set valset dev devset development eval Evaluation val_0"),
        ("extra", "extra Extra extra_images"),
    ],
)
def test_names_of_splits_are_known_in_every_spelling(split, names):
    for name in names.split():
        parsed = parse_name(name)
        assert parsed is not None, name
        assert (parsed.split, parsed.rest) == (split, ()), name
        assert canonical_split(name) == split


@pytest.mark.parametrize(
    "name", ["cat", "trainer", "detrain", "contest", "testimonial", "invalid", "latest", "values", "", "12"]
)
def test_words_that_only_hold_a_splits_word_say_nothing(name):
    assert parse_name(name) is None
    assert canonical_split(name) == name


@pytest.mark.parametrize(
    ("name", "rest", "is_last"),
    [
        ("bullet_train", ("bullet",), True),
        ("train_station", ("station",), False),
        ("imagenet-val-000001", ("imagenet",), True),
        ("trainA", ("a",), False),
    ],
)
def test_other_words_are_kept(name, rest, is_last):
    parsed = parse_name(name)
    assert (parsed.rest, parsed.is_last) == (rest, is_last)


def test_a_name_of_two_splits_is_of_none():
    assert parse_name("train_test") is None
    assert parse_name("test and val") is None


def test_words_of_a_format_may_be_silent():
    assert parse_name("t10k-images-idx3-ubyte", ("idx", "ubyte")).rest == ()
    assert parse_name("emnist-letters-test-images-idx3-ubyte", ("idx", "ubyte")).rest == ("emnist", "letters")


def test_neutral_names_say_neither_split_nor_class():
    assert all(map(is_neutral, ["images", "Imgs", "JPEG", "data", "jpg_images"]))
    assert not any(map(is_neutral, ["cat", "train", "images of cats", "12", ""]))


def test_two_names_of_one_split_are_refused_with_what_to_write():
    with pytest.raises(
        UserError, match=r"'dev' and 'val' of here could each be .* `splits: {val: \[dev, val\]}`"
    ):
        require_one_name_each({"train": "train", "val": "val", "dev": "val"}, "here")
    require_one_name_each({"train": "train", "val": "val"}, "here")
