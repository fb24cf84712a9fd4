"""Does a measure that needs no labels choose the network that performs best?"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rep_kedro.analyses.selection.params import CriteriaParams, ModelSelectionParams
from rep_kedro.analyses.selection.runs import (
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

ALL = "all"
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
        for about, x, y in _series_of(runs):
            names = sorted(x.keys() & y.keys())
            for group in [*sorted({runs.groups[name] for name in names}), ALL]:
                chosen = [name for name in names if group in (ALL, runs.groups[name])]
                described = {"source": runs.source, "group": group, **about}
                criteria.append(described | _correlate(chosen, x, y, runs, settings))
                for sweep in _sweeps(chosen, runs, group):
                    regrets.append(described | _regret(sweep, x, y, settings))
    return SELECTION_CRITERIA.frame(criteria), SELECTION_REGRET.frame(regrets)


def what_counts(params: ModelSelectionParams) -> dict[str, Any]:
    """Return the parameters that decide the tables: settings, and the content of files instead of paths."""
    content = digest_of_files(params.criteria)
    given = params.criteria.model_dump(mode="json")
    tables = given.pop("runs_tables")
    return given | {
        "runs_tables": {name: tables[name] | {"file": digest} for name, digest in content.items()}
    }


def _series_of(runs: Runs) -> Iterator[tuple[dict[str, str], Mapping[str, float], Mapping[str, float]]]:
    for criterion, x in sorted(runs.criteria.items(), key=lambda item: _place(item[0])):
        for performance, y in sorted(runs.performances.items()):
            about = {
                "criterion": criterion.measure,
                "space": criterion.space,
                "criterion_set": criterion.stimulus_set,
                "performance": performance,
            }
            yield about, x, y


def _place(criterion: Criterion) -> tuple[str, str, str]:
    return criterion.measure, criterion.space, criterion.stimulus_set


def _correlate(
    names: Sequence[str], x: Mapping[str, float], y: Mapping[str, float], runs: Runs, params: CriteriaParams
) -> dict[str, Any]:
    from rep_kedro.kernels.statistics.selection_criteria import correlate_criterion, spread_of_replicates

    criterion, performance = _values(names, x), _values(names, y)
    found = correlate_criterion(
        criterion, performance, _draw(len(names), params), confidence=params.confidence
    )
    kinds = _kinds(names, runs)
    spread, n_replicates = spread_of_replicates(criterion, kinds)
    row: dict[str, Any] = {
        "n_runs": len(names),
        "n_replicates": n_replicates,
        "criterion_spread": spread,
        "performance_spread": spread_of_replicates(performance, kinds)[0],
    }
    for name, each in found.items():
        row |= {name: each.value, f"{name}_p": each.p_value}
        row |= {f"{name}_low": each.low, f"{name}_high": each.high}
    undefined = [name for name, each in found.items() if each.value != each.value]
    return row | {"reason": _explain(undefined, criterion, performance)}


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


def _regret(
    sweep: tuple[str, str, list[tuple[Any, str]]],
    x: Mapping[str, float],
    y: Mapping[str, float],
    params: CriteriaParams,
) -> dict[str, Any]:
    import torch

    from rep_kedro.kernels.statistics.selection_criteria import choose_by_criterion, resample_regret

    axis, fixed, members = sweep
    names = [name for _, name in members]
    values = sorted({_sortable(value) for value, _ in members})
    order = torch.tensor([values.index(_sortable(value)) for value, _ in members])
    criterion, performance = _values(names, x), _values(names, y)
    choice = choose_by_criterion(criterion, performance, order, tolerance=params.plateau_tolerance)
    row: dict[str, Any] = {
        "axis": axis,
        "fixed": fixed,
        "n_runs": len(names),
        "chosen_run": names[choice.chosen],
        "best_run": names[choice.best],
        "chosen_performance": float(performance[choice.chosen]),
        "best_performance": float(performance[choice.best]),
        "regret": choice.regret,
        "n_plateau": choice.n_plateau,
        "took_first": choice.n_plateau > 1,
    }
    counts = _draw(len(names), params)
    if not len(counts):
        return row
    regrets = resample_regret(criterion, performance, order, counts, tolerance=params.plateau_tolerance)
    ends = torch.tensor([(1 - params.confidence) / 2, (1 + params.confidence) / 2], dtype=torch.float64)
    low, high = torch.quantile(regrets, ends).tolist()
    return row | {"regret_low": low, "regret_high": high}


def _values(names: Sequence[str], of: Mapping[str, float]) -> Tensor:
    import torch

    return torch.tensor([of[name] for name in names], dtype=torch.float64)


def _kinds(names: Sequence[str], runs: Runs) -> Tensor:
    """Return the index of each run's method and settings."""
    import torch

    kinds = [
        (runs.groups[name], *sorted((k, str(v)) for k, v in runs.settings[name].items())) for name in names
    ]
    return torch.tensor([sorted(set(kinds)).index(kind) for kind in kinds], dtype=torch.int64)


def _draw(n_runs: int, params: CriteriaParams) -> Tensor:
    import torch

    from rep_kedro.kernels.statistics.resampling import draw_bootstrap_counts

    return draw_bootstrap_counts(
        torch.zeros(n_runs, dtype=torch.int64),
        params.n_bootstrap,
        generator=torch.Generator().manual_seed(params.seed),
    )
