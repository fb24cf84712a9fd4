"""RSA with a weight for each feature of the predicting model."""

from rep_kedro.measures.families.reweighting import compare
from rep_kedro.measures.measure import Family, FewestStimuli, Invariance, Measure

N_FOLDS, SEED, FEWEST_IN_FOLD = 5, 0, 2

ENTRIES = (
    Measure(
        id="rsa_reweighted",
        title="Feature-reweighted RSA (row predicts column)",
        family=Family.REWEIGHTING,
        runner=compare,
        source="Kaniuth & Hebart 2022, doi:10.1016/j.neuroimage.2022.119294",
        formula="correlation of Σ w_f (x_if − x_jf)² with |y_i − y_j|² over pairs in held-out folds; w ≥ "
        "0: least squares on the "
        "others, ridge 1e-6",
        value_range=(-1.0, 1.0),
        larger_is_more_similar=True,
        invariances=frozenset(
            {Invariance.TRANSLATION, Invariance.UNIT_PERMUTATION, Invariance.ISOTROPIC_SCALING}
        ),
        symmetric=False,
        fewest_stimuli=FewestStimuli(N_FOLDS * FEWEST_IN_FOLD),
        is_extreme_for_itself=False,  # weights of a model's own features are one but for the ridge
        parameters={"n_folds": N_FOLDS, "seed": SEED},
    ),
)
