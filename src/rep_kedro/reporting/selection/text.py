"""Which few networks do best together?"""

import pandas as pd

from rep_kedro.kernels.statistics.families import LEVEL
from rep_kedro.reporting.content import ReportContent
from rep_kedro.reporting.headlines import rank_columns
from rep_kedro.reporting.page import Column, Section, counted, make_table
from rep_kedro.reporting.run.absences import absence_in_words, undefined_in_words
from rep_kedro.reporting.selection.figures import STRATEGIES

ACCURACIES = ("mean_accuracy", "best_accuracy", "ensemble_accuracy")
NUMBERS = (*ACCURACIES, "mean_similarity")
NAMES = {strategy: words for strategy, (words, *_) in STRATEGIES.items()}
COLUMNS = {
    "n_models": Column("networks", "count"),
    "name": Column("chosen"),
    "ensemble_accuracy": Column("ensemble", "percent", 1),
    "best_accuracy": Column("its network that is best on held-out images", "percent", 1),
    "mean_accuracy": Column("its networks, mean", "percent", 1),
    "mean_similarity": Column("similarity among them", "number", 2, absent="–"),
    "n_sets": Column("stimulus sets", "count"),
}


def describe(content: ReportContent) -> list[Section]:
    """Say which way of choosing a few networks makes the most accurate ensemble."""
    rows = content.of_measure("model_selection")
    means = strategy_means(rows)
    findings = selection_in_words(rows)
    return [
        Section(
            anchor="selection",
            answers=findings[:1],
            details=findings[1:],
            notes=[
                *undefined_in_words(rows, "ensemble_accuracy", "choices of networks"),
                *absence_in_words(rows, content, "model_selection"),
            ],
            figures=[
                content.block(
                    "model_selection",
                    f"clusters and similarity by {content.measure}; accuracy on test images; "
                    f"{counted(rows['stimulus_set'].nunique(), 'stimulus set')}",
                )
            ],
            tables=[make_table(means, COLUMNS, "Choices of networks, means over stimulus sets and draws")]
            if len(means)
            else [],
        )
    ]


def strategy_means(rows: pd.DataFrame) -> pd.DataFrame:
    """Return means over draws, then over the stimulus sets on which every strategy finds networks.

    Returns:
        One row per number of networks and strategy, the most accurate ensemble first; strategies that find no
        networks on any stimulus set are left out.
    """
    defined = rows.dropna(subset=["ensemble_accuracy"])
    parts = []
    for n_models, part in defined.groupby("n_models", sort=True):
        n_strategies = part["strategy"].nunique()
        found = part.groupby("stimulus_set")["strategy"].nunique()
        shared = part[part["stimulus_set"].isin(found.index[found == n_strategies])]
        per_set = shared.groupby(["strategy", "stimulus_set"])[list(NUMBERS)].mean()
        means = per_set.groupby("strategy").mean().assign(n_sets=per_set.groupby("strategy").size())
        parts.append(means.reset_index().assign(n_models=n_models))
    columns = ["strategy", "n_models", *NUMBERS, "n_sets"]
    table = pd.concat(parts)[columns] if parts else pd.DataFrame({name: [] for name in columns})
    table = table.assign(name=[NAMES.get(str(strategy), str(strategy)) for strategy in table["strategy"]])
    return table.sort_values(["n_models", "ensemble_accuracy"], ascending=[True, False], kind="stable")


def selection_in_words(rows: pd.DataFrame) -> list[str]:
    """Name the best way to choose, for each number of networks, where that can be said.

    Stimulus sets are drawn: what holds on these must hold on others.
    """
    sentences = []
    defined = rows.dropna(subset=["ensemble_accuracy"])
    sizes = [(int(str(size)), part) for size, part in defined.groupby("n_models", sort=True)]
    for n_models, part in sizes:
        wide = part.pivot_table(
            index="stimulus_set", columns="strategy", values="ensemble_accuracy", sort=False
        ).rename(columns=NAMES)
        ranking = rank_columns(wide, level=LEVEL / len(sizes))
        if ranking is not None:
            sentences.append(
                ranking.in_words(
                    f"Of these networks, ensembles of {n_models} are most accurate when chosen as “{{name}}”",
                    f"Of these networks, which choice makes the most accurate ensembles of {n_models}",
                    kind="percent",
                    digits=1,
                )
            )
    return sentences
