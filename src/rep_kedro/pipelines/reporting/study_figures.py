"""The figures of the collection ``figures``: what draws each, from which rows, with which parameters.

A figure is one entry of :data:`STUDY_FIGURES`, and its words stand in ``reporting/templates/captions.yml``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from rep_kedro.datasets import Planned, code_revision
from rep_kedro.pipelines.reporting.params import ReportingParams

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ALL = "all rows"
OF_MEASURE = "rows of the report's measure"
_FIGURES = "rep_kedro.reporting.figures"


@dataclass(frozen=True)
class StudyFigure:
    """How one figure comes about.

    Attributes:
        draw: ``module:function`` below ``rep_kedro.reporting.figures``. The function is given the tables and
            parameters by their names, as keyword arguments, and returns a figure; where there is nothing to
            draw, that of :func:`rep_kedro.reporting.style.plot_note`.
        tables: Which rows of which tables it uses: :data:`ALL` or :data:`OF_MEASURE`.
        parameters: The fields of :class:`ReportingParams` it is given.
        members: The collections it is given whole, as handles by key.
    """

    draw: str
    tables: Mapping[str, str] = field(default_factory=dict)
    parameters: tuple[str, ...] = ("measure",)
    members: tuple[str, ...] = ()

    @property
    def module(self) -> str:
        """The dotted name of the drawing module."""
        return f"{_FIGURES}.{self.draw.partition(':')[0]}"

    def function(self) -> "Callable[..., Figure]":
        """Import and return the drawing function."""
        function: Callable[..., Figure] = getattr(import_module(self.module), self.draw.partition(":")[2])
        return function


STUDY_FIGURES: dict[str, StudyFigure] = {
    "mean_and_spread": StudyFigure(
        "spread:plot_mean_and_spread",
        {"similarities": OF_MEASURE, "model_cards": ALL},
        parameters=("measure", "spread_of"),
    ),
    "mean_and_std_maps": StudyFigure(
        "spread_maps:plot_mean_and_std_maps", {"similarities": OF_MEASURE, "model_cards": ALL}
    ),
    "set_scatter": StudyFigure(
        "set_scatter:plot_set_scatter", {"similarities": OF_MEASURE, "model_cards": ALL}
    ),
    "categories": StudyFigure("cross_tables:plot_categories", {"model_cards": ALL}, parameters=()),
    "subset_sizes": StudyFigure(
        "subset_sizes:plot_subset_sizes", members=("sample_size_curves",), parameters=()
    ),
    "prediction_agreement": StudyFigure(
        "predictions:plot_prediction_agreement",
        {"prediction_agreement": ALL, "similarities": OF_MEASURE, "model_cards": ALL},
    ),
    "similarity_map": StudyFigure(
        "similarity:plot_similarity_positions", {"model_positions": OF_MEASURE, "model_cards": ALL}
    ),
    "model_maps": StudyFigure(
        "maps:plot_model_maps",
        {"model_positions": OF_MEASURE, "model_clusters": OF_MEASURE, "model_cards": ALL},
    ),
    "model_selection": StudyFigure("selection:plot_model_selection", {"model_selection": OF_MEASURE}),
    "consistency_by_category": StudyFigure(
        "categories:plot_consistency_by_category",
        {"consistency": OF_MEASURE, "consistency_summary": OF_MEASURE},
    ),
    "set_pairs": StudyFigure(
        "set_pairs:plot_set_pairs",
        {"consistency": OF_MEASURE, "stimulus_cards": ALL},
        parameters=("measure", "set_pair_maps"),
    ),
    "anchors": StudyFigure(
        "anchors:plot_anchors", {"consistency": OF_MEASURE, "anchor_comparisons": OF_MEASURE}
    ),
    "measure_agreement": StudyFigure(
        "agreement:plot_measure_agreement", {"measure_agreement": ALL, "consistency": ALL}
    ),
    "gap_correlations": StudyFigure(
        "gaps:plot_gap_correlations", {"performance_gaps": OF_MEASURE, "stimulus_cards": ALL}
    ),
}
TABLES = tuple(sorted({table for figure in STUDY_FIGURES.values() for table in figure.tables}))
COLLECTIONS = tuple(sorted({name for figure in STUDY_FIGURES.values() for name in figure.members}))
MODULES = tuple(sorted({figure.module for figure in STUDY_FIGURES.values()}))


def plan_figures(params: ReportingParams, **inputs: Any) -> dict[str, Planned]:
    """Plan one member per figure; a figure whose rows, parameters and code are unchanged is kept.

    Args:
        params: What the figures speak of.
        **inputs: The contract's tables and the collections that :data:`STUDY_FIGURES` names.

    Returns:
        Plan by the figure's name.
    """
    from rep_kedro.datasets.rows import rows_digest
    from rep_kedro.reporting.contract import COLUMNS
    from rep_kedro.reporting.tables import require_table
    from rep_kedro.reporting.texts import figure_texts

    whole = {name: require_table(name, inputs.get(name))[list(COLUMNS[name])] for name in TABLES}
    measured = {
        name: table[table["measure"] == params.measure] for name, table in whole.items() if "measure" in table
    }
    digests = {
        (name, rows): rows_digest(table)
        for rows, chosen in ((ALL, whole), (OF_MEASURE, measured))
        for name, table in chosen.items()
    }
    plan = {}
    for name, figure in STUDY_FIGURES.items():
        used = {table: (whole if rows == ALL else measured)[table] for table, rows in figure.tables.items()}
        used |= {collection: inputs[collection] for collection in figure.members}
        chosen = {name: getattr(params, name) for name in figure.parameters}
        recipe = {
            "draw": figure.draw,
            "tables": {table: digests[table, rows] for table, rows in figure.tables.items()},
            "members": {
                collection: [handle.reference for _, handle in sorted(inputs[collection].items())]
                for collection in figure.members
            },
            "parameters": params.model_dump(mode="json", include=set(figure.parameters)),
            "title": figure_texts(name)["title"],
            "code": code_revision(figure.module),
        }
        plan[name] = Planned(recipe, partial(_draw, figure, used | chosen))
    return plan


def _draw(figure: StudyFigure, arguments: Mapping[str, Any]) -> "Figure":
    return figure.function()(**arguments)
