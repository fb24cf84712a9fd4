"""What can be read out of the networks?"""

import math

import pandas as pd
from scipy.special import ndtri, stdtrit

from rep_kedro.kernels.statistics.families import LEVEL
from rep_kedro.reporting.content import ReportContent
from rep_kedro.reporting.headlines import rank_groups
from rep_kedro.reporting.names import written
from rep_kedro.reporting.page import (
    Column,
    Section,
    Table,
    counted,
    list_in_words,
    make_table,
    write_number,
    written_r,
)
from rep_kedro.reporting.readout.map_probes import ATTENTIVE, whole_maps
from rep_kedro.reporting.run.absences import absence_in_words
from rep_kedro.reporting.tables import best_layers, pearson, rank_and_accuracy, with_traits

BEST_COLUMNS = {
    "stimulus_set": Column("stimulus set"),
    "model": Column("network"),
    "architecture": Column("architecture"),
    "objective": Column("objective"),
    "layer": Column("chosen layer"),
    "is_final": Column("final layer?", "truth"),
    "validation_accuracy": Column("held-out accuracy", "percent", 1),
    "test_accuracy": Column("test accuracy", "percent", 1),
    "test_low": Column("interval from", "percent", 1),
    "test_high": Column("to", "percent", 1),
    "train_accuracy": Column("train accuracy", "percent", 1),
    "n_test": Column("test images", "count"),
    "n_classes": Column("classes", "count"),
}
MAP_COLUMNS = {
    "stimulus_set": Column("stimulus set"),
    "model": Column("network"),
    "layer": Column("layer"),
    "readout": Column("read-out"),
    "n_features": Column("features", "count"),
    "validation_accuracy": Column("held-out accuracy", "percent", 1, absent="–"),
    "test_accuracy": Column("test accuracy", "percent", 1),
    "test_low": Column("interval from", "percent", 1),
    "test_high": Column("to", "percent", 1),
    "learning_rate": Column("rate", "number", 4, absent="–"),
    "weight_decay": Column("decay", "number", 4, absent="–"),
    "n_train": Column("training images", "count"),
    "n_test": Column("test images", "count"),
}
BEST_NOTE = (
    "Layers are chosen by their accuracy on held-out training images; test images only evaluate them. "
    "The interval covers other test images (Wilson, 95 %). Figures use the final layer."
)


def describe(content: ReportContent) -> list[Section]:
    """Say what probes read out of each network, and whether RankMe predicts it."""
    probes = content.table("probe_results")
    ranks = rank_and_accuracy(content.table("layer_diagnostics"), probes, content.delta)
    best = with_traits(best_layers(probes), content.table("model_cards"))
    maps = whole_maps(content.table("layer_probe_results"))
    notes = absence_in_words(probes, content, "probe_results")
    n_undefined = int(probes["test_accuracy"].isna().sum())
    if len(probes) and not len(best):
        notes.append("No training images were held out: the layer with the best read-out is unknown.")
    notes += [f"{n_undefined} of {len(probes)} probe accuracies are undefined."] if n_undefined else []
    shown = f"final layers; {counted(len(ranks), 'point')} in all; accuracy on test images"
    return [
        Section(
            anchor="readout",
            answers=[*accuracies_in_words(best), *leaders_in_words(best)],
            details=[*ranks_in_words(ranks), *attentive_in_words(maps)],
            notes=notes,
            figures=[
                content.block("rankme", shown),
                content.block("map_probes", _maps_in_words(maps), is_folded=not len(maps)),
            ],
            tables=[
                *([_best_table(best, content.n_run_rows)] if len(best) else []),
                *([_maps_table(maps, content.n_run_rows)] if len(maps) else []),
            ],
        )
    ]


def _best_table(best: pd.DataFrame, n_rows: int) -> Table:
    readable = best.assign(**{trait: best[trait].map(written) for trait in ("objective", "architecture")})
    caption = "Probe results: of each network the layer that reads held-out images best"
    return make_table(readable, BEST_COLUMNS, caption, most_rows=n_rows, note=BEST_NOTE, of=["probe_results"])


def _maps_table(maps: pd.DataFrame, n_rows: int) -> Table:
    caption = "Probes of whole maps and tokens, averaged or attended to"
    of = ["layer_probe_results"]
    return make_table(maps, MAP_COLUMNS, caption, most_rows=n_rows, is_folded=True, of=of)


def _maps_in_words(maps: pd.DataFrame) -> str:
    networks = counted(maps["model"].nunique(), "network")
    return f"{counted(len(maps), 'probe')} of whole maps or tokens of {networks}"


def attentive_in_words(maps: pd.DataFrame) -> list[str]:
    """Count the layers where an attentive probe and the finest average of the same map are apart."""
    keys = ["stimulus_set", "model", "layer"]
    attentive = maps[maps["readout"] == ATTENTIVE]
    if not len(attentive):
        return []
    sentence = (
        f"{counted(len(attentive), 'layer')} {'was' if len(attentive) == 1 else 'were'} read by attention"
    )
    pooled = maps[maps["readout"] != ATTENTIVE].sort_values("n_features", kind="stable")
    finest = pooled.drop_duplicates(keys, keep="last")
    both = attentive.merge(finest, on=keys, suffixes=("", "_pooled"))
    if not len(both):
        return [f"{sentence}; none of them was also averaged, so that nothing is compared."]
    above = int((both["test_low"] > both["test_high_pooled"]).sum())
    below = int((both["test_high"] < both["test_low_pooled"]).sum())
    return [
        f"{sentence}. Of {len(both)} that were also averaged, attention reads more in {above} and less in "
        f"{below} than the finest average; in {len(both) - above - below} the 95 % intervals overlap."
    ]


def accuracies_in_words(best: pd.DataFrame) -> list[str]:
    """Give the mean test accuracy on each stimulus set, with its interval over networks and images."""
    values = []
    for name, part in best.groupby("stimulus_set", sort=True):
        mean, half = _mean_and_half_width(part)
        ends = [write_number(min(max(end, 0.0), 1.0), "percent", 1) for end in (mean - half, mean + half)]
        interval = "" if math.isnan(half) else f" (95 % interval {' to '.join(ends)})"
        values.append(f"{name} {write_number(mean, 'percent', 1)}{interval}")
    return (
        [f"Mean test accuracy of the chosen layers, over networks: {list_in_words(values, 8)}."]
        if values
        else []
    )


def _mean_and_half_width(part: pd.DataFrame) -> tuple[float, float]:
    """Return the mean accuracy, and half of its 95 % interval, for other networks and images."""
    accuracy = part["test_accuracy"].astype("float64")
    mean, n_images = float(accuracy.mean()), int(part["n_test"].min())
    if len(accuracy) < 2:
        return mean, math.nan
    of_networks = float(stdtrit(len(accuracy) - 1, 0.975)) * math.sqrt(float(accuracy.var()) / len(accuracy))
    of_images = float(ndtri(0.975)) * math.sqrt(mean * (1 - mean) / n_images)
    return mean, math.hypot(of_networks, of_images)


def leaders_in_words(best: pd.DataFrame) -> list[str]:
    """Name the objective whose networks read out best on each stimulus set, where that can be said."""
    sentences = []
    parts = [(str(name), part) for name, part in best.groupby("stimulus_set", sort=True)]
    for name, part in parts:
        ranking = rank_groups(
            part["test_accuracy"].astype("float64"),
            part["objective"].map(written),
            n_images=int(part["n_test"].min()),
            level=LEVEL / len(parts),
        )
        if ranking is not None:
            sentences.append(
                ranking.in_words(
                    f"On {name}, the training objective with the highest mean accuracy is {{name}}",
                    f"On {name}, which training objective has the highest mean accuracy",
                    kind="percent",
                    digits=1,
                )
            )
    return sentences


def ranks_in_words(ranks: pd.DataFrame) -> list[str]:
    """Give the correlation of RankMe with accuracy on each stimulus set."""
    values = [
        f"{name} ({written_r(pearson(part['rankme'], part['test_accuracy']))}, n\u00a0=\u00a0{len(part)})"
        for name, part in ranks.groupby("stimulus_set", sort=True)
    ]
    return [f"Correlation of RankMe with probe accuracy: {list_in_words(values, 12)}."] if values else []
