"""What can be read out of the networks?"""

import pandas as pd

from rep_kedro.reporting.content import ReportContent
from rep_kedro.reporting.figures.performance import written_r
from rep_kedro.reporting.names import written
from rep_kedro.reporting.page import Column, Section, Table, counted, list_in_words, make_table, write_number
from rep_kedro.reporting.tables import best_layers, pearson, rank_and_accuracy, with_traits

BEST_COLUMNS = {
    "stimulus_set": Column("stimulus set"),
    "model": Column("network"),
    "architecture": Column("architecture"),
    "objective": Column("objective"),
    "layer": Column("best layer"),
    "is_final": Column("final layer?", "truth"),
    "test_accuracy": Column("test accuracy", "percent", 1),
    "train_accuracy": Column("train accuracy", "percent", 1),
    "n_test": Column("test images", "count"),
    "n_classes": Column("classes", "count"),
}
BEST_NOTE = (
    "The best layer was picked by the accuracy shown, which is therefore a little too high; "
    "figures use the final layer."
)


def describe(content: ReportContent) -> list[Section]:
    """Say what linear probes read out of each network, and whether RankMe foretells it."""
    probes = content.table("probe_results")
    ranks = rank_and_accuracy(content.table("layer_diagnostics"), probes, content.delta)
    best = with_traits(best_layers(probes), content.table("model_cards"))
    notes = [] if len(probes) else ["This run made no table probe_results: the question stays unanswered."]
    n_undefined = int(probes["test_accuracy"].isna().sum())
    notes += [f"{n_undefined} of {len(probes)} probe accuracies are undefined."] if n_undefined else []
    shown = f"final layers; {counted(len(ranks), 'point')} in all; accuracy on test images"
    return [
        Section(
            anchor="readout",
            answers=[*best_in_words(best), *ranks_in_words(ranks)],
            notes=notes,
            figures=[content.block("figure_rankme", shown)],
            tables=[_best_table(best, content.n_run_rows)] if len(best) else [],
        )
    ]


def _best_table(best: pd.DataFrame, n_rows: int) -> Table:
    readable = best.assign(**{trait: best[trait].map(written) for trait in ("objective", "architecture")})
    caption = "Probe results: each network's best layer"
    return make_table(readable, BEST_COLUMNS, caption, most_rows=n_rows, note=BEST_NOTE)


def best_in_words(best: pd.DataFrame) -> list[str]:
    """Name the network and layer with the highest accuracy on each stimulus set."""
    told = []
    for name, part in best.groupby("stimulus_set", sort=True):
        top = part.iloc[0]
        accuracy = write_number(top["test_accuracy"], "percent", 1)
        told.append(f"{name} {accuracy} ({top['model']}, layer {top['layer']})")
    return [f"Best read-out: {list_in_words(told, 8)}."] if told else []


def ranks_in_words(ranks: pd.DataFrame) -> list[str]:
    """Give the correlation of RankMe with accuracy on each stimulus set."""
    told = [
        f"{name} ({written_r(pearson(part['rankme'], part['test_accuracy']))}, n\u00a0=\u00a0{len(part)})"
        for name, part in ranks.groupby("stimulus_set", sort=True)
    ]
    return [f"RankMe with probe accuracy: {list_in_words(told, 12)}."] if told else []
