"""Collections with gaps: refused, or loaded with the reasons where the run keeps going."""

import json

import numpy as np
import pytest
from kedro.io import DatasetError

from rep_kedro.datasets import (
    CollectionDataset,
    CollectionError,
    Plan,
    Planned,
    Tensors,
    TextDataset,
    missing_of,
)
from rep_kedro.datasets.partial import is_lost

TENSORS = "rep_kedro.datasets.TensorsDataset"


def fail():
    raise ValueError("no labels")


def good():
    return Tensors({"x": np.ones(2)})


def collection(folder, **options):
    return CollectionDataset(filepath=str(folder / "c"), member=TENSORS, **options)


def plan_of(left_out=None, partial=None, **computes):
    plan = Plan({key: Planned({"of": key}, compute) for key, compute in computes.items()})
    plan.left_out, plan.partial = dict(left_out or {}), dict(partial or {})
    return plan


def content(folder):
    return {path.name: path.read_bytes() for path in (folder / "c").rglob("*") if path.is_file()}


def test_what_cannot_be_planned_is_refused_before_anything_is_computed(tmp_path):
    with pytest.raises(CollectionError, match=r"c: 1 members cannot be planned:\n  b: no file b.pt"):
        collection(tmp_path).save(plan_of({"b": "no file b.pt"}, a=good))
    assert not (tmp_path / "c").exists()


def test_a_run_that_keeps_going_loads_what_is_there_with_the_reasons(tmp_path):
    going = collection(tmp_path, keep_going=True)
    going.save(plan_of({"b": "no file b.pt"}, {"a": "made without x"}, a=good, c=fail, d=good))
    handles = going.load()
    assert list(handles) == ["a", "d"]
    assert missing_of(handles) == {"b": "no file b.pt", "c": "no labels"}
    assert handles.partial == {"a": "made without x"}
    with pytest.raises(CollectionError, match=r"c is incomplete: 3 of 4 members are not as planned"):
        collection(tmp_path).load()


def test_a_completed_collection_has_the_bytes_of_one_without_failures(tmp_path):
    (tmp_path / "clean").mkdir()
    going = collection(tmp_path, keep_going=True)
    going.save(plan_of({"b": "no file b.pt"}, {"a": "made without x"}, a=good, c=fail))
    assert json.loads((tmp_path / "c/plan.json").read_text())["left_out"] == {"b": "no file b.pt"}
    whole = plan_of(a=good, b=good, c=good)
    going.save(whole)
    collection(tmp_path / "clean").save(whole)
    assert content(tmp_path) == content(tmp_path / "clean")
    assert missing_of(collection(tmp_path).load()) == {}


def test_a_configuration_goes_before_a_stored_plan(tmp_path):
    collection(tmp_path).save(plan_of(a=good, b=good))
    now = collection(tmp_path)
    now.expect(plan_of(a=good))
    assert list(now.load()) == ["a"]
    now.expect(plan_of(a=good, z=good))
    with pytest.raises(CollectionError, match=r"1 of 2 members are not as planned \(z: missing\)"):
        now.load()


def test_what_cannot_be_planned_now_is_expected_as_stored(tmp_path):
    collection(tmp_path).save(plan_of(a=good, b=good))
    now = collection(tmp_path)
    assert now.expect(plan_of({"b": "no file b.pt"}, a=good), or_as_stored=True) == 1
    assert list(now.load()) == ["a", "b"]


def test_a_file_that_was_given_up_says_why_until_it_is_made_again(tmp_path):
    dataset = TextDataset(filepath=str(tmp_path / "made" / "page.html"))
    dataset.give_up("no tables")  # also where there was none
    dataset.save("old")
    assert dataset.why_missing() is None
    dataset.give_up("tables is missing")
    assert dataset.why_missing() == "tables is missing"
    with pytest.raises(DatasetError, match=r"page has not been made yet: tables is missing"):
        dataset.path_to_read()
    dataset.save("new")
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["page.html"]
    assert dataset.why_missing() is None


def test_a_collection_that_was_given_up_keeps_its_members_for_the_next_plan(tmp_path):
    made = collection(tmp_path, keep_going=True)
    made.save(plan_of(a=good, b=good))
    before = content(tmp_path)
    made.give_up("no plan")
    assert (made.why_missing(), made.unplanned()) == ("no plan", [])
    lost = made.load()
    assert (lost, lost.missing, is_lost(lost)) == ({}, {"*": "no plan"}, True)
    with pytest.raises(CollectionError, match=r"c is incomplete: .*no plan"):
        collection(tmp_path).load()
    made.save(plan_of(a=fail, b=fail))
    assert (made.counts, made.why_missing(), content(tmp_path)) == ((0, 2), None, before)
    assert not is_lost(made.load())
