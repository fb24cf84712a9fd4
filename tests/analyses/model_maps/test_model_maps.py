"""Networks are placed and grouped by how alike they are, under any measure; left out only with a reason."""

import math

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from rep_kedro.analyses.model_maps.dissimilarity import (
    average_matrices,
    compute_affinities,
    measure_closeness,
)
from rep_kedro.analyses.model_maps.maps import compute_model_maps
from rep_kedro.analyses.model_maps.params import ClusterParams, ModelMapsParams
from rep_kedro.datasets import LabelledMatrix
from rep_kedro.kernels.statistics.clusters import embed_affinities
from rep_kedro.measures import MEASURES, get_measure
from rep_kedro.schemas.model_maps import MODEL_CLUSTERS, MODEL_POSITIONS

CKA, ANGLE, GULP, DIRECTED, NO_TOP = (
    *("cka_linear_debiased", "cka_linear_angular", "gulp_1", "linear_regression_r2", "cknna_reference_10"),
)


class Handle:
    """A matrix without a file."""

    def __init__(self, values, labels, reasons=None):
        self._matrix = LabelledMatrix(np.asarray(values, dtype=float), tuple(labels), reasons or {}, {})

    def matrix(self):
        return self._matrix


def names(n):
    return [f"net_{index:02d}" for index in range(n)]


def make_values(sizes=(5, 4, 3), inside=0.8, outside=0.2, seed=0):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    values = np.where(labels[:, None] == labels, inside, outside)
    noise = np.random.default_rng(seed).uniform(-0.1, 0.1, size=values.shape)
    values = values + (noise + noise.T) / 2
    np.fill_diagonal(values, 1.0)
    return values, labels


def run(handles, **params):
    return compute_model_maps(handles, ModelMapsParams.model_validate(params))


def study(n_sets=2, measure=CKA, change=None, **options):
    change = change or (lambda values: values)
    handles = {}
    for seed in range(n_sets):
        values, _ = make_values(seed=seed, **options)
        handles[f"set_{seed}/{measure}"] = Handle(change(values), names(len(values)))
    return handles


def labels_of(clusters, stimulus_set="mean", n_clusters=3):
    rows = clusters[(clusters["stimulus_set"] == stimulus_set) & (clusters["n_clusters"] == n_clusters)]
    return rows.sort_values("model")["cluster"].tolist()


def points_of(positions, stimulus_set="mean", method="mds"):
    rows = positions[(positions["stimulus_set"] == stimulus_set) & (positions["method"] == method)]
    return rows.sort_values("model")[["x", "y"]].to_numpy()


def gaps_of(points):
    return np.linalg.norm(points[:, None] - points, axis=-1)


@pytest.mark.parametrize("method", ["spectral", "average_linkage"])
@pytest.mark.parametrize("assign_labels", ["kmeans", "discretize", "cluster_qr"])
def test_groups_are_found_and_numbered_by_their_first_network(method, assign_labels):
    settings = {"method": method, "assign_labels": assign_labels}
    _, clusters = run(study(), methods=[], clusters=settings)
    assert labels_of(clusters) == [0] * 5 + [1] * 4 + [2] * 3
    assert labels_of(clusters, "set_0") == labels_of(clusters, "set_1") == labels_of(clusters)
    of_three = clusters[clusters["n_clusters"] == 3]
    assert (of_three["silhouette"] > 0.5).all()
    assert tuple(clusters.columns) == MODEL_CLUSTERS.names


@pytest.mark.parametrize("seed", [2, 3, 5])
def test_clusters_without_gaps_are_the_best_of_many_starts(seed):
    drawn = np.random.default_rng(seed).uniform(size=(24, 24))  # ten starts end in a worse optimum
    values = (drawn + drawn.T) / 2
    np.fill_diagonal(values, 1.0)
    _, clusters = run({f"set/{CKA}": Handle(values, names(24))}, methods=[], clusters={"n_clusters": [5]})
    labels = np.array(labels_of(clusters, "set", 5))
    embedding = embed_affinities(values, 5)
    inertia = sum(((embedding[labels == k] - embedding[labels == k].mean(0)) ** 2).sum() for k in range(5))
    best = KMeans(5, n_init=500, random_state=1).fit(embedding).inertia_
    assert inertia <= best * (1 + 1e-9)


def test_affinity_propagation_finds_the_number_of_groups_itself():
    _, clusters = run(study(), methods=[], clusters={"method": "affinity_propagation"})
    assert set(clusters["n_clusters"]) == {3}
    assert labels_of(clusters) == [0] * 5 + [1] * 4 + [2] * 3


@pytest.mark.parametrize(
    ("measure", "change"),
    [
        (CKA, lambda s: s),
        (ANGLE, np.arccos),
        (GULP, lambda s: 7 * (1 - s)),
        ("procrustes", lambda s: np.sqrt(2 * (1 - s))),
        (DIRECTED, lambda s: np.clip(s + np.triu(np.full(s.shape, 0.05), 1), 0, 1)),
        (NO_TOP, lambda s: 30 * s),
    ],
)
def test_direction_and_range_of_the_measure_do_not_change_who_belongs_together(measure, change):
    handles = study(measure=measure, change=lambda values: change(np.clip(values, 0, 1)))
    positions, clusters = run(handles)
    assert labels_of(clusters) == [0] * 5 + [1] * 4 + [2] * 3
    for method in ("tsne", "mds"):
        gaps = gaps_of(points_of(positions, method=method))
        same = np.equal.outer(labels_of(clusters), labels_of(clusters)) & ~np.eye(12, dtype=bool)
        assert gaps[same].mean() < gaps[~same].mean() / 2


def test_a_similarity_becomes_one_minus_it_and_a_distance_stays():
    values = np.array([[1, 0.3, -0.2], [0.3, 1, 0.5], [-0.2, 0.5, 1]])
    found = measure_closeness(LabelledMatrix(values, ("a", "b", "c")), get_measure(CKA))
    np.testing.assert_allclose(found.dissimilarities, [[0, 0.7, 1.2], [0.7, 0, 0.5], [1.2, 0.5, 0]])
    apart = np.arccos(np.abs(values))
    found = measure_closeness(LabelledMatrix(apart, ("a", "b", "c")), get_measure(ANGLE))
    np.testing.assert_allclose(found.dissimilarities, apart, atol=1e-12)


def test_without_a_largest_value_self_similarities_take_its_place():
    values = np.array([[40.0, 10, 5], [10, 20, 1], [5, 1, 30]])
    found = measure_closeness(LabelledMatrix(values, ("a", "b", "c")), get_measure(NO_TOP))
    np.testing.assert_allclose(found.dissimilarities, [[0, 20, 30], [20, 0, 24], [30, 24, 0]])
    affinities = compute_affinities(found, get_measure(NO_TOP), "absolute")
    np.testing.assert_allclose(affinities[0, 1:], np.exp([-((20 / 24) ** 2) / 2, -((30 / 24) ** 2) / 2]))


def test_affinities_are_the_absolute_value_the_positive_part_or_what_is_missing_to_the_largest_distance():
    values = np.array([[1, 0.3, -0.2], [0.3, 1, 0.5], [-0.2, 0.5, 1]])
    found = measure_closeness(LabelledMatrix(values, ("a", "b", "c")), get_measure(CKA))
    assert compute_affinities(found, get_measure(CKA), "absolute")[0, 2] == 0.2
    assert compute_affinities(found, get_measure(CKA), "positive")[0, 2] == 0.0
    apart = measure_closeness(LabelledMatrix(1 - np.eye(2), ("a", "b")), get_measure("disagreement"))
    assert compute_affinities(apart, get_measure("disagreement"), "absolute").tolist() == [[1, 0], [0, 1]]


def test_every_measure_gives_dissimilarities_that_its_range_allows():
    for measure in MEASURES.values():
        low, high = measure.value_range
        ends = [value if math.isfinite(value) else math.copysign(9.0, value) for value in (low, high)]
        near, far = (ends[1], ends[0]) if measure.larger_is_more_similar else (ends[0], ends[1])
        values = np.array([[near, near, far], [near, near, far], [far, far, near]])
        found = measure_closeness(LabelledMatrix(values, ("a", "b", "c")), measure)
        assert found.models == ("a", "b", "c"), measure.id
        assert found.dissimilarities[0, 1] == 0, measure.id
        assert found.dissimilarities[0, 2] > 0, measure.id


def test_scaling_keeps_distances_and_all_maps_are_turned_to_fit_the_mean():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(9, 2)) * 0.2
    handles = {}
    for index in range(3):
        moved = points + 0.001 * rng.normal(size=points.shape)
        handles[f"set_{index}/{CKA}"] = Handle(1 - gaps_of(moved), names(9))
    positions, _ = run(handles)
    np.testing.assert_allclose(gaps_of(points_of(positions)), gaps_of(points), atol=0.01)
    for index in range(3):
        np.testing.assert_allclose(points_of(positions, f"set_{index}"), points_of(positions), atol=0.01)
    stress = positions[positions["method"] == "mds"]["stress"]
    assert (stress < 0.01).all()
    assert positions[positions["method"] == "tsne"]["divergence"].notna().all()
    assert tuple(positions.columns) == MODEL_POSITIONS.names


@pytest.mark.parametrize("kind", ["metric", "nonmetric", "classical"])
def test_kinds_of_scaling_give_maps_with_the_stress_they_say(kind):
    handles = study(1)
    positions, _ = run(handles, methods=["mds"], mds={"kind": kind})
    values, _ = make_values(seed=0)
    gaps, upper = gaps_of(points_of(positions, "set_0")), np.triu_indices(12, 1)
    raw = np.sqrt(((gaps - (1 - values))[upper] ** 2).sum() / (gaps[upper] ** 2).sum())
    [stress] = positions["stress"].round(12).unique()
    if kind == "nonmetric":
        assert stress < raw
    else:
        assert stress == pytest.approx(raw)


def test_the_same_parameters_give_the_same_maps_and_other_seeds_others():
    settings = {"init": "random", "max_iterations": 250}
    first, again, other = (
        run(study(1), methods=["tsne"], tsne={**settings, "seed": seed})[0] for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(points_of(first, method="tsne"), points_of(again, method="tsne"))
    assert not np.allclose(points_of(first, method="tsne"), points_of(other, method="tsne"))


@pytest.mark.parametrize("factor", [2.0**-30, 2.0**30])
def test_the_unit_of_a_distance_does_not_matter(factor):
    one, other = (run(study(1, measure=GULP, change=lambda s, f=f: f * (1 - s))) for f in (1.0, factor))
    for method, unit in (("tsne", 1.0), ("mds", factor)):
        found, scaled = (points_of(positions, method=method) for positions, _ in (one, other))
        np.testing.assert_allclose(scaled, found * unit, rtol=1e-6, atol=1e-9 * unit)
    assert labels_of(one[1]) == labels_of(other[1])


def test_of_several_starts_the_best_map_is_kept():
    settings = {"init": "random", "max_iterations": 500}
    one, many = (
        run(study(1), methods=["tsne"], tsne={**settings, "n_starts": n})[0]["divergence"].max()
        for n in (1, 5)
    )
    assert many <= one


def test_the_perplexity_is_limited_by_the_number_of_networks(caplog):
    with caplog.at_level("INFO"):
        run(study(3, sizes=(4, 3)), methods=["mds"], tsne={"perplexity": 30})
        run(study(3, sizes=(4, 3)), methods=["tsne"], tsne={"perplexity": 1.5})
        assert not caplog.messages
        run(study(3, sizes=(4, 3)), methods=["tsne", "mds"], tsne={"perplexity": 30})
    assert caplog.messages == [
        "t-SNE uses perplexity 2 for 7 networks, not 30: at most a third of the others"
    ]
    few, same = (
        run(study(1, sizes=(4, 3)), methods=["tsne"], tsne={"perplexity": value})[0] for value in (30, 2)
    )
    np.testing.assert_array_equal(points_of(few, method="tsne"), points_of(same, method="tsne"))


def test_networks_that_are_the_same_lie_at_one_place():
    values, _ = make_values()
    order = [*range(12), 0]
    positions, clusters = run({f"set/{CKA}": Handle(values[np.ix_(order, order)], names(13))})
    for method, near in (("mds", 1e-6), ("tsne", 1.0)):
        points = points_of(positions, method=method)
        assert np.linalg.norm(points[0] - points[12]) < near * gaps_of(points).max() / 2
    assert labels_of(clusters)[0] == labels_of(clusters)[12]


def test_networks_with_undefined_similarities_are_left_out_with_a_reason():
    values, _ = make_values()
    values[4] = values[:, 4] = np.nan
    reasons = {("net_00", "net_04"): "net_04 is constant"}
    handles = {
        f"a/{CKA}": Handle(values, names(12), reasons),
        f"b/{CKA}": Handle(make_values()[0], names(12)),
    }
    positions, clusters = run(handles)
    for table, column in ((positions, "x"), (clusters, "cluster")):
        out = table[table[column].isna()]
        assert set(out["model"]) == {"net_04"}
        assert set(out["stimulus_set"]) == {"a", "mean"}
        assert out["reason"].str.startswith("undefined with 11 of 11 networks, e.g. net_00: ").all()
        assert out["reason"].str.endswith("net_04 is constant").all()
    assert clusters[clusters["stimulus_set"] == "b"]["cluster"].notna().all()


def test_as_few_networks_as_possible_are_left_out():
    values, _ = make_values(sizes=(3, 3))
    for a, b in ((1, 2), (1, 4), (3, 5)):
        values[a, b] = values[b, a] = np.nan
    found = measure_closeness(LabelledMatrix(values, tuple(names(6))), get_measure(CKA))
    assert sorted(found.left_out) == ["net_01", "net_05"]
    assert found.models == ("net_00", "net_02", "net_03", "net_04")


def test_values_beyond_the_range_of_their_measure_count_as_undefined():
    values = np.array([[1, 0.3, 1.5], [0.3, 1, 0.5], [1.5, 0.5, 1]])
    found = measure_closeness(LabelledMatrix(values, ("a", "b", "c")), get_measure(CKA))
    assert found.left_out == {"c": "undefined with 1 of 2 networks, e.g. a: outside the range of " + CKA}


def test_a_network_that_is_missing_on_a_stimulus_set_is_missing_in_the_mean():
    values, _ = make_values(sizes=(3, 3))
    short = Handle(values[1:, 1:], names(6)[1:])
    mean = average_matrices({"a": Handle(values, names(6)).matrix(), "b": short.matrix()})
    found = measure_closeness(mean, get_measure(CKA))
    assert list(found.left_out) == ["net_00"]
    assert found.left_out["net_00"].endswith("on b: net_00 is missing")


def test_the_mean_is_over_stimulus_sets_whatever_the_order_of_networks():
    first, second = make_values(seed=1)[0], make_values(seed=2)[0]
    order = np.random.default_rng(0).permutation(12)
    shuffled = Handle(second[np.ix_(order, order)], [names(12)[index] for index in order])
    mean = average_matrices({"a": Handle(first, names(12)).matrix(), "b": shuffled.matrix()})
    np.testing.assert_allclose(mean.values, (first + second) / 2)


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_few_networks_have_a_reason_instead_of_a_map(n):
    positions, clusters = run(study(1, sizes=(n,)))
    for method, least in (("mds", 3), ("tsne", 5)):
        rows = positions[(positions["method"] == method) & (positions["stimulus_set"] == "set_0")]
        assert len(rows) == n
        assert rows["x"].notna().all() == (n >= least)
        assert (rows["reason"] != "").all() == (n < least)
    for wanted in (2, 3, 4):
        rows = clusters[(clusters["n_clusters"] == wanted) & (clusters["stimulus_set"] == "set_0")]
        assert rows["cluster"].notna().all() == (n >= wanted)
        assert (
            rows[rows["cluster"].isna()]["reason"].isin([f"{n} networks cannot form {wanted} clusters"]).all()
        )


def test_a_network_that_is_alone_has_no_silhouette_and_a_reason():
    _, clusters = run(study(1, sizes=(4, 1)), methods=[], clusters={"n_clusters": [2]})
    alone = clusters[clusters["silhouette"].isna()]
    assert set(alone["model"]) == {"net_04"}
    assert set(alone["reason"]) == {"alone in its cluster"}
    assert alone["cluster"].tolist() == [1, 1]


def test_networks_that_do_not_differ_have_a_reason_instead_of_a_map():
    positions, clusters = run({f"set/{CKA}": Handle(np.ones((6, 6)), names(6))})
    assert positions["x"].isna().all()
    assert set(positions["reason"]) == {"no two networks differ: there is nothing to map"}
    assert clusters["cluster"].isna().all()
    assert set(clusters["reason"]) == {"all networks are equally far apart: there are no clusters"}
    few = np.zeros((6, 6))
    few[5, :5] = few[:5, 5] = 1.0
    _, clusters = run({f"set/{GULP}": Handle(few, names(6))}, methods=[], clusters={"n_clusters": [2]})
    assert set(clusters["reason"]) == {
        "most pairs of networks do not differ, so the width of affinities is undefined"
    }


def test_more_unconnected_groups_than_clusters_have_a_reason():
    values, _ = make_values(sizes=(3, 3, 3))
    values = np.where(values > 0.5, values, 0.0)
    _, clusters = run({f"set/{CKA}": Handle(values, names(9))}, methods=[], clusters={"n_clusters": [2, 3]})
    assert labels_of(clusters, "set") == [0] * 3 + [1] * 3 + [2] * 3
    two = clusters[clusters["n_clusters"] == 2]
    assert set(two["reason"]) == {"networks fall into 3 groups without affinity, more than 2 clusters"}


def test_affinity_propagation_says_where_it_finds_nothing():
    equal = np.full((5, 5), 0.5) + np.eye(5) / 2
    _, clusters = run(
        {f"set/{CKA}": Handle(equal, names(5))}, methods=[], clusters={"method": "affinity_propagation"}
    )
    assert clusters["cluster"].isna().all()
    assert clusters["reason"].str.startswith("all networks are equally far apart").all()
    assert set(clusters["n_clusters"]) == {0}


def test_clusters_are_near_those_of_the_study_s_library():
    from sklearn.cluster import SpectralClustering

    values, _ = make_values(sizes=(20, 12, 9, 23), outside=0.45, inside=0.6, seed=5)
    _, clusters = run({f"set/{CKA}": Handle(values, names(64))}, methods=[], clusters={"n_clusters": [4]})
    other = SpectralClustering(4, affinity="precomputed", random_state=0).fit_predict(np.abs(values))
    assert adjusted_rand_score(other, labels_of(clusters, "set", 4)) == 1.0


def test_inputs_are_left_as_they_are():
    handles = study(1)
    [handle] = handles.values()
    before = handle.matrix().values.copy()
    run(handles)
    np.testing.assert_array_equal(handle.matrix().values, before)


def test_measures_without_matrices_are_left_out_and_the_log_says_so(caplog):
    positions, clusters = run(study(1), measures=["cka_linear_biased"])
    assert len(positions) == len(clusters) == 0
    assert tuple(positions.columns) == MODEL_POSITIONS.names
    assert f"no maps of cka_linear_biased: similarity.measures has {CKA}" in caplog.text


def test_a_stimulus_set_named_like_the_mean_is_refused():
    with pytest.raises(ValueError, match=r"stimulus set name 'mean' is reserved for the mean over sets"):
        run({f"mean/{CKA}": Handle(np.eye(3), names(3))})


def test_all_measures_are_mapped_where_none_is_named():
    handles = study(1) | study(1, measure=ANGLE, change=lambda s: np.arccos(np.clip(s, 0, 1)))
    assert set(run(handles, methods=[])[1]["measure"]) == {CKA, ANGLE}
    assert set(run(handles, methods=[], measures=[ANGLE])[1]["measure"]) == {ANGLE}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"measures": ["cka"]}, "unknown similarity measure 'cka'"),
        ({"measures": [CKA, CKA]}, "measures are listed twice"),
        ({"methods": ["mds", "mds"]}, "methods are listed twice"),
        ({"clusters": {"n_clusters": [3, 3]}}, "numbers of clusters are listed twice"),
        ({"clusters": {"n_clusters": [1]}}, "greater than or equal to 2"),
        ({"tsne": {"perplexity": 1}}, "greater than 1"),
        ({"mds": {"starts": 1}}, "not permitted"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        ModelMapsParams.model_validate(wrong)


def test_defaults_are_those_of_the_study_where_it_named_them():
    params = ModelMapsParams()
    assert (params.tsne.perplexity, params.tsne.seed) == (5.0, 42)
    assert (params.clusters.damping, params.clusters.affinity, params.clusters.seed) == (0.75, "absolute", 0)
    assert isinstance(params.clusters, ClusterParams)
