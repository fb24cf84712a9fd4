"""The similarity pipeline: the sum of its parts, each of which can also be run alone."""

from kedro.pipeline import Pipeline

from rep_kedro.pipelines.comparison.pipeline import create_pipeline as compare
from rep_kedro.pipelines.consistency.pipeline import create_pipeline as relate_stimulus_sets
from rep_kedro.pipelines.inference.pipeline import create_pipeline as infer
from rep_kedro.pipelines.model_maps.pipeline import create_pipeline as map_models


def create_pipeline(**_: object) -> Pipeline:
    """Features -> similarity matrices, their inference, their consistency, maps of networks."""
    return compare() + infer() + relate_stimulus_sets() + map_models()
