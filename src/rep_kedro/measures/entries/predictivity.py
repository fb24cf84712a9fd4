"""Measures of how well one model predicts the features of another on held-out stimuli."""

from rep_kedro.measures.families.predictivity import compare
from rep_kedro.measures.measure import Family, FewestStimuli, Invariance, Json, Measure

N_FOLDS, SEED, N_COMPONENTS = 5, 0, 25
TWO_IN_EACH_FOLD = FewestStimuli(2 * N_FOLDS)
YAMINS = "Yamins et al. 2014, doi:10.1073/pnas.1403112111; Schrimpf et al. 2018, doi:10.1101/407007"
BEST, WORST = 1.0, -float("inf")

OF_EACH = frozenset({Invariance.TRANSLATION, Invariance.UNIT_PERMUTATION, Invariance.ISOTROPIC_SCALING})
OF_ALL = OF_EACH | {Invariance.ROTATION}


def _entry(
    measure_id: str,
    title: str,
    *,
    formula: str,
    average: str,
    invariances: frozenset[Invariance],
    smallest: float = WORST,
    **regression: Json,
) -> Measure:
    return Measure(
        id=measure_id,
        title=title,
        family=Family.PREDICTIVITY,
        runner=compare,
        source=YAMINS,
        formula=formula,
        value_range=(smallest, BEST),
        larger_is_more_similar=True,
        invariances=invariances,
        symmetric=False,
        fewest_stimuli=TWO_IN_EACH_FOLD,
        is_extreme_for_itself=False,  # noise in a model's weakest directions is not predicted
        parameters={"average": average, "n_folds": N_FOLDS, "seed": SEED, **regression},
    )


ENTRIES = (
    _entry(
        "ridge_r2",
        "Ridge predictivity (row predicts column, R² of all variance)",
        formula="1 − Σ |y − ŷ|² / Σ |y − mean y|² over held-out stimuli and features; ŷ: ridge from x, "
        "strength by generalised cross-validation",
        regression="ridge",
        average="all",
        invariances=OF_ALL,
    ),
    _entry(
        "ridge_r2_mean",
        "Ridge predictivity (row predicts column, mean R² of features)",
        formula="as ridge_r2 for each feature, then their mean; a strength for each feature",
        regression="ridge",
        average="each",
        invariances=OF_EACH,
    ),
    _entry(
        "pls_25_r2",
        "PLS predictivity (row predicts column, R² of all variance)",
        formula="as ridge_r2; ŷ: partial least squares with 25 components",
        regression="pls",
        n_components=N_COMPONENTS,
        average="all",
        invariances=OF_ALL,
    ),
    _entry(
        "ridge_r_mean",
        "Ridge predictivity (row predicts column, mean correlation of features)",
        formula="mean over features of the correlation of y − m with ŷ − m over held-out stimuli, m: mean y"
        " of the others; ŷ as in ridge_r2_mean",
        regression="ridge",
        average="correlation",
        invariances=OF_EACH,
        smallest=-1.0,
    ),
    _entry(
        "pls_25_r_mean",
        "PLS predictivity (row predicts column, mean correlation of features)",
        formula="as ridge_r_mean; ŷ: partial least squares with 25 components",
        regression="pls",
        n_components=N_COMPONENTS,
        average="correlation",
        invariances=OF_EACH,
        smallest=-1.0,
    ),
)
