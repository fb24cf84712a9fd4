"""Sources with files: what they read, and that nothing damaged slips through."""

import gzip
import io
import os
import tarfile
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pydantic import ValidationError

from rep_kedro.stimuli import decode_images
from rep_kedro.stimuli.record import DamagedSourceError
from rep_kedro.stimuli.sources import parse_source


def rows_of(table, *columns):
    return [tuple(row[name] for name in columns) for row in table.select(list(columns)).to_pylist()]


# ---------------------------------------------------------------- image folders


def fill(root, files):
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def test_a_folder_for_each_class_gives_labels_by_sorted_name(make_set, tmp_path, jpeg):
    files = {"dog/b.jpg": jpeg(1), "cat/deep/a.JPG": jpeg(2), "cat/z.jpeg": jpeg(3)}
    fill(tmp_path, files)
    table, meta = make_set(source="image_folder", path=str(tmp_path))
    assert rows_of(table, "stimulus_id", "image", "label", "split") == [
        ("cat/deep/a.JPG", jpeg(2), 0, "train"),
        ("cat/z.jpeg", jpeg(3), 0, "train"),
        ("dog/b.jpg", jpeg(1), 1, "train"),
    ]
    assert meta["class_names"] == ["cat", "dog"]
    assert meta["image_size_px"] is None
    assert str(tmp_path) not in str(meta)


def test_train_and_test_folders_are_splits_and_share_classes(make_set, tmp_path, jpeg):
    fill(tmp_path, {"train/cat/1.jpg": jpeg(1), "test/cat/1.jpg": jpeg(2), "validation/ant/3.jpg": jpeg(3)})
    table, meta = make_set(source="image_folder", path=tmp_path)
    assert rows_of(table, "stimulus_id", "label", "split") == [
        ("test/cat/1.jpg", 1, "test"),
        ("train/cat/1.jpg", 1, "train"),
        ("validation/ant/3.jpg", 0, "val"),
    ]
    assert meta["class_counts"]["test"] == {"ant": 0, "cat": 1}


def test_flat_images_have_no_labels_and_can_be_split(make_set, tmp_path, jpeg):
    fill(tmp_path, {f"{number}.jpg": jpeg(number) for number in range(8)})
    table, meta = make_set(source="image_folder", path=tmp_path, test_fraction=0.25)
    assert table["label"].null_count == 8
    assert meta["class_names"] is None
    assert meta["counts"] == {"train": 6, "test": 2}


def test_splits_may_lie_in_different_places(make_set, tmp_path, jpeg):
    fill(tmp_path, {"here/cat/1.jpg": jpeg(1), "there/dog/1.jpg": jpeg(2)})
    splits = {"train": tmp_path / "here", "test": tmp_path / "there"}
    table, _ = make_set(source="image_folder", splits=splits)
    assert rows_of(table, "stimulus_id", "label", "split") == [
        ("train/cat/1.jpg", 0, "train"),
        ("test/dog/1.jpg", 1, "test"),
    ]


def test_all_damaged_files_are_named_with_reasons_and_counted(make_set, tmp_path, jpeg):
    files = {
        "cat/1.jpg": jpeg(1),
        "cat/2.jpg": jpeg(2)[:300],
        "cat/notes.txt": b"x",
        "dog/3.png": b"no image",
    }
    fill(tmp_path, files | {f"dog/extra{number}.doc": b"" for number in range(4)})
    with pytest.raises(DamagedSourceError) as caught:
        make_set(source="image_folder", path=tmp_path)
    text = str(caught.value)
    assert text.startswith("7 damaged items: cat/notes.txt (unknown ending '.txt'); dog/extra0.doc")
    assert text.endswith("and 2 more; repair them, or set on_damaged: skip to leave them out and record them")


def test_skipped_files_are_recorded_by_name_and_reason(make_set, tmp_path, jpeg):
    fill(tmp_path, {"cat/1.jpg": jpeg(1), "cat/2.jpg": jpeg(2)[:300], "dog/a.xyz": b"", "cat/.DS_Store": b""})
    table, meta = make_set(source="image_folder", path=tmp_path, on_damaged="skip")
    assert table["stimulus_id"].to_pylist() == ["cat/1.jpg"]
    assert [entry["item"] for entry in meta["damaged"]] == ["dog/a.xyz", "cat/2.jpg"]
    assert "truncated" in meta["damaged"][1]["reason"].lower()
    assert meta["ignored"] == ["cat/.DS_Store"]


def test_an_image_beside_class_folders_lacks_a_label(make_set, tmp_path, jpeg):
    fill(tmp_path, {"cat/1.jpg": jpeg(1), "stray.jpg": jpeg(2), "dog/3.jpg": jpeg(3)})
    with pytest.raises(
        DamagedSourceError, match=r"1 damaged items: stray.jpg \(no label, while others have one\)"
    ):
        make_set(source="image_folder", path=tmp_path)
    table, meta = make_set(source="image_folder", path=tmp_path, on_damaged="skip")
    assert table["stimulus_id"].to_pylist() == ["cat/1.jpg", "dog/3.jpg"]
    assert meta["n_stimuli"] == 2


def test_a_missing_folder_is_named_with_the_part_that_exists(make_set, tmp_path):
    with pytest.raises(
        FileNotFoundError, match=rf"no file or folder at {tmp_path}/a/b; the part that exists is {tmp_path}"
    ):
        make_set(source="image_folder", path=tmp_path / "a" / "b")


def test_an_empty_folder_and_an_empty_class_are_errors(make_set, tmp_path, jpeg):
    with pytest.raises(DamagedSourceError, match=f"no image in {tmp_path}"):
        make_set(source="image_folder", path=tmp_path)
    fill(tmp_path, {"cat/1.jpg": jpeg(1)})
    (tmp_path / "dog").mkdir()
    with pytest.raises(DamagedSourceError, match=r"dog \(an empty folder\)"):
        make_set(source="image_folder", path=tmp_path)


def test_links_that_lead_in_circles_or_nowhere_are_damage(make_set, tmp_path, jpeg):
    fill(tmp_path, {"cat/1.jpg": jpeg(1)})
    (tmp_path / "cat" / "loop").symlink_to(tmp_path)
    (tmp_path / "cat" / "gone.jpg").symlink_to(tmp_path / "nowhere")
    with pytest.raises(DamagedSourceError, match=r"2 damaged items: .*leads back.*") as caught:
        make_set(source="image_folder", path=tmp_path)
    assert "cat/gone.jpg (a link to nothing, or no regular file)" in str(caught.value)


def test_a_file_name_that_is_not_text_is_damage(make_set, tmp_path, jpeg):
    fill(tmp_path, {"cat/1.jpg": jpeg(1)})
    try:
        (tmp_path / "cat" / os.fsdecode(b"\xff.jpg")).write_bytes(jpeg(2))
    except OSError:
        pytest.skip("this file system takes only names that are UTF-8")
    with pytest.raises(DamagedSourceError, match=r"file name is not UTF-8"):
        make_set(source="image_folder", path=tmp_path)


def test_class_names_fix_the_labels_and_must_cover_the_folders(make_set, tmp_path, jpeg):
    fill(tmp_path, {"cat/1.jpg": jpeg(1), "dog/1.jpg": jpeg(2)})
    table, _ = make_set(source="image_folder", path=tmp_path, class_names=["dog", "owl", "cat"])
    assert rows_of(table, "stimulus_id", "label") == [("cat/1.jpg", 2), ("dog/1.jpg", 0)]
    with pytest.raises(DamagedSourceError, match=r"class folders \['dog'\] are not among class_names"):
        make_set(source="image_folder", path=tmp_path, class_names=["cat"])


# ---------------------------------------------------------------- shards


def shard_members(jpeg, keys, n_classes=2):
    return [
        member
        for key in keys
        for member in ((f"s{key:03d}.cls", b"%d" % (key % n_classes)), (f"s{key:03d}.jpg", jpeg(key)))
    ]


def make_shards(root, write_tar, jpeg):
    write_tar(root / "train" / "0.tar", shard_members(jpeg, [3, 1]))
    write_tar(root / "train" / "1.tar", shard_members(jpeg, [2]))
    write_tar(root / "test" / "0.tar", shard_members(jpeg, [7]))
    (root / "train" / "nshards.txt").write_text("2\n")
    (root / "test" / "nshards.txt").write_text("1")
    (root / "classnames.txt").write_text("even\nodd\n")


def test_shards_are_read_in_their_order_with_class_names(make_set, tmp_path, write_tar, jpeg):
    make_shards(tmp_path, write_tar, jpeg)
    table, meta = make_set(source="webdataset", path=tmp_path)
    assert rows_of(table, "stimulus_id", "image", "label", "split") == [
        ("train/0/s003", jpeg(3), 1, "train"),
        ("train/0/s001", jpeg(1), 1, "train"),
        ("train/1/s002", jpeg(2), 0, "train"),
        ("test/0/s007", jpeg(7), 1, "test"),
    ]
    assert meta["class_names"] == ["even", "odd"]


def test_a_single_folder_of_shards_is_one_split(make_set, tmp_path, write_tar, jpeg):
    make_shards(tmp_path, write_tar, jpeg)
    table, _ = make_set(source="webdataset", path=tmp_path / "test", split="test")
    assert rows_of(table, "stimulus_id", "split") == [("test/0/s007", "test")]
    table, _ = make_set(
        source="webdataset", splits={"train": [tmp_path / "train" / "1.tar"], "test": tmp_path / "test"}
    )
    assert table["stimulus_id"].to_pylist() == ["train/1/s002", "test/0/s007"]


def test_shards_without_a_count_come_in_the_order_of_their_numbers(make_set, tmp_path, write_tar, jpeg):
    for number in (10, 9, 8):
        write_tar(tmp_path / f"part-{number}.tar", shard_members(jpeg, [number]))
    table, _ = make_set(source="webdataset", path=tmp_path)
    assert table["stimulus_id"].to_pylist() == [
        "train/part-8/s008",
        "train/part-9/s009",
        "train/part-10/s010",
    ]


@pytest.mark.parametrize("kept_bytes", [300, 700, 1024 + 512 + 200, 2 * 512 + 512 + 600, -1024 * 9])
def test_a_truncated_shard_is_named_wherever_it_was_cut(make_set, tmp_path, write_tar, jpeg, kept_bytes):
    make_shards(tmp_path, write_tar, jpeg)
    shard = tmp_path / "train" / "0.tar"
    shard.write_bytes(shard.read_bytes()[:kept_bytes])
    with pytest.raises(DamagedSourceError, match=r"train/0.tar \(truncated or damaged archive: "):
        make_set(source="webdataset", path=tmp_path)
    table, meta = make_set(source="webdataset", path=tmp_path, on_damaged="skip")
    assert "train/1/s002" in table["stimulus_id"].to_pylist()
    assert "train/0.tar" in [entry["item"] for entry in meta["damaged"]]


def test_every_cut_of_a_shard_before_its_end_mark_is_noticed(make_set, tmp_path, write_tar, jpeg):
    write_tar(tmp_path / "0.tar", shard_members(jpeg, [1, 2]))
    whole = (tmp_path / "0.tar").read_bytes()
    content_bytes = len(whole.rstrip(b"\0"))
    for kept in range(0, content_bytes, 512):
        (tmp_path / "0.tar").write_bytes(whole[:kept])
        with pytest.raises(DamagedSourceError, match="truncated or damaged archive"):
            make_set(source="webdataset", path=tmp_path)


def test_a_missing_shard_is_named(make_set, tmp_path, write_tar, jpeg):
    make_shards(tmp_path, write_tar, jpeg)
    (tmp_path / "train" / "1.tar").unlink()
    with pytest.raises(FileNotFoundError, match=r"no file or folder at .*train/1.tar"):
        make_set(source="webdataset", path=tmp_path)


@pytest.mark.parametrize(
    "name", ["../evil.jpg", "/etc/evil.jpg", "a/../../evil.jpg", "C:evil.jpg", "..\\evil.jpg"]
)
def test_members_that_would_leave_the_archive_are_refused(make_set, tmp_path, write_tar, jpeg, name):
    write_tar(tmp_path / "0.tar", [*shard_members(jpeg, [1]), (name, jpeg(2))])
    with pytest.raises(DamagedSourceError, match="a path that leads out of the archive"):
        make_set(source="webdataset", path=tmp_path)


def test_links_in_a_shard_are_refused(make_set, tmp_path, write_tar, jpeg):
    write_tar(tmp_path / "0.tar", shard_members(jpeg, [1]))
    with tarfile.open(tmp_path / "0.tar", "a") as archive:
        member = tarfile.TarInfo("s002.jpg")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(member)
    with pytest.raises(DamagedSourceError, match=r"0.tar:s002.jpg \(a link or device, not a file\)"):
        make_set(source="webdataset", path=tmp_path)


def test_incomplete_samples_of_a_shard_are_named(make_set, tmp_path, write_tar, jpeg):
    members = [
        *shard_members(jpeg, [1]),
        ("s002.jpg", jpeg(2)),
        ("s003.cls", b"0"),
        ("s004.cls", b"cat"),
        ("s004.jpg", jpeg(4)),
        ("s005.cls", b"7"),
        ("s005.jpg", jpeg(5)),
        ("s001.cls", b"1"),
        ("s001.jpg", jpeg(1)),
    ]
    write_tar(tmp_path / "0.tar", members)
    (tmp_path / "classnames.txt").write_text("even\nodd")
    _, meta = make_set(source="webdataset", path=tmp_path, on_damaged="skip")
    assert {entry["item"]: entry["reason"] for entry in meta["damaged"]} == {
        "train/0/s002": "no label, while others have one",
        "train/0/s003": "0 images among the members ['cls'], expected one",
        "train/0/s004": "label 'cat' is neither a whole number nor among the class names",
        "train/0/s005": "label 7 is outside of the 2 classes",
        "train/0/s001": "id occurs twice",
    }


def test_a_folder_without_shards_is_an_error(make_set, tmp_path):
    with pytest.raises(DamagedSourceError, match=r"no shards \(\*.tar\) in"):
        make_set(source="webdataset", path=tmp_path)


def test_a_shard_may_be_compressed_and_damaged_then(make_set, tmp_path, write_tar, jpeg):
    write_tar(tmp_path / "plain", shard_members(jpeg, [1, 2]))
    packed = gzip.compress((tmp_path / "plain").read_bytes())
    (tmp_path / "0.tar.gz").write_bytes(packed)
    assert make_set(source="webdataset", path=tmp_path)[1]["n_stimuli"] == 2
    (tmp_path / "0.tar.gz").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(DamagedSourceError, match=r"0.tar.gz \(truncated or damaged archive"):
        make_set(source="webdataset", path=tmp_path)


# ---------------------------------------------------------------- idx and npz


def idx_bytes(array):
    shape = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + shape + array.tobytes()


@pytest.fixture
def mnist_like(tmp_path):
    generator = np.random.default_rng(0)
    arrays = {}
    for role, count in (("train", 6), ("t10k", 3)):
        images = generator.integers(0, 256, (count, 5, 4), dtype=np.uint8)
        labels = np.arange(count, dtype=np.uint8) % 3
        (tmp_path / f"{role}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx_bytes(images)))
        (tmp_path / f"{role}-labels-idx1-ubyte").write_bytes(idx_bytes(labels))
        arrays[role] = images, labels
    return tmp_path, arrays


def test_idx_files_hold_their_pixels_and_labels(make_set, mnist_like):
    folder, arrays = mnist_like
    table, meta = make_set(source="idx", path=folder)
    assert meta["counts"] == {"train": 6, "test": 3}
    assert meta["class_names"] == ["0", "1", "2"]
    assert table["label"].to_pylist() == [*arrays["train"][1], *arrays["t10k"][1]]
    for row, pixels in zip(table.to_pylist(), [*arrays["train"][0], *arrays["t10k"][0]], strict=True):
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(row["image"]))), pixels)
    assert table["stimulus_id"][6].as_py() == "test/000000"


def test_idx_splits_choose_the_pair_of_their_role(make_set, mnist_like):
    folder, _ = mnist_like
    _, meta = make_set(source="idx", splits={"test": folder}, class_names=["a", "b", "c"])
    assert meta["counts"] == {"test": 3}
    assert meta["class_names"] == ["a", "b", "c"]


def test_damaged_idx_files_are_named(make_set, mnist_like):
    folder, _ = mnist_like
    images = folder / "train-images-idx3-ubyte.gz"
    whole = images.read_bytes()
    images.write_bytes(whole[:-20])
    with pytest.raises(DamagedSourceError, match=r"train-images-idx3-ubyte.gz is truncated or damaged"):
        make_set(source="idx", path=folder)
    images.write_bytes(gzip.decompress(whole)[:-1])
    with pytest.raises(DamagedSourceError, match="is truncated: it has 135 bytes; its header asks for 136"):
        make_set(source="idx", path=folder)
    images.write_bytes(b"\0\0\x0d\x01" + bytes(8))
    with pytest.raises(DamagedSourceError, match="is not an idx file of unsigned bytes"):
        make_set(source="idx", path=folder)
    images.write_bytes(idx_bytes(np.zeros((2, 5, 4), np.uint8)))
    with pytest.raises(DamagedSourceError, match=r"holds images \(2, 5, 4\) for labels \(6,\)"):
        make_set(source="idx", path=folder)
    (folder / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(FileNotFoundError, match="no labels train-labels-idx1-ubyte or"):
        make_set(source="idx", path=folder)


@pytest.mark.parametrize("layout", ["grey", "last", "first"])
def test_npz_arrays_hold_their_pixels(make_set, tmp_path, layout):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 5, 3), dtype=np.uint8)
    stored = {"grey": pixels[..., 0], "last": pixels, "first": pixels.transpose(0, 3, 1, 2)}[layout]
    np.savez_compressed(tmp_path / "set.npz", x=stored, y=np.array([[0], [1], [1], [2]]))
    table, meta = make_set(source="npz", path=tmp_path / "set.npz")
    expected = pixels if layout != "grey" else pixels[..., :1].repeat(3, axis=3)
    for row, image in zip(table.to_pylist(), expected, strict=True):
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(row["image"])).convert("RGB")), image)
    assert table["label"].to_pylist() == [0, 1, 1, 2]
    assert meta["class_names"] == ["0", "1", "2"]


def test_one_npz_file_may_hold_both_splits(make_set, tmp_path):
    zeros = np.zeros((3, 4, 4), np.uint8)
    np.savez(tmp_path / "mnist.npz", x_train=zeros, x_test=zeros[:1], y_train=[0, 1, 2], y_test=[1])
    names = {
        "images": {"train": "x_train", "test": "x_test"},
        "labels": {"train": "y_train", "test": "y_test"},
    }
    table, _ = make_set(source="npz", path=tmp_path / "mnist.npz", **names)
    assert rows_of(table, "stimulus_id", "label")[2:] == [("train/000002", 2), ("test/000000", 1)]


def test_npz_arrays_of_other_kinds_are_refused(make_set, tmp_path):
    path, zeros = tmp_path / "set.npz", np.zeros((3, 4, 4), np.uint8)
    cases = [
        ({"x": zeros / 2, "y": [0, 1, 2]}, r"images of set.npz are float64 \(3, 4, 4\), expected uint8"),
        ({"x": zeros, "y": [0, 1]}, r"labels 'y' of set.npz are int64 \(2,\), expected whole numbers \(3,\)"),
        ({"x": np.zeros((3, 3, 4, 3), np.uint8), "y": [0, 1, 2]}, "expected 1 or 3 channels on either"),
        ({"images": zeros, "y": [0, 1, 2]}, r"set.npz has no array 'x' .*; known: images, y"),
        (
            {"x": zeros, "y": np.array([{}, {}, {}], dtype=object)},
            r"array 'y' of set.npz cannot be read: .*allow_pickle",
        ),
    ]
    for arrays, message in cases:
        np.savez(path, **arrays)
        with pytest.raises(DamagedSourceError, match=message):
            make_set(source="npz", path=path)
    np.savez(path, x=zeros, y=[0, 1, 2])
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(DamagedSourceError, match=r"set.npz is not an npz file"):
        make_set(source="npz", path=path)


# ---------------------------------------------------------------- Parquet


def test_parquet_with_hugging_face_structs_and_names(make_set, tmp_path, jpeg):
    table = pa.table(
        {"image": [{"bytes": jpeg(number), "path": None} for number in range(3)], "label": [1, 0, 1]}
    ).replace_schema_metadata({"huggingface": '{"info": {"features": {"label": {"names": ["no", "yes"]}}}}'})
    pq.write_table(table.slice(0, 2), tmp_path / "train-00000-of-00001.parquet")
    pq.write_table(table.slice(2), tmp_path / "test-00000-of-00001.parquet")
    found, meta = make_set(source="parquet", path=tmp_path)
    assert rows_of(found, "stimulus_id", "image", "label", "split") == [
        ("train/000000", jpeg(0), 1, "train"),
        ("train/000001", jpeg(1), 0, "train"),
        ("test/000000", jpeg(2), 1, "test"),
    ]
    assert meta["class_names"] == ["no", "yes"]


def test_parquet_with_other_columns_text_labels_and_ids(make_set, tmp_path, jpeg):
    pq.write_table(
        pa.table(
            {
                "picture": [jpeg(0), jpeg(1)],
                "kind": pa.array(["owl", "cat"]).dictionary_encode(),
                "key": ["a", "b"],
            }
        ),
        tmp_path / "birds.parquet",
    )
    columns = {"image_column": "picture", "label_column": "kind", "id_column": "key"}
    table, meta = make_set(source="parquet", path=tmp_path / "birds.parquet", split="test", **columns)
    assert rows_of(table, "stimulus_id", "label", "split") == [("test/a", 1, "test"), ("test/b", 0, "test")]
    assert meta["class_names"] == ["cat", "owl"]


def test_damaged_rows_and_files_of_parquet_are_named(make_set, tmp_path, jpeg):
    path = tmp_path / "set.parquet"
    pq.write_table(pa.table({"image": [jpeg(0), None, b"junk"], "label": [0, 1, 1]}), path)
    with pytest.raises(
        DamagedSourceError,
        match=r"2 damaged items: train/000001 \(no bytes in the image column\); train/000002",
    ):
        make_set(source="parquet", path=path)
    with pytest.raises(DamagedSourceError, match="has no column 'lable'; did you mean 'label'"):
        make_set(source="parquet", path=path, label_column="lable")
    with pytest.raises(DamagedSourceError, match=r"column 'label' of set.parquet is int64, expected binary"):
        make_set(source="parquet", path=path, image_column="label")
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(
        DamagedSourceError, match=r"set.parquet is truncated or damaged, or not a Parquet file"
    ):
        make_set(source="parquet", path=path)


# ---------------------------------------------------------------- torchvision


def test_torchvision_sets_without_files_are_encoded_without_loss(make_set, mnist_like, tmp_path_factory):
    folder, arrays = mnist_like
    root = tmp_path_factory.mktemp("root")
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for role, (images, labels) in arrays.items():
        (raw / f"{role}-images-idx3-ubyte").write_bytes(idx_bytes(images))
        (raw / f"{role}-labels-idx1-ubyte").write_bytes(idx_bytes(labels))
    table, meta = make_set(source="torchvision", name="MNIST", path=root)
    same, _ = make_set(source="idx", path=folder)
    assert table.equals(same)
    assert meta["class_names"][:2] == ["0 - zero", "1 - one"]


def test_torchvision_sets_with_files_keep_their_bytes(make_set, tmp_path, jpeg):
    fill(tmp_path / "eurosat" / "2750", {"Forest/1.jpg": jpeg(1), "River/1.jpg": jpeg(2)})
    table, meta = make_set(source="torchvision", name="EuroSAT", path=tmp_path)
    assert rows_of(table, "image", "label", "split") == [(jpeg(1), 0, "train"), (jpeg(2), 1, "train")]
    assert meta["class_names"] == ["Forest", "River"]


def test_torchvision_never_downloads_and_names_unknown_sets(make_set, tmp_path):
    with pytest.raises(
        DamagedSourceError, match=r"torchvision cannot open CIFAR10\(train=True\) in .*not found"
    ):
        make_set(source="torchvision", name="CIFAR10", path=tmp_path)
    with pytest.raises(
        DamagedSourceError, match="torchvision has no data set 'CIFAR11'; did you mean 'CIFAR10"
    ):
        make_set(source="torchvision", name="CIFAR11", path=tmp_path)


# ---------------------------------------------------------------- parameters


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"source": "digit"}, "Input tag 'digit' found using 'source' does not match"),
        ({}, "Unable to extract tag using discriminator 'source'"),
        ({"source": "digits", "sed": 3}, "digits.sed\n  Extra inputs are not permitted"),
        ({"source": "image_folder"}, "source 'image_folder' needs either path or splits"),
        ({"source": "idx", "path": "a", "splits": {"train": "/b"}}, "splits are named relative to it"),
        ({"source": "idx", "splits": "none"}, "needs either path or splits"),
        (
            {"source": "idx", "path": "$NO_SUCH_PLACE/a"},
            "environment variable NO_SUCH_PLACE, which is not set",
        ),
        ({"source": "idx", "splits": {"a/b": "c"}}, "name 'a/b' must consist of letters"),
        (
            {"source": "idx", "splits": {"a": "c"}, "test_fraction": 0.5},
            "test_fraction has no effect together",
        ),
        ({"source": "torchvision", "name": "MNIST", "splits": {"a": "c"}}, "'torchvision' needs path"),
        ({"source": "idx", "path": "a", "seed": 3}, "seed has no effect without test_fraction"),
        ({"source": "idx", "splits": {"a": "c"}, "split": "a"}, "split has no effect together"),
        ({"source": "shapes", "size_px": 4}, "greater than or equal to 8"),
    ],
)
def test_wrong_parameters_are_refused_with_the_way_out(make_set, entry, message):
    with pytest.raises(ValidationError, match=message):
        make_set(**entry)


def test_environment_variables_in_paths_are_replaced(make_set, tmp_path, jpeg, monkeypatch):
    fill(tmp_path, {"cat/1.jpg": jpeg(1)})
    monkeypatch.setenv("PHOTOGRAPHS", str(tmp_path))
    assert make_set(source="image_folder", path="$PHOTOGRAPHS")[1]["n_stimuli"] == 1
    assert make_set(source="image_folder", path="${PHOTOGRAPHS}/cat")[1]["class_names"] is None


def test_images_of_a_set_decode(make_set, tmp_path, jpeg):
    fill(tmp_path, {"cat/1.jpg": jpeg(1), "dog/2.jpg": jpeg(2)})
    table, _ = make_set(source="image_folder", path=tmp_path)
    assert decode_images(table["image"], size_px=10).shape == (2, 3, 10, 10)


# ---------------------------------------------------------------- label maps


def test_a_label_map_makes_superclasses_and_leaves_the_others_out(make_set, mnist_like):
    folder, _ = mnist_like  # labels 0 1 2 0 1 2 and 0 1 2
    table, meta = make_set(source="idx", path=folder, label_map={"classes": {"two": [2], "nought": [0]}})
    assert rows_of(table, "stimulus_id", "label") == [
        ("train/000000", 1),
        ("train/000002", 0),
        ("train/000003", 1),
        ("train/000005", 0),
        ("test/000000", 1),
        ("test/000002", 0),
    ]
    assert meta["class_names"] == ["two", "nought"]
    assert meta["left_out"] == {"train": 2, "test": 1}


def test_a_label_map_may_take_other_labels_for_each_split(make_set, mnist_like):
    folder, _ = mnist_like
    classes = {"low": {"train": [0], "test": [1]}, "high": {"train": [2], "test": []}}
    table, _ = make_set(source="idx", path=folder, label_map={"classes": classes})
    assert table["stimulus_id"].to_pylist()[-1] == "test/000001"
    assert table["label"].to_pylist() == [0, 1, 0, 1, 0]
    with pytest.raises(ValueError, match="label_map has no split 'test'; known: train"):
        make_set(source="idx", path=folder, label_map={"classes": {"low": {"train": [0]}}})


@pytest.mark.parametrize(
    ("name", "n_classes", "n_train", "n_test"),
    [
        ("living17", 17, 2, 2),
        ("nonliving26", 26, 2, 2),
        ("entity13", 13, 10, 10),
        ("entity30", 30, 4, 4),
        ("cifar100_coarse", 20, 5, 5),
    ],
)
def test_shipped_label_maps_are_balanced_and_their_splits_share_no_label(name, n_classes, n_train, n_test):
    label_map = parse_source({"source": "idx", "path": "x", "label_map": name}).label_map
    train, test = label_map.new_labels("train"), label_map.new_labels("test")
    assert len(label_map.classes) == n_classes
    assert sorted(train.values()) == sorted([*range(n_classes)] * n_train)
    assert sorted(test.values()) == sorted([*range(n_classes)] * n_test)
    assert (train == test) if name == "cifar100_coarse" else not set(train) & set(test)


def test_the_recipe_holds_the_content_of_a_shipped_label_map():
    recipe = parse_source({"source": "idx", "path": "x", "label_map": "living17"}).recipe()
    assert recipe["label_map"]["classes"]["salamander"] == {"train": [27, 29], "test": [26, 28]}


def test_wrong_label_maps_are_refused():
    with pytest.raises(ValidationError, match="unknown label map 'living71'; did you mean 'living17'"):
        parse_source({"source": "idx", "path": "x", "label_map": "living71"})
    with pytest.raises(ValidationError, match=r"puts the labels \[3\] into several classes"):
        parse_source({"source": "idx", "path": "x", "label_map": {"classes": {"a": [3], "b": [3, 4]}}})


@pytest.mark.parametrize(("name", "sizes"), [("voc2007", [1] * 20), ("voc2007_coarse", [1, 6, 7, 6])])
def test_the_classes_of_voc_cover_its_twenty_labels_once(name, sizes):
    label_map = parse_source({"source": "idx", "path": "x", "label_map": name}).label_map
    assert [len(labels) for labels in label_map.classes.values()] == sizes
    assert sorted(label_map.new_labels("train")) == list(range(20))
    names = list(parse_source({"source": "idx", "path": "x", "label_map": "voc2007"}).label_map.classes)
    assert names == sorted(names)
    animals = {"bird", "cat", "cow", "dog", "horse", "sheep"}
    if name == "voc2007_coarse":
        assert {names[label] for label in label_map.classes["animal"]} == animals


def test_classes_may_be_chosen_by_their_names(make_set, mnist_like, tmp_path):
    folder, _ = mnist_like
    given = {"source": "idx", "path": folder, "class_names": ["nought", "one", "two"]}
    table, meta = make_set(**given, label_map={"classes": {"some": ["two"], "none": [0]}})
    assert table["label"].to_pylist() == [1, 0, 1, 0, 1, 0]
    assert meta["class_names"] == ["some", "none"]
    (tmp_path / "mine.yml").write_text("classes: {some: [two], none: [0]}")
    assert make_set(**given, label_map=str(tmp_path / "mine.yml"))[0].equals(table)
    with pytest.raises(ValueError, match="names the class 'tow', which the source lacks; did you mean 'two'"):
        make_set(**given, label_map={"classes": {"some": ["tow"]}})
    with pytest.raises(ValueError, match="puts label 2 into several classes"):
        make_set(**given, label_map={"classes": {"some": ["two"], "other": [2]}})
    with pytest.raises(ValidationError, match=r"label_map: no file .*none.yml"):
        parse_source({**given, "label_map": str(tmp_path / "none.yml")})


def test_idx_and_npz_files_with_impossible_headers_are_refused(make_set, mnist_like, tmp_path):
    folder, _ = mnist_like
    images = folder / "train-images-idx3-ubyte.gz"
    for header in (b"\0\0\x08\x03" + b"\xff" * 12, b"\0\0\x08\x03\0\0"):
        for content in (header, gzip.compress(header)):
            images.write_bytes(content)
            with pytest.raises(
                DamagedSourceError, match=r"train-images-idx3-ubyte.gz has (an imp|4,294,967,295 stim)"
            ):
                make_set(source="idx", path=folder)
    images.write_bytes(gzip.compress(idx_bytes(np.zeros((6, 5, 4), np.uint8)) + b"more"))
    with pytest.raises(DamagedSourceError, match="has bytes behind its last value; its header asks for 136"):
        make_set(source="idx", path=folder)
    images.write_bytes(gzip.compress(idx_bytes(np.zeros((6, 5, 4), np.uint8))[:-30]))
    with pytest.raises(DamagedSourceError, match="is truncated: it has 106 bytes; its header asks for 136"):
        make_set(source="idx", path=folder)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": (10**9, 10**4, 10**4)}
    )
    with zipfile.ZipFile(tmp_path / "set.npz", "w") as archive:
        archive.writestr("x.npy", header.getvalue() + bytes(10))
    with pytest.raises(
        DamagedSourceError, match=r"array 'x' of set.npz has 10 bytes for uint8 \(1000000000, "
    ):
        make_set(source="npz", path=tmp_path / "set.npz", labels=None)


def test_an_npz_array_with_a_flipped_bit_is_refused(make_set, tmp_path):
    path = tmp_path / "set.npz"
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 5), dtype=np.uint8)
    np.savez(path, x=pixels, y=[0, 1, 2, 3])
    content = bytearray(path.read_bytes())
    content[content.index(pixels.tobytes()) + 7] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamagedSourceError, match=r"array 'x' of set.npz cannot be read: Bad CRC-32"):
        make_set(source="npz", path=path)


def test_npz_arrays_in_fortrans_order_hold_their_pixels(make_set, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 5, 3), dtype=np.uint8)
    np.savez_compressed(tmp_path / "set.npz", x=np.asfortranarray(pixels), y=np.arange(4, dtype=">i8"))
    table, _ = make_set(source="npz", path=tmp_path / "set.npz")
    for row, image in zip(table.to_pylist(), pixels, strict=True):
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(row["image"]))), image)
    assert table["label"].to_pylist() == [0, 1, 2, 3]


def test_wide_greys_of_torchvision_sets_are_scaled_not_clipped(make_set, tmp_path, monkeypatch):
    from rep_kedro.stimuli.readers import torchvision as reader

    wide = Image.fromarray(np.array([[0, 65535], [32768, 257]], dtype=np.uint16))
    monkeypatch.setattr(reader, "_class_of", lambda name: lambda root: [(wide, 0)])
    table, _ = make_set(source="torchvision", name="Wide", path=tmp_path, class_names=["a"])
    decoded = np.asarray(Image.open(io.BytesIO(table["image"][0].as_py())))
    assert decoded.tolist() == [[0, 255], [128, 1]]


def test_splits_of_torchvision_sets_that_number_their_classes_differently_are_refused(
    make_set, tmp_path, monkeypatch
):
    from rep_kedro.stimuli.readers import torchvision as reader

    class Part(list):
        def __init__(self, root, train):
            super().__init__([(Image.new("L", (2, 2), 10 + train), 0)])
            self.classes = ["cat", "dog"] if train else ["dog", "cat"]

    monkeypatch.setattr(reader, "_class_of", lambda name: Part)
    with pytest.raises(DamagedSourceError, match="class names disagree between split train and split test"):
        make_set(source="torchvision", name="Pets", path=tmp_path)
    _, meta = make_set(source="torchvision", name="Pets", path=tmp_path, class_names=["a", "b"])
    assert meta["class_counts"] == {"train": {"a": 1, "b": 0}, "test": {"a": 1, "b": 0}}


@pytest.mark.parametrize("empty", ["train/c", "test/a", "val/a/b"])
@pytest.mark.parametrize("hidden", [None, ".DS_Store", "Thumbs.db"])
def test_an_empty_class_below_a_split_is_damage(make_set, tmp_path, jpeg, empty, hidden):
    fill(tmp_path, {"train/a/1.jpg": jpeg(1), "train/b/2.jpg": jpeg(2), "test/b/3.jpg": jpeg(3)})
    (tmp_path / empty).mkdir(parents=True)
    if hidden:
        (tmp_path / empty / hidden).write_bytes(b"x")
    with pytest.raises(DamagedSourceError, match=rf"1 damaged items: {empty} \(an empty folder\)"):
        make_set(source="image_folder", path=tmp_path)


def test_a_shard_that_was_filled_with_zeros_from_its_middle_on_is_named(make_set, tmp_path, write_tar, jpeg):
    make_shards(tmp_path, write_tar, jpeg)
    shard = tmp_path / "train" / "0.tar"
    content = shard.read_bytes()
    with tarfile.open(shard) as archive:
        names = archive.getmembers()
    middle = names[len(names) // 2].offset
    shard.write_bytes(content[:middle] + bytes(max(len(content) - middle, 11_264)))
    with pytest.raises(DamagedSourceError, match=rf"bytes of zeros from byte {middle:,} on, .*are missing"):
        make_set(source="webdataset", path=tmp_path)
    gap = content[:middle] + bytes(20 * 512 + 1024) + content[names[-2].offset :]
    shard.write_bytes(gap)
    with pytest.raises(DamagedSourceError, match=rf"bytes of zeros from byte {middle:,} on, .*are missing"):
        make_set(source="webdataset", path=tmp_path)


def test_columns_and_arrays_that_are_there_twice_are_refused(make_set, tmp_path, jpeg):
    images, labels = pa.array([jpeg(0)]), pa.array([0])
    table = pa.table([images, labels, labels], ["image", "label", "label"])
    pq.write_table(table, tmp_path / "x.parquet")
    with pytest.raises(DamagedSourceError, match=r"x\.parquet has 2 columns 'label'; rename all but"):
        make_set(source="parquet", path=tmp_path / "x.parquet")
    assert make_set(source="parquet", path=tmp_path / "x.parquet", label_column=None)[1]["n_stimuli"] == 1
    np.savez(tmp_path / "x.npz", x=np.zeros((1, 2, 2), np.uint8), y=np.array([0]))
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(tmp_path / "x.npz", "a") as file:
        file.writestr("x.npy", b"other")
    with pytest.raises(DamagedSourceError, match=r"x\.npz has several arrays 'x'; write each name once"):
        make_set(source="npz", path=tmp_path / "x.npz")
