"""Tables of the training pipeline."""

from rep_kedro.schemas.columns import MODEL, count, integer, number, text
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
            "memory_bytes", "predicted peak: weights, gradients, averages, outputs of a batch, bytes", low=0
        ),
        number(
            "seconds",
            "time of the training, snapshots included, without what a killed run took, s",
            low=0,
            missing="not computed on this machine",
        ),
    ),
    empty_when="all networks are imported",
)

TABLES = (TRAINING_HISTORY, TRAINING_COSTS)
