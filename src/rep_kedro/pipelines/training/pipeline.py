"""Wiring of the training pipeline."""

from kedro.pipeline import Node, Pipeline

from rep_kedro.datasets import RecipeNode
from rep_kedro.pipelines.training import nodes


def create_pipeline(**_: object) -> Pipeline:
    """Stimulus sets -> networks -> their history and costs."""
    return Pipeline(
        [
            Node(
                nodes.plan_networks,
                inputs=["stimulus_sets", "params:training"],
                outputs="networks",
                name="networks",
                tags=["gpu"],
            ),
            RecipeNode(
                nodes.tabulate_trainings,
                inputs="networks",
                outputs=["training_history", "training_costs"],
                name="training_history",
                tags=["cpu"],
            ),
        ]
    )
