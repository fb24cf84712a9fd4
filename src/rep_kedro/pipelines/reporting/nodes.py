"""Nodes of the reporting pipeline: the run, missing results, and the report; nothing new is computed."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rep_kedro.pipelines.reporting.params import ReportingParams

if TYPE_CHECKING:
    from pandas import DataFrame

    from rep_kedro.datasets import DrawingHandle, MemberHandle
    from rep_kedro.reporting.run.run_table import Journal
else:
    DataFrame = DrawingHandle = MemberHandle = Journal = Any  # so that Kedro can read the hints


def compute_run_table(**collections: "Mapping[str, MemberHandle]") -> "DataFrame":
    """List every stored result with seed, time and versions.

    Args:
        **collections: Handles by key, by name of the collection.
    """
    from rep_kedro.reporting.run.run_table import build_run_table

    return build_run_table(
        collections, {name: journal_beside(handles) for name, handles in collections.items()}
    )


def with_journal(handles: "Mapping[str, MemberHandle]") -> dict[str, Any]:
    """Return what the run table depends on: the members, and the times in the journal of their collection."""
    from rep_kedro.datasets import reference_of
    from rep_kedro.datasets.plan import digest_of

    journal = journal_beside(handles)
    lines = {key: journal.get((key, handle.digest), {}) for key, handle in handles.items()}
    return {"members": reference_of(handles), "journal": digest_of(lines)}


def list_missing_members(**inputs: Any) -> "DataFrame":
    """List what a run with ``--keep-going`` could not make, or made without some of its inputs.

    Args:
        **inputs: Collections (handles by key), tables and figures by their catalog names. A table, figure or
            whole collection that could not be made is :func:`~rep_kedro.datasets.partial.nothing_because`.

    Returns:
        Columns as in docs/tables.md; no rows where nothing is missing.
    """
    from rep_kedro.schemas.run import MISSING_MEMBERS

    rows = [
        {"collection": name, "key": key, "reason": why}
        for name, value in inputs.items()
        for key, why in gaps_of(value).items()
    ]
    return MISSING_MEMBERS.frame(rows)


def gaps_of(value: Any) -> dict[str, str]:
    """Return why parts of an input are missing, by key: all that the list of missing members depends on."""
    from rep_kedro.datasets import Handles

    return {**value.missing, **value.partial} if isinstance(value, Handles) else {}


def journal_beside(handles: "Mapping[str, MemberHandle]") -> "Journal":
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
        params: The measure and options of the report.
        parameters: All parameters of the run, for the record.
        figures: The collection's figures by name.
        **inputs: The contract's tables by name; ``earlier_similarities`` and ``earlier_consistency``, empty
            or None where no earlier version is named.
    """
    from rep_kedro.reporting.content import make_content
    from rep_kedro.reporting.report import build_report

    earlier = {
        name.removeprefix("earlier_"): value for name, value in inputs.items() if name.startswith("earlier_")
    }
    tables = {name: value for name, value in inputs.items() if not name.startswith("earlier_")}
    content = make_content(
        tables,
        {name: figure.svg() for name, figure in figures.items()},
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
