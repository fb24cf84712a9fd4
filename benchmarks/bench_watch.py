"""What watching the layers costs: training steps with and without it, as ratios of processor time.

ResNet-18 and ResNet-50 of torchvision on 32 px, SGD with momentum, all convolutions and linear layers watched
with the default amount, in one process. Bare and watched steps take turns; as many steps are taken together
as the default reads one of. The median of the ratios of the rounds counts. Spectra are made once per epoch,
apart from steps.

Run: python benchmarks/bench_watch.py [--batch 128] [--rounds 7]
"""

import argparse
import sys
import time
from statistics import median

import torch
from torch import nn

from rep_kedro.models.watched_layers import Amount, choose_amount, find_watched_layers
from rep_kedro.models.watching import LayerWatch

SHARE = 0.08  # of the multiply-adds of a step
N_STEPS = 400  # of an epoch: 50,000 images by 128
BOUND = 1.10


class Training:
    """A network, its optimiser and a batch."""

    def __init__(self, name: str, batch: int) -> None:
        from torchvision.models import get_model

        torch.manual_seed(0)
        self.network = get_model(name, weights=None, num_classes=10)
        self.images, self.labels = torch.randn(batch, 3, 32, 32), torch.arange(batch) % 10
        self.optimiser = torch.optim.SGD(self.network.parameters(), lr=0.01, momentum=0.9)

    def step(self) -> None:
        """Take one step."""
        self.optimiser.zero_grad(set_to_none=True)
        nn.functional.cross_entropy(self.network(self.images), self.labels).backward()
        self.optimiser.step()


def time_steps(training: Training, watch: LayerWatch | None, amount: Amount) -> float:
    """Return the processor time of as many steps as are read one of, the first of them watched."""
    generator = torch.Generator().manual_seed(0)
    start = time.process_time()
    for index in range(amount.every):
        if watch is not None and index == 0:
            watch.start(n_positions=amount.n_positions, generator=generator)
        training.step()
        if watch is not None:
            watch.pause()
    return time.process_time() - start


def main() -> None:
    """Print the ratio of each network."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in ("resnet18", "resnet50"):
        training = Training(name, options.batch)
        layers = find_watched_layers(training.network, training.images[:1])
        amount = choose_amount(
            layers, "channelwise", share=SHARE, n_batches=N_STEPS, batch_size=options.batch, is_step=True
        )
        watch = LayerWatch(training.network, layers)
        training.step()
        bare, watched = [], []
        for _ in range(options.rounds):
            bare.append(time_steps(training, None, amount))
            watched.append(time_steps(training, watch, amount))
        ratio = median(a / b for a, b in zip(watched, bare, strict=True))
        read = "all positions" if amount.n_positions is None else f"{amount.n_positions} positions"
        sys.stdout.write(
            f"{name}: {read} of every {amount.every} steps, {min(bare) / amount.every:.2f} s per bare step,"
            f" watched {ratio:.3f} x bare (bound {BOUND})\n"
        )


if __name__ == "__main__":
    main()
