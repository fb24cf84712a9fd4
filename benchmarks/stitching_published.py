"""Stitches between published networks: does the task loss lift what the least-squares map gives?

For each pair of Tiny10 networks (named by their seeds) and each layer: relative accuracy, CKA and
cross-entropy to the end network of every map on 1,017 test images, with 95 % intervals over the images; maps
are fitted and trained on 5,085 training images, 15 epochs of 39 steps. Needs REP_DATA.

Run: REP_DATA=... OMP_NUM_THREADS=1 python benchmarks/stitching_published.py [--layers bn3] [--pairs "0 to 1"]
"""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.real.published import load_published, read_cifar10

from rep_kedro.kernels.statistics.resampling import draw_bootstrap_counts, summarise_replicates
from rep_kedro.kernels.stitching.activations import to_positions
from rep_kedro.kernels.stitching.comparison import compare_outputs, resample_outputs
from rep_kedro.kernels.stitching.losses import Batch, measure_cka
from rep_kedro.kernels.stitching.maps import AffineMap, fit_affine_map, fit_masked_map, zero_small_weights
from rep_kedro.kernels.stitching.masks import MASKS, MaskSource
from rep_kedro.kernels.stitching.moments import PairedMoments
from rep_kedro.kernels.stitching.recipes import Schedule, StitchRecipe
from rep_kedro.kernels.stitching.running import EndLayer, FrontLayer, map_positions, run_maps
from rep_kedro.kernels.stitching.training import Stitch, train_stitches
from rep_kedro.models.cutting import CutNetwork
from rep_kedro.models.layers import LayerReader

PAIRS = ("0 to 1", "1 to 0", "0 to 9", "3 to 7", "2 to 3", "3 to 4")
FIRST = ("core/cifar10/train_00000-01999.parquet", "extra/cifar10/train_02000-03999.parquet")
MORE = "extra/cifar10/train_more_16k.parquet"
N_TRAIN, N_TEST, BATCH = 5085, 1017, 250
SCHEDULE = Schedule(n_epochs=15, batch_size=128)
TASK = StitchRecipe(target="soft_2")
TRAINED = {
    "task": TASK,
    "task from random": StitchRecipe(start="random"),
    "task, CKA penalty": StitchRecipe(cka_penalty=0.5),
    "task, rank 8": StitchRecipe(rank=8),
    "task, semi-match": StitchRecipe(mask="semi-match"),
    "task, assignment": StitchRecipe(mask="assignment"),
    "task, sparse": StitchRecipe(l1=1.0),
}
MOST_TELLING = ("task", "task from random")


class Network:
    """One published network and what it does with the images."""

    def __init__(self, name: str, layers: list[str]) -> None:
        model = load_published(name)
        self.module = model.module
        train = torch.cat([read_cifar10(*FIRST)[0], read_cifar10(MORE)[0]])[:N_TRAIN]
        test = read_cifar10()[0][:N_TEST]
        self.scaled = {"train": model.preprocessing.scale(train), "test": model.preprocessing.scale(test)}
        self.reader = LayerReader(self.module, [*layers, "fc"], example=self.scaled["test"][:1])
        self.read = {split: self._read(images) for split, images in self.scaled.items()}

    def _read(self, images: Tensor) -> dict[str, Tensor]:
        parts = [self.reader.read(part) for part in images.split(BATCH)]
        return {layer: torch.cat([part[layer] for part in parts]) for layer in parts[0]}


def pair_moments(front: Tensor, end: Tensor) -> PairedMoments:
    """Stream two layers' positions."""
    moments = PairedMoments(front.shape[2], end.shape[2])
    for ours, theirs in zip(front.split(BATCH), end.split(BATCH), strict=True):
        moments.update(ours.flatten(0, 1), theirs.flatten(0, 1))
    return moments


def fit_directly(moments: PairedMoments) -> dict[str, AffineMap]:
    """Return the maps that need no training."""
    source = MaskSource(moments, torch.Generator().manual_seed(0))
    matched = {name: fit_masked_map(moments, MASKS[name](source)) for name in ("semi-match", "assignment")}
    return {"least squares": fit_affine_map(moments), **matched}


def stitch(
    front: Network, end: Network, layer: str, labels: dict[str, Tensor], names: Sequence[str]
) -> Iterator[list[str]]:
    """Yield a row of the table for each map at one layer."""
    ours, theirs = (
        {split: to_positions(network.read[split][layer]) for split in ("train", "test")}
        for network in (front, end)
    )
    moments = pair_moments(ours["train"], theirs["train"])
    shape = tuple(end.read["test"][layer].shape[1:])
    place = EndLayer(
        shape,
        CutNetwork(end.module).tail(layer, is_folded=True),
        samples=theirs["train"],
        logits=end.read["train"]["fc"],
        labels=labels["train"],
    )
    fronts = {"front": FrontLayer(ours["train"], moments, front.read["train"]["fc"])}
    start = time.process_time()
    trained = train_stitches([Stitch("front", TRAINED[name]) for name in names], fronts, place, SCHEDULE)
    seconds = (time.process_time() - start) / len(names)
    maps = fit_directly(moments)
    for name, one in zip(names, trained, strict=True):
        if one.fitted is None:
            raise RuntimeError(f"{name} at {layer}: {one.reason}")
        maps[name] = one.fitted
    if "task, sparse" in maps:
        maps["task, sparse"] = zero_small_weights(maps["task, sparse"], 1e-2)
    logits = run_maps(list(maps.values()), ours["test"], place)
    counts = draw_bootstrap_counts(torch.zeros(N_TEST), 1000, generator=torch.Generator().manual_seed(0))
    resampled = resample_outputs(logits, end.read["test"]["fc"], labels["test"], counts)["relative_accuracy"]
    base = resampled[:, :1]
    for n, (name, fitted) in enumerate(maps.items()):
        compared = compare_outputs(logits[n], end.read["test"]["fc"], labels["test"])
        interval = summarise_replicates(resampled[:, n], torch.tensor(compared.relative_accuracy))
        gain = summarise_replicates((resampled - base)[:, n], torch.tensor(0.0))
        yield [
            *(layer, name, f"{compared.relative_accuracy:.3f}"),
            *(f"{interval.low:.3f}-{interval.high:.3f}", f"{gain.low:+.3f} to {gain.high:+.3f}"),
            *(f"{compared.agreement:.3f}", f"{compared.cross_entropy:.3f}"),
            f"{measure_cka_of(fitted, ours['test'], theirs['test']):.3f}",
            f"{float(fitted.weight.count_nonzero() / fitted.weight.numel()):.2f}",
            f"{seconds:.0f}" if name in names else "",
        ]


def measure_cka_of(fitted: AffineMap, front: Tensor, end: Tensor) -> float:
    """Return linear CKA between stitched and original activations of the test images."""
    weight, bias = fitted.weight.to(front)[None], fitted.bias.to(front)[None]
    stitched = map_positions(weight, bias, front[None]).flatten(2)
    rows = (stitched.double(), end.flatten(1).double()[None])
    return float(measure_cka(Batch(*rows, None, None, torch.ones(1, 1, 1))))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--layers", nargs="+", default=["bn3", "bn4", "bn5", "bn7"])
    parser.add_argument("--pairs", nargs="+", choices=PAIRS, default=PAIRS)
    parser.add_argument(
        "--all-maps", action="store_true", help="not only the full map, from least squares and from random"
    )
    options = parser.parse_args()
    names = tuple(TRAINED) if options.all_maps else MOST_TELLING
    torch.set_num_threads(1)
    labels = {
        "train": torch.cat([read_cifar10(*FIRST)[1], read_cifar10(MORE)[1]])[:N_TRAIN],
        "test": read_cifar10()[1][:N_TEST],
    }
    heads = "pair,layer,map,rel. accuracy,interval,gain over least squares,agreement,CE,CKA,non-zero,s"
    print(" | ".join(heads.split(",")), flush=True)  # noqa: T201
    for pair in options.pairs:
        seeds = pair.split(" to ")
        networks = [Network(f"tiny10_in{seed}_gn{seed}", options.layers) for seed in seeds]
        for layer in options.layers:
            for row in stitch(*networks, layer, labels, names):
                print(" | ".join([pair, *row]), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
