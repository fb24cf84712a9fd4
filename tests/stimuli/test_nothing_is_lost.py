"""Whatever is in a source is in the set, or is counted and named; archives are read to their very end."""

import bz2
import gzip
import lzma
import re

import numpy as np
import pytest
from tests.stimuli.trees import idx_of, npz_of, parquet_of, picture, plant, shard_of, tar_of

from rep_kedro.errors import UserError
from rep_kedro.stimuli.record import DamagedSourceError

PIXELS = np.arange(2 * 16, dtype=np.uint8).reshape(2, 4, 4)
JUNK = {
    ".hidden.png": 9001,
    ".cache/thumb.png": 9002,
    "__MACOSX/x.png": 9003,
    "Thumbs.db": b"x",
    "desktop.ini": b"x",
    "README.md": b"# Birds",
    "labels.csv": b"a,b",
    "loose.png": 9004,
    "more.zip": b"PK",
    "part.tar.zst": b"x",
    "notes": b"x",
}


def names_of(meta):
    """Return all names that a set gives for what is not in it."""
    return [entry["item"] for entry in meta["damaged"]] + meta["ignored"]


# ---------------------------------------------------------------- junk


@pytest.mark.parametrize("kind", ["webdataset", "parquet", "npz", "idx", "hugging_face"])
def test_each_file_that_a_reader_does_not_read_is_named_once(make_set, tmp_path, kind):
    pixels = np.arange(2 * 16, dtype=np.uint8).reshape(2, 4, 4)
    held = {
        "webdataset": {"train/0.tar": shard_of(0, 1)},
        "parquet": {"train.parquet": parquet_of(0, 1)},
        "hugging_face": {"train.parquet": parquet_of(0, 1)},
        "npz": {"train.npz": npz_of(x=pixels, y=[0, 1])},
        "idx": {
            "train-images-idx3-ubyte": idx_of(pixels),
            "train-labels-idx1-ubyte": idx_of(np.array([0, 1])),
        },
    }[kind]
    plant(tmp_path, held | JUNK)
    table, meta = make_set(source=kind, path=tmp_path, on_damaged="skip")
    assert table.num_rows == 2
    used = {"README.md"} if kind == "hugging_face" else set()
    folders = [".cache", "__MACOSX"]
    assert sorted(names_of(meta)) == sorted([*(JUNK.keys() - used), *folders])
    with pytest.raises(DamagedSourceError, match=r"loose.png \(an image file, which this source does not"):
        make_set(source=kind, path=tmp_path)


def test_every_picture_of_random_trees_is_in_the_set_or_counted(make_set, tmp_path):
    generator = np.random.default_rng(0)
    parts = ["train", "val", "test", "cat", "dog", "images", ".hidden", "Cat", "deep", "1", "10"]
    endings = [".png", ".PNG", ".jpg", ".txt", ".tar", "", ".png.bak"]
    n_read, refusals = 0, []
    for number in range(100):
        root = tmp_path / str(number)
        root.mkdir()
        files = {}
        for position in range(generator.integers(1, 10)):
            folders = generator.choice(parts, generator.integers(0, 4), replace=False)
            name = f"{generator.choice(['', '', '.'])}{position}{generator.choice(endings)}"
            contents = [position, position, 0, b"", b"no picture"]
            files["/".join([*folders, name])] = contents[generator.integers(5)]
        plant(root, files)
        try:
            _, meta = make_set(source="image_folder", path=root, on_damaged="skip", classes="last")
        except UserError as problem:
            refusals.append(str(problem))
            continue
        n_read += 1
        of_files = [name for name in names_of(meta) if (root / name).is_file()]
        unseen = [name for name in files if _is_hidden_without_ending(name)]
        n_out = len(of_files) + sum(meta["left_out"].values())
        assert meta["n_stimuli"] + n_out == len(files) - len(unseen), files
    assert n_read > 20
    reasons = r"could be|could each be|no image in|differ in case|no stimulus is left|damaged items?"
    assert [refusal for refusal in refusals if not re.search(reasons, refusal)] == []


@pytest.mark.parametrize("kind", ["webdataset", "parquet", "npz"])
def test_every_stimulus_of_random_files_is_in_the_set_or_its_file_is_named(make_set, tmp_path, kind):
    generator = np.random.default_rng(1)
    folders = ["", "", "train/", "Testing/", "data/", ".hidden/", "birds/", "val_set/"]
    starts = ["", "", "train-", "val_", "imagenet-test-", "birds-", "."]
    write, ending = {
        "webdataset": (shard_of, ".tar"),
        "parquet": (parquet_of, ".parquet"),
        "npz": (lambda *numbers: npz_of(x=PIXELS + numbers[0], y=[0] * len(numbers)), ".npz"),
    }[kind]
    n_read = 0
    for number in range(60):
        files = {}
        for position in range(0, 2 * generator.integers(1, 6), 2):
            name = generator.choice(folders) + generator.choice(starts) + str(position)
            name += generator.choice([ending, ending, ending.upper(), ".zip", ".txt", ".tar.zst"])
            files[str(name)] = write(position, position + 1)
        root = plant(tmp_path / str(number), files)
        stated = {"splits": {"train": "*"}} if number % 2 else {}
        try:
            _, meta = make_set(source=kind, path=root, on_damaged="skip", **stated)
        except UserError:
            continue
        n_read += 1
        named = {*names_of(meta), *meta["left_out"]}
        unread = [name for name in files if name in named or name.startswith(".hidden/")]
        assert meta["n_stimuli"] == 2 * (len(files) - len(unread)), files
        assert (".hidden" in named) == any(name.startswith(".hidden/") for name in files)
    assert n_read > 20


def _is_hidden_without_ending(name):
    """Say whether a file is no picture by its name and in a hidden folder, which is named as a whole."""
    return ".hidden" in name.split("/")[:-1] and not name.lower().endswith((".png", ".jpg"))


def test_hidden_members_and_pictures_in_hidden_folders_are_named(make_set, tmp_path):
    members = [
        ("a.png", picture(0)),
        (".b.png", picture(1)),
        ("__MACOSX/c.png", picture(2)),
        ("./d.png", picture(3)),
    ]
    plant(tmp_path / "tar", {"0.tar": tar_of(members)})
    _, meta = make_set(source="webdataset", path=tmp_path / "tar")
    assert (meta["n_stimuli"], meta["ignored"]) == (2, ["train/0.tar:.b.png", "train/0.tar:__MACOSX/c.png"])
    plant(tmp_path / "folder", {"cat/1.png": 1, ".old/cat/2.png": 2, ".old/notes.txt": b"x"})
    _, meta = make_set(source="image_folder", path=tmp_path / "folder")
    assert (meta["n_stimuli"], meta["ignored"]) == (1, [".old", ".old/cat/2.png"])


# ---------------------------------------------------------------- archives


def test_archives_one_after_the_other_in_one_file_are_all_read(make_set, tmp_path):
    both = shard_of(0, 1) + shard_of(2, 3) + shard_of(4)
    for name, content in {"0.tar": both, "1.tar.gz": gzip.compress(both)}.items():
        plant(tmp_path / name, {name: content})
        table, _ = make_set(source="webdataset", path=tmp_path / name)
        assert table["image"].to_pylist() == [picture(number) for number in range(5)]


@pytest.mark.parametrize("member", ["s1.png", "s1.cls", "s2.cls"])
def test_a_zeroed_header_is_noticed(make_set, tmp_path, member):
    content = bytearray(shard_of(0, 1, 2))
    start = content.index(member.encode() + b"\0")
    content[start : start + 512] = bytes(512)
    plant(tmp_path, {"0.tar": bytes(content)})
    with pytest.raises(
        DamagedSourceError, match=r"train/0.tar \(truncated or damaged archive: no header and no"
    ):
        make_set(source="webdataset", path=tmp_path)
    _, meta = make_set(source="webdataset", path=tmp_path, on_damaged="skip")
    assert "train/0.tar" in names_of(meta)


@pytest.mark.parametrize("tail", [b"junk" * 300, bytes(512) + b"junk" * 300, bytes(700) + b"x"])
def test_bytes_behind_the_end_are_noticed(make_set, tmp_path, tail):
    plant(tmp_path, {"0.tar": shard_of(0, 1) + tail})
    _, meta = make_set(source="webdataset", path=tmp_path, on_damaged="skip")
    assert (meta["n_stimuli"], names_of(meta)) == (2, ["train/0.tar"])


def test_shards_of_all_endings_are_read(make_set, tmp_path):
    packed = {
        "0.tar": shard_of(0),
        "1.tgz": gzip.compress(shard_of(1)),
        "2.tar.xz": lzma.compress(shard_of(2)),
        "3.TAR": shard_of(3),
        "4.tar.bz2": bz2.compress(shard_of(4)),
        "5.tar.gz": gzip.compress(shard_of(5)),
    }
    plant(tmp_path, packed)
    table, meta = make_set(source="webdataset", path=tmp_path)
    assert table["stimulus_id"].to_pylist() == [f"train/{number}/s{number}" for number in range(6)]
    assert names_of(meta) == []
    plant(tmp_path, {"nshards.txt": b"6"})
    assert make_set(source="webdataset", path=tmp_path)[0].equals(table)


def test_shards_with_dots_and_in_folders_keep_ids_of_their_own(make_set, tmp_path):
    plant(tmp_path, {f"train/{name}": shard_of(0) for name in ("a.v1.tar", "a.v2.tar", "b/a.v1.tar")})
    table, _ = make_set(source="webdataset", path=tmp_path)
    assert table["stimulus_id"].to_pylist() == ["train/a.v1/s0", "train/a.v2/s0", "train/b/a.v1/s0"]


@pytest.mark.parametrize("ending", ["label", "txt", "json", "class"])
def test_labels_under_another_ending_are_read_when_it_is_stated(make_set, tmp_path, ending):
    plant(tmp_path, {"0.tar": shard_of(0, 1, ending=ending)})
    given = {"source": "webdataset", "path": tmp_path}
    with pytest.raises(
        UserError, match=rf"no member .cls .*say `label_ending: {ending}`, or `label_ending: no"
    ):
        make_set(**given)
    assert make_set(**given, label_ending=ending)[0]["label"].to_pylist() == [0, 1]
    assert make_set(**given, label_ending="none")[0]["label"].to_pylist() == [None, None]


def test_labels_as_names_or_in_mappings_are_read_when_it_is_stated(make_set, tmp_path):
    members = [("a.png", picture(0)), ("a.cls", b"dog\n"), ("b.png", picture(1)), ("b.cls", b'"cat"')]
    plant(tmp_path / "names", {"0.tar": tar_of(members)})
    given = {"source": "webdataset", "path": tmp_path / "names"}
    with pytest.raises(DamagedSourceError, match="label 'dog' is neither a whole number nor among the class"):
        make_set(**given)
    assert make_set(**given, class_names=["cat", "dog"])[0]["label"].to_pylist() == [1, 0]
    members = [("a.png", picture(0)), ("a.json", b'{"label": 3, "text": "x"}')]
    plant(tmp_path / "json", {"0.tar": tar_of(members)})
    given = {"source": "webdataset", "path": tmp_path / "json", "label_ending": "json"}
    with pytest.raises(DamagedSourceError, match="is a JSON mapping; set label_key"):
        make_set(**given)
    assert make_set(**given, label_key="label")[0]["label"].to_pylist() == [3]
    with pytest.raises(DamagedSourceError, match="is no JSON mapping with the key 'lable'"):
        make_set(**given, label_key="lable")


def test_members_that_only_some_samples_lack_are_damage(make_set, tmp_path):
    members = [("a.png", picture(0)), ("a.cls", b"0"), ("b.png", picture(1)), ("b.txt", b"a caption")]
    plant(tmp_path, {"0.tar": tar_of(members)})
    with pytest.raises(DamagedSourceError, match=r"train/0/b \(no label, while others have one\)"):
        make_set(source="webdataset", path=tmp_path)


# ---------------------------------------------------------------- tables


def test_tables_of_all_endings_and_behind_links_are_read(make_set, tmp_path):
    plant(tmp_path / "set", {"train.parquet": parquet_of(0, 1), "val.parq": parquet_of(2)})
    plant(tmp_path / "elsewhere", {"part.PARQUET": parquet_of(3, 4, 5)})
    (tmp_path / "set" / "test").symlink_to(tmp_path / "elsewhere")
    table, meta = make_set(source="parquet", path=tmp_path / "set")
    assert meta["counts"] == {"train": 2, "test": 3, "val": 1}
    assert set(table["image"].to_pylist()) == {picture(number) for number in range(6)}
    (tmp_path / "elsewhere" / "loop").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(
        DamagedSourceError, match=r"test/loop \(a link that leads back to a folder above it\)"
    ):
        make_set(source="parquet", path=tmp_path / "set")


def test_idx_labels_without_images_are_named(make_set, tmp_path):
    pixels = np.arange(2 * 16).reshape(2, 4, 4)
    files = {f"{part}-labels-idx1-ubyte": idx_of(pixels[:, 0, 0] * 0) for part in ("train", "t10k")}
    plant(tmp_path, files | {"train-images-idx3-ubyte": idx_of(pixels)})
    with pytest.raises(DamagedSourceError, match=r"t10k-labels-idx1-ubyte \(labels without images\)"):
        make_set(source="idx", path=tmp_path)
