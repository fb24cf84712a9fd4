"""Measures that look for a linear map from one model to another: CCA, Procrustes, shape, regression, GULP."""

from dataclasses import replace
from typing import Any

from rep_kedro.measures.families.linear_maps import compare
from rep_kedro.measures.measure import Family, FewestStimuli, Inference, Invariance, Json, Measure

SIMPLE = frozenset({Invariance.TRANSLATION, Invariance.UNIT_PERMUTATION})
SCALED = SIMPLE | {Invariance.ISOTROPIC_SCALING}
SIMILARITIES = SCALED | {Invariance.ROTATION}
SUBSPACES = SIMILARITIES | {Invariance.INVERTIBLE_LINEAR, Invariance.COLUMN_SCALING}

RAGHU = "Raghu et al. 2017, arXiv:1706.05806"
KORNBLITH = "Kornblith et al. 2019, arXiv:1905.00414, table 1"
WILLIAMS = "Williams et al. 2021, arXiv:2110.14739"
GULP = "Boix-Adsera et al. 2022, arXiv:2210.06545"
GULP_FORMULA = (
    "tr(A'A') + tr(B'B') − 2 tr((A + λ)⁻¹C(B + λ)⁻¹Cᵀ), A' = (A + λ)⁻¹A, B' = (B + λ)⁻¹B, of X₁√n and Y₁√n;"
    " λ: ridge"
)
PARTLY_WHITENED = "angular Procrustes of U(αS + 1 − α)Vᵀ instead of X = USVᵀ, α = 0 or 0.5, the same of Y"
HALF_PI = 1.5707963267948966
ROOT_TWO = 1.4142135623730951
UNBOUNDED = float("inf")

ANY = FewestStimuli()
SPACES_MEET = FewestStimuli(0, "ranks")  # subspaces of more ranks than stimuli have directions in common
COMPONENTS_MEET = FewestStimuli(0, "components")
CLOSER_FIT = Inference(
    is_biased=True,
    no_interval="no interval for linear maps: a resample has fewer different stimuli,"
    " which a map fits more closely",
)
FITS_ALL = FewestStimuli(2, "ranks", "row")  # a predictor of n - 1 ranks fits anything


def _entry(
    measure_id: str,
    title: str,
    source: str,
    *,
    formula: str,
    value_range: tuple[float, float] = (0.0, 1.0),
    invariances: frozenset[Invariance] = SIMILARITIES,
    symmetric: bool = True,
    fewest_stimuli: FewestStimuli = ANY,
    **parameters: Json,
) -> Measure:
    return Measure(
        id=measure_id,
        title=title,
        family=Family.LINEAR_MAP,
        runner=compare,
        source=source,
        formula=formula,
        value_range=value_range,
        larger_is_more_similar=True,
        invariances=invariances,
        symmetric=symmetric,
        fewest_stimuli=fewest_stimuli,
        inference=CLOSER_FIT if symmetric else None,
        parameters=parameters,
    )


def _distance(measure_id: str, title: str, source: str, *, largest: float, **facts: Any) -> Measure:
    entry = _entry(measure_id, title, source, value_range=(0.0, largest), **facts)
    return replace(entry, larger_is_more_similar=False)


ENTRIES = (
    _entry(
        "cca_mean",
        "Mean CCA",
        RAGHU,
        invariances=SUBSPACES,
        fewest_stimuli=SPACES_MEET,
        statistic="cca_mean",
        formula="mean of ρ, the singular values of QₓᵀQᵧ; Qₓ, Qᵧ: orthonormal bases of X, Y",
    ),
    _entry(
        "cca_mean_squared",
        "R²-CCA",
        KORNBLITH,
        invariances=SUBSPACES,
        fewest_stimuli=SPACES_MEET,
        statistic="cca_mean_squared",
        formula="mean of ρ², ρ as in cca_mean",
    ),
    _entry(
        "svcca_0.99",
        "SVCCA (99 % of variance)",
        RAGHU,
        fewest_stimuli=COMPONENTS_MEET,
        statistic="svcca",
        formula="mean CCA of the fewest principal components with 99 % of the variance of each",
        variance_fraction=0.99,
    ),
    _entry(
        "pwcca",
        "PWCCA (weights from the row)",
        "Morcos et al. 2018, arXiv:1806.05759, section 2.1",
        invariances=SCALED,
        symmetric=False,
        fewest_stimuli=SPACES_MEET,
        statistic="pwcca",
        formula="Σ αᵢ ρᵢ / Σ αᵢ; αᵢ = Σ |⟨hᵢ, column of X⟩|, hᵢ: canonical variates of X",
    ),
    _entry(
        "eigenspace_overlap",
        "Eigenspace overlap",
        "May et al. 2019, arXiv:1909.01264",
        invariances=SUBSPACES,
        fewest_stimuli=SPACES_MEET,
        statistic="eigenspace_overlap",
        formula="‖QₓᵀQᵧ‖² / max(rank X, rank Y)",
    ),
    _entry(
        "linear_regression_r2",
        "Linear regression R² (row predicts column)",
        KORNBLITH,
        symmetric=False,
        fewest_stimuli=FITS_ALL,
        statistic="linear_regression",
        formula="‖QₓQₓᵀY‖² / ‖Y‖²",
    ),
    _entry(
        "nbs",
        "Normalised Bures similarity",
        "Tang et al. 2020, arXiv:2003.11370",
        statistic="nbs",
        formula="‖X₁ᵀY₁‖₊",
    ),
    _distance(
        "procrustes",
        "Procrustes distance",
        WILLIAMS,
        largest=ROOT_TWO,
        statistic="procrustes",
        formula="min over R of ‖X₁R − Y₁‖ = √(2 − 2 ‖X₁ᵀY₁‖₊)",
    ),
    _distance(
        "procrustes_angular",
        "Angular Procrustes",
        WILLIAMS,
        largest=HALF_PI,
        statistic="procrustes_angular",
        formula="arccos ‖X₁ᵀY₁‖₊",
    ),
    _distance(
        "size_and_shape",
        "Size-and-shape distance",
        "Dryden & Mardia 2016, doi:10.1002/9781119072492, section 5.6",
        largest=UNBOUNDED,
        invariances=SIMPLE | {Invariance.ROTATION},
        statistic="size_and_shape",
        formula="min over R of ‖XR − Y‖",
    ),
    _distance(
        "shape_angular_0",
        "Shape distance (whitened)",
        WILLIAMS,
        largest=HALF_PI,
        invariances=SUBSPACES,
        fewest_stimuli=SPACES_MEET,
        statistic="shape_angular",
        formula=PARTLY_WHITENED,
        alpha=0.0,
    ),
    _distance(
        "shape_angular_0.5",
        "Shape distance (half whitened)",
        WILLIAMS,
        largest=HALF_PI,
        invariances=SIMPLE | {Invariance.ROTATION},
        statistic="shape_angular",
        formula=PARTLY_WHITENED,
        alpha=0.5,
    ),
    *(
        _distance(
            f"gulp_{ridge:g}",
            f"GULP (ridge {ridge:g})",
            GULP,
            largest=UNBOUNDED,
            statistic="gulp",
            formula=GULP_FORMULA,
            ridge=ridge,
        )
        for ridge in (1e-3, 1e-2, 1e-1, 1.0)
    ),
)
