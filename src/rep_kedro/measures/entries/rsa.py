"""Measures on representational dissimilarity matrices (RDMs): four kinds of RDM, six ways to compare them."""

from dataclasses import replace
from functools import partial
from typing import NamedTuple

from rep_kedro.measures.families.rsa import compare, compare_rdms
from rep_kedro.measures.measure import Family, Inference, Invariance, Measure, Refusal, never_refuse

KRIEGESKORTE = "Kriegeskorte et al. 2008, doi:10.3389/neuro.06.004.2008"
SCHUTT = "Schütt et al. 2023, doi:10.7554/eLife.82566"
DIEDRICHSEN = "Diedrichsen et al. 2021, arXiv:2007.02789"
MAX_STIMULI_TAU = 1000

UNITS = frozenset({Invariance.UNIT_PERMUTATION, Invariance.ISOTROPIC_SCALING})
RDMS = {
    "correlation": UNITS | {Invariance.ROW_SCALING, Invariance.ROW_TRANSLATION},
    "cosine": UNITS | {Invariance.ROW_SCALING, Invariance.ROTATION},
    "euclidean": UNITS | {Invariance.TRANSLATION, Invariance.ROTATION},
    "squared_euclidean": UNITS | {Invariance.TRANSLATION, Invariance.ROTATION},
}

RDM_FORMULAS = {
    "correlation": "1 − correlation",
    "cosine": "1 − cosine",
    "euclidean": "|x_i − x_j|",
    "squared_euclidean": "|x_i − x_j|²",
}


def _refuse_many_stimuli(n_stimuli: int, n_features_a: int, n_features_b: int, *, most: int) -> str | None:
    if n_stimuli > most:
        return (
            f"tau-a compares all pairs of stimulus pairs, so it takes at most {most} stimuli, got {n_stimuli}"
        )
    return None


REFUSE_TAU: Refusal = partial(_refuse_many_stimuli, most=MAX_STIMULI_TAU)

NO_INTERVAL = "no interval for RSA by this coefficient: only Pearson and Spearman are resampled"
UNBIASED = Inference(is_biased=False)
NOT_RESAMPLED = Inference(is_biased=False, no_interval=NO_INTERVAL)


class Comparison(NamedTuple):
    """How RDMs are compared."""

    title: str
    source: str
    formula: str
    inference: Inference | None
    is_cosine: bool = True
    value_range: tuple[float, float] = (-1.0, 1.0)
    refusal: Refusal = never_refuse


COMPARISONS = {
    "pearson": Comparison("Pearson", KRIEGESKORTE, "Pearson correlation of v and w", UNBIASED),
    "spearman": Comparison(
        "Spearman", KRIEGESKORTE, "Pearson correlation of the ranks of v and w, ties averaged", UNBIASED
    ),
    "rho_a": Comparison(
        "rho-a",
        SCHUTT,
        "12 Σ (r − mean r)(s − mean s) / (m³ − m); r, s: ranks of the m entries of v and w",
        NOT_RESAMPLED,
        is_cosine=False,
    ),
    "tau_a": Comparison(
        "tau-a",
        "Nili et al. 2014, doi:10.1371/journal.pcbi.1003553",
        "mean over pairs of entries of sign(v_p − v_q) sign(w_p − w_q)",
        None,
        is_cosine=False,
        refusal=REFUSE_TAU,
    ),
    "cosine": Comparison("cosine", DIEDRICHSEN, "vᵀw / (|v| |w|)", NOT_RESAMPLED, value_range=(0.0, 1.0)),
    "whitened_cosine": Comparison(
        "whitened cosine",
        DIEDRICHSEN,
        "vᵀV⁻¹w / √(vᵀV⁻¹v wᵀV⁻¹w); V: covariance of dissimilarities of noise",
        replace(NOT_RESAMPLED, is_biased=True),
    ),
}

ENTRIES = tuple(
    Measure(
        id=f"rsa_{rdm}_{name}",
        title=f"RSA ({rdm.replace('_', ' ')} RDM, {how.title})",
        family=Family.RSA,
        runner=compare,
        source=how.source,
        formula=f"{how.formula}; v, w: {RDM_FORMULAS[rdm]} of stimuli i < j",
        value_range=how.value_range,
        larger_is_more_similar=True,
        invariances=invariances,
        parameters={"rdm": rdm, "compare": name},
        refusal=how.refusal,
        inference=how.inference,
        is_cosine=how.is_cosine,
        rdm_runner=compare_rdms,
    )
    for rdm, invariances in RDMS.items()
    for name, how in COMPARISONS.items()
)
