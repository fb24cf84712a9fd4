"""Time all pairs of models: ours against a loop over pairs and against the machine's matrix products.

Run ``python benchmarks/bench_similarity.py`` on a machine that does nothing else. The rival for CKA is the
pair loop of the similarity-consistency study rewritten plainly: three HSIC values for each pair, each of
which builds and centres both Gram matrices, six in all. The rival for RSA ranks both dissimilarity vectors
of every pair with scipy. A few pairs of a rival are timed and the rest extrapolated. Rival and ours
take turns and the least time of each counts, so that other work on the machine spoils neither alone;
processor time is printed next to wall time for the same reason.
"""

import argparse
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from rep_kedro.measures import compare_models

LINEAR = "cka_linear_debiased"
SPEARMAN = "rsa_correlation_spearman"
RBF = [f"cka_rbf_median_{width}_debiased" for width in (0.2, 0.4, 0.6, 0.8)]
WHOLE_SET = [LINEAR, *RBF, SPEARMAN, "mutual_knn_10", "procrustes"]


def draw_models(n_models: int, n_stimuli: int, n_features: int) -> list[Tensor]:
    """Return models that share part of what they say, float32."""
    generator = torch.Generator().manual_seed(0)
    shared = torch.randn(n_stimuli, n_features // 4, generator=generator)
    return [
        shared @ torch.randn(n_features // 4, n_features, generator=generator)
        + torch.randn(n_stimuli, n_features, generator=generator) * n_features**0.5
        for _ in range(n_models)
    ]


@dataclass
class Clock:
    """Least wall and processor seconds of the calls it has timed."""

    wall: float = float("inf")
    processor: float = float("inf")

    def time(self, work: Callable[[], object]) -> object:
        """Call ``work``, keep its times where they are the least, and return its answer."""
        wall, processor = time.perf_counter(), time.process_time()
        answer = work()
        self.wall = min(self.wall, time.perf_counter() - wall)
        self.processor = min(self.processor, time.process_time() - processor)
        return answer


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


def compare_pairs(
    compare: Callable[[Tensor, Tensor], float], models: Sequence[Tensor], n_pairs: int
) -> list[float]:
    """Compare the first few pairs of models one after the other."""
    pairs = list(combinations(range(len(models)), 2))[:n_pairs]
    return [compare(models[a], models[b]) for a, b in pairs]


def largest_difference(ours: Tensor, rival: Sequence[float]) -> float:
    """Return how far the values of the timed pairs are apart."""
    pairs = list(combinations(range(len(ours)), 2))[: len(rival)]
    return max(abs(float(ours[a, b]) - value) for (a, b), value in zip(pairs, rival, strict=True))


def race(
    models: list[Tensor], measure: str, rival: Callable[[Tensor, Tensor], float], options: argparse.Namespace
) -> tuple[Clock, dict[str, float]]:
    """Time ours and the rival in turns, print one line, return our times and the figures."""
    ours, theirs, all_pairs = Clock(), Clock(), len(models) * (len(models) - 1) // 2
    for _ in range(options.rounds):
        expected = theirs.time(lambda: compare_pairs(rival, models, options.timed_pairs))
        answers = ours.time(
            lambda: dict(compare_models(models, [measure], memory_bytes=options.memory_mib * 2**20))
        )
    share = all_pairs / options.timed_pairs
    difference = largest_difference(torch.as_tensor(answers[measure].values), expected)
    figures = {
        "ours_s": ours.wall,
        "rival_s": theirs.wall * share,
        "ratio": theirs.wall * share / ours.wall,
        "ratio_of_processor_time": theirs.processor * share / ours.processor,
        "difference": difference,
    }
    print(  # noqa: T201
        f"{measure:28s} ours {ours.wall:6.2f} s   pair loop {figures['rival_s']:7.1f} s   ratio"
        f" {figures['ratio']:4.0f} (processor time {figures['ratio_of_processor_time']:4.0f})"
        f"   largest difference {difference:.1e}"
    )
    return ours, figures


def share_of_rate(models: list[Tensor], ours: Clock, rounds: int) -> dict[str, float]:
    """Print and return how near linear CKA comes to the machine's rate of float32 matrix products.

    What it needs is half of all Gram matrices and half of the product of each with each: by symmetry the rest
    is known.
    """
    (n_stimuli, n_features), size, best = models[0].shape, 2048, Clock()
    a = torch.randn(size, size, generator=torch.Generator().manual_seed(0))
    for _ in range(10 * rounds):
        best.time(lambda: torch.mm(a, a))
    needed = n_stimuli**2 * (n_features * len(models) + len(models) ** 2) / 2
    wall, processor = (
        needed / seconds / (size**3 / rate)
        for seconds, rate in ((ours.wall, best.wall), (ours.processor, best.processor))
    )
    print(  # noqa: T201
        f"float32 matrix products: {2 * size**3 / best.wall / 1e9:.0f} GFLOP/s; linear CKA works at"
        f" {wall:.0%} of that (processor time: {processor:.0%})"
    )
    return {"gflop_s": 2 * size**3 / best.wall / 1e9, "share": wall, "share_of_processor_time": processor}


def time_whole_set(models: list[Tensor], memory_bytes: int, rounds: int) -> dict[str, float]:
    """Print and return the time of one call with many measures, compared with linear CKA alone."""
    linear, whole = Clock(), Clock()
    for _ in range(rounds):
        linear.time(lambda: dict(compare_models(models, [LINEAR], memory_bytes=memory_bytes)))
        whole.time(lambda: dict(compare_models(models, WHOLE_SET, memory_bytes=memory_bytes)))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    features = sum(x.numel() * x.element_size() for x in models) / 2**20
    print(  # noqa: T201
        f"{', '.join(WHOLE_SET)} in one call: {whole.wall:.1f} s, {whole.wall / linear.wall:.1f} times linear"
        f" CKA alone (processor time {whole.processor / linear.processor:.1f} times); peak memory"
        f" {peak:.0f} MiB, of them features {features:.0f} and memory_bytes {memory_bytes / 2**20:.0f}"
    )
    return {
        "seconds": whole.wall,
        "over_linear": whole.wall / linear.wall,
        "over_linear_of_processor_time": whole.processor / linear.processor,
        "peak_mib": round(peak),
    }


def main() -> None:
    """Run and print; the last line is JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=16)
    parser.add_argument("--stimuli", type=int, default=4000)
    parser.add_argument("--features", type=int, default=512)
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--timed-pairs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory-mib", type=int, default=1024)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    models = draw_models(options.models, options.stimuli, options.features)
    n_pairs = options.models * (options.models - 1) // 2
    print(  # noqa: T201
        f"{options.models} models x {options.stimuli} stimuli x {options.features} features, {n_pairs} pairs,"
        f" {options.threads} threads; {options.timed_pairs} pairs of a rival timed, {n_pairs} extrapolated"
    )
    whole = time_whole_set(models, options.memory_mib * 2**20, max(1, options.rounds - 1))
    clock, cka = race(models, LINEAR, pair_cka, options)
    rate = share_of_rate(models, clock, options.rounds)
    options.rounds = 1
    _, rsa = race(models, SPEARMAN, pair_spearman, options)
    figures = {"case": vars(options), "whole_set": whole, "cka": cka, "rate": rate, "rsa": rsa}
    print(json.dumps(figures))  # noqa: T201


if __name__ == "__main__":
    main()
