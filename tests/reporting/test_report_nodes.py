"""The reporting pipeline runs as wired, on tables in memory, and lists what was run."""

import json
import logging
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from kedro.io import DataCatalog, MemoryDataset
from kedro.runner import SequentialRunner
from pydantic import ValidationError

from rep_kedro.datasets import FigureCollectionDataset, Handles
from rep_kedro.pipelines.reporting import nodes
from rep_kedro.pipelines.reporting.params import ReportingParams
from rep_kedro.pipelines.reporting.pipeline import COLLECTIONS, create_pipeline
from rep_kedro.pipelines.reporting.study_figures import STUDY_FIGURES
from rep_kedro.reporting.run.comparison import SIMILARITY_KEYS, compare_values, summarise_changes
from rep_kedro.reporting.run.run_table import build_run_table, find_seed
from rep_kedro.reporting.run.text import PLATFORM_NOTE, platforms_in_words


@pytest.fixture
def known_measure(monkeypatch, measure):
    """A registry with the one measure that the parameters name, whatever else is registered."""
    entry = SimpleNamespace(
        id=measure,
        title="CKA (linear, debiased)",
        source="Kornblith et al. 2019",
        value_range=(-1.0, 1.0),
        larger_is_more_similar=True,
        symmetric=True,
        invariances=frozenset(),
    )
    monkeypatch.setattr("rep_kedro.measures.MEASURES", {measure: entry})
    monkeypatch.setattr("rep_kedro.pipelines.reporting.params.get_measure", lambda _: entry)
    return entry


def handles(keys, **recipe):
    return {
        key: SimpleNamespace(key=key, recipe=recipe, meta={}, digest=f"{index:032x}")
        for index, key in enumerate(keys)
    }


@pytest.mark.slow
def test_the_pipeline_writes_figures_run_table_and_report(
    study, measure, known_measure, caplog, tmp_path, collections
):
    caplog.set_level(logging.ERROR)
    params = ReportingParams(measure=measure)
    entries = {name: study.tables[name] for name in study.tables if name != "run_table"}
    entries |= {name: handles(["digits/cnn_supervised_s0"], seed=3) for name in COLLECTIONS}
    entries |= {
        "similarity_matrices": study.matrices,
        "stitch_reports": {},
        **collections,
        "params:reporting": params,
        "parameters": {"reporting": {"measure": measure}},
        "earlier_similarities": pd.DataFrame(),
        "earlier_consistency": pd.DataFrame(),
    }
    pipeline = create_pipeline()
    assert pipeline.inputs() == set(entries)
    catalog = DataCatalog({name: MemoryDataset(value) for name, value in entries.items()})
    catalog["report"] = MemoryDataset()
    catalog["figures"] = FigureCollectionDataset(
        filepath=str(tmp_path / "figures"), member="rep_kedro.datasets.DrawingDataset"
    )
    SequentialRunner().run(pipeline, catalog)
    html = catalog.load("report").value()
    assert html.count("<figcaption>") == len(STUDY_FIGURES)
    assert "Kornblith et al. 2019" in html
    assert "was not made in this run" not in html
    held = [name for name in COLLECTIONS if entries[name]]
    n_results = sum(len(entries[name]) for name in held)
    assert f"{n_results} results in {len(held)} collections took 0.0 s to compute; {n_results} of" in html


def test_wiring_imports_no_plotting_or_table_library():
    code = (
        "import sys, rep_kedro.pipelines.reporting.pipeline as p; p.create_pipeline();"
        "import json; heavy = ('torch', 'matplotlib', 'pandas', 'sklearn');"
        "print(json.dumps([name for name in heavy if name in sys.modules]))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(answer.stdout) == []


def test_the_report_refuses_distances_and_directed_measures(known_measure):
    for trait in ("larger_is_more_similar", "symmetric"):
        setattr(known_measure, trait, False)
        with pytest.raises(ValidationError, match="is a distance or directed; choose a symmetric measure"):
            ReportingParams(measure=known_measure.id)
        setattr(known_measure, trait, True)


def test_the_run_table_joins_members_with_their_journal_lines():
    features = handles(["digits/b", "digits/a"], pooling="mean", model={"seed": 5})
    line = {
        "seconds": 1.5,
        "computed_at": "2025-01-01T00:00:00+00:00",
        "versions": {"torch": "2", "numpy": "1"},
    }
    stale = {"seconds": 99.0}
    journal = {("digits/a", f"{1:032x}"): line, ("digits/b", "another digest"): stale}
    table = build_run_table({"features": features, "probes": {}}, {"features": journal})
    assert table["key"].tolist() == ["digits/a", "digits/b"]
    assert table["seed"].tolist() == [5, 5]
    assert table.loc[0, ["seconds", "computed_at", "versions", "recipe_digest"]].tolist() == [
        1.5,
        "2025-01-01T00:00:00+00:00",
        "numpy 1, torch 2",
        f"{1:032x}",
    ]
    assert np.isnan(table.loc[1, "seconds"])
    assert pd.isna(table.loc[1, "versions"])


def test_an_empty_run_has_an_empty_run_table_with_all_columns():
    table = build_run_table({}, {})
    assert list(table.columns) == [
        "collection", "key", "seed", "seconds", "computed_at", "versions", "platform", "recipe_digest",
    ]  # fmt: skip
    assert len(table) == 0


def test_collections_of_several_platforms_are_named_with_counts():
    here, there = ({"platform": {"machine": "x86_64", "cpu_capability": c}} for c in ("AVX2", "AVX512"))
    networks, features = handles("abc"), handles("abc")
    for key, meta in zip("abc", (here, there, here), strict=True):
        networks[key].meta = here
        features[key].meta = meta
    features["b"].meta = {}
    table = build_run_table({"networks": networks, "features": features, "probes": handles("a")}, {})
    assert table["platform"].tolist()[:3] == ["x86_64 AVX2"] * 3
    assert table["platform"].isna().tolist()[3:] == [False, True, False, True]
    said = platforms_in_words(table)
    assert said[0] == (
        "Members of features come from different platforms:"
        " 2 from x86_64 AVX2; 1 from a machine that is not recorded."
    )
    assert said[1:] == [PLATFORM_NOTE]
    features["b"].meta = there
    (shown, _) = platforms_in_words(build_run_table({"features": features}, {}))
    assert shown.endswith(": 2 from x86_64 AVX2; 1 from x86_64 AVX512.")
    assert platforms_in_words(build_run_table({"networks": networks}, {})) == []


def test_journals_are_read_beside_the_collection(tmp_path):
    folder = tmp_path / "features"
    line = {"key": "digits/a", "recipe_digest": "d" * 32, "seconds": 2.0}
    (tmp_path / "features.journal.jsonl").write_text(json.dumps(line) + "\n")
    member = SimpleNamespace(recipe={}, meta={}, digest="d" * 32, path=folder / "digits" / "a.safetensors")
    table = nodes.compute_run_table(features={"digits/a": member}, probes={})
    assert table["seconds"].tolist() == [2.0]


@pytest.mark.parametrize(
    ("recipe", "seed"),
    [
        ({"seed": 0}, 0),
        ({"a": {"seed": 2}, "seed": 1}, 1),
        ({"a": {"b": {"seed": 2}}}, 2),
        ({"seed": True}, None),
        ({"seed": "x", "a": [1]}, None),
        ({}, None),
    ],
)
def test_a_seed_is_found_where_the_recipe_names_one(recipe, seed):
    assert find_seed(recipe) == seed


def make_similarities(rows):
    return pd.DataFrame(rows, columns=["measure", "stimulus_set", "model_a", "model_b", "similarity"])


def test_changes_are_found_whatever_the_order_of_a_pair():
    now = make_similarities(
        [("m", "s", "a", "b", 0.5), ("m", "s", "a", "c", np.nan), ("m", "s", "b", "c", 0.1)]
    )
    earlier = make_similarities(
        [("m", "s", "b", "a", 0.2), ("m", "s", "c", "a", 0.4), ("m", "t", "b", "c", 0.1)]
    )
    compared = compare_values(now, earlier, SIMILARITY_KEYS, "similarity")
    assert compared.loc[0, ["model_a", "model_b"]].tolist() == ["a", "b"]
    assert compared.loc[0, "change"] == pytest.approx(0.3)
    summary = summarise_changes(compared).iloc[0]
    assert summary.to_dict() == pytest.approx(
        {
            "measure": "m",
            "n_both": 2,
            "n_changed": 1,
            "mean_change": 0.3,
            "largest_change": 0.3,
            "n_became_undefined": 1,
            "n_became_defined": 0,
            "n_only_now": 1,
            "n_only_earlier": 1,
        }
    )


def test_a_table_of_an_earlier_version_with_other_columns_is_refused():
    now = make_similarities([("m", "s", "a", "b", 0.5)])
    with pytest.raises(ValueError, match=r"the earlier table lacks the columns \['measure'\]"):
        compare_values(now, now.drop(columns="measure"), SIMILARITY_KEYS, "similarity")


def test_the_list_of_missing_members_depends_on_what_is_missing_alone():
    """Times in the run table change with every run; a file of equal rows has equal bytes."""
    node = next(node for node in create_pipeline().nodes if node.name == "missing_members")

    def planned(**changed):
        inputs = {name: Handles({}, {}, {}) for name in node.inputs} | changed
        return node.run(inputs)["missing_members"]

    empty = planned()
    assert len(empty.value()) == 0
    assert planned(run_table=pd.DataFrame({"seconds": [1.5]})).recipe == empty.recipe
    lacking = planned(features=Handles({}, {"digits/a": "no weights"}, {}))
    assert lacking.recipe != empty.recipe
    assert lacking.value()["reason"].tolist() == ["no weights"]
