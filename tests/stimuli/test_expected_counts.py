"""Sets hold what was expected of them, tell what they left out, and each has a row that says so."""

import json
import logging
from pathlib import Path

import pandas as pd
import pytest
import yaml
from kedro.io import DataCatalog, DatasetError
from pydantic import TypeAdapter, ValidationError
from tests.small_collections import ARROW, run_plan

from rep_kedro.datasets import CollectionDataset
from rep_kedro.pipelines.ingest.nodes import plan_stimulus_sets, plan_stimulus_subsets
from rep_kedro.stimuli.assembly import _distinct_names
from rep_kedro.stimuli.cards import describe_stimulus_sets
from rep_kedro.stimuli.params import IngestParams
from rep_kedro.stimuli.subsets import AnyRule

SHAPES = {"source": "shapes", "n_train": 12, "n_test": 6}
VALIDATORS = "rep_kedro.datasets.validators"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("REP_KEDRO_CACHE", str(tmp_path_factory.mktemp("cache")))


def params_of(**entry):
    return IngestParams(stimulus_sets={"shapes": SHAPES | entry})


def ingest(folder, params):
    return run_plan(folder, plan_stimulus_sets(params), ARROW)


def test_a_set_that_is_as_expected_is_stored(tmp_path):
    handles = ingest(tmp_path / "sets", params_of(expected={"train": 12, "test": 6, "val": 0, "classes": 6}))
    assert handles["shapes"].meta["counts"] == {"train": 12, "test": 6}


def test_a_set_that_is_not_as_expected_is_refused_with_all_differences(tmp_path):
    params = params_of(expected={"train": 13, "test": 6, "classes": 7})
    with pytest.raises(
        DatasetError,
        match=r"stimulus set 'shapes' is not as expected: 12 stimuli in split train, expected 13, 6 classes,"
        r" expected 7; repair the source, or correct expected of 'shapes'",
    ):
        ingest(tmp_path / "sets", params)
    assert not list((tmp_path / "sets").glob("*.parquet"))


def test_a_set_stored_before_is_compared_with_what_is_expected_now(tmp_path):
    handles = ingest(tmp_path / "sets", params_of())
    whole = plan_stimulus_subsets(handles, params_of(expected={"train": 12}))
    assert whole.left_out == {}
    plan = plan_stimulus_subsets(handles, params_of(expected={"test": 5}))
    assert plan == {}
    assert plan.left_out.keys() == whole.keys()
    for why in plan.left_out.values():
        assert "'shapes' is not as expected: 6 stimuli in split test, expected 5" in why


def test_titles_groups_and_expectations_do_not_make_a_set_anew():
    shown = params_of(title="Shapes", group="made", expected={"train": 12})
    [plain], [described] = (plan_stimulus_sets(params).values() for params in (params_of(), shown))
    assert plain.recipe == described.recipe


def test_impossible_expectations_are_refused():
    with pytest.raises(ValidationError, match="greater than or equal to 0"):
        params_of(expected={"train": -1})
    with pytest.raises(ValidationError, match="expect\n  Extra inputs are not permitted"):
        params_of(expect={"train": 1})


def test_classes_that_share_a_name_are_counted_apart(tmp_path):
    folder = tmp_path / "photos"
    for number, name in enumerate(["a", "b"]):
        (folder / name).mkdir(parents=True)
        (folder / name / "1.ppm").write_bytes(b"P6 1 1 255\n" + bytes([number] * 3))
    entry = {"source": "image_folder", "path": folder, "expected": {"classes": 2}}
    mapped = entry | {"label_map": {"classes": {"crane": ["b"], "other": ["a"]}}}
    handles = ingest(tmp_path / "sets", IngestParams(stimulus_sets={"photos": entry, "mapped": mapped}))
    assert handles["photos"].meta["class_counts"] == {"train": {"a": 1, "b": 1}}
    assert handles["mapped"].meta["class_names"] == ["crane", "other"]
    assert _distinct_names(["crane", "maillot", "crane"]) == ["crane (0)", "maillot", "crane (2)"]


def test_what_is_left_out_is_reported_in_the_log_and_in_the_row(tmp_path, caplog):
    folder = tmp_path / "photos"
    for name in ("cat", "dog", "cow"):
        (folder / name).mkdir(parents=True)
        (folder / name / "1.ppm").write_bytes(b"P6 2 2 255\n" + bytes(12))
    (folder / "cat" / "2.jpg").write_bytes(b"no image")
    (folder / "cat" / "Thumbs.db").write_bytes(b"x")
    entry = {
        "source": "image_folder",
        "path": folder,
        "on_damaged": "skip",
        "title": "Pets",
        "group": "natural",
    }
    entry["label_map"] = {"classes": {"pet": ["cat", "dog"]}}
    params = IngestParams(stimulus_sets={"pets": entry, "shapes": SHAPES})
    with caplog.at_level(logging.WARNING):
        handles = ingest(tmp_path / "sets", params)
    copies, rest = [record.getMessage() for record in caplog.records if "'pets'" in record.getMessage()]
    assert copies == "stimulus set 'pets': 1 stimuli are exact copies of others"
    assert rest == (
        "stimulus set 'pets' has 2 stimuli; left out: 1 damaged item, first cat/2.jpg (not an image of a"
        " known format); 1 stimuli or files that the parameters leave out, first of train; 1 file"
        " without stimuli, first cat/Thumbs.db"
    )
    cards = describe_stimulus_sets(handles, params)
    pets, shapes = (json.loads(cards.iloc[row].to_json()) for row in range(2))
    sha256 = pets.pop("sha256")
    assert sha256 == handles["pets"].meta["sha256"]
    assert pets == {
        "stimulus_set": "pets", "title": "Pets", "group": "natural", "source": "image_folder",
        "n_stimuli": 2, "n_train": 2, "n_test": 0, "n_other": 0, "test_is": None,
        "n_classes": 1, "image_size_px": 2, "n_copies": 1, "n_copies_across_splits": 0,
        "n_damaged": 1, "n_left_out": 1, "n_ignored": 1,
    }  # fmt: skip
    assert (shapes["title"], shapes["group"], shapes["n_train"], shapes["n_test"]) == (None, None, 12, 6)


def test_what_was_decided_is_in_the_log_and_in_the_row(tmp_path, caplog):
    for number, name in enumerate(("train/cat", "val/cat", "val/owl", "extra/cat")):
        (tmp_path / "photos" / name).mkdir(parents=True)
        (tmp_path / "photos" / name / "1.ppm").write_bytes(b"P6 2 2 255\n" + bytes([number % 3] * 12))
    params = IngestParams(stimulus_sets={"pets": {"source": "image_folder", "path": tmp_path / "photos"}})
    with caplog.at_level(logging.WARNING):
        handles = ingest(tmp_path / "sets", params)
    found = [record.getMessage() for record in caplog.records if "'pets'" in record.getMessage()]
    assert [message.removeprefix("stimulus set 'pets': ") for message in found] == [
        "there is no split test; val serves as test (2 stimuli)",
        "1 classes of the test split have no training stimulus: owl",
        "1 stimuli of other splits are exact copies of training stimuli",
        "1 stimuli are exact copies of others",
        "1 stimuli are in splits for neither training nor tests: extra",
    ]
    row = describe_stimulus_sets(handles, params).iloc[0]
    assert row[["n_train", "n_test", "n_other", "test_is"]].tolist() == [1, 2, 1, "val"]
    assert row[["n_copies", "n_copies_across_splits"]].tolist() == [1, 1]


def test_the_rows_keep_their_contract_through_the_catalog(tmp_path):
    conf = Path(__file__).parents[2] / "conf" / "base" / "catalog_ingest.yml"
    entry = yaml.safe_load(conf.read_text(encoding="utf-8"))["stimulus_cards"]
    entry["filepath"] = str(tmp_path / "cards.parquet")
    catalog = DataCatalog.from_config({"stimulus_cards": entry})
    params = params_of()
    cards = describe_stimulus_sets(ingest(tmp_path / "sets", params), params)
    catalog.save("stimulus_cards", cards)
    assert catalog.load("stimulus_cards")["n_train"].tolist() == [12]
    assert pd.isna(catalog.load("stimulus_cards")["group"][0])


@pytest.mark.parametrize(
    "rule",
    [
        {"rule": "published_bootstrap", "per_class": 30, "repeats": 2, "seed": 498},
        {"per_class": {"train": 30}, "replace": True, "repeats": 2, "seed": 498},
    ],
)
def test_draws_with_replacement_are_repeated_and_pass_the_catalogs_contract(tmp_path, rule):
    params = IngestParams(stimulus_sets={"shapes": SHAPES}, stimulus_subsets={"shapes": {"boot": rule}})
    plan = plan_stimulus_subsets(ingest(tmp_path / "sets", params), params)
    assert list(plan) == ["shapes/boot_s498", "shapes/boot_s499"]
    assert "repeats" not in plan["shapes/boot_s498"].recipe["rule"]
    subsets = CollectionDataset(
        filepath=str(tmp_path / "subsets"),
        member=ARROW,
        member_validator=f"{VALIDATORS}.require_stimulus_ids",
    )
    subsets.save(plan)
    first, second = subsets.load().values()
    assert first.meta["with_replacement"] is True
    assert first.meta["n_stimuli"] == 180
    assert first.table() != second.table()


def test_five_hundred_bootstrap_draws_are_planned_in_a_moment(tmp_path):
    rule = {"rule": "published_bootstrap", "per_class": 30, "repeats": 500}
    params = IngestParams(stimulus_sets={"shapes": SHAPES}, stimulus_subsets={"shapes": {"boot": rule}})
    plan = plan_stimulus_subsets(ingest(tmp_path / "sets", params), params)
    assert len({json.dumps(dict(planned.recipe), sort_keys=True) for planned in plan.values()}) == 500
    assert next(iter(plan)) == "shapes/boot_s0"
    assert list(plan)[-1] == "shapes/boot_s499"


@pytest.mark.parametrize(
    "other", [{"a_s1": {"per_class": {"train": 1}}}, {"a_s1": {"rule": "all"}}, {"a_s": {}, "a_s2": {}}]
)
def test_two_subsets_of_one_name_are_refused_whatever_their_order(other):
    rules = {name: rule or {"rule": "all"} for name, rule in other.items()}
    rules["a"] = {"per_class": {"train": 1}, "repeats": 3}
    for order in (rules, dict(reversed(rules.items()))):
        with pytest.raises(ValidationError, match=r"stimulus_subsets.shapes: .*both name a subset 'a_s[12]'"):
            IngestParams(stimulus_sets={"shapes": SHAPES}, stimulus_subsets={"shapes": order})
    params = IngestParams(
        stimulus_sets={"shapes": SHAPES},
        stimulus_subsets={"shapes": {"a": rules["a"], "a_s3": {"rule": "all"}}},
    )
    assert list(params.rules()["shapes"]) == ["a_s0", "a_s1", "a_s2", "a_s3"]


@pytest.mark.parametrize("rule", ["stratified", "published_bootstrap"])
def test_repeats_have_a_bound(rule):
    sizes = {"per_class": {"train": 1}} if rule == "stratified" else {}
    with pytest.raises(ValidationError, match="repeats\n  Input should be less than or equal to 10000"):
        TypeAdapter(AnyRule).validate_python({"rule": rule, "repeats": 10_001, **sizes})
