"""A file that is missing among numbered ones is noticed by every reader of several files."""

import numpy as np
import pytest
from tests.stimuli.trees import npz_of, parquet_of, plant, shard_of

from rep_kedro.stimuli.record import DamagedSourceError
from rep_kedro.stimuli.shards import require_all_shards


def npz_set(*numbers):
    images = np.stack([np.full((4, 4), number, dtype=np.uint8) for number in numbers])
    return npz_of(x=images, y=np.array(numbers))


READERS = [
    ("webdataset", "tar", shard_of),
    ("hugging_face", "tar", shard_of),
    ("parquet", "parquet", parquet_of),
    ("hugging_face", "parquet", parquet_of),
    ("npz", "npz", npz_set),
]


@pytest.mark.parametrize(("source", "ending", "file_of"), READERS)
@pytest.mark.parametrize(
    ("names", "missing"),
    [
        (["t-00000-of-00003", "t-00002-of-00003"], r"1 of 3 files of 't' .*such as t-00001-of-00003\."),
        (["t-00000-of-00002"], r"1 of 2 files of 't' .*such as t-00001-of-00002\."),
        (["train-0000", "train-0003"], r"2 of 4 files of 'train' .*such as train-0001\."),
        (["0", "1", "12"], r"10 of 13 files of 'the series' .*such as 2\."),
    ],
)
def test_a_missing_file_is_refused(make_set, tmp_path, source, ending, file_of, names, missing):
    plant(tmp_path, {f"{name}.{ending}": file_of(number) for number, name in enumerate(names)})
    with pytest.raises(DamagedSourceError, match=missing + ending):
        make_set(source=source, path=tmp_path)


@pytest.mark.parametrize(("source", "ending", "file_of"), [READERS[0], READERS[2], READERS[4]])
def test_single_files_that_are_named_are_a_choice(make_set, tmp_path, source, ending, file_of):
    names = [f"t-00000-of-00003.{ending}", f"t-00002-of-00003.{ending}"]
    plant(tmp_path, {name: file_of(number) for number, name in enumerate(names)})
    _, meta = make_set(source=source, splits={"train": [tmp_path / name for name in names]})
    assert meta["counts"] == {"train": 2}


@pytest.mark.parametrize(
    "names",
    [
        ["a-00000-of-00002.tar", "a-00001-of-00002.tar.gz"],
        ["train-0.tar", "train-1.tar", "test-0.tar"],
        ["images2015.tar", "images2017.tar"],
        ["part-0-x1.parquet", "part-2-x1.parquet"],
        ["v1.0-00.tar", "v1.0-01.tar"],
        ["x/0.tar", "x/1.tar", "y/0.tar"],
    ],
)
def test_names_that_miss_nothing_are_accepted(tmp_path, names):
    require_all_shards(tmp_path / name for name in names)


def test_a_count_of_very_many_files_takes_no_memory(tmp_path):
    with pytest.raises(DamagedSourceError, match=r"9,?999,?998 of 9,?999,?999 files of 'a'"):
        require_all_shards([tmp_path / "a-0-of-9999999.tar"])
