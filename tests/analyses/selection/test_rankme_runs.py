"""The published replication of RankMe (56 runs, MIT: github.com/johnwikman/rankme-reprod), to its digits."""

from pathlib import Path

import pandas as pd
import pytest
from pydantic import ValidationError

from rep_kedro.analyses.selection.criteria import judge_criteria
from rep_kedro.analyses.selection.params import ModelSelectionParams
from rep_kedro.errors import UserError
from rep_kedro.schemas.probing import PROBE_RESULTS

RUNS = Path(__file__).parent / "rankme_runs.csv"
RANK = "rank_tiny_imagenet"
# pearson, its p-value, pearson of log2, spearman, kendall
PUBLISHED = {
    ("simclr", "acc_cifar100"): (0.065, 0.756, -0.027, -0.292, -0.187),
    ("simclr", "acc_caltech101"): (-0.012, 0.954, -0.117, -0.392, -0.264),
    ("vicreg", "acc_cifar100"): (0.602, 0.000, 0.878, 0.957, 0.836),
    ("vicreg", "acc_caltech101"): (0.588, 0.001, 0.842, 0.930, 0.794),
    ("all", "acc_cifar100"): (0.555, 0.000, 0.861, 0.742, 0.554),
    ("all", "acc_caltech101"): (0.518, 0.000, 0.812, 0.700, 0.515),
}
# performance of the run with the highest rank, and of the best run
CHOSEN = {
    ("simclr", "acc_cifar100"): (23.22, 24.01),
    ("simclr", "acc_caltech101"): (38.59, 43.15),
    ("vicreg", "acc_cifar100"): (21.94, 23.40),
    ("vicreg", "acc_caltech101"): (39.29, 39.29),
    ("all", "acc_cifar100"): (21.94, 24.01),
    ("all", "acc_caltech101"): (39.29, 43.15),
}


def _judge(**changes):
    table = {
        "file": str(RUNS),
        "run": "run",
        "group": "trainer",
        "exclude": "excluded",
        "criteria": [RANK, "rank_cifar100"],
        "performances": ["acc_cifar100", "acc_caltech101"],
        "settings": ["lr", "weight_decay", "temperature", "sim_coeff", "std_coeff"],
    }
    params = ModelSelectionParams.model_validate(
        {"criteria": {"runs_tables": {"rankme": table | changes}, "n_bootstrap": 200}}
    )
    nothing = pd.DataFrame(columns=["stimulus_set", "model", "space", "measure", "value"])
    settings = pd.DataFrame(columns=["model", "setting", "value"])
    return judge_criteria(nothing, PROBE_RESULTS.frame([]), settings, params)


@pytest.fixture(scope="module")
def tables():
    return _judge()


def test_correlations_are_the_published_ones(tables):
    rows = tables[0][tables[0]["criterion"] == RANK].set_index(["group", "performance"])
    for key, expected in PUBLISHED.items():
        row = rows.loc[key]
        found = row[["pearson", "pearson_p", "pearson_log2", "spearman", "kendall"]]
        assert [round(float(value), 3) for value in found] == list(expected), key
        for name in ("pearson", "pearson_log2", "spearman", "kendall"):
            assert row[f"{name}_low"] < row[f"{name}_high"]
    assert list(rows["n_runs"]) == [25, 31, 56, 25, 31, 56]
    assert set(rows["source"]) == {"rankme"}


def test_regret_of_the_highest_rank_is_the_published_one(tables):
    rows = tables[1]
    rows = rows[(rows["criterion"] == RANK) & (rows["axis"] == "all")].set_index(["group", "performance"])
    for key, (chosen, best) in CHOSEN.items():
        row = rows.loc[key]
        assert (round(row["chosen_performance"], 2), round(row["best_performance"], 2)) == (chosen, best)
        assert row["regret"] == row["best_performance"] - row["chosen_performance"]
        assert row["regret_low"] <= row["regret"] <= row["best_performance"]


def test_sweeps_change_one_setting_and_replicates_are_found(tables):
    criteria, regret = tables
    rows = regret[(regret["criterion"] == RANK) & (regret["performance"] == "acc_cifar100")]
    temperature = rows[(rows["axis"] == "temperature") & rows["fixed"].str.contains("lr=0.6")].iloc[0]
    assert temperature["n_runs"] == 7
    assert temperature["chosen_performance"] == 23.22  # the lowest temperature has the highest rank
    simclr = criteria[(criteria["criterion"] == RANK) & (criteria["group"] == "simclr")].iloc[0]
    assert simclr["n_replicates"] == 3
    ranks = pd.read_csv(RUNS).query("lr == 0.5 and temperature == 0.15 and weight_decay == 1e-6")[RANK]
    assert simclr["criterion_spread"] == pytest.approx(ranks.std())


def test_rows_of_several_methods_together_are_cautioned(tables):
    words = "pools 2 methods, between which a criterion cannot be compared"
    for table in tables:
        found = table.groupby("group")["caution"].unique()
        assert {group: list(each) for group, each in found.items()} == {
            "all": [words],
            "simclr": [""],
            "vicreg": [""],
        }


def test_networks_trained_here_join_and_each_measure_chooses_what_it_prefers():
    models, accuracies = list("abcd"), [0.2, 0.9, 0.5, 0.4]
    values = {
        "rankme": [1.0, 2.0, 8.0, 4.0],
        "alpha_req": [3.0, 1.1, 0.5, 2.0],
        "condition_number": [9.0, 8.0, 7.0, 2.0],
        "uniformity": [-1.0, -3.0, -2.0, -0.5],
    }
    measures = pd.DataFrame(
        [
            {"stimulus_set": "digits", "model": m, "space": "representation", "measure": name, "value": value}
            for name, row in values.items()
            for m, value in zip(models, row, strict=True)
        ]
    )
    probes = pd.DataFrame(
        [
            {"stimulus_set": "digits", "model": m, "is_final": True, "test_accuracy": accuracy}
            for m, accuracy in zip(models, accuracies, strict=True)
        ]
    )
    settings = pd.DataFrame(
        [
            {"model": m, "setting": name, "value": value}
            for place, m in enumerate(models)
            for name, value in {
                "objective": "simclr",
                "temperature": f"0.{place}",
                "seed": str(place),
            }.items()
        ]
    )
    criteria, regret = judge_criteria(
        measures, probes, settings, ModelSelectionParams(criteria={"n_bootstrap": 20})
    )
    rows = regret[(regret["group"] == "simclr") & (regret["axis"] == "temperature")].set_index("criterion")
    preferred = {"alpha_req": "b", "condition_number": "d", "rankme": "c", "uniformity": "b"}
    assert dict(rows["chosen_run"]) == preferred
    assert set(regret["caution"]) == {""}  # one method alone
    assert rows.loc["rankme", "regret"] == pytest.approx(0.4)
    spearman = criteria[criteria["group"] == "simclr"].set_index("criterion")["spearman"]
    assert spearman["alpha_req"] == pytest.approx(-0.8)


def test_a_column_that_is_not_there_is_one_line_with_close_names():
    with pytest.raises(UserError, match=r"runs_tables.rankme: column 'acc_cifar10'.*'acc_cifar100'"):
        _judge(performances=["acc_cifar10"])
    with pytest.raises(ValidationError, match=r"columns are listed twice: \['trainer'\]"):
        _judge(criteria=["trainer"])
    with pytest.raises(ValidationError, match=r"no file .runs\.csv"):
        _judge(file="runs.csv")
