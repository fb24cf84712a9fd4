"""One call for many measures: shared work, refusals, reasons, input errors, values others agree on."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from rep_kedro.measures import MEASURES, Family, Measure, compare_models
from rep_kedro.measures import compare as compare_module

FEATURE_MEASURES = sorted(name for name, measure in MEASURES.items() if measure.compares == "features")
SPEC_VECTORS = {  # the pair made by spec_pair; from the formulas in numpy, checked against thingsvision
    "cka_linear_debiased": 0.5214229651501,
    "cka_rbf_abs_0.2_debiased": 0.2131080356311,
    "cka_rbf_abs_0.4_debiased": 0.4413676335528,
    "cka_rbf_abs_0.6_debiased": 0.5023281105630,
    "cka_rbf_abs_0.8_debiased": 0.5181880734416,
    "cka_linear_biased": 0.5845707891243,
    "cka_rbf_abs_0.2_biased": 0.9961367053124,
    "cka_rbf_abs_0.4_biased": 0.9201310947782,
    "cka_rbf_abs_0.6_biased": 0.7707506212192,
    "cka_rbf_abs_0.8_biased": 0.6840976934126,
    "rsa_correlation_pearson": 0.4797845533791,
    "rsa_correlation_spearman": 0.4626133316356,
}
AGREED = {  # the pair made by agreed_pair; values on which independent public implementations agree
    "cka_linear_biased": 0.866361,
    "cka_linear_debiased": 0.854435,
    "cka_linear_lange": 0.854662,
    "rsa_correlation_spearman": 0.885510,
    "rsa_correlation_pearson": 0.891843,
    "rsa_squared_euclidean_cosine": 0.962094,
}


def spec_pair():
    generator = np.random.RandomState(0)
    x, mixing = generator.randn(60, 16), generator.randn(16, 8)
    y = x @ mixing + 0.5 * generator.randn(60, 8)
    return [torch.from_numpy(z / np.linalg.norm(z, axis=1, keepdims=True)) for z in (x, y)]


def agreed_pair():
    generator = np.random.default_rng(0)
    shared = generator.standard_normal((60, 6))
    return [
        torch.from_numpy(
            shared @ generator.standard_normal((6, 30)) + 0.5 * generator.standard_normal((60, 30))
        )
        for _ in range(2)
    ]


def draw(n=12, widths=(3, 5, 4), seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(n, d, generator=generator).to(dtype) for d in widths]


def compare(representations, names, memory_bytes=2**24, **more):
    return dict(compare_models(representations, names, memory_bytes=memory_bytes, **more))


def test_values_of_the_similarity_consistency_study_are_met_to_nine_digits():
    x, y = spec_pair()
    assert x[0, :3].tolist() == pytest.approx([0.41768427, 0.0947474, 0.23174112], abs=1e-8)
    answers = compare([x, y], SPEC_VECTORS)
    got = {name: answer.values[0, 1] for name, answer in answers.items()}
    assert got == pytest.approx(SPEC_VECTORS, abs=1e-9)


def test_the_median_width_of_the_study_is_the_root_of_the_median_square():
    from rep_kedro.kernels.similarity.cka import compare_cka

    request = {"kernel": "gaussian", "width": 1.0, "width_unit": "median", "seed": 0}
    for estimator, value in (("debiased", 0.5233846793277), ("biased", 0.6121988974034)):
        asked = {"asked": {**request, "estimator": estimator}}
        [(_, values, _)] = compare_cka(spec_pair(), asked, memory_bytes=10**6)
        assert values[0, 1].item() == pytest.approx(value, abs=1e-9)


def test_values_on_which_public_implementations_agree_are_met_to_six_digits():
    answers = compare(agreed_pair(), AGREED)
    got = {name: answer.values[0, 1] for name, answer in answers.items()}
    assert got == pytest.approx(AGREED, abs=1e-6)


def test_single_precision_features_meet_the_same_values_to_six_digits():
    answers = compare([x.float() for x in spec_pair()], SPEC_VECTORS)
    got = {name: answer.values[0, 1] for name, answer in answers.items()}
    assert got == pytest.approx(SPEC_VECTORS, abs=1e-6)


def test_measures_that_are_one_number_agree():
    answers = {name: c.values for name, c in compare(draw(20, dtype=torch.float64), FEATURE_MEASURES).items()}
    for one, other in (
        ("cka_linear_biased", "rv_coefficient"),
        ("cka_linear_biased", "rsa_squared_euclidean_whitened_cosine"),
        ("rsa_euclidean_spearman", "rsa_squared_euclidean_spearman"),
    ):
        np.testing.assert_allclose(answers[one], answers[other], atol=1e-12)
    np.testing.assert_allclose(
        np.cos(answers["cka_linear_angular"]), answers["cka_linear_biased"], atol=1e-12
    )


def test_many_measures_at_once_equal_each_alone_and_come_grouped_by_family():
    representations = draw(20)
    together = list(compare_models(representations, FEATURE_MEASURES, memory_bytes=2**24))
    assert sorted(name for name, _ in together) == FEATURE_MEASURES
    families = [MEASURES[name].family for name, _ in together]
    assert families == sorted(families, key=list(Family).index)
    for name, comparison in together:
        alone = compare(representations, [name])[name]
        np.testing.assert_allclose(comparison.values, alone.values, atol=1e-9)
        assert comparison.reasons.keys() == alone.reasons.keys()


def test_preparation_is_done_once_for_all_measures_that_share_it(monkeypatch):
    from rep_kedro.kernels.similarity import cka, rdm_ranks

    calls = []
    for module, name in ((cka, "linear_pair_sums"), (cka, "distance_pair_sums"), (rdm_ranks, "_rank_into")):
        original = getattr(module, name)

        def counted(*args, original=original, name=name, **kwargs):
            calls.append(name)
            return original(*args, **kwargs)

        monkeypatch.setattr(module, name, counted)
    names = [
        n for n in FEATURE_MEASURES if n.startswith(("cka_linear_b", "cka_linear_d", "cka_rbf", "distance"))
    ]
    compare(draw(20), [*names, "rsa_cosine_spearman", "rsa_cosine_rho_a", "rsa_cosine_tau_a"])
    assert sorted(calls) == ["_rank_into"] * 3 + ["distance_pair_sums", "linear_pair_sums"]


@pytest.mark.parametrize("memory_bytes", [20_000, 200_000])
def test_memory_does_not_change_values(memory_bytes):
    representations = draw(40, dtype=torch.float64)
    plenty = compare(representations, FEATURE_MEASURES)
    for name, scarce in compare(representations, FEATURE_MEASURES, memory_bytes).items():
        np.testing.assert_allclose(scarce.values, plenty[name].values, atol=1e-9, err_msg=name)


def test_one_model_is_compared_with_itself():
    for name, comparison in compare(draw(20, (3,)), FEATURE_MEASURES).items():
        assert comparison.values.shape == (1, 1), name
        assert np.isfinite(comparison.values).all() or comparison.reasons[0, 0]


def test_an_undefined_value_always_has_a_reason():
    representations = [draw(12)[0], torch.full((12, 4), 2.5), torch.eye(12)]
    for name, comparison in compare(representations, FEATURE_MEASURES).items():
        undefined = {tuple(pair) for pair in np.argwhere(np.isnan(comparison.values)).tolist()}
        assert set(comparison.reasons) == undefined, name
        assert compare_module.NO_REASON not in comparison.reasons.values(), name


def test_tau_of_many_stimuli_is_refused_before_it_is_computed():
    answers = compare(draw(1001), ["rsa_cosine_tau_a"])
    assert np.isnan(answers["rsa_cosine_tau_a"].values).all()
    assert answers["rsa_cosine_tau_a"].reasons[0, 2].endswith("at most 1000 stimuli, got 1001")


def test_pairs_that_a_measure_refuses_are_blanked_and_others_kept(monkeypatch):
    def refuse_wide(n_stimuli, n_features_a, n_features_b):
        return "too wide" if max(n_features_a, n_features_b) > 4 else None

    plain = MEASURES["cka_linear_biased"]
    fields = {**plain.__dict__, "id": "picky", "refusal": refuse_wide}
    monkeypatch.setitem(MEASURES, "picky", Measure(**fields))
    picky = compare(draw(), ["picky"])["picky"]
    assert np.isnan(picky.values).tolist() == [[False, True, False], [True, True, True], [False, True, False]]
    assert set(picky.reasons.values()) == {"too wide"}
    assert len(picky.reasons) == 5


@pytest.mark.parametrize(
    ("dtype", "as_if"),
    [
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.int16, torch.float32),
        (torch.int32, torch.float64),
        (torch.int64, torch.float64),
    ],
)
def test_features_are_compared_in_the_type_that_holds_their_numbers(dtype, as_if):
    representations = [(4 * x).round().to(dtype) for x in draw()]
    same = compare([x.to(as_if) for x in representations], ["cka_linear_debiased"])
    got = compare(representations, ["cka_linear_debiased"])
    np.testing.assert_array_equal(got["cka_linear_debiased"].values, same["cka_linear_debiased"].values)


def test_features_are_left_alone():
    representations = draw(20)
    before = [x.clone() for x in representations]
    compare(representations, FEATURE_MEASURES)
    assert all(torch.equal(x, y) for x, y in zip(representations, before, strict=True))


def test_features_that_are_a_view_of_others_are_compared_like_copies():
    [wide] = draw(20, (9,))
    for name, comparison in compare([wide[:, ::2], wide.T.contiguous().T], FEATURE_MEASURES).items():
        want = compare([wide[:, ::2].clone(), wide.clone()], [name])[name]
        np.testing.assert_allclose(comparison.values, want.values, atol=1e-6, err_msg=name)


def broken(index, change):
    representations = draw()
    representations[index] = change(representations[index])
    return representations


def with_value(x, value):
    x[7, 1] = value
    return x


@pytest.mark.parametrize(
    ("representations", "message"),
    [
        ([], "no representations to compare"),
        (
            broken(1, lambda x: with_value(x, torch.nan)),
            "representation 1 contains NaN or infinity in 1 of 12 .* 7$",
        ),
        (broken(2, lambda x: with_value(x, torch.inf)), "representation 2 contains NaN or infinity"),
        (broken(2, lambda x: x[:11]), "representation 2 has 11 stimuli, representation 0 has 12"),
        (broken(0, lambda x: x[:, :0]), r"representation 0 has shape \(12, 0\)"),
        (broken(1, lambda x: x[:, 0]), r"representation 1 has shape \(12,\)"),
        (broken(1, lambda x: x.to(torch.complex64)), "representation 1 is complex"),
        (draw(3), "representation 0 has 3 stimuli, need at least 4"),
    ],
)
def test_input_that_cannot_be_compared_is_refused_at_once_by_model(representations, message):
    with pytest.raises(ValueError, match=message):
        compare_models(representations, ["cka_linear_biased"], memory_bytes=10**6)


def test_requests_that_make_no_sense_are_refused_at_once():
    with pytest.raises(ValueError, match="unknown similarity measure 'cka'"):
        compare_models(draw(), ["cka"], memory_bytes=10**6)
    with pytest.raises(ValueError, match="requested more than once: cka_linear_biased"):
        compare_models(draw(), ["cka_linear_biased"] * 2, memory_bytes=10**6)
    with pytest.raises(ValueError, match="memory_bytes must be positive, got 0"):
        compare_models(draw(), ["cka_linear_biased"], memory_bytes=0)
    with pytest.raises(TypeError, match="got the single string 'cka_linear_biased'"):
        compare_models(draw(), "cka_linear_biased", memory_bytes=10**6)
    assert list(compare_models(draw(), [], memory_bytes=10**6)) == []


@pytest.mark.parametrize(
    ("name", "changed", "error"),
    [
        ("rtd_lite", {"statistic": "rtd"}, ValueError),
        ("rsa_cosine_pearson", {"rdm": "mahalanobis"}, ValueError),
        ("disagreement", {"statistic": "disagreemnt"}, ValueError),
        ("svcca_0.99", {"statistic": "svca"}, KeyError),
        ("gulp_1", {"rigde": 1.0}, TypeError),
        ("mutual_knn_10", {"k": 10}, TypeError),
    ],
)
def test_an_entry_that_no_kernel_knows_is_an_error(name, changed, error):
    measure = replace(MEASURES[name], parameters={**MEASURES[name].parameters, **changed})
    logits = [torch.ones(12, 5), torch.eye(12, 5)]
    with pytest.raises(error, match=rf"has no answer to \{{'{name}'" if error is ValueError else None):
        list(compare_module.compare_under(logits, [measure], memory_bytes=10**6))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_what_the_processor_gives():
    representations = draw(300, (40, 80, 400))
    on_gpu = compare(representations, FEATURE_MEASURES, device="cuda")
    for name, comparison in compare(representations, FEATURE_MEASURES).items():
        np.testing.assert_allclose(on_gpu[name].values, comparison.values, atol=1e-5, err_msg=name)
