"""Linear probes: a grid of 168 settings as one weight tensor, compared with the same grid trained one by one.

Run with ``python benchmarks/bench_probes.py [--device cuda]``. The competitor is what one writes in plain
torch: a linear layer, AdamW and a cosine schedule for each setting. It trains a sample of the grid
    (``--n-sequential``) and is
scaled up, since all its settings cost the same; both see the same batches and must reach the same
accuracies. On the CPU, times are processor seconds of one thread, so that other work on the machine does
not count.
"""

import argparse
import json
import math
import time
from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any

import torch
from torch import Tensor

from rep_kedro.kernels.probes.adamw import INITIAL_SPREAD, AdamWSettings, fit_probes_adamw
from rep_kedro.kernels.probes.lbfgs import fit_probes_lbfgs

LEARNING_RATES = (1e-1, 1e-2, 1e-3, 1e-4)
WEIGHT_DECAYS = tuple(10.0 ** (-6 + 7 * i / 13) for i in range(14))
SEEDS = (0, 1, 2)


def main() -> None:
    """Print one line of JSON with times, their ratio, and the difference of the accuracies."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n-samples", type=int, default=2048)
    parser.add_argument("--n-features", type=int, default=64)
    parser.add_argument("--n-classes", type=int, default=10)
    parser.add_argument("--n-epochs", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--n-sequential", type=int, default=12)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(json.dumps(compare(options)))  # noqa: T201 - the benchmark's output


def compare(options: argparse.Namespace) -> dict[str, float]:
    """Time both ways on one problem."""
    x, labels = draw_problem(options)
    settings = list(product(LEARNING_RATES, WEIGHT_DECAYS))
    grid = AdamWSettings(
        learning_rates=tuple(rate for rate, _ in settings),
        weight_decays=tuple(decay for _, decay in settings),
        seeds=SEEDS,
        n_epochs=options.n_epochs,
        batch_size=options.batch_size,
    )

    def train_together() -> Tensor:
        return fit_probes_adamw(x[None], labels, n_classes=options.n_classes, settings=grid)

    warm_up = AdamWSettings((0.01,), (0.0,), n_epochs=1, batch_size=options.batch_size)
    fit_probes_adamw(x[None], labels, n_classes=options.n_classes, settings=warm_up)
    train_one(x, labels, options, learning_rate=0.01, weight_decay=0.0, seed=0)  # loads what optimisers need
    together_s, weights = time_call(train_together, options.device)
    n_settings = len(settings) * len(SEEDS)
    step = n_settings // options.n_sequential
    chosen = list(product(range(len(SEEDS)), range(len(settings))))[::step]
    apart, reached = [], []
    sequential_s = 0.0
    for seed, setting in chosen:
        rate, decay = settings[setting]
        arguments = {"learning_rate": rate, "weight_decay": decay, "seed": SEEDS[seed]}
        train_alone = partial(train_one, x, labels, options, **arguments)
        seconds, alone = time_call(train_alone, options.device)
        sequential_s += seconds
        reached.append(accuracy(alone, x, labels))
        apart.append(abs(accuracy(weights[0, seed, setting], x, labels) - reached[-1]))
    sequential_s *= n_settings / len(chosen)
    convex_s, _ = time_call(
        lambda: fit_probes_lbfgs(
            [x], labels, n_classes=options.n_classes, weight_decays=[1e-3, 1e-2, 1e-1], tolerance=1e-4
        ),
        options.device,
    )
    return {
        "n_settings": n_settings,
        "together_s": round(together_s, 3),
        "sequential_s": round(sequential_s, 3),
        "ratio": round(sequential_s / together_s, 1),
        "best_accuracy": round(max(reached), 4),
        "largest_accuracy_difference": max(apart),
        "convex_three_decays_s": round(convex_s, 3),
    }


def draw_problem(options: argparse.Namespace) -> tuple[Tensor, Tensor]:
    """Return standardised features of overlapping classes, and labels."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(options.n_classes, (options.n_samples,), generator=generator)
    centres = torch.randn(options.n_classes, options.n_features, generator=generator)
    x = centres[labels] + 3.0 * torch.randn(options.n_samples, options.n_features, generator=generator)
    x = (x - x.mean(dim=0)) / x.std(dim=0)
    return x.to(options.device), labels.to(options.device)


def train_one(
    x: Tensor,
    labels: Tensor,
    options: argparse.Namespace,
    *,
    learning_rate: float,
    weight_decay: float,
    seed: int,
) -> Tensor:
    """Train one setting the usual way; returns weights like the grid's."""
    generator = torch.Generator().manual_seed(seed)
    first = torch.randn(x.shape[1] + 1, options.n_classes, generator=generator) * INITIAL_SPREAD
    layer = torch.nn.Linear(x.shape[1], options.n_classes).to(x.device)
    with torch.no_grad():
        layer.weight.copy_(first[:-1].T)
        layer.bias.zero_()
    groups = [
        {"params": [layer.weight], "weight_decay": weight_decay},
        {"params": [layer.bias], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=learning_rate)
    n_steps = options.n_epochs * math.ceil(len(x) / options.batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, n_steps)
    for _ in range(options.n_epochs):
        order = torch.randperm(len(x), generator=generator).to(x.device)
        for chosen in torch.split(order, options.batch_size):
            optimiser.zero_grad()
            loss = torch.nn.functional.cross_entropy(layer(x[chosen]), labels[chosen])
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
    return torch.cat([layer.weight.T, layer.bias[None]]).detach()


def accuracy(weights: Tensor, x: Tensor, labels: Tensor) -> float:
    """Return the share of samples that a probe gets right."""
    predictions = (x @ weights[:-1] + weights[-1]).argmax(dim=1)
    return (predictions == labels).double().mean().item()


def time_call(call: Callable[[], Any], device: str) -> tuple[float, Any]:
    """Return the seconds of a call and what it gave."""
    is_cuda = device.startswith("cuda")
    clock = time.perf_counter if is_cuda else time.process_time
    began = clock()
    value = call()
    if is_cuda:
        torch.cuda.synchronize()
    return clock() - began, value


if __name__ == "__main__":
    main()
