"""The page: one self-contained HTML file that asks nothing of the network.

A content security policy forbids every request and every script but the page's own, so that no label of a
network or stimulus set can do harm, whatever it holds. Scripts write labels as text, never as markup.
"""

import base64
import hashlib
from functools import cache

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from rep_kedro.reporting.agreement import text as agreement
from rep_kedro.reporting.certainty import text as certainty
from rep_kedro.reporting.consistency import text as consistency
from rep_kedro.reporting.content import ReportContent
from rep_kedro.reporting.headlines import Undecided
from rep_kedro.reporting.layer_similarity import text as layer_similarity
from rep_kedro.reporting.layers import text as layers
from rep_kedro.reporting.networks import text as record
from rep_kedro.reporting.page import Section, counted, list_in_words
from rep_kedro.reporting.performance import text as performance
from rep_kedro.reporting.readout import text as readout
from rep_kedro.reporting.run import changes, missing
from rep_kedro.reporting.run import text as run
from rep_kedro.reporting.selection import criteria_text as criteria
from rep_kedro.reporting.selection import text as selection
from rep_kedro.reporting.similarity import text as similarity
from rep_kedro.reporting.stitching import text as stitching
from rep_kedro.reporting.tables import in_order
from rep_kedro.reporting.texts import read_template

SCRIPTS = ("tables.js", "marks.js", "hover.js", "search.js", "downloads.js")
TITLE = "What do these networks represent?"
SUMMARY_ANCHORS = (
    *("alike", "certainty", "consistency", "performance", "selection", "criteria"),
    *("readout", "layers", "layer_similarity", "stitching", "agreement", "changes"),
)


def build_report(content: ReportContent) -> str:
    """Return the report as one HTML document.

    Args:
        content: Tables, figures and choices; empty tables become visible notes.

    Returns:
        The document: inline styles, drawings and script, no request to any host, everything escaped that came
        from outside.
    """
    sections = describe_all(content)
    script = '"use strict";\n' + "".join(read_template(name) for name in SCRIPTS)
    return _environment().from_string(read_template("report.html")).render(
        title=TITLE,
        counted=counted,
        introduction=introduce(content),
        summary=summarise(sections),
        open_questions=[section for section in sections if section.notes],
        sections=sections,
        figure_numbers=_number_figures(sections),
        style=Markup(read_template("report.css")),  # noqa: S704 - our own file
        script=Markup(script),  # noqa: S704 - our own file
        script_digest=_csp_digest(script),
    )  # fmt: skip


def describe_all(content: ReportContent) -> list[Section]:
    """Return all sections in reading order."""
    modules = (
        missing,
        similarity,
        certainty,
        consistency,
        performance,
        selection,
        criteria,
        readout,
        layers,
        layer_similarity,
        stitching,
        agreement,
        record,
        changes,
        run,
    )
    return [section for module in modules for section in module.describe(content)]


def introduce(content: ReportContent) -> str:
    """Say in one sentence what was compared."""
    similarities = content.table("similarities")
    n_models = len(set(similarities["model_a"]) | set(similarities["model_b"])) or len(
        content.table("model_cards")
    )
    sets, measures = in_order(similarities["stimulus_set"]), in_order(similarities["measure"])
    if not n_models:
        return "This run compared no networks."
    if n_models == 1:
        return "This run has one network, and none to compare it with."
    on = f" on {counted(len(sets), 'stimulus set')} ({list_in_words(sets)})" if sets else ""
    under = f" under {counted(len(measures), 'similarity measure')}" if measures else ""
    named = (
        f"Similarity below is {content.measure} of the networks' final layers unless another measure or"
        " other layers are named."
    )
    return f"{n_models} networks{on}{under}. {named}"


def summarise(sections: list[Section]) -> list[tuple[Section, str]]:
    """Return the answers of each section that answers a question; what is undecided only where all is."""
    chosen = [section for section in sections if section.anchor in SUMMARY_ANCHORS and section.answers]
    decided = [[answer for answer in part.answers if not isinstance(answer, Undecided)] for part in chosen]
    return [(part, " ".join(known or part.answers)) for part, known in zip(chosen, decided, strict=True)]


def _number_figures(sections: list[Section]) -> dict[str, int]:
    titles = [figure.title for section in sections for figure in section.figures]
    return {title: index for index, title in enumerate(titles, start=1)}


@cache
def _environment() -> Environment:
    return Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


def _csp_digest(script: str) -> str:
    """Return the digest by which the policy allows exactly this script."""
    digest = hashlib.sha256(f"\n{script}".encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"
