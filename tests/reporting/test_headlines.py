"""Sentences of the report name a winner only where other networks and images would name it too."""

import re
from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from rep_kedro.reporting.headlines import (
    Ranking,
    Undecided,
    ends_in_words,
    rank_columns,
    rank_consistency,
    rank_groups,
    rank_kinds,
    rank_sameness,
)
from rep_kedro.reporting.page import Section
from rep_kedro.reporting.readout.text import accuracies_in_words, leaders_in_words
from rep_kedro.reporting.report import summarise
from rep_kedro.reporting.selection.text import selection_in_words
from rep_kedro.reporting.similarity.text import objectives_in_words, pairs_in_words
from rep_kedro.reporting.tables import best_layers

OBJECTIVES = ("image / text", 'a + "b"', "c\nd")
NO_INFERENCE = pd.DataFrame(
    columns=["stimulus_set", "model_a", "model_b", "similarity_low", "similarity_high"]
)
N_RUNS = 60


def _pairs(seed, effects=(0.0, 0.0, 0.0), n_per_kind=4, n_sets=3):
    """Similarities of networks of three objectives; an effect moves pairs within its objective."""
    rng = np.random.default_rng(seed)
    kinds = np.repeat(np.arange(3), n_per_kind)
    network = 0.1 * rng.normal(size=len(kinds))
    return pd.DataFrame(
        [
            {"stimulus_set": f"set_{s}", "measure": "cka", "model_a": f"net_{i}", "model_b": f"net_{j}",
             "objective_a": OBJECTIVES[kinds[i]], "objective_b": OBJECTIVES[kinds[j]],
             "similarity": 0.5 + network[i] + network[j] + 0.05 * rng.normal()
             + effects[kinds[i]] * (kinds[i] == kinds[j])}
            for s in range(n_sets)
            for i, j in combinations(range(len(kinds)), 2)
        ]
    )  # fmt: skip


def test_a_clear_winner_is_named_with_its_name_whole():
    found = objectives_in_words(_pairs(0, effects=(5.0, 0.0, 0.0)), NO_INFERENCE)
    assert found[0].startswith("By objective, “image / text” / “image / text” pairs are most similar: 5.")
    assert "at least" in found[0]


def test_of_equal_kinds_no_winner_is_named_and_one_sentence_says_so():
    named = 0
    for seed in range(N_RUNS):
        shown = objectives_in_words(_pairs(seed), NO_INFERENCE)
        named += any("is undecided" not in sentence for sentence in shown)
    assert named <= 0.15 * N_RUNS  # three statements, each at 0.05
    assert objectives_in_words(_pairs(1), NO_INFERENCE)[0] == (
        "By objective, which pairs are most or least similar is undecided: none of the 6 is clearly ahead."
    )


def test_a_winner_that_other_stimuli_might_reverse_is_not_named():
    rows = _pairs(0, effects=(1.0, 0.0, 0.0))
    assert "are most similar: " in objectives_in_words(rows, NO_INFERENCE)[0]
    unsure = rows.assign(similarity_low=rows["similarity"] - 3, similarity_high=rows["similarity"] + 3)
    assert "is undecided" in objectives_in_words(rows, unsure)[0]
    narrow = rows.assign(similarity_low=rows["similarity"] - 0.2, similarity_high=rows["similarity"] + 0.2)
    assert "are most similar: " in objectives_in_words(rows, narrow)[0]
    assert "is undecided" in objectives_in_words(rows, narrow, confidence=0.1)[0]


def test_one_network_of_a_kind_decides_nothing():
    rows = _pairs(0, effects=(5.0, 0.0, 0.0), n_per_kind=1)
    assert all("is undecided" in shown for shown in objectives_in_words(rows, NO_INFERENCE))


def test_some_rivals_are_named_in_the_order_of_names():
    ranking = Ranking(("b", "a", "c"), (0.5, 0.4, 0.1), 0, (1,), float("nan"))
    assert ranking.in_words("{name} wins", "Who wins") == (
        "Who wins is undecided: a (0.40) and b (0.50) are too close to separate."
    )
    other = Ranking(("b", "a", "c"), (0.5, 0.4, 0.1), 2, (), 0.2)
    assert ends_in_words(ranking, other, "{name} is {end} old", "Who is {end} old") == [
        "Who is most old is undecided: a (0.40) and b (0.50) are too close to separate.",
        "c is least old: 0.10, at least 0.20 from every other.",
    ]


def test_the_same_objective_is_set_against_others():
    ranking = rank_sameness(_pairs(0, effects=(3.0, 3.0, 3.0)), "similarity")
    assert ranking.names[ranking.leader] == "the same objective"
    assert not ranking.rivals


def test_without_pairs_or_with_one_kind_there_is_no_ranking():
    rows = _pairs(0)
    assert rank_kinds(rows[:0], "similarity") is None
    assert rank_sameness(rows[:0], "similarity") is None
    assert rank_consistency(rows[rows["stimulus_set"] == "set_0"]) is None
    one = rows[(rows["objective_a"] == "c\nd") & (rows["objective_b"] == "c\nd")]
    assert rank_kinds(one, "similarity") is None
    assert pairs_in_words(rows[:0]) == []


def test_strategies_are_ranked_over_stimulus_sets():
    rng = np.random.default_rng(0)

    def rows(gain, n_sets):
        return pd.DataFrame(
            [
                {"stimulus_set": f"set_{s}", "strategy": strategy, "n_models": 3, "draw": draw,
                 "ensemble_accuracy": 0.6 + 0.02 * s + gain * (strategy == "top") + 0.002 * rng.normal()}
                for s in range(n_sets)
                for strategy in ("top", "random", "within_one_cluster")
                for draw in range(3)
            ]
        )  # fmt: skip

    assert "are most accurate when chosen as “most accurate”" in selection_in_words(rows(0.1, 8))[0]
    assert "is undecided" in selection_in_words(rows(0.0, 8))[0]
    assert "is undecided" in selection_in_words(rows(0.1, 1))[0]


def _probes(seed, gain=0.0, n_per_kind=6):
    """Layers whose test accuracies run against their held-out ones."""
    rng = np.random.default_rng(seed)
    rows = []
    for index in range(2 * n_per_kind):
        base = 0.6 + 0.02 * rng.normal() + gain * (index < n_per_kind)
        for depth, held_out, test in ((0, 0.9, base), (1, 0.5, 0.99)):
            rows.append(
                {"stimulus_set": "digits", "model": f"net_{index}", "layer": f"layer{depth}", "depth": depth,
                 "is_final": depth == 1, "validation_accuracy": held_out, "test_accuracy": test,
                 "n_test": 400, "objective": "supervised" if index < n_per_kind else "image / text"}
            )  # fmt: skip
    return pd.DataFrame(rows)


def test_layers_are_chosen_on_held_out_images_whatever_they_reach_on_test_images():
    best = best_layers(_probes(0))
    assert set(best["layer"]) == {"layer0"}
    assert (best["test_accuracy"] < 0.8).all()
    assert not len(best_layers(_probes(0).assign(validation_accuracy=np.nan)))
    [shown] = accuracies_in_words(best)
    mean = best["test_accuracy"].mean()
    assert f"digits {100 * mean:.1f} % (95 % interval " in shown
    assert " to " in shown


@pytest.mark.parametrize("n_networks", [2, 3])
def test_intervals_of_the_mean_accuracy_of_few_networks_cover_it(n_networks):
    rng, covered, n_draws = np.random.default_rng(0), 0, 200
    for _ in range(n_draws):
        accuracies = rng.binomial(1000, rng.normal(0.8, 0.05, n_networks).clip(0, 1)) / 1000
        best = pd.DataFrame({"stimulus_set": "digits", "test_accuracy": accuracies, "n_test": 1000})
        ends = re.search(
            r"interval ([\d.]+) % to ([\d.]+) %", accuracies_in_words(best)[0].replace("\xa0", " ")
        )
        covered += float(ends[1]) <= 80 <= float(ends[2])
    assert 0.92 <= covered / n_draws <= 0.99
    assert "interval" not in accuracies_in_words(best[:1])[0]


def test_objectives_are_ranked_by_what_is_read_out_and_ties_are_not():
    [shown] = leaders_in_words(best_layers(_probes(0, gain=0.3)))
    assert shown.startswith(
        "On digits, the training objective with the highest mean accuracy is supervised: 9"
    )
    named = sum("is undecided" not in leaders_in_words(best_layers(_probes(s)))[0] for s in range(N_RUNS))
    assert named <= 0.1 * N_RUNS


def test_few_test_images_leave_open_which_networks_read_out_best():
    best = best_layers(_probes(0, gain=0.1))
    assert "is undecided" not in leaders_in_words(best)[0]
    assert "is undecided" in leaders_in_words(best.assign(n_test=20))[0]


@pytest.mark.parametrize(("gap", "is_decided"), [(0.4, True), (0.0, False)])
def test_layers_are_ranked_over_the_networks_that_have_them(gap, is_decided):
    rng = np.random.default_rng(3)
    wide = pd.DataFrame(0.5 + 0.05 * rng.normal(size=(8, 3)), columns=["first {name}", "second", "third"])
    wide["first {name}"] += gap
    ranking = rank_columns(wide)
    assert bool(not ranking.rivals) == is_decided
    if is_decided:
        assert "fullest layer is first {name}: " in ranking.in_words("fullest layer is {name}", "which")
    assert rank_groups(pd.Series([0.5]), pd.Series(["one"]), n_images=10) is None


def test_the_summary_repeats_what_is_undecided_only_where_all_is():
    undecided = Ranking(("a", "b"), (0.5, 0.4), 0, (1,), float("nan")).in_words("{name} wins", "Who wins")
    assert isinstance(undecided, Undecided)
    sections = [
        Section("alike", answers=["Known.", undecided]),
        Section("selection", answers=[undecided]),
        Section("consistency"),
    ]
    assert [text for _, text in summarise(sections)] == ["Known.", undecided]
