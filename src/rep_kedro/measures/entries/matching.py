"""Measures that pair single units of two models."""

from rep_kedro.measures.families.matching import compare
from rep_kedro.measures.measure import Family, Invariance, Measure

UNITS = frozenset({Invariance.TRANSLATION, Invariance.UNIT_PERMUTATION, Invariance.ISOTROPIC_SCALING})

ENTRIES = (
    Measure(
        id="permutation_match",
        title="Correlation of paired units",
        family=Family.MATCHING,
        runner=compare,
        source="Li et al. 2016, arXiv:1511.07543",
        value_range=(-1.0, 1.0),
        larger_is_more_similar=True,
        invariances=UNITS | {Invariance.COLUMN_SCALING},
        parameters={"statistic": "permutation_match"},
    ),
    Measure(
        id="permutation_procrustes",
        title="Procrustes distance by permutation",
        family=Family.MATCHING,
        runner=compare,
        source="Williams et al. 2021, arXiv:2110.14739, section 2.2",
        value_range=(0.0, 2.0),
        larger_is_more_similar=False,
        invariances=UNITS,
        parameters={"statistic": "permutation_procrustes"},
    ),
    Measure(
        id="soft_match",
        title="Soft-matching distance",
        family=Family.MATCHING,
        runner=compare,
        source="Khosla & Williams 2023, arXiv:2311.09466",
        value_range=(0.0, 2.0),
        larger_is_more_similar=False,
        invariances=UNITS | {Invariance.COLUMN_SCALING},
        parameters={"statistic": "soft_match"},
    ),
)
