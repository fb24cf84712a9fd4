"""Intervals over the choice of stimuli: coverage, what they are made of, and where there are none."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from tests.reference import inference as reference
from tests.small_collections import make_features, run_plan, store

from rep_kedro.analyses.inference import inference
from rep_kedro.analyses.inference.stimulus_intervals import summarise_bootstrap
from rep_kedro.analyses.similarity.params import InferenceParams, SimilarityParams
from rep_kedro.datasets.inference_validators import require_similarity_null
from rep_kedro.kernels.statistics.resampling import draw_bootstrap_counts, summarise_replicates
from rep_kedro.measures import MEASURES, compare_models, get_measure
from rep_kedro.schemas.similarity import SIMILARITY_INFERENCE

SIMILARITY = SimilarityParams(measures=["cka_linear_debiased"])
WITH_INTERVAL = [name for name, measure in MEASURES.items() if measure.has_interval]
N_BOOTSTRAP = 40


def _draw(generator, n, noise=1.0, widths=(6, 8)):
    """Draw stimuli of a fixed population: two views of three skewed causes, with noise of their own."""
    fixed = torch.Generator().manual_seed(5)
    causes = torch.randn(n, 3, generator=generator, dtype=torch.float64)
    causes = causes + 0.3 * (causes.square() - 1)
    return [
        causes @ torch.randn(3, d, generator=fixed, dtype=torch.float64)
        + noise * torch.randn(n, d, generator=generator, dtype=torch.float64)
        for d in widths
    ]


def _summarise(representations, name, n_bootstrap=N_BOOTSTRAP, confidence=0.95, seed=2):
    measure = get_measure(name)
    return summarise_bootstrap(
        representations,
        measure,
        n_bootstrap=n_bootstrap,
        confidence=confidence,
        seed=seed,
    )


def _value(representations, name):
    [(_, found)] = compare_models(representations, [name], memory_bytes=10**8)
    return float(found.values[0, 1])


@pytest.mark.parametrize(
    "name",
    [
        "cka_linear_debiased",
        pytest.param("cka_rbf_median_0.4_debiased", marks=pytest.mark.slow),
        "rsa_correlation_pearson",
    ],
)
def test_intervals_cover_the_value_in_the_population(name):
    generator = torch.Generator().manual_seed(0)
    in_population = _value(_draw(generator, 1500), name)
    assert 0.2 < in_population < 0.9
    covered, widths = [], []
    for _ in range(40):
        found = _summarise(_draw(generator, 50), name, n_bootstrap=200)
        low, high = (found[end][0, 1].item() for end in ("similarity_low", "similarity_high"))
        covered.append(low <= in_population <= high)
        widths.append(high - low)
    assert np.mean(covered) >= 0.85
    assert np.mean(widths) < 0.5  # they say something


@pytest.mark.parametrize("name", WITH_INTERVAL)
def test_ends_are_percentiles_of_resamples_of_the_measure(name):
    representations = [0.05 * x[:, :4] for x in _draw(torch.Generator().manual_seed(1), 30)]
    found = _summarise(representations, name)
    low, high = found["similarity_low"], found["similarity_high"]
    assert low.diagonal().isnan().all()
    assert (low[0, 1] < high[0, 1]).item()
    assert torch.equal(low[0, 1], low[1, 0])
    value = _value(representations, name)
    assert low[0, 1].item() - 0.1 < value < high[0, 1].item() + 0.1
    narrower = _summarise(representations, name, confidence=0.5)
    assert low[0, 1] < narrower["similarity_low"][0, 1] < narrower["similarity_high"][0, 1] < high[0, 1]
    other = _summarise(representations, name, seed=3)
    assert other["similarity_low"][0, 1] != low[0, 1]


def test_resamples_of_subsets_without_copies_are_the_measure_on_them():
    """Where no stimulus is drawn twice nothing is missing; replicates of RSA show it draw by draw."""
    representations = _draw(torch.Generator().manual_seed(1), 12)
    generator = torch.Generator().manual_seed(2)
    counts = draw_bootstrap_counts(torch.zeros(12, dtype=torch.int64), N_BOOTSTRAP, generator=generator)
    values = []
    for drawn in counts:
        rows = torch.repeat_interleave(torch.arange(12), drawn)
        x, y = (torch.corrcoef(z)[rows[:, None], rows] for z in representations)
        kept = (rows[:, None] < rows).flatten()  # copies of one stimulus never meet
        values.append(torch.corrcoef(torch.stack([x.flatten()[kept], y.flatten()[kept]]))[0, 1])
    expected = summarise_replicates(torch.stack(values), torch.tensor(torch.nan))
    found = _summarise(representations, "rsa_correlation_pearson")
    assert found["similarity_low"][0, 1].item() == pytest.approx(expected.low.item(), abs=1e-9)
    assert found["similarity_high"][0, 1].item() == pytest.approx(expected.high.item(), abs=1e-9)


@pytest.mark.parametrize("estimator", ["debiased", "biased"])
def test_a_width_in_medians_follows_the_resample(estimator):
    x, y = representations = _draw(torch.Generator().manual_seed(1), 12)
    generator = torch.Generator().manual_seed(2)
    counts = draw_bootstrap_counts(torch.zeros(12, dtype=torch.int64), N_BOOTSTRAP, generator=generator)
    values = [
        reference.resampled_gaussian_cka(x.tolist(), y.tolist(), drawn, 0.4, estimator == "debiased")
        for drawn in counts.tolist()
    ]
    expected = summarise_replicates(torch.tensor(values), torch.tensor(torch.nan))
    found = _summarise(representations, f"cka_rbf_median_0.4_{estimator}")
    assert found["similarity_low"][0, 1].item() == pytest.approx(expected.low.item(), abs=1e-6)
    assert found["similarity_high"][0, 1].item() == pytest.approx(expected.high.item(), abs=1e-6)


def test_neighbours_have_no_interval():
    found = _summarise(_draw(torch.Generator().manual_seed(1), 20), "mutual_knn_10")
    assert all(values.isnan().all() for values in found.values())


def test_too_few_stimuli_to_resample_have_no_interval():
    representations = _draw(torch.Generator().manual_seed(1), 5)
    assert _summarise(representations, "cka_linear_debiased")["similarity_low"].isnan().all()
    assert _summarise(representations, "cka_linear_biased")["similarity_low"][0, 1].isfinite()


def _make_table(tmp_path, layers, **params):
    features = store(
        tmp_path / "features",
        {f"set/net_{i}": make_features({"late": x}) for i, x in enumerate(layers)},
    )
    made = InferenceParams(**{"n_permutations": 19, "n_bootstrap": N_BOOTSTRAP, **params})
    plan = inference.plan_similarity_nulls(features, SIMILARITY, made)
    handles = run_plan(tmp_path / "nulls", plan)
    for handle in handles.values():
        require_similarity_null(_as_tensors(handle))
    return inference.tabulate_similarity_inference(handles, made)


def _as_tensors(handle):
    from rep_kedro.datasets import Tensors

    return Tensors({name: handle.tensor(name) for name in handle.names}, handle.meta)


def test_the_table_says_why_a_number_is_missing(tmp_path):
    layers = _draw(torch.Generator().manual_seed(1), 20)
    without = _make_table(tmp_path / "a", layers, n_bootstrap=0).iloc[0]
    assert without["reason"] == inference.NOT_RESAMPLED
    assert np.isnan(without["similarity_low"])
    assert without["p_value"] > 0
    alone = _make_table(tmp_path / "b", layers, n_permutations=0).iloc[0]
    assert alone["reason"] == inference.NOT_PERMUTED
    assert np.isnan(alone["p_value"])
    assert alone["similarity_low"] < alone["similarity"] < alone["similarity_high"]
    assert np.isfinite(alone["standard_error"])
    holm = _make_table(tmp_path / "h", layers, n_permutations=0, correction="holm").iloc[0]
    assert np.isnan(holm["p_adjusted"])
    few = _make_table(tmp_path / "c", [x[:5] for x in layers]).iloc[0]
    assert few["reason"] == inference.NO_INTERVAL
    neighbours = _make_table(tmp_path / "d", layers, measures=["mutual_knn_10"], n_permutations=0).iloc[0]
    assert (
        neighbours["reason"]
        == f"{inference.NOT_PERMUTED}; {get_measure('mutual_knn_10').inference.no_interval}"
    )
    blind = _make_table(tmp_path / "e", [layers[0], torch.ones(20, 3)]).iloc[0]
    assert blind["reason"] == inference.UNDEFINED
    assert blind[["similarity", "p_value", "similarity_low", "calibrated"]].isna().all()


@pytest.mark.parametrize("name", ["cka_linear_debiased", "rsa_correlation_spearman", "mutual_knn_10"])
def test_copies_of_a_network_are_as_alike_as_can_be(tmp_path, name):
    x = torch.randn(40, 5, generator=torch.Generator().manual_seed(3))
    copies = [x, x.clone(), 7 * x if name != "mutual_knn_10" else x]
    table = _make_table(tmp_path, copies, measures=[name])
    np.testing.assert_allclose(table["similarity"], 1.0, atol=1e-6)
    np.testing.assert_allclose(table["calibrated"], 1.0, atol=1e-6)
    assert table["calibrated"].max() <= 1.0
    assert (table["p_adjusted"] == 1 / 20).all()
    if name != "mutual_knn_10":
        np.testing.assert_allclose(table[["similarity_low", "similarity_high"]], 1.0, atol=1e-6)


def test_one_network_has_no_pairs(tmp_path):
    table = _make_table(tmp_path, _draw(torch.Generator().manual_seed(1), 20)[:1])
    assert table.empty
    assert tuple(table.columns) == SIMILARITY_INFERENCE.names


@pytest.mark.parametrize("name", ["cka_linear_debiased", "cka_linear_biased", "rsa_cosine_pearson"])
def test_four_stimuli_are_enough_and_three_are_not(tmp_path, name):
    layers = _draw(torch.Generator().manual_seed(1), 4)
    row = _make_table(tmp_path / "four", layers, measures=[name]).iloc[0]
    assert np.isfinite(row["similarity"])
    assert np.isnan(row["standard_error"])
    with pytest.raises(Exception, match=r"set/.*inference needs at least 4 stimuli, got 3"):
        _make_table(tmp_path / "three", [x[:3] for x in layers], measures=[name])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_refused_by_name(tmp_path, bad):
    layers = _draw(torch.Generator().manual_seed(1), 20)
    layers[1][3, 2] = bad
    with pytest.raises(Exception, match=r"set/net_1.*1 value.* NaN or infinite"):
        _make_table(tmp_path, layers)


def test_too_few_resamples_for_the_confidence_are_refused():
    with pytest.raises(
        ValidationError, match=r"39 resamples have no interval of 0\.95; set n_bootstrap to at lea"
    ):
        InferenceParams(n_bootstrap=39)
    assert InferenceParams(n_bootstrap=40).n_bootstrap == 40
    with pytest.raises(ValidationError, match="at least 200"):
        InferenceParams(n_bootstrap=199, confidence=0.99)
