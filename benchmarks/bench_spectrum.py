"""All measures of a layer's spectra together against one measure alone, from the same features.

Two spectra occur: singular values of the features as they are (RankMe and three more measures), and
eigenvalues of their covariance (effective rank and four more). All measures of one spectrum share its
decomposition; all of both take two. Least processor time of one thread over the rounds, in turns.

Run: python benchmarks/bench_spectrum.py [--stimuli 8000] [--features 512]
"""

import argparse
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor

from rep_kedro.kernels.layers import spectrum
from rep_kedro.kernels.layers.dimensions import compute_covariance_eigenvalues

FLOAT32 = 2.0**-23


def measure_rankme(features: Tensor) -> Tensor:
    """Return the singular values; RankMe alone is measured."""
    sigma = torch.linalg.svdvals(features.double())
    spectrum.measure_rankme_uncentred_sigma(sigma)
    return sigma


def measure_all_of_sigma(features: Tensor) -> None:
    """Measure all that the table `label_free_measures` has of the singular values."""
    sigma = measure_rankme(features)
    spectrum.measure_stable_rank_uncentred_sigma(sigma)
    spectrum.measure_numerical_rank_sigma(sigma, shape=tuple(features.shape), precision=FLOAT32)
    spectrum.measure_condition_number_sigma(sigma)


def measure_effective_rank(features: Tensor) -> Tensor:
    """Return the eigenvalues; the effective rank alone is measured."""
    eigenvalues, _ = compute_covariance_eigenvalues(features)
    spectrum.measure_effective_rank_centred_lambda(eigenvalues)
    return eigenvalues


def measure_all_of_eigenvalues(features: Tensor) -> None:
    """Measure all that the table has of the eigenvalues."""
    eigenvalues = measure_effective_rank(features)
    spectrum.measure_participation_ratio_centred_lambda(eigenvalues)
    spectrum.measure_nesum_centred_lambda(eigenvalues)
    spectrum.measure_intrinsic_dimension(eigenvalues)
    spectrum.fit_power_law_centred_lambda(eigenvalues)


SIDES: dict[str, Callable[[Tensor], object]] = {
    "RankMe": measure_rankme,
    "all of singular values": measure_all_of_sigma,
    "effective rank": measure_effective_rank,
    "all of eigenvalues": measure_all_of_eigenvalues,
}


def seconds_of(measure: Callable[[Tensor], object], features: Tensor) -> float:
    """Return the processor time of one call."""
    start = time.process_time()
    measure(features)
    return time.process_time() - start


def main() -> None:
    """Race all measures against one."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, default in (("stimuli", 8000), ("features", 512), ("rounds", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    scales = torch.arange(1, options.features + 1) ** -0.5
    features = torch.randn(options.stimuli, options.features, generator=generator) * scales + 0.1
    best = dict.fromkeys(SIDES, float("inf"))
    for _ in range(options.rounds + 1):  # the first calls are slower
        for name, measure in SIDES.items():
            best[name] = min(best[name], seconds_of(measure, features))
    sys.stdout.write(f"{options.stimuli:,} stimuli x {options.features} features, processor time\n")
    for name, seconds in best.items():
        sys.stdout.write(f"{name:24s} {seconds:8.3f} s\n")
    alone, of_sigma, other, of_eigenvalues = best.values()
    sys.stdout.write(
        f"all of one spectrum / one measure: {of_sigma / alone:.2f} and {of_eigenvalues / other:.2f} (at most"
        f" 1.2); all of both spectra / RankMe: {(of_sigma + of_eigenvalues) / alone:.2f}\n"
    )


if __name__ == "__main__":
    main()
