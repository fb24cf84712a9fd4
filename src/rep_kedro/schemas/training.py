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

TABLES = (TRAINING_HISTORY,)
