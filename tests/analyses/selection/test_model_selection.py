"""Sets of networks are what their strategy says, and are judged as one by one."""

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy.stats import binomtest
from tests.reference.ensembles import ensemble_accuracy, mean_within
from tests.small_collections import ARROW, make_subset, run_plan, store
from tests.small_study import ROOT

from rep_kedro.analyses.selection import model_selection
from rep_kedro.analyses.selection.model_selection import compute_model_selection
from rep_kedro.analyses.selection.model_sets import choose_sets, make_generator
from rep_kedro.analyses.selection.params import STRATEGIES, ModelSelectionParams
from rep_kedro.datasets import Planned, TableDataset, Tensors
from rep_kedro.datasets.rows import rows_digest
from rep_kedro.datasets.validators import TableContract
from rep_kedro.errors import UserError
from rep_kedro.schemas.probing import MODEL_SELECTION

CLASSES = [2, 5, 9]
LABELS = [2, 5, 9, 5, 2, 9, 9, 5, 2, 2, 5, 9, 2, 5]
MODELS = tuple(f"net_{letter}" for letter in "abcdefgh")
ACCURACIES = np.array([0.5, 0.9, 0.7, 0.7, 0.6, 0.8, 0.4, 0.3])  # on held-out training stimuli
TEST_ACCURACIES = 1.0 - ACCURACIES  # whoever chooses by these chooses the worst
CLUSTERS = {2: [0, 0, 0, 0, 0, 1, 1, 1], 3: [0, 0, 0, 1, 1, 2, 2, 2]}
MEASURE = "cka_linear_debiased"


def make_probabilities(seed):
    rng = np.random.default_rng(seed)
    truth = np.eye(len(CLASSES))[[CLASSES.index(label) for label in LABELS]]
    mixed = 0.7 * rng.dirichlet([0.5] * len(CLASSES), size=len(LABELS)) + 0.3 * truth
    return mixed.astype(np.float16)


def make_clusters(stimulus_set="digits", clusters=CLUSTERS, models=MODELS, measure=MEASURE):
    rows = [
        {"stimulus_set": stimulus_set, "measure": measure, "n_clusters": k, "model": m, "cluster": c}
        for k, labels in clusters.items()
        for m, c in zip(models, labels, strict=True)
    ]
    return pd.DataFrame(rows).astype({"cluster": "Int64"}).assign(silhouette=0.5, reason="")


def make_similarities(measure=MEASURE, stimulus_set="digits"):
    drawn = np.random.default_rng(5).uniform(size=(len(MODELS), len(MODELS)))
    matrix = (drawn + drawn.T) / 2
    rows = [
        {
            "stimulus_set": stimulus_set,
            "measure": measure,
            "model_a": a,
            "model_b": b,
            "similarity": matrix[i, j],
        }
        for i, a in enumerate(MODELS)
        for j, b in enumerate(MODELS)
        if i < j
    ]
    return pd.DataFrame(rows), matrix


@pytest.fixture
def probabilities():
    return {model: make_probabilities(seed) for seed, model in enumerate(MODELS)}


@pytest.fixture
def study(tmp_path, probabilities):
    return make_study(tmp_path, probabilities)


def make_study(tmp_path, probabilities):
    subset = make_subset([1, *LABELS], ["train", *["test"] * len(LABELS)])
    subsets = store(tmp_path / "subsets", {"digits/analysis": subset}, ARROW)
    plan = {}
    for model, values in probabilities.items():
        tensors = {"late/predictions": np.zeros(len(LABELS), np.int32)}
        if values is not None:
            tensors["late/probabilities"] = values
        meta = {"label": "label", "classes": CLASSES, "layers": [{"layer": "late", "is_final": True}]}
        value = Tensors(tensors, meta)
        recipe = {"of": model, "stimulus_subset": subsets["digits/analysis"].reference}
        plan[f"digits/{model}"] = Planned(recipe, lambda value=value: value)
    results = pd.DataFrame(
        [
            {
                "stimulus_set": "digits",
                "model": m,
                "layer": layer,
                "is_final": layer == "late",
                "validation_accuracy": held_out,
                "test_accuracy": test,
            }
            for m, *late in zip(MODELS, ACCURACIES, TEST_ACCURACIES, strict=True)
            for layer, (held_out, test) in (("early", (0.99, 0.99)), ("late", late))
        ]
    )
    return results, run_plan(tmp_path / "probes", plan), subsets


def run(study, clusters=None, similarities=None, **params):
    results, probes, subsets = study
    return compute_model_selection(
        make_clusters() if clusters is None else clusters,
        results,
        make_similarities()[0] if similarities is None else similarities,
        probes,
        subsets,
        ModelSelectionParams.model_validate(params),
    )


def sets_of(table, strategy, n_models=3):
    rows = table[(table["strategy"] == strategy) & (table["n_models"] == n_models)]
    return rows["models"].tolist()


def test_every_set_is_judged_as_by_the_definition(study, probabilities):
    table = run(study, n_models=[2, 3], n_draws=6)
    assert tuple(table.columns) == MODEL_SELECTION.names
    assert (table["reason"] == "").all()
    _, matrix = make_similarities()
    stored = {m: (p / p.sum(1, keepdims=True)).tolist() for m, p in probabilities.items()}
    columns = [CLASSES.index(label) for label in LABELS]
    for row in table.to_dict("records"):
        chosen = row["models"]
        places = [MODELS.index(model) for model in chosen]
        assert len(set(chosen)) == row["n_models"]
        assert row["ensemble_accuracy"] == pytest.approx(ensemble_accuracy(stored, columns, chosen))
        assert row["mean_similarity"] == pytest.approx(mean_within(matrix, places))
        assert row["mean_accuracy"] == pytest.approx(TEST_ACCURACIES[places].mean())
        best = places[int(np.argmax(ACCURACIES[places]))]  # on held-out stimuli, judged on test stimuli
        assert row["best_accuracy"] == TEST_ACCURACIES[best]
        assert row["n_test"] == len(LABELS)
        wilson = binomtest(round(row["ensemble_accuracy"] * len(LABELS)), len(LABELS))
        expected = wilson.proportion_ci(0.95, method="wilson")
        assert (row["ensemble_low"], row["ensemble_high"]) == pytest.approx((expected.low, expected.high))
    assert table["ensemble_accuracy"].nunique() > 4


def test_each_strategy_makes_the_sets_that_it_says(study):
    table = run(study, n_models=[2, 3], n_draws=20)
    assert sets_of(table, "top") == [["net_b", "net_c", "net_f"]]  # of equal accuracy the first by name
    assert sets_of(table, "best_of_each_cluster") == [["net_b", "net_d", "net_f"]]
    assert sets_of(table, "best_of_each_cluster", 2) == [["net_b", "net_f"]]
    by_cluster = dict(zip(MODELS, CLUSTERS[3], strict=True))
    drawn = sets_of(table, "random_of_each_cluster")
    assert {tuple(sorted(by_cluster[m] for m in chosen)) for chosen in drawn} == {(0, 1, 2)}
    assert len({tuple(chosen) for chosen in drawn}) == len(drawn) == 3 * 2 * 3  # all there are
    within = {tuple(chosen) for chosen in sets_of(table, "within_one_cluster")}
    assert within == {("net_a", "net_b", "net_c"), ("net_f", "net_g", "net_h")}
    assert len({tuple(chosen) for chosen in sets_of(table, "random")}) == 20
    n_sets = dict.fromkeys(STRATEGIES, (20, 20)) | {
        "top": (1, 1),
        "best_of_each_cluster": (1, 1),
        "random_of_each_cluster": (15, 18),
    }
    assert table.groupby(["strategy", "n_models"]).size().to_dict() == {
        (s, k): n_sets[s][k - 2] for s in STRATEGIES for k in (2, 3)
    }


@pytest.mark.parametrize(("n_networks", "n_draws", "n_sets"), [(4, 10, 4), (4, 4, 4), (4, 3, 3), (8, 55, 55)])
def test_random_sets_never_repeat_and_are_all_there_are_where_these_are_few(n_networks, n_draws, n_sets):
    for seed in range(3):
        sets = choose_sets(
            "random", 3, ACCURACIES[:n_networks], None, n_draws=n_draws, generator=make_generator(seed)
        )
        assert len(sets) == len({tuple(members) for members in sets.tolist()}) == n_sets
        assert (np.diff(sets, axis=1) > 0).all()
        assert (sets < n_networks).all()


def test_every_network_and_every_large_cluster_is_drawn_as_often():
    clusters = np.array(CLUSTERS[3])
    generator = make_generator(0)

    def share(strategy, n_times):
        drawn = [
            choose_sets(strategy, 3, ACCURACIES, clusters, n_draws=2, generator=generator)
            for _ in range(n_times)
        ]
        return np.bincount(np.concatenate(drawn).ravel()) / (2 * n_times)

    np.testing.assert_allclose(share("random", 4000), 3 / 8, atol=0.02)
    expected = [1 / 3] * 3 + [1 / 2] * 2 + [1 / 3] * 3
    np.testing.assert_allclose(share("random_of_each_cluster", 3000), expected, atol=0.025)
    larger = np.array([0] * 5 + [1] * 3)
    sets = choose_sets("within_one_cluster", 2, ACCURACIES, larger, n_draws=6000, generator=make_generator(0))
    assert np.isin(sets, [5, 6, 7]).all(1).mean() == pytest.approx(0.5, abs=0.02)


def test_draws_depend_on_the_seed_alone_and_not_on_what_else_is_asked(study):
    whole = run(study, n_models=[2, 3], n_draws=5)
    part = run(study, n_models=[3], strategies=["random", "top"], n_draws=5)
    assert sets_of(whole, "random") == sets_of(part, "random")
    assert sets_of(run(study, n_draws=5, seed=1), "random") != sets_of(part, "random")


def test_chosen_networks_are_lists_of_names_in_the_contract_and_in_the_file(study, tmp_path):
    catalog = yaml.safe_load((ROOT / "conf/base/catalog_probing.yml").read_text())
    contract = TableContract(**catalog["model_selection"]["validator"]["options"])
    table = run(study, n_models=[3, 9])
    dataset = TableDataset(filepath=str(tmp_path / "model_selection.parquet"))
    dataset.save(contract.validate(table))
    stored = contract.validate(dataset.load())
    assert [None if names is None else list(names) for names in stored["models"]] == table["models"].tolist()
    assert rows_digest(stored) == rows_digest(table)
    joined = table.assign(models=table["models"].map(lambda names: names and " + ".join(names)))
    with pytest.raises(UserError, match="column models is not list of texts in"):
        contract.validate(joined)


def test_random_sets_are_the_same_for_all_measures(study):
    other = "cka_linear_biased"
    clusters = pd.concat([make_clusters(), make_clusters(measure=other)])
    similarities = pd.concat([make_similarities()[0], make_similarities(other)[0].assign(similarity=0.25)])
    table = run(study, clusters, similarities, n_draws=4)
    by_measure = {
        m: table[(table["measure"] == m) & (table["strategy"] == "random")] for m in (MEASURE, other)
    }
    assert by_measure[MEASURE]["models"].tolist() == by_measure[other]["models"].tolist()
    assert (by_measure[other]["mean_similarity"] == 0.25).all()
    assert by_measure[MEASURE]["mean_similarity"].nunique() == 4


def test_clusters_may_be_those_of_the_mean_over_stimulus_sets(study):
    clusters = pd.concat([make_clusters(), make_clusters("mean", {3: [0, 1, 1, 2, 2, 2, 2, 2]})])
    own, mean = (run(study, clusters, clusters_of=of) for of in ("own", "mean"))
    assert sets_of(own, "best_of_each_cluster") == [["net_b", "net_d", "net_f"]]
    assert sets_of(mean, "best_of_each_cluster") == [["net_a", "net_b", "net_f"]]


def test_directed_similarities_count_by_both_directions(study):
    forth, _ = make_similarities()
    back = forth.rename(columns={"model_a": "model_b", "model_b": "model_a"})
    table = run(study, similarities=pd.concat([forth.assign(similarity=0.2), back.assign(similarity=0.6)]))
    assert table["mean_similarity"].tolist() == pytest.approx([0.4] * len(table))


def test_what_cannot_be_chosen_has_a_row_with_a_reason(study):
    clusters = make_clusters(clusters={3: [0, 0, 0, 0, 1, 1, 2, 2], 4: [0, 0, 1, 1, 2, 2, 3, 3]})
    table = run(study, clusters, n_models=[3, 4, 5, 9], n_draws=2)
    table = table[table["draw"] == 0].set_index(["strategy", "n_models"])
    assert table.at[("top", 9), "reason"] == "8 networks have probes; a set needs 9"
    assert (
        "no clustering into 5 clusters; add 5 to model_maps"
        in table.at[("best_of_each_cluster", 5), "reason"]
    )
    assert table.at[("within_one_cluster", 4), "reason"] == (
        "no cluster has 4 networks with probes, the largest cluster has 2"
    )
    empty = table[table["models"].isna()]
    assert (empty["reason"] != "").all()
    assert empty[["mean_accuracy", "ensemble_accuracy", "mean_similarity"]].isna().all().all()


def test_a_cluster_without_probes_has_a_reason(study):
    models = (*MODELS[:-1], "net_z")
    clusters = make_clusters(clusters={3: [0, 0, 0, 1, 1, 1, 1, 2]}, models=models)
    table = run(study, clusters).set_index("strategy")
    assert table.at["best_of_each_cluster", "reason"] == "cluster 2 of 3 has no network with a probe"


def test_networks_that_were_left_out_of_the_clusters_are_in_none(study):
    clusters = make_clusters()
    clusters.loc[clusters["model"] == "net_b", "cluster"] = None
    table = run(study, clusters, n_draws=20)
    assert sets_of(table, "best_of_each_cluster") == [["net_c", "net_d", "net_f"]]
    for strategy in ("random_of_each_cluster", "within_one_cluster"):
        assert all("net_b" not in chosen for chosen in sets_of(table, strategy))


def test_probes_of_what_was_not_compared_are_in_no_set(study):
    few = make_clusters(clusters={3: [0, 0, 1, 1, 2]}, models=MODELS[:5])
    assert sets_of(run(study, few), "top") == [["net_b", "net_c", "net_d"]]
    table = run(study, few, n_draws=40)
    assert not {"net_f", "net_g", "net_h"} & set(table["models"].dropna().explode())


def test_without_probabilities_there_is_no_ensemble_and_a_reason(tmp_path, probabilities):
    study = make_study(tmp_path, probabilities | {"net_b": None})
    table = run(study, n_draws=10)
    with_b = table["models"].map(lambda chosen: "net_b" in chosen)
    assert table["ensemble_accuracy"].isna().tolist() == with_b.tolist()
    assert (
        table[with_b]["reason"].str.startswith("no probabilities are stored for net_b: set probing.")
    ).all()
    assert table["mean_accuracy"].notna().all()
    nobody = run(make_study(tmp_path / "none", dict.fromkeys(MODELS)), n_draws=2)
    assert nobody["ensemble_accuracy"].isna().all()


def test_an_undefined_similarity_within_a_set_has_a_reason(study):
    similarities, _ = make_similarities()
    similarities.loc[similarities["model_a"] == "net_b", "similarity"] = np.nan
    table = run(study, similarities=similarities)
    undefined = table["mean_similarity"].isna()
    assert undefined.any()
    assert set(table[undefined]["reason"]) == {"a similarity between two of the networks is undefined"}
    assert (table[~undefined]["reason"] == "").all()


def test_blocks_of_stimuli_change_nothing(study, monkeypatch):
    whole = run(study)
    monkeypatch.setattr(model_selection, "BLOCK_BYTES", 8 * 3 * 50)
    pd.testing.assert_frame_equal(run(study), whole)


def test_without_clusters_or_probes_the_table_is_empty(study):
    assert tuple(run(study, make_clusters().iloc[:0]).columns) == MODEL_SELECTION.names
    assert len(run(study, make_clusters().iloc[:0])) == 0
    results, _, subsets = study
    assert len(run((results, {}, subsets))) == 0


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"strategies": ["best"]}, "Input should be 'top', 'random'"),
        ({"strategies": ["top", "top"]}, r"listed twice: \['top'\]"),
        ({"n_models": [3, 3]}, r"listed twice: \[3\]"),
        ({"n_models": [1]}, "greater than or equal to 2"),
        ({"draws": 3}, "not permitted"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        ModelSelectionParams.model_validate(wrong)


def test_without_held_out_accuracies_nothing_is_chosen_on_test_stimuli(study):
    results, probes, subsets = study
    unknown = results.assign(validation_accuracy=np.nan)
    table = run((unknown, probes, subsets), n_models=[3], n_draws=4)
    by_accuracy = table["strategy"].isin(["top", "best_of_each_cluster"])
    assert by_accuracy.sum() == 2
    assert table.loc[by_accuracy, "ensemble_accuracy"].isna().all()
    assert table.loc[by_accuracy, "reason"].str.contains("test stimuli must not choose it").all()
    others = table[~by_accuracy]
    assert others["ensemble_accuracy"].notna().all()
    assert others["best_accuracy"].isna().all()
    assert others["reason"].str.contains("test stimuli must not decide").all()
