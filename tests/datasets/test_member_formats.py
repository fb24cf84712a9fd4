"""What is stored comes back: types, shapes, labels, lazily and read-only."""

import json
import os
import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from kedro.io import DatasetError
from safetensors.numpy import load_file
from safetensors.numpy import save as library_save

from rep_kedro.datasets import ArrowDataset, LabelledMatrix, MatrixDataset, Tensors, TensorsDataset

NUMPY_TYPES = ["f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "?"]


@pytest.fixture
def stored(tmp_path):
    """Store tensors; return the handle."""

    def store(tensors, meta=None, recipe=None):
        dataset = TensorsDataset(filepath=str(tmp_path / "d" / "m.safetensors"), key="m", recipe=recipe)
        dataset.save(Tensors(tensors, meta or {}))
        return dataset.load()

    return store


def require_same(found, expected):
    """Check type, shape and every bit."""
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    assert found.tobytes() == expected.tobytes()


@pytest.mark.parametrize("dtype", NUMPY_TYPES)
@pytest.mark.parametrize("shape", [(), (1,), (0,), (3, 0, 2), (5, 3), (2, 3, 4)])
def test_every_type_and_shape_comes_back(stored, dtype, shape):
    rng = np.random.default_rng(0)
    value = (rng.standard_normal(shape) * 100).astype(dtype) if shape else np.array(1, dtype)
    handle = stored({"x": value, "other": np.arange(3)})
    require_same(handle.tensor("x"), value)
    assert handle.shape("x") == shape
    assert not handle.tensor("x").flags.writeable


def test_extreme_numbers_come_back_bit_by_bit(stored):
    value = np.array([np.nan, -np.nan, np.inf, -np.inf, -0.0, 5e-324, 1.7e308])
    require_same(stored({"x": value}).tensor("x"), value)


@pytest.mark.parametrize(
    "dtype", ["float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint8", "bool"]
)
def test_torch_tensors_come_back(stored, dtype):
    value = torch.arange(12).reshape(3, 4).to(getattr(torch, dtype))
    require_same(stored({"x": value}).tensor("x"), value.numpy())


def test_tensors_in_any_memory_layout_come_back(stored):
    base = np.arange(24.0).reshape(2, 3, 4)
    parameter = torch.nn.Parameter(torch.arange(6.0).reshape(2, 3))
    negative = torch.complex(torch.ones(3), torch.arange(3.0)).conj().imag
    assert negative.is_neg()
    given = {
        "transposed": (base.T, base.T),
        "fortran": (np.asfortranarray(base), base),
        "strided": (base[:, ::-1, ::2], base[:, ::-1, ::2]),
        "big endian": (base.astype(">f8"), base),
        "broadcast": (np.broadcast_to(np.float32(2), (3, 2)), np.full((3, 2), 2, np.float32)),
        "scalar": (np.float64(3), np.array(3.0)),
        "list": ([[1.0, 2.0]], np.array([[1.0, 2.0]])),
        "parameter": (parameter.T, parameter.detach().numpy().T),
        "negative view": (negative, negative.resolve_neg().numpy()),
        "torch scalar": (torch.tensor(2.5), np.array(2.5, np.float32)),
    }
    handle = stored({name: value for name, (value, _) in given.items()})
    for name, (_, expected) in given.items():
        require_same(handle.tensor(name), np.ascontiguousarray(expected).reshape(expected.shape))


def test_saving_changes_no_input(stored):
    value = np.arange(6.0).astype(">f8").reshape(2, 3)
    before = value.tobytes(), value.dtype.str
    stored({"x": value})
    assert (value.tobytes(), value.dtype.str) == before


def test_types_without_a_place_are_refused_by_name(stored):
    with pytest.raises(
        DatasetError, match="tensor 'x' has type bfloat16, which numpy does not have; convert it"
    ):
        stored({"x": torch.zeros(3, dtype=torch.bfloat16)})


def test_the_file_is_byte_for_byte_what_the_safetensors_library_writes(stored):
    rng = np.random.default_rng(0)
    tensors = {f"t{i}/{dtype}": rng.standard_normal(i).astype(dtype) for i, dtype in enumerate(NUMPY_TYPES)}
    tensors |= {'é"\n\x01\x7f\u2028': np.ones((2, 2)), "\U0001f600": np.zeros((0, 3)), "": np.array(2)}
    handle = stored(tensors, {"ü": "\u2028"}, {"r": 1})
    (seal,) = re.findall(rb"sealed-by-sha256-[0-9a-f]{64}", handle.path.read_bytes())
    header = '{"digest":"%s","format":"tensors/2","key":"m","meta":{"ü":"\u2028"},"recipe":{"r":1}}'
    header %= seal.decode()
    assert handle.path.read_bytes() == library_save(tensors, metadata={"rep_kedro": header})
    for name, value in load_file(handle.path).items():
        require_same(value, tensors[name])


def test_a_member_without_tensors_is_possible(stored):
    handle = stored({}, {"why": "nothing to say"})
    assert handle.names == []
    assert handle.n_bytes == 0
    assert handle.meta == {"why": "nothing to say"}


def test_an_unknown_tensor_is_refused_with_the_known_ones(stored):
    with pytest.raises(KeyError, match=r"no tensor 'c' in .*; there are: a, b"):
        stored({"b": np.ones(1), "a": np.ones(1)}).tensor("c")


def test_rows_and_sizes_are_those_asked_for(stored):
    handle = stored({"x": np.arange(20.0).reshape(10, 2), "n": np.arange(3, dtype=np.int8)})
    assert handle.rows("x", slice(2, 4)).tolist() == [[4, 5], [6, 7]]
    assert handle.rows("x", slice(-1, None)).tolist() == [[18, 19]]
    assert handle.n_bytes == 163
    assert not handle.rows("x", slice(2, 4)).flags.writeable


def test_all_arrays_of_a_member_share_one_file_descriptor(stored):
    handle = stored({f"layer{i}": np.ones(i + 1) for i in range(300)})
    before = len(os.listdir("/proc/self/fd"))
    arrays = [handle.tensor(name) for name in handle.names]
    assert len(os.listdir("/proc/self/fd")) <= before + 1
    del arrays
    assert len(os.listdir("/proc/self/fd")) == before


def test_an_open_handle_keeps_its_numbers_when_the_member_is_replaced(stored):
    kept = stored({"x": np.ones(5)}).tensor("x")
    stored({"x": np.zeros(3)})
    assert kept.tolist() == [1] * 5


def test_loading_one_row_of_a_large_member_reads_only_that(children, tmp_path):
    path = tmp_path / "large.safetensors"
    x = np.ones((75_000, 1000), np.float32)
    x[70_000] = 7
    TensorsDataset(filepath=str(path)).save(Tensors({"x": x}))
    assert path.stat().st_size >= 300_000_000
    log = tmp_path / "log"
    assert children.run("load_one_row", tmp_path / "errors", path=str(path), log=str(log)) == 0
    grown = json.loads(log.read_text())
    assert grown["first"] == 7
    assert grown["row"] < 20e6
    assert grown["all"] > 250e6  # the measure would have seen it
    path.unlink()


def test_writing_needs_no_second_copy_in_memory(tmp_path):
    import tracemalloc

    x = np.zeros((5_000, 1000))
    tracemalloc.start()
    TensorsDataset(filepath=str(tmp_path / "x.safetensors")).save(Tensors({"x": x}))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < x.nbytes / 20


@pytest.fixture
def arrow(tmp_path):
    """Store an Arrow table; return the handle."""

    def store(table, name="t.parquet"):
        dataset = ArrowDataset(filepath=str(tmp_path / name), key="t", recipe={"n": 1})
        dataset.save(table)
        return dataset.load()

    return store


def test_an_arrow_table_comes_back_with_its_meta(arrow):
    table = pa.table(
        {
            "stimulus_id": ["a", "b", None],
            "image": [b"\x00\xff", b"", None],
            "label": pa.array([1, None, 3], pa.int32()),
            "numbers": [[1.5], [], None],
        },
        metadata={b"meta": b'{"class_names":["x"]}', b"other": b"dropped"},
    )
    handle = arrow(table)
    assert handle.table().equals(table)
    assert handle.table().schema.equals(table.schema)
    assert handle.meta == {"class_names": ["x"]}
    assert handle.table(["label"]).column_names == ["label"]
    assert handle.frame(["label"])["label"].isna().tolist() == [False, True, False]


def test_an_empty_arrow_table_comes_back(arrow):
    schema = pa.schema([("a", pa.int64()), ("b", pa.string())])
    assert arrow(schema.empty_table()).table().schema.equals(schema)


def test_a_folder_that_looks_like_a_partition_adds_no_column(arrow):
    assert arrow(pa.table({"x": [1]}), "split=train/lr=1/t.parquet").table().column_names == ["x"]


def test_an_unknown_column_is_refused_with_the_known_ones(arrow):
    with pytest.raises(KeyError, match=r"no column 'z' in .*; there are: x, y"):
        arrow(pa.table({"x": [1], "y": [2]})).table(["x", "z"])


@pytest.mark.parametrize("meta", [b"{", b"[]", b"3", b"\xff"])
def test_arrow_meta_that_is_no_json_object_is_refused(arrow, meta):
    with pytest.raises(DatasetError, match=r'schema\.metadata\[b"meta"\] must be a JSON object, received'):
        arrow(pa.table({"x": [1]}, metadata={b"meta": meta}))


def test_arrow_refuses_other_values(arrow):
    with pytest.raises(DatasetError, match="t: expected a pyarrow Table, received DataFrame"):
        arrow(pd.DataFrame())


@pytest.fixture
def matrix(tmp_path):
    """Store a labelled matrix; return what is loaded."""

    def store(*arguments):
        dataset = MatrixDataset(filepath=str(tmp_path / "m.parquet"), key="m")
        dataset.save(LabelledMatrix(*arguments))
        return dataset.load().matrix()

    return store


@pytest.mark.parametrize("n", [0, 1, 2, 64])
def test_a_matrix_comes_back_bit_by_bit(matrix, n):
    values = np.random.default_rng(0).standard_normal((n, n))
    labels = tuple(f"model {i} ä/" for i in range(n))[::-1]
    if n > 1:
        values[0, 1] = np.nan
    reasons = {(labels[0], labels[1]): "constant"} if n > 1 else {}
    found = matrix(values, labels, reasons, {"measure": "cka"})
    require_same(found.values, values)
    assert (found.labels, found.reasons, found.meta) == (labels, reasons, {"measure": "cka"})


def test_a_matrix_may_be_given_transposed_in_other_types_or_as_a_tensor(matrix):
    values = np.arange(9.0).reshape(3, 3)
    for given in (values.T.copy().T, values.astype(np.float32), values.astype(int), torch.from_numpy(values)):
        require_same(matrix(given, ("a", "b", "c")).values, values)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            (np.ones((2, 3)), ("a", "b")),
            r"a matrix of shape \(2, 3\) needs as many unique labels, received 2 \(2",
        ),
        ((np.ones((2, 2)), ("a", "a")), r"received 2 \(1 different\)"),
        ((np.ones((2, 2)), ("a",)), r"received 1 \(1 different\)"),
        ((np.ones((2, 2)), ("a", "b"), {("a", "z"): "?"}), r"received reasons of \['z'\]"),
        ((np.ones((2, 2)), ("a", "b"), {}, {"labels": 1}), r"and meta of \['labels'\]"),
        ((np.ones((2, 2)), ("a", "b"), {}, {"x": float("nan")}), r"meta.x is nan, which JSON cannot hold"),
    ],
)
def test_a_matrix_that_contradicts_itself_is_refused(matrix, arguments, message):
    with pytest.raises(DatasetError, match=message):
        matrix(*arguments)
