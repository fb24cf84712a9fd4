"""Showing stimuli to a network and keeping what its layers say.

Images are decoded ahead of the network, into pinned memory where it works on a GPU. A batch that does not fit
into memory is shown in halves, and so are all that follow.
"""

import logging
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from rep_kedro.datasets import Tensors
from rep_kedro.errors import NotFiniteError, UserError
from rep_kedro.kernels.precision import full_precision
from rep_kedro.models.layers import LayerReader
from rep_kedro.models.pooling_names import Pooling
from rep_kedro.models.sources.loaded import LoadedModel, read_layers
from rep_kedro.pipelines.features.images import hash_stimulus_ids, make_pixels
from rep_kedro.stimuli.limits import Limits, limits_of
from rep_kedro.stimuli.selection import locate_stimuli, stream_images

if TYPE_CHECKING:
    from rep_kedro.datasets import ArrowHandle

_Named = tuple[list[bytes], Sequence[str]]  # encoded images, and their names
_CPU_IS_FULL = "can't allocate memory"
_log = logging.getLogger(__name__)


@dataclass
class Reading:
    """How a network is read; one object serves all stimulus sets of a network, so that it learns once.

    Attributes:
        batch_size: Images at a time; halved where memory does not suffice.
        device: Where the network is.
        decode_threads: Threads that decode images ahead.
        autocast: Type of mixed precision; None computes in float32.
        channels_last: Lay the images out with the channels innermost.
    """

    batch_size: int
    device: str = "cpu"
    decode_threads: int = 1
    autocast: str | None = None
    channels_last: bool = False

    def place(self, model: LoadedModel) -> None:
        """Move a network to where and how it is read."""
        model.module.to(self.device)
        if self.channels_last:
            model.module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def precision(self) -> AbstractContextManager[object]:
        """Return the context in which the network computes."""
        if self.autocast is None:
            return nullcontext()
        return torch.autocast(torch.device(self.device).type, dtype=getattr(torch, self.autocast))


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
        stimulus_set: Holds the images.
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
        raise UserError(f"subset {subset.key!r} is empty, there is nothing to show")
    reader: LayerReader | None = None
    parts: dict[str, list[torch.Tensor]] = {}
    limits = limits_of(stimulus_set.meta)
    encoded = _with_names(stream_images(stimulus_set, rows, batch_size=reading.batch_size), stimulus_ids)
    for pixels in _decode_ahead(encoded, model, reading, limits):
        start = 0
        while start < len(pixels):
            shown = pixels[start : start + reading.batch_size]
            try:
                images = _to_input(shown, model, reading)
                with reading.precision():
                    if reader is None:
                        reader = read_layers(model, images[:1])
                    read = reader.read(images, pooling)
                kept = {layer: features.cpu() for layer, features in read.items()}
            except RuntimeError as error:
                _halve(reading, len(shown), error)
                continue
            for layer, features in kept.items():
                parts.setdefault(layer, []).append(features)
            start += len(shown)
    joined = {layer: torch.cat(batches) for layer, batches in parts.items()}
    _require_finite(joined)
    return Tensors(
        joined,
        {
            "layers": list(joined),
            "final_layer": list(joined)[-1],
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


def _halve(reading: Reading, n_shown: int, error: RuntimeError) -> None:
    """Halve the batch after an error of memory; raise any other, and that of a single image."""
    is_full = isinstance(error, torch.OutOfMemoryError) or _CPU_IS_FULL in str(error)
    if not is_full or n_shown == 1:
        raise error
    reading.batch_size = n_shown // 2
    _log.warning("%d images at a time do not fit into memory, going on with %d", n_shown, reading.batch_size)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


@contextmanager
def steady(threads: int | None) -> Iterator[None]:
    """Compute in full float32, on the CPU with this many threads."""
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads or before)
        convolutions = torch.backends.cudnn.flags(
            enabled=True, benchmark=False, deterministic=True, allow_tf32=False
        )
        with full_precision(), convolutions:
            yield
    finally:
        torch.set_num_threads(before)


def _require_finite(features: dict[str, torch.Tensor]) -> None:
    for layer, values in features.items():
        n_broken = int((~torch.isfinite(values)).sum())
        if n_broken:
            rows = (~torch.isfinite(values)).any(dim=1).nonzero().flatten()
            raise NotFiniteError(
                f"layer {layer!r} gave {n_broken} of {values.numel()} features that are not finite,"
                f" first for stimulus number {int(rows[0])}"
            )
