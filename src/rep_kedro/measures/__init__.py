"""The similarity measures this project knows, and one call that compares many models under many of them.

Importing this package imports neither torch nor numpy: listing measures must be quick. The package can be
called: ``rep_kedro.measures()`` is the public function of that name, which would otherwise be hidden by the
package as soon as something imports it.
"""

import sys
from types import ModuleType
from typing import TYPE_CHECKING

from rep_kedro.measures.compare import Comparison, compare_under
from rep_kedro.measures.measure import Family, Inference, Invariance, Measure
from rep_kedro.measures.registry import MEASURES, closest_measures, compare_models, get_measure

if TYPE_CHECKING:
    from pandas import DataFrame

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


class _CallablePackage(ModuleType):
    def __call__(self, family: str | None = None) -> "DataFrame":
        """List the similarity measures; see ``rep_kedro.measures.listing.measures``."""
        from rep_kedro.measures.listing import measures

        return measures(family)


sys.modules[__name__].__class__ = _CallablePackage
