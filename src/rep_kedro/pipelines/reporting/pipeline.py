"""Wiring of the reporting pipeline."""

from kedro.pipeline import Node, Pipeline

from rep_kedro.datasets import RecipeNode
from rep_kedro.pipelines.reporting import nodes, study_figures
from rep_kedro.reporting.texts import TEMPLATE_FOLDER
from rep_kedro.schemas import TABLES

NAMED_MODULES = study_figures.MODULES
"""Drawing modules that are named as data, which no import shows."""

COLLECTIONS = (
    "stimulus_sets",
    "stimulus_subsets",
    "networks",
    "features",
    "spectra",
    "training_spectra",
    "projections",
    "similarity_matrices",
    "similarity_nulls",
    "sample_size_curves",
    "layer_similarity_matrices",
    "layer_matches",
    "probes",
    "stitches",
)
READ_WHAT_IS_THERE = ("study_figures", "run_table", "missing_members", "report")
"""Nodes that report missing results, and so run even if ``kedro run --keep-going`` left inputs out."""

EARLIER = ("earlier_similarities", "earlier_consistency")


def create_pipeline(**_: object) -> Pipeline:
    """Tables and collections -> figures and run table -> report."""
    figures = Node(
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
    all_others = [
        name for name in (*COLLECTIONS, "figures", "stitch_reports", *TABLES) if name != "missing_members"
    ]
    missing = RecipeNode(
        nodes.list_missing_members,
        inputs={name: name for name in all_others},
        outputs="missing_members",
        name="missing_members",
        counts=dict.fromkeys(all_others, nodes.gaps_of),
    )
    report = RecipeNode(
        nodes.compute_report,
        inputs={
            "params": "params:reporting",
            "parameters": "parameters",
            **{name: name for name in (*TABLES, "figures", *EARLIER)},
        },
        outputs="report",
        name="report",
        data=[TEMPLATE_FOLDER],
    )
    return Pipeline([figures, run_table, missing, report], tags=["cpu"])
