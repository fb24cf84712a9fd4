"""Several processes may work one plan at once."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rep_kedro.datasets import ArrowDataset, Batch, Planned, Shard, TensorsDataset


@pytest.fixture(scope="module")
def alone(children, tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    assert children.run("save_both", folder / "errors", folder=str(folder), log=str(folder / "log")) == 0
    return folder


def require_equal(bytes_below, alone, folder):
    """Check that both collections hold the same bytes, and that every member opens."""
    for name in ("features", "tables"):
        assert bytes_below(folder / name) == bytes_below(alone / name)
    for path in folder.rglob("*.safetensors"):
        handle = TensorsDataset(filepath=str(path)).load()
        assert all(np.isfinite(handle.tensor(each)).all() for each in handle.names)
    for path in folder.rglob("*.parquet"):
        assert ArrowDataset(filepath=str(path)).load().table().num_rows >= 300


@pytest.mark.parametrize("count", [2, 3])
def test_shards_in_processes_share_the_work_without_overlap(children, tmp_path, alone, bytes_below, count):
    log = tmp_path / "log"
    orders = {"folder": str(tmp_path), "log": str(log)}
    pids = [
        children.start("save_both", tmp_path / "errors", shard=f"{index}/{count}", **orders)
        for index in range(1, count + 1)
    ]
    assert [children.wait(pid) for pid in pids] == [0] * count
    lines = log.read_text().splitlines()
    assert sorted(lines) == sorted((alone / "log").read_text().splitlines())
    require_equal(bytes_below, alone, tmp_path)


def test_two_processes_on_the_whole_plan_lose_nothing(children, tmp_path, alone, bytes_below):
    log = tmp_path / "log"
    orders = {"folder": str(tmp_path), "log": str(log)}
    pids = [children.start("save_both", tmp_path / "errors", **orders) for _ in range(2)]
    assert [children.wait(pid) for pid in pids] == [0, 0]
    assert set(log.read_text().splitlines()) == set((alone / "log").read_text().splitlines())
    require_equal(bytes_below, alone, tmp_path)


@st.composite
def plans(draw):
    """Draw a plan whose members are alone or in one of four batches."""
    owners = draw(st.lists(st.integers(-6, 3), min_size=1, max_size=40))
    batches = [Batch(iter) for _ in range(4)]
    return {f"k{i}": Planned({}, batches[owner] if owner >= 0 else int) for i, owner in enumerate(owners)}


@given(plan=plans(), count=st.integers(1, 50))
def test_shards_cover_each_key_once_and_keep_batches_together(plan, count):
    shards = [Shard(index, count).select(plan) for index in range(1, count + 1)]
    assert sorted(key for keys in shards for key in keys) == sorted(plan)
    groups = {id(p.compute) if isinstance(p.compute, Batch) else key for key, p in plan.items()}
    if len(groups) >= count:
        assert all(shards)
        for batch in {p.compute for p in plan.values() if isinstance(p.compute, Batch)}:
            members = {key for key, p in plan.items() if p.compute is batch}
            assert sum(bool(members & set(keys)) for keys in shards) == 1
    else:
        assert sum(bool(keys) for keys in shards) == min(count, len(plan))


@pytest.mark.parametrize("count", [2, 3, 5])
def test_units_of_a_batch_that_is_split_stay_together(count):
    batch = Batch(iter)
    plan = {f"{unit}{part}": Planned({}, batch, unit=unit) for part in ("", "@1", "@2") for unit in "abc"}
    shards = [Shard(index, count).select(plan) for index in range(1, count + 1)]
    assert sorted(key for keys in shards for key in keys) == sorted(plan)
    for unit in "abc":
        assert sum(any(key.startswith(unit) for key in keys) for keys in shards) == 1
    assert sum(map(bool, shards)) == min(count, 3)


@pytest.mark.parametrize(
    "text", ["", "0/3", "4/3", "1", "1/2/3", "a/b", "1/0", "-1/2", "1/2\n", "١/٢", "1.0/2"]
)
def test_a_wrong_shard_is_refused(text):
    with pytest.raises(ValueError, match=r"is not of the form <index>/<count> with 1 <= index <= count"):
        Shard.parse(text)


def test_a_shard_leaves_the_rest_to_others(counted):
    recipes = {key: {} for key in "abcde"}
    assert counted.save(recipes, shard="2/2") == ["b", "d"]
    assert not counted.collection().exists()
    assert counted.save(recipes, shard="1/2") == ["a", "c", "e"]
    assert counted.save(recipes) == []
