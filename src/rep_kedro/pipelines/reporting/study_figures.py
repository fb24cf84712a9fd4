"""The figures of the collection ``figures``: drawing function, rows and parameters of each.

A figure is one entry of :data:`STUDY_FIGURES`; its caption is in ``reporting/templates/captions.yml``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from rep_kedro.datasets import MemberKey, Plan, Planned, code_revision
from rep_kedro.datasets.partial import is_lost
from rep_kedro.datasets.plan import Json
from rep_kedro.pipelines.reporting.params import ReportingParams
from rep_kedro.reporting.contract import COLUMNS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ALL = "all rows or members"
OF_MEASURE = "rows or members of the report's measure"
_FIGURES = "rep_kedro.reporting"


@dataclass(frozen=True)
class StudyFigure:
    """What one figure is made from.

    Attributes:
        draw: ``module:function`` below ``rep_kedro.reporting``, so that matplotlib is imported only
            to draw. The function receives inputs and parameters by their names, as keyword arguments, and
            returns a figure; where there is nothing to draw, that of
            :func:`rep_kedro.reporting.style.plot_note`.
        inputs: Tables of the contract and collections (as handles by key), each with the part that the figure
            uses: :data:`ALL` or :data:`OF_MEASURE`.
        parameters: The fields of :class:`ReportingParams` it uses.
    """

    draw: str
    inputs: Mapping[str, str]
    parameters: tuple[str, ...] = ("measure",)

    @property
    def module(self) -> str:
        """The dotted name of the drawing module."""
        return f"{_FIGURES}.{self.draw.partition(':')[0]}"

    def function(self) -> "Callable[..., Figure]":
        """Import and return the drawing function."""
        function: Callable[..., Figure] = getattr(import_module(self.module), self.draw.partition(":")[2])
        return function


STUDY_FIGURES: dict[str, StudyFigure] = {
    "similarity": StudyFigure(
        "similarity.figures:plot_similarity",
        {"similarity_matrices": OF_MEASURE, "model_cards": ALL},
        parameters=("measure", "n_heat_maps"),
    ),
    "consistency": StudyFigure(
        "consistency.figures:plot_consistency", {"consistency": OF_MEASURE, "model_cards": ALL}
    ),
    "noise_ceiling": StudyFigure(
        "certainty.figures:plot_noise_ceiling",
        {"noise_ceilings": OF_MEASURE, "similarity_inference": OF_MEASURE, "model_cards": ALL},
    ),
    "sample_sizes": StudyFigure("certainty.figures:plot_sample_sizes", {"sample_sizes": ALL}, parameters=()),
    "performance_gap": StudyFigure(
        "performance.figures:plot_performance_gap", {"similarities": OF_MEASURE, "probe_results": ALL}
    ),
    "rankme": StudyFigure(
        "performance.figures:plot_rankme",
        {"layer_diagnostics": ALL, "probe_results": ALL, "model_cards": ALL},
        parameters=("delta",),
    ),
    "saturation": StudyFigure(
        "layers.figures:plot_saturation",
        {"layer_diagnostics": ALL, "probe_results": ALL, "receptive_fields": ALL, "model_cards": ALL},
        parameters=("stimulus_set", "delta"),
    ),
    "layer_similarity": StudyFigure(
        "layer_similarity.figures:plot_layer_similarity",
        {"layer_similarity_matrices": OF_MEASURE, "model_cards": ALL},
        parameters=("measure", "n_heat_maps"),
    ),
    "best_layer_match": StudyFigure(
        "layer_similarity.paths:plot_best_layer_match",
        {"best_layer_match": OF_MEASURE, "model_cards": ALL},
        parameters=("measure", "stimulus_set"),
    ),
    "stitching": StudyFigure(
        "layers.figures:plot_stitching",
        {"stitching_results": ALL, "model_cards": ALL},
        parameters=("stimulus_set",),
    ),
    "training": StudyFigure(
        "networks.figures:plot_training",
        {"training_history": ALL, "model_cards": ALL},
        parameters=("metrics",),
    ),
    "mean_and_spread": StudyFigure(
        "similarity.spread:plot_mean_and_spread",
        {"similarities": OF_MEASURE, "model_cards": ALL},
        parameters=("measure", "spread_of"),
    ),
    "mean_and_std_maps": StudyFigure(
        "similarity.spread_maps:plot_mean_and_std_maps", {"similarities": OF_MEASURE, "model_cards": ALL}
    ),
    "set_scatter": StudyFigure(
        "similarity.set_scatter:plot_set_scatter", {"similarities": OF_MEASURE, "model_cards": ALL}
    ),
    "categories": StudyFigure("similarity.cross_tables:plot_categories", {"model_cards": ALL}, parameters=()),
    "subset_sizes": StudyFigure(
        "certainty.subset_sizes:plot_subset_sizes", {"sample_size_curves": ALL}, parameters=()
    ),
    "prediction_agreement": StudyFigure(
        "predictions.figures:plot_prediction_agreement",
        {"prediction_agreement": ALL, "similarities": OF_MEASURE, "model_cards": ALL},
    ),
    "similarity_map": StudyFigure(
        "similarity.figures:plot_similarity_positions", {"model_positions": OF_MEASURE, "model_cards": ALL}
    ),
    "model_maps": StudyFigure(
        "model_maps.figures:plot_model_maps",
        {"model_positions": OF_MEASURE, "model_clusters": OF_MEASURE, "model_cards": ALL},
    ),
    "model_selection": StudyFigure("selection.figures:plot_model_selection", {"model_selection": OF_MEASURE}),
    "consistency_by_category": StudyFigure(
        "consistency.categories:plot_consistency_by_category",
        {"consistency": OF_MEASURE, "consistency_summary": OF_MEASURE},
    ),
    "set_pairs": StudyFigure(
        "consistency.set_pairs:plot_set_pairs",
        {"consistency": OF_MEASURE, "stimulus_cards": ALL},
        parameters=("measure", "set_pair_maps"),
    ),
    "anchors": StudyFigure(
        "anchors.figures:plot_anchors", {"consistency": OF_MEASURE, "anchor_comparisons": OF_MEASURE}
    ),
    "measure_agreement": StudyFigure(
        "agreement.figures:plot_measure_agreement", {"measure_agreement": ALL, "consistency": ALL}
    ),
    "gap_correlations": StudyFigure(
        "performance.gaps:plot_gap_correlations", {"performance_gaps": OF_MEASURE, "stimulus_cards": ALL}
    ),
}
_INPUTS = {name for figure in STUDY_FIGURES.values() for name in figure.inputs}
TABLES = tuple(sorted(_INPUTS & set(COLUMNS)))
COLLECTIONS = tuple(sorted(_INPUTS - set(COLUMNS)))
MODULES = tuple(sorted({figure.module for figure in STUDY_FIGURES.values()}))


def plan_figures(params: ReportingParams, **inputs: Any) -> Plan:
    """Plan one member per figure; a figure whose inputs, parameters and code are unchanged is kept.

    Args:
        params: Parameters of the reporting pipeline.
        **inputs: The contract's tables and the collections that :data:`STUDY_FIGURES` names.

    Returns:
        Plan by the figure's name; a figure is left out where one of its inputs could not be made.
    """
    from rep_kedro.reporting.tables import require_table
    from rep_kedro.reporting.texts import figure_texts

    whole = {name: require_table(name, inputs.get(name))[list(COLUMNS[name])] for name in TABLES}
    whole |= {name: inputs[name] for name in COLLECTIONS}
    wanted = {item for figure in STUDY_FIGURES.values() for item in figure.inputs.items()}
    parts = {
        (name, part): whole[name] if part == ALL else _of_measure(whole[name], params.measure)
        for name, part in wanted
    }
    digests = {item: _content_of(part) for item, part in parts.items()}
    plan = Plan()
    for name, figure in STUDY_FIGURES.items():
        if lost := [used for used in figure.inputs if is_lost(inputs.get(used))]:
            plan.left_out[name] = f"{', '.join(lost)} {'are' if len(lost) > 1 else 'is'} missing"
            continue
        recipe = {
            "draw": figure.draw,
            "inputs": {item[0]: digests[item] for item in figure.inputs.items()},
            "parameters": params.model_dump(mode="json", include=set(figure.parameters)),
            "title": figure_texts(name)["title"],
            "code": code_revision(figure.module),
        }
        arguments = {item[0]: parts[item] for item in figure.inputs.items()}
        arguments |= {field: getattr(params, field) for field in figure.parameters}
        plan[name] = Planned(recipe, partial(_draw, figure, arguments))
    return plan


def _of_measure(whole: Any, measure: str) -> Any:
    """Return the rows of a table, or the members of a collection, that are of one measure."""
    if isinstance(whole, Mapping):
        return {key: handle for key, handle in whole.items() if MemberKey.parse(key).name == measure}
    return whole[whole["measure"] == measure]


def _content_of(part: Any) -> Json:
    """Return the part of a recipe for rows or members: a digest, or references."""
    from rep_kedro.datasets.rows import rows_digest

    if isinstance(part, Mapping):
        return [handle.reference for _, handle in sorted(part.items())]
    return rows_digest(part)


def _draw(figure: StudyFigure, arguments: Mapping[str, Any]) -> "Figure":
    return figure.function()(**arguments)
