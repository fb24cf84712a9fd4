"""Nulls of measures of linear maps, of distances above all, and of RSA by cosines and rho-a."""

import numpy as np
import pytest
import torch
from tests.small_collections import make_features, run_plan, store

from rep_kedro.analyses.inference import inference
from rep_kedro.analyses.inference.nulls import summarise_null
from rep_kedro.analyses.similarity.params import InferenceParams, SimilarityParams
from rep_kedro.datasets import Tensors
from rep_kedro.datasets.inference_validators import require_similarity_null
from rep_kedro.kernels.statistics.linear_map_nulls import permute_linear_maps, prepare_linear_maps
from rep_kedro.kernels.statistics.resampling import draw_permutations
from rep_kedro.measures import MEASURES, Family, compare_models, get_measure

N_STIMULI = 30
MAPS = [name for name, m in MEASURES.items() if m.family is Family.LINEAR_MAP and m.inference]
DISTANCES = [name for name in MAPS if not MEASURES[name].larger_is_more_similar]
OF_RDMS = [
    name
    for name, m in MEASURES.items()
    if m.family is Family.RSA and m.parameters["compare"] in ("cosine", "rho_a", "whitened_cosine")
]
SIMILARITY = SimilarityParams(measures=["cka_linear_debiased"])


def no_interval(name):
    """Return why a measure has no interval."""
    assert get_measure(name).inference.no_interval
    return get_measure(name).inference.no_interval


def _draw(seed=0, n=N_STIMULI, widths=(5, 8, 40), shared=1.0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    causes = torch.randn(n, 3, generator=generator, dtype=torch.float64)
    return [
        (
            0.2 * shared * causes @ torch.randn(3, d, generator=generator, dtype=torch.float64)
            + 0.2 * torch.randn(n, d, generator=generator, dtype=torch.float64)
        ).to(dtype)
        for d in widths
    ]


def _values(representations, name):
    [(_, found)] = compare_models(representations, [name], memory_bytes=10**7)
    return found.values


def _summarise(representations, name, **choices):
    measure = get_measure(name)
    settings = {"n_permutations": 19, "level": 0.1, "seed": 3, **choices}
    return summarise_null(representations, measure, **settings)


@pytest.mark.parametrize("name", [*MAPS, *OF_RDMS])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-6)])
def test_the_identity_gives_what_the_registry_gives_for_all_pairs(name, dtype, tolerance):
    representations = _draw(dtype=dtype)
    found = _summarise(representations, name)["similarity"].numpy()
    expected = _values(representations, name)
    pairs = ~np.eye(3, dtype=bool)
    np.testing.assert_allclose(found[pairs], expected[pairs], atol=tolerance, rtol=tolerance)
    np.testing.assert_allclose(
        found, expected, atol=max(tolerance, 1e-7)
    )  # the angle of a model with itself is rounding
    undefined = MEASURES[name].fewest_stimuli.counts == "ranks"
    assert np.isnan(found[0, 2]) == undefined  # 40 features of 30 stimuli have rank 29


@pytest.mark.parametrize("name", [*MAPS, *OF_RDMS])
def test_null_values_are_the_measure_on_permuted_stimuli(name):
    representations = _draw(widths=(5, 8, 6))
    orders = draw_permutations(N_STIMULI, 19, generator=torch.Generator().manual_seed(3))
    expected = np.mean(
        [
            _values([representations[0], representations[1][order], representations[2][order]], name)[0]
            for order in orders
        ],
        axis=0,
    )
    found = _summarise(representations, name)["null_mean"][0]
    np.testing.assert_allclose(found[1:], expected[1:], atol=1e-9)


@pytest.mark.parametrize("name", ["cca_mean_squared", "procrustes", "gulp_0.1", "shape_angular_0.5"])
def test_unrelated_networks_are_found_at_the_nominal_rate(name):
    n_trials, level = 300, 0.1
    p_values, passed = [], []
    for trial in range(n_trials):
        x = _draw(1000 + trial, n=14, widths=(3, 5), shared=0)
        found = _summarise(x, name, n_permutations=39, level=level, seed=trial)
        p_values.append(found["p_value"][0, 1].item())
        passed.append(found["calibrated"][0, 1].item() > 0)
    bound = 3 * np.sqrt(level * (1 - level) / n_trials)
    for rate in (np.mean(np.array(p_values) <= level), np.mean(passed)):
        assert abs(rate - level) < bound


@pytest.mark.parametrize("name", DISTANCES)
def test_a_small_distance_is_unlikely_and_a_large_one_is_not(name):
    x, y = _draw(n=80, widths=(5, 5), shared=3.0)
    [stranger] = _draw(seed=9, n=80, widths=(5,), shared=3.0)
    found = _summarise([x, y, stranger], name, n_permutations=99)
    near, far = (0, 1), (0, 2)
    assert found["similarity"][near] < found["threshold"][near] < found["null_mean"][near]
    assert found["p_value"][near].item() == pytest.approx(0.01)
    assert found["p_maximum"][near].item() <= 0.03
    expected = 1 - (found["similarity"][near] / found["threshold"][near]).item()
    assert 0 < found["calibrated"][near].item() == pytest.approx(expected)
    assert found["p_value"][far].item() > 0.02
    assert found["p_maximum"][far] >= found["p_value"][far]


@pytest.mark.parametrize("name", [name for name in DISTANCES if name != "size_and_shape"])
def test_a_network_turned_is_at_distance_zero_and_fully_calibrated(name):
    [x] = _draw(widths=(5,))
    found = _summarise([x, x.clone(), x[:, [2, 0, 1, 4, 3]]], name)
    assert found["similarity"][0, 1].item() == 0
    assert found["calibrated"][0, 1].item() == 1
    assert found["similarity"][0, 2].item() == pytest.approx(0, abs=1e-6)
    assert found["calibrated"][0, 2].item() == pytest.approx(1, abs=1e-6)
    assert found["p_value"][0, 1:].tolist() == pytest.approx([1 / 20, 1 / 20])


@pytest.mark.parametrize("name", ["procrustes", "gulp_0.1", "cca_mean"])
def test_permutations_that_change_nothing_count_as_equal(name):
    [x] = _draw(n=4, widths=(2,))
    rows = torch.tensor([0, 1, 2, 3] * 2)
    prepared = prepare_linear_maps([x[rows], x[rows].clone()], MEASURES[name].parameters)
    orders = torch.stack([torch.arange(8), torch.tensor([4, 1, 2, 3, 0, 5, 6, 7])])
    identity, swapped = permute_linear_maps(prepared, orders)[:, 0, 1]
    assert identity.item() == swapped.item()


@pytest.mark.parametrize("name", [*MAPS, "rsa_cosine_cosine", "rsa_euclidean_rho_a"])
def test_a_network_that_tells_nothing_apart_is_undefined_and_leaves_others_alone(name):
    x, y = _draw(widths=(5, 8))
    blind = torch.ones(N_STIMULI, 4, dtype=torch.float64)
    found, alone = _summarise([x, blind, y], name), _summarise([x, y], name)
    for key in ("similarity", "p_value", "calibrated", "null_mean", "threshold"):
        assert found[key][1].isnan().all()
        assert found[key][0, 2].item() == pytest.approx(alone[key][0, 1].item(), abs=1e-12)


@pytest.mark.parametrize("name", MAPS)
def test_scale_and_shift_of_features_do_not_change_what_chance_says(name):
    sees_size = name.startswith(("size", "shape_angular_0.5"))
    scale = 1.0 if sees_size else 1e80
    x, y = _draw(widths=(5, 8))
    before, after = _summarise([x, y], name), _summarise([scale * x + 10 * scale, y], name)
    assert before["p_value"][0, 1].item() == after["p_value"][0, 1].item()
    assert after["calibrated"][0, 1].item() == pytest.approx(before["calibrated"][0, 1].item(), abs=1e-6)


def test_the_table_of_distances_says_why_there_are_no_intervals(tmp_path):
    members = {
        f"letters/net_{letter}": make_features({"late": x}) for letter, x in zip("abc", _draw(), strict=True)
    }
    names = ["procrustes", "size_and_shape", "cca_mean", "rsa_cosine_cosine"]
    params = InferenceParams(measures=names, n_permutations=19, n_bootstrap=40)
    plan = inference.plan_similarity_nulls(store(tmp_path / "features", members), SIMILARITY, params)
    handles = run_plan(tmp_path / "nulls", plan)
    for handle in handles.values():
        require_similarity_null(Tensors({name: handle.tensor(name) for name in handle.names}, handle.meta))
    assert handles["letters/size_and_shape"].meta["largest_value"] is None
    table = inference.tabulate_similarity_inference(handles, params).set_index("measure")
    assert set(table.loc["procrustes", "reason"]) == {no_interval("procrustes")}
    assert set(table.loc["rsa_cosine_cosine", "reason"]) == {no_interval("rsa_cosine_cosine")}
    assert table.loc["cca_mean", "reason"].tolist() == [
        no_interval("cca_mean"),
        *[inference.UNDEFINED_BY_RANK] * 2,
    ]
    assert table["similarity_low"].isna().all()
    assert table["p_value"].notna().sum() == 3 * 4 - 2
    assert set(table["n_bootstrap"]) == {0}
    assert (table.loc["procrustes", "similarity"] < 2**0.5).all()


def test_a_stored_distance_beyond_the_largest_possible_is_refused():
    found = _summarise(_draw(widths=(5, 8)), "procrustes")
    found |= {
        end: torch.full_like(found["similarity"], torch.nan) for end in ("similarity_low", "similarity_high")
    }
    found["threshold"] = torch.full_like(found["threshold"], 1.4)
    meta = {"labels": ["a", "b"], "largest_value": 2**0.5}
    require_similarity_null(Tensors(found, meta))
    found["threshold"] += 0.1
    with pytest.raises(ValueError, match=r"threshold has 4 values outside \[-inf, 1.41423\]"):
        require_similarity_null(Tensors(found, meta))


def test_measures_of_linear_maps_without_a_null_are_refused():
    with pytest.raises(ValueError, match="no permutation null for statistic 'pwcca'; known: cca_mean, "):
        prepare_linear_maps(_draw(), MEASURES["pwcca"].parameters)
