"""Keeping and opening many members takes a moment, whatever the size of their recipes."""

import time

import numpy as np
import pyarrow as pa
import pytest

from rep_kedro.datasets import CollectionDataset, Planned, Tensors

N_MEMBERS = 1500
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
def test_1500_members_are_kept_and_opened_in_well_under_two_seconds(
    tmp_path, member, value, monkeypatch, record_property
):
    monkeypatch.setattr("os.fsync", lambda descriptor: None)  # making the members is not what is timed
    plan = {f"s{i % 20}/m{i}": Planned(RECIPE | {"i": i}, lambda: value) for i in range(N_MEMBERS)}
    collection = CollectionDataset(filepath=str(tmp_path / "c"), member=member)
    collection.save(plan)
    began = time.process_time()
    collection.save(plan)
    kept_s = time.process_time() - began
    began = time.process_time()
    assert len(collection.load()) == N_MEMBERS
    loaded_s = time.process_time() - began
    record_property("kept_s", kept_s)
    record_property("loaded_s", loaded_s)
    print(f"{member}: kept in {kept_s:.2f} s, loaded in {loaded_s:.2f} s")  # noqa: T201
    assert kept_s < 2
    assert loaded_s < 2
