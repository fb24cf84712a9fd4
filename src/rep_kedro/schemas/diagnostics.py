"""Tables of the diagnostics pipeline."""

from rep_kedro.schemas.columns import (
    DEPTH,
    LAYER,
    MODEL,
    REASON,
    STIMULUS_SET,
    WITH_REASON,
    count,
    flag,
    fraction,
    integer,
    number,
    text,
)
from rep_kedro.schemas.table import Table

_CONSTANT = "the layer does not vary; the log says why"

LAYER_DIAGNOSTICS = Table(
    "layer_diagnostics",
    "One row for each layer and share of variance: what the layer's spectrum says about its dimension.",
    key=("stimulus_set", "model", "layer", "delta"),
    columns=(
        STIMULUS_SET,
        MODEL,
        LAYER,
        DEPTH,
        count("n_channels", "channels: rows and columns of the covariance"),
        count("n_samples", "samples of the covariance: stimuli, or stimuli times positions"),
        fraction("delta", "share of the variance that the intrinsic dimension explains"),
        count(
            "intrinsic_dimension",
            "principal components that explain `delta` of the variance",
            missing=_CONSTANT,
        ),
        fraction("saturation", "`intrinsic_dimension` divided by `n_channels`", missing=_CONSTANT),
        number(
            "rankme",
            "RankMe: exponential of the entropy of the features' singular values, uncentred",
            low=0,
            missing="all features are zero",
        ),
        number(
            "effective_rank",
            "exponential of the entropy of the covariance's eigenvalues",
            low=0,
            missing=_CONSTANT,
        ),
        number(
            "participation_ratio",
            "squared sum of the covariance's eigenvalues divided by the sum of their squares",
            low=0,
            missing=_CONSTANT,
        ),
        number(
            "two_nn_dimension",
            "TwoNN: intrinsic dimension from the distances of stimuli to their two nearest neighbours",
            low=0,
            missing="fewer than 3 stimuli differ, or neighbours are equally far",
        ),
        number(
            "mle_dimension",
            "intrinsic dimension from the distances of stimuli to 10 to 20 neighbours, by maximum likelihood",
            low=0,
            missing="fewer than 21 stimuli differ, or neighbours are equally far",
        ),
    ),
)

_WINDOWS = "every path reads a whole map, or the column `reason` says why"
_FEASIBLE = "the network reads no windows, or an operator of it cannot be followed"

RECEPTIVE_FIELDS = Table(
    "receptive_fields",
    "One row for each layer that is read: what one position of the layer sees of the image.",
    key=("model", "layer"),
    columns=(
        MODEL,
        LAYER,
        DEPTH,
        count("receptive_field_px", "width of the receptive field over all paths, px", missing=WITH_REASON),
        count("jump_px", "distance of neighbouring positions along columns, px", missing=WITH_REASON),
        count("input_px", "side length of the input image, px"),
        flag("is_border", "whether it is the first layer whose input already sees the whole image"),
        flag("is_beyond_border", "whether it is that layer or a later one"),
        count("largest_rows_px", "height of the receptive field through windows alone, px", missing=_WINDOWS),
        count(
            "largest_columns_px", "width of the receptive field through windows alone, px", missing=_WINDOWS
        ),
        count(
            "smallest_rows_px", "height of it along the path on which it is smallest, px", missing=_WINDOWS
        ),
        count(
            "smallest_columns_px", "width of it along the path on which it is smallest, px", missing=_WINDOWS
        ),
        count("jump_rows_px", "distance of neighbouring positions along rows, px", missing=WITH_REASON),
        flag("sees_whole_map", "whether a path reads a whole map: global pooling, a gate or attention"),
        flag(
            "is_unproductive",
            "whether all that the layer reads sees the image along every path, or its map is not larger than"
            " its windows",
        ),
        flag("is_critical", "whether it sees the image along every path, and is not unproductive"),
        count(
            "smallest_input_px",
            "of the network: smallest side of images that uses all growth of the receptive field, px",
            missing=_FEASIBLE,
        ),
        count(
            "lower_bound_input_px",
            "of the network: smallest side at which no layer with windows is unproductive, px",
            missing=_FEASIBLE,
        ),
        count(
            "largest_input_px",
            "of the network: largest side that a position sees as a whole through windows, px",
            missing=_FEASIBLE,
        ),
        REASON,
    ),
    empty_when="all networks are features or dissimilarities from files",
)

PROJECTION_RESULTS = Table(
    "projection_results",
    "One row for each network, projected layer, kind of directions, share of variance and counting rule: what"
    " the network can do with the kept directions.",
    key=("stimulus_set", "model", "layer", "directions", "delta", "rule"),
    columns=(
        STIMULUS_SET,
        MODEL,
        text("layer", "the layer whose output is projected; `*` for all layers at once"),
        text(
            "directions",
            "`leading` ones of the covariance, or as many `random` ones",
            values=("leading", "random"),
        ),
        flag("is_centred", "whether projections are around the mean, of the covariance; else around zero"),
        fraction("delta", "share of the variance that is kept"),
        text("rule", "how directions are counted, as in `saturation_history`", values=("reach", "delve")),
        count("dimension", "directions that are kept, summed over layers", missing=WITH_REASON),
        count("n_channels", "all directions, summed over layers"),
        fraction("accuracy", "share of test stimuli that it gets right", missing=WITH_REASON),
        number("loss", "mean cross-entropy, nats", low=0, missing=WITH_REASON),
        number("relative_accuracy", "`accuracy` divided by `original_accuracy`", low=0, missing=WITH_REASON),
        number(
            "relative_low",
            "lower end of its interval over test stimuli (score, 95 %)",
            low=0,
            missing=WITH_REASON,
        ),
        number("relative_high", "upper end of it", low=0, missing=WITH_REASON),
        count(
            "n_both_right",
            "test stimuli that it gets right with and without the projection",
            missing=WITH_REASON,
        ),
        fraction("original_accuracy", "accuracy of the network as it is"),
        number("original_loss", "loss of the network as it is", low=0),
        count("n_fit", "training stimuli of the covariance"),
        count("n_test", "test stimuli"),
        REASON,
    ),
    empty_when="diagnostics.projections.models names no network",
)

_NO_BORDER = "no layer that is read is behind the border"
_ONE_SEED = "no other network differs in the seed alone, or none has a tail"

LAYER_TAILS = Table(
    "layer_tails",
    "One row for each stimulus set and network with probes: from which layer on probes gain nothing.",
    key=("stimulus_set", "model"),
    columns=(
        STIMULUS_SET,
        MODEL,
        fraction("epsilon", "gain in accuracy below which a layer and all behind it are the tail"),
        count("n_layers", "layers with a probe"),
        fraction("best_accuracy", "highest test accuracy of a probe on one of its layers"),
        text("tail_layer", "first layer of the tail", missing=WITH_REASON),
        count("tail_depth", "its place among the layers that are read", missing=WITH_REASON),
        count("n_seeds", "networks of its kind, which differ in the seed alone, itself included"),
        count("tail_depth_min", "smallest `tail_depth` of these networks", missing=_ONE_SEED),
        count("tail_depth_max", "largest `tail_depth` of these networks", missing=_ONE_SEED),
        text("border_layer", "first layer that is read behind the border", missing=_NO_BORDER),
        count("border_depth", "its place among the layers that are read", missing=_NO_BORDER),
        integer(
            "layers_behind_border",
            "`tail_depth` - `border_depth`: 0 where the tail begins at the border, negative before it",
            missing="there is no tail or no border",
        ),
        REASON,
    ),
    empty_when="no stimulus set has labels",
)

LABEL_FREE_MEASURES = Table(
    "label_free_measures",
    "One row for each network, stimulus set and measure that needs no labels, of the network's final layer.",
    key=("stimulus_set", "model", "space", "measure"),
    columns=(
        STIMULUS_SET,
        MODEL,
        text("space", "what is measured", values=("representation", "embedding")),
        LAYER,
        text("measure", "name of the measure"),
        number("value", "its value", missing=WITH_REASON),
        count("n", "stimuli"),
        count("k", "features"),
        text("settings", "constants that the value depends on, as JSON"),
        text(
            "caution",
            "why the value cannot be compared with that of another network, or says little; else empty",
        ),
        REASON,
    ),
)

TABLES = (LAYER_DIAGNOSTICS, RECEPTIVE_FIELDS, PROJECTION_RESULTS, LAYER_TAILS, LABEL_FREE_MEASURES)
