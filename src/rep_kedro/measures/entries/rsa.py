"""Measures on representational dissimilarity matrices (RDMs): four kinds of RDM, six ways to compare them."""

from functools import partial

from rep_kedro.measures.measure import Family, Invariance, Measure, Refusal, never_refuse

KRIEGESKORTE = "Kriegeskorte et al. 2008, doi:10.3389/neuro.06.004.2008"
MAX_STIMULI_TAU = 1000

UNITS = frozenset({Invariance.UNIT_PERMUTATION, Invariance.ISOTROPIC_SCALING})
RDMS = {
    "correlation": UNITS | {Invariance.ROW_SCALING, Invariance.ROW_TRANSLATION},
    "cosine": UNITS | {Invariance.ROW_SCALING, Invariance.ROTATION},
    "euclidean": UNITS | {Invariance.TRANSLATION, Invariance.ROTATION},
    "squared_euclidean": UNITS | {Invariance.TRANSLATION, Invariance.ROTATION},
}


def _refuse_many_stimuli(n_stimuli: int, n_features_a: int, n_features_b: int, *, most: int) -> str | None:
    if n_stimuli > most:
        return f"tau-a compares every two pairs of stimuli: at most {most} stimuli, got {n_stimuli}"
    return None


REFUSE_TAU: Refusal = partial(_refuse_many_stimuli, most=MAX_STIMULI_TAU)

# how RDMs are compared: title, source, value range, refusal
COMPARISONS: dict[str, tuple[str, str, tuple[float, float], Refusal]] = {
    "pearson": ("Pearson", KRIEGESKORTE, (-1.0, 1.0), never_refuse),
    "spearman": ("Spearman", KRIEGESKORTE, (-1.0, 1.0), never_refuse),
    "rho_a": ("rho-a", "Schütt et al. 2023, doi:10.7554/eLife.82566", (-1.0, 1.0), never_refuse),
    "tau_a": ("tau-a", "Nili et al. 2014, doi:10.1371/journal.pcbi.1003553", (-1.0, 1.0), REFUSE_TAU),
    "cosine": ("cosine", "Diedrichsen et al. 2021, arXiv:2007.02789", (0.0, 1.0), never_refuse),
    "whitened_cosine": (
        "whitened cosine",
        "Diedrichsen et al. 2021, arXiv:2007.02789",
        (-1.0, 1.0),
        never_refuse,
    ),
}

ENTRIES = tuple(
    Measure(
        id=f"rsa_{rdm}_{compare}",
        title=f"RSA ({rdm.replace('_', ' ')} RDM, {title})",
        family=Family.RSA,
        source=source,
        value_range=value_range,
        larger_is_more_similar=True,
        invariances=invariances,
        parameters={"rdm": rdm, "compare": compare},
        refusal=refusal,
    )
    for rdm, invariances in RDMS.items()
    for compare, (title, source, value_range, refusal) in COMPARISONS.items()
)
