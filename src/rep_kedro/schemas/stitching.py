"""Tables of the stitching pipeline."""

from rep_kedro.schemas.columns import DEPTH, LAYER, STIMULUS_SET, count, fraction, number, text
from rep_kedro.schemas.table import Table

STITCHING_RESULTS = Table(
    "stitching_results",
    "One row for each stitched pair of networks and layer.",
    key=("stimulus_set", "front_model", "end_model", "layer"),
    columns=(
        STIMULUS_SET,
        text("front_model", "network whose front part, up to the layer, is used"),
        text("end_model", "network whose back part, after the layer, is used"),
        LAYER,
        DEPTH,
        fraction("front_accuracy", "test accuracy of `front_model`"),
        fraction("end_accuracy", "test accuracy of `end_model`"),
        fraction("stitched_accuracy", "test accuracy of the stitched network"),
        number(
            "relative_accuracy",
            "`stitched_accuracy` divided by `end_accuracy`",
            low=0,
            missing="`end_accuracy` is 0",
        ),
        fraction(
            "agreement", "share of test stimuli on which the stitched network predicts what `end_model` does"
        ),
        number(
            "map_r2",
            "share of the variance that the stitching map explains, test stimuli",
            high=1,
            missing="nothing varies",
        ),
        count("n_fit", "training stimuli that the map is fitted on"),
        count("n_test", "test stimuli"),
    ),
    empty_when="no two networks can be joined",
)

TABLES = (STITCHING_RESULTS,)
