"""Keeping and opening members takes one look at each, whatever the size of their recipes."""

import numpy as np
import pyarrow as pa
import pytest
from kedro.utils import load_obj

from rep_kedro.datasets import CollectionDataset, Planned, Tensors
from rep_kedro.datasets.plan import strict_json

N_MEMBERS = 60
RECIPE = {
    "features": [{"key": f"set/model_{i}", "digest": "0" * 32, "layers": [1, 2.5, "x"]} for i in range(50)]
}


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("rep_kedro.datasets.TensorsDataset", Tensors({"x": np.ones(4)}, {"layers": ["a"] * 20})),
        ("rep_kedro.datasets.ArrowDataset", pa.table({"x": [1.0, 2.0]})),
    ],
)
def test_keeping_and_opening_read_each_header_once_and_no_content(tmp_path, member, value, monkeypatch):
    monkeypatch.setattr("os.fsync", lambda descriptor: None)
    plan = {f"s{i % 4}/m{i}": Planned(RECIPE | {"i": i}, lambda: value) for i in range(N_MEMBERS)}
    collection = CollectionDataset(filepath=str(tmp_path / "c"), member=member)
    collection.save(plan)
    read = []
    kind = load_obj(member)
    open_checked = kind.open_checked
    monkeypatch.setattr(kind, "open_checked", lambda path: (read.append(path), open_checked(path))[1])
    recipes = []
    monkeypatch.setattr(
        "rep_kedro.datasets.collection.strict_json",
        lambda *x: (recipes.append(1), strict_json(*x))[1],
    )
    collection.save(plan)
    assert (len(read), len(set(read)), len(recipes)) == (N_MEMBERS, N_MEMBERS, N_MEMBERS)
    assert len(collection.load()) == N_MEMBERS
    assert len(read) == 2 * N_MEMBERS
