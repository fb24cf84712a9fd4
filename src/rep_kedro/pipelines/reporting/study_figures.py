"""The figures of the collection ``figures``: drawing function, rows and parameters of each.

A figure is one entry of :data:`STUDY_FIGURES`; its caption is in ``reporting/templates/captions.yml``.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from rep_kedro import schemas
from rep_kedro.datasets import MemberKey, Plan, Planned, code_revision
from rep_kedro.datasets.partial import is_lost
from rep_kedro.datasets.plan import Json
from rep_kedro.errors import require_known
from rep_kedro.pipelines.reporting.params import ReportingParams

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
    "saturation_history": StudyFigure(
        "layers.history:plot_saturation_history", {"saturation_history": ALL}, parameters=("delta",)
    ),
    "position_maps": StudyFigure(
        "layers.position_maps:plot_position_maps",
        {"layer_probe_results": ALL},
        parameters=("stimulus_set",),
    ),
    "projections": StudyFigure(
        "layers.projections:plot_projections", {"projection_results": ALL}, parameters=("stimulus_set",)
    ),
    "map_probes": StudyFigure(
        "readout.map_probes:plot_map_probes",
        {"layer_probe_results": ALL},
        parameters=("stimulus_set",),
    ),
    "layer_profiles": StudyFigure(
        "layers.profiles:plot_layer_profiles",
        {
            **{"layer_diagnostics": ALL, "probe_results": ALL, "receptive_fields": ALL},
            **{"layer_tails": ALL, "model_cards": ALL},
        },
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
    **{
        name: StudyFigure(
            f"stitching.figures:plot_{name}",
            {"stitching_results": ALL, "model_cards": ALL},
            parameters=("stimulus_set",),
        )
        for name in ("stitching_maps", "stitching_cka", "stitching_grid")
    },
    "training": StudyFigure(
        "networks.figures:plot_training",
        {"training_history": ALL, "model_cards": ALL},
        parameters=("metrics",),
    ),
    "collapse": StudyFigure(
        "networks.collapse:plot_collapse", {"training_history": ALL, "model_cards": ALL}, parameters=()
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
    "criteria_correlations": StudyFigure(
        "selection.criteria_correlations:plot_criteria_correlations",
        {"selection_criteria": ALL},
        parameters=(),
    ),
    "rank_choice": StudyFigure(
        "selection.criteria_figures:plot_rank_choice",
        {"label_free_measures": ALL, "probe_results": ALL, "model_cards": ALL},
        parameters=(),
    ),
    "rank_transfer": StudyFigure(
        "selection.criteria_figures:plot_rank_transfer",
        {"label_free_measures": ALL, "model_cards": ALL},
        parameters=(),
    ),
    "selection_regret": StudyFigure(
        "selection.criteria_figures:plot_selection_regret", {"selection_regret": ALL}, parameters=()
    ),
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
    "stimuli": StudyFigure("stimuli.figures:plot_stimuli", {"stimulus_sets": ALL}, parameters=()),
    "gap_correlations": StudyFigure(
        "performance.gaps:plot_gap_correlations", {"performance_gaps": OF_MEASURE, "stimulus_cards": ALL}
    ),
}
_INPUTS = {name for figure in STUDY_FIGURES.values() for name in figure.inputs}
TABLES = tuple(sorted(_INPUTS & set(schemas.TABLES)))
COLLECTIONS = tuple(sorted(_INPUTS - set(schemas.TABLES)))
MODULES = tuple(sorted({figure.module for figure in STUDY_FIGURES.values()}))


def plan_figures(params: ReportingParams, **inputs: Any) -> Plan:
    """Plan one member per figure; a figure whose inputs, parameters and code are unchanged is kept.

    Args:
        params: Parameters of the reporting pipeline.
        **inputs: The contract's tables and the collections that :data:`STUDY_FIGURES` names.

    Returns:
        Plan by the figure's name, and by ``<name>/<measure or stimulus set>`` where readers have a choice; a
        figure is left out where one of its inputs could not be made.

    Raises:
        UserError: If there are no results on a further stimulus set.
    """
    from rep_kedro.reporting.tables import require_table
    from rep_kedro.reporting.texts import figure_texts

    tables = {
        name: require_table(name, inputs.get(name))[list(schemas.TABLES[name].names)] for name in TABLES
    }
    parts = _Parts(tables | {name: inputs[name] for name in COLLECTIONS})
    known = {name for table in tables.values() if "stimulus_set" in table for name in table["stimulus_set"]}
    for stimulus_set in params.further_stimulus_sets:
        require_known("stimulus set in reporting.further_stimulus_sets:", stimulus_set, known)
    plan = Plan()
    for name, figure in STUDY_FIGURES.items():
        if lost := [used for used in figure.inputs if is_lost(inputs.get(used))]:
            plan.left_out[name] = f"{', '.join(lost)} {'are' if len(lost) > 1 else 'is'} missing"
            continue
        for key, chosen in _choices(name, figure, params, tables):
            used = {table: (table, part, chosen.measure) for table, part in figure.inputs.items()}
            recipe = {
                "draw": figure.draw,
                "inputs": {table: parts.digest(item) for table, item in used.items()},
                "parameters": chosen.model_dump(mode="json", include=set(figure.parameters)),
                "title": figure_texts(name)["title"],
                "code": code_revision(figure.module),
            }
            arguments = {table: parts.content(item) for table, item in used.items()}
            arguments |= {field: getattr(chosen, field) for field in figure.parameters}
            plan[key] = Planned(recipe, partial(_draw, figure, arguments))
    return plan


def _choices(
    name: str, figure: StudyFigure, params: ReportingParams, tables: Mapping[str, Any]
) -> Iterator[tuple[str, ReportingParams]]:
    """Yield the figure's own key, then that of each further measure or stimulus set, with its parameters."""
    yield name, params
    if OF_MEASURE in figure.inputs.values():
        for measure in params.further_measures:
            yield f"{name}/{measure}", params.model_copy(update={"measure": measure})
    if "stimulus_set" in figure.parameters:
        held = [
            set(tables[used]["stimulus_set"])
            for used in figure.inputs
            if "stimulus_set" in schemas.TABLES[used].names
        ]
        for stimulus_set in params.further_stimulus_sets:
            if all(stimulus_set in sets for sets in held):
                yield f"{name}/{stimulus_set}", params.model_copy(update={"stimulus_set": stimulus_set})


class _Parts:
    """Parts of tables and collections that figures use, and their digests, each made once.

    A part is named by table or collection, :data:`ALL` or :data:`OF_MEASURE`, and measure.
    """

    def __init__(self, whole: Mapping[str, Any]) -> None:
        self._whole = whole
        self.content = functools.cache(self._content)
        self.digest = functools.cache(self._digest)

    def _content(self, item: tuple[str, str, str]) -> Any:
        name, part, measure = item
        return self._whole[name] if part == ALL else _of_measure(self._whole[name], measure)

    def _digest(self, item: tuple[str, str, str]) -> Json:
        if item[1] == ALL and item[2]:
            return self.digest((item[0], ALL, ""))
        return _content_of(self.content(item))


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
