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
        formula="S(x, y) / √(S'(x) S'(y)); S: unbiased HSIC per pair of features, S': its mean over pairs "
        "of different features of one model",
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
        formula="Σ over p ≤ 3 of g_p m_p λ^(1 − 2p) / √(tr A tr B); m_p: unbiased tr (CCᵀ)^p, λ: largest "
        "singular value of C, "
        "Σ g_p s^2p ≈ s on [0, 1]",
        parameters={"statistic": "nbs_moments", "n_moments": N_MOMENTS, "n_orders": N_ORDERS, "seed": SEED},
    ),
)
