"""Parameters of the features pipeline, defined where other pipelines may import them."""

from rep_kedro.models.study import FeaturesParams, StimulusFacts

__all__ = ["FeaturesParams", "StimulusFacts"]
