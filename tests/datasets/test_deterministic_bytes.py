"""Equal content gives equal bytes, whatever process writes it and in whatever order it was put together."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from rep_kedro.datasets import ArrowDataset, Tensors, TensorsDataset

SCRIPT = """
import sys
from pathlib import Path
import numpy as np, pandas as pd, pyarrow as pa
from matplotlib.figure import Figure
from rep_kedro.datasets import *

folder = Path(sys.argv[1])
names = {f"n{i}" for i in range(20)}  # its order depends on the hash seed
recipe = {name: {inner: 1 for inner in names} for name in names}
tensors = {name: np.full(3, int(name[1:]), "f4") for name in names}
meta = {name: sorted(names) for name in names}
for member, value in (
    ("TensorsDataset", lambda: Tensors(tensors, meta)),
    ("ArrowDataset", lambda: pa.table({"x": ["a", "b"] * 50}, metadata={b"meta": b"{}"})),
    ("MatrixDataset", lambda: LabelledMatrix(
        np.full((2, 2), np.nan),
        ("a", "b"),
        {pair: "undefined" for pair in {("a", "b"), ("b", "a"), ("a", "a")}},
        meta,
    )),
):
    collection = CollectionDataset(filepath=str(folder / member), member=f"rep_kedro.datasets.{member}")
    collection.save({"a/b": Planned(recipe, value), "c": Planned({}, value)})
frame = pd.DataFrame({"x": [1.5, None], "t": ["a", None], "c": pd.Categorical(["u", "v"])})
TableDataset(filepath=str(folder / "t.parquet")).save(frame)
figure = Figure()
axes = figure.subplots(1, 2)
for ax in axes:
    ax.plot([1, 2, 3], [3, 1, 2], label="größe")
    ax.fill_between([1, 2], [0, 1], hatch="//", clip_path=None)
    ax.imshow([[1, 2], [3, 4]])
    ax.legend()
DrawingDataset(filepath=str(folder / "f.svg")).save(figure)
TextDataset(filepath=str(folder / "r.html")).save("größe")
"""


def test_bytes_are_equal_in_processes_with_other_hash_seeds(tmp_path):
    digests = []
    for seed in ("0", "1", "4242"):
        folder = tmp_path / seed
        folder.mkdir()
        environment = os.environ | {"PYTHONHASHSEED": seed, "TZ": f"UTC{seed[0]}", "MPLBACKEND": "agg"}
        subprocess.run([sys.executable, "-c", SCRIPT, str(folder)], env=environment, check=True)
        files = sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix != ".jsonl")
        digests.append(
            {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}
        )
    assert len(digests[0]) == 12
    assert digests[0] == digests[1] == digests[2]


def test_the_order_in_dicts_does_not_matter(tmp_path):
    def save(name, turn):
        tensors = dict(turn([("a", np.ones(2)), ("b", np.zeros(3)), ("c", np.ones(1, np.int8))]))
        inner = dict(turn([("x", 1), ("y", [2, 3])]))
        outer = dict(turn([("p", inner), ("q", {})]))
        path = tmp_path / name
        TensorsDataset(filepath=str(path), key="k", recipe=outer).save(Tensors(tensors, outer))
        return path.read_bytes()

    assert save("one", list) == save("two", lambda items: items[::-1])


def test_the_chunks_of_an_arrow_table_do_not_matter(tmp_path):
    rng = np.random.default_rng(0)
    whole = pa.table({"image": [rng.bytes(int(rng.integers(100, 3000))) for _ in range(3000)]})
    pieces = pa.concat_tables([whole.slice(0, 777), whole.slice(777, 1500), whole.slice(2277)])
    contents = []
    for table in (whole, pieces):
        path = tmp_path / "t.parquet"
        ArrowDataset(filepath=str(path), key="k").save(table)
        contents.append(path.read_bytes())
    assert contents[0] == contents[1]


@pytest.mark.parametrize("change", ["recipe", "meta", "tensor", "name"])
def test_any_change_of_content_changes_the_bytes(tmp_path, change):
    def save(changed):
        path = Path(tmp_path / "m")
        TensorsDataset(filepath=str(path), key="k", recipe={"n": changed == "recipe"}).save(
            Tensors(
                {"y" if changed == "name" else "x": np.full(2, changed == "tensor")}, {"m": changed == "meta"}
            )
        )
        return path.read_bytes()

    assert save(change) != save(None)
