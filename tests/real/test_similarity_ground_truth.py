"""Similarity measures see what is known beforehand of published networks; docs/validation.md has all values.

The exceptions below are measures that do not see a fact, with the reason; all others must.
"""

import numpy as np
import pytest
from tests.real.published import needs_published
from tests.real.similarity_facts import (
    ADVERSARIAL,
    DEPTHS,
    FEATURE_MEASURES,
    PROVABLY_ROBUST,
    SAME_ORDER,
    SEEDS,
    STEPS,
    Alikeness,
    compare_all,
    count_late_steps,
    count_ordered_trajectories,
    is_mix_nearer_to_adversarial,
    read_features,
    separate_depths,
    separate_objectives,
    separate_recipes,
    weigh_batch_order,
)

from rep_kedro.measures import MEASURES, Family

pytestmark = needs_published
CHECKPOINTS = [f"tiny10_in{seed}_gn0{step}" for seed in (0, 1) for step in STEPS[:3]]
OTHERS = ["nbntiny10_in0_gn0", "onepixel_lenet"]
NETWORKS = [*SEEDS, *SAME_ORDER[1:], *CHECKPOINTS, *DEPTHS, *ADVERSARIAL, PROVABLY_ROBUST, *OTHERS]
N_STIMULI = 500
CLEARLY = 0.94
LAYERS = ("last", "middle")

# their width is a length in feature space, far below the distances of these features
ABSOLUTE = {name for name in FEATURE_MEASURES if name.startswith("cka_rbf_abs")}
# the biased estimator counts each stimulus with itself, which is nearly all that so narrow a kernel holds
NARROW = {"cka_rbf_median_0.2_biased"}
# averages over as many directions as the network with fewer live units has: high where these are few
AVERAGED_DIRECTIONS = {"cca_mean", "cca_mean_squared", "svcca_0.99"}
# grows with the number of directions that a network uses: near to every network that uses few
WEAK_RIDGE = {"gulp_0.001", "gulp_0.01"}
# not free of scale, or uncentred
SCALE = {
    *("size_and_shape", "rsm_norm_difference"),
    *("rsa_correlation_cosine", "rsa_cosine_cosine", "aligned_cosine"),
}
# depth adds to the size of features in the middle
SIZE_OF_DEPTHS = {"rsm_norm_difference"}
# in the last layer adversarial trainings differ in the scales at which stimuli merge as architectures do
CLUSTERS = {"rtd_lite"}
# one number or curve of each network, which unrelated networks can have in common
DESCRIBED = {name for name in FEATURE_MEASURES if MEASURES[name].family is Family.DESCRIPTION}
# counts directions: adversarial training leaves 23 to 75 of 100 units alive
DIRECTIONS = {"eigenspace_overlap"}
# three moments count the many small directions that networks share too low
FEW_MOMENTS = {"nbs_moments_3"}
# an estimate for populations, of which 32 features are a small sample
FEW_FEATURES = {"cka_linear_debiased_twice"}
# transport between many pairs of units of unequal number takes most of a minute
UNEQUAL_WIDTHS = {"soft_match", "partial_soft_match_0.5", "partial_soft_match_0.9"}
# 25 components of each pair in each of five folds take a minute
COMPONENTS = {"pls_25_r2", "pls_25_r_mean"}

BLIND_TO_RECIPE = ABSOLUTE | NARROW | AVERAGED_DIRECTIONS | WEAK_RIDGE | DESCRIBED | FEW_MOMENTS
BLIND_TO_DEPTH = ABSOLUTE | NARROW | SIZE_OF_DEPTHS | DESCRIBED
BLIND_TO_TRAINING = {
    "middle": ABSOLUTE | DESCRIBED | FEW_MOMENTS | {"cycle_knn_10"},
    "last": ABSOLUTE | DESCRIBED,
}  # level at the end: 0.978, 0.976
BLIND_TO_LATE_STEPS = {
    "middle": ABSOLUTE | DESCRIBED | FEW_MOMENTS | FEW_FEATURES,
    "last": ABSOLUTE | DESCRIBED,
}
BLIND_TO_OBJECTIVE = ABSOLUTE | NARROW | WEAK_RIDGE | SCALE | DIRECTIONS | CLUSTERS | DESCRIBED
BLIND_TO_MIXING = ABSOLUTE | DESCRIBED | {"svcca_0.99"}


@pytest.fixture(scope="module")
def features():
    return read_features(NETWORKS, N_STIMULI)


@pytest.fixture(scope="module")
def comparisons(features):
    measures = [name for name in FEATURE_MEASURES if name not in UNEQUAL_WIDTHS | COMPONENTS]
    return {layer: compare_all(features[layer], measures) for layer in LAYERS}


@pytest.fixture(scope="module")
def alike(comparisons):
    return {
        (layer, name): Alikeness(name, NETWORKS, comparison.values)
        for layer in LAYERS
        for name, comparison in comparisons[layer].items()
    }


def test_seeds_of_one_recipe_are_more_alike_than_networks_of_different_recipes(alike):
    share = {key: separate_recipes(a) for key, a in alike.items() if key[1] not in BLIND_TO_RECIPE}
    assert {key: value for key, value in share.items() if not value >= CLEARLY} == {}


def test_networks_that_differ_in_depth_alone_are_more_alike_than_others(alike):
    share = {key: separate_depths(a) for key, a in alike.items() if key[1] not in BLIND_TO_DEPTH}
    assert {key: value for key, value in share.items() if not value >= CLEARLY} == {}


def test_checkpoints_of_one_training_order_by_distance_in_training(alike):
    count = {
        key: count_ordered_trajectories(a)
        for key, a in alike.items()
        if key[1] not in BLIND_TO_TRAINING[key[0]]
    }
    assert {key: value for key, value in count.items() if value != 2} == {}


def test_a_network_shortly_before_its_end_is_nearer_to_it_than_any_other_seed(alike):
    count = {
        key: count_late_steps(a) for key, a in alike.items() if key[1] not in BLIND_TO_LATE_STEPS[key[0]]
    }
    assert {key: value for key, value in count.items() if value != 2} == {}


def test_the_order_of_batches_makes_networks_no_more_alike(alike):
    weight = {key: weigh_batch_order(a) for key, a in alike.items() if key[1] not in ABSOLUTE}
    assert {key: value for key, value in weight.items() if not abs(value) < 3} == {}


def test_adversarial_trainings_of_one_architecture_are_nearer_than_other_architectures(alike):
    share = {key: separate_objectives(a) for key, a in alike.items() if key[1] not in BLIND_TO_OBJECTIVE}
    assert {key: value for key, value in share.items() if not value >= CLEARLY} == {}


def test_mixed_training_is_nearer_to_adversarial_than_to_provably_robust_training(alike):
    found = {
        key: is_mix_nearer_to_adversarial(a) for key, a in alike.items() if key[1] not in BLIND_TO_MIXING
    }
    assert {key: value for key, value in found.items() if not value} == {}


def test_soft_matching_sees_recipe_depth_and_training_among_networks_of_one_width(features):
    names = [name for name, x in zip(NETWORKS, features["last"], strict=True) if x.shape[1] == 64]
    chosen = [x for x in features["last"] if x.shape[1] == 64]
    found = Alikeness("soft_match", names, compare_all(chosen, ["soft_match"])["soft_match"].values)
    assert separate_recipes(found) >= CLEARLY
    assert separate_depths(found) >= CLEARLY
    assert (count_ordered_trajectories(found), count_late_steps(found)) == (2, 2)


def test_a_narrow_kernel_gives_numbers_wherever_its_entries_are_above_zero(comparisons):
    comparison = comparisons["last"]["cka_rbf_abs_0.2_debiased"]
    assert np.isfinite(comparison.values).all()
    assert not comparison.reasons


def test_every_network_is_like_itself_as_far_as_the_measure_allows(comparisons):
    for layer in LAYERS:
        for name in ("cka_linear_debiased", "rsa_correlation_spearman", "cca_mean", "mutual_knn_10"):
            np.testing.assert_allclose(comparisons[layer][name].values.diagonal(), 1, atol=1e-6)
        np.testing.assert_allclose(comparisons[layer]["procrustes"].values.diagonal(), 0, atol=1e-5)
