"""What are the layers like?"""

import pandas as pd

from rep_kedro.reporting.content import ReportContent
from rep_kedro.reporting.headlines import Undecided, rank_columns
from rep_kedro.reporting.names import written
from rep_kedro.reporting.page import Column, Section, Table, counted, list_in_words, make_table
from rep_kedro.reporting.run.absences import lack_in_words
from rep_kedro.reporting.tables import at_delta, in_order, nearest_delta, with_traits

LAYER_COLUMNS = {
    "model": Column("network"),
    "layer": Column("layer"),
    "depth": Column("depth", "count"),
    "n_channels": Column("channels", "count"),
    "n_samples": Column("samples", "count"),
    "intrinsic_dimension": Column("dimensions at δ", "count"),
    "saturation": Column("saturation", "percent", 1),
    "rankme": Column("RankMe", "number", 1),
    "effective_rank": Column("effective rank", "number", 1),
    "participation_ratio": Column("participation ratio", "number", 1),
    "two_nn_dimension": Column("TwoNN", "number", 1),
    "mle_dimension": Column("MLE dimension", "number", 1),
}
LEFT_OUT = {
    "saturation_history": "This run watched no training (training.grids: monitors).",
    "layer_probe_results": "This run probed no maps of layers (probing.layer_probes).",
    "projection_results": "This run projected no layers (diagnostics.projections).",
}
PROJECTION_COLUMNS = {
    "stimulus_set": Column("stimulus set"),
    "model": Column("network"),
    "layer": Column("layer (* for all)"),
    "directions": Column("directions"),
    "delta": Column("δ", "number", 4),
    "rule": Column("rule"),
    "dimension": Column("kept", "count"),
    "n_channels": Column("of", "count"),
    "accuracy": Column("accuracy", "percent", 1),
    "original_accuracy": Column("without projection", "percent", 1),
    "relative_accuracy": Column("relative", "percent", 1),
    "relative_low": Column("interval from", "percent", 1),
    "relative_high": Column("to", "percent", 1),
}
FIELD_COLUMNS = {
    "receptive_field_px": Column("receptive field (px)", "count"),
    "input_px": Column("input (px)", "count"),
}


def describe(content: ReportContent) -> list[Section]:
    """Say how saturated the layers are and which is the border layer."""
    diagnostics = content.table("layer_diagnostics")
    shown = diagnostics[diagnostics["stimulus_set"] == content.stimulus_set]
    shown = at_delta(shown, content.delta)
    delta = nearest_delta(shown, content.delta)
    what = (
        f"stimulus set {content.stimulus_set}; δ = {delta:g}; {counted(shown['model'].nunique(), 'network')}"
    )
    return [
        Section(
            anchor="layers",
            answers=[
                *saturation_in_words(with_traits(shown, content.table("model_cards"))),
                *border_in_words(content),
                *tails_in_words(content),
            ],
            notes=_notes(content, shown, delta),
            left_out=[sentence for name, sentence in LEFT_OUT.items() if not len(content.table(name))],
            figures=[
                content.block("saturation", what if len(shown) else "nothing"),
                content.block("saturation_history", _watched_in_words(content), is_folded=True),
                content.block("layer_profiles", what if len(shown) else "nothing"),
                content.block("position_maps", _positions_in_words(content), is_folded=True),
                content.block("projections", _projections_in_words(content), is_folded=True),
            ],
            tables=[*([_layer_table(content, shown)] if len(shown) else []), *_projection_tables(content)],
        )
    ]


def _notes(content: ReportContent, shown: pd.DataFrame, delta: float) -> list[str]:
    notes = []
    if not len(content.table("layer_diagnostics")):
        notes.append("This run made no table layer_diagnostics: the question stays unanswered.")
    elif not len(shown):
        notes.append(f"The table layer_diagnostics has no rows of the stimulus set {content.stimulus_set}.")
    elif delta != content.delta:
        notes.append(f"Saturation was not computed at δ = {content.delta:g}; shown is δ = {delta:g}.")
    if n_undefined := int(shown["saturation"].isna().sum()):
        notes.append(f"{n_undefined} of {len(shown)} saturations are undefined.")
    if not len(content.table("receptive_fields")):
        notes.append("This run made no table receptive_fields: no border layer is marked.")
    if not len(content.table("layer_tails")):
        why = lack_in_words(content, "layer_tails") or "This run made no table layer_tails:"
        notes.append(f"{why.rstrip('.:')}: no tail is marked.")
    return notes


def _projection_tables(content: ReportContent) -> list[Table]:
    results = content.table("projection_results")
    if not len(results):
        return []
    of = ["projection_results"]
    caption = "Networks whose layers are restricted to some directions"
    return [
        make_table(results, PROJECTION_COLUMNS, caption, most_rows=content.n_run_rows, is_folded=True, of=of)
    ]


def _watched_in_words(content: ReportContent) -> str:
    watched = content.table("saturation_history")["model"].nunique()
    return f"{counted(watched, 'watched network')} in evaluation mode; fewest directions that reach δ"


def _positions_in_words(content: ReportContent) -> str:
    probed = content.table("layer_probe_results").dropna(subset=["row"])
    layers = probed[["stimulus_set", "model", "layer"]].drop_duplicates()
    networks = counted(layers["model"].nunique(), "network")
    return f"{counted(len(probed), 'probe')} of positions of {counted(len(layers), 'layer')} in {networks}"


def _projections_in_words(content: ReportContent) -> str:
    results = content.table("projection_results")
    networks = counted(results["model"].nunique(), "network")
    return f"{counted(len(results), 'projection')} of {networks}"


def saturation_in_words(rows: pd.DataFrame) -> list[str]:
    """Name the fullest layer of each architecture, where that can be said."""
    sentences, open_ones = [], []
    for architecture, part in rows.groupby("architecture", sort=True):
        wide = part.pivot_table(index="model", columns="layer", values="saturation", sort=False)
        ranking = rank_columns(wide)
        name = written(str(architecture))
        if ranking is not None and ranking.is_open:
            open_ones.append(name)
        elif ranking is not None:
            sentences.append(
                ranking.in_words(
                    f"In {name}, the layer with the highest mean saturation is {{name}}",
                    f"In {name}, which layer has the highest mean saturation",
                    kind="percent",
                    digits=0,
                )
            )
    if open_ones:
        among = f"In {list_in_words(open_ones)}, which layer has the highest mean saturation"
        sentences.append(Undecided(f"{among} is undecided: none is clearly ahead."))
    return sentences


def border_in_words(content: ReportContent) -> list[str]:
    """Name the border layer of each architecture."""
    fields = content.table("receptive_fields")
    if not len(fields):
        return []
    fields = with_traits(fields[fields["reason"] == ""], content.table("model_cards"))
    borders = fields[fields["is_border"].astype(bool)]
    values = [
        f"{written(str(architecture))} at {list_in_words(in_order(part['layer']))}"
        for architecture, part in borders.groupby("architecture", sort=True)
    ]
    # Attention and gates see the whole image without a border among the windows.
    mixed = fields[fields["sees_whole_map"].astype(bool) & fields["largest_columns_px"].notna()]
    without = sorted(set(fields["architecture"]) - set(borders["architecture"]) - set(mixed["architecture"]))
    sentences = [f"Border layer: {list_in_words(values, 8)}."] if values else []
    if without:
        names = list_in_words([written(name) for name in without])
        sentences.append(f"In {names} no analysed layer comes after one that sees the whole image.")
    return sentences


def tails_in_words(content: ReportContent) -> list[str]:
    """Say in how many networks the tail begins before, at and behind the border."""
    tails = content.table("layer_tails")
    behind = tails.loc[tails["stimulus_set"] == content.stimulus_set, "layers_behind_border"].dropna()
    if not len(behind):
        return []
    places = [
        f"{int(found.sum())} {word}"
        for word, found in (("before", behind < 0), ("at", behind == 0), ("behind", behind > 0))
    ]
    n_networks = counted(len(behind), "network")
    return [
        f"Of {n_networks} with a tail and a border, the tail begins {list_in_words(places)} the border layer."
    ]


def _layer_table(content: ReportContent, shown: pd.DataFrame) -> Table:
    fields, columns = content.table("receptive_fields"), LAYER_COLUMNS
    if len(fields):
        sizes = fields[["model", "layer", *FIELD_COLUMNS]].drop_duplicates(["model", "layer"])
        shown = shown.merge(sizes, on=["model", "layer"], how="left")
        columns = {**LAYER_COLUMNS, **FIELD_COLUMNS}
    caption = f"Layer by layer on {content.stimulus_set}"
    of = ["layer_diagnostics", "receptive_fields"]
    return make_table(shown, columns, caption, most_rows=content.n_run_rows, is_folded=True, of=of)
