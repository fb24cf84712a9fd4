"""All pairs of models under shape distances: one basis for each model, against a loop over pairs.

The loop works as published packages do, in numpy: for each pair it centres and whitens both models,
decomposes the product with singular vectors on both sides, rotates both models with them and takes the angle
between what comes out; a second loop whitens each model once. Alpha 1 is Procrustes, 0 is CCA. Times are the
least processor seconds of one thread, ours and the loops in turns, so that other work does not count.

Run: python benchmarks/bench_linear_maps.py [--models 12] [--stimuli 1000] [--features 256]
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
from torch import Tensor

from rep_kedro.kernels.similarity.linear_maps import compare_linear_maps

Matrix = NDArray[np.float64]
ALPHAS = (1.0, 0.5, 0.0)
MORE_REQUESTS: dict[str, dict[str, object]] = {
    "nbs": {"statistic": "nbs"},
    "size_and_shape": {"statistic": "size_and_shape"},
    "cca_mean": {"statistic": "cca_mean"},
    "cca_mean_squared": {"statistic": "cca_mean_squared"},
    "linear_regression": {"statistic": "linear_regression"},
    "gulp": {"statistic": "gulp", "ridge": 0.1},
}


def draw_models(n_models: int, n_stimuli: int, n_features: int) -> list[Tensor]:
    """Draw related models with falling spectra, float32 as features are stored."""
    generator = torch.Generator().manual_seed(0)
    shared = torch.randn(n_stimuli, n_features, generator=generator)
    spread = torch.arange(1, n_features + 1).float() ** -0.5
    return [
        shared @ (torch.randn(n_features, n_features, generator=generator) * spread)
        + torch.randn(n_stimuli, n_features, generator=generator)
        for _ in range(n_models)
    ]


def whiten(x: Matrix, alpha: float) -> Matrix:
    """Centre, whiten partly and scale to unit norm."""
    x = x - x.mean(axis=0)
    if alpha < 1:
        values, vectors = np.linalg.eigh(x.T @ x)
        x = x @ (vectors * (alpha + (1 - alpha) * values**-0.5)) @ vectors.T
    return x / np.linalg.norm(x)


def measure_angle(x: Matrix, y: Matrix) -> float:
    """Rotate both models onto each other and return the angle between them."""
    left, _, right = np.linalg.svd(x.T @ y)
    return float(np.arccos(np.clip(np.sum((x @ left) * (y @ right.T)), -1, 1)))


def loop_over_pairs(models: list[Tensor], alpha: float) -> Iterator[float]:
    """Compare pair by pair; nothing is kept from one pair to the next."""
    for first, second in combinations(models, 2):
        yield measure_angle(whiten(first.double().numpy(), alpha), whiten(second.double().numpy(), alpha))


def loop_keeping_whitened(models: list[Tensor], alpha: float) -> Iterator[float]:
    """Compare pair by pair, but whiten each model once."""
    for x, y in combinations([whiten(x.double().numpy(), alpha) for x in models], 2):
        yield measure_angle(x, y)


def run_ours(models: list[Tensor], alphas: tuple[float, ...], *, more: bool = False) -> list[Matrix]:
    """Compare all pairs in one call; optionally with six more measures."""
    requests: dict[str, dict[str, object]] = {
        str(alpha): {"statistic": "shape_angular", "alpha": alpha} for alpha in alphas
    }
    if more:
        requests |= MORE_REQUESTS
    pairs = np.triu_indices(len(models), 1)
    answers = {name: v for name, v, _ in compare_linear_maps(models, requests, memory_bytes=2**28)}
    return [answers[str(alpha)].numpy()[pairs] for alpha in alphas]


def clock(works: Sequence[Callable[[], list[Matrix]]], rounds: int) -> tuple[list[float], list[list[Matrix]]]:
    """Call the works in turns; return the shortest processor time of each in seconds, and the answers."""
    seconds, answers = [float("inf")] * len(works), [[] for _ in works]
    for _ in range(rounds):
        for index, work in enumerate(works):
            start = time.process_time()
            answers[index] = work()
            seconds[index] = min(seconds[index], time.process_time() - start)
    return seconds, answers


def compare_ways(models: list[Tensor], alphas: tuple[float, ...], rounds: int) -> str:
    """Time ours and both loops in turns, and say how far apart the answers are."""

    def loop_with(loop: Callable[[list[Tensor], float], Iterator[float]]) -> list[Matrix]:
        return [np.fromiter(loop(models, alpha), dtype=np.float64) for alpha in alphas]

    loops = (loop_over_pairs, loop_keeping_whitened)
    works = [partial(run_ours, models, alphas), *(partial(loop_with, loop) for loop in loops)]
    seconds, answers = clock(works, rounds)
    text = f"alpha {', '.join(map(str, alphas)):13}  ours {seconds[0]:6.2f} s"
    for loop, theirs, expected in zip(loops, seconds[1:], answers[1:], strict=True):
        worst = max(np.abs(a - b).max() for a, b in zip(answers[0], expected, strict=True))
        text += f"   {loop.__name__} {theirs:6.2f} s = {theirs / seconds[0]:4.1f} x, differs by {worst:.0e}"
    return text


def main() -> None:
    """Print times, ratios and the largest difference."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, default in (("models", 12), ("stimuli", 1000), ("features", 256), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    models = draw_models(chosen.models, chosen.stimuli, chosen.features)
    write = sys.stdout.write
    write(f"{chosen.models} models, {chosen.stimuli} stimuli, {chosen.features} features, one thread\n")
    with threadpool_limits(1):
        for alphas in [*((alpha,) for alpha in ALPHAS), ALPHAS]:
            write(compare_ways(models, alphas, chosen.rounds) + "\n")
        [seconds], _ = clock([partial(run_ours, models, ALPHAS, more=True)], chosen.rounds)
        write(f"ours with {len(MORE_REQUESTS)} more measures {seconds:.2f} s\n")


if __name__ == "__main__":
    main()
