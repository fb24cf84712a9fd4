"""Tables of consistency at the size of the similarity-consistency study, on made-up similarities.

Run ``python benchmarks/bench_consistency.py [--models 64] [--sets 23] [--measures 3]``. Networks have much
the study's mixture of objectives, architectures, training data and sizes, and eight anchors; similarities are
cosines of drawn vectors that change from set to set. Prints one line of JSON per table, with rows and seconds
of processor time on one thread, and then what one more permutation, resample or order of the stimuli of one
stimulus set takes, next to the time ``before`` the first.
"""

import argparse
import json
import resource
import time
from collections.abc import Callable
from functools import partial
from itertools import chain, repeat

import numpy as np
import pandas as pd
import torch

from rep_kedro.analyses.consistency.anchors import compare_anchors
from rep_kedro.analyses.consistency.consistency import compute_consistency, summarise_consistency
from rep_kedro.analyses.consistency.measure_agreement import compare_measures
from rep_kedro.analyses.inference.nulls import summarise_null
from rep_kedro.analyses.inference.stimulus_intervals import summarise_bootstrap
from rep_kedro.analyses.inference.subset_curves import trace_measure
from rep_kedro.analyses.predictions.performance_gaps import compute_performance_gaps
from rep_kedro.analyses.probing.params import ProbingParams
from rep_kedro.analyses.similarity.params import ConsistencyParams
from rep_kedro.measures import get_measure

CELLS = (  # objective, training data, architecture, size, how many networks
    *(
        ("supervised", "ImageNet-1k", "transformer", "small", 8),
        ("supervised", "ImageNet-1k", "convolutional", "small", 13),
    ),
    *(
        ("supervised", "ImageNet-21k", "transformer", "large", 9),
        ("self-supervised", "ImageNet-1k", "convolutional", "small", 9),
    ),
    *(
        ("self-supervised", "ImageNet-1k", "transformer", "medium", 7),
        ("self-supervised", "Large", "transformer", "xlarge", 4),
    ),
    *(
        ("image-text", "Large", "transformer", "medium", 5),
        ("image-text", "Large", "convolutional", "medium", 2),
    ),
    ("image-text", "XLarge", "transformer", "xlarge", 7),
)
PARAMETERS = {"small": 5e7, "medium": 2e8, "large": 3.5e8, "xlarge": 9e8}
N_LATENT, N_FEATURES = 16, 1320


def main() -> None:
    """Print a line of JSON for each table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=64)
    parser.add_argument("--sets", type=int, default=23)
    parser.add_argument("--measures", type=int, default=3)
    parser.add_argument("--stimuli", type=int, default=1000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    cards = make_cards(options.models)
    similarities = make_similarities(cards, options.sets, options.measures, rng)
    probes = make_probes(cards, options.sets, rng)
    params = ConsistencyParams(
        categories=["objective", "architecture", "trained_on", "size"],
        anchors=cards["model"].iloc[:: max(1, len(cards) // 8)].head(8).tolist(),
    )
    consistency = report("consistency", lambda: compute_consistency(similarities, cards, params))
    report("consistency_summary", lambda: summarise_consistency(similarities, cards, params))
    report("anchor_comparisons", lambda: compare_anchors(similarities, cards, params))
    report("measure_agreement", lambda: compare_measures(similarities, consistency, params))
    report("performance_gaps", lambda: compute_performance_gaps(similarities, probes, ProbingParams()))
    time_inference(options.models, options.stimuli)


def report(name: str, compute: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """Time one table and print what it took."""
    start = time.process_time()
    table = compute()
    show(table=name, rows=len(table), seconds=round(time.process_time() - start, 1))
    return table


def show(**facts: object) -> None:
    """Print one line of JSON, with the largest memory so far."""
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps({**facts, "memory_gb": round(largest, 2)}), flush=True)  # noqa: T201 - its output


def make_cards(n_models: int) -> pd.DataFrame:
    """Return the first networks of the study's mixture, in steps that keep it."""
    rows = list(chain.from_iterable(repeat(cell[:4], cell[4]) for cell in CELLS))
    chosen = [rows[index * len(rows) // n_models] for index in range(n_models)]
    cards = pd.DataFrame(chosen, columns=["objective", "trained_on", "architecture", "size"])
    return cards.assign(
        model=[f"net_{index:03d}" for index in range(n_models)],
        source="made up",
        n_parameters=cards["size"].map(PARAMETERS),
    )


def make_similarities(
    cards: pd.DataFrame, n_sets: int, n_measures: int, rng: np.random.Generator
) -> pd.DataFrame:
    """Return the tidy table of made-up similarities."""
    kinds = {name: rng.normal(size=N_LATENT) for name in sorted(set(cards["objective"]))}
    place = np.stack([kinds[name] for name in cards["objective"]]) + rng.normal(size=(len(cards), N_LATENT))
    first, second = np.triu_indices(len(cards), 1)
    names = cards["model"].to_numpy()
    tables = []
    for index in range(n_sets):
        moved = place * np.exp(0.5 * rng.normal(size=N_LATENT)) + 0.5 * rng.normal(size=place.shape)
        unit = moved / np.linalg.norm(moved, axis=1, keepdims=True)
        cosines = (unit @ unit.T)[first, second]
        for measure in range(n_measures):
            values = cosines + 0.05 * measure * rng.normal(size=len(cosines))
            about = {"stimulus_set": f"set_{index:02d}", "measure": f"measure_{measure}"}
            tables.append(
                pd.DataFrame(
                    {**about, "model_a": names[first], "model_b": names[second], "similarity": values}
                )
            )
    return pd.concat(tables, ignore_index=True)


def make_probes(cards: pd.DataFrame, n_sets: int, rng: np.random.Generator) -> pd.DataFrame:
    """Return made-up accuracies of final probes."""
    tables = [
        pd.DataFrame(
            {"stimulus_set": f"set_{index:02d}", "model": cards["model"], "is_final": True,
             "test_accuracy": rng.uniform(0.3, 0.9, size=len(cards))}
        )
        for index in range(n_sets)
    ]  # fmt: skip
    return pd.concat(tables, ignore_index=True)


def time_inference(n_models: int, n_stimuli: int) -> None:
    """Time what one more permutation, resample and order take, and everything before the first."""
    generator = torch.Generator().manual_seed(0)
    shared = torch.randn(n_stimuli, 32, generator=generator)
    models = [
        shared @ torch.randn(32, N_FEATURES, generator=generator)
        + torch.randn(n_stimuli, N_FEATURES, generator=generator)
        for _ in range(n_models)
    ]
    measure = get_measure("cka_linear_debiased")
    about = (models, measure)
    permute = partial(summarise_null, *about, level=0.05, seed=0)
    orders = torch.stack([torch.randperm(n_stimuli, generator=generator) for _ in range(3)])
    sizes = [size for size in (50, 100, 200, 500, 1000) if size <= n_stimuli]
    ways: dict[str, tuple[Callable[[int], object], int, int]] = {
        "permutation": (lambda n: permute(n_permutations=n), 9, 49),
        "resample": (lambda n: summarise_bootstrap(*about, n_bootstrap=n, confidence=0.95, seed=0), 40, 80),
        "order": (lambda n: trace_measure(*about, orders[:n], sizes), 1, 3),
    }
    for name, (compute, few, many) in ways.items():
        seconds = []
        for n in (few, many):
            start = time.process_time()
            compute(n)
            seconds.append(time.process_time() - start)
        each = (seconds[1] - seconds[0]) / (many - few)
        show(one_more=name, seconds=round(each, 3), before=round(seconds[0] - few * each, 1))


if __name__ == "__main__":
    main()
