"""A full disk or a folder that cannot be written: one clear line, and what is done is kept whole."""

import os
import subprocess

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from kedro.io import DatasetError

from rep_kedro.datasets import CollectionDataset, Planned, TableDataset, Tensors

WHAT_TO_DO = r"; fix this and run again \(finished results are kept\)"

TENSORS, ARROW = "rep_kedro.datasets.TensorsDataset", "rep_kedro.datasets.ArrowDataset"
NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount or to become another user")


def mount(options, folder):
    """Mount a file system, or skip where this is not allowed."""
    done = subprocess.run(["mount", *options, str(folder)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot mount here: {done.stderr.strip()}")


@pytest.fixture
def small_disk(tmp_path):
    """A real file system of 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount(["-t", "tmpfs", "-o", "size=1m", "tmpfs"], folder)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def value_for(member, n):
    x = np.random.default_rng(n).standard_normal(n)
    return Tensors({"x": x}) if member == TENSORS else pa.table({"x": x})


def plan_with(member, sizes):
    return {f"m{i}": Planned({"n": n}, lambda n=n: value_for(member, n)) for i, n in enumerate(sizes)}


def one_line(refused):
    text = str(refused.value)
    assert "\n" not in text
    return text


@as_root
@pytest.mark.parametrize("member", [TENSORS, ARROW])
def test_a_full_disk_stops_with_one_line_and_keeps_what_is_done(small_disk, member):
    folder = small_disk / "c"
    collection = CollectionDataset(filepath=str(folder), member=member)
    plan = plan_with(member, [1000, 1100, 200_000, 1200])
    with pytest.raises(
        DatasetError, match=r"^cannot write c in .*: No space left on device; 2 members are whole and kept: "
    ) as refused:
        collection.save(plan)
    one_line(refused)
    assert sorted(path.name for path in folder.iterdir() if path.is_file())[:2] == sorted(
        f"m{i}{'.safetensors' if member == TENSORS else '.parquet'}" for i in range(2)
    )
    assert list(small_disk.rglob("*.partial")) == []
    smaller = plan_with(member, [1000, 1100, 2000, 1200])
    collection.save(smaller)
    assert collection.exists()


@as_root
def test_a_disk_so_full_that_not_even_the_plan_fits_is_reported(small_disk):
    with pytest.raises(OSError, match="No space left"):
        (small_disk / "ballast").write_bytes(b"x" * (2 << 20))
    with pytest.raises(DatasetError, match=rf"^cannot write .*/c: No space left on device{WHAT_TO_DO}$"):
        CollectionDataset(filepath=str(small_disk / "c"), member=TENSORS).save(plan_with(TENSORS, [10]))
    with pytest.raises(DatasetError, match="No space left on device"):
        TableDataset(filepath=str(small_disk / "t.parquet")).save(pd.DataFrame({"x": range(10)}))
    assert list(small_disk.rglob("*.partial")) == []
    assert not (small_disk / "t.parquet").exists()


@as_root
def test_a_journal_that_cannot_be_written_in_full_stays_readable(small_disk):
    from rep_kedro.datasets import read_journal

    collection = CollectionDataset(filepath=str(small_disk / "c"), member=TENSORS)
    plan = plan_with(TENSORS, [10] * 300)
    with pytest.raises(DatasetError, match="No space left on device"):
        collection.save(plan)
    n_whole = len(read_journal(small_disk / "c"))
    assert n_whole >= 5
    for i in range(100):
        (small_disk / "c" / f"m{i}.safetensors").unlink(missing_ok=True)
    collection.save(plan_with(TENSORS, [10] * 20))
    assert set(dict(read_journal(small_disk / "c"))) >= {
        (h.key, h.digest) for h in collection.load().values()
    }


@as_root
def test_a_read_only_disk_is_reported_in_one_line_and_can_still_be_loaded(tmp_path, counted):
    counted.save({"a": {}})
    subprocess.run(["mount", "--bind", str(counted.folder), str(counted.folder)], check=False)
    mount(["-o", "remount,ro,bind"], counted.folder)
    try:
        with pytest.raises(
            DatasetError, match=rf"^cannot write .*things: Read-only file system{WHAT_TO_DO}$"
        ) as refused:
            counted.save({"a": {}, "b": {}})
        one_line(refused)
        assert list(counted.collection().load()) == ["a"]
    finally:
        subprocess.run(["umount", str(counted.folder)], check=True)


@as_root
def test_a_folder_of_another_user_is_reported_in_one_line(children, tmp_path):
    folder = tmp_path / "c"
    errors = tmp_path / "errors"
    errors.touch()
    for place in [tmp_path, *tmp_path.parents][:4]:
        place.chmod(0o755)
    errors.chmod(0o666)
    assert children.run("save_simple", errors, folder=str(folder), n_members=2) == 0
    assert children.run("save_simple", errors, folder=str(folder), n_members=3, uid=NOBODY) == 1
    assert (
        errors.read_text()
        == f"cannot write {folder}: Permission denied; fix this and run again (finished results are kept)\n"
    )
    assert sorted(path.name for path in folder.iterdir()) == ["m0.safetensors", "m1.safetensors", "plan.json"]


@as_root
def test_a_member_of_another_user_that_cannot_be_read_is_refused_by_name(children, tmp_path):
    folder = tmp_path / "c"
    errors = tmp_path / "errors"
    errors.touch()
    errors.chmod(0o666)
    for place in [tmp_path, *tmp_path.parents][:4]:
        place.chmod(0o755)
    assert children.run("save_simple", errors, folder=str(folder), n_members=2) == 0
    (folder / "m1.safetensors").chmod(0o600)
    folder.chmod(0o777)
    (tmp_path / "c.journal.jsonl").chmod(0o666)
    assert children.run("save_simple", errors, folder=str(folder), n_members=2, uid=NOBODY) == 1
    head, line = errors.read_text().splitlines()
    assert head.startswith("c: 1 of 2 members failed")
    assert line.startswith(
        f"  m1: {folder}/m1.safetensors cannot be read: Permission denied; rebuild it with"
    )


def test_a_file_over_the_allowed_size_fails_alone(children, tmp_path):
    folder, errors = tmp_path / "c", tmp_path / "errors"
    assert (
        children.run(
            "save_simple", errors, folder=str(folder), n_members=2, n_floats=50_000, limit_bytes=100_000
        )
        == 1
    )
    head, *lines = errors.read_text().splitlines()
    assert head == "c: 2 of 2 members failed (the others are done and kept):"
    assert lines[0] == "  m0: OSError: [Errno 27] File too large"
    assert sorted(path.name for path in folder.iterdir()) == ["plan.json"]


def test_a_file_where_the_folder_should_be_is_reported(tmp_path):
    (tmp_path / "c").write_text("x")
    with pytest.raises(
        DatasetError, match=r"^cannot write .*/c is a file where a folder is expected; move it away$"
    ):
        CollectionDataset(filepath=str(tmp_path / "c"), member=TENSORS).save(plan_with(TENSORS, [3]))
    assert (tmp_path / "c").read_text() == "x"
    with pytest.raises(DatasetError, match="has not been made yet"):
        CollectionDataset(filepath=str(tmp_path / "c"), member=TENSORS).load()
