"""Tables of pairs of networks: their similarity, and how sure it is."""

from rep_kedro.schemas.columns import (
    MEASURE,
    REASON,
    STIMULUS_SET,
    WITH_REASON,
    correlation,
    count,
    flag,
    fraction,
    number,
    p_values,
    text,
)
from rep_kedro.schemas.table import Table

PAIR = (
    text("model_a", "first network; of a directed measure the one that is asked"),
    text("model_b", "second network"),
)
TRAITS = ("objective", "architecture")
TRAITS_OF_PAIR = tuple(
    text(f"{trait}_{side}", f"{trait} of `model_{side}`") for trait in TRAITS for side in ("a", "b")
)

SIMILARITIES = Table(
    "similarities",
    "One row for each stimulus set, measure and unordered pair of networks; two for a directed measure.",
    key=("stimulus_set", "measure", "model_a", "model_b"),
    columns=(
        STIMULUS_SET,
        MEASURE,
        *PAIR,
        number("similarity", "value of the measure; of a distance, the distance", missing=WITH_REASON),
        REASON,
        *TRAITS_OF_PAIR,
    ),
    empty_when="there is only one network",
)

SIMILARITY_INFERENCE = Table(
    "similarity_inference",
    "One row for each stimulus set, measure and pair of networks: comparison with chance, and an interval.",
    key=("stimulus_set", "measure", "model_a", "model_b"),
    columns=(
        STIMULUS_SET,
        MEASURE,
        *PAIR,
        number("similarity", "value on the stimuli that were used", missing=WITH_REASON),
        flag("is_biased", "whether the value depends on the number of stimuli"),
        number("standard_error", "jackknife standard error", low=0, missing="not debiased linear CKA"),
        number("similarity_low", "lower end of the bootstrap interval over stimuli", missing=WITH_REASON),
        number("similarity_high", "upper end of the bootstrap interval over stimuli", missing=WITH_REASON),
        text("interval_covers", "what the interval is for; empty without one"),
        *p_values("the pairs of the stimulus set and measure", "p-value of permuted stimuli"),
        number("null_mean", "mean value of unrelated networks", missing="no permutations"),
        number(
            "threshold",
            "value that an unrelated pair exceeds with chance `level`; a distance stays below it",
            missing="no permutations",
        ),
        fraction(
            "calibrated",
            "share of the way from `threshold` to the largest similarity, or to distance 0;"
            " 0 where the threshold is not passed",
            missing="no permutations",
        ),
        count("n_stimuli", "stimuli that were used"),
        count("n_permutations", "permutations"),
        count("n_bootstrap", "resamples"),
        REASON,
    ),
    empty_when="neither permutations nor resamples are asked for, or there is only one network",
)

SAMPLE_SIZES = Table(
    "sample_sizes",
    "One row for each stimulus set, measure and number of stimuli: similarities on that many stimuli.",
    key=("stimulus_set", "measure", "n_stimuli"),
    columns=(
        STIMULUS_SET,
        MEASURE,
        count("n_stimuli", "stimuli"),
        count("n_orders", "orders of the stimuli"),
        count("n_pairs", "pairs of networks with a similarity on every number of stimuli"),
        number("mean_similarity", "mean over pairs of networks and orders", missing=WITH_REASON),
        number("first_quartile", "first quartile over pairs and orders", missing=WITH_REASON),
        number("third_quartile", "third quartile over pairs and orders", missing=WITH_REASON),
        number(
            "mean_change",
            "mean absolute difference from the largest number of stimuli",
            low=0,
            missing=WITH_REASON,
        ),
        number("largest_change", "largest absolute difference from it", low=0, missing=WITH_REASON),
        correlation(
            "pearson_with_all",
            "Pearson's r with the similarities on the largest number, over pairs; mean over orders",
            missing=WITH_REASON,
        ),
        REASON,
    ),
    empty_when="no orders of the stimuli are asked for",
)

NOISE_CEILINGS = Table(
    "noise_ceilings",
    "One row for each stimulus set, measure and kind of network that is there with several seeds.",
    key=("stimulus_set", "measure", "source", "architecture", "objective", "trained_on"),
    columns=(
        STIMULUS_SET,
        MEASURE,
        text("source", "where the networks are from"),
        text("architecture", "their architecture"),
        text("objective", "their training objective"),
        text("trained_on", "their training set", missing="untrained or not known"),
        count("n_repeats", "networks that differ in their seed alone, copies counted once"),
        number("ceiling_low", "lower bound of the noise ceiling", missing=WITH_REASON),
        number("ceiling_high", "upper bound of the noise ceiling", missing=WITH_REASON),
        number(
            "others_mean",
            "mean similarity of the repeats with networks of other kinds",
            missing="none is defined",
        ),
        number("others_largest", "largest of these similarities", missing="none is defined"),
        REASON,
    ),
    empty_when="no two networks differ in their seed alone",
)

TABLES = (SIMILARITIES, SIMILARITY_INFERENCE, SAMPLE_SIZES, NOISE_CEILINGS)
