"""Measures on nearest neighbours, against their definitions, and where stimuli are equally near."""

import numpy as np
import pytest
import torch
from tests.kernels.in_words import in_words
from tests.reference import neighbours as reference

from rep_kedro.kernels.similarity.nearest import find_neighbours, iterate_blocks, prepare_points
from rep_kedro.kernels.similarity.neighbours import COSINE_ONLY, STATISTICS, compare_neighbours

K = 4
SYMMETRIC = {
    *("mutual_knn", "jaccard", "rank_similarity", "joint_rank_jaccard"),
    *("cknna", "second_order_cosine", "second_order_cosine_distances"),
}
CASES = [(name, "cosine") for name in STATISTICS] + [
    (name, "euclidean") for name in STATISTICS if name not in COSINE_ONLY
]
# the cosine of distances to copies alone is undefined
DEFINED_FOR_COPIES = [case for case in CASES if case[0] != "second_order_cosine_distances"]


def make_request(statistic, distance="cosine", k=K):
    request = {"statistic": statistic, "distance": distance}
    return request if statistic == "information_imbalance" else {**request, "n_neighbours": k}


def compare(representations, requests, memory_bytes=2**24):
    tensors = [torch.as_tensor(x) for x in representations]
    answers = compare_neighbours(tensors, requests, memory_bytes=memory_bytes)
    return {name: (values, in_words(reasons)) for name, values, reasons in answers}


def compare_one(representations, statistic, distance="cosine", k=K, memory_bytes=2**24):
    requests = {"it": make_request(statistic, distance, k)}
    values, reasons = compare(representations, requests, memory_bytes)["it"]
    assert not reasons
    return values


def define(statistic, x, y, distance, k=K):
    parameters = {"k": k} if statistic != "information_imbalance" else {}
    if statistic not in COSINE_ONLY:
        parameters["distance"] = distance
    return getattr(reference, statistic)(x, y, **parameters)


def draw_related(widths=(5, 8, 3), n_stimuli=30, seed=0):
    rng = np.random.default_rng(seed)
    shared = rng.standard_normal((n_stimuli, 4))
    return [
        shared @ rng.standard_normal((4, d)) + 0.5 * rng.standard_normal((n_stimuli, d)) + 1 for d in widths
    ]


@pytest.mark.parametrize("memory_bytes", [1, 20_000, 2**24])
@pytest.mark.parametrize(("statistic", "distance"), CASES)
def test_every_entry_equals_the_definition_whatever_the_memory(statistic, distance, memory_bytes):
    models = draw_related()
    values = compare_one(models, statistic, distance, memory_bytes=memory_bytes)
    expected = [[define(statistic, x, y, distance) for y in models] for x in models]
    np.testing.assert_allclose(values.numpy(), expected, rtol=1e-12, atol=1e-12)
    assert not np.allclose(values.numpy(), values.numpy().T) or statistic in SYMMETRIC


@pytest.mark.parametrize("memory_bytes", [1, 30_000, 2**24])
@pytest.mark.parametrize(("statistic", "distance"), DEFINED_FOR_COPIES)
def test_many_equally_near_stimuli_are_taken_by_index(statistic, distance, memory_bytes):
    rng = np.random.default_rng(1)
    models = [rng.integers(1, 3, size=(24, width)).astype(float) for width in (2, 3, 4)]
    n_copies = (
        2 if statistic == "second_order_cosine_distances" else 7
    )  # distances of copies alone have no cosine
    models[2][5 : 5 + n_copies] = models[2][4]
    values = compare_one(models, statistic, distance, memory_bytes=memory_bytes)
    expected = [[define(statistic, x, y, distance) for y in models] for x in models]
    np.testing.assert_allclose(values.numpy(), expected, rtol=1e-9, atol=1e-12)


def test_neighbours_that_are_all_copies_leave_distances_without_a_cosine():
    x, y, few = draw_related()
    few[5:8] = few[4]
    found = compare_one([x, few], "second_order_cosine_distances")[0, 1].item()
    assert found == pytest.approx(reference.second_order_cosine_distances(x, few, K), abs=1e-12)
    y[5:12] = y[4]
    asked = {"it": make_request("second_order_cosine_distances")}
    values, reasons = compare([x, y, y], asked)["it"]
    assert values.isnan().tolist() == [[False, False, False], [False, True, True], [False, True, True]]
    assert reasons[1, 2].startswith("a stimulus has distance 0 to all its neighbours in one of the models")


def test_jaccard_equals_the_value_of_a_public_implementation():
    """The pair and the value on which other implementations were run; neighbours by cosine, not centred."""
    rng = np.random.default_rng(0)
    shared = rng.standard_normal((60, 6))
    x = shared @ rng.standard_normal((6, 30)) + 0.5 * rng.standard_normal((60, 30))
    y = shared @ rng.standard_normal((6, 30)) + 0.5 * rng.standard_normal((60, 30))
    assert compare_one([x, y], "jaccard", k=10)[0, 1].item() == pytest.approx(0.609761, abs=1e-6)
    centred = [x - x.mean(axis=0), y - y.mean(axis=0)]
    assert compare_one(centred, "jaccard", k=10)[0, 1].item() == pytest.approx(0.617986, abs=1e-6)


def test_a_stimulus_with_copies_is_not_its_own_neighbour():
    x = torch.tensor([[1.0, 0.0]] * 4 + [[0.0, 1.0], [-1.0, 0.5]])
    for distance in ("cosine", "euclidean"):
        found = find_neighbours(prepare_points(x, distance), 3, memory_bytes=2**20)
        assert found.indices[:4].tolist() == [[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]]


def test_hand_made_line_has_the_neighbours_one_sees():
    x = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
    found = find_neighbours(prepare_points(x, "euclidean"), 3, memory_bytes=1)
    assert found.indices.tolist() == [[1, 2, 3], [0, 2, 3], [1, 0, 3], [2, 1, 0]]


def test_shorter_lists_are_fronts_of_longer_ones_in_one_call():
    models = draw_related()
    requests = {f"{name}_{k}": make_request(name, k=k) for name in STATISTICS[:-1] for k in (2, 5, 11)}
    together = compare(models, requests)
    for name in STATISTICS[:-1]:
        for k in (2, 5, 11):
            torch.testing.assert_close(
                together[f"{name}_{k}"][0], compare_one(models, name, k=k), rtol=1e-14, atol=1e-14
            )


def test_all_neighbours_are_always_in_common():
    models = draw_related(n_stimuli=12)
    for name in ("mutual_knn", "jaccard", "cycle_knn"):
        assert torch.equal(compare_one(models, name, k=11), torch.ones(3, 3, dtype=torch.float64))


def test_unrelated_models_share_neighbours_at_chance():
    rng = np.random.default_rng(0)
    n_stimuli, k = 200, 10
    models = [rng.standard_normal((n_stimuli, 30)) for _ in range(10)]
    apart = ~torch.eye(10, dtype=torch.bool)
    mutual = compare_one(models, "mutual_knn", k=k)[apart].mean().item()
    assert mutual == pytest.approx(k / (n_stimuli - 1), abs=0.002)
    imbalance = compare_one(models, "information_imbalance")[apart].mean().item()
    assert imbalance == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize(("statistic", "distance"), CASES)
def test_equal_models_are_as_alike_as_can_be(statistic, distance):
    models = draw_related()
    values = compare_one([*models, 2 * models[1]], statistic, distance)
    best = 2 / len(models[0]) if statistic == "information_imbalance" else 1.0
    if statistic != "cycle_knn":  # which asks of one model whether nearness is mutual
        torch.testing.assert_close(
            values.diagonal(), torch.full((4,), best, dtype=torch.float64), atol=1e-14, rtol=0
        )
    assert values[1, 3] == pytest.approx(values[1, 1].item(), abs=1e-14)
    assert torch.equal(values, values.T) == (statistic in SYMMETRIC)


def test_cycles_lead_back_at_least_where_a_neighbour_is_mutual_and_in_common():
    models = draw_related()
    cycles, mutual = compare_one(models, "cycle_knn", k=1), compare_one(models, "mutual_knn", k=1)
    own = cycles.diagonal()
    assert (cycles >= own + mutual - 1 - 1e-12).all()


def change(x, invariance, rng):
    d = x.shape[1]
    match invariance:
        case "rotation":
            return x @ np.linalg.qr(rng.standard_normal((d, d)))[0]
        case "scaling":
            return 3.7 * x
        case "translation":
            return x + 5 * rng.standard_normal(d)
        case "permutation":
            return x[:, rng.permutation(d)]
        case "row scaling":
            return x * np.exp(rng.standard_normal((len(x), 1)))


@pytest.mark.parametrize("invariance", ["rotation", "scaling", "translation", "permutation", "row scaling"])
@pytest.mark.parametrize(("statistic", "distance"), CASES)
def test_a_measure_ignores_just_the_changes_that_it_should(statistic, distance, invariance):
    x, y, _ = draw_related()
    before = compare_one([x, y], statistic, distance)
    after = compare_one([change(x, invariance, np.random.default_rng(5)), y], statistic, distance)
    drift = (after - before).abs()[[0, 1], [1, 0]].max().item()
    noticed = {"cosine": {"translation"}, "euclidean": {"row scaling"}}[distance]
    assert drift > 1e-3 if invariance in noticed else drift < 1e-12


def test_another_order_of_stimuli_changes_nothing():
    models = draw_related()
    shuffled = [x[np.random.default_rng(3).permutation(len(x))] for x in models]
    for statistic, distance in CASES:
        torch.testing.assert_close(
            compare_one(models, statistic, distance),
            compare_one(shuffled, statistic, distance),
            rtol=1e-12,
            atol=1e-12,
        )


@pytest.mark.parametrize("factor", [1e-200, 1e-3, 1e3, 1e200])
@pytest.mark.parametrize(("statistic", "distance"), CASES)
def test_very_small_and_very_large_features_make_no_difference(statistic, distance, factor):
    x, y, _ = draw_related()
    torch.testing.assert_close(
        compare_one([factor * x, y], statistic, distance),
        compare_one([x, y], statistic, distance),
        rtol=1e-12,
        atol=0,
    )


def test_euclidean_neighbours_survive_a_large_mean_and_a_far_outlier():
    x, *_ = draw_related()
    expected = find_neighbours(prepare_points(torch.tensor(x), "euclidean"), 6, memory_bytes=2**20).indices
    shifted = prepare_points(torch.tensor(x + 1e7), "euclidean")
    assert torch.equal(find_neighbours(shifted, 6, memory_bytes=2**20).indices, expected)
    outlier = np.vstack([x, np.full((1, x.shape[1]), 1e4)])
    with_outlier = find_neighbours(prepare_points(torch.tensor(outlier), "euclidean"), 6, memory_bytes=2**20)
    assert torch.equal(with_outlier.indices[:-1], expected)


def test_float32_features_give_the_values_of_the_same_numbers_in_float64():
    models = [x.astype(np.float32) for x in draw_related()]
    for statistic, distance in CASES:
        exact = compare_one([x.astype(np.float64) for x in models], statistic, distance)
        assert torch.equal(compare_one(models, statistic, distance), exact)


def test_keys_order_a_row_as_distances_do_and_put_the_own_stimulus_last():
    x, *_ = draw_related()
    for distance in ("cosine", "euclidean"):
        start = 0
        for _, keys in iterate_blocks(prepare_points(torch.tensor(x), distance), memory_bytes=6 * 8 * 30 * 7):
            assert len(keys) <= 7
            ordered = keys.argsort(dim=1)
            assert ordered[:, -1].tolist() == list(range(start, start + len(keys)))
            assert ordered[:, :-1].tolist() == reference.order(x, distance)[start : start + len(keys)]
            start += len(keys)
        assert start == len(x)


def test_models_without_directions_have_no_value_and_a_reason():
    x, y, _ = draw_related()
    silent = x.copy()
    silent[[2, 7]] = 0
    constant = np.full_like(x, 0.1)
    requests = {f"{name} {distance}": make_request(name, distance) for name, distance in CASES}
    for name, (values, reasons) in compare([x, silent, y, constant], requests).items():
        blind = {1, 3} if name.endswith("cosine") else {3}
        undefined = {(a, b) for a in range(4) for b in range(4) if {a, b} & blind}
        assert set(reasons) == undefined
        assert {tuple(pair) for pair in values.isnan().nonzero().tolist()} == undefined
        what = "the same direction" if name.endswith("cosine") else "the same features"
        assert reasons[0, 3] == f"model 3: all stimuli have {what} up to rounding"
        if 1 in blind:
            assert reasons[0, 1].startswith("model 1: 2 of 30 stimuli have only zero features")
    only_blind = compare([constant, constant], requests)
    assert all(values.isnan().all() and len(reasons) == 4 for values, reasons in only_blind.values())


def test_alignment_that_is_not_positive_and_cosines_of_nothing_have_a_reason():
    no_cosine = (
        "a stimulus has similarity 0 to all its neighbours in one of the models, so its cosine is undefined"
    )
    corners = [np.eye(6), np.eye(6)[::-1].copy()]
    values, reasons = compare(corners, {"it": make_request("second_order_cosine", k=2)})["it"]
    assert values.isnan().all()
    assert reasons == dict.fromkeys([(0, 0), (0, 1), (1, 0), (1, 1)], no_cosine)
    values, reasons = compare(corners, {"it": make_request("cknna_reference", k=1)})["it"]
    assert values.isnan().all()
    assert set(reasons) == {(0, 0), (0, 1), (1, 0), (1, 1)}
    assert reasons[0, 0].startswith("model 0: its alignment with itself is 0, which is not positive")
    assert reasons[0, 1] == f"{reasons[0, 0]}; {reasons[1, 1]}"


def test_reasons_stay_with_their_models_where_others_are_left_out():
    models = [np.ones((6, 6)), np.eye(6), draw_related(n_stimuli=6)[0]]
    values, reasons = compare(models, {"it": make_request("second_order_cosine", k=2)})["it"]
    assert values.isnan().tolist() == [[True, True, True], [True, True, True], [True, True, False]]
    assert {pair for pair, why in reasons.items() if why.startswith("a stimulus has similarity 0")} == {
        (1, 1),
        (1, 2),
        (2, 1),
    }
    assert {pair for pair, why in reasons.items() if why.startswith("model 0: ")} == {
        (0, 0),
        (0, 1),
        (0, 2),
        (1, 0),
        (2, 0),
    }


def test_inputs_stay_as_they_are():
    models = [torch.tensor(x) for x in draw_related()]
    copies = [x.clone() for x in models]
    requests = {f"{name} {distance}": make_request(name, distance) for name, distance in CASES}
    list(compare_neighbours(models, requests, memory_bytes=2**20))
    assert all(torch.equal(x, copy) for x, copy in zip(models, copies, strict=True))


@pytest.mark.parametrize("k", [0, 30])
def test_more_neighbours_than_other_stimuli_are_refused(k):
    models = [torch.tensor(x) for x in draw_related()]
    with pytest.raises(ValueError, match=rf"n_neighbours must be 1 to 29 .*, got {k}"):
        list(compare_neighbours(models, {"it": make_request("jaccard", k=k)}, memory_bytes=2**20))


def test_unbiased_alignment_of_three_stimuli_is_refused():
    models = [torch.tensor(x) for x in draw_related(n_stimuli=3)]
    with pytest.raises(ValueError, match="needs at least 4 stimuli, got 3"):
        list(compare_neighbours(models, {"it": make_request("cknna_reference", k=1)}, memory_bytes=2**20))
