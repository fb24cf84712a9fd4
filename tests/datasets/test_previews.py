"""What Kedro-Viz is given to show: members with their fields, heat maps to choose among, plain JSON."""

import json
import typing
from functools import partial

import numpy as np
import pytest

from rep_kedro.datasets import (
    CollectionDataset,
    FigureCollectionDataset,
    LabelledMatrix,
    Planned,
    TableDataset,
    Tensors,
)
from rep_kedro.datasets.matrix import MatrixCollectionDataset
from rep_kedro.datasets.previews import describe_field, preview_heat_maps

TENSORS = "rep_kedro.datasets.TensorsDataset"
MATRIX = "rep_kedro.datasets.MatrixDataset"


def make_tensors(n):
    meta = {"n_stimuli": n, "layers": ["a", "b"], "accuracy": 0.123456789}
    return Tensors({"x": np.zeros((n, 2), np.float32)}, meta)


def make_matrix(reasons):
    values = np.array([[1.0, np.nan], [np.nan, 1.0]]) if reasons else np.array([[1.0, 1 / 3], [1 / 3, 1.0]])
    return LabelledMatrix(
        values, ("m1", "m2"), {("m1", "m2"): "flat", ("m2", "m1"): "flat"} if reasons else {}
    )


def test_a_collection_shows_the_fields_that_the_catalog_names(tmp_path):
    collection = CollectionDataset(filepath=str(tmp_path / "things"), member=TENSORS)
    collection.save({f"s/m{n}": Planned({"n": n}, partial(make_tensors, n)) for n in (3, 4, 5)})
    shown = collection.preview(nrows=2, columns=["n_stimuli", "layers", "accuracy", "absent"])
    assert shown["columns"] == [
        "member",
        "n_stimuli",
        "layers",
        "accuracy",
        "absent",
        "seconds",
        "kB",
        "recipe",
    ]
    assert [row[:5] for row in shown["data"]] == [
        ["s/m3", 3, "a, b", 0.123457, None],
        ["s/m4", 4, "a, b", 0.123457, None],
    ]
    assert shown["data"][0][7] == collection.load()["s/m3"].digest[:8]
    assert shown["data"][0][6] == pytest.approx(
        (tmp_path / "things/s/m3.safetensors").stat().st_size / 1000, abs=0.06
    )


def test_matrices_begin_with_the_named_one_and_offer_the_others(tmp_path):
    collection = MatrixCollectionDataset(filepath=str(tmp_path / "matrices"), member=MATRIX)
    plan = {
        key: Planned({}, partial(make_matrix, key == "s/holes")) for key in ("s/holes", "s/plain", "t/plain")
    }
    collection.save(plan)
    shown = collection.preview(first="*/plain")
    assert shown["data"][0]["z"] == [[1.0, 0.3333], [0.3333, 1.0]]
    assert shown["data"][0]["x"] == ["m1", "m2"]
    (menu,) = shown["layout"]["updatemenus"]
    assert [button["label"] for button in menu["buttons"]] == ["s/plain", "t/plain", "s/holes"]
    assert menu["buttons"][2]["args"][0]["z"] == [[[1.0, None], [None, 1.0]]]
    assert json.dumps(shown, allow_nan=False)
    assert (
        collection.preview(first="none such")["layout"]["updatemenus"][0]["buttons"][0]["label"] == "s/holes"
    )


def test_large_and_many_matrices_are_cut():
    labels = [f"m{n}" for n in range(250)]
    shown = preview_heat_maps(
        ((f"k{n}", labels, np.full((250, 250), n / 7)) for n in range(5)), colorscale="Magma"
    )
    assert len(shown["data"][0]["z"]) == len(shown["data"][0]["z"][0]) == len(shown["data"][0]["x"]) == 200
    assert [button["label"] for button in shown["layout"]["updatemenus"][0]["buttons"]] == ["k0", "k1"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ({"train": 2, "test": 1}, "train 2, test 1"),
        ({"train": {"a": 1}}, "1 things"),
        ([1, 2, 3], "1, 2, 3"),
        ([], ""),
        (list(range(7)), "7 things"),
        ([{"layer": "a"}, {"layer": "b"}], "2 things"),
        ("text", "text"),
        (None, None),
    ],
)
def test_a_field_is_described_in_a_few_words(value, shown):
    assert describe_field("things", value) == shown


@pytest.mark.parametrize(
    ("dataset", "kind"),
    [
        (CollectionDataset, "TablePreview"),
        (MatrixCollectionDataset, "PlotlyPreview"),
        (TableDataset, "TablePreview"),
        (FigureCollectionDataset, "HTMLPreview"),
    ],
)
def test_each_preview_names_the_kind_that_kedro_viz_looks_for(dataset, kind):
    assert typing.get_type_hints(dataset.preview)["return"].__name__ == kind
