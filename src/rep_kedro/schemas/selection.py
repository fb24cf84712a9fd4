"""Tables of the choice of networks without labels."""

from rep_kedro.schemas.columns import (
    REASON,
    WITH_REASON,
    Column,
    correlation,
    count,
    flag,
    fraction,
    number,
    text,
)
from rep_kedro.schemas.table import Table

_ABOUT = (
    text("source", "`study` for the networks trained here, else the name of a table of runs"),
    text("group", "training objective or method; `all` for all of the source"),
    text("criterion", "what chooses: a measure that needs no labels, or a column of the table of runs"),
    text("space", "`representation` or `embedding`; empty for a table of runs"),
    text("criterion_set", "stimulus set of the criterion; empty for a table of runs"),
    text(
        "performance",
        "what is predicted: the stimulus set of the final probes, or a column of the table of runs",
    ),
)
_CAUTION = text("caution", "why the row says little about the criterion; empty if nothing does")
_KEY = ("source", "group", "criterion", "space", "criterion_set", "performance")


def _coefficient(name: str, meaning: str) -> tuple[Column, ...]:
    return (
        correlation(name, meaning, missing=WITH_REASON),
        fraction(f"{name}_p", f"two-sided p-value of `{name}`, uncorrected", missing=WITH_REASON),
        correlation(
            f"{name}_low",
            f"lower end of the interval of `{name}`: bootstrap over runs",
            missing="no interval",
        ),
        correlation(f"{name}_high", "its upper end", missing="no interval"),
    )


SELECTION_CRITERIA = Table(
    "selection_criteria",
    "One row for each criterion, group of runs and performance: does the criterion follow the performance?",
    key=_KEY,
    columns=(
        *_ABOUT,
        count("n_runs", "trained networks with both values"),
        *_coefficient("pearson", "Pearson's r of criterion and performance"),
        *_coefficient("pearson_log2", "Pearson's r of log2 of the criterion and performance"),
        *_coefficient("spearman", "Spearman's rank correlation"),
        *_coefficient("kendall", "Kendall's tau-b"),
        count("n_replicates", "runs that share all settings with another run"),
        number(
            "criterion_spread",
            "standard deviation of the criterion over replicates, pooled",
            low=0,
            missing="no replicates",
        ),
        number(
            "performance_spread",
            "standard deviation of the performance over replicates, pooled",
            low=0,
            missing="no replicates",
        ),
        _CAUTION,
        REASON,
    ),
    empty_when="no network has both a label-free measure and a probe",
)

SELECTION_REGRET = Table(
    "selection_regret",
    "One row for each sweep of a setting: what is lost by taking the run that the criterion prefers.",
    key=(*_KEY, "axis", "fixed"),
    columns=(
        *_ABOUT,
        text("axis", "setting that is swept; `all` for all runs of the group"),
        text("fixed", "the other settings, equal in these runs; empty for all runs"),
        count("n_runs", "runs of the sweep"),
        text("chosen_run", "run that the criterion takes"),
        text("best_run", "run with the highest performance"),
        number("chosen_performance", "performance of `chosen_run`"),
        number("best_performance", "performance of `best_run`"),
        number("regret", "`best_performance` minus `chosen_performance`", low=0),
        number("regret_low", "lower end of its interval: bootstrap over runs", low=0, missing="no interval"),
        number("regret_high", "its upper end", low=0, missing="no interval"),
        count("n_plateau", "runs whose criterion equals the largest within the tolerance"),
        flag("took_first", "whether several runs were on the plateau, and the first of them was taken"),
        _CAUTION,
    ),
    empty_when="no network has both a label-free measure and a probe",
)

TABLES = (SELECTION_CRITERIA, SELECTION_REGRET)
