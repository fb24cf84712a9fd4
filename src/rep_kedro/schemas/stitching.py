"""Tables of the stitching pipeline."""

from rep_kedro.schemas.columns import (
    REASON,
    STIMULUS_SET,
    Column,
    count,
    flag,
    fraction,
    integer,
    number,
    text,
)
from rep_kedro.schemas.table import Table

MAP = text("map", "name of the map in `stitching.maps`")
CONTROL = text(
    "control",
    "what the front is: weights drawn again, noise, the end network itself; `none`: another network",
    values=("none", "self", "untrained", "noise"),
)
FRONT_LAYER = text("front_layer", "layer at which the network that begins ends")
END_LAYER = text("end_layer", "layer after which the other network goes on")
SEED = integer("seed", "of what is drawn for the map; 0 where nothing is")
FLATTEN = flag("flatten", "whether every value of a layer is mapped, not channels at each position")
PAIR = (
    STIMULUS_SET,
    text("front_model", "network whose front part, up to the layer, is used"),
    text("end_model", "network whose back part, after the layer, is used"),
)
_NOT_MEASURED = "not in `stitching.measures`, or undefined"
_NO_FRONT = "noise has no outputs"
_ONE_LABEL = "stimuli have one label each, or no test stimulus has one"


def _similarity(name: str, what: str) -> tuple[Column, ...]:
    return (
        number(f"{name}_before", f"{what} between the layers as they are", missing=_NOT_MEASURED),
        number(name, f"{what} between the stitched activations and the end's own", missing=_NOT_MEASURED),
    )


STITCHING_RESULTS = Table(
    "stitching_results",
    "One row for each stitch: a pair of networks, a map, a pair of layers and a seed.",
    key=(
        *("stimulus_set", "front_model", "end_model", "control", "map", "front_layer", "end_layer"),
        *("flatten", "seed"),
    ),
    columns=(
        *PAIR,
        CONTROL,
        MAP,
        FRONT_LAYER,
        END_LAYER,
        count("front_depth", "how many of the layers that are asked for come before `front_layer`"),
        count("depth", "how many of the layers that are asked for come before `end_layer`"),
        FLATTEN,
        SEED,
        fraction("front_accuracy", "test accuracy of `front_model`", missing=_NO_FRONT),
        fraction("end_accuracy", "test accuracy of `end_model`"),
        fraction(
            "stitched_accuracy",
            "test accuracy of the stitched network; of several labels of a stimulus any one is a hit, as in"
            " all columns of accuracies",
        ),
        number(
            "relative_accuracy",
            "`stitched_accuracy` divided by `end_accuracy`",
            low=0,
            missing="`end_accuracy` is 0",
        ),
        number(
            "low", "lower end of its interval over test stimuli (bootstrap)", low=0, missing="none asked for"
        ),
        number("high", "upper end of it", low=0, missing="none asked for"),
        fraction(
            "mean_average_precision",
            "of the stitched network: average precision, mean over the classes that occur",
            missing=_ONE_LABEL,
        ),
        fraction("end_mean_average_precision", "the same of `end_model`", missing=_ONE_LABEL),
        number("relative_mean_average_precision", "the former over the latter", low=0, missing=_ONE_LABEL),
        fraction(
            "agreement", "share of test stimuli on which the stitched network predicts what `end_model` does"
        ),
        number(
            "cross_entropy",
            "of the stitched network's outputs with those of `end_model`, nats; of several labels of a"
            " stimulus it and the divergences are sums over classes",
            low=0,
        ),
        number("class_averaged_cross_entropy", "`cross_entropy` divided by the number of classes", low=0),
        number("kl_divergence", "`cross_entropy` less the entropy of `end_model`'s outputs, nats"),
        number("js_divergence", "Jensen-Shannon divergence of both outputs, nats", low=0),
        count("n_both_right", "test stimuli that both the stitched network and `end_model` get right"),
        count("n_stitched_right", "test stimuli that the stitched network alone gets right"),
        count("n_end_right", "test stimuli that `end_model` alone gets right"),
        count("n_both_wrong", "test stimuli that neither gets right"),
        *_similarity("cka", "linear CKA (biased, every value a feature)"),
        *_similarity("svcca", "SVCCA (0.99 of the variance)"),
        *_similarity("pwcca", "projection-weighted CCA"),
        *_similarity("procrustes", "Procrustes similarity"),
        number(
            "joint_l2_before",
            "mean squared difference between the layers as they are",
            low=0,
            missing="layers of other widths",
        ),
        number("joint_l2", "mean squared difference between stitched and own activations", low=0),
        number(
            "logit_cka_before", "linear CKA of both networks' outputs", missing=f"{_NO_FRONT}, or undefined"
        ),
        number(
            "logit_cka", "linear CKA of the stitched network's outputs and `end_model`'s", missing="undefined"
        ),
        number(
            "logit_l2_before", "mean squared difference of both networks' outputs", low=0, missing=_NO_FRONT
        ),
        number("logit_l2", "the same of the stitched network and `end_model`", low=0),
        number(
            "mahalanobis",
            "squared distance of stitched activations from the end's own, per dimension: 1 for its own",
            low=0,
            missing="the end's layer does not vary",
        ),
        number(
            "map_r2",
            "share of the variance that the stitching map explains, test stimuli",
            high=1,
            missing="nothing varies",
        ),
        count("map_rank", "rank that the front's layer spans"),
        count("weight_rank", "numerical rank of the map's weight"),
        fraction("nonzero_fraction", "share of the weight's entries that are not zero"),
        number("ridge", "penalty of the weights that was used", low=0, missing="no least squares"),
        number("final_loss", "what the training minimised, mean of its last epoch", missing="not trained"),
        count("n_steps", "steps of the training", missing="not trained"),
        count("n_fit", "training stimuli that the map is found on"),
        count("n_test", "test stimuli"),
        REASON,
    ),
    empty_when="no two networks can be joined",
)

STITCHING_SUMMARY = Table(
    "stitching_summary",
    "One row for each map and pair of layers: mean and deviation over pairs of networks and seeds.",
    key=("stimulus_set", "control", "map", "front_layer", "end_layer", "flatten", "measure"),
    columns=(
        STIMULUS_SET,
        CONTROL,
        MAP,
        FRONT_LAYER,
        END_LAYER,
        FLATTEN,
        text("measure", "column of `stitching_results` that is averaged"),
        number("mean", "over pairs of networks and seeds"),
        number("deviation", "standard deviation over them", low=0, missing="a single stitch"),
        count("n", "stitches with a value"),
        count("n_seeds", "different seeds among them"),
        number("low", "lower end of the mean's interval over stitches", missing="a single stitch"),
        number("high", "upper end of it", missing="a single stitch"),
        number(
            "difference", "mean difference from `ps_inv`, same networks and layers", missing="no map `ps_inv`"
        ),
        number(
            "difference_low", "lower end of its interval over stitches", missing="fewer than 2 differences"
        ),
        number("difference_high", "upper end of it", missing="fewer than 2 differences"),
        count("n_differences", "stitches of which `ps_inv` has one of the same networks and layers"),
    ),
    empty_when="no two networks can be joined",
)

STITCH_PATHS = Table(
    "stitch_paths",
    "One row for each point of a straight path between two maps of the same layers.",
    key=(
        *("stimulus_set", "front_model", "end_model", "control", "from_map", "map", "front_layer"),
        *("end_layer", "flatten", "seed", "point"),
    ),
    columns=(
        *PAIR,
        CONTROL,
        text("from_map", "map at which the path begins"),
        text("map", "map at which it ends"),
        FRONT_LAYER,
        END_LAYER,
        FLATTEN,
        SEED,
        count("point", "place on the path, from 0"),
        fraction("position", "share of the way"),
        fraction("stitched_accuracy", "test accuracy with the map at this point"),
        number("relative_accuracy", "relative to `end_model`", low=0, missing="its accuracy is 0"),
        fraction("agreement", "share of test stimuli on which `end_model` predicts the same"),
        number("cross_entropy", "with the outputs of `end_model`, nats", low=0),
    ),
    empty_when="no map has `path_from`",
)

TABLES = (STITCHING_RESULTS, STITCHING_SUMMARY, STITCH_PATHS)
