"""Wiring of the ingest pipeline."""

from kedro.pipeline import Node, Pipeline

from rep_kedro.pipelines.ingest import nodes


def create_pipeline(**_: object) -> Pipeline:
    """Sources -> stimulus sets -> subsets."""
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
        ]
    )
