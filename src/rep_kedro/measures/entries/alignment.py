"""Measures that compare each stimulus after the best rotation of one model onto the other."""

from rep_kedro.measures.families.alignment import compare
from rep_kedro.measures.measure import Family, Invariance, Measure

ENTRIES = (
    Measure(
        id="aligned_cosine",
        title="Cosine after the best rotation",
        family=Family.ALIGNMENT,
        runner=compare,
        source="Hamilton et al. 2016, arXiv:1605.09096, as in Klabunde et al. 2025, doi:10.1145/3728458",
        formula="mean over i of the cosine between x_i R and y_i, R the best rotation of x onto y, not "
        "centred",
        value_range=(-1.0, 1.0),
        larger_is_more_similar=True,
        invariances=frozenset(
            {Invariance.ROTATION, Invariance.ISOTROPIC_SCALING, Invariance.UNIT_PERMUTATION}
        ),
        averages_cosines=True,
    ),
)
