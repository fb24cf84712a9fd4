"""Tables of the probing pipeline."""

from rep_kedro.schemas.columns import (
    DEPTH,
    LAYER,
    MEASURE,
    MODEL,
    REASON,
    STIMULUS_SET,
    WITH_REASON,
    correlation,
    count,
    flag,
    fraction,
    integer,
    number,
    p_values,
    text,
    texts,
)
from rep_kedro.schemas.similarity import TRAITS_OF_PAIR
from rep_kedro.schemas.table import Table

_LABEL = text(
    "label", "label that is probed: its column in the table of labels, or `label` without such a table"
)

# of stored features; attentive probes are in LAYER_PROBE_RESULTS
SOLVERS = ("lbfgs", "adamw", "ridge", "knn", "prototype", "mlp")
_QUALITY = (
    fraction(
        "top5_accuracy", "share of test stimuli whose class is among five", missing="at most five classes"
    ),
    fraction(
        "balanced_accuracy",
        "mean over classes of the accuracy on their test stimuli",
        missing="stimuli have several labels",
    ),
    fraction(
        "calibration_error",
        "expected calibration error on test stimuli, 15 bins; of ridge that of the softmax of its outputs",
        missing="stimuli have several labels",
    ),
    fraction(
        "mean_average_precision",
        "mean over classes of the average precision on test stimuli",
        missing="stimuli have one label",
    ),
)

PROBE_RESULTS = Table(
    "probe_results",
    "One row for each layer: how well a probe reads the labels from it.",
    key=("stimulus_set", "model", "layer"),
    columns=(
        STIMULUS_SET,
        MODEL,
        LAYER,
        DEPTH,
        _LABEL,
        flag("is_final", "whether it is the network's final layer"),
        fraction("train_accuracy", "accuracy on training stimuli"),
        fraction(
            "validation_accuracy",
            "accuracy on held-out training stimuli, by which layers and networks are chosen; with several "
            "labels of a stimulus mean average precision",
            missing="no training stimuli are held out",
        ),
        fraction(
            "test_accuracy", "accuracy on test stimuli; of several labels of a stimulus any one is a hit"
        ),
        fraction("test_low", "lower end of its interval (Wilson, 95 %)"),
        fraction("test_high", "upper end of its interval"),
        *_QUALITY,
        text("solver", "how the probe was fitted", values=SOLVERS),
        number("weight_decay", "weight decay that was chosen", low=0, missing="the solver has none"),
        number("learning_rate", "learning rate that was chosen", low=0, missing="the solver has none"),
        count("n_neighbours", "number of neighbours that was chosen", missing="the solver has none"),
        text("metric", "what makes training stimuli near", missing="the solver has none"),
        text("weighting", "how neighbours vote; a number is a temperature", missing="the solver has none"),
        text(
            "convergence",
            "whether the fit reached its optimum, stopped before, or has none",
            values=("converged", "stopped", "no optimum"),
        ),
        count("n_seeds", "seeds with which the probe was made; other columns are of the first"),
        fraction("seeds_mean", "mean test accuracy of all seeds"),
        number("seeds_low", "lower end of its interval (Student, 95 %)", missing="there is one seed"),
        number("seeds_high", "upper end of its interval", missing="there is one seed"),
        integer("seed", "seed of held-out stimuli and batches"),
        count("n_train", "training stimuli, held-out ones included"),
        count("n_test", "test stimuli"),
        count("n_classes", "classes"),
    ),
    empty_when="no stimulus set has labels",
)

LAYER_PROBE_RESULTS = Table(
    "layer_probe_results",
    "One row for each probe of a map or tokens: pooled to few positions, of one position, or attentive.",
    key=("stimulus_set", "model", "layer", "readout"),
    columns=(
        STIMULUS_SET,
        MODEL,
        LAYER,
        count("depth", "place of the layer among all parts of the network, from the input; not consecutive"),
        text(
            "readout",
            "`4x4`: map averaged to at most 4 x 4 positions; `2,3`: row, column of one position; "
            "`attentive`: learned queries attend to all positions or tokens",
        ),
        count("row", "row of the position, from 0", missing="all positions have one probe"),
        count("column", "column of the position, from 0", missing="all positions have one probe"),
        count("height", "rows of positions: of the pooled map, or of all that have a probe; or tokens"),
        count("width", "columns of positions"),
        _LABEL,
        fraction("train_accuracy", "accuracy on training stimuli"),
        fraction(
            "validation_accuracy",
            "accuracy on held-out training stimuli, by which settings of an attentive probe are chosen",
            missing="nothing is held out",
        ),
        fraction("test_accuracy", "accuracy on test stimuli"),
        fraction("test_low", "lower end of its interval (Wilson, 95 %)"),
        fraction("test_high", "upper end of its interval"),
        number("weight_decay", "weight decay that was chosen", low=0, missing="nothing is chosen"),
        number("learning_rate", "learning rate that was chosen", low=0, missing="nothing is chosen"),
        flag(
            "converged",
            "whether the gradient is within the tolerance; false for attentive probes, which have none",
        ),
        count("n_iterations", "steps of the fit"),
        count("n_features", "features of the probe; of an attentive one, of each position or token"),
        count("n_train", "training stimuli"),
        count("n_test", "test stimuli"),
        count("n_classes", "classes"),
    ),
    empty_when="`probing.layer_probes` names no network",
)

PREDICTION_AGREEMENT = Table(
    "prediction_agreement",
    "One row for each stimulus set and pair of networks: do their final probes make the same predictions?",
    key=("stimulus_set", "model_a", "model_b"),
    columns=(
        STIMULUS_SET,
        text("model_a", "first network"),
        text("model_b", "second network"),
        count("n_test", "test stimuli"),
        fraction("accuracy_a", "test accuracy of `model_a`"),
        fraction("accuracy_b", "test accuracy of `model_b`"),
        fraction("disagreement", "share of test stimuli with different predictions"),
        fraction("disagreement_low_bound", "smallest disagreement that the two accuracies allow"),
        fraction("disagreement_high_bound", "largest disagreement that the two accuracies allow"),
        correlation("error_consistency", "Cohen's kappa of being right", missing=WITH_REASON),
        fraction(
            "jensen_shannon",
            "Jensen-Shannon divergence of the probabilities, mean over test stimuli, bit",
            missing=WITH_REASON,
        ),
        REASON,
        *TRAITS_OF_PAIR,
    ),
    empty_when="no stimulus set has labels, or there is only one network",
)

PERFORMANCE_GAPS = Table(
    "performance_gaps",
    "One row for each stimulus set and measure: do similar networks have similar accuracies?",
    key=("stimulus_set", "measure"),
    columns=(
        STIMULUS_SET,
        MEASURE,
        count("n_pairs", "pairs of networks with a similarity and two accuracies"),
        correlation(
            "pearson",
            "Pearson's r of similarity and absolute difference of the final probes' test accuracies",
            missing=WITH_REASON,
        ),
        correlation("spearman", "Spearman's rank correlation of the same", missing=WITH_REASON),
        correlation(
            "pearson_low",
            "lower end of the interval of `pearson`: bootstrap over networks",
            missing="no interval",
        ),
        correlation("pearson_high", "its upper end", missing="no interval"),
        *p_values(
            "the stimulus sets of the measure",
            "two-sided p-value of permuted names of networks",
            missing="no permutations, or no test",
        ),
        REASON,
    ),
    empty_when="there is only one network",
)

MODEL_SELECTION = Table(
    "model_selection",
    "One row for each chosen set of networks: accuracy of its ensemble, similarity of its members.",
    key=("stimulus_set", "measure", "strategy", "n_models", "draw"),
    columns=(
        STIMULUS_SET,
        text("measure", "id of the similarity measure whose clusters and similarities count"),
        text(
            "strategy",
            "how the set is chosen; accuracies for it are `validation_accuracy`",
            values=("top", "random", "best_of_each_cluster", "random_of_each_cluster", "within_one_cluster"),
        ),
        count("n_models", "networks in the set"),
        count("draw", "number of the draw, from 0"),
        texts("models", "names of the networks", missing=WITH_REASON),
        fraction(
            "mean_accuracy",
            "mean test accuracy of the networks' final probes",
            missing=WITH_REASON,
        ),
        fraction(
            "best_accuracy",
            "test accuracy of the network that is best on held-out stimuli",
            missing=WITH_REASON,
        ),
        fraction(
            "ensemble_accuracy",
            "test accuracy of the average of their probabilities",
            missing=WITH_REASON,
        ),
        fraction("ensemble_low", "lower end of its interval (Wilson, 95 %)", missing=WITH_REASON),
        fraction("ensemble_high", "upper end of its interval", missing=WITH_REASON),
        count("n_test", "test stimuli"),
        number("mean_similarity", "mean similarity of two networks of the set", missing=WITH_REASON),
        REASON,
    ),
    empty_when="no stimulus set has labels",
)

TABLES = (PROBE_RESULTS, LAYER_PROBE_RESULTS, PREDICTION_AGREEMENT, PERFORMANCE_GAPS, MODEL_SELECTION)
