"""Tables of the training pipeline."""

from rep_kedro.schemas.columns import (
    DEPTH,
    LAYER,
    MODEL,
    REASON,
    WITH_REASON,
    count,
    fraction,
    integer,
    number,
    text,
)
from rep_kedro.schemas.table import Table

TRAINING_HISTORY = Table(
    "training_history",
    "One row for each network trained here, epoch and metric.",
    key=("model", "epoch", "metric"),
    columns=(
        MODEL,
        text("architecture", "architecture of the network"),
        text("objective", "training objective"),
        integer("seed", "seed of initial weights and batches"),
        count("epoch", "epochs of training so far; 0 is before training"),
        text("metric", "what is measured: a loss, an accuracy, a rank"),
        number("value", "value of the metric"),
    ),
    empty_when="all networks are imported",
)

SATURATION_HISTORY = Table(
    "saturation_history",
    "One row for each watched network, layer, epoch, mode, share of variance and counting rule: dimensions of"
    " what the layer gives before any norm.",
    key=("model", "epoch", "layer", "mode", "delta", "rule"),
    columns=(
        MODEL,
        count("epoch", "epochs of training so far; 0 is before training"),
        LAYER,
        DEPTH,
        text(
            "mode",
            "`train`: over the steps of the epoch, while the weights change; `eval`: after it, in evaluation"
            " mode",
            values=("train", "eval"),
        ),
        fraction("delta", "share of the variance that the intrinsic dimension explains"),
        text(
            "rule",
            "`reach`: fewest components that explain `delta`; `delve`: as that library counts, usually one"
            " fewer",
            values=("reach", "delve"),
        ),
        count("n_features", "features: rows and columns of the covariance"),
        count("n_samples", "samples of the covariance: stimuli times positions read"),
        count("intrinsic_dimension", "principal components counted by `rule`", missing=WITH_REASON),
        fraction("saturation", "`intrinsic_dimension` divided by `n_features`", missing=WITH_REASON),
        number(
            "participation_ratio",
            "squared sum of the eigenvalues divided by the sum of their squares",
            low=0,
            missing=WITH_REASON,
        ),
        number("effective_rank", "exponential of the entropy of the eigenvalues", low=0, missing=WITH_REASON),
        number("stable_rank", "sum of the eigenvalues divided by the largest", low=0, missing=WITH_REASON),
        number(
            "two_nn_dimension",
            "TwoNN on stimuli, channels averaged over positions",
            low=0,
            missing="it was not asked for, mode `train`, or the column `reason` says why",
        ),
        REASON,
    ),
    empty_when="no entry of training.grids has the monitor saturation",
)

TRAINING_COSTS = Table(
    "training_costs",
    "One row for each network trained here: what the training cost.",
    key=("model",),
    columns=(
        MODEL,
        text("architecture", "architecture of the network"),
        count("n_parameters", "trainable numbers, without the projector of the objective"),
        count("macs_per_image", "multiply-accumulates of one forward pass for one image"),
        count("n_updates", "updates of the weights"),
        count("n_images_seen", "images in all forward passes of the training; views of one image count once"),
        number(
            "training_flops",
            "floating point operations of all steps: three forward passes each, two per multiply-accumulate;"
            " without evaluation, projector and second views",
            low=0,
        ),
        number(
            "memory_bytes",
            "predicted peak on one device: weights, gradients, averages, outputs of a batch, bytes",
            low=0,
        ),
        number(
            "measured_memory_bytes",
            "measured peak, bytes. On a GPU: the most that torch had allocated. On a CPU: by how much the"
            " memory of the process grew at most, with libraries loaded meanwhile, without decoded images;"
            " less than the training needs where it uses memory again that the process had freed. On several"
            " devices: of the first; after a stop: of the last part",
            low=0,
            missing=WITH_REASON,
        ),
        number(
            "seconds",
            "time of the training, snapshots included, without what a killed run took, s",
            low=0,
            missing="not computed on this machine",
        ),
        REASON,
    ),
    empty_when="all networks are imported",
)

NETWORK_SETTINGS = Table(
    "network_settings",
    "One row for each network trained here and setting: what it was trained with.",
    key=("model", "setting"),
    columns=(
        MODEL,
        text("setting", "name of the setting; parts of a nested one follow a dot, such as `schedule.epochs`"),
        text("value", "its value; numbers and lists as JSON"),
    ),
    empty_when="all networks are imported",
)

TABLES = (TRAINING_HISTORY, TRAINING_COSTS, NETWORK_SETTINGS, SATURATION_HISTORY)
