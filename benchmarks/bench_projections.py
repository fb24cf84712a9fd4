"""What resuming behind a layer saves: a grid of projections per layer, against full passes, in one process.

Both evaluate the same projections of every convolution of torchvision's ResNet-18 and VGG11, onto the leading
directions for a grid of shares. Median of the ratios of processor time over the rounds.

Run: python benchmarks/bench_projections.py [--images 16] [--px 64] [--rounds 3]
"""

import argparse
import sys
import time
from statistics import median

import torch
from torch import Tensor

from rep_kedro.analyses.projections.directions import find_directions
from rep_kedro.analyses.projections.evaluation import Evaluation
from rep_kedro.analyses.projections.params import ProjectionParams
from rep_kedro.kernels.layers.projection import Projector
from rep_kedro.models.preprocessing import Preprocessing
from rep_kedro.models.sources.loaded import LoadedModel
from rep_kedro.models.watched_layers import find_watched_layers

BOUND = 0.6
DELTAS = (0.5, 0.7, 0.9, 0.95, 0.99, 0.999)


def run_full_passes(evaluation: Evaluation, images: Tensor) -> list[Tensor]:
    """Return the outputs of each projection, each by a pass through the whole network."""
    module, outputs = evaluation.model.module, []
    for kind, kept in evaluation.variants:
        [(layer, n)] = kept

        def project(_: object, __: object, output: Tensor, layer: str = layer, n: int = n) -> Tensor:
            return Projector(output, evaluation.directions[layer].by_kind[kind]).keep(n)  # noqa: B023

        handle = module.get_submodule(layer).register_forward_hook(project)
        with torch.no_grad():
            outputs.append(module(images))
        handle.remove()
    return outputs


def main() -> None:
    """Print the ratio of each network."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("images", 16), ("px", 64), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    torch.set_num_threads(1)
    from torchvision.models import get_model

    for name in ("resnet18", "vgg11_bn"):
        torch.manual_seed(0)
        module = get_model(name, weights=None, num_classes=10).eval()
        images = torch.randn(options.images, 3, options.px, options.px)
        layers = [layer.name for layer in find_watched_layers(module, images[:1]) if len(layer.shape) == 4]
        params = ProjectionParams(scopes=("each",), directions=("leading",), deltas=DELTAS)
        preprocessing = Preprocessing(size_px=options.px, resize_px=options.px, mean=(0,) * 3, std=(1,) * 3)
        model = LoadedModel(module, preprocessing, ())
        evaluation = Evaluation(model, find_directions(model, layers, [images], params), 10, params)
        labels, ratios = torch.arange(options.images) % 10, []
        for _ in range(options.rounds):
            start = time.process_time()
            evaluation.add(images, labels)
            middle = time.process_time()
            run_full_passes(evaluation, images)
            ratios.append((middle - start) / (time.process_time() - middle))
        sys.stdout.write(
            f"{name}: {len(evaluation.variants)} projections of {len(layers)} layers,"
            f" resumed {median(ratios):.3f} x full passes (bound {BOUND})\n"
        )


if __name__ == "__main__":
    main()
