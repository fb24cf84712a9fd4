"""How often intervals over the choice of stimuli cover what they are for, on populations that are known.

Two networks see stimuli with three skewed causes, through fixed random weights and with noise of their own.
Each draw of stimuli gives an interval; printed is the share of draws whose interval contains the value in the
population (from 3,000 stimuli) and the mean over all draws, which is all that a biased measure can estimate.

Run: python benchmarks/interval_coverage.py [--stimuli 40 150] [--draws 120] [--resamples 200] [--measures ID]
"""

import argparse
import sys

import torch
from torch import Tensor

from rep_kedro.analyses.inference.stimulus_intervals import HIGH, LOW, summarise_bootstrap
from rep_kedro.measures import compare_models, get_measure

POPULATION = 3000
CONFIDENCE = 0.95
MEASURES = (
    "cka_linear_debiased",
    "cka_linear_biased",
    "cka_rbf_median_0.4_debiased",
    "cka_rbf_median_0.4_biased",
    "rsa_correlation_pearson",
    "rsa_correlation_spearman",
)
KINDS = {"unrelated": (0.0, 1.0), "weak": (0.5, 1.0), "middling": (1.0, 1.0), "almost alike": (1.0, 0.2)}


def draw_networks(kind: str, n_stimuli: int, generator: torch.Generator) -> list[Tensor]:
    """Return the features of two networks for stimuli drawn from the population."""
    fixed = torch.Generator().manual_seed(0)
    share, noise = KINDS[kind]
    causes = torch.randn(n_stimuli, 3, generator=generator, dtype=torch.float64)
    causes = causes + 0.3 * (causes.square() - 1)
    first = torch.randn(3, 12, generator=fixed, dtype=torch.float64)
    second = torch.randn(3, 20, generator=fixed, dtype=torch.float64)
    if kind == "almost alike":
        second = torch.cat([first, 0.3 * second[:, :8]], dim=1)
    return [
        share * causes @ weight
        + noise * torch.randn(n_stimuli, weight.shape[1], generator=generator, dtype=torch.float64)
        for weight in (first, second)
    ]


def measure_value(networks: list[Tensor], name: str) -> float:
    """Return what the measure gives for the two networks."""
    [(_, found)] = compare_models(networks, [name], memory_bytes=10**8)
    return float(found.values[0, 1])


def measure_coverage(kind: str, name: str, n_stimuli: int, n_draws: int, n_resamples: int) -> str:
    """Return one line: population, mean, spread, and the shares that are covered."""
    generator = torch.Generator().manual_seed(1)
    measure = get_measure(name)
    in_population = measure_value(draw_networks(kind, POPULATION, generator), name)
    values, ends = [], []
    for draw in range(n_draws):
        networks = draw_networks(kind, n_stimuli, generator)
        found = summarise_bootstrap(
            networks,
            measure,
            n_bootstrap=n_resamples,
            confidence=CONFIDENCE,
            seed=draw,
        )
        values.append(measure_value(networks, name))
        ends.append((found[LOW][0, 1].item(), found[HIGH][0, 1].item()))
    mean = sum(values) / n_draws
    covered = [sum(low <= x <= high for low, high in ends) / n_draws for x in (in_population, mean)]
    line = f"{name:28} {kind:13} {n_stimuli:5d} {in_population:10.3f} {mean:7.3f}"
    return f"{line} {covered[0]:11.2f} {covered[1]:7.2f}\n"


def main() -> None:
    """Print a line for each measure, kind of pair and number of stimuli."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--stimuli", type=int, nargs="+", default=[40, 150])
    parser.add_argument("--draws", type=int, default=120)
    parser.add_argument("--resamples", type=int, default=200)
    parser.add_argument("--measures", nargs="+", default=MEASURES)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    sys.stdout.write(f"{'measure':28} {'pair':13} stimuli population    mean  covered pop   mean\n")
    for name in chosen.measures:
        for kind in KINDS:
            for n_stimuli in chosen.stimuli:
                sys.stdout.write(measure_coverage(kind, name, n_stimuli, chosen.draws, chosen.resamples))
                sys.stdout.flush()


if __name__ == "__main__":
    main()
