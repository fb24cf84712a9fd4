"""The made-up study for every test of the report, and its figures: made once, never changed."""

import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from rep_kedro.datasets.figure import render_svg
from rep_kedro.pipelines.reporting.params import ReportingParams
from rep_kedro.pipelines.reporting.study_figures import COLLECTIONS, TABLES, plan_figures
from rep_kedro.reporting.pairs import PAIR, square
from rep_kedro.reporting.tables import in_order, require_table

MEASURE = "cka_linear_debiased"


def load_synthetic_study(name="synthetic_study"):
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


def make_collections(matrices=None, layer_matrices=None):
    """Return members of every collection that figures use, by collection."""
    curves = load_synthetic_study("synthetic_scales").make_curves(
        ("digits", "photograph_patches", "shapes"), (MEASURE, "cka_linear_biased")
    )
    made = {
        "sample_size_curves": curves,
        "similarity_matrices": matrices or {},
        "layer_similarity_matrices": layer_matrices or {},
        "stimulus_sets": {},
    }
    return {name: made[name] for name in COLLECTIONS}


def draw_figures(study, measure=MEASURE, **changed):
    """Draw every figure of a study."""
    params = ReportingParams.model_construct(measure=measure, **changed)
    tables = {name: study.tables.get(name) for name in TABLES}
    plan = plan_figures(params, **tables, **make_collections(study.matrices, study.layer_matrices))
    return {name: planned.compute() for name, planned in plan.items()}


@pytest.fixture(scope="session")
def study():
    return load_synthetic_study().make_study(seed=0)


@pytest.fixture(scope="session")
def load_scales():
    return lambda: load_synthetic_study("synthetic_scales")


@pytest.fixture(scope="session")
def draw_tables():
    """Return a function that draws made-up tables, and the similarity matrices that go with them."""

    def draw(tables):
        study, matrices = load_synthetic_study(), {}
        names = list(tables["model_cards"]["model"])
        for stimulus_set in in_order(tables["probe_results"]["stimulus_set"]):
            rows = tables["similarities"]
            rows = rows[rows["stimulus_set"] == stimulus_set] if len(rows) else None
            frame = require_table("similarities", rows).set_index(list(PAIR))["similarity"]
            values = square(frame, names).fillna(1.0).to_numpy()
            key = f"{stimulus_set}/{MEASURE}"
            matrices[key] = study.FakeHandle(key, {}, study.FakeMatrix(values, tuple(names)))
        names = {name: ["in", "mid", "out"] for name in names[: study.MOST_WITH_LAYERS]}
        layers = {
            stimulus_set: study.make_layer_values(names, seed)
            for seed, stimulus_set in enumerate(in_order(tables["probe_results"]["stimulus_set"])[:2])
        }
        with_layers = {**tables, **study.make_layer_tables(layers)}
        layer_matrices = study.make_layer_matrices(layers)
        return draw_figures(
            SimpleNamespace(tables=with_layers, matrices=matrices, layer_matrices=layer_matrices)
        )

    return draw


@pytest.fixture(scope="session")
def collections(study):
    return make_collections(study.matrices, study.layer_matrices)


@pytest.fixture(scope="session")
def hostile_study():
    return load_synthetic_study().rename_all(load_synthetic_study().make_study(seed=0))


@pytest.fixture(scope="session")
def hostile_figures(hostile_study):
    return draw_figures(hostile_study)


@pytest.fixture(scope="session")
def measure():
    return MEASURE


@pytest.fixture(scope="session")
def draw():
    return draw_figures


@pytest.fixture(scope="session")
def figures(study):
    return draw_figures(study)


@pytest.fixture(scope="session")
def drawings(figures):
    return {name: render_svg(figure) for name, figure in figures.items()}
