"""Tables of the ingest pipeline."""

from rep_kedro.schemas.columns import STIMULUS_SET, count, text
from rep_kedro.schemas.table import Table

STIMULUS_CARDS = Table(
    "stimulus_cards",
    "One row for each stimulus set: where it is from, how large it is, what was left out.",
    key=("stimulus_set",),
    columns=(
        STIMULUS_SET,
        text("title", "title for readers, from the parameters", missing="none is given"),
        text("group", "group of stimulus sets, from the parameters", missing="none is given"),
        text("source", "reader that supplied the stimuli"),
        text("sha256", "digest of ids, images, labels and splits"),
        count("n_stimuli", "stimuli"),
        count("n_train", "stimuli of the training split"),
        count("n_test", "stimuli of the test split"),
        count("n_other", "stimuli of other splits"),
        text(
            "test_is",
            "where the test split is from",
            values=("test", "val", "drawn"),
            missing="no test split",
        ),
        count("n_classes", "classes with at least one stimulus"),
        count(
            "image_size_px", "side length of the images, px", missing="not all images are squares of one size"
        ),
        count("n_copies", "exact copies, beyond the first of each image"),
        count("n_copies_across_splits", "exact copies of training stimuli in other splits"),
        count("n_damaged", "images left out because they cannot be used"),
        count("n_left_out", "stimuli, or files of stimuli, that the parameters leave out"),
        count("n_ignored", "hidden files and files without stimuli"),
    ),
)

TABLES = (STIMULUS_CARDS,)
