"""Measures on the Euclidean distances between stimuli, other than RSA.

RTD-Lite compares how stimuli join to clusters; RTD itself (Barannikov et al. 2022, arXiv:2201.00058) also
compares loops by persistent homology, for which the project has no library.
"""

from math import inf

from rep_kedro.measures.families.distances import compare
from rep_kedro.measures.measure import Family, Invariance, Measure

DISTANCES = frozenset({Invariance.ROTATION, Invariance.TRANSLATION, Invariance.UNIT_PERMUTATION})

ENTRIES = (
    Measure(
        id="rsm_norm_difference",
        title="Norm of the difference of distance matrices",
        family=Family.DISTANCE,
        runner=compare,
        source="Klabunde et al. 2025, doi:10.1145/3728458, section 3.3.1",
        value_range=(0.0, inf),
        larger_is_more_similar=False,
        invariances=DISTANCES,
        formula="√ Σ over i, j of (|x_i − x_j| − |y_i − y_j|)²",
        parameters={"statistic": "norm_difference"},
    ),
    Measure(
        id="rtd_lite",
        title="RTD-Lite",
        family=Family.DISTANCE,
        runner=compare,
        source="Tulchinskii et al. 2025, arXiv:2503.11910",
        value_range=(0.0, inf),
        larger_is_more_similar=False,
        invariances=DISTANCES | {Invariance.ISOTROPIC_SCALING},
        formula="(T(D) + T(E)) / 2 − T(min(D, E)); D, E: distances divided by their 0.9 quantile, T: "
        "length of the minimum spanning tree",
        parameters={"statistic": "rtd_lite"},
    ),
)
