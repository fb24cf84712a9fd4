"""Stitches two networks in a process that may hold little more memory than before."""

import resource
import sys
from pathlib import Path

import numpy as np
import torch
from tests.small_collections import ARROW, make_network, make_stimuli, run_plan, store, store_networks

from rep_kedro.analyses.stitching.params import StitchingParams
from rep_kedro.models.study import FeaturesParams
from rep_kedro.pipelines.stitching.nodes import plan_stitches

N_TRAIN, N_TEST, VALUES = 500, 20, 16 * 30 * 30
ACTIVATION_BYTES = 4 * N_TRAIN * 4 * VALUES  # three fronts and the end, on the positions of bn1
MEMORY_BYTES, FURTHER_BYTES = 5_000_000, 80_000_000


def plan(folder: Path, n_train: int):
    """Return the plan of three trained maps into one layer, which need the activations of four."""
    n = n_train + N_TEST
    pixels = np.random.default_rng(0).integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)
    splits = ["train"] * n_train + ["test"] * N_TEST
    table = make_stimuli(pixels, [i % 2 for i in range(n)], splits, ["a", "b"])
    networks = {f"t{s}": make_network("tiny10", seed=s, n_classes=2, stimulus_set="noise") for s in (0, 1)}
    layers = {"bn1": "bn1", "bn2": "bn1", "bn3": "bn1"}
    params = StitchingParams.model_validate(
        {
            "joints": [{"fronts": ["t0"], "ends": ["t1"], "layers": layers}],
            "maps": {"frank": {"epochs": 1, "batch_size": 32, "cka_penalty": 0.1}},
            "memory_bytes": MEMORY_BYTES,
            "batch_size": 16,
        }
    )
    sets = store(folder / "sets", {"noise": table}, ARROW)
    return plan_stitches(sets, {}, store_networks(folder / "networks", networks), FeaturesParams(), params)


def main(folder: Path) -> None:
    """Set the limit, after a small run has loaded everything, and stitch."""
    torch.set_num_threads(1)
    planned = plan(folder / "whole", N_TRAIN)
    run_plan(folder / "warm", plan(folder / "small", 64))
    lines = Path("/proc/self/status").read_text().splitlines()
    held = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData"))
    limit = held + MEMORY_BYTES + FURTHER_BYTES
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    try:
        torch.empty(ACTIVATION_BYTES, dtype=torch.uint8)
    except RuntimeError:
        sys.stdout.write("the activations have no room in memory\n")
    run_plan(folder / "out", planned)
    sys.stdout.write("stitched\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
