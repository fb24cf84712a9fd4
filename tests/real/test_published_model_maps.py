"""Published networks of one recipe lie together on maps and in one cluster, by any family of measures."""

import numpy as np
import pytest
from tests.real.published import needs_published
from tests.real.similarity_facts import (
    ADVERSARIAL,
    DEPTHS,
    PROVABLY_ROBUST,
    SAME_ORDER,
    SEEDS,
    compare_all,
    read_features,
)

from rep_kedro.datasets import LabelledMatrix
from rep_kedro.pipelines.similarity.map_params import ModelMapsParams
from rep_kedro.pipelines.similarity.maps import compute_model_maps

pytestmark = needs_published
RECIPE = [*SEEDS, *SAME_ORDER[1:]]
RELATIVE, LONER = "nbntiny10_in0_gn0", "onepixel_lenet"  # the recipe without batch norm; a third kind
NETWORKS = sorted({*RECIPE, *DEPTHS, *ADVERSARIAL, PROVABLY_ROBUST, RELATIVE, LONER})
MEASURES = (
    *("cka_linear_debiased", "procrustes_angular", "rsa_correlation_spearman", "mutual_knn_10", "gulp_1"),
    "linear_regression_r2",
)
LAYERS = ("last", "middle")
N_STIMULI = 200
CLEARLY = {"tsne": 0.94, "mds": 0.85}  # a plane is too small for as many equal distances
CASES = [(measure, layer) for measure in MEASURES for layer in LAYERS]


class Handle:
    """A matrix without a file."""

    def __init__(self, values):
        self._matrix = LabelledMatrix(values, tuple(NETWORKS))

    def matrix(self):
        return self._matrix


@pytest.fixture(scope="module")
def tables():
    features = read_features(NETWORKS, N_STIMULI)
    handles = {
        f"{layer}/{name}": Handle(found.values)
        for layer in LAYERS
        for name, found in compare_all(features[layer], MEASURES).items()
    }
    positions, clusters = compute_model_maps(handles, ModelMapsParams(clusters={"n_clusters": [4]}))
    return {
        case: [
            table[(table["measure"] == case[0]) & (table["stimulus_set"] == case[1])]
            for table in (positions, clusters)
        ]
        for case in CASES
    }


@pytest.mark.parametrize("case", CASES)
def test_networks_of_one_recipe_fall_into_one_cluster_and_other_kinds_into_others(tables, case):
    cluster = tables[case][1].set_index("model")["cluster"]
    [own] = set(cluster[RECIPE])
    assert {model for model in NETWORKS if cluster[model] == own} - {RELATIVE} == set(RECIPE)
    assert cluster[DEPTHS].nunique() == 1
    assert cluster[DEPTHS[0]] != own


@pytest.mark.parametrize("method", CLEARLY)
@pytest.mark.parametrize("case", CASES)
def test_networks_of_one_kind_are_nearer_on_a_map_than_networks_of_two(tables, case, method):
    rows = tables[case][0]
    places = rows[rows["method"] == method].set_index("model")[["x", "y"]]
    gaps = np.linalg.norm(places.to_numpy()[:, None] - places.to_numpy(), axis=-1)
    for kind in (RECIPE, DEPTHS):
        own = places.index.isin(kind)
        other = ~(own | (places.index == RELATIVE))
        inside = gaps[np.ix_(own, own)][np.triu_indices(own.sum(), 1)]
        outside = gaps[np.ix_(own, other)].ravel()
        assert (inside[:, None] < outside).mean() >= CLEARLY[method]


def test_maps_say_how_well_they_fit(tables):
    stress = {case: rows[rows["method"] == "mds"]["stress"].iloc[0] for case, (rows, _) in tables.items()}
    assert {case: value for case, value in stress.items() if not value < 0.35} == {}
