"""Print the peak memory that inference of one measure takes beyond what is there before, in MiB.

Run as a program of its own, so that nothing else has taken memory before: ``python -m
tests.analyses.inference.inference_memory 100 300 cka_linear_debiased``.
"""

import resource
import sys

import torch

from rep_kedro.analyses.inference.nulls import summarise_null
from rep_kedro.measures import MEASURES


def peak_mib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def infer(n_models, n_stimuli, name):
    generator = torch.Generator().manual_seed(0)
    models = [torch.randn(n_stimuli, 64, generator=generator) for _ in range(n_models)]
    measure = MEASURES[name]
    summarise_null(
        models,
        measure,
        n_permutations=2,
        level=0.5,
        seed=0,
    )


def main():
    torch.set_num_threads(1)
    n_models, n_stimuli, name = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    infer(4, 60, name)  # what libraries take once
    before = peak_mib()
    infer(n_models, n_stimuli, name)
    print(peak_mib() - before)  # noqa: T201


if __name__ == "__main__":
    main()
