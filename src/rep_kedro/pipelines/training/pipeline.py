"""Wiring of the training pipeline."""

from kedro.pipeline import Node, Pipeline

from rep_kedro.datasets import RecipeNode
from rep_kedro.models.families.registry import family_modules
from rep_kedro.pipelines.training import nodes

NAMED_MODULES = (*family_modules(), "rep_kedro.models.foreign_network")
"""Modules that are named as data, which no import shows: of networks that are not layers written out."""


def create_pipeline(**_: object) -> Pipeline:
    """Stimulus sets -> networks -> their history, costs and settings."""
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
                outputs=["training_history", "training_costs", "network_settings"],
                name="training_history",
                tags=["cpu"],
            ),
        ]
    )
