"""Files of features that are damaged or hostile: one line that names the array, and no other member stops."""

import json
import resource
import struct
import tracemalloc
import zlib
from decimal import Decimal
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import TypeAdapter
from tests.small_collections import ARROW, make_stimuli, make_subset, store

from rep_kedro.datasets import Handles
from rep_kedro.errors import UserError
from rep_kedro.features.from_files import parquet, rows, stored_arrays
from rep_kedro.features.from_files.members import open_file, require_readable
from rep_kedro.features.from_files.rows import pick_rows
from rep_kedro.features.params import FeaturesParams
from rep_kedro.models.sources.array_specs import ArrayPlace
from rep_kedro.models.sources.specs import ModelEntry
from rep_kedro.pipelines.features.nodes import plan_features

VALUES = np.arange(6.0).reshape(3, 2)
IDS = ["a", "b", "c"]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def _safetensors(dtype, shape, n_bytes):
    header = json.dumps({"x": {"dtype": dtype, "shape": shape, "data_offsets": [0, n_bytes]}}).encode()
    Path("f").write_bytes(struct.pack("<Q", len(header)) + header + bytes(n_bytes))


def _npy(array):
    np.save("f.npy", array)
    Path("f.npy").rename("f")


def _hdf5(fill):
    def write():
        with h5py.File("f", "w") as file:
            fill(file)

    return write


def _external(file):
    VALUES.tofile("values.raw")
    file.create_dataset("x", (3, 2), "f8", external=[("values.raw", 0, 48)])


def _virtual(file):
    layout = h5py.VirtualLayout((3, 2), "f8")
    layout[:] = h5py.VirtualSource("other.h5", "x", shape=(3, 2))
    file.create_virtual_dataset("x", layout)


def _link(link):
    return _hdf5(lambda file: (file.create_group("more"), file["more"].__setitem__("x", link)))


def _parquet(**columns):
    return lambda: pq.write_table(pa.table(columns), "f")


def _doubled(names):
    return lambda: pq.write_table(pa.table([[1.0, 2.0]] * len(names), names=names), "f")


def _deep(file):
    for _ in range(40):
        file = file.create_group("g")
    file["x"] = VALUES


def _never_written(file):
    file.create_dataset("x", (3, 10**12), "f8", chunks=(1, 10**6))


def _some_written(file):
    file.create_dataset("x", (3, 2), "f8", chunks=(1, 2))[0] = 1


def _large_chunk(file):
    chunk = file.create_dataset("x", (600, 10**6), "f8", chunks=(600, 10**6), compression="gzip").id
    chunk.write_direct_chunk((0, 0), zlib.compress(bytes(1000)))


def _tall_chunks(file):
    part = file.create_dataset("x", (1000, 10**6), "f8", chunks=(1000, 10**5), compression="gzip").id
    for column in range(0, 10**6, 10**5):
        part.write_direct_chunk((0, column), b"never unpacked")


def _wide_ids(file):
    file["x"] = VALUES
    part = file.create_dataset("ids", (3, 2), "i8", chunks=(3, 2), compression="gzip").id
    part.write_direct_chunk((0, 0), b"never unpacked")


def _large_in_file(file):
    part = file.create_dataset("x", (3, 2), "f8", chunks=(3, 2), compression="gzip").id
    part.write_direct_chunk((0, 0), zlib.compress(bytes(10**7), level=0))


def _twice_packed(file):
    from h5py import h5d, h5p, h5s, h5t

    plist = h5p.create(h5p.DATASET_CREATE)
    plist.set_chunk((3, 2))
    plist.set_deflate(4)
    plist.set_deflate(4)
    space, kind = h5s.create_simple((3, 2)), h5t.IEEE_F64LE
    h5d.create(file.id, b"x", kind, space, plist).write_direct_chunk((0, 0), zlib.compress(bytes(9)))


REFUSED = {
    "number in npy": (
        lambda: _npy(np.float64(3)),
        r"array 'features' has shape \(\)",
    ),
    "complex npy": (lambda: _npy(VALUES * 1j), "'features' .* holds complex128"),
    "number": (lambda: _safetensors("F32", [], 4), r"array 'x' has shape \(\)"),
    "complex": (lambda: _safetensors("C64", [3, 2], 48), "array 'x' .* holds C64, not features"),
    "four bits": (lambda: _safetensors("F4", [3, 2], 3), "array 'x' .* holds F4, not features"),
    "six bits": (lambda: _safetensors("F6_E2M3", [4, 2], 6), "array 'x' .* holds F6_E2M3, not features"),
    "external": (_hdf5(_external), "array 'x' .* holds values of 1 other files, not features"),
    "virtual": (_hdf5(_virtual), "array 'x' .* holds views of other datasets, not features"),
    "name in no UTF-8": (
        _hdf5(lambda file: file.create_dataset(b"\xff", data=VALUES)),
        r"it has a part named b'\\xff', which is no UTF-8; write the arrays",
    ),
    "deep groups": (_hdf5(_deep), "it has groups that are more than 32 deep; write the arrays"),
    "soft link": (_link(h5py.SoftLink("/y")), "array 'more/x' .* holds a link to /y, not features"),
    "external link": (_link(h5py.ExternalLink("o.h5", "/y")), "array 'more/x' .* holds a link to /y"),
    "empty": (_hdf5(lambda file: file.__setitem__("x", h5py.Empty("f8"))), "array 'x' .* holds nothing"),
    "scalar": (_hdf5(lambda file: file.__setitem__("x", 3.0)), r"array 'x' has shape \(\)"),
    "complex HDF5": (_hdf5(lambda file: file.__setitem__("x", VALUES * 1j)), "array 'x' .* holds complex128"),
    "never written": (
        _hdf5(_never_written),
        "array 'x' .* holds 0 of 3,000,000 chunks, the others were never",
    ),
    "some written": (_hdf5(_some_written), "array 'x' .* holds 1 of 3 chunks, the others were never written"),
    "unwritten": (
        _hdf5(lambda file: file.create_dataset("x", (10**6, 10**6), "f8")),
        "array 'x' .* holds values that were never written, not features",
    ),
    "large chunk": (
        _hdf5(_large_chunk),
        r"array 'x' .* holds chunks of 4,800,000,000 bytes \(limit_bytes is",
    ),
    "rows of chunks too large together": (
        _hdf5(_tall_chunks),
        r"array 'x' .* holds chunks of 1,000 rows, which take 8,000,000,000 bytes \(limit_bytes is 4,0",
    ),
    "chunk larger in the file": (
        _hdf5(_large_in_file),
        "array 'x' .* holds chunks that are larger than their 48",
    ),
    "compressed twice": (
        _hdf5(_twice_packed),
        r"array 'x' .* holds chunks under filters \[1, 1\], whose size",
    ),
    "another compression": (
        _hdf5(lambda file: file.create_dataset("x", data=np.ones((3, 2), "i4"), scaleoffset=4)),
        r"array 'x' .* holds chunks under filters \[6\], whose size has no bound \(known: gzip,",
    ),
    "a name twice": (_doubled(["x", "y", "x"]), r"columns are listed twice: \['x'\]"),
    "text": (
        _parquet(x=[1.0], y=["a"]),
        "array 'y' .* holds text, not features; choose arrays by name",
    ),
    "decimal": (_parquet(x=[1.0], y=[Decimal("1.5")]), "array 'y' .* holds decimal128"),
    "struct": (_parquet(x=[1.0], y=[{"a": 1.0}]), "array 'y' .* holds struct<a: double>"),
    "lists in lists": (_parquet(x=[1.0], y=[[[1.0]]]), "array 'y' .* holds list<"),
    "ragged": (_parquet(y=[[1.0], [1.0, 2.0]]), "array 'y' .* holds lists of different lengths"),
    "name of all": (_parquet(columns=[[1.0]], y=[2.0]), "'columns' has the name of the array of all single"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_plain_array_of_the_file_is_refused_by_name_before_it_is_read(name):
    write, message = REFUSED[name]
    write()
    place = {"path": "f", "row_order": "all"}
    entry = TypeAdapter(ModelEntry).validate_python({"source": "features", "files": {"dots": place}})
    with pytest.raises(UserError, match=message) as refused:
        require_readable(entry)
    assert str(refused.value).startswith("file of features f: ")
    assert "\n" not in str(refused.value)


def test_a_file_that_is_refused_stops_no_other_member(tmp_path):
    labels, splits = [0] * 3, ["train"] * 3
    sets = {"dots": make_stimuli(np.zeros((3, 4, 4, 3), np.uint8), labels, splits, ["a"])}
    subsets = {"dots/analysis": make_subset(labels, splits)}
    files = {"good": "good.npy", "zero": "zero.npy", "ragged": "ragged.pq"}
    np.save("good.npy", VALUES)
    np.save("zero.npy", np.float32(3))
    pq.write_table(pa.table({"x": [[1.0], [1.0, 2.0], [3.0]]}), "ragged.pq")
    entries = {
        name: {"source": "features", "files": {"dots": {"path": path, "row_order": "all"}}}
        for name, path in files.items()
    }
    plan = plan_features(
        store(tmp_path / "sets", sets, ARROW),
        store(tmp_path / "subsets", subsets, ARROW),
        Handles({}, {}, {}),
        FeaturesParams.model_validate({"models": entries}),
    )
    assert list(plan) == ["dots/good"]
    assert {key: why.count("not features") for key, why in plan.left_out.items()} == {
        "dots/zero": 1,
        "dots/ragged": 1,
    }


def test_parts_of_an_hdf5_file_are_counted_before_they_are_opened(monkeypatch):
    monkeypatch.setattr("rep_kedro.features.from_files.hdf5._MOST_PARTS", 3)
    for n_parts in (3, 4):
        _hdf5(lambda file, n=n_parts: [file.__setitem__(f"x{i}", VALUES) for i in range(n)])()
        if n_parts == 3:
            assert len(open_file(ArrayPlace(path="f", row_order="all"), None).layers) == 3
    with pytest.raises(UserError, match=r"it has more than 3 groups and datasets; write the arrays that"):
        open_file(ArrayPlace(path="f", row_order="all"), None)


def test_arrays_that_are_chosen_by_name_need_no_others():
    _parquet(x=[1.0], y=["a"], z=[[[1.0]]], w=[[1.0, 2.0]])()
    file = open_file(ArrayPlace(path="f", row_order="all"), ["w", "columns"])
    assert {name: array.shape for name, array in file.layers.items()} == {"w": (1, 2), "columns": (1, 1)}

    def fill(file):
        file["x"], file["y"], file["z"] = VALUES, h5py.SoftLink("/x"), h5py.Empty("f8")

    _hdf5(fill)()
    assert list(open_file(ArrayPlace(path="f", row_order="all"), ["x"]).layers) == ["x"]


BAD_IDS = {
    "external link": (
        _hdf5(lambda file: file.__setitem__("ids", h5py.ExternalLink("o.h5", "/y"))),
        "a link to /y",
    ),
    "scalar": (_hdf5(lambda file: file.__setitem__("ids", "a")), r"has shape \(\)"),
    "empty": (_hdf5(lambda file: file.__setitem__("ids", h5py.Empty("S1"))), r"has shape \(\)"),
    "large texts": (
        _hdf5(lambda file: file.create_dataset("ids", (3,), "S100000000", chunks=(1,), compression="gzip")),
        "holds texts of 100,000,000 bytes each",
    ),
    "several a row": (_hdf5(_wide_ids), r"array 'ids' of stimulus ids has shape \(3, 2\)"),
    "fixed, no UTF-8": (
        _hdf5(lambda file: file.__setitem__("ids", np.array([b"\xff"] * 3))),
        "ids' of stimulus ids is no UTF-8",
    ),
    "no UTF-8": (
        _hdf5(lambda file: file.create_dataset("ids", data=[b"\xff"] * 3, dtype=h5py.string_dtype())),
        "ids' of stimulus ids is no UTF-8",
    ),
    "large texts in Parquet": (
        _parquet(ids=["a" * (4 << 20), "b", "c"]),
        "array 'ids' of stimulus ids .* holds texts of 4,194,",
    ),
    "one large text in Parquet": (
        _parquet(ids=["a" * (1 << 20), *map(str, range(100))]),
        "column 'ids' has a text of 1,048,576 bytes; at most 65,536",
    ),
    "column twice": (_doubled(["x", "ids", "ids"]), r"columns are listed twice: \['ids'\]"),
}


@pytest.mark.parametrize("name", BAD_IDS)
def test_ids_that_are_no_plain_texts_are_refused_in_one_line(name):
    write, message = BAD_IDS[name]
    write()
    with pytest.raises(UserError, match=message) as refused:
        open_file(ArrayPlace(path="f", ids="ids"))
    assert str(refused.value).startswith("file of features f: ")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_ids_of_a_text_file_end_with_their_line_alone(mark, end):
    np.save("f.npy", VALUES)
    ids = ["a\x1cb", "c\u2028", "d\x85"]
    Path("ids.txt").write_bytes((mark + end.join([*ids, ""])).encode())
    assert open_file(ArrayPlace(path="f.npy", ids_file="ids.txt")).ids == ids
    Path("ids.txt").write_bytes((mark + end.join(ids)).encode())
    assert open_file(ArrayPlace(path="f.npy", ids_file="ids.txt")).ids == ids


def test_long_lists_are_counted_before_they_are_decoded(monkeypatch):
    zeros = pa.ListArray.from_arrays(pa.array([0, 10**6, 2 * 10**6]), pa.array(np.zeros(2 * 10**6)))
    pq.write_table(pa.table({"x": zeros}), "f")
    array = open_file(ArrayPlace(path="f", row_order="all")).layers["x"]
    assert array.shape == (2, 10**6)
    sizes = [len(block) for block in array.blocks()]
    assert sizes == [1, 1]
    monkeypatch.setattr(parquet.Columns, "blocks", lambda _: pytest.fail("was decoded"))
    with pytest.raises(UserError, match=r"takes 8,000,000 bytes, the limit is 1,000"):
        pick_rows(array, np.array([0, 1]), 1000, "array 'x'")


def test_lists_whose_lengths_differ_behind_the_first_are_refused_in_one_line():
    pq.write_table(pa.table({"x": [[1.0, 2.0]] * 1024 + [[1.0]] * 2 + [[1.0, 2.0, 3.0]] * 2}), "f")
    array = open_file(ArrayPlace(path="f", row_order="all")).layers["x"]
    with pytest.raises(UserError, match="array 'x': f: column 'x' has lists of different lengths") as refused:
        pick_rows(array, np.array([0]), 1000, "array 'x'")
    assert "\n" not in str(refused.value)


def test_values_for_which_there_is_no_memory_are_not_called_damaged(monkeypatch):
    def take(_):
        raise MemoryError("Unable to allocate 1.12 GiB")

    np.save("f.npy", VALUES)
    array = open_file(ArrayPlace(path="f.npy", row_order="all")).layers["features"]
    monkeypatch.setattr(type(array), "blocks", take)
    with pytest.raises(UserError, match=r"^x needs more memory than there is \(Unable to allocate 1.12"):
        pick_rows(array, np.array([0]), 1000, "x")


def test_a_text_that_rows_share_is_measured_before_it_is_written_out_for_each():
    n_rows, text = 200_000, "a" * (1 << 20)
    shared = pa.DictionaryArray.from_arrays(pa.array(np.zeros(n_rows, np.int32)), [text])
    pq.write_table(pa.table({"ids": shared}), "f", store_schema=False)
    tracemalloc.start()
    with pytest.raises(UserError, match="column 'ids' has a text of 1,048,576 bytes"):
        open_file(ArrayPlace(path="f", ids="ids"))
    held = pa.default_memory_pool().max_memory()
    assert tracemalloc.get_traced_memory()[1] < 50_000_000
    tracemalloc.stop()
    assert held < 2**30


def test_ids_are_read_until_they_are_too_many(monkeypatch):
    monkeypatch.setattr(rows, "LARGEST_TEXT", 5)
    pq.write_table(pa.table({"x": [1.0, 2.0, 3.0], "ids": ["aa", "bb", "cc"]}), "f")
    with pytest.raises(UserError, match="array 'ids' of stimulus ids has more than 5 characters"):
        open_file(ArrayPlace(path="f", ids="ids"))


@pytest.mark.parametrize(("n_bytes", "what"), [(200_000_000, "more"), (480_008, "more"), (16, "less")])
def test_a_chunk_that_does_not_inflate_to_its_size_is_refused_before_memory_is_taken(n_bytes, what):
    packer = zlib.compressobj()
    packed = b"".join(packer.compress(bytes(each)) for each in [10**6] * (n_bytes // 10**6) or [n_bytes])

    def fill(file):
        part = file.create_dataset("x", (6, 100, 400), "f8", chunks=(3, 50, 400), compression="gzip")
        part[:] = 1
        part.id.write_direct_chunk((3, 50, 0), packed + packer.flush())
        file.create_dataset("ids", data=np.arange(6))

    _hdf5(fill)()
    array = open_file(ArrayPlace(path="f", ids="ids")).layers["x"]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(
        UserError, match=rf"^x: the chunk at \(3, 50, 0\) has {what} than the 480,000 bytes of a chunk; write"
    ):
        pick_rows(array, np.arange(6), 10**7, "x")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kB


@pytest.mark.parametrize("how", [{"shuffle": True, "fletcher32": True}, {}, {"compression": "lzf"}])
def test_chunks_of_their_size_are_read_under_every_known_filter(how):
    values = np.random.default_rng(0).normal(size=(7, 5, 3))

    def fill(file):
        file.create_dataset("x", data=values, chunks=(2, 4, 3), **{"compression": "gzip"} | how)
        ids = [f"stimulus {number}" for number in range(7)]
        file.create_dataset("ids", data=ids, dtype=h5py.string_dtype(), chunks=(3,), compression="gzip")

    _hdf5(fill)()
    file = open_file(ArrayPlace(path="f", ids="ids"))
    assert file.ids[6] == "stimulus 6"
    found = pick_rows(file.layers["x"], np.arange(7), 10**6, "x", dtype=np.float64)
    np.testing.assert_array_equal(found, values.reshape(7, 15))


def test_a_page_of_parquet_that_unpacks_to_more_than_the_limit_is_refused(monkeypatch):
    pq.write_table(pa.table({"x": [list(range(10**5))] * 2}), "f", use_dictionary=False, compression="zstd")
    place = ArrayPlace(path="f", row_order="all", limit_bytes=10**6)
    array = open_file(place).layers["x"]
    monkeypatch.setattr(pq.ParquetFile, "iter_batches", lambda *_, **__: pytest.fail("was decoded"))
    with pytest.raises(UserError, match=r"^x: a page of column 'x' takes more than 1,000,000 bytes; if"):
        pick_rows(array, np.array([0]), place.limit_bytes, "x")


def test_a_chunk_is_unpacked_once_however_small_the_blocks(monkeypatch):
    monkeypatch.setattr(stored_arrays, "BLOCK_BYTES", 16)
    values = np.arange(60.0).reshape(30, 2)
    _hdf5(lambda file: file.create_dataset("x", data=values, chunks=(7, 2), compression="gzip"))()
    array = open_file(ArrayPlace(path="f", row_order="all")).layers["x"]
    assert [len(block) for block in array.blocks()] == [7, 7, 7, 7, 2]
    np.testing.assert_array_equal(np.concatenate(list(array.blocks())), values)
