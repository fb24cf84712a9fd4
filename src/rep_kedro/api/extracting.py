"""What do the layers of a network give for images?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from rep_kedro.api.arrays import Array, require_device, to_tensor
from rep_kedro.errors import UserError
from rep_kedro.models.layers import LayerReader
from rep_kedro.models.pooling import POOLINGS
from rep_kedro.models.pooling_names import Pooling
from rep_kedro.models.reading import Reading, evaluating, read_batches, steady
from rep_kedro.parameter_rules import require_whole

if TYPE_CHECKING:
    import numpy as np

_TOP_LEVEL = ("*",)


def extract(
    model: nn.Module,
    images: Array | Iterable[Any],
    layers: str | Sequence[str] | None = None,
    *,
    batch_size: int = 64,
    device: torch.device | str | None = None,
    pool: Pooling | None = "average",
) -> dict[str, np.ndarray]:
    """Return what layers of a network give for images.

    The network runs in evaluation mode, without gradients and in full float32; afterwards it is in the mode
    and on the device in which it was.

    Args:
        model: Any network.
        images: As the network takes them (floats, scaled and normalised), shape (n, channels, height, width):
            one array of numpy or torch, or an iterable of batches such as a DataLoader; of a batch that is a
            tuple or list, the first member.
        layers: Names as in ``model.named_modules()``, or glob patterns: ``layer*`` within one part of a
            dotted name, ``layer1.**`` for anything inside. A module that is called several times is named
            with the call: ``relu@2``. None reads the top-level modules.
        batch_size: Most images at a time; halved where memory does not suffice.
        device: Where the network runs; None leaves it where it is.
        pool: From activations to features (n, n_features), float32: ``average`` over positions or tokens,
            ``flatten``, and for tokens ``cls``, ``patch_average`` or ``cls_and_patch_average``. None returns
            the activations as they are.

    Returns:
        By layer, in the order in which the network reaches them.

    Raises:
        UserError: If a layer is unknown (with close matches), cannot be pooled so, gives NaN or infinity, or
            is skipped or of another width for later images; or if the network does not take the images.

    Example:
        >>> network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(10))
        >>> features = extract(network, torch.zeros(5, 3, 16, 16), ["1", "3"])
        >>> {layer: values.shape for layer, values in features.items()}
        {'1': (5, 8), '3': (5, 10)}
    """
    if pool is not None and pool not in POOLINGS:
        raise UserError(f"unknown pooling {pool!r}; known: {', '.join(POOLINGS)}, or None")
    batch_size = require_whole(batch_size, "batch_size", least=1)
    patterns = to_patterns(layers)
    require_network(model, "model")
    with placed(model, device) as where, evaluating(model), steady(None):
        found = read_batches(
            iterate_batches(model, images),
            lambda batch: batch.to(where),
            lambda image: make_reader(model, patterns, image),
            pooling=pool,
            reading=Reading(batch_size, device=str(where)),
        )
    if not found:
        raise UserError("there are no images to show")
    return {layer: (x.float() if x.dtype == torch.bfloat16 else x).numpy() for layer, x in found.items()}


def to_patterns(layers: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return names or patterns of layers; None means the top-level modules.

    Raises:
        UserError: If it is not text, or a sequence of text.
    """
    if layers is None:
        return _TOP_LEVEL
    patterns = (layers,) if isinstance(layers, str) or not isinstance(layers, Iterable) else tuple(layers)
    for pattern in patterns:
        if not isinstance(pattern, str):
            raise UserError(f"layers are names or patterns as text, such as '0' or 'layer*', got {pattern!r}")
    return patterns


def require_network(model: object, what: str) -> None:
    """Refuse what is no network.

    Raises:
        UserError: The message names its type.
    """
    if not isinstance(model, nn.Module):
        raise UserError(f"{what} must be a torch.nn.Module, got {type(model).__name__}")


def make_reader(model: nn.Module, patterns: Sequence[str], image: Tensor) -> LayerReader:
    """Return what reads the layers of a network, given one image with a batch axis.

    Raises:
        UserError: If a layer is unknown, or the network does not take the image.
    """
    with taking(image):
        return LayerReader(model, patterns, example=image)


@contextmanager
def taking(images: Tensor) -> Iterator[None]:
    """Name the shape of images that a network does not take.

    Raises:
        UserError: In place of any error of torch but that of memory.
    """
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        cause = " ".join(str(error).split())[:200]
        raise UserError(
            f"the network does not take images of shape {tuple(images.shape)}: {cause}"
        ) from error


def iterate_batches(model: nn.Module, images: Array | Iterable[Any]) -> Iterator[Tensor]:
    """Yield batches of images, checked; an array is one batch.

    Raises:
        UserError: If there are no batches, or one is of integers, or of no images where the network has
            convolutions.
    """
    has_maps = any(isinstance(part, nn.Conv2d) for part in model.modules())
    is_array = isinstance(images, Tensor) or hasattr(images, "__array__")
    if not is_array and not isinstance(images, Iterable):
        raise UserError(f"images must be an array, or an iterable of batches, got {type(images).__name__}")
    for number, batch in enumerate([images] if is_array else images):
        what = "the array of images" if is_array else f"batch {number}"
        tensor = to_tensor(batch[0] if isinstance(batch, tuple | list) else batch, what)
        if not tensor.is_floating_point():
            raise UserError(f"{what} has type {tensor.dtype}; give floats, scaled as the network takes them")
        if has_maps and tensor.ndim != 4:
            raise UserError(
                f"{what} has shape {tuple(tensor.shape)}; give (n_images, channels, height, width)"
            )
        yield tensor


@contextmanager
def placed(model: nn.Module, device: torch.device | str | None) -> Iterator[torch.device]:
    """Move a network to a device and back; give where its input goes."""
    places = {tensor.device for tensor in [*model.parameters(), *model.buffers()]}
    before = next(iter(places), torch.device("cpu"))
    place = before if device is None else require_device(device)
    if place == before:
        yield before
        return
    if len(places) > 1:
        raise UserError(f"the network is on {len(places)} devices; leave device out")
    model.to(place)
    try:
        yield place
    finally:
        model.to(before)
