"""Read the layers of a network for many stimuli, batch by batch.

A batch that does not fit into memory is read in halves, and so are all that follow.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rep_kedro.errors import NotFiniteError, UserError
from rep_kedro.kernels.precision import full_precision
from rep_kedro.models.layers import LayerReader
from rep_kedro.models.pooling_names import Pooling

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

    def place(self, module: nn.Module) -> None:
        """Move a network to where and how it is read."""
        module.to(self.device)
        if self.channels_last:
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def precision(self) -> AbstractContextManager[object]:
        """Return the context in which the network computes."""
        if self.autocast is None:
            return nullcontext()
        return torch.autocast(torch.device(self.device).type, dtype=getattr(torch, self.autocast))


def read_batches(
    batches: Iterable[Tensor],
    to_input: Callable[[Tensor], Tensor],
    make_reader: Callable[[Tensor], LayerReader],
    *,
    pooling: Pooling | None,
    reading: Reading,
) -> dict[str, Tensor]:
    """Return what the layers give for all stimuli, on the CPU.

    Args:
        batches: Stimuli, the first axis counts them; at least one.
        to_input: From stimuli to the network's input, on its device.
        make_reader: Given one stimulus as the network takes it, the reader of its layers.
        pooling: From activations to features; None keeps the activations.
        reading: How the network is read; its batch size is halved where memory does not suffice.

    Returns:
        By layer, in depth order: features, float32, (n_stimuli, n_features); or activations.

    Raises:
        NotFiniteError: If a layer gives NaN or infinity; names the layer and how many.
        UserError: If stimuli of another size than the first do not fit the network, or give other widths.
        torch.OutOfMemoryError: If not even one stimulus fits.
    """
    reader: LayerReader | None = None
    first_shape: torch.Size | None = None
    parts: dict[str, list[Tensor]] = {}
    for batch in batches:
        start = 0
        while start < len(batch):
            shown = batch[start : start + reading.batch_size]
            try:
                images = to_input(shown)
                with reading.precision():
                    if reader is None:
                        reader, first_shape = make_reader(images[:1]), shown.shape[1:]
                    read = reader.read(images, pooling)
                kept = {layer: features.cpu() for layer, features in read.items()}
            except RuntimeError as error:
                _halve(reading, shown, error, first_shape)
                continue
            for layer, features in kept.items():
                earlier = parts.setdefault(layer, [])
                earlier.append(features)
                require_same_width(layer, features, earlier[0])
            start += len(shown)
    joined = {layer: torch.cat(batches) for layer, batches in parts.items()}
    _require_finite(joined)
    return joined


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


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put a network into evaluation mode, and each of its parts back into its own mode afterwards."""
    modes = {part: part.training for part in module.modules()}
    try:
        module.eval()
        yield
    finally:
        for part, was_training in modes.items():
            part.training = was_training


def require_same_width(layer: str, features: Tensor, first: Tensor) -> None:
    """Refuse what a layer gives if it does not fit below what it gave for the first stimuli.

    Raises:
        UserError: If the shapes differ in more than the number of stimuli.
    """
    if features.shape[1:] != first.shape[1:]:
        raise UserError(
            f"layer {layer!r} gives {_sides(first.shape[1:])} features for the first stimuli, "
            f"{_sides(features.shape[1:])} for later ones; give stimuli of one size, or pool by average"
        )


def _sides(shape: torch.Size) -> str:
    return " x ".join(map(str, shape)) or "single"


def _halve(reading: Reading, shown: Tensor, error: RuntimeError, first_shape: torch.Size | None) -> None:
    """Halve the batch after an error of memory; raise any other, and that of a single image."""
    n_shown = len(shown)
    is_full = isinstance(error, torch.OutOfMemoryError) or _CPU_IS_FULL in str(error)
    if not is_full and first_shape not in {None, shown.shape[1:]}:
        raise UserError(
            f"the network takes stimuli of shape {tuple(first_shape or ())},"
            f" but not of {tuple(shown.shape[1:])}, as in a later batch: {' '.join(str(error).split())[:200]}"
        ) from error
    if not is_full or n_shown == 1:
        raise error
    reading.batch_size = n_shown // 2
    _log.warning(
        "a batch of %d images does not fit into memory; continuing with %d", n_shown, reading.batch_size
    )
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _require_finite(features: dict[str, Tensor]) -> None:
    for layer, values in features.items():
        n_broken = int((~torch.isfinite(values)).sum())
        if n_broken:
            rows = (~torch.isfinite(values)).flatten(1).any(dim=1).nonzero().flatten()
            raise NotFiniteError(
                f"layer {layer!r}: {n_broken} of {values.numel()} features are NaN or infinite,"
                f" first for stimulus number {int(rows[0])}"
            )
