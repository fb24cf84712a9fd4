"""Wiring of the features pipeline."""

from kedro.pipeline import Node, Pipeline

from rep_kedro.datasets import RecipeNode
from rep_kedro.features import cards
from rep_kedro.pipelines.features import nodes


def create_pipeline(**_: object) -> Pipeline:
    """Networks, files and stimuli -> features and dissimilarities -> model cards."""
    return Pipeline(
        [
            Node(
                nodes.plan_features,
                inputs=["stimulus_sets", "stimulus_subsets", "networks", "params:features"],
                outputs="features",
                name="features",
                tags=["gpu"],
            ),
            Node(
                nodes.plan_dissimilarities,
                inputs=["stimulus_sets", "stimulus_subsets", "params:features"],
                outputs="dissimilarities",
                name="dissimilarities",
                tags=["cpu"],
            ),
            RecipeNode(
                cards.compute_model_cards,
                inputs=["networks", "features", "params:features", "dissimilarities"],
                outputs="model_cards",
                name="model_cards",
                counts={"params:features": cards.counted_parameters},
                tags=["cpu"],
            ),
        ]
    )
