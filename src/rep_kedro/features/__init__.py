"""Extraction of features, and views on stored ones: other rows, transformed, several networks as one.

Nothing is stored twice: a view reads features, and what it does to them is part of the recipe of what is
made.
"""

from rep_kedro.features.combinations import CombinationView, list_combinations
from rep_kedro.features.rows import RowFinder
from rep_kedro.features.spec import Combination, PcaStep, Transform, describe
from rep_kedro.features.views import FeatureSource, FeatureView, FittedOn, Reading

__all__ = [
    "Combination",
    "CombinationView",
    "FeatureSource",
    "FeatureView",
    "FittedOn",
    "PcaStep",
    "Reading",
    "RowFinder",
    "Transform",
    "describe",
    "list_combinations",
]
