"""Exact copies: they stay on one side of a drawn split, and are counted."""

from collections import Counter

import pyarrow as pa
import pytest
from tests.stimuli.trees import picture, plant

from rep_kedro.datasets import ArrowDataset
from rep_kedro.pipelines.ingest.nodes import plan_stimulus_sets, plan_stimulus_subsets
from rep_kedro.stimuli.copies import count_copies, first_of_copies
from rep_kedro.stimuli.params import IngestParams
from rep_kedro.stimuli.splits import draw_test_rows


def images_of(table, split):
    return [row["image"] for row in table.select(["image", "split"]).to_pylist() if row["split"] == split]


def test_copies_stay_on_one_side_of_a_drawn_split(make_set, tmp_path):
    files = {f"{name}/{n}.png": 100 * len(name) + n // 2 for name in ("cat", "horse") for n in range(20)}
    plant(tmp_path, files)  # each picture twice
    for seed in range(5):
        table, meta = make_set(source="image_folder", path=tmp_path, test_fraction=0.3, seed=seed)
        assert not set(images_of(table, "train")) & set(images_of(table, "test"))
        assert meta["counts"] == {"train": 28, "test": 12}
        assert meta["class_counts"]["test"] == {"cat": 6, "horse": 6}
        assert (meta["n_copies"], meta["n_copies_across_splits"]) == (20, 0)


def test_copies_in_two_classes_stay_together(make_set, tmp_path):
    plant(tmp_path, {f"{name}/{n}.png": n for name in ("cat", "dog") for n in range(10)})
    for seed in range(5):
        table, meta = make_set(source="image_folder", path=tmp_path, test_fraction=0.4, seed=seed)
        assert not set(images_of(table, "train")) & set(images_of(table, "test"))
        assert meta["n_copies"] == 10
        assert meta["counts"]["test"] > 0


def test_a_class_of_copies_alone_goes_to_training_and_a_note_says_so(make_set, tmp_path):
    plant(tmp_path, {f"{name}/{n}.png": len(name) for name in ("cat", "horse") for n in range(10)})
    _, meta = make_set(source="image_folder", path=tmp_path, test_fraction=0.3)
    assert (meta["counts"], meta["test_is"]) == ({"train": 20}, None)
    [note] = meta["notes"]
    assert note.startswith("the test split has 0 stimuli, not 6, for copies stay on one side: 18 stimuli")


def test_copies_across_given_splits_are_counted(make_set, tmp_path):
    plant(
        tmp_path,
        {"train/a/1.png": 1, "train/a/2.png": 2, "test/a/1.png": 1, "test/a/2.png": 1, "test/b/3.png": 3},
    )
    _, meta = make_set(source="image_folder", path=tmp_path)
    assert (meta["n_copies"], meta["n_copies_across_splits"]) == (2, 2)


def test_without_copies_a_draw_is_what_it_was_before():
    ids, labels = [f"s{n}" for n in range(60)], [n % 3 for n in range(60)]
    plain = draw_test_rows(ids, labels, test_fraction=0.3, seed=4)
    assert draw_test_rows(ids, labels, test_fraction=0.3, seed=4, originals=list(range(60))) == plain
    assert Counter(label for label, test in zip(labels, plain, strict=True) if test) == {0: 6, 1: 6, 2: 6}


def test_a_group_that_is_too_large_leaves_its_place_to_others():
    ids, originals = [f"s{n}" for n in range(10)], [0, 0, 0, 0, 0, 0, 6, 7, 8, 9]
    for seed in range(10):
        is_test = draw_test_rows(ids, [0] * 10, test_fraction=0.3, seed=seed, originals=originals)
        assert sum(is_test) == 3
        assert not any(is_test[:6])


def test_first_copies_are_found_over_batches_and_counted_by_split():
    batches = [
        pa.RecordBatch.from_pydict({"image": [picture(1), picture(2)]}),
        pa.RecordBatch.from_pydict({"image": [picture(1), picture(3), picture(2)]}),
    ]
    originals = first_of_copies(batches)
    assert originals == [0, 1, 0, 3, 1]
    assert count_copies(originals, ["train", "train", "test", "test", "val"]) == {
        "n_copies": 2,
        "n_copies_across_splits": 2,
    }
    assert count_copies(originals, ["test", "val", "test", "val", "val"])["n_copies_across_splits"] == 0


@pytest.fixture
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("REP_KEDRO_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.mark.usefixtures("_own_cache")
def test_a_subset_counts_the_copies_among_its_own_stimuli(tmp_path, caplog):
    files = {f"train/a/{n}.png": n for n in range(6)} | {f"test/a/{n}.png": n for n in range(3)}
    plant(tmp_path / "made", files)
    params = IngestParams(
        stimulus_sets={"mine": {"source": "image_folder", "path": tmp_path / "made"}},
        stimulus_subsets={
            "mine": {
                "all": {"rule": "all"},
                "training": {"rule": "all", "splits": ["train"]},
                "drawn": {"per_class": {"train": 30}, "replace": True},
            }
        },
    )
    [planned] = plan_stimulus_sets(params).values()
    dataset = ArrowDataset(filepath=str(tmp_path / "mine.parquet"), key="mine", recipe=planned.recipe)
    dataset.save(planned.compute())
    assert "'mine': 3 stimuli of other splits are exact copies of training stimuli" in caplog.text
    found = {}
    for key, subset in plan_stimulus_subsets({"mine": dataset.load()}, params).items():
        place = ArrowDataset(filepath=str(tmp_path / f"{key.split('/')[1]}.parquet"), key=key, recipe={})
        place.save(subset.compute())
        meta = place.load().meta
        found[key] = (meta["n_copies"], meta["n_copies_across_splits"])
    assert found == {"mine/all": (3, 3), "mine/training": (0, 0), "mine/drawn": (0, 0)}
    assert "subset mine/all: 3 stimuli of other splits are exact copies" in caplog.text
