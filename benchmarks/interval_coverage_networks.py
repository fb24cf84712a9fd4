"""How often intervals over the choice of networks and runs cover what they are for, on known populations.

Networks have effects of their own on each stimulus set, so that pairs that share a network depend on each
other. Printed is the share of draws of networks (and stimulus sets, where these vary) whose interval contains
the value of a very large draw.

Run: python benchmarks/interval_coverage_networks.py [--networks 8 16 32] [--draws 200] [--resamples 200]
"""

import argparse
import sys
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from rep_kedro.kernels.statistics.agreement import compare_mean_similarities
from rep_kedro.kernels.statistics.bootstrap import bootstrap_consistency, bootstrap_median_consistency
from rep_kedro.kernels.statistics.consistency import pairwise_consistency
from rep_kedro.kernels.statistics.resampling import draw_bootstrap_counts
from rep_kedro.kernels.statistics.selection_criteria import correlate_criteria

MANY_NETWORKS, MANY_SETS = 1000, 60
N_SETS = 6
STRENGTHS = {"none": 0.0, "weak": 0.5, "strong": 2.0}
Ends = tuple[float, float]
Draw = Callable[[float, int, int, torch.Generator], tuple[float, Ends]]


def normal(*shape: int, generator: torch.Generator) -> Tensor:
    """Return independent normal numbers, float64."""
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def draw_similarities(strength: float, n_sets: int, n: int, generator: torch.Generator) -> Tensor:
    """Return (n_sets, n, n): sums of effects of both networks, which sets share or not, and noise."""
    effects = strength * normal(n, generator=generator) + normal(n_sets, n, generator=generator)
    noise = normal(n_sets, n, n, generator=generator)
    return effects[:, :, None] + effects[:, None] + 0.5 * (noise + noise.mT)


def counts_of(n: int, n_resamples: int, generator: torch.Generator) -> Tensor:
    """Draw resamples of networks, sets or runs."""
    return draw_bootstrap_counts(torch.zeros(n, dtype=torch.int64), n_resamples, generator=generator)


def all_pairs(n: int) -> Tensor:
    """Return the mask of all pairs as the one group."""
    return torch.ones(1, n, n, dtype=torch.bool).triu(1)


def consistency(strength: float, n: int, n_resamples: int, generator: torch.Generator) -> tuple[float, Ends]:
    """Correlate the similarities on two stimulus sets."""
    values = draw_similarities(strength, 2, n, generator)
    if not n_resamples:
        found = pairwise_consistency(values, all_pairs(n), coefficients=["pearson"])
        return float(found.coefficients["pearson"][0, 0, 1]), (0.0, 0.0)
    interval = bootstrap_consistency(values, all_pairs(n), counts_of(n, n_resamples, generator))
    return float(interval.estimate[0, 0, 1]), (float(interval.low[0, 0, 1]), float(interval.high[0, 0, 1]))


def median_consistency(
    strength: float, n: int, n_resamples: int, generator: torch.Generator
) -> tuple[float, Ends]:
    """Take the median of the consistency over pairs of stimulus sets, which are drawn as well."""
    n_sets = N_SETS if n_resamples else MANY_SETS
    values = draw_similarities(strength, n_sets, n if n_resamples else 200, generator)
    n = values.shape[1]
    interval = bootstrap_median_consistency(
        values,
        all_pairs(n),
        model_counts=counts_of(n, n_resamples or 1, generator),
        set_counts=counts_of(n_sets, n_resamples or 1, generator),
    )
    return float(interval.estimate[0]), (float(interval.low[0]), float(interval.high[0]))


def performance_gap(
    strength: float, n: int, n_resamples: int, generator: torch.Generator
) -> tuple[float, Ends]:
    """Correlate similarities with the differences of accuracies."""
    accuracies = normal(n, generator=generator)
    gaps = (accuracies[:, None] - accuracies).abs()
    values = draw_similarities(0.0, 1, n, generator)[0] - strength * gaps
    pair = torch.stack([values, gaps])
    if not n_resamples:
        found = pairwise_consistency(pair, all_pairs(n), coefficients=["pearson"])
        return float(found.coefficients["pearson"][0, 0, 1]), (0.0, 0.0)
    interval = bootstrap_consistency(pair, all_pairs(n), counts_of(n, n_resamples, generator))
    return float(interval.estimate[0, 0, 1]), (float(interval.low[0, 0, 1]), float(interval.high[0, 0, 1]))


def agreement(strength: float, n: int, n_resamples: int, generator: torch.Generator) -> tuple[float, Ends]:
    """Correlate two measures over pairs of networks, each averaged over stimulus sets."""
    n_sets = N_SETS if n_resamples else MANY_SETS
    n = n if n_resamples else 200
    shared = strength * draw_similarities(1.0, n_sets, n, generator)
    first, second = (shared + draw_similarities(1.0, n_sets, n, generator) for _ in range(2))
    found = compare_mean_similarities(
        first,
        second,
        model_counts=counts_of(n, n_resamples or 1, generator),
        set_counts=counts_of(n_sets, n_resamples or 1, generator),
    )
    return found.pearson, (float(found.interval.low), float(found.interval.high))


def criterion(name: str) -> Draw:
    """Correlate a criterion with the performance of runs."""

    def draw(strength: float, n: int, n_resamples: int, generator: torch.Generator) -> tuple[float, Ends]:
        quality = normal(n, generator=generator)
        performance = strength * quality + normal(n, generator=generator)
        found = correlate_criteria(quality[None], performance, counts_of(n, n_resamples, generator))[name]
        return float(found.value), (float(found.low), float(found.high))

    return draw


WHAT: dict[str, Draw] = {
    "consistency": consistency,
    "median consistency": median_consistency,
    "performance gap": performance_gap,
    "agreement of measures": agreement,
    "criterion, pearson": criterion("pearson"),
    "criterion, spearman": criterion("spearman"),
    "criterion, kendall": criterion("kendall"),
}


def measure_coverage(draw: Draw, numbers: list[int], n_draws: int, n_resamples: int) -> Iterator[str]:
    """Yield lines: strength, value of a very large draw, and for each number the share that covers it."""
    for kind, strength in STRENGTHS.items():
        generator = torch.Generator().manual_seed(1)
        true = draw(strength, MANY_NETWORKS, 0, generator)[0]
        shares = []
        for n in numbers:
            ends = [draw(strength, n, n_resamples, generator)[1] for _ in range(n_draws)]
            shares.append(sum(low <= true <= high for low, high in ends) / n_draws)
        yield f"{kind:8} {true:7.3f}  " + "  ".join(f"{share:6.3f}" for share in shares)


def main() -> None:
    """Print a line for each estimate and strength of the relation."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", type=int, nargs="+", default=[8, 16, 32])
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--resamples", type=int, default=200)
    parser.add_argument("--only", nargs="+", default=list(WHAT))
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    sys.stdout.write(f"{'interval of':22} {'relation':8} {'true':>7}  covered with {chosen.networks}\n")
    for name in chosen.only:
        for line in measure_coverage(WHAT[name], chosen.networks, chosen.draws, chosen.resamples):
            sys.stdout.write(f"{name:22} {line}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
