"""Wiring of the inference pipeline, a part of similarity."""

from kedro.pipeline import Node, Pipeline

from rep_kedro.analyses.inference import ceilings, inference, sample_sizes
from rep_kedro.datasets import RecipeNode


def create_pipeline(**_: object) -> Pipeline:
    """Features and similarity matrices -> nulls, intervals, sample sizes, noise ceilings."""
    return Pipeline(
        [
            Node(
                inference.plan_similarity_nulls,
                inputs=["features", "params:similarity", "params:similarity_inference", "stimulus_subsets"],
                outputs="similarity_nulls",
                name="similarity_nulls",
                tags=["gpu"],
            ),
            RecipeNode(
                inference.tabulate_similarity_inference,
                inputs=["similarity_nulls", "params:similarity_inference"],
                outputs="similarity_inference",
                name="similarity_inference",
                tags=["cpu"],
            ),
            Node(
                sample_sizes.plan_sample_size_curves,
                inputs=["features", "params:similarity", "params:sample_sizes", "stimulus_subsets"],
                outputs="sample_size_curves",
                name="sample_size_curves",
                tags=["gpu"],
            ),
            RecipeNode(
                sample_sizes.tabulate_sample_sizes,
                inputs="sample_size_curves",
                outputs="sample_sizes",
                name="sample_sizes",
                tags=["cpu"],
            ),
            RecipeNode(
                ceilings.compute_noise_ceilings,
                inputs=["similarity_matrices", "features", "model_cards"],
                outputs="noise_ceilings",
                name="noise_ceilings",
                tags=["cpu"],
            ),
        ]
    )
