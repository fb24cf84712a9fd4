"""Solvers of probes against the loops they replace: ratios of processor seconds in one process, one thread.

Run with ``python benchmarks/bench_probe_solvers.py [adamw ridge knn lbfgs layers]``. Both sides see the same
features, whose spectrum falls like that of a network's layer, and must reach the same results: what they
differ by is printed too.
"""

import json
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor

from rep_kedro.kernels.probes.adamw import INITIAL_SPREAD, AdamWSettings, fit_probes_adamw, group_equal_runs
from rep_kedro.kernels.probes.knn import count_votes, find_neighbours
from rep_kedro.kernels.probes.lbfgs import fit_probes_lbfgs
from rep_kedro.kernels.probes.logistic import fit_logistic
from rep_kedro.kernels.probes.ridge import fit_probes_ridge
from rep_kedro.kernels.probes.settings import KnnFit

N_CLASSES = 10
DECAYS = tuple(10.0 ** (-6 + 7 * i / 63) for i in range(64))
RATES = tuple(10.0 ** (-4 + 3 * i / 6) for i in range(7))


def main() -> None:
    """Print one line of JSON for each solver that is named, or for all."""
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")  # saga says after 100 steps that it has not converged
    for name in sys.argv[1:] or BENCHES:
        print(json.dumps({"solver": name, **BENCHES[name]()}), flush=True)  # noqa: T201 - the output


def draw(n_samples: int, n_features: int = 512, n_test: int = 0) -> tuple[Tensor, Tensor]:
    """Return standardised features and labels; the noise has a spectrum that falls as 1 / i."""
    generator = torch.Generator().manual_seed(0)
    n = n_samples + n_test
    labels = torch.randint(N_CLASSES, (n,), generator=generator)
    centres = 0.3 * torch.randn(N_CLASSES, n_features, generator=generator)
    axes = torch.linalg.qr(torch.randn(n_features, n_features, generator=generator)).Q
    x = centres[labels] + 3.0 * torch.randn(n, n_features, generator=generator)
    x = (x * torch.arange(1, n_features + 1) ** -0.5) @ axes
    return (x - x.mean(dim=0)) / x.std(dim=0), labels


def bench_adamw() -> dict[str, float]:
    """7 rates x 64 decays on 8,000 x 512, 20 epochs of batches of 1,024; the loop from 14 of them."""
    (x, labels), n_train = draw(8000, n_test=2000), 8000
    settings = list(product(RATES, DECAYS))

    def grid(chosen: list[tuple[float, float]], precision: str) -> Tensor:
        options = AdamWSettings(
            tuple(rate for rate, _ in chosen),
            tuple(decay for _, decay in chosen),
            n_epochs=20,
            batch_size=1024,
            precision=precision,
        )
        return fit_probes_adamw(x[None, :n_train], labels[:n_train], n_classes=N_CLASSES, settings=options)[
            0, 0
        ]

    groups = group_equal_runs(
        AdamWSettings(*zip(*settings, strict=True), n_epochs=20, batch_size=1024), n_samples=n_train
    )
    train_one(x[:n_train], labels[:n_train], 0.01, 0.0, n_epochs=1)  # loads what optimisers need
    chosen = list(range(0, len(settings), 32))
    loop_s, alone = time_call(
        lambda: [train_one(x[:n_train], labels[:n_train], *settings[i], n_epochs=20) for i in chosen]
    )
    loop_s *= len(settings) / len(chosen)
    found: dict[str, float] = {"loop_s": loop_s, "n_runs_merged": len(groups)}
    expected = torch.tensor([accuracy(weights, x[n_train:], labels[n_train:]) for weights in alone])
    run_of = {i: place for place, run in enumerate(groups) for i in run}
    for precision in ("float32", "bfloat16"):
        merged_s, merged = time_call(partial(grid, [settings[run[0]] for run in groups], precision))
        whole_s, whole = time_call(partial(grid, settings, precision))
        reached = [
            torch.tensor([accuracy(each, x[n_train:], labels[n_train:]) for each in weights])
            for weights in (whole, merged[[run_of[i] for i in range(len(settings))]])
        ]
        products_s, _ = time_call(partial(multiply, len(settings), getattr(torch, precision)))
        found |= {
            f"{precision}_share_of_products_whole": products_s / whole_s,
            f"{precision}_ratio_merged": loop_s / merged_s,
            f"{precision}_ratio_whole": loop_s / whole_s,
            f"{precision}_largest_difference": max(
                (r[chosen] - expected).abs().max().item() for r in reached
            ),
            f"{precision}_difference_of_merged": apart(*reached),
            f"{precision}_same_best": bool(reached[0][int(reached[1].argmax())] == reached[0].max()),
        }
    return rounded(found)


def multiply(n_settings: int, dtype: torch.dtype) -> None:
    """Compute the two matrix products of each step of a grid and nothing else, the floor of its time."""
    columns = N_CLASSES * n_settings
    x, weight = torch.ones(1, 1024, 513, dtype=dtype), torch.ones(1, 513, columns, dtype=dtype)
    logits, gradient = torch.ones(1, 1024, columns, dtype=dtype), torch.ones_like(weight)
    for _ in range(20):
        for n in (1024,) * 7 + (832,):
            torch.bmm(x[:, :n], weight, out=logits[:, :n])
            torch.bmm(x[:, :n].mT, logits[:, :n], out=gradient)


def bench_ridge() -> dict[str, float]:
    """64 decays on 8,000 x 512 against scikit-learn's loop."""
    x, labels = draw(8000)
    targets = torch.nn.functional.one_hot(labels, N_CLASSES)
    ours_s, ours = time_call(lambda: fit_probes_ridge(x, targets, weight_decays=DECAYS))
    wide, y = x.double().numpy(), targets.double().numpy()
    loop_s, theirs = time_call(lambda: [Ridge(alpha=len(x) * decay).fit(wide, y).coef_ for decay in DECAYS])
    largest = max(np.abs(a[:-1].T.numpy() - b).max() for a, b in zip(ours, theirs, strict=True))
    found = {"ours_s": ours_s, "loop_s": loop_s, "ratio": loop_s / ours_s}
    return rounded({**found, "largest_difference": largest})


def bench_knn() -> dict[str, float]:
    """36 settings, 2,000 test samples, 8,000 x 512, against a loop in torch and scikit-learn's (from 4)."""
    x, labels = draw(8000, n_test=2000)
    bank, shown, y = x[:8000].double(), x[8000:].double(), labels[:8000]
    fit = KnnFit((1, 5, 10, 20, 50, 100), ("cosine",), ("uniform", "distance", 0.05, 0.07, 0.1, 0.2))
    settings = fit.list_settings()

    def ours() -> list[Tensor]:
        near = find_neighbours(shown, bank, n_neighbours=100, metric="cosine", memory_mib=256)
        return [count_votes(near, y, n_classes=N_CLASSES, setting=s).argmax(dim=1) for s in settings]

    def loop() -> list[Tensor]:
        found = []
        for setting in settings:
            unit = [torch.nn.functional.normalize(each, dim=1) for each in (shown, bank)]
            near = (unit[0] @ unit[1].T).topk(int(setting.n_neighbours or 1), dim=1)
            if setting.weighting == "uniform":
                votes = torch.ones_like(near.values)
            elif setting.weighting == "distance":
                votes = 1.0 / (1.0 - near.values)
            else:
                votes = (near.values / float(setting.weighting or 1.0)).exp()
            shares = torch.nn.functional.one_hot(y[near.indices], N_CLASSES) * votes[..., None]
            found.append(shares.sum(dim=1).argmax(dim=1))
        return found

    def scikit_learn(k: int) -> Any:
        model = KNeighborsClassifier(k, metric="cosine", algorithm="brute")
        return model.fit(bank.numpy(), y.numpy()).predict(shown.numpy())

    (ours_s, mine), (loop_s, theirs) = time_call(ours), time_call(loop)
    sklearn_s, _ = time_call(lambda: [scikit_learn(k) for k in (1, 5, 20, 100)])
    agree = min((a == b).double().mean().item() for a, b in zip(mine, theirs, strict=True))
    return rounded(
        {
            "ours_s": ours_s,
            "loop_s": loop_s,
            "ratio": loop_s / ours_s,
            "ratio_scikit_learn": 9 * sklearn_s / ours_s,
            "smallest_agreement": agree,
        }
    )


def bench_lbfgs() -> dict[str, float]:
    """64 decays on 2,000 x 512 against scikit-learn's loop with gradients as small (from 16 of them)."""
    x, labels = draw(2000)
    wide, y = x.double(), labels.numpy()
    given = {"n_classes": N_CLASSES, "weight_decays": DECAYS, "tolerance": 2e-4, "max_iterations": 2000}
    found: dict[str, float] = {}
    fit_probes_lbfgs([wide], labels, **{**given, "weight_decays": DECAYS[:2]})
    for descent in ("float64", "float32"):
        seconds, ours = time_call(partial(fit_probes_lbfgs, [wide], labels, descent=descent, **given))
        found |= {f"{descent}_s": seconds, f"{descent}_largest_gradient": ours.gradient_norm.max().item()}
    tolerance, few = 1e-5, DECAYS[::4]
    loop_s, theirs = time_call(
        lambda: [
            LogisticRegression(C=1 / (len(x) * decay), tol=tolerance, max_iter=5000).fit(wide.numpy(), y)
            for decay in few
        ]
    )
    loop_s *= 4
    ends = [describe(model, decay, wide, labels) for model, decay in zip(theirs, few, strict=True)]
    losses = torch.tensor([loss for _, loss in ends])
    found |= {
        "loop_s": loop_s,
        "loop_largest_gradient": max(gradient for gradient, _ in ends),
        "largest_difference_of_loss": apart(losses, ours.loss[0, ::4]),
        "ratio_float64": loop_s / found["float64_s"],
        "ratio_float32": loop_s / found["float32_s"],
    }
    return rounded(found)


def bench_layers() -> dict[str, float]:
    """One probe of a map, 2,000 x 512, C = 1: against the published saga, and scikit-learn's lbfgs."""
    x, labels = draw(2000)
    given, repeats = {"n_classes": N_CLASSES}, range(5)
    ours_s, ours = time_call(lambda: [fit_logistic(x, labels, **given) for _ in repeats])
    lbfgs_s, lbfgs = time_call(lambda: [LogisticRegression().fit(x.numpy(), labels.numpy()) for _ in repeats])
    saga_s, saga = time_call(lambda: LogisticRegression(solver="saga").fit(x.numpy(), labels.numpy()))
    decays = [1 / len(x)]
    joint_s, _ = time_call(
        lambda: fit_probes_lbfgs([x], labels, weight_decays=decays, tolerance=1e-3, **given)
    )
    found = {
        "ours_s": ours_s / len(repeats),
        "ratio_saga": len(repeats) * saga_s / ours_s,
        "ratio_scikit_learn_lbfgs": lbfgs_s / ours_s,
        "ratio_joint_solver": len(repeats) * joint_s / ours_s,
        "loss": ours[0].loss,
        "loss_lbfgs": describe(lbfgs[0], decays[0], x.double(), labels)[1],
        "loss_saga": describe(saga, decays[0], x.double(), labels)[1],
        "converged": ours[0].converged,
    }
    return rounded(found)


def apart(a: Tensor, b: Tensor) -> float:
    """Return the largest difference."""
    return (a - b).abs().max().item()


def describe(model: LogisticRegression, decay: float, x: Tensor, labels: Tensor) -> tuple[float, float]:
    """Return the norm of the gradient and the penalised loss of a fitted model."""
    weight = torch.tensor(model.coef_, dtype=torch.float64, requires_grad=True)
    bias = torch.tensor(model.intercept_, dtype=torch.float64, requires_grad=True)
    loss = torch.nn.functional.cross_entropy(x @ weight.T + bias, labels) + decay / 2 * weight.square().sum()
    gradients = torch.autograd.grad(loss, [weight, bias])
    return sum(g.square().sum().item() for g in gradients) ** 0.5, loss.item()


def train_one(x: Tensor, labels: Tensor, rate: float, decay: float, *, n_epochs: int) -> Tensor:
    """Train one setting with torch's AdamW; returns weights like the grid's."""
    generator = torch.Generator().manual_seed(0)
    first = torch.randn(x.shape[1] + 1, N_CLASSES, generator=generator) * INITIAL_SPREAD
    layer = torch.nn.Linear(x.shape[1], N_CLASSES)
    with torch.no_grad():
        layer.weight.copy_(first[:-1].T)
        layer.bias.zero_()
    groups = [
        {"params": [layer.weight], "weight_decay": decay},
        {"params": [layer.bias], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, n_epochs * -(-len(x) // 1024))
    for _ in range(n_epochs):
        for chosen in torch.split(torch.randperm(len(x), generator=generator), 1024):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(layer(x[chosen]), labels[chosen]).backward()
            optimiser.step()
            schedule.step()
    return torch.cat([layer.weight.T, layer.bias[None]]).detach()


def accuracy(weights: Tensor, x: Tensor, labels: Tensor) -> float:
    """Return the share of samples that a linear probe gets right."""
    return ((x @ weights[:-1] + weights[-1]).argmax(dim=1) == labels).double().mean().item()


def time_call(call: Callable[[], Any]) -> tuple[float, Any]:
    """Return the processor seconds of a call and what it gave."""
    began = time.process_time()
    value = call()
    return time.process_time() - began, value


def rounded(found: dict[str, float]) -> dict[str, float]:
    """Return numbers with four digits."""
    return {
        name: value if isinstance(value, bool | int) else float(f"{value:.4g}")
        for name, value in found.items()
    }


BENCHES: dict[str, Callable[[], dict[str, float]]] = {
    "adamw": bench_adamw,
    "ridge": bench_ridge,
    "knn": bench_knn,
    "lbfgs": bench_lbfgs,
    "layers": bench_layers,
}


if __name__ == "__main__":
    main()
