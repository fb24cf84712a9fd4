"""Measures on centred Gram and distance matrices: CKA in its variants, distance correlation."""

from math import pi

from rep_kedro.measures.families.cka import compare
from rep_kedro.measures.measure import Family, Inference, Invariance, Json, Measure

ISOMETRIES = frozenset({Invariance.ROTATION, Invariance.TRANSLATION, Invariance.UNIT_PERMUTATION})
SIMILARITIES = ISOMETRIES | {Invariance.ISOTROPIC_SCALING}

KORNBLITH = "Kornblith et al. 2019, arXiv:1905.00414, section 3"
UNBIASED = "Song et al. 2012, JMLR 13:1393, equation 5; Székely & Rizzo 2014, doi:10.1214/14-AOS1255"
SZEKELY = "Székely, Rizzo & Bakirov 2007, doi:10.1214/009053607000000505"

COMPARED = {
    "biased": "⟨HKH, HLH⟩ / (‖HKH‖ ‖HLH‖), H = I − 1/n",
    "debiased": "⟨K°, L°⟩ / √(⟨K°, K°⟩ ⟨L°, L°⟩), K°: K U-centred",
    "lange": "⟨HKH, HLH⟩ / (‖HKH‖ ‖HLH‖) without diagonals, H = I − 1/n",
    "minibatch": "Σ HSIC(K, L) / √(Σ HSIC(K, K) Σ HSIC(L, L)) over batches, HSIC unbiased",
}
KERNELS = {
    "linear": "K_ij = x_i · x_j",
    "gaussian": "K_ij = exp(−|x_i − x_j|² / 2σ²)",
    "distance": "K_ij = |x_i − x_j|",
}
BIASED_RANGE, DEBIASED_RANGE = (0.0, 1.0), (-1.0, 1.0)
WIDTHS = (0.2, 0.4, 0.6, 0.8)
MEDIAN_SEED = 0  # chooses the stimuli of the median distance where there are more than 2,048


def _entry(
    measure_id: str,
    title: str,
    source: str,
    parameters: dict[str, Json],
    *,
    value_range: tuple[float, float] = BIASED_RANGE,
    larger_is_more_similar: bool = True,
    invariances: frozenset[Invariance] = SIMILARITIES,
) -> Measure:
    return Measure(
        id=measure_id,
        title=title,
        family=Family.CKA,
        runner=compare,
        source=source,
        formula=_formula_of(parameters),
        value_range=value_range,
        larger_is_more_similar=larger_is_more_similar,
        invariances=invariances,
        parameters=parameters,
        inference=_inference_of(parameters),
        is_cosine="transform" not in parameters,
    )


def _formula_of(parameters: dict[str, Json]) -> str:
    """Put together how two kernel matrices are compared and what they hold."""
    compared = COMPARED[str(parameters["estimator"])]
    if transform := parameters.get("transform"):
        compared = {"arccos": f"arccos of {compared}", "root": f"√ of {compared}"}[str(transform)]
    kernel = KERNELS[str(parameters["kernel"])]
    if parameters["kernel"] == "gaussian":
        unit = " times the median of |x_i − x_j|" if parameters["width_unit"] == "median" else ""
        kernel = f"{kernel}, σ = {parameters['width']}{unit}"
    return f"{compared}; {kernel}, L the same of y"


def _inference_of(parameters: dict[str, Json]) -> Inference | None:
    """Return what is known of a cosine of matrices centred in one of the two ways."""
    estimator = parameters["estimator"]
    if estimator not in ("biased", "debiased") or "transform" in parameters:
        return None
    is_biased = estimator == "biased"
    is_linear = parameters["kernel"] == "linear"
    return Inference(is_biased, has_standard_error=is_linear and not is_biased)


def _rbf_entries(width: float) -> tuple[Measure, ...]:
    """Return the four measures of one kernel width: two units of the width, two estimators."""
    units: tuple[tuple[str, str, frozenset[Invariance], dict[str, Json]], ...] = (
        ("abs", "absolute width", ISOMETRIES, {}),
        ("median", "x median distance", SIMILARITIES, {"seed": MEDIAN_SEED}),
    )
    return tuple(
        _entry(
            f"cka_rbf_{unit}_{width}_{estimator}",
            f"CKA (RBF, {width} {words}, {estimator})",
            f"{KORNBLITH}; {UNBIASED}" if estimator == "debiased" else KORNBLITH,
            {"kernel": "gaussian", "width": width, "width_unit": unit, "estimator": estimator, **seed},
            value_range=DEBIASED_RANGE if estimator == "debiased" else BIASED_RANGE,
            invariances=invariances,
        )
        for unit, words, invariances, seed in units
        for estimator in ("debiased", "biased")
    )


ENTRIES = (
    _entry(
        "cka_linear_debiased",
        "CKA (linear, debiased)",
        f"{KORNBLITH}; {UNBIASED}",
        {"kernel": "linear", "estimator": "debiased"},
        value_range=DEBIASED_RANGE,
    ),
    _entry(
        "cka_linear_biased",
        "CKA (linear, biased)",
        KORNBLITH,
        {"kernel": "linear", "estimator": "biased"},
    ),
    _entry(
        "cka_linear_lange",
        "CKA (linear, diagonal left out)",
        "Lange et al. 2022, arXiv:2206.10999",
        {"kernel": "linear", "estimator": "lange"},
        value_range=DEBIASED_RANGE,
    ),
    _entry(
        "cka_linear_minibatch_256",
        "CKA (linear, batches of 256)",
        "Nguyen, Raghu & Kornblith 2021, arXiv:2010.15327, equation 3",
        {"kernel": "linear", "estimator": "minibatch", "batch_size": 256, "seed": 0},
        value_range=DEBIASED_RANGE,
    ),
    _entry(
        "cka_linear_angular",
        "angular CKA (radians)",
        "Williams et al. 2021, arXiv:2110.14739, section 2",
        {"kernel": "linear", "estimator": "biased", "transform": "arccos"},
        value_range=(0.0, pi / 2),
        larger_is_more_similar=False,
    ),
    _entry(
        "rv_coefficient",
        "RV coefficient",
        "Robert & Escoufier 1976, doi:10.2307/2347233",
        {"kernel": "linear", "estimator": "biased"},
    ),
    *(measure for width in WIDTHS for measure in _rbf_entries(width)),
    _entry(
        "distance_correlation_biased",
        "distance correlation",
        SZEKELY,
        {"kernel": "distance", "estimator": "biased", "transform": "root"},
    ),
    _entry(
        "distance_correlation_debiased",
        "squared distance correlation (bias-corrected)",
        "Székely & Rizzo 2014, doi:10.1214/14-AOS1255",
        {"kernel": "distance", "estimator": "debiased"},
        value_range=DEBIASED_RANGE,
    ),
)
