"""Wiring of the stitching pipeline."""

from kedro.pipeline import Node, Pipeline

from rep_kedro.datasets import RecipeNode
from rep_kedro.pipelines.stitching import nodes


def create_pipeline(**_: object) -> Pipeline:
    """Networks and what they were trained on -> stitches -> tables and reports."""
    return Pipeline(
        [
            Node(
                nodes.plan_stitches,
                inputs=[
                    "stimulus_sets",
                    "stimulus_subsets",
                    "networks",
                    "params:features",
                    "params:stitching",
                ],
                outputs="stitches",
                name="stitches",
                tags=["gpu"],
            ),
            RecipeNode(
                nodes.tabulate_stitches,
                inputs="stitches",
                outputs=["stitching_results", "stitching_summary", "stitch_paths"],
                name="stitching_results",
                tags=["cpu"],
            ),
            Node(
                nodes.plan_stitch_reports,
                inputs=["stitches", "networks", "params:stitching"],
                outputs="stitch_reports",
                name="stitch_reports",
                tags=["cpu"],
            ),
        ]
    )
