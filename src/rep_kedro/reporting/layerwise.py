"""Sections: what can be read out, what are the layers like, can one network go on from another?"""

import pandas as pd

from rep_kedro.reporting.content import ReportContent
from rep_kedro.reporting.figures import layers as layer_figures
from rep_kedro.reporting.figures import performance as performance_figures
from rep_kedro.reporting.figures.performance import written_r
from rep_kedro.reporting.page import Column, Section, list_in_words, make_table, write_number
from rep_kedro.reporting.style import written
from rep_kedro.reporting.tables import (
    at_delta,
    best_layers,
    final_layers,
    in_order,
    nearest_delta,
    pearson,
    rank_and_accuracy,
    trait_of,
    with_traits,
)


def describe_readout(content: ReportContent) -> Section:
    """Say what linear probes read out of each network, and whether RankMe foretells it."""
    probes = content.table("probe_results")
    ranks = rank_and_accuracy(content.table("layer_diagnostics"), probes, content.delta)
    best = with_traits(best_layers(probes), content.table("model_cards"))
    notes = [] if len(probes) else ["This run made no table probe_results: the question stays unanswered."]
    n_undefined = int(probes["test_accuracy"].isna().sum())
    notes += [f"{n_undefined} of {len(probes)} probe accuracies are undefined."] if n_undefined else []
    return Section(
        anchor="readout",
        question="What can be read out of the networks?",
        why="A probe is a linear classifier trained on one layer of a network that itself stays as it is. Its "
        "accuracy on images not used in training says what that layer makes easy to read.",
        answers=[*best_in_words(best), *ranks_in_words(ranks)],
        notes=notes,
        figures=[
            content.block(
                "figure_rankme",
                title=performance_figures.RANK_TITLE,
                reading="Each mark is a network. RankMe counts the dimensions that the final layer's features "
                "really use; it needs no labels. If marks rise to the right, RankMe tells which network reads out "
                "better.",
                shown=f"final layers; {len(ranks)} points; accuracy on test images",
                misleads="RankMe was proposed to compare runs of one training method; across objectives and "
                "widths a higher value need not be better. It is at most the number of features or images. Few "
                "points: r swings.",
            )
        ],
        tables=[
            make_table(
                best.assign(objective=best["objective"].map(written), architecture=best["architecture"].map(written)),
                {
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
                },
                "Probe results: each network's best layer",
                most_rows=content.n_run_rows,
                note="The best layer was picked by the accuracy shown, which is therefore a little too high; "
                "figures use the final layer.",
            )
        ]
        if len(best)
        else [],
    )


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
        f"{name} ({written_r(pearson(part['rankme'], part['test_accuracy']))}, n = {len(part)})"
        for name, part in ranks.groupby("stimulus_set", sort=True)
    ]
    return [f"RankMe with probe accuracy: {list_in_words(told, 12)}."] if told else []


def describe_layers(content: ReportContent) -> Section:
    """Say how full the layers are and where the border lies."""
    diagnostics = content.table("layer_diagnostics")
    shown = diagnostics[diagnostics["stimulus_set"] == content.stimulus_set]
    shown = at_delta(shown, content.delta)
    delta = nearest_delta(shown, content.delta)
    notes = [] if len(diagnostics) else ["This run made no table layer_diagnostics: the question stays unanswered."]
    if len(shown) and delta != content.delta:
        notes.append(f"Saturation was not computed at δ = {content.delta:g}; shown is δ = {delta:g}.")
    if not len(content.table("receptive_fields")):
        notes.append("This run made no table receptive_fields: no border layer is marked.")
    return Section(
        anchor="layers",
        question="What are the layers like?",
        why="Saturation is the share of a layer's channels that is needed to hold most of its variance: low means "
        "that the layer has room to spare. From the border layer on, every unit already sees the whole image; "
        "layers behind it often add little.",
        answers=[*saturation_in_words(with_traits(shown, content.table("model_cards"))), *border_in_words(content)],
        notes=notes,
        figures=[
            content.block(
                "figure_saturation",
                title=layer_figures.SATURATION_TITLE,
                reading="Each panel follows the layers from input to output. Coloured line: saturation; dashed line: "
                "accuracy of a probe on that layer; thin lines are single networks, thick ones their mean. Shaded: "
                "from the border layer on.",
                shown=f"stimulus set {content.stimulus_set}; δ = {delta:g}; {shown['model'].nunique()} networks",
                misleads="Saturation depends on δ, on the number of images (it cannot exceed images − 1 over channels) "
                "and on pooling. With shortcuts (ResNets), paths with small receptive fields pass the border: "
                "layers behind it may still add.",
            )
        ],
        tables=_layer_tables(content, shown) if len(shown) else [],
    )


def saturation_in_words(rows: pd.DataFrame) -> list[str]:
    """Name the fullest layer per architecture."""
    told = []
    for architecture, part in rows.dropna(subset=["saturation"]).groupby("architecture", sort=True):
        by_layer = part.assign(value=part["saturation"].astype(float)).groupby("layer")["value"].mean()
        told.append(f"{written(str(architecture))} in {by_layer.idxmax()} ({write_number(by_layer.max(), 'percent', 0)})")
    return [f"Layers are fullest, on the mean over networks: {list_in_words(told, 8)}."] if told else []


def border_in_words(content: ReportContent) -> list[str]:
    """Name the border layer of each architecture."""
    fields = content.table("receptive_fields")
    if not len(fields):
        return []
    fields = with_traits(fields, content.table("model_cards"))
    borders = fields[fields["is_border"].astype(bool)]
    told = [
        f"{written(str(architecture))} at {list_in_words(in_order(part['layer']))}"
        for architecture, part in borders.groupby("architecture", sort=True)
    ]
    without = sorted(set(fields["architecture"]) - set(borders["architecture"]))
    sentences = [f"Border layer: {list_in_words(told, 8)}."] if told else []
    if without:
        sentences.append(f"No layer is behind the border in {list_in_words([written(name) for name in without])}.")
    return sentences


def _layer_tables(content: ReportContent, shown: pd.DataFrame) -> list:  # type: ignore[type-arg]
    fields = content.table("receptive_fields")
    sizes = fields[["model", "layer", "receptive_field_px", "input_px", "is_beyond_border"]]
    joined = shown.merge(sizes, on=["model", "layer"], how="left") if len(fields) else shown
    columns = {
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
    }
    if len(fields):
        columns |= {"receptive_field_px": Column("receptive field (px)", "count"), "input_px": Column("input (px)", "count")}
    return [
        make_table(
            joined, columns, f"Layer by layer on {content.stimulus_set}", most_rows=content.n_run_rows, is_folded=True
        )
    ]


def describe_stitching(content: ReportContent) -> Section:
    """Say how well networks go on from other networks' layers."""
    everything = content.table("stitching_results")
    sets = in_order(everything["stimulus_set"])
    stimulus_set = content.stimulus_set if content.stimulus_set in sets else next(iter(sets), None)
    rows = everything[everything["stimulus_set"] == stimulus_set]
    n_undefined = int(rows["relative_accuracy"].isna().sum())
    notes = [] if len(rows) else ["This run stitched no networks: the question stays unanswered."]
    notes += [f"{n_undefined} of {len(rows)} relative accuracies are undefined."] if n_undefined else []
    return Section(
        anchor="stitching",
        question=layer_figures.STITCHING_TITLE,
        why="Stitching joins the first layers of one network to the last layers of another by a simple linear map. If "
        "the joined network classifies well, the second can use what the first has found.",
        answers=stitching_in_words(rows, trait_of(content.table("model_cards"), "objective")),
        notes=notes,
        figures=[
            content.block(
                "figure_stitching",
                title=layer_figures.STITCHING_TITLE,
                reading="Each line joins a beginning network (colour) to the network that goes on (panel) at one layer "
                "after another. 1 (dotted): as accurate as the network that goes on is alone.",
                shown=f"stimulus set {stimulus_set}; {len(rows)} stitched networks",
                misleads="The map is itself trained: it can learn what the first network lacks, more so at late "
                "layers. Success shows that information can be used, not that the two compute alike. Against a "
                "weak network, high relative accuracy means little.",
            )
        ],
        tables=[
            make_table(
                rows.sort_values("relative_accuracy", ascending=False, kind="stable"),
                {
                    "front_model": Column("network that begins"),
                    "end_model": Column("network that goes on"),
                    "layer": Column("joined at"),
                    "front_accuracy": Column("first alone", "percent", 1),
                    "end_accuracy": Column("second alone", "percent", 1),
                    "stitched_accuracy": Column("stitched", "percent", 1),
                    "relative_accuracy": Column("relative", "number", 3),
                    "agreement": Column("agreement with second", "percent", 1),
                    "map_r2": Column("fit of the map (R²)", "number", 2),
                    "n_test": Column("test images", "count"),
                },
                "All stitched networks",
                most_rows=content.n_run_rows,
                is_folded=True,
            )
        ]
        if len(rows)
        else [],
    )


def stitching_in_words(rows: pd.DataFrame, objective: dict[str, str]) -> list[str]:
    """Compare stitching within one objective and across objectives, and name the hardest layer."""
    rows = rows.assign(value=rows["relative_accuracy"].astype(float)).dropna(subset=["value"])
    if not len(rows):
        return []
    same = rows["front_model"].map(objective) == rows["end_model"].map(objective)
    told = [
        f"{write_number(part['value'].median(), digits=2)} {words} (n = {len(part)})"
        for part, words in ((rows[same], "between networks of one objective"), (rows[~same], "across objectives"))
        if len(part)
    ]
    worst = rows.loc[rows["value"].idxmin()]
    return [
        f"Median relative accuracy is {list_in_words(told)}.",
        f"The lowest is {write_number(worst['value'], digits=2)}: {worst['front_model']} into {worst['end_model']} at "
        f"{worst['layer']}.",
    ]


def final_accuracies(content: ReportContent) -> pd.DataFrame:
    """Return probe accuracy of the final layer, networks by stimulus sets."""
    final = final_layers(content.table("probe_results"))
    return final.pivot_table(index="model", columns="stimulus_set", values="test_accuracy", aggfunc="first")
