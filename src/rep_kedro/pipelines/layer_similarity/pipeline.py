"""Wiring of the pipeline layer_similarity."""

from kedro.pipeline import Node, Pipeline

from rep_kedro.analyses.layer_similarity import matches, matrices
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
            RecipeNode(
                matrices.tabulate_layer_similarities,
                inputs="layer_similarity_matrices",
                outputs="layer_similarities",
                name="layer_similarities",
                tags=["cpu"],
            ),
            Node(
                matches.plan_layer_matches,
                inputs=["features", "params:layer_similarity", "stimulus_subsets"],
                outputs="layer_matches",
                name="layer_matches",
                tags=["gpu"],
            ),
            RecipeNode(
                matches.tabulate_matches,
                inputs=["layer_matches", "params:layer_similarity"],
                outputs=["best_layer_match", "shared_representations"],
                name="best_layer_match",
                counts={"params:layer_similarity": only({"n_permutations", "n_bootstrap"})},
                tags=["cpu"],
            ),
        ]
    )
