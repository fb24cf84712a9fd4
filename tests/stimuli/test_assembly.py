"""A set may be larger than memory, and its fingerprint follows its files."""

import os
import time

import pyarrow as pa
import pytest

from rep_kedro.stimuli import assembly, fingerprint, spool
from rep_kedro.stimuli.fingerprint import fingerprint_source
from rep_kedro.stimuli.sources import parse_source


@pytest.fixture(autouse=True)
def cache_folder(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("REP_KEDRO_CACHE", str(folder))
    return folder


def test_a_set_past_the_memory_limit_is_the_same_and_leaves_no_file(make_set, monkeypatch, tmp_path):
    expected, meta = make_set(source="shapes", n_train=1500)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    small = spool.BatchSpool.__init__
    monkeypatch.setattr(
        spool.BatchSpool, "__init__", lambda self, schema: small(self, schema, memory_limit_bytes=1000)
    )
    before = pa.total_allocated_bytes()
    table, spooled_meta = make_set(source="shapes", n_train=1500)
    assert table.equals(expected)
    assert spooled_meta == meta
    assert pa.total_allocated_bytes() - before < expected.nbytes / 2  # the rest is mapped
    assert list(tmp_path.iterdir()) == []


def test_a_source_that_fails_on_the_way_leaves_no_file(make_set, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    small = spool.BatchSpool.__init__
    monkeypatch.setattr(
        spool.BatchSpool, "__init__", lambda self, schema: small(self, schema, memory_limit_bytes=1000)
    )
    with pytest.raises(ValueError, match="photograph 'china' has"):
        make_set(source="photograph_patches", size_px=4, n_test=100_000)
    assert list(tmp_path.iterdir()) == []


def test_large_images_are_checked_in_threads_with_the_same_result(make_set, tmp_path, jpeg, monkeypatch):
    for number in range(20):
        (tmp_path / f"{number:02d}.jpg").write_bytes(jpeg(number) if number != 13 else jpeg(13)[:400])
    single = make_set(source="image_folder", path=tmp_path, on_damaged="skip")
    monkeypatch.setattr(assembly, "_THREADED_BYTES", 1)
    threaded = make_set(source="image_folder", path=tmp_path, on_damaged="skip")
    assert single == threaded
    assert single[1]["damaged"][0]["item"] == "13.jpg"


def age(*files):
    """Make files look a minute old, so that their digests may be kept."""
    for file in files:
        then = time.time_ns() - 60_000_000_000
        os.utime(file, ns=(then, then))


@pytest.fixture
def folder(tmp_path, jpeg):
    root = tmp_path / "photos"
    root.mkdir()
    for number in range(3):
        (root / f"{number}.jpg").write_bytes(jpeg(number))
        age(root / f"{number}.jpg")
    return root


def print_of(root):
    return fingerprint_source(parse_source({"source": "image_folder", "path": root}))


def test_a_fingerprint_follows_names_and_contents_but_not_the_place(folder, tmp_path, jpeg):
    first = print_of(folder)
    moved = folder.rename(tmp_path / "elsewhere")
    assert print_of(moved) == first
    (moved / "0.jpg").rename(moved / "9.jpg")
    renamed = print_of(moved)
    (moved / "9.jpg").write_bytes(jpeg(9))
    assert len({first, renamed, print_of(moved)}) == 3


def test_unchanged_files_are_not_read_again(folder, monkeypatch):
    first = print_of(folder)
    read = []
    digest_file = fingerprint._digest_file
    monkeypatch.setattr(fingerprint, "_digest_file", lambda file: read.append(file.name) or digest_file(file))
    assert print_of(folder) == first
    assert read == []
    changed = (folder / "1.jpg").read_bytes()[::-1]  # same size, same age
    (folder / "1.jpg").write_bytes(changed)
    age(folder / "1.jpg")
    assert print_of(folder) != first
    assert read == ["1.jpg"]


def test_files_just_written_are_read_again(folder, monkeypatch, jpeg):
    (folder / "1.jpg").write_bytes(jpeg(8))
    print_of(folder)
    read = []
    digest_file = fingerprint._digest_file
    monkeypatch.setattr(fingerprint, "_digest_file", lambda file: read.append(file.name) or digest_file(file))
    print_of(folder)
    assert read == ["1.jpg"]


def test_a_damaged_or_unwritable_cache_costs_only_time(folder, cache_folder, monkeypatch):
    first = print_of(folder)
    (cache_folder / "fingerprints.sqlite").write_bytes(b"no data base" * 100)
    assert print_of(folder) == first
    monkeypatch.setenv("REP_KEDRO_CACHE", str(folder / "0.jpg" / "no_folder"))
    assert print_of(folder) == first


def test_class_names_beside_the_shards_count(tmp_path, write_tar, jpeg):
    write_tar(tmp_path / "train" / "0.tar", [("a.jpg", jpeg(1))])
    (tmp_path / "classnames.txt").write_text("one")
    spec = parse_source({"source": "webdataset", "splits": {"train": tmp_path / "train"}})
    first = fingerprint_source(spec)
    (tmp_path / "classnames.txt").write_text("two")
    assert fingerprint_source(spec) != first


def test_missing_and_empty_places_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no file or folder at"):
        print_of(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no files in"):
        print_of(tmp_path / "empty")


def test_sources_without_files_have_no_fingerprint():
    assert fingerprint_source(parse_source({"source": "digits"})) is None
