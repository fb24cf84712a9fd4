"""The made-up study for every test of the report, and its figures: made once, never changed."""

import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from rep_kedro.pipelines.reporting.params import ReportingParams
from rep_kedro.pipelines.reporting.study_figures import COLLECTIONS, TABLES, plan_figures
from rep_kedro.reporting.figures import certainty, consistency, layers, performance, similarity, training
from rep_kedro.reporting.tables import matrices_of

MEASURE = "cka_linear_debiased"


def load_synthetic_study(name="synthetic_study"):
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


def draw_all(study, measure=MEASURE):
    cards, matrices = study.model_cards, matrices_of(study.matrices, measure)
    diagnostics, probes = study.layer_diagnostics, study.probe_results
    return {
        "figure_similarity": similarity.plot_similarity_maps(matrices, cards, measure=measure),
        "figure_consistency": consistency.plot_consistency(study.consistency, cards, measure=measure),
        "figure_noise_ceiling": certainty.plot_noise_ceiling(
            study.noise_ceilings, study.similarity_inference, cards, measure=measure
        ),
        "figure_sample_sizes": certainty.plot_sample_sizes(study.sample_sizes),
        "figure_performance_gap": performance.plot_performance_gap(
            study.similarities, probes, measure=measure
        ),
        "figure_rankme": performance.plot_rankme(diagnostics, probes, cards, delta=0.99),
        "figure_saturation": layers.plot_saturation(
            diagnostics, probes, study.receptive_fields, cards, stimulus_set="digits", delta=0.99
        ),
        "figure_stitching": layers.plot_stitching(study.stitching_results, cards, stimulus_set="digits"),
        "figure_training": training.plot_training(study.training_history, cards),
        **draw_figures(study, measure),
    }


def make_collections():
    """Return members of every collection that figures of the study use, by collection."""
    curves = load_synthetic_study("synthetic_scales").make_curves(
        ("digits", "photograph_patches", "shapes"), (MEASURE, "cka_linear_biased")
    )
    made = {"sample_size_curves": curves}
    return {name: made[name] for name in COLLECTIONS}


def draw_figures(study, measure=MEASURE, **changed):
    """Draw every figure of the collection."""
    params = ReportingParams.model_construct(measure=measure, **changed)
    tables = {name: study.tables.get(name) for name in TABLES}
    plan = plan_figures(params, **tables, **make_collections())
    return {name: planned.compute() for name, planned in plan.items()}


@pytest.fixture(scope="session")
def study():
    return load_synthetic_study().make_study(seed=0)


@pytest.fixture(scope="session")
def load_scales():
    return lambda: load_synthetic_study("synthetic_scales")


@pytest.fixture(scope="session")
def draw_collection():
    return lambda tables: draw_figures(SimpleNamespace(tables=tables))


@pytest.fixture(scope="session")
def collections():
    return make_collections()


@pytest.fixture(scope="session")
def hostile_study():
    return load_synthetic_study().rename_all(load_synthetic_study().make_study(seed=0))


@pytest.fixture(scope="session")
def hostile_figures(hostile_study):
    return draw_all(hostile_study)


@pytest.fixture(scope="session")
def measure():
    return MEASURE


@pytest.fixture(scope="session")
def draw():
    return draw_all


@pytest.fixture(scope="session")
def figures(study):
    return draw_all(study)
