"""Which networks were compared, how were they trained, and how are the measures cited?"""

import pandas as pd

from rep_kedro.reporting.citations import bibtex
from rep_kedro.reporting.content import ReportContent
from rep_kedro.reporting.names import written
from rep_kedro.reporting.networks.collapse import first_alarms, watched
from rep_kedro.reporting.networks.figures import curves_of
from rep_kedro.reporting.page import Column, Section, Table, counted, list_in_words, make_table
from rep_kedro.reporting.tables import in_order

CARD_COLUMNS = {
    "model": Column("network"),
    "source": Column("source"),
    "architecture": Column("architecture"),
    "objective": Column("objective"),
    "seed": Column("seed", "count", absent="–"),
    "trained_on": Column("trained on"),
    "n_parameters": Column("parameters", "count"),
    "n_flops": Column("FLOPs per image", "count"),
    "n_layers": Column("layers", "count"),
    "feature_width": Column("features", "count"),
    "test_accuracy": Column("own test accuracy", "percent", 1, absent="none"),
}
FACT_COLUMNS = {
    "id": Column("measure"),
    "title": Column("what it is"),
    "range": Column("range"),
    "invariances": Column("does not change under"),
    "source": Column("cite", "source"),
}


def describe(content: ReportContent) -> list[Section]:
    """Say what was compared, how training went, and whom to cite."""
    return [_describe_networks(content), _describe_measures(content)]


def _describe_networks(content: ReportContent) -> Section:
    cards, history = content.table("model_cards"), content.table("training_history")
    notes = (
        []
        if len(cards)
        else ["This run made no table model_cards: objectives and architectures are unknown."]
    )
    n_watched = watched(history)["model"].nunique()
    return Section(
        anchor="networks",
        answers=networks_in_words(cards),
        details=alarms_in_words(history),
        notes=notes,
        left_out=[] if len(history) else ["This run trained no networks, or kept no history."],
        figures=[
            content.block("stimuli", "the first images of some classes", is_folded=True),
            content.block("categories", counted(len(cards), "network"), is_folded=True),
            content.block("training", counted(curves_of(history)["model"].nunique(), "trained network")),
            content.block("collapse", counted(n_watched, "watched network"), is_folded=not n_watched),
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
        f"{counted(len(cards), 'network')}: {counted(len(architectures), 'architecture')} "
        f"({list_in_words(architectures)}), {counted(len(objectives), 'objective')} "
        f"({list_in_words(objectives)})."
    ]


def alarms_in_words(history: pd.DataFrame) -> list[str]:
    """Name the networks whose training raised an alarm, and the epoch."""
    n_watched = watched(history)["model"].nunique()
    if not n_watched:
        return []
    alarms = [f"{name} (epoch {epoch})" for name, epoch in first_alarms(history).items()]
    of = f"of {counted(n_watched, 'training')} watched for a collapse"
    if not alarms:
        return [f"The monitor raised no alarm in any {of}."]
    return [f"The monitor raised an alarm in {len(alarms)} {of}: {list_in_words(alarms, 8)}."]


def _cards_table(cards: pd.DataFrame) -> Table:
    readable = cards.assign(**{trait: cards[trait].map(written) for trait in ("objective", "architecture")})
    return make_table(readable, CARD_COLUMNS, "Model cards", of=["model_cards"])


def _describe_measures(content: ReportContent) -> Section:
    used = in_order(content.table("similarities")["measure"])
    known = {fact["id"]: fact for fact in content.measure_facts}
    unlisted = [name for name in used if name not in known]
    blank = dict.fromkeys(FACT_COLUMNS, "–")
    facts = pd.DataFrame([{**blank, "id": name, **known.get(name, {})} for name in used])
    notes = [] if used else ["No measure was used."]
    if unlisted:
        notes.append(f"The registry of measures does not know {list_in_words(unlisted)}: no source is given.")
    return Section(
        anchor="measures",
        notes=notes,
        tables=[make_table(facts, FACT_COLUMNS, "Measures used in this run")] if used else [],
        bibtex=bibtex(facts["source"]) if used else "",
    )
