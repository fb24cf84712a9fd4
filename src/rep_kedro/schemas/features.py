"""Tables of the features pipeline."""

from rep_kedro.schemas.columns import MODEL, count, fraction, integer, text
from rep_kedro.schemas.table import Table

MODEL_CARDS = Table(
    "model_cards",
    "One row for each network that has features, and for dissimilarities from a file: what it is.",
    key=("model",),
    columns=(
        MODEL,
        text("source", "where the network is from: `trained` here, or a library"),
        text("architecture", "class of architecture, as the network's entry says, else its name"),
        text("objective", "training objective; `untrained` for random weights"),
        integer("seed", "seed of initial weights and training", missing="not known"),
        text("trained_on", "training set", missing="untrained or not known"),
        count(
            "n_parameters",
            "parameters, of the image side where there is also a text side",
            missing="features or dissimilarities from a file",
        ),
        count(
            "n_flops",
            "floating-point operations for one stimulus, two for each multiply-accumulate",
            missing="they cannot be counted, or features or dissimilarities from a file",
        ),
        count("n_layers", "layers with features"),
        count("feature_width", "features of the final layer", missing="dissimilarities from a file"),
        fraction(
            "test_accuracy", "test accuracy on its own training set", missing="no head, or not trained here"
        ),
    ),
)

TABLES = (MODEL_CARDS,)
