"""The outline of a network from elsewhere: layers and shapes on torch's meta device, without weights.

What is wrong with an entry (an unknown network or layer, a pooling that the layer cannot give) is found here
in a fraction of a second, before anything is fetched or computed.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from rep_kedro.errors import UserError, contained
from rep_kedro.models.layers import LayerReader
from rep_kedro.models.pooling_names import Pooling
from rep_kedro.models.preprocessing import Preprocessing
from rep_kedro.models.sources.specs import MAY_NEED_NUMBERS, ZooEntry
from rep_kedro.models.sources.zoo import (
    build_model,
    require_fitting_weights,
    resolve_preprocessing,
    runner_of,
)

_SHOWN_CHARS = 200


@dataclass(frozen=True)
class Outline:
    """A network without numbers.

    Attributes:
        module: The network on the meta device, in evaluation mode; names and shapes of its weights are those
            of the real one.
        preprocessing: From pixels to its input.
        reader: Of the layers that the entry names.
        image: One stimulus without numbers, with a batch axis.
    """

    module: nn.Module
    preprocessing: Preprocessing
    reader: LayerReader
    image: Tensor


def outline_network(entry: ZooEntry) -> Outline:
    """Return the outline of a network; no weight is read or fetched.

    Raises:
        ValueError: If name, preprocessing or layers are unknown, or the library cannot build the network.
    """
    with _explained(entry):
        return _outline(entry)


def _outline(entry: ZooEntry) -> Outline:
    try:
        return _outline_on(entry, build_on_meta(entry), "meta")
    except _ForwardError:
        if entry.source not in MAY_NEED_NUMBERS:
            raise
        # code that computes with numbers of its own needs real ones
        return _outline_on(entry, build_model(entry, with_weights=False), "cpu")


def _outline_on(entry: ZooEntry, module: nn.Module, device: str) -> Outline:
    preprocessing = resolve_preprocessing(entry)
    n_channels, side = len(preprocessing.mean), preprocessing.size_px
    image = torch.zeros(1, n_channels, side, side, device=device)
    with Undrawn(), naming_layer(module, entry.title, image):
        reader = LayerReader(
            module,
            entry.layers or getattr(module, "kept_layers", ()),
            example=image,
            run=runner_of(module),
            layout=entry.layout,
            n_prefix_tokens=entry.n_prefix_tokens,
        )
    return Outline(module, preprocessing, reader, image)


class _ForwardError(UserError):
    """A network fails on one image."""


@contextmanager
def naming_layer(module: nn.Module, title: str, image: Tensor) -> Iterator[None]:
    """Say in which layer, and with which shape, a network fails on an image."""
    entered: list[tuple[str, str]] = []
    handles = []
    for name, part in module.named_modules():

        def enter(_: nn.Module, given: tuple[object, ...], name: str = name) -> None:
            shapes = [" x ".join(map(str, each.shape)) for each in given if isinstance(each, Tensor)]
            entered.append((name, ", ".join(shapes) or "no tensor"))

        handles.append(part.register_forward_pre_hook(enter))
        handles.append(part.register_forward_hook(lambda *_: entered.pop() and None))
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # the network's own code
        layer, shape = entered[-1] if entered else ("", " x ".join(map(str, image.shape)))
        where = f"layer {layer!r}" if layer else "its own forward"
        cause = " ".join(str(error).split())[:_SHOWN_CHARS]
        raise _ForwardError(
            f"{title!r} fails on one image in {where}, which receives {shape}:"
            f" {type(error).__name__}: {cause}"
        ) from error
    finally:
        for handle in handles:
            handle.remove()


def require_readable(entry: ZooEntry, pooling: Pooling) -> dict[str, int]:
    """Check that a network can be read by its entry.

    Returns:
        Number of features by layer, in depth order.

    Raises:
        ValueError: If the network or a layer is unknown, a layer cannot be pooled so, or a file of weights is
            here and not the network's.
    """
    outline = outline_network(entry)
    require_fitting_weights(entry, outline.module)
    return outline.reader.widths(pooling)


def build_on_meta(entry: ZooEntry) -> nn.Module:
    """Return the network with shapes in place of numbers."""
    with Undrawn():
        try:
            with torch.device("meta"):
                return build_model(entry, with_weights=False)
        except (NotImplementedError, UserError) as problem:
            # a constructor that computes with tensors, as RegNet's of torchvision, or code of a user
            if isinstance(problem, UserError) and entry.source not in MAY_NEED_NUMBERS:
                raise
            return build_model(entry, with_weights=False).to("meta")


@contextmanager
def _explained(entry: ZooEntry) -> Iterator[None]:
    """Say in one line that a library cannot build or run a network, whatever it raises."""
    try:
        with contained():
            yield
    except UserError:
        raise
    except Exception as error:  # the library's own code
        cause = " ".join(str(error).split())[:_SHOWN_CHARS]
        raise UserError(f"{entry.title!r} cannot be built: {type(error).__name__}: {cause}") from error


class Undrawn(TorchFunctionMode):
    """Do not draw weights, and go a short way from shape to shape: both take most of the time otherwise."""

    _DRAWING = frozenset(
        {
            *(
                nn.init.kaiming_uniform_,
                nn.init.kaiming_normal_,
                nn.init.xavier_uniform_,
                nn.init.trunc_normal_,
            ),
            *(Tensor.normal_, Tensor.uniform_, Tensor.erfinv_, Tensor.zero_, Tensor.fill_, Tensor.clamp_),
            *(Tensor.mul_, Tensor.add_, Tensor.div_, Tensor.sub_),
        }
    )

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        first = args[0] if args else None
        if func in self._DRAWING and isinstance(first, Tensor) and (first.is_meta or _is_weight(first)):
            return first
        if first is not None and getattr(first, "is_meta", False):
            shape = _shape_after(func, first, args[1:])
            if shape is not None:
                return first.new_empty(shape)
        return func(*args, **(kwargs or {}))


def _shape_after(func: Any, first: Tensor, others: tuple[Any, ...]) -> tuple[int, ...] | None:
    """Return the shape that a frequent step gives, or None where the step itself has to say."""
    shape = tuple(first.shape)
    if func in {functional.gelu, functional.silu}:
        return shape
    if func is functional.layer_norm and others and shape[-len(others[0]) :] == tuple(others[0]):
        return shape
    if func is functional.linear and others and shape[-1] == others[0].shape[-1]:
        return (*shape[:-1], others[0].shape[0])
    return None


def _is_weight(value: Tensor) -> bool:
    return isinstance(value, nn.Parameter)
