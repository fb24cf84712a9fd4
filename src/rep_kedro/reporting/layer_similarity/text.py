"""Do networks share a representation somewhere?"""

import pandas as pd

from rep_kedro.kernels.statistics.families import LEVEL
from rep_kedro.reporting.certainty.chance import hopeless_in_words, split_tests
from rep_kedro.reporting.content import ReportContent
from rep_kedro.reporting.page import Column, Section, Table, counted, list_in_words, make_table
from rep_kedro.reporting.run.absences import undefined_in_words
from rep_kedro.reporting.tables import chosen_stimulus_set, in_order

FIRM = 0.95  # share of the resamples in which a match that is called firm is the best one
TABLES = ("layer_similarities", "best_layer_match", "shared_representations")
CHANCE_COLUMNS = {
    "similarity": Column("similarity", "number"),
    "similarity_low": Column("interval from", "number", absent="–"),
    "similarity_high": Column("to", "number", absent="–"),
    "support": Column("best in resamples", "percent", 0, absent="–"),
    "threshold": Column("chance stays below", "number", absent="–"),
    "p_adjusted": Column("p, corrected", "number", absent="–"),
}
NO_LAYERS = "This run compared no layers (layer_similarity.models)."
NETWORK_COLUMNS = {
    "stimulus_set": Column("stimulus set"),
    "model_a": Column("network"),
    "layer_a": Column("layer"),
    "model_b": Column("other network"),
    "layer_b": Column("its layer"),
    **CHANCE_COLUMNS,
}
LAYER_COLUMNS = {
    "model": Column("network"),
    "layer": Column("layer"),
    "other_model": Column("other network"),
    "best_layer": Column("best match"),
    **CHANCE_COLUMNS,
}


def describe(content: ReportContent) -> list[Section]:
    """Say which networks share a representation, and how firm the matches of layers are."""
    networks = content.of_measure("shared_representations")
    layers = content.of_measure("best_layer_match")
    stimulus_set = chosen_stimulus_set(content.stimulus_set, layers)
    shown = layers[layers["stimulus_set"] == stimulus_set]
    similarities = content.of_measure("layer_similarities")
    n_layers = len(
        pd.concat(
            [
                similarities[[f"model_{side}", f"layer_{side}"]].set_axis(["model", "layer"], axis=1)
                for side in ("a", "b")
            ]
        ).drop_duplicates()
    )
    return [
        Section(
            anchor="layer_similarity",
            answers=shared_in_words(networks),
            details=support_in_words(layers),
            notes=[
                *undefined_in_words(networks, "similarity", "closest pairs of layers"),
                *_absence(content),
            ],
            left_out=_left_out(content),
            figures=[
                content.block("layer_similarity", f"measure {content.measure}; {counted(n_layers, 'layer')}"),
                content.block(
                    "best_layer_match",
                    f"measure {content.measure}; "
                    + (f"stimulus set {stimulus_set}" if stimulus_set is not None else "nothing"),
                ),
            ],
            tables=_tables(content, networks, shown),
        )
    ]


def shared_in_words(networks: pd.DataFrame) -> list[str]:
    """Count, per stimulus set, the pairs of networks whose most similar layers are beyond chance."""
    tested, able = split_tests(networks)
    values = []
    for name, part in able.groupby("stimulus_set", sort=True):
        n_beyond = int((part["p_adjusted"] <= LEVEL).sum())
        values.append(f"{n_beyond:,} of {counted(len(part), 'pair')} on {name}")
    sentences = []
    if values:
        sentences.append(
            f"Pairs of networks that share a representation somewhere: {list_in_words(values)}. Their "
            "closest layers are more similar than the closest ones are for stimuli matched at random "
            f"(p ≤ {LEVEL}, corrected for the pairs of networks)."
        )
    return sentences + hopeless_in_words(tested, able, "closest pairs of layers")


def support_in_words(layers: pd.DataFrame) -> list[str]:
    """Say for how many layers the best match does not depend on the choice of stimuli."""
    known = layers.dropna(subset=["support"])
    several = known[known["n_compared"] > 1]
    if not len(several):
        return []
    n_firm, n_bootstrap = int((several["support"] >= FIRM).sum()), int(several["n_bootstrap"].min())
    return [
        f"For {n_firm:,} of {len(several):,} layers and other networks the same layer is the best match in "
        f"at least {FIRM:.0%} of {n_bootstrap} resamples of the stimuli; for the others it cannot be "
        "said which layer matches best."
    ]


def _left_out(content: ReportContent) -> list[str]:
    """Say which networks take part where not all do, or that none does."""
    compared = content.table("layer_similarities")
    if not len(compared):
        return [NO_LAYERS]
    pairs = content.table("similarities")
    n_networks = len(set(pairs["model_a"]) | set(pairs["model_b"]))
    names = sorted(set(compared["model_a"]) | set(compared["model_b"]))
    if len(names) >= n_networks:
        return []
    return [
        f"Layers of {len(names)} of {n_networks} networks are compared: {list_in_words(names)}"
        " (layer_similarity.models and .max_models choose them)."
    ]


def _absence(content: ReportContent) -> list[str]:
    """Say which tables have nothing to show though layers were compared."""
    empty = [name for name in TABLES if not len(content.of_measure(name))]
    if "layer_similarities" in empty:
        if not len(content.table("layer_similarities")):
            return []
        known = ", ".join(in_order(content.table("layer_similarities")["measure"]))
        return [f"The table layer_similarities has no rows of the measure {content.measure}; it has {known}."]
    return [
        f"This run made no rows of the table {name}: layers of different networks were not matched."
        for name in empty
    ]


def _tables(content: ReportContent, networks: pd.DataFrame, shown: pd.DataFrame) -> list[Table]:
    tables = []
    if len(networks):
        ordered = networks.sort_values("calibrated", ascending=False, kind="stable")
        tables.append(
            make_table(
                ordered, NETWORK_COLUMNS, f"Closest layers of each two networks ({content.measure})",
                most_rows=content.n_run_rows, is_folded=True,
            )
        )  # fmt: skip
    if len(shown):
        name = shown["stimulus_set"].iloc[0]
        tables.append(
            make_table(
                shown, LAYER_COLUMNS, f"Best match of each layer on {name} ({content.measure})",
                most_rows=content.n_run_rows, is_folded=True,
            )
        )  # fmt: skip
    return tables
