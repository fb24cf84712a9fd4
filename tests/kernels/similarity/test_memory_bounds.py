"""Peak memory of comparisons where one matrix over stimuli would not fit into what is allowed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

BENCHMARK = Path(__file__).parents[3] / "benchmarks" / "bench_memory.py"
MATHS_LIBRARIES_MIB = 48  # rooms of threads and products that no argument bounds


def measure(name, n_stimuli, memory_mib, n_features=16):
    options = [f"--stimuli={n_stimuli}", f"--memory-mib={memory_mib}", f"--features={n_features}"]
    command = [sys.executable, BENCHMARK, f"--measure={name}", *options, "--models=2", "--threads=1"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    "name",
    [
        "cka_linear_debiased",
        "cka_rbf_median_0.4_debiased",
        "rsa_correlation_pearson",
        "rsa_euclidean_pearson",
        "mutual_knn_10",
        "procrustes",
    ],
)
def test_ten_thousand_stimuli_are_compared_in_the_memory_allowed(name):
    taken = measure(name, n_stimuli=10_000, memory_mib=32)
    # one matrix over stimuli would take 381 MiB; a copy of the features may be in float64
    assert taken["peak_mib"] <= 32 + 2 * taken["features_mib"] + MATHS_LIBRARIES_MIB


def test_wide_features_are_compared_in_the_memory_allowed():
    taken = measure("cka_linear_debiased", n_stimuli=6_000, memory_mib=16, n_features=1536)
    # narrower ones are multiplied feature by feature; these make tiles of matrices over stimuli, 137 MiB each
    assert taken["peak_mib"] <= 16 + taken["features_mib"] + MATHS_LIBRARIES_MIB


def test_rank_correlation_takes_the_sixteen_bytes_a_pair_of_stimuli_that_it_says():
    n_pairs = 5_000 * 4_999 // 2
    memory_mib = 16 * n_pairs // 2**20 + 1
    taken = measure("rsa_correlation_spearman", n_stimuli=5_000, memory_mib=memory_mib)
    assert taken["peak_mib"] <= memory_mib + 2 * taken["features_mib"] + MATHS_LIBRARIES_MIB
