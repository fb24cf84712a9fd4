"""Wiring of the model_maps pipeline, a part of similarity."""

from kedro.pipeline import Pipeline

from rep_kedro.analyses.model_maps import maps
from rep_kedro.datasets import RecipeNode


def create_pipeline(**_: object) -> Pipeline:
    """Similarity matrices -> positions and clusters of networks."""
    return Pipeline(
        [
            RecipeNode(
                maps.compute_model_maps,
                inputs=["similarity_matrices", "params:model_maps"],
                outputs=["model_positions", "model_clusters"],
                name="model_maps",
                tags=["cpu"],
            ),
        ]
    )
