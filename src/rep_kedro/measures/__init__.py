"""The similarity measures this project knows, and one call that compares many models under many of them.

Importing this package imports neither torch nor numpy: listing measures must be quick.
"""

from rep_kedro.measures.compare import Comparison, compare_under
from rep_kedro.measures.measure import Family, Inference, Invariance, Measure
from rep_kedro.measures.registry import MEASURES, closest_measures, compare_models, get_measure

__all__ = [
    "MEASURES",
    "Comparison",
    "Family",
    "Inference",
    "Invariance",
    "Measure",
    "closest_measures",
    "compare_models",
    "compare_under",
    "get_measure",
]
