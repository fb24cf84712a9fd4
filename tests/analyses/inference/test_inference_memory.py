"""Inference holds one matrix of each network and little more, however many networks there are."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
N_MODELS, N_STIMULI = 100, 300
ONE_OF_EACH_MIB = 8 * N_MODELS * N_STIMULI**2 / 2**20


@pytest.mark.parametrize(
    "name", ["cka_linear_debiased", pytest.param("rsa_correlation_spearman", marks=pytest.mark.slow)]
)
def test_inference_takes_memory_for_few_copies_of_the_matrices(name):
    command = [
        sys.executable,
        "-m",
        "tests.analyses.inference.inference_memory",
        str(N_MODELS),
        str(N_STIMULI),
        name,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert float(done.stdout) < 3.4 * ONE_OF_EACH_MIB
