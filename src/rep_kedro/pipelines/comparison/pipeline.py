"""Wiring of the comparison pipeline, a part of similarity."""

from kedro.pipeline import Node, Pipeline

from rep_kedro.analyses.similarity import matrices
from rep_kedro.datasets import RecipeNode


def create_pipeline(**_: object) -> Pipeline:
    """Features and dissimilarities -> similarity matrices -> the table of similarities."""
    return Pipeline(
        [
            Node(
                matrices.plan_similarity_matrices,
                inputs=["features", "params:similarity", "stimulus_subsets", "dissimilarities"],
                outputs="similarity_matrices",
                name="similarity_matrices",
                tags=["gpu"],
            ),
            RecipeNode(
                matrices.tabulate_similarities,
                inputs=["similarity_matrices", "model_cards"],
                outputs="similarities",
                name="similarities",
                tags=["cpu"],
            ),
        ]
    )
