"""Large tables lie in groups of rows, read one at a time; their bytes follow the content alone."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rep_kedro.datasets import ArrowDataset, DamagedMemberError, arrow


def make_table(n_rows, image_bytes, seed=0):
    rng = np.random.default_rng(seed)
    return pa.table(
        {
            "stimulus_id": [f"a/{row}" for row in range(n_rows)],
            "image": pa.array([rng.bytes(image_bytes) for _ in range(n_rows)], pa.binary()),
            "label": pa.array([row % 3 if row % 5 else None for row in range(n_rows)], pa.int32()),
        }
    )


@pytest.fixture
def stored(tmp_path, monkeypatch):
    """Return a function that stores a table in groups of rows of at most 2,000 bytes; returns the handle."""
    monkeypatch.setattr(arrow, "ROW_GROUP_BYTES", 2000)

    def store(table, name="m"):
        dataset = ArrowDataset(filepath=str(tmp_path / f"{name}.parquet"), key="m", recipe={})
        dataset.save(table)
        return dataset.load()

    return store


def groups_of(handle):
    with pq.ParquetFile(handle.path) as file:
        return [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]


def test_groups_of_rows_end_by_their_bytes(stored):
    table = make_table(50, 150)
    handle = stored(table)
    sizes = groups_of(handle)
    assert sum(sizes) == 50
    assert len(sizes) == 5
    for start, n_rows in zip(np.cumsum([0, *sizes[:-1]]), sizes, strict=True):
        rows = table.slice(int(start), n_rows)
        wide = sum(len(row["stimulus_id"]) + len(row["image"]) + 24 for row in rows.to_pylist())
        assert wide <= 2000
    assert handle.table().equals(table)
    assert handle.n_rows() == 50


def test_one_row_larger_than_a_group_is_a_group_of_its_own(stored):
    handle = stored(pa.concat_tables([make_table(1, 5000), make_table(3, 10), make_table(2, 3000)]))
    assert groups_of(handle) == [1, 3, 1, 1]


def test_chunks_do_not_change_the_bytes(stored):
    table = make_table(50, 150)
    pieces = pa.concat_tables([table.slice(0, 7), table.slice(7, 31), table.slice(38)])
    assert stored(table, "whole").path.read_bytes() == stored(pieces, "pieces").path.read_bytes()


def test_a_small_table_is_one_group_and_may_be_empty(stored):
    assert groups_of(stored(make_table(3, 10))) == [3]
    assert stored(make_table(0, 10), "empty").table().num_rows == 0
    assert list(stored(make_table(0, 10), "empty").batches()) == []


@pytest.mark.parametrize("batch_size", [1, 4, 1000])
def test_batches_are_all_rows_in_their_order(stored, batch_size):
    table = make_table(50, 150)
    batches = list(stored(table).batches(["label", "image"], batch_size=batch_size))
    assert max(batch.num_rows for batch in batches) <= batch_size
    assert pa.Table.from_batches(batches).equals(table.select(["label", "image"]))


@pytest.mark.parametrize("rows", [[], [0], [49], [0, 49], [3, 3, 4, 20, 20, 48], list(range(50))])
def test_picked_rows_are_those_asked_for(stored, rows):
    table = make_table(50, 150)
    picked = [row for batch in stored(table).picked(rows, ["stimulus_id"]) for row in batch.to_pylist()]
    assert picked == table.select(["stimulus_id"]).take(pa.array(rows, pa.int64())).to_pylist()


def test_only_the_groups_that_hold_picked_rows_are_read(stored, monkeypatch):
    handle = stored(make_table(50, 150))
    read, read_group = [], pq.ParquetFile.read_row_group
    monkeypatch.setattr(
        pq.ParquetFile,
        "read_row_group",
        lambda file, group, columns=None: (read.append(group), read_group(file, group, columns))[1],
    )
    assert sum(batch.num_rows for batch in handle.picked([0, 1, 49], ["image"])) == 3
    assert read == [0, 4]


def test_impossible_rows_and_columns_are_refused(stored):
    handle = stored(make_table(50, 150))
    with pytest.raises(IndexError, match=r"no row 50 in .*m.parquet, it holds 50"):
        list(handle.picked([1, 50]))
    with pytest.raises(ValueError, match="rows must ascend, received 3 after 7"):
        list(handle.picked([7, 3]))
    with pytest.raises(KeyError, match="no column 'imag'"):
        list(handle.picked([1], ["imag"]))
    with pytest.raises(KeyError, match="no column 'imag'"):
        next(handle.batches(["imag"]))


def test_a_flipped_bit_is_found_before_any_group_is_read(stored):
    table = make_table(50, 150)
    handle = stored(table)
    content = bytearray(handle.path.read_bytes())
    content[content.index(table["image"][49].as_py()[10:60])] ^= 1
    handle.path.write_bytes(content)
    with pytest.raises(DamagedMemberError, match="is damaged"):
        list(handle.picked([0], ["image"]))
    handle.is_sealed = False  # as of the first version of the format, whose pages have checksums
    assert sum(batch.num_rows for batch in handle.picked([0], ["image"])) == 1
    with pytest.raises(DamagedMemberError, match="is damaged"):
        list(handle.picked([49], ["image"]))
    with pytest.raises(DamagedMemberError, match="is damaged"):
        list(handle.batches(["image"]))


def test_no_image_is_repeated_among_the_bounds_of_a_large_table(stored):
    with pq.ParquetFile(stored(make_table(50, 150)).path) as file:
        group = file.metadata.row_group(0)
        assert [group.column(index).is_stats_set for index in range(3)] == [True, False, True]
