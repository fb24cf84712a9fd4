"""Do networks that represent images alike perform alike?"""

import pandas as pd

from rep_kedro.reporting.content import ReportContent
from rep_kedro.reporting.figures.performance import written_r
from rep_kedro.reporting.page import Section, list_in_words
from rep_kedro.reporting.tables import pearson, performance_gaps


def describe(content: ReportContent) -> list[Section]:
    """Say whether similar networks perform alike."""
    gaps = performance_gaps(content.table("similarities"), content.table("probe_results"), content.measure)
    shown = f"measure {content.measure}; probes of the final layers; {len(gaps)} points in all"
    return [
        Section(
            anchor="performance",
            answers=gaps_in_words(gaps),
            notes=[]
            if len(gaps)
            else ["No pair of networks has both a similarity and two probe accuracies."],
            figures=[content.block("figure_performance_gap", shown)],
        )
    ]


def gaps_in_words(gaps: pd.DataFrame) -> list[str]:
    """Give the correlation of similarity with accuracy difference on each stimulus set."""
    told = [
        f"{name} ({written_r(pearson(part['similarity'], part['gap']))}, n\u00a0=\u00a0{len(part)})"
        for name, part in gaps.groupby("stimulus_set", sort=True)
    ]
    return [f"Similarity with accuracy difference: {list_in_words(told, 12)}."] if told else []
