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
        formula="max over pairings of mean correlation of paired units; each unit of the narrower model "
        "has a partner of its own",
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
        formula="min over permutations P of ‖X₁P − Y₁‖; idle units make widths equal",
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
        formula="√ min over couplings T of Σ T_ij |u_i − v_j|²; u, v: units, centred, of norm 1, each with "
        "an equal share of the mass 1",
        parameters={"statistic": "soft_match"},
    ),
    *(
        Measure(
            id=f"partial_soft_match_{mass}",
            title=f"Partial soft-matching distance ({mass:.0%} of units)",
            family=Family.MATCHING,
            runner=compare,
            source="Kapoor, Williams & Khosla 2026, arXiv:2602.19331",
            value_range=(0.0, 2 * mass**0.5),
            larger_is_more_similar=False,
            invariances=UNITS | {Invariance.COLUMN_SCALING},
            formula="as soft_match, over couplings of the stated share of the mass",
            parameters={"statistic": "partial_soft_match", "mass": mass},
        )
        for mass in (0.5, 0.9)
    ),
    Measure(
        id="soft_correlation_match",
        title="Correlation with the most similar unit",
        family=Family.MATCHING,
        runner=compare,
        source="Klabunde et al. 2024, arXiv:2408.00531; Li et al. 2016, arXiv:1511.07543",
        value_range=(-1.0, 1.0),
        larger_is_more_similar=True,
        invariances=UNITS | {Invariance.COLUMN_SCALING},
        formula="mean over units of the largest correlation with a unit of the other model, averaged over "
        "both directions",
        parameters={"statistic": "soft_correlation_match"},
    ),
)
