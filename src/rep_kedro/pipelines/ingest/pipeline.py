"""Wiring of the ingest pipeline."""

from kedro.pipeline import Node, Pipeline

from rep_kedro.datasets import RecipeNode, only
from rep_kedro.pipelines.ingest import nodes
from rep_kedro.stimuli import cards


def create_pipeline(**_: object) -> Pipeline:
    """Sources -> stimulus sets -> subsets, and one row about each set."""
    return Pipeline(
        [
            Node(
                nodes.plan_stimulus_sets,
                inputs="params:ingest",
                outputs="stimulus_sets",
                name="stimulus_sets",
                tags=["cpu"],
            ),
            Node(
                nodes.plan_stimulus_subsets,
                inputs=["stimulus_sets", "params:ingest"],
                outputs="stimulus_subsets",
                name="stimulus_subsets",
                tags=["cpu"],
            ),
            RecipeNode(
                cards.describe_stimulus_sets,
                inputs=["stimulus_sets", "params:ingest"],
                outputs="stimulus_cards",
                name="stimulus_cards",
                counts={"params:ingest": only({"stimulus_sets": {"__all__": {"title", "group", "source"}}})},
                tags=["cpu"],
            ),
        ]
    )
