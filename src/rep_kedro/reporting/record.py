"""Sections for the record: training and cards, an earlier version beside this one, measures, settings, the run."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from rep_kedro.reporting.comparison import (
    CONSISTENCY_KEYS,
    SIMILARITY_KEYS,
    compare_values,
    summarise_changes,
)
from rep_kedro.reporting.content import ReportContent
from rep_kedro.reporting.figures import training as training_figure
from rep_kedro.reporting.page import Column, Section, Table, list_in_words, make_table, write_number
from rep_kedro.reporting.style import written
from rep_kedro.reporting.tables import in_order

N_LARGEST_CHANGES = 12


def describe_networks(content: ReportContent) -> Section:
    """Say what was compared, and how training went."""
    cards, history = content.table("model_cards"), content.table("training_history")
    notes = [] if len(cards) else ["This run made no table model_cards: objectives and architectures are unknown."]
    notes += [] if len(history) else ["This run trained no networks, or kept no history."]
    return Section(
        anchor="networks",
        question="Which networks, and how did training go?",
        why="Everything that was compared, with what it was trained on and how large it is.",
        answers=networks_in_words(cards),
        notes=notes,
        figures=[
            content.block(
                "figure_training",
                title=training_figure.TITLE,
                reading="One line per network, one panel per objective and metric; every panel has its own scale. "
                "Curves that are flat at the right end have finished.",
                shown=f"{history['model'].nunique()} trained networks",
                misleads="Losses of different objectives are different quantities: their heights cannot be compared.",
            )
        ],
        tables=[_cards_table(cards)] if len(cards) else [],
    )


def networks_in_words(cards: pd.DataFrame) -> list[str]:
    """Count networks, architectures and objectives."""
    if not len(cards):
        return []
    objectives = [written(name) for name in sorted(set(cards["objective"].dropna().astype(str)))]
    architectures = [written(name) for name in sorted(set(cards["architecture"].dropna().astype(str)))]
    return [
        f"{len(cards)} networks: {len(architectures)} architectures ({list_in_words(architectures)}), "
        f"{len(objectives)} objectives ({list_in_words(objectives)})."
    ]


def _cards_table(cards: pd.DataFrame) -> Table:
    shown = cards.assign(objective=cards["objective"].map(written), architecture=cards["architecture"].map(written))
    return make_table(
        shown,
        {
            "model": Column("network"),
            "source": Column("source"),
            "architecture": Column("architecture"),
            "objective": Column("objective"),
            "seed": Column("seed", "count"),
            "trained_on": Column("trained on"),
            "n_parameters": Column("parameters", "count"),
            "n_flops": Column("FLOPs per image", "count"),
            "n_layers": Column("layers", "count"),
            "feature_width": Column("features", "count"),
            "test_accuracy": Column("own test accuracy", "percent", 1),
        },
        "Model cards",
        note="“undefined” accuracy: the network has no classifier of its own.",
    )


def describe_changes(content: ReportContent) -> Section:
    """Put this run beside an earlier version, where one was given."""
    parts = [
        (name, label, compare_values(content.table(name), content.earlier[name], keys, value))
        for name, label, keys, value in (
            ("similarities", "similarity", SIMILARITY_KEYS, "similarity"),
            ("consistency", "consistency", CONSISTENCY_KEYS, "pearson"),
        )
        if name in content.earlier
    ]
    revision = next((str(table.attrs["revision"]) for table in content.earlier.values() if "revision" in table.attrs), None)
    tables = [table for _, label, compared in parts for table in _change_tables(label, compared)]
    return Section(
        anchor="changes",
        question="What changed since an earlier version?",
        why="The same tables of an earlier version, row by row beside this run's"
        + (f"; the earlier version is {revision}." if revision else "."),
        answers=[_changes_in_words(label, compared) for _, label, compared in parts],
        notes=[] if parts else ["No earlier version was given, so nothing is compared."],
        tables=tables,
    )


def _changes_in_words(label: str, compared: pd.DataFrame) -> str:
    both = compared[compared["held_by"] == "both"]
    n_changed = int((both["change"].abs() > 0).sum())
    largest = both["change"].abs().max() if len(both) else float("nan")
    only_now, only_earlier = (int((compared["held_by"] == side).sum()) for side in ("now", "earlier"))
    told = f"{label.capitalize()}: {len(both):,} values in both, {n_changed:,} of them changed"
    told += f" (by at most {write_number(largest)})" if n_changed else ""
    return f"{told}; {only_now:,} only in this run, {only_earlier:,} only in the earlier one."


def _change_tables(label: str, compared: pd.DataFrame) -> list[Table]:
    keys = [column for column in compared.columns if column not in ("now", "earlier", "change", "held_by")]
    changed = compared[compared["change"].abs() > 0].head(N_LARGEST_CHANGES)
    summary = make_table(
        summarise_changes(compared),
        {
            "measure": Column("measure"),
            "n_both": Column("values in both", "count"),
            "n_changed": Column("changed", "count"),
            "mean_change": Column("mean |change|", "number", 4),
            "largest_change": Column("largest |change|", "number", 4),
            "n_became_undefined": Column("became undefined", "count"),
            "n_became_defined": Column("became defined", "count"),
            "n_only_now": Column("only now", "count"),
            "n_only_earlier": Column("only earlier", "count"),
        },
        f"Change of {label} by measure",
    )
    if not len(changed):
        return [summary]
    columns = {key: Column(key.replace("_", " ")) for key in keys}
    columns |= {name: Column(name, "number", 4) for name in ("earlier", "now", "change")}
    return [summary, make_table(changed, columns, f"Largest changes of {label}")]


def describe_measures(content: ReportContent) -> Section:
    """Say what each measure is and whom to cite."""
    used = in_order(content.table("similarities")["measure"])
    known = {fact["id"]: fact for fact in content.measure_facts}
    facts = pd.DataFrame(
        [{"id": name, "title": "–", "range": "–", "invariances": "–", "source": "–", **known.get(name, {})} for name in used]
    )
    unlisted = [name for name in used if name not in known]
    notes = [] if used else ["No measure was used."]
    notes += [f"The registry of measures does not know {list_in_words(unlisted)}: no source is given."] if unlisted else []
    columns = {
        "id": Column("measure"),
        "title": Column("what it is"),
        "range": Column("range"),
        "invariances": Column("does not change under"),
        "source": Column("cite"),
    }
    return Section(
        anchor="measures",
        question="How to cite the measures",
        why="A value is only comparable with one of the same measure and estimator. Name the measure as written here and "
        "cite its source.",
        notes=notes,
        tables=[make_table(facts, columns, "Measures used in this run")] if used else [],
    )


def describe_settings(content: ReportContent) -> Section:
    """List every parameter of the run."""
    rows = pd.DataFrame(flatten(content.parameters), columns=["name", "value"])
    columns = {"name": Column("parameter"), "value": Column("value")}
    return Section(
        anchor="settings",
        question="Settings of this run",
        why="Every parameter with its value; seeds are among them.",
        notes=[] if len(rows) else ["No parameters were handed to the report."],
        tables=[make_table(rows, columns, f"{len(rows)} parameters", is_folded=True)] if len(rows) else [],
    )


def flatten(parameters: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Return (dotted name, value as text) of nested parameters, by name.

    Example:
        >>> flatten({"b": {"c": [1, 2]}, "a": None})
        [('a', 'none'), ('b.c', '1, 2')]
    """
    if isinstance(parameters, Mapping) and parameters:
        named = sorted(((str(key), value) for key, value in parameters.items()), key=lambda item: item[0])
        return [row for key, value in named for row in flatten(value, f"{prefix}{key}.")]
    if isinstance(parameters, list | tuple) and any(isinstance(item, Mapping) for item in parameters):
        return [row for index, item in enumerate(parameters) for row in flatten(item, f"{prefix}{index}.")]
    if not prefix:
        return []
    if isinstance(parameters, list | tuple):
        text = ", ".join(str(item) for item in parameters) or "none"
    else:
        text = "none" if parameters is None or parameters == {} else str(parameters)
    return [(prefix.removesuffix("."), text)]


def describe_run(content: ReportContent) -> Section:
    """List everything that the run holds, with versions, seeds and times."""
    table = content.table("run_table")
    return Section(
        anchor="run",
        question="Everything that was run",
        why="Each stored result with its seed, when and how long it was computed, the versions of the packages, and a "
        "digest of its recipe: equal digests mean equal inputs, parameters and code.",
        answers=_run_in_words(table),
        notes=[] if len(table) else ["This run has no run table."],
        tables=_run_tables(table, content.n_run_rows) if len(table) else [],
    )


def _run_in_words(table: pd.DataFrame) -> list[str]:
    seconds = pd.to_numeric(table["seconds"], errors="coerce")
    if not len(table):
        return []
    untimed = int(seconds.isna().sum())
    told = f"{len(table):,} results in {table['collection'].nunique()} collections took {seconds.sum():,.1f} s to compute"
    return [f"{told}; {untimed:,} have no time on record." if untimed else f"{told}."]


def _run_tables(table: pd.DataFrame, n_rows: int) -> list[Table]:
    table = table.assign(seconds=pd.to_numeric(table["seconds"], errors="coerce"))
    letters = {text: _letter(index) for index, text in enumerate(in_order(table["versions"].dropna()))}
    table = table.assign(
        versions_letter=[letters.get(str(text)) if pd.notna(text) else None for text in table["versions"]],
        short_digest=table["recipe_digest"].astype(str).str.slice(0, 12),
    )
    summary = table.groupby("collection", sort=False).agg(
        n=("key", "size"), seconds=("seconds", "sum"), first=("computed_at", "min"), last=("computed_at", "max")
    )
    versions = pd.DataFrame({"letter": list(letters.values()), "versions": list(letters)})
    return [
        make_table(
            summary.reset_index(),
            {
                "collection": Column("collection"),
                "n": Column("results", "count"),
                "seconds": Column("time (s)", "number", 1),
                "first": Column("first computed"),
                "last": Column("last computed"),
            },
            "Collections",
        ),
        make_table(versions, {"letter": Column("set"), "versions": Column("package versions")}, "Package versions"),
        make_table(
            table,
            {
                "collection": Column("collection"),
                "key": Column("result"),
                "seed": Column("seed", "count"),
                "seconds": Column("time (s)", "number", 2),
                "computed_at": Column("computed at"),
                "versions_letter": Column("versions"),
                "short_digest": Column("recipe digest"),
            },
            "Run table",
            most_rows=n_rows,
            is_folded=True,
        ),
    ]


def _letter(index: int) -> str:
    return chr(ord("A") + index) if index < 26 else f"set {index + 1}"
