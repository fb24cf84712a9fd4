"""Whether p-values are uniform where nothing is to be found, for each kind of test.

Every line draws data under the null hypothesis of one test many times. It gives the shares of p-values that
are at most 0.01, 0.05 and 0.1 (what they should be, or less), and by how much their distribution exceeds
the uniform one, with the bound that chance keeps at a level of 0.01 (Dvoretzky, Kiefer and Wolfowitz).

Similarity: networks that see noise of their own; stimuli are permuted. Consistency: similarities with effects
of networks, drawn again on each stimulus set; names are permuted. Performance gaps: accuracies drawn without
regard to similarities. Rank sum of anchors: it takes pairs of stimulus sets as independent, which they are
not; the report therefore also requires an interval without 0, whose share has its own line.

Run: python benchmarks/p_value_uniformity.py [--draws 200] [--permutations 99]
"""

import argparse
import logging
import sys
from collections.abc import Callable, Iterator
from itertools import combinations
from math import log, sqrt

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from rep_kedro.analyses.consistency.anchors import compare_anchors
from rep_kedro.analyses.inference.nulls import summarise_null
from rep_kedro.analyses.similarity.params import ConsistencyParams
from rep_kedro.kernels.statistics.mantel import permute_defined
from rep_kedro.measures import get_measure

MEASURES = (
    *("cka_linear_debiased", "cka_linear_biased", "cka_rbf_median_0.4_debiased", "rsa_correlation_spearman"),
    *("rsa_correlation_whitened_cosine", "cca_mean", "procrustes", "mutual_knn_10"),
)
N_STIMULI, N_NETWORKS = 30, 9


def p_of_similarity(name: str, seed: int, n_permutations: int) -> float:
    """Return the p-value of the similarity of two unrelated networks."""
    generator = torch.Generator().manual_seed(seed)
    networks = [torch.randn(N_STIMULI, width, generator=generator, dtype=torch.float64) for width in (5, 8)]
    measure = get_measure(name)
    found = summarise_null(
        networks,
        measure,
        n_permutations=n_permutations,
        level=0.05,
        seed=seed,
    )
    return float(found["p_value"][0, 1])


def draw_similarities(seed: int, n_sets: int) -> Tensor:
    """Return similarities of networks with an effect of each network, newly drawn on each stimulus set."""
    generator = torch.Generator().manual_seed(seed)
    network = torch.randn(n_sets, N_NETWORKS, generator=generator, dtype=torch.float64)
    noise = torch.randn(n_sets, N_NETWORKS, N_NETWORKS, generator=generator, dtype=torch.float64)
    return network[:, :, None] + network[:, None, :] + noise + noise.mT


def p_of_names(
    seed: int, n_permutations: int, first: slice, second: slice, alternative: str, *, gaps: bool = False
) -> float:
    """Return the p-value of the correlation of similarities on two sets, or of similarities with gaps."""
    values = draw_similarities(seed, 2)
    if gaps:
        accuracy = torch.rand(N_NETWORKS, generator=torch.Generator().manual_seed(seed + 1))
        values[1] = (accuracy[:, None] - accuracy).abs()
    members = torch.zeros(2, N_NETWORKS, dtype=torch.bool)
    members[0, first] = members[1, second] = True
    test = permute_defined(
        values,
        members[0],
        members[1],
        n_permutations,
        generator=torch.Generator().manual_seed(seed),
        alternative=alternative,
    )
    return float(test.p_value[0, 1])


def p_of_anchors(seed: int) -> tuple[float, bool]:
    """Return the rank-sum p-value of an anchor's kinds of network, and whether the interval leaves out 0."""
    models = [f"net_{index}" for index in range(N_NETWORKS)]
    kinds = ["anchor", *("one" if index % 2 else "other" for index in range(N_NETWORKS - 1))]
    rows = [
        {"stimulus_set": f"set_{place}", "measure": "cka_linear_debiased", "model_a": models[a],
         "model_b": models[b], "similarity": float(values[a, b])}
        for place, values in enumerate(draw_similarities(seed, 5))
        for a, b in combinations(range(N_NETWORKS), 2)
    ]  # fmt: skip
    cards = pd.DataFrame({"model": models, "objective": kinds, "architecture": kinds})
    params = ConsistencyParams(
        categories=["architecture"], anchors=["net_0"], n_bootstrap=200, n_permutations=0, seed=seed
    )
    table = compare_anchors(pd.DataFrame(rows), cards, params).set_index(["value_a", "value_b"])
    row = table.loc[("one", "other")]
    return float(row["p_value"]), bool(row["difference_low"] * row["difference_high"] > 0)


def list_tests(n_permutations: int) -> Iterator[tuple[str, Callable[[int], float]]]:
    """Yield what is tested and the function from seeds to p-values."""
    for name in MEASURES:
        yield f"similarity, {name}", lambda seed, name=name: p_of_similarity(name, seed, n_permutations)
    everyone = slice(None)
    for label, first, second in (
        ("consistency, all networks", everyone, everyone),
        ("consistency, two kinds of network", slice(4), slice(4, None)),
        ("consistency, model sets that share networks", slice(6), slice(3, None)),
        ("consistency, an anchor", slice(1), everyone),
    ):
        yield (
            label,
            lambda seed, a=first, b=second: p_of_names(seed, n_permutations, a, b, "greater"),
        )
    yield (
        "performance gaps",
        lambda seed: p_of_names(seed, n_permutations, everyone, everyone, "two-sided", gaps=True),
    )


def describe(p_values: np.ndarray) -> str:
    """Return shares of small p-values, and how far their distribution exceeds the uniform one."""
    shares = [float((p_values <= level + 1e-12).mean()) for level in (0.01, 0.05, 0.1)]
    ordered = np.sort(p_values)
    above = float((np.arange(1, len(ordered) + 1) / len(ordered) - ordered).max())
    bound = sqrt(log(1 / 0.01) / (2 * len(ordered)))
    return f"{shares[0]:8.3f} {shares[1]:8.3f} {shares[2]:8.3f} {max(above, 0):10.3f} {bound:8.3f}"


def main() -> None:
    """Print a line for each kind of test."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--permutations", type=int, default=99)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    sys.stdout.write(f"{'test':48} {'<= 0.01':>8} {'<= 0.05':>8} {'<= 0.1':>8} {'above':>10} {'bound':>8}\n")
    for label, draw in list_tests(chosen.permutations):
        p_values = np.array([draw(seed) for seed in range(chosen.draws)])
        sys.stdout.write(f"{label:48} {describe(p_values)}\n")
        sys.stdout.flush()
    found = [p_of_anchors(seed) for seed in range(chosen.draws // 2)]
    sys.stdout.write(f"{'rank sum of an anchor':48} {describe(np.array([p for p, _ in found]))}\n")
    share = sum(excluded for _, excluded in found) / len(found)
    sys.stdout.write(f"{'interval of an anchor without 0':48} {'':8} {share:8.3f}\n")


if __name__ == "__main__":
    main()
