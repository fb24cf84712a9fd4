"""Parameters of the features pipeline, defined where other pipelines may look too."""

from rep_kedro.models.study import FeaturesParams, StimulusFacts

__all__ = ["FeaturesParams", "StimulusFacts"]
