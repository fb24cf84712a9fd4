"""Run a network on stimuli and keep the outputs of its layers.

Images are decoded ahead of the network, into pinned memory where it works on a GPU.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import torch

from rep_kedro.datasets import Tensors
from rep_kedro.errors import UserError
from rep_kedro.features.images import hash_stimulus_ids, make_pixels
from rep_kedro.models.pooling_names import Pooling
from rep_kedro.models.reading import Reading, read_batches
from rep_kedro.models.sources.loaded import LoadedModel, read_layers
from rep_kedro.models.trained import name_final_layer
from rep_kedro.stimuli.limits import Limits, limits_of
from rep_kedro.stimuli.selection import locate_stimuli, stream_images

if TYPE_CHECKING:
    from rep_kedro.datasets import ArrowHandle

_Named = tuple[list[bytes], Sequence[str]]  # encoded images, and their names


def extract_features(
    model: LoadedModel,
    stimulus_set: "ArrowHandle",
    subset: "ArrowHandle",
    *,
    pooling: Pooling,
    reading: Reading,
) -> Tensors:
    """Return the features of every layer for the stimuli of a subset.

    Args:
        model: A network, placed as `reading` says.
        stimulus_set: The handle of the images.
        subset: Names the stimuli and their order.
        pooling: From activation to features.
        reading: How the network is read; its batch size is halved where memory does not suffice.

    Returns:
        One float32 tensor (n_stimuli, n_features) per layer; meta as in docs/architecture.md, section 3.

    Raises:
        ValueError: If the subset is empty or a stimulus missing.
        FloatingPointError: If features are not finite; names layer and count.
        torch.OutOfMemoryError: If not even one image fits.
    """
    stimulus_ids, rows = locate_stimuli(stimulus_set, subset)
    if not stimulus_ids:
        raise UserError(f"subset {subset.key!r} is empty: it has no stimuli for the networks")
    limits = limits_of(stimulus_set.meta)
    encoded = _with_names(stream_images(stimulus_set, rows, batch_size=reading.batch_size), stimulus_ids)
    joined = read_batches(
        _decode_ahead(encoded, model, reading, limits),
        lambda pixels: _to_input(pixels, model, reading),
        lambda image: read_layers(model, image),
        pooling=pooling,
        reading=reading,
    )
    return Tensors(
        joined,
        {
            "layers": list(joined),
            "final_layer": name_final_layer(list(joined)),
            "pooling": pooling,
            "n_stimuli": len(stimulus_ids),
            "stimulus_ids_sha256": hash_stimulus_ids(stimulus_ids),
        },
    )


def _with_names(batches: Iterator[list[bytes]], names: Sequence[str]) -> Iterator[_Named]:
    start = 0
    for images in batches:
        yield images, names[start : start + len(images)]
        start += len(images)


def _decode_ahead(
    batches: Iterator[_Named], model: LoadedModel, reading: Reading, limits: Limits
) -> Iterator[torch.Tensor]:
    """Yield uint8 pixels batch by batch, decoded while the network is busy with those before."""
    waiting: deque[Future[Any]] = deque()
    with ThreadPoolExecutor(reading.decode_threads, thread_name_prefix="decode") as pool:
        try:
            while True:
                while len(waiting) <= reading.decode_threads and (batch := next(batches, None)) is not None:
                    waiting.append(pool.submit(_decode, batch, model, reading, limits))
                if not waiting:
                    return
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _decode(batch: _Named, model: LoadedModel, reading: Reading, limits: Limits) -> torch.Tensor:
    """Return uint8 pixels, pinned where they go to a GPU, so that copying them does not wait."""
    images, names = batch
    pixels = torch.from_numpy(make_pixels(images, model.preprocessing, names=names, limits=limits))
    return pixels.pin_memory() if torch.device(reading.device).type == "cuda" else pixels


def _to_input(pixels: torch.Tensor, model: LoadedModel, reading: Reading) -> torch.Tensor:
    images = model.preprocessing.scale(pixels.to(reading.device, non_blocking=True))
    return images.contiguous(memory_format=torch.channels_last) if reading.channels_last else images
