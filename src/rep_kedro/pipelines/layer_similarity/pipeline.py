"""Wiring of the pipeline layer_similarity."""

from kedro.pipeline import Node, Pipeline

from rep_kedro.analyses.layer_similarity import matches, matrices, tables
from rep_kedro.datasets import RecipeNode, only


def create_pipeline(**_: object) -> Pipeline:
    """Features -> matrices over layers, best matches between networks -> their tables."""
    return Pipeline(
        [
            Node(
                matrices.plan_layer_similarity_matrices,
                inputs=["features", "params:layer_similarity", "stimulus_subsets"],
                outputs="layer_similarity_matrices",
                name="layer_similarity_matrices",
                tags=["gpu"],
            ),
            Node(
                matches.plan_layer_matches,
                inputs=["features", "params:layer_similarity", "stimulus_subsets"],
                outputs="layer_matches",
                name="layer_matches",
                tags=["gpu"],
            ),
            RecipeNode(
                tables.tabulate_layers,
                inputs=["layer_similarity_matrices", "layer_matches", "params:layer_similarity"],
                outputs=["layer_similarities", "best_layer_match", "shared_representations"],
                name="layer_similarities",
                counts={"params:layer_similarity": only({"n_permutations", "n_bootstrap"})},
                tags=["cpu"],
            ),
        ]
    )
