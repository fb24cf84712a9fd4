"""Wiring of the reporting pipeline."""

from collections.abc import Callable
from typing import Any

from kedro.pipeline import Node, Pipeline

from rep_kedro.datasets import RecipeNode
from rep_kedro.pipelines.reporting import nodes, study_figures
from rep_kedro.reporting.contract import COLUMNS
from rep_kedro.reporting.texts import TEMPLATE_FOLDER

NAMED_MODULES = study_figures.MODULES
"""Drawing modules that are named as data, so that no import tells of them."""

COLLECTIONS = (
    "stimulus_sets",
    "stimulus_subsets",
    "networks",
    "features",
    "spectra",
    "similarity_matrices",
    "similarity_nulls",
    "sample_size_curves",
    "probes",
    "stitches",
)
TABLES = tuple(COLUMNS)
FIGURES: dict[str, tuple[Callable[..., Any], list[str]]] = {
    "figure_similarity": (nodes.plot_similarity, ["similarity_matrices", "model_cards"]),
    "figure_noise_ceiling": (
        nodes.plot_noise_ceiling,
        ["noise_ceilings", "similarity_inference", "model_cards"],
    ),
    "figure_sample_sizes": (nodes.plot_sample_sizes, ["sample_sizes"]),
    "figure_consistency": (nodes.plot_consistency, ["consistency", "model_cards"]),
    "figure_performance_gap": (nodes.plot_performance_gap, ["similarities", "probe_results"]),
    "figure_rankme": (nodes.plot_rankme, ["layer_diagnostics", "probe_results", "model_cards"]),
    "figure_saturation": (
        nodes.plot_saturation,
        ["layer_diagnostics", "probe_results", "receptive_fields", "model_cards"],
    ),
    "figure_stitching": (nodes.plot_stitching, ["stitching_results", "model_cards"]),
    "figure_training": (nodes.plot_training, ["training_history", "model_cards"]),
}
EARLIER = ("earlier_similarities", "earlier_consistency")


def create_pipeline(**_: object) -> Pipeline:
    """Tables and similarity matrices -> figures and run table -> report."""
    figures = [
        Node(function, inputs=[*inputs, "params:reporting"], outputs=name, name=name)
        for name, (function, inputs) in FIGURES.items()
    ]
    collected = Node(
        study_figures.plan_figures,
        inputs={
            "params": "params:reporting",
            **{name: name for name in (*study_figures.TABLES, *study_figures.COLLECTIONS)},
        },
        outputs="figures",
        name="study_figures",
    )
    run_table = RecipeNode(
        nodes.compute_run_table,
        inputs={name: name for name in COLLECTIONS},
        outputs="run_table",
        name="run_table",
        counts=dict.fromkeys(COLLECTIONS, nodes.with_journal),
    )
    missing = RecipeNode(
        nodes.list_missing_members,
        inputs={name: name for name in (*COLLECTIONS, "figures")},
        outputs="missing_members",
        name="missing_members",
    )
    report = RecipeNode(
        nodes.compute_report,
        inputs={
            "params": "params:reporting",
            "parameters": "parameters",
            **{name: name for name in (*TABLES, *FIGURES, "figures", *EARLIER)},
        },
        outputs="report",
        name="report",
        data=[TEMPLATE_FOLDER],
    )
    return Pipeline([*figures, collected, run_table, missing, report], tags=["cpu"])
