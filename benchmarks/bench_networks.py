"""This project's ResNet-18 against torchvision's: forward and backward pass, the same weights and images.

Run ``python benchmarks/bench_networks.py [--size 32] [--batch 128] [--rounds 15]``. Prints one line of JSON:
the ratio of the medians of the processor times on one thread, in turn in one process; at most 1.05.
"""

import argparse
import json
import statistics
import sys
import time

import torch
from torch import Tensor, nn

from rep_kedro.models.building import build_network
from rep_kedro.models.sources.torchvision import draw

N_CLASSES = 10


def main() -> None:
    """Print a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(options.batch, 3, options.size, options.size, generator=generator)
    labels = torch.randint(0, N_CLASSES, (options.batch,), generator=generator)
    theirs = draw("resnet18", n_classes=N_CLASSES).train()
    ours = build_network("resnet18", n_classes=N_CLASSES, seed=0)
    ours.load_state_dict(theirs.state_dict())
    seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
    for _ in range(options.rounds + 1):
        seconds["theirs"].append(time_step(theirs, images, labels))
        seconds["ours"].append(time_step(ours, images, labels))
    ours_s, theirs_s = (statistics.median(seconds[name][1:]) for name in ("ours", "theirs"))
    row = {"step": "resnet18", **vars(options), "ratio": round(ours_s / theirs_s, 3)}
    sys.stdout.write(json.dumps(row) + "\n")


def time_step(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Return the seconds of processor time of one forward and backward pass."""
    network.zero_grad(set_to_none=True)
    start = time.process_time()
    nn.functional.cross_entropy(network(images), labels).backward()
    return time.process_time() - start


if __name__ == "__main__":
    main()
