"""Time all pairs of models: ours against a loop over pairs and against the machine's matrix products.

Run ``python benchmarks/bench_similarity.py`` on a machine that does nothing else. The rival for CKA is the
pair loop of the similarity-consistency study rewritten plainly: three HSIC values for each pair, each of
which builds and centres both Gram matrices, six in all. The rival for RSA ranks both dissimilarity vectors
of every pair with scipy. A few pairs of a rival are timed and the rest reckoned from them.
"""

import argparse
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from rep_kedro.measures import compare_models

LINEAR = "cka_linear_debiased"
SPEARMAN = "rsa_correlation_spearman"
RBF = [f"cka_rbf_median_{width}_debiased" for width in (0.2, 0.4, 0.6, 0.8)]


def draw_models(n_models: int, n_stimuli: int, n_features: int) -> list[Tensor]:
    """Return models that share part of what they say, float32."""
    generator = torch.Generator().manual_seed(0)
    shared = torch.randn(n_stimuli, n_features // 4, generator=generator)
    return [
        shared @ torch.randn(n_features // 4, n_features, generator=generator)
        + torch.randn(n_stimuli, n_features, generator=generator) * n_features**0.5
        for _ in range(n_models)
    ]


def matrix_product_rate(seconds: float = 2.0) -> float:
    """Return float32 multiply-adds a second of large square products, the best of several."""
    size = 4096 if torch.cuda.is_available() else 2048
    a = torch.randn(size, size, generator=torch.Generator().manual_seed(0))
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        torch.mm(a, a)
        best = min(best, time.perf_counter() - start)
    return size**3 / best


def centred_gram(x: Tensor) -> Tensor:
    """Return a U-centred linear Gram matrix with the passes that the pair loop makes."""
    gram = x @ x.T
    if not torch.allclose(gram, gram.T, rtol=1e-3, atol=1e-4):
        raise ValueError("gram matrix is not symmetric")
    n = len(gram)
    gram.fill_diagonal_(0)
    means = gram.sum(dim=0) / (n - 2)
    means -= means.sum() / (2 * (n - 1))
    gram -= means[:, None]
    gram -= means[None, :]
    gram.fill_diagonal_(0)
    return gram


def pair_cka(x: Tensor, y: Tensor) -> float:
    """Compare one pair as the pair loop does: six Gram matrices."""

    def hsic(a: Tensor, b: Tensor) -> float:
        return float((centred_gram(a) * centred_gram(b)).sum())

    return float(hsic(x, y) / (hsic(x, x) * hsic(y, y)) ** 0.5)


def pair_spearman(x: Tensor, y: Tensor) -> float:
    """Compare one pair as the pair loop does: two correlation RDMs, both ranked."""
    from scipy.stats import spearmanr

    upper = np.triu_indices(len(x), k=1)
    rdms = [1 - np.clip(np.corrcoef(z.numpy()), -1, 1) for z in (x, y)]
    return float(spearmanr(*(rdm[upper] for rdm in rdms)).statistic)


def time_pairs(
    compare: Callable[[Tensor, Tensor], float], models: Sequence[Tensor], n_timed: int
) -> tuple[float, list[float]]:
    """Return seconds for each of the first few pairs, after one for warmth, and their values."""
    pairs = list(combinations(range(len(models)), 2))[:n_timed]
    compare(models[0], models[1])
    start = time.perf_counter()
    values = [compare(models[a], models[b]) for a, b in pairs]
    return (time.perf_counter() - start) / len(pairs), values


def time_ours(
    models: list[Tensor], measures: list[str], memory_bytes: int, repeats: int = 3
) -> tuple[float, Tensor]:
    """Return the least of several times for all pairs, and the values of the first measure."""
    best, values = float("inf"), None
    for _ in range(repeats):
        start = time.perf_counter()
        answers = dict(compare_models(models, measures, memory_bytes=memory_bytes))
        best = min(best, time.perf_counter() - start)
        values = answers[measures[0]].values
    return best, torch.as_tensor(values)


def report(name: str, ours_s: float, rival_s: float, difference: float) -> dict[str, float]:
    """Print one line and return its figures."""
    print(  # noqa: T201
        f"{name:26s} ours {ours_s:7.2f} s   pair loop {rival_s:8.1f} s   ratio {rival_s / ours_s:6.0f}"
        f"   largest difference {difference:.1e}"
    )
    return {"ours_s": ours_s, "rival_s": rival_s, "ratio": rival_s / ours_s, "difference": difference}


def largest_difference(ours: Tensor, rival: Sequence[float]) -> float:
    """Return how far the values of the timed pairs are apart."""
    pairs = list(combinations(range(len(ours)), 2))[: len(rival)]
    return max(abs(float(ours[a, b]) - value) for (a, b), value in zip(pairs, rival, strict=True))


def main() -> None:
    """Run and print; the last line is JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=16)
    parser.add_argument("--stimuli", type=int, default=4000)
    parser.add_argument("--features", type=int, default=512)
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--timed-pairs", type=int, default=4)
    parser.add_argument("--memory-mib", type=int, default=512)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    models = draw_models(options.models, options.stimuli, options.features)
    n_pairs, memory = options.models * (options.models - 1) // 2, options.memory_mib * 2**20
    figures: dict[str, object] = {"case": vars(options)}

    rate = matrix_product_rate()
    linear_s, linear = time_ours(models, [LINEAR], memory)
    # both halved by symmetry: Gram matrices, and the product of each with each
    needed = options.stimuli**2 * (options.features * options.models + options.models**2) / 2
    share = needed / linear_s / rate
    print(  # noqa: T201
        f"{options.models} models x {options.stimuli} stimuli x {options.features} features, {n_pairs} pairs,"
        f" {options.threads} threads; {options.timed_pairs} pairs of a rival timed, {n_pairs} reckoned\n"
        f"matrix products {2 * rate / 1e9:.0f} GFLOP/s; linear CKA works at {share:.0%} of that"
    )
    figures |= {"gflop_s": 2 * rate / 1e9, "share_of_rate": share}

    pair_s, values = time_pairs(pair_cka, models, options.timed_pairs)
    figures["cka"] = report("CKA linear", linear_s, pair_s * n_pairs, largest_difference(linear, values))
    spearman_s, spearman = time_ours(models, [SPEARMAN], memory, repeats=1)
    pair_s, values = time_pairs(pair_spearman, models, min(2, options.timed_pairs))
    figures["rsa"] = report(
        "RSA Spearman", spearman_s, pair_s * n_pairs, largest_difference(spearman, values)
    )

    many_s, _ = time_ours(models, [LINEAR, *RBF, SPEARMAN], memory, repeats=1)
    figures["many_over_linear"] = many_s / linear_s
    print(  # noqa: T201
        f"CKA linear, RBF of four widths and RSA Spearman in one call: {many_s:.1f} s,"
        f" {many_s / linear_s:.1f} times linear CKA alone"
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    print(json.dumps(figures | {"peak_mib": round(peak)}))  # noqa: T201


if __name__ == "__main__":
    main()
