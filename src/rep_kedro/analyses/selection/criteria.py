"""Does a measure that needs no labels choose the network that performs best?"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rep_kedro.analyses.diagnostics.label_free import MEASURES
from rep_kedro.analyses.selection.params import STUDY, CriteriaParams, ModelSelectionParams
from rep_kedro.analyses.selection.runs import (
    ALL,
    Criterion,
    Runs,
    collect_study,
    digest_of_files,
    read_runs_tables,
)
from rep_kedro.schemas.selection import SELECTION_CRITERIA, SELECTION_REGRET

if TYPE_CHECKING:
    from pandas import DataFrame
    from torch import Tensor
else:
    DataFrame = Tensor = Any  # Kedro reads the hints

POOLED = "pools {} methods, between which a criterion cannot be compared"
SMALLEST_SWEEP = 3


def judge_criteria(
    label_free_measures: DataFrame,
    probe_results: DataFrame,
    network_settings: DataFrame,
    params: ModelSelectionParams,
) -> tuple[DataFrame, DataFrame]:
    """Compare criteria with performance over trained networks.

    Args:
        label_free_measures: Criteria of the networks of the study.
        probe_results: Their performance: test accuracy of the final layer's probe.
        network_settings: Their objective and settings.
        params: ``params.criteria``: tables of runs made elsewhere, resamples.

    Returns:
        Tables `selection_criteria` and `selection_regret`, columns as in docs/tables.md. Groups are methods
        and `all`; a sweep is a set of at least three runs of one method that differ in one setting alone.
    """
    settings = params.criteria
    sources = [
        collect_study(label_free_measures, probe_results, network_settings),
        *read_runs_tables(settings),
    ]
    criteria, regrets = [], []
    for runs in sources:
        series = list(_series_of(runs))
        criteria += sorted((row for each in series for row in _correlate(each, settings)), key=_place)
        regrets += sorted((row for each in series for row in _regrets(each, settings)), key=_place)
    return SELECTION_CRITERIA.frame(criteria), SELECTION_REGRET.frame(regrets)


def what_counts(params: ModelSelectionParams) -> dict[str, Any]:
    """Return the parameters that decide the tables: settings, and the content of files instead of paths."""
    content = digest_of_files(params.criteria)
    given = params.criteria.model_dump(mode="json")
    tables = given.pop("runs_tables")
    return given | {
        "runs_tables": {name: tables[name] | {"file": digest} for name, digest in content.items()}
    }


@dataclass(frozen=True)
class _Series:
    """Criteria that are known for the same runs of a group, and one performance of these.

    Attributes:
        runs: The source.
        about: Source, group, performance and caution, as columns.
        names: Of the runs.
        criteria: What chooses.
    """

    runs: Runs
    about: Mapping[str, str]
    names: Sequence[str]
    criteria: Sequence[Criterion]

    def rows(self) -> list[dict[str, Any]]:
        """Return the columns that identify each criterion."""
        return [
            {
                **self.about,
                "criterion": each.measure,
                "space": each.space,
                "criterion_set": each.stimulus_set,
            }
            for each in self.criteria
        ]

    def values(self, names: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return criteria (n_criteria, n_runs) and performance (n_runs,) of some of the runs."""
        import torch

        x = [[self.runs.criteria[each][name] for name in names] for each in self.criteria]
        y = [self.runs.performances[self.about["performance"]][name] for name in names]
        return torch.tensor(x, dtype=torch.float64), torch.tensor(y, dtype=torch.float64)

    def preferences(self, criteria: Tensor) -> Tensor:
        """Return criteria so that the largest value is the preferred one."""
        import torch

        is_study = self.runs.source == STUDY
        prefers = [MEASURES[each.measure].prefers if is_study else "high" for each in self.criteria]
        of = {"high": criteria, "low": -criteria, "near 1": -(criteria - 1).abs()}
        return torch.stack([of[which][row] for row, which in enumerate(prefers)])


def _series_of(runs: Runs) -> Iterator[_Series]:
    for performance, y in runs.performances.items():
        by_runs: dict[tuple[str, ...], list[Criterion]] = defaultdict(list)
        for criterion, x in runs.criteria.items():
            by_runs[tuple(sorted(x.keys() & y.keys()))].append(criterion)
        for names, criteria in by_runs.items():
            for group in [*sorted({runs.groups[name] for name in names}), ALL]:
                chosen = [name for name in names if group in (ALL, runs.groups[name])]
                methods = {runs.groups[name] for name in chosen}
                about = {
                    "source": runs.source,
                    "group": group,
                    "performance": performance,
                    "caution": POOLED.format(len(methods)) if len(methods) > 1 else "",
                }
                yield _Series(runs, about, chosen, criteria)


def _place(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the order of rows; groups of one criterion and performance stay in their order."""
    return tuple(row[name] for name in ("criterion", "space", "criterion_set", "performance"))


def _correlate(series: _Series, params: CriteriaParams) -> Iterator[dict[str, Any]]:
    from rep_kedro.kernels.statistics.selection_criteria import correlate_criteria, spread_of_replicates

    x, y = series.values(series.names)
    found = correlate_criteria(x, y, _draw(len(y), params), confidence=params.confidence)
    kinds = _kinds(series.names, series.runs)
    spreads, n_replicates = spread_of_replicates(x, kinds)
    performance_spread = float(spread_of_replicates(y, kinds)[0])
    for index, about in enumerate(series.rows()):
        row = about | {
            "n_runs": len(y),
            "n_replicates": n_replicates,
            "criterion_spread": float(spreads[index]),
            "performance_spread": performance_spread,
        }
        for name, each in found.items():
            row |= {name: float(each.value[index]), f"{name}_p": float(each.p_value[index])}
            row |= {f"{name}_low": float(each.low[index]), f"{name}_high": float(each.high[index])}
        undefined = [name for name in found if row[name] != row[name]]
        yield row | {"reason": _explain(undefined, x[index], y)}


def _explain(undefined: Sequence[str], criterion: Tensor, performance: Tensor) -> str:
    if not undefined:
        return ""
    if len(criterion) < 3:
        return "fewer than 3 runs have both values"
    if undefined == ["pearson_log2"]:
        return (
            "no logarithm: the criterion is not positive in all runs"
            if (criterion <= 0).any()
            else ("the logarithm of the criterion does not vary")
        )
    return f"the {'performance' if performance.max() == performance.min() else 'criterion'} does not vary"


def _sweeps(names: Sequence[str], runs: Runs, group: str) -> Iterator[tuple[str, str, list[tuple[Any, str]]]]:
    """Yield axis, the other settings, and the runs with their values of the axis: `all`, then each sweep."""
    if len(names) >= SMALLEST_SWEEP:
        yield ALL, "", [(0, name) for name in names]
    if group == ALL:
        return
    axes = sorted({setting for name in names for setting in runs.settings[name]})
    for axis in axes:
        found: dict[str, list[tuple[Any, str]]] = defaultdict(list)
        for name in names:
            settings = runs.settings[name]
            if axis in settings:
                rest = ", ".join(f"{key}={value}" for key, value in sorted(settings.items()) if key != axis)
                found[rest].append((settings[axis], name))
        for rest, members in sorted(found.items()):
            if len({value for value, _ in members}) >= SMALLEST_SWEEP:
                yield axis, rest, sorted(members, key=lambda member: (_sortable(member[0]), member[1]))


def _sortable(value: Any) -> tuple[int, float, str]:
    try:
        return 0, float(value), ""
    except (TypeError, ValueError):
        return 1, 0.0, str(value)


def _regrets(series: _Series, params: CriteriaParams) -> Iterator[dict[str, Any]]:
    for sweep in _sweeps(series.names, series.runs, series.about["group"]):
        for about, row in zip(series.rows(), _regrets_of(sweep, series, params), strict=True):
            yield about | row


def _regrets_of(
    sweep: tuple[str, str, list[tuple[Any, str]]], series: _Series, params: CriteriaParams
) -> Iterator[dict[str, Any]]:
    import torch

    from rep_kedro.kernels.statistics.resampling import summarise_replicates
    from rep_kedro.kernels.statistics.selection_criteria import choose_by_criteria, resample_regret

    axis, fixed, members = sweep
    names = [name for _, name in members]
    places = {value: place for place, value in enumerate(sorted({_sortable(value) for value, _ in members}))}
    order = torch.tensor([places[_sortable(value)] for value, _ in members])
    x, y = series.values(names)
    x = series.preferences(x)
    found = choose_by_criteria(x, y, order, tolerance=params.plateau_tolerance)
    interval = None
    if params.n_bootstrap:
        counts = _draw(len(names), params)
        regrets = resample_regret(x, y, order, counts, tolerance=params.plateau_tolerance)
        interval = summarise_replicates(regrets.T, found.regret, confidence=params.confidence)
    for index in range(len(x)):
        chosen, best, n_plateau = (int(v[index]) for v in (found.chosen, found.best, found.n_plateau))
        row = {
            "axis": axis,
            "fixed": fixed,
            "n_runs": len(names),
            "chosen_run": names[chosen],
            "best_run": names[best],
            "chosen_performance": float(y[chosen]),
            "best_performance": float(y[best]),
            "regret": float(found.regret[index]),
            "n_plateau": n_plateau,
            "took_first": n_plateau > 1,
        }
        if interval is not None:
            row |= {"regret_low": float(interval.low[index]), "regret_high": float(interval.high[index])}
        yield row


def _kinds(names: Sequence[str], runs: Runs) -> Tensor:
    """Return the index of each run's method and settings."""
    import torch

    kinds = [
        (runs.groups[name], *sorted((k, str(v)) for k, v in runs.settings[name].items())) for name in names
    ]
    places = {kind: place for place, kind in enumerate(sorted(set(kinds)))}
    return torch.tensor([places[kind] for kind in kinds], dtype=torch.int64)


def _draw(n_runs: int, params: CriteriaParams) -> Tensor:
    import torch

    from rep_kedro.kernels.statistics.resampling import draw_bootstrap_counts

    return draw_bootstrap_counts(
        torch.zeros(n_runs, dtype=torch.int64),
        params.n_bootstrap,
        generator=torch.Generator().manual_seed(params.seed),
    )
