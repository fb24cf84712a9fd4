"""Throughput of extraction compared with the bare forward pass of the same network.

Run ``python benchmarks/bench_features.py [--model resnet50] [--device cuda]``. The bare pass is given input
tensors that are ready on the device; extraction reads stored JPEG images of 256 x 256 pixels, decodes,
resizes, scales, pools and checks. Both see the same images in the same batches. They take turns, and the best
of several rounds counts, since other work on the machine only ever slows them down. ``share`` is of the time
that passes; ``share_of_thread`` of the processor time of the thread that runs the network, which is what
remains where decoding has a core of its own and the machine is busy otherwise.
"""

import argparse
import io
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from PIL import Image

from rep_kedro.datasets import ArrowDataset, ArrowHandle
from rep_kedro.features.extraction import extract_features
from rep_kedro.features.images import make_pixels
from rep_kedro.models.reading import Reading, steady
from rep_kedro.models.sources.specs import TimmModel
from rep_kedro.models.sources.zoo import load_model

SIDE_PX = 256


def store(images: list[bytes], folder: Path) -> ArrowHandle:
    """Return a stored stimulus set that serves as its own subset."""
    ids = [f"image-{i}" for i in range(len(images))]
    dataset = ArrowDataset(filepath=str(folder / "bench.parquet"), key="bench")
    dataset.save(pa.table({"stimulus_id": ids, "image": pa.array(images, pa.binary())}))
    handle: ArrowHandle = dataset.load()
    return handle


def main() -> None:
    """Print one line of JSON with images per second of both and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="resnet50")
    parser.add_argument("--layer", default="global_pool")
    parser.add_argument("--n-images", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--decode-threads", type=int, default=1)
    parser.add_argument("--autocast", default=None)
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--device", default="cpu")
    print(json.dumps(compare(parser.parse_args())))  # noqa: T201 - the benchmark's output


def compare(options: argparse.Namespace) -> dict[str, object]:
    """Time both ways in turns."""
    entry = TimmModel(source="timm", name=options.model, pretrained=False, layers=(options.layer,))
    model = load_model(entry)
    reading = Reading(
        options.batch_size,
        options.device,
        decode_threads=options.decode_threads,
        autocast=options.autocast,
        channels_last=options.channels_last,
    )
    reading.place(model.module)
    encoded = draw_photographs(options.n_images)
    pixels = torch.from_numpy(make_pixels(encoded, model.preprocessing))
    inputs = [model.preprocessing.scale(part.to(options.device)) for part in pixels.split(options.batch_size)]
    if options.channels_last:
        inputs = [part.contiguous(memory_format=torch.channels_last) for part in inputs]

    def bare() -> None:
        with torch.no_grad(), reading.precision():
            for part in inputs:
                model.module(part)
        if options.device != "cpu":
            torch.cuda.synchronize()

    def extracted() -> None:
        extract_features(model, images, images, pooling="average", reading=reading)

    with steady(options.threads), tempfile.TemporaryDirectory() as folder:
        images = store(encoded, Path(folder))
        (bare_seconds, bare_thread), (own_seconds, own_thread) = time_in_turns(
            [bare, extracted], options.rounds
        )
    return {
        "model": options.model,
        "device": options.device,
        "threads": options.threads,
        "decode_threads": options.decode_threads,
        "bare_images_per_s": round(options.n_images / bare_seconds, 2),
        "extraction_images_per_s": round(options.n_images / own_seconds, 2),
        "share": round(bare_seconds / own_seconds, 3),
        "share_of_thread": round(bare_thread / own_thread, 3),
    }


def time_in_turns(works: list[Callable[[], None]], rounds: int) -> list[tuple[float, float]]:
    """Return the least time of each, by the clock and of this thread; a first round warms up."""
    best = [(float("inf"), float("inf"))] * len(works)
    for number in range(rounds + 1):
        for i, work in enumerate(works):
            began, thread_began = time.perf_counter(), time.thread_time()
            work()
            if number:
                clock, thread = time.perf_counter() - began, time.thread_time() - thread_began
                best[i] = (min(best[i][0], clock), min(best[i][1], thread))
    return best


def draw_photographs(n_images: int) -> list[bytes]:
    """Return JPEG images with structure at several scales, so that they decode as photographs do."""
    generator = np.random.default_rng(0)
    encoded = []
    for _ in range(n_images):
        image = np.zeros((SIDE_PX, SIDE_PX, 3))
        for cells in (4, 16, 64, SIDE_PX):
            noise = generator.normal(0, 128 / cells**0.5, (cells, cells, 3))
            image += noise.repeat(SIDE_PX // cells, 0).repeat(SIDE_PX // cells, 1)
        buffer = io.BytesIO()
        Image.fromarray((image + 128).clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=90)
        encoded.append(buffer.getvalue())
    return encoded


if __name__ == "__main__":
    main()
