"""Measures that estimate what the populations behind few stimuli and few features would give."""

from rep_kedro.measures.families.sampling import compare
from rep_kedro.measures.measure import Family, FewestStimuli, Invariance, Measure

N_MOMENTS, N_ORDERS, SEED = 3, 2, 0
ANY = (-float("inf"), float("inf"))
UNITS = frozenset({Invariance.TRANSLATION, Invariance.UNIT_PERMUTATION, Invariance.ISOTROPIC_SCALING})

ENTRIES = (
    Measure(
        id="cka_linear_debiased_twice",
        title="CKA (linear, corrected for sampled stimuli and features)",
        family=Family.SAMPLING,
        runner=compare,
        source="Chun et al. 2025, arXiv:2502.15104",
        value_range=ANY,
        larger_is_more_similar=True,
        invariances=UNITS,
        is_extreme_for_itself=False,  # an estimate of 1 may exceed it
        parameters={"statistic": "cka_debiased_twice"},
    ),
    Measure(
        id="nbs_moments_3",
        title="Cosine of the shape distance (from 3 moments)",
        family=Family.SAMPLING,
        runner=compare,
        source="Pospisil et al. 2024, arXiv:2310.05742, section 3",
        value_range=ANY,
        larger_is_more_similar=True,
        invariances=UNITS | {Invariance.ROTATION},
        fewest_stimuli=FewestStimuli(4 * N_MOMENTS),
        is_extreme_for_itself=False,  # the polynomial of a model with itself is not the exact norm
        parameters={"statistic": "nbs_moments", "n_moments": N_MOMENTS, "n_orders": N_ORDERS, "seed": SEED},
    ),
)
