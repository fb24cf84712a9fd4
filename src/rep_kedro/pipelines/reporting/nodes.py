"""Nodes of the reporting pipeline: hand tables to the drawing functions; nothing new is computed."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rep_kedro.pipelines.reporting.params import ReportingParams

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

    from rep_kedro.datasets import DrawingHandle
    from rep_kedro.reporting.run_table import Handle, Journal
    from rep_kedro.reporting.tables import MatrixHandle
else:
    DataFrame = DrawingHandle = Figure = Handle = Journal = MatrixHandle = (
        Any  # so that Kedro can read the hints
    )


def plot_similarity(
    similarity_matrices: "Mapping[str, MatrixHandle]", model_cards: "DataFrame", params: ReportingParams
) -> "Figure":
    """Draw heat maps of similarity per stimulus set and of their mean."""
    from rep_kedro.reporting.figures.similarity import plot_similarity_maps
    from rep_kedro.reporting.tables import matrices_of, require_table

    return plot_similarity_maps(
        matrices_of(similarity_matrices, params.measure),
        require_table("model_cards", model_cards),
        measure=params.measure,
        n_panels=params.n_heat_maps,
    )


def plot_noise_ceiling(
    noise_ceilings: "DataFrame",
    similarity_inference: "DataFrame",
    model_cards: "DataFrame",
    params: ReportingParams,
) -> "Figure":
    """Draw chance, other networks and noise ceiling of each kind of network."""
    from rep_kedro.reporting.figures import certainty
    from rep_kedro.reporting.tables import require_table

    return certainty.plot_noise_ceiling(
        require_table("noise_ceilings", noise_ceilings),
        require_table("similarity_inference", similarity_inference),
        require_table("model_cards", model_cards),
        measure=params.measure,
    )


def plot_sample_sizes(sample_sizes: "DataFrame", params: ReportingParams) -> "Figure":
    """Draw similarities over the number of stimuli."""
    from rep_kedro.reporting.figures import certainty
    from rep_kedro.reporting.tables import require_table

    return certainty.plot_sample_sizes(require_table("sample_sizes", sample_sizes))


def plot_consistency(consistency: "DataFrame", model_cards: "DataFrame", params: ReportingParams) -> "Figure":
    """Draw consistency across stimulus sets by kind of network pair."""
    from rep_kedro.reporting.figures import consistency as figures
    from rep_kedro.reporting.tables import require_table

    return figures.plot_consistency(
        require_table("consistency", consistency),
        require_table("model_cards", model_cards),
        measure=params.measure,
    )


def plot_performance_gap(
    similarities: "DataFrame", probe_results: "DataFrame", params: ReportingParams
) -> "Figure":
    """Draw accuracy differences against similarity."""
    from rep_kedro.reporting.figures import performance
    from rep_kedro.reporting.tables import require_table

    return performance.plot_performance_gap(
        require_table("similarities", similarities),
        require_table("probe_results", probe_results),
        measure=params.measure,
    )


def plot_rankme(
    layer_diagnostics: "DataFrame",
    probe_results: "DataFrame",
    model_cards: "DataFrame",
    params: ReportingParams,
) -> "Figure":
    """Draw probe accuracy against RankMe."""
    from rep_kedro.reporting.figures import performance
    from rep_kedro.reporting.tables import require_table

    return performance.plot_rankme(
        require_table("layer_diagnostics", layer_diagnostics),
        require_table("probe_results", probe_results),
        require_table("model_cards", model_cards),
        delta=params.delta,
    )


def plot_saturation(
    layer_diagnostics: "DataFrame",
    probe_results: "DataFrame",
    receptive_fields: "DataFrame",
    model_cards: "DataFrame",
    params: ReportingParams,
) -> "Figure":
    """Draw saturation, probe accuracy and the border layer along the layers."""
    from rep_kedro.reporting.figures import layers
    from rep_kedro.reporting.tables import chosen_stimulus_set, require_table

    diagnostics = require_table("layer_diagnostics", layer_diagnostics)
    probes = require_table("probe_results", probe_results)
    return layers.plot_saturation(
        diagnostics,
        probes,
        require_table("receptive_fields", receptive_fields),
        require_table("model_cards", model_cards),
        stimulus_set=chosen_stimulus_set(params.stimulus_set, diagnostics, probes),
        delta=params.delta,
    )


def plot_stitching(
    stitching_results: "DataFrame", model_cards: "DataFrame", params: ReportingParams
) -> "Figure":
    """Draw relative accuracy of stitched networks along the layers."""
    from rep_kedro.reporting.figures import layers
    from rep_kedro.reporting.tables import chosen_stimulus_set, require_table

    results = require_table("stitching_results", stitching_results)
    return layers.plot_stitching(
        results,
        require_table("model_cards", model_cards),
        stimulus_set=chosen_stimulus_set(params.stimulus_set, results),
    )


def plot_training(
    training_history: "DataFrame", model_cards: "DataFrame", params: ReportingParams
) -> "Figure":
    """Draw training curves."""
    from rep_kedro.reporting.figures import training
    from rep_kedro.reporting.tables import require_table

    return training.plot_training(
        require_table("training_history", training_history),
        require_table("model_cards", model_cards),
        metrics=tuple(params.metrics),
    )


def compute_run_table(**collections: "Mapping[str, Handle]") -> "DataFrame":
    """List every stored result with seed, time and versions.

    Args:
        **collections: Handles by key, by name of the collection.
    """
    from rep_kedro.reporting.run_table import build_run_table

    return build_run_table(
        collections, {name: journal_beside(handles) for name, handles in collections.items()}
    )


def with_journal(handles: "Mapping[str, Handle]") -> dict[str, Any]:
    """Return what the run table depends on: the members, and the times in the journal of their collection."""
    from rep_kedro.datasets import reference_of
    from rep_kedro.datasets.plan import digest_of

    journal = journal_beside(handles)
    lines = {key: journal.get((key, handle.digest), {}) for key, handle in handles.items()}
    return {"members": reference_of(handles), "journal": digest_of(lines)}


def list_missing_members(**collections: "Mapping[str, Handle]") -> "DataFrame":
    """List the members that a run which keeps going could not make, or made without some of their inputs.

    Args:
        **collections: Handles by key, by name of the collection.

    Returns:
        Columns as in docs/architecture.md, section 3; no rows where nothing is missing.
    """
    import pandas as pd

    from rep_kedro.datasets import missing_of, partial_of
    from rep_kedro.reporting.contract import COLUMNS

    rows = [
        {"collection": name, "key": key, "reason": why}
        for name, handles in collections.items()
        for key, why in {**missing_of(handles), **partial_of(handles)}.items()
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS["missing_members"]))


def journal_beside(handles: "Mapping[str, Handle]") -> "Journal":
    """Return the journal of the collection to which the handles belong; empty without members."""
    from rep_kedro.datasets import read_journal

    for key, handle in handles.items():
        path = getattr(handle, "path", None)
        return {} if path is None else read_journal(path.parents[key.count("/")])
    return {}


def compute_report(
    params: ReportingParams,
    parameters: dict[str, Any],
    figures: "Mapping[str, DrawingHandle]",
    **inputs: Any,
) -> str:
    """Write the report as one self-contained HTML page.

    Args:
        params: What the report speaks of.
        parameters: All parameters of the run, for the record.
        figures: The collection's figures by name.
        **inputs: The contract's tables and the other figures by their catalog names;
            ``earlier_similarities`` and ``earlier_consistency``, empty or None where no earlier version is
            named.
    """
    from rep_kedro.reporting.content import make_content
    from rep_kedro.reporting.report import build_report

    singles = {name: value for name, value in inputs.items() if name.startswith("figure_")}
    earlier = {
        name.removeprefix("earlier_"): value for name, value in inputs.items() if name.startswith("earlier_")
    }
    tables = {
        name: value
        for name, value in inputs.items()
        if name not in singles and not name.startswith("earlier_")
    }
    content = make_content(
        tables,
        singles | {name: figure.svg() for name, figure in figures.items()},
        absences={name: figure.nothing_to_draw for name, figure in figures.items() if figure.nothing_to_draw},
        stimulus_set=params.stimulus_set,
        earlier=earlier,
        parameters=parameters,
        measure=params.measure,
        delta=params.delta,
        n_extreme_pairs=params.n_extreme_pairs,
        n_run_rows=params.n_run_rows,
        measure_facts=describe_measures(),
    )
    return build_report(content)


def describe_measures() -> list[dict[str, str]]:
    """Return what the registry knows of every measure, as text."""
    from rep_kedro.measures import MEASURES

    return [
        {
            "id": measure.id,
            "title": measure.title,
            "range": f"{measure.value_range[0]:g} to {measure.value_range[1]:g}".replace("-", "−"),
            "invariances": "; ".join(sorted(str(change.value) for change in measure.invariances)) or "–",
            "source": measure.source,
        }
        for measure in MEASURES.values()
    ]
