"""Tables of layers compared with layers: their similarity, and the best match of each."""

from rep_kedro.schemas.columns import (
    DEPTH,
    LAYER,
    MEASURE,
    MODEL,
    REASON,
    STIMULUS_SET,
    WITH_REASON,
    Column,
    count,
    fraction,
    number,
    p_values,
    text,
)
from rep_kedro.schemas.table import Table

_DEPTH = "place of {} among the layers that are read, from the input, starting at 0"


def _layer_pair() -> tuple[Column, ...]:
    return tuple(
        column
        for side, order in (("a", "first"), ("b", "second"))
        for column in (
            text(f"model_{side}", f"network of the {order} layer"),
            text(f"layer_{side}", f"{order} layer; of a directed measure a is the one that is asked"),
            count(f"depth_{side}", _DEPTH.format(f"`layer_{side}`")),
        )
    )


def _chance(of: str, family: str) -> tuple[Column, ...]:
    """Declare what chance and resamples leave of the largest of several similarities."""
    return (
        number("similarity_low", "lower end of the bootstrap interval of this pair", missing=WITH_REASON),
        number("similarity_high", "upper end of the bootstrap interval of this pair", missing=WITH_REASON),
        fraction(
            "support", "share of the resamples in which the same pair is the best match", missing=WITH_REASON
        ),
        *p_values(family, f"p-value: the largest similarity {of} under permuted stimuli"),
        number(
            "threshold",
            f"value that the largest similarity {of} exceeds with chance `level` in unrelated networks; a"
            " distance stays below it",
            missing="no permutations",
        ),
        fraction(
            "calibrated",
            "share of the way from `threshold` to the largest similarity, or to distance 0; 0 where the"
            " threshold is not passed",
            missing="no permutations",
        ),
        count("n_compared", "pairs of layers of which it is the most similar one"),
        count("n_stimuli", "stimuli that were used"),
        count("n_permutations", "permutations"),
        count("n_bootstrap", "resamples"),
        REASON,
    )


LAYER_SIMILARITIES = Table(
    "layer_similarities",
    "One row for each stimulus set, measure and unordered pair of layers that was compared, of one network or"
    " of two; two rows for a directed measure.",
    key=("stimulus_set", "measure", "model_a", "layer_a", "model_b", "layer_b"),
    columns=(
        STIMULUS_SET,
        MEASURE,
        *_layer_pair(),
        number("similarity", "value of the measure; of a distance, the distance", missing=WITH_REASON),
        REASON,
    ),
    empty_when="no networks are chosen, or there is only one layer",
)

BEST_LAYER_MATCH = Table(
    "best_layer_match",
    "One row for each stimulus set, measure, layer and other network: the layer of the other network that is"
    " most similar to it.",
    key=("stimulus_set", "measure", "model", "layer", "other_model"),
    columns=(
        STIMULUS_SET,
        MEASURE,
        MODEL,
        LAYER,
        DEPTH,
        text("other_model", "network whose layers are searched"),
        text("best_layer", "its most similar layer; empty where no similarity is defined"),
        count("best_depth", _DEPTH.format("`best_layer`"), missing=WITH_REASON),
        count("deepest", "depth of the last layer of the other network that is compared"),
        number("similarity", "similarity of the two layers, or distance", missing=WITH_REASON),
        *_chance("over the layers of the other network", "all rows of the stimulus set and measure"),
    ),
    empty_when="layers of different networks are not compared",
)

SHARED_REPRESENTATIONS = Table(
    "shared_representations",
    "One row for each stimulus set, measure and pair of networks: their most similar pair of layers, tested"
    " against the most similar pair under permuted stimuli. Do they share a representation somewhere?",
    key=("stimulus_set", "measure", "model_a", "model_b"),
    columns=(
        STIMULUS_SET,
        MEASURE,
        text("model_a", "first network; of a directed measure the one that is asked"),
        text("model_b", "second network"),
        text("layer_a", "its layer in the most similar pair; empty where no similarity is defined"),
        count("depth_a", _DEPTH.format("`layer_a`"), missing=WITH_REASON),
        text("layer_b", "layer of the second network in that pair"),
        count("depth_b", _DEPTH.format("`layer_b`"), missing=WITH_REASON),
        number("similarity", "largest similarity, or smallest distance", missing=WITH_REASON),
        *_chance("over all pairs of layers", "the pairs of networks of the stimulus set and measure"),
    ),
    empty_when="layers of different networks are not compared",
)

TABLES = (LAYER_SIMILARITIES, BEST_LAYER_MATCH, SHARED_REPRESENTATIONS)
