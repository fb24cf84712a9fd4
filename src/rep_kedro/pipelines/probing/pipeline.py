"""Wiring of the probing pipeline."""

from kedro.pipeline import Node, Pipeline

from rep_kedro.analyses.diagnostics import tails
from rep_kedro.analyses.predictions import agreement, performance_gaps
from rep_kedro.analyses.selection import criteria, model_selection
from rep_kedro.datasets import RecipeNode, only
from rep_kedro.pipelines.probing import layer_nodes, nodes


def create_pipeline(**_: object) -> Pipeline:
    """Features and labels -> probes -> results."""
    return Pipeline(
        [
            Node(
                nodes.plan_probes,
                inputs=["features", "stimulus_subsets", "params:probing"],
                outputs="probes",
                name="probes",
                tags=["cpu"],
            ),
            Node(
                layer_nodes.plan_layer_probes,
                inputs=[
                    "stimulus_sets",
                    "stimulus_subsets",
                    "networks",
                    "params:features",
                    "params:probing",
                ],
                outputs="layer_probes",
                name="layer_probes",
                tags=["gpu"],
            ),
            RecipeNode(
                layer_nodes.tabulate_all_probes,
                inputs=["probes", "layer_probes"],
                outputs=["probe_results", "layer_probe_results"],
                name="probe_results",
                tags=["cpu"],
            ),
            RecipeNode(
                agreement.compare_predictions,
                inputs=["probes", "stimulus_subsets", "model_cards"],
                outputs="prediction_agreement",
                name="prediction_agreement",
                tags=["cpu"],
            ),
            RecipeNode(
                performance_gaps.compute_performance_gaps,
                inputs=["similarities", "probe_results", "params:probing"],
                outputs="performance_gaps",
                name="performance_gaps",
                tags=["cpu"],
            ),
            RecipeNode(
                tails.compute_layer_tails,
                inputs=["probe_results", "receptive_fields", "model_cards", "params:diagnostics"],
                outputs="layer_tails",
                name="layer_tails",
                counts={"params:diagnostics": only({"tail_epsilon"})},
                tags=["cpu"],
            ),
            RecipeNode(
                model_selection.compute_model_selection,
                inputs=[
                    "model_clusters",
                    "probe_results",
                    "similarities",
                    "probes",
                    "stimulus_subsets",
                    "params:model_selection",
                ],
                outputs="model_selection",
                name="model_selection",
                counts={"params:model_selection": model_selection.what_counts},
                tags=["cpu"],
            ),
            RecipeNode(
                criteria.judge_criteria,
                inputs=[
                    "label_free_measures",
                    "probe_results",
                    "network_settings",
                    "params:model_selection",
                ],
                outputs=["selection_criteria", "selection_regret"],
                name="selection_criteria",
                counts={"params:model_selection": criteria.what_counts},
                tags=["cpu"],
            ),
        ]
    )
