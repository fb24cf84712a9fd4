"""Wiring of the diagnostics pipeline."""

from kedro.pipeline import Node, Pipeline

from rep_kedro.pipelines.diagnostics import nodes, receptive_fields


def create_pipeline(**_: object) -> Pipeline:
    """Networks and features -> spectra -> what they say of each layer; and receptive fields."""
    return Pipeline(
        [
            Node(
                nodes.plan_spectra,
                inputs=["stimulus_sets", "stimulus_subsets", "features", "networks", "params:diagnostics"],
                outputs="spectra",
                name="spectra",
                tags=["gpu"],
            ),
            Node(
                nodes.compute_layer_diagnostics,
                inputs=["spectra", "params:diagnostics"],
                outputs="layer_diagnostics",
                name="layer_diagnostics",
                tags=["cpu"],
            ),
            Node(
                receptive_fields.compute_receptive_fields,
                inputs=["networks", "params:diagnostics", "features"],
                outputs="receptive_fields",
                name="receptive_fields",
                tags=["cpu"],
            ),
        ]
    )
