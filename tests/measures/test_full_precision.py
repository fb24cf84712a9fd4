"""Comparisons multiply float32 in float32, and leave a process that wants it shorter as it was."""

import numpy as np
import pytest
import torch

from rep_kedro.kernels.precision import full_precision, in_full_precision
from rep_kedro.kernels.similarity import cka
from rep_kedro.measures import MEASURES, compare_models
from rep_kedro.models.reading import steady
from rep_kedro.training.repeatable import repeatable

MATMUL = torch.backends.cuda.matmul
ON_CPU = torch.backends.mkldnn.matmul
FEATURE_MEASURES = [name for name, measure in MEASURES.items() if measure.compares == "features"]
SETTINGS = {
    "nothing": lambda: None,
    "high": lambda: torch.set_float32_matmul_precision("high"),
    "medium": lambda: torch.set_float32_matmul_precision("medium"),
    "highest": lambda: torch.set_float32_matmul_precision("highest"),
    "cuda alone": lambda: setattr(MATMUL, "fp32_precision", "tf32"),
    "cpu alone": lambda: setattr(ON_CPU, "fp32_precision", "bf16"),
    "all backends": lambda: setattr(torch.backends, "fp32_precision", "tf32"),
    "the switch of older programs": lambda: setattr(MATMUL, "allow_tf32", True),
}


@pytest.fixture(autouse=True)
def _defaults():
    yield
    torch.backends.fp32_precision = "none"
    torch.set_float32_matmul_precision("highest")
    MATMUL.fp32_precision = ON_CPU.fp32_precision = "none"


def settings():
    return torch.backends.fp32_precision, MATMUL.fp32_precision, ON_CPU.fp32_precision


def is_full():
    return {MATMUL.fp32_precision, ON_CPU.fp32_precision} <= {"ieee", "none"}


def draw(n=20, widths=(3, 5, 4)):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(n, d, generator=generator) + 3 for d in widths]


@pytest.mark.parametrize("name", SETTINGS)
def test_nothing_is_shortened_within_and_the_setting_is_put_back(name):
    SETTINGS[name]()
    before = settings()
    with full_precision():
        assert is_full()
    assert settings() == before
    with pytest.raises(KeyError), full_precision():
        raise KeyError
    assert settings() == before


@pytest.mark.parametrize(
    "scope", [lambda: steady(None), lambda: repeatable("cpu")], ids=["features", "training"]
)
def test_networks_are_run_and_trained_in_full_precision(scope):
    torch.set_float32_matmul_precision("medium")
    before = settings()
    with scope():
        assert is_full()
        assert not torch.backends.cudnn.allow_tf32
    assert settings() == before


def test_a_setting_taken_from_all_backends_follows_them_afterwards():
    torch.backends.fp32_precision = "tf32"
    with full_precision():
        pass
    torch.backends.fp32_precision = "ieee"
    assert is_full()


@pytest.mark.parametrize("precision", ["high", "medium"])
def test_every_measure_is_compared_in_full_and_handed_over_as_the_process_asked(precision, monkeypatch):
    seen = []

    def watched(*args, original=cka.linear_pair_sums, **kwargs):
        seen.append(is_full())
        return original(*args, **kwargs)

    monkeypatch.setattr(cka, "linear_pair_sums", watched)
    torch.set_float32_matmul_precision(precision)
    before = settings()
    for _ in compare_models(draw(), FEATURE_MEASURES, memory_bytes=2**22):
        assert settings() == before
        assert torch.get_float32_matmul_precision() == precision
    assert seen == [True, True]  # of all stimuli, and of a batch
    assert settings() == before


def test_leaving_off_in_the_middle_leaves_the_setting():
    torch.set_float32_matmul_precision("high")
    answers = compare_models(draw(), FEATURE_MEASURES, memory_bytes=2**22)
    next(answers)
    del answers
    assert torch.get_float32_matmul_precision() == "high"


def test_an_error_of_a_step_leaves_the_setting():
    def steps():
        yield 1
        raise RuntimeError("broken")

    torch.set_float32_matmul_precision("high")
    taken = in_full_precision(steps())
    assert next(taken) == 1
    with pytest.raises(RuntimeError, match="broken"):
        next(taken)
    assert torch.get_float32_matmul_precision() == "high"


def test_autocast_of_the_process_changes_no_value_and_goes_on_between_measures():
    representations = draw()
    plain = dict(compare_models(representations, FEATURE_MEASURES, memory_bytes=2**22))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for name, comparison in compare_models(representations, FEATURE_MEASURES, memory_bytes=2**22):
            assert torch.is_autocast_enabled("cpu")
            assert (representations[0].T @ representations[0]).dtype == torch.bfloat16
            np.testing.assert_array_equal(comparison.values, plain[name].values, err_msg=name)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_tensor_float_of_the_process_changes_no_value_on_a_gpu():
    representations = draw(400, (256, 512, 300))
    plain = dict(compare_models(representations, FEATURE_MEASURES, memory_bytes=2**26, device="cuda"))
    torch.set_float32_matmul_precision("high")
    for name, comparison in compare_models(
        representations, FEATURE_MEASURES, memory_bytes=2**26, device="cuda"
    ):
        np.testing.assert_allclose(comparison.values, plain[name].values, atol=1e-6, err_msg=name)
