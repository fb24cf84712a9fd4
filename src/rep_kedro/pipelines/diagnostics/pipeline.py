"""Wiring of the diagnostics pipeline."""

from kedro.pipeline import Node, Pipeline

from rep_kedro.analyses.diagnostics import receptive_fields
from rep_kedro.datasets import RecipeNode, only
from rep_kedro.pipelines.diagnostics import nodes, projections, saturation


def create_pipeline(**_: object) -> Pipeline:
    """Networks and features -> spectra -> results for each layer; and receptive fields."""
    return Pipeline(
        [
            Node(
                nodes.plan_spectra,
                inputs=["stimulus_sets", "stimulus_subsets", "features", "networks", "params:diagnostics"],
                outputs="spectra",
                name="spectra",
                tags=["gpu"],
            ),
            RecipeNode(
                nodes.tabulate_spectra,
                inputs=["spectra", "stimulus_cards", "params:diagnostics"],
                outputs=["layer_diagnostics", "label_free_measures"],
                name="layer_diagnostics",
                counts={"params:diagnostics": only({"deltas", "rule", "rankme_epsilon", "alpha_req_window"})},
                tags=["cpu"],
            ),
            Node(
                saturation.plan_training_spectra,
                inputs=["stimulus_sets", "networks", "params:training"],
                outputs="training_spectra",
                name="training_spectra",
                tags=["gpu"],
            ),
            Node(
                projections.plan_projections,
                inputs=[
                    "stimulus_sets",
                    "stimulus_subsets",
                    "networks",
                    "params:features",
                    "params:diagnostics",
                ],
                outputs="projections",
                name="projections",
                tags=["gpu"],
            ),
            RecipeNode(
                nodes.tabulate_watched_and_projected,
                inputs=["training_spectra", "projections", "params:diagnostics"],
                outputs=["saturation_history", "projection_results"],
                name="saturation_history",
                counts={"params:diagnostics": only({"deltas"})},
                tags=["cpu"],
            ),
            RecipeNode(
                receptive_fields.compute_receptive_fields,
                inputs=["networks", "params:diagnostics", "features", "params:features"],
                outputs="receptive_fields",
                name="receptive_fields",
                counts={
                    "params:diagnostics": only({"border_rule"}),
                    "params:features": receptive_fields.counted_entries,
                },
                tags=["cpu"],
            ),
        ]
    )
