"""Training of stitches: steps on cached activations, folded batch norms, stitches together, as ratios.

Processor time of one thread, least of all calls, in turns, on a network with Tiny10's layers and drawn
weights (time depends on shapes alone) and a batch of 128 images of 32 pixels:

* a step on cached activations against one that runs both donors on the images, as the original does: front,
  end (for the soft target), and stitched network, with the donors' own layers;
* the tail with folded batch norms against the network's own layers behind the joint;
* k stitches in one step against k steps of one;
* a whole training of one stitch at bn3, 585 steps, in seconds, and the peak of memory it adds.

Run: OMP_NUM_THREADS=1 python benchmarks/bench_stitching.py [--rounds 7]
"""

import argparse
import resource
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor, nn

from rep_kedro.kernels.stitching.activations import to_positions
from rep_kedro.kernels.stitching.maps import fit_affine_map
from rep_kedro.kernels.stitching.moments import PairedMoments
from rep_kedro.kernels.stitching.recipes import Schedule, StitchRecipe
from rep_kedro.kernels.stitching.running import EndLayer, FrontLayer
from rep_kedro.kernels.stitching.training import Stitch, StitchTraining, share_out
from rep_kedro.models.building import build_network
from rep_kedro.models.cutting import CutNetwork
from rep_kedro.models.network import LayeredNetwork

BATCH, N_CLASSES, PX = 128, 10, 32
N_STEPS = 585
STEPS_OF_A_ROUND = {"bn3": 2, "bn5": 5, "bn7": 20}
CACHED_AIM = {"bn3": 3.5, "bn5": 6.0, "bn7": 20.0}
FOLDED_AIM = {"bn5": 1.6, "bn7": 1.6}
TOGETHER_AIM = {("bn7", 16): 1.7, ("bn3", 8): 1.05}


class Pair:
    """Two networks, and their activations at one layer for a batch of images.

    Args:
        layer: Where they are joined.
        n_stimuli: Images.
    """

    def __init__(self, layer: str, n_stimuli: int = BATCH) -> None:
        self.layer = layer
        self.front, self.end = (_make_network(seed) for seed in (0, 1))
        generator = torch.Generator().manual_seed(2)
        self.images = torch.randn(n_stimuli, 3, PX, PX, generator=generator)
        self.labels = torch.randint(N_CLASSES, (n_stimuli,), generator=generator)
        with torch.no_grad():
            ours, theirs = (self._read(network) for network in (self.front, self.end))
            self.logits = torch.cat([self.end(part) for part in self.images.split(BATCH)])
        self.shape = tuple(theirs.shape[1:])
        self.samples, self.end_samples = to_positions(ours), to_positions(theirs)
        self.moments = PairedMoments(ours.shape[1], theirs.shape[1])
        for some, others in zip(self.samples.split(BATCH), self.end_samples.split(BATCH), strict=True):
            self.moments.update(some.flatten(0, 1), others.flatten(0, 1))
        self.tail = CutNetwork(self.end).tail(layer, is_folded=True)

    def _read(self, network: LayeredNetwork) -> Tensor:
        return torch.cat([network.run(part, stop_at=self.layer) for part in self.images.split(BATCH)])

    def train(self, n_stitches: int, *, n_epochs: int) -> list[StitchTraining]:
        """Return the training of some stitches, each with an order of its own, in the parts of the kernel."""
        end = EndLayer(self.shape, self.tail, logits=self.logits, labels=self.labels)
        stitches = [Stitch("front", StitchRecipe(seed=seed)) for seed in range(n_stitches)]
        fronts = {"front": FrontLayer(self.samples, self.moments)}
        schedule = Schedule(n_epochs=n_epochs, batch_size=BATCH)
        parts = share_out(stitches, fronts, end, schedule)
        return [StitchTraining([stitches[i] for i in own], fronts, end, schedule) for own in parts]


class BothDonors:
    """The original's step: front, end and stitched network see the images, with hooks at the joint."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        start = fit_affine_map(pair.moments)
        self.map = nn.Conv2d(start.weight.shape[1], start.weight.shape[0], 1)
        weight, bias = start.weight[:, :, None, None].float(), start.bias.float()
        self.map.load_state_dict({"weight": weight, "bias": bias})
        self.descent = torch.optim.Adam(self.map.parameters(), lr=1e-3)

    def take_step(self) -> None:
        """Take a step."""
        pair, kept = self.pair, []
        joint = pair.front.get_submodule(pair.layer)
        hook = joint.register_forward_hook(lambda _, __, output: kept.append(output.clone()))
        with torch.no_grad():
            pair.front(pair.images)
            target = pair.end(pair.images).softmax(dim=1)
        hook.remove()
        joint = pair.end.get_submodule(pair.layer)
        hook = joint.register_forward_hook(lambda _, __, output: self.map(kept[0]))
        loss = nn.functional.cross_entropy(pair.end(pair.images), target)
        hook.remove()
        self.descent.zero_grad()
        loss.backward()
        self.descent.step()


def compare(sides: Mapping[str, Callable[[], object]], n_calls: int, rounds: int) -> dict[str, float]:
    """Return the least processor time of a call of each side, in turns of so many calls."""
    least = dict.fromkeys(sides, float("inf"))
    for _ in range(rounds):
        for name, call in sides.items():
            for _ in range(n_calls):
                start = time.process_time()
                call()
                least[name] = min(least[name], time.process_time() - start)
    return least


def compare_with_donors(layer: str, rounds: int) -> float:
    """Return how many times faster a step on cached activations is than one of both donors."""
    pair, n_calls = Pair(layer), STEPS_OF_A_ROUND[layer]
    [cached] = pair.train(1, n_epochs=10**6)
    sides = {"cached": cached.take_step, "donors": BothDonors(pair).take_step}
    least = compare(sides, n_calls, rounds)
    return least["donors"] / least["cached"]


def compare_folded(layer: str, rounds: int) -> float:
    """Return how many times faster the folded tail is, forwards and back to its input."""
    pair = Pair(layer)
    own = partial(pair.end.run, start_after=layer)
    maps = pair.end_samples.reshape(BATCH, *pair.shape[1:], pair.shape[0]).permute(0, 3, 1, 2)

    def pass_through(tail: Callable[[Tensor], Tensor], activation: Tensor) -> Tensor:
        activation = activation.detach().requires_grad_(True)
        [gradient] = torch.autograd.grad(tail(activation).logsumexp(dim=1).sum(), activation)
        return gradient

    least = compare(
        {
            "folded": lambda: pass_through(pair.tail, maps),
            "own": lambda: pass_through(own, maps.contiguous()),
        },
        STEPS_OF_A_ROUND[layer],
        rounds,
    )
    return least["own"] / least["folded"]


def compare_together(layer: str, n_stitches: int, rounds: int) -> float:
    """Return how many times faster stitches train together, in parts of equal size, than one by one."""
    pair = Pair(layer)
    part, *others = pair.train(n_stitches, n_epochs=10**6)
    [alone] = pair.train(1, n_epochs=10**6)
    sides = {"part": part.take_step, "alone": alone.take_step}
    least = compare(sides, STEPS_OF_A_ROUND[layer], rounds)
    return n_stitches * least["alone"] / ((1 + len(others)) * least["part"])


def train_whole() -> tuple[float, float]:
    """Return seconds of one training at bn3, and by how many megabytes the peak of memory rises."""
    pair = Pair("bn3", n_stimuli=39 * BATCH)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    [training] = pair.train(1, n_epochs=N_STEPS // 39)
    while training.take_step():
        pass
    seconds = time.process_time() - start
    return seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def _make_network(seed: int) -> LayeredNetwork:
    network = build_network("tiny10", n_classes=N_CLASSES, seed=seed).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(64, 3, PX, PX, generator=generator)
    for part in network.modules():  # statistics of images, or nothing varies in deep layers
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = 1.0
    with torch.no_grad():
        network.train()(images)
    return network.eval()


def report(what: str, ratio: float, aim: float) -> None:
    """Print one line."""
    sys.stdout.write(f"{what:<58} {ratio:6.2f}x  (aim: at least {aim:g})\n")
    sys.stdout.flush()


def main() -> None:
    """Print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    for layer, aim in CACHED_AIM.items():
        ratio = compare_with_donors(layer, rounds)
        report(f"step on cached activations against both donors, {layer}", ratio, aim)
    for layer, aim in FOLDED_AIM.items():
        report(f"folded batch norms, {layer}", compare_folded(layer, rounds), aim)
    for (layer, n_stitches), aim in TOGETHER_AIM.items():
        ratio = compare_together(layer, n_stitches, rounds)
        report(f"{n_stitches} stitches together against one by one, {layer}", ratio, aim)
    seconds, megabytes = train_whole()
    sys.stdout.write(
        f"one stitch at bn3, {N_STEPS} steps: {seconds:.1f} s (aim: below 30), {megabytes:.0f} MB\n"
    )


if __name__ == "__main__":
    main()
