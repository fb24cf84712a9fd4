"""Groups of networks, pairs of sets and anchors are those of the study; every name is one of its networks."""

from collections import Counter

import pandas as pd
import pytest

from rep_kedro.analyses.consistency.groups import list_groups
from rep_kedro.analyses.similarity.params import ConsistencyParams, InferenceParams, SampleSizeParams
from rep_kedro.kernels.statistics.consistency import mask_model_pairs


@pytest.fixture(scope="module")
def params(parameters):
    return ConsistencyParams.model_validate(parameters["consistency"])


@pytest.fixture(scope="module")
def cards(networks, published):
    entries = networks.entries()
    return pd.DataFrame(
        {
            "model": list(entries),
            "objective": [entry.objective for entry in entries.values()],
            "architecture": [entry.architecture_class for entry in entries.values()],
            "trained_on": [entry.trained_on for entry in entries.values()],
            "n_parameters": [int(published[name]["n_parameters"]) for name in entries],
        }
    )


@pytest.fixture(scope="module")
def groups(params, cards):
    return list_groups(sorted(cards["model"]), cards, params)


def _size(group):
    return int(mask_model_pairs(group.members_a, group.members_b).sum())


def test_objectives_architectures_and_sizes_have_the_studys_numbers_of_pairs(groups):
    """Sizes here are the study's own, text sides counted in."""
    counts = {(g.category, g.value_a, g.value_b): _size(g) for g in groups if not g.anchor}
    assert counts["all", "all", "all"] == 2016
    assert {(a, b): n for (category, a, b), n in counts.items() if category == "objective"} == {
        ("image-text", "image-text"): 91,
        ("image-text", "self-supervised"): 280,
        ("image-text", "supervised"): 420,
        ("self-supervised", "self-supervised"): 190,
        ("self-supervised", "supervised"): 600,
        ("supervised", "supervised"): 435,
    }
    assert counts["architecture", "transformer", "transformer"] == 780
    assert counts["architecture", "convolutional", "transformer"] == 960
    assert [counts["size", size, size] for size in ("small", "medium", "large", "xlarge")] == [
        *(496, 91, 28, 45)
    ]


def test_training_data_fall_into_the_studys_four_classes_with_eight_labels_corrected(groups, cards, params):
    class_of = {name: title for title, names in params.training_data_classes.items() for name in names}
    assert Counter(class_of[name] for name in cards["trained_on"]) == {
        "ImageNet-1k": 37 - 8,
        "ImageNet-21k": 9 + 8,
        "Large": 11,
        "XLarge": 7,
    }
    assert Counter(group.category for group in groups if not group.anchor)["training_data"] == 10


def test_the_three_pairs_of_sets_are_the_studys(groups):
    sizes = {(g.value_a, g.value_b): _size(g) for g in groups if g.category == "model_sets"}
    assert sizes == {
        ("image_text", "image_text_and_mae"): 91 + 14 * 3,
        ("image_text", "image_text_or_supervised"): 91 + 14 * 30,
        ("self_supervised_without_mae", "self_supervised_without_mae"): 17 * 16 // 2,
    }


def test_eight_anchors_meet_all_others_and_every_value(groups, params):
    assert len(params.anchors) == 8
    own = [group for group in groups if group.anchor]
    assert Counter(group.anchor for group in own) == dict.fromkeys(params.anchors, 1 + 3 + 2 + 4 + 4)
    assert {_size(group) for group in own if group.category == "all"} == {63}
    assert min(_size(group) for group in groups) >= params.min_pairs
    assert len(groups) == 145


def test_no_correction_is_asked_for_that_no_p_value_could_pass(groups, params):
    n_tests = {family: 253 * n for family, n in Counter(group.family for group in groups).items()}
    assert n_tests["", "all"] == 253
    assert n_tests["", "objective"] == 1518
    assert n_tests["", "objective"] / (params.n_permutations + 1) > 0.05
    assert params.correction == "benjamini-hochberg"


def test_inference_is_kept_to_what_its_comment_reckons_with(parameters):
    inference = InferenceParams.model_validate(parameters["similarity_inference"])
    sizes = SampleSizeParams.model_validate(parameters["sample_sizes"])
    assert (inference.measures, inference.max_stimuli) == (["cka_linear_debiased"], 1000)
    assert (inference.n_permutations, inference.n_bootstrap) == (199, 200)
    assert sizes.max_stimuli == 2000
