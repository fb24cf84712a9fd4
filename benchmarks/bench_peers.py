"""Compare all pairs of models with published packages and with ours: ratio of times, largest difference.

Peers run in a process of their own under a Python that has them, named by PEERS_PYTHON (``make bench-peers``
makes one); without it nothing is run. Both sides get one thread and the same features; least processor time
of three rounds, ours and theirs in turns. What a peer does pair by pair is timed on a few and extrapolated
for all; what it does for all models in one call is timed as such. Of thingsvision only the comparisons are
loaded: the whole package needs TensorFlow. netrep is not in the package index.

Run: PEERS_PYTHON=.venv-peers/bin/python python benchmarks/bench_peers.py [--models 8] [--stimuli 1500]
"""

import argparse
import importlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
import types
from collections.abc import Callable
from importlib.metadata import version
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

Rival = Callable[[list[Tensor], list[tuple[int, int]]], list[float]]
SIGMA = 0.4  # width of the Gaussian kernel, absolute, on rows of unit norm


def load_thingsvision(part: str) -> types.ModuleType:
    """Import a part of thingsvision without the rest, which needs TensorFlow."""
    if "thingsvision" not in sys.modules:
        [root] = importlib.util.find_spec("thingsvision").submodule_search_locations
        for name, folder in (("thingsvision", Path(root)), ("thingsvision.core", Path(root, "core"))):
            sys.modules[name] = types.ModuleType(name)
            sys.modules[name].__path__ = [str(folder)]
    return importlib.import_module(f"thingsvision.core.{part}")


def thingsvision_cka(models: list[Tensor], pairs: list[tuple[int, int]], **kernel: object) -> list[float]:
    """Compare pairs with unbiased CKA of thingsvision."""
    get_cka = load_thingsvision("cka").get_cka
    cka = get_cka(backend="torch", m=len(models[0]), unbiased=True, device="cpu", **kernel)
    return [float(cka.compare(models[a], models[b])) for a, b in pairs]


def thingsvision_linear(models: list[Tensor], pairs: list[tuple[int, int]]) -> list[float]:
    """Compare pairs with linear CKA."""
    return thingsvision_cka(models, pairs, kernel="linear")


def thingsvision_gaussian(models: list[Tensor], pairs: list[tuple[int, int]]) -> list[float]:
    """Compare pairs with CKA of a Gaussian kernel."""
    return thingsvision_cka(models, pairs, kernel="rbf", sigma=SIGMA)


def thingsvision_rsa(models: list[Tensor], pairs: list[tuple[int, int]]) -> list[float]:
    """Compare pairs as the package's users do: both RDMs of every pair, both ranked."""
    rsa = load_thingsvision("rsa")
    values = []
    for a, b in pairs:
        rdms = [rsa.compute_rdm(models[m].numpy(), method="correlation") for m in (a, b)]
        values.append(float(rsa.correlate_rdms(*rdms, correlation="spearman")))
    return values


def rsatoolbox_spearman(models: list[Tensor], pairs: list[tuple[int, int]]) -> list[float]:
    """Compare all models in one call."""
    from rsatoolbox.data import Dataset
    from rsatoolbox.rdm import calc_rdm, compare, concat

    rdms = concat([calc_rdm(Dataset(x.double().numpy()), method="correlation") for x in models])
    matrix = compare(rdms, rdms, method="spearman")
    return [float(matrix[a, b]) for a, b in pairs]


def pytorch_cka_linear(models: list[Tensor], pairs: list[tuple[int, int]]) -> list[float]:
    """Compare all models in one call."""
    from cka import cka_from_features

    matrix = cka_from_features(models, models)
    return [float(matrix[a, b]) for a, b in pairs]


def pot_soft_match(models: list[Tensor], pairs: list[tuple[int, int]]) -> list[float]:
    """Compare pairs by exact transport between their units."""
    import ot

    units = []
    for x in models:
        centred = x.double().numpy() - x.double().numpy().mean(axis=0)
        units.append(centred / np.linalg.norm(centred, axis=0))
    values = []
    for a, b in pairs:
        cost = 2 - 2 * units[a].T @ units[b]
        masses = [np.full(n, 1 / n) for n in cost.shape]
        values.append(float(np.sqrt(ot.emd2(*masses, cost, numItermax=10**7))))
    return values


PEERS: dict[str, tuple[str, Rival, str, bool]] = {  # package, its call, our measure, all models in one call
    "thingsvision linear CKA": ("thingsvision", thingsvision_linear, "cka_linear_debiased", False),
    "pytorch-cka linear CKA": ("pytorch-cka", pytorch_cka_linear, "cka_linear_debiased", True),
    "thingsvision RBF CKA": (
        "thingsvision",
        thingsvision_gaussian,
        f"cka_rbf_abs_{SIGMA}_debiased",
        False,
    ),
    "thingsvision RSA Spearman": ("thingsvision", thingsvision_rsa, "rsa_correlation_spearman", False),
    "rsatoolbox RSA Spearman": ("rsatoolbox", rsatoolbox_spearman, "rsa_correlation_spearman", True),
    "POT soft matching": ("POT", pot_soft_match, "soft_match", False),
}


def run_peer(name: str, folder: Path) -> None:
    """Time one peer in this process and print its figures as JSON."""
    torch.set_num_threads(1)
    package, compare, _, at_once = PEERS[name]
    models = load_models(folder)
    pairs = list(combinations(range(len(models)), 2))
    timed = pairs if at_once else pairs[:6]
    compare(models[:2], [(0, 1)])  # imports and compilation
    start = time.process_time()
    values = compare(models, timed)
    seconds = (time.process_time() - start) * len(pairs) / len(timed)
    sys.stdout.write(
        "\n" + json.dumps({"version": version(package), "seconds": seconds, "values": values}) + "\n"
    )


def run_ours(name: str, models: list[Tensor], n_values: int) -> tuple[float, list[float]]:
    """Compare all pairs in this process; return processor seconds and the first values."""
    from rep_kedro.measures import compare_models

    measure = PEERS[name][2]
    start = time.process_time()
    answer = dict(compare_models(models, [measure], memory_bytes=2**29))[measure]
    seconds = time.process_time() - start
    pairs = list(combinations(range(len(models)), 2))[:n_values]
    return seconds, [float(answer.values[a, b]) for a, b in pairs]


def load_models(folder: Path) -> list[Tensor]:
    """Read the features that both sides compare."""
    return [torch.from_numpy(np.load(path)) for path in sorted(folder.glob("*.npy"))]


def save_models(folder: Path, options: argparse.Namespace) -> None:
    """Draw related models of unequal widths with rows of unit norm."""
    generator = torch.Generator().manual_seed(0)
    shared = torch.randn(options.stimuli, options.features // 4, generator=generator)
    for index in range(options.models):
        width = options.features - (index % 2) * 56
        x = shared @ torch.randn(shared.shape[1], width, generator=generator)
        x += torch.randn(options.stimuli, width, generator=generator) * width**0.5 / 2
        np.save(folder / f"{index:03d}.npy", (x / x.norm(dim=1, keepdim=True)).numpy())


def call_peer(python: str, name: str, folder: Path) -> dict[str, object] | str:
    """Run one peer in a process of its own; return its figures, or the last line of what it complained."""
    single = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
    command = [python, __file__, f"--peer={name}", f"--folder={folder}"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **single}, check=False)  # noqa: S603
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["no message"])[-1]
    figures: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return figures


def compare_with(python: str, name: str, folder: Path, rounds: int) -> str:
    """Race ours against one peer and say how it went in one line."""
    models, seconds = load_models(folder), {"ours": float("inf"), "theirs": float("inf")}
    for _ in range(rounds):
        figures = call_peer(python, name, folder)
        if isinstance(figures, str):
            return f"{name:28s} did not run: {figures}"
        ours_s, ours = run_ours(name, models, len(figures["values"]))
        seconds = {
            "ours": min(seconds["ours"], ours_s),
            "theirs": min(seconds["theirs"], figures["seconds"]),
        }
    difference = np.abs(np.array(ours) - np.array(figures["values"])).max()
    return (
        f"{name:26s} {figures['version']:>11}   ours {seconds['ours']:7.2f} s   theirs"
        f" {seconds['theirs']:7.2f} s   ratio {seconds['theirs'] / seconds['ours']:6.1f}   largest difference"
        f" {difference:.1e}"
    )


def main() -> None:
    """Race ours against every peer."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, default in (("models", 8), ("stimuli", 1500), ("features", 256), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--peer", help="run this peer in this process")
    parser.add_argument("--folder", type=Path, help="folder with its features")
    options = parser.parse_args()
    if options.peer:
        run_peer(options.peer, options.folder)
        return
    python = os.environ.get("PEERS_PYTHON")
    if not python:
        sys.stdout.write("no peers: PEERS_PYTHON does not name a Python that has them (make bench-peers)\n")
        return
    torch.set_num_threads(1)
    sys.stdout.write(
        f"{options.models} models x {options.stimuli} stimuli x {options.features} features and 56 fewer, all"
        " pairs, processor time of one thread\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        save_models(Path(folder), options)
        for name in PEERS:
            sys.stdout.write(compare_with(python, name, Path(folder), options.rounds) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
