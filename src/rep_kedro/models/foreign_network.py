"""Networks of libraries and of code of the user as training needs them: built with classes and a seed."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from rep_kedro.errors import UserError, contained
from rep_kedro.models.foreign import ForeignDefinition
from rep_kedro.models.network import Network
from rep_kedro.models.sources.loaded import drawn_from

if TYPE_CHECKING:
    from rep_kedro.models.outline import Outline

_SOME_CLASSES = 1009  # a prime number, which is the width of nothing but the head
_SHOWN_CHARS = 200


class ForeignNetwork(Network):
    """A module of others under its own names: its parts, weights and state dict are those of the module.

    Attributes:
        plain: The module itself.
    """

    architecture: ForeignDefinition
    plain: nn.Module

    def __init__(self, module: nn.Module, definition: ForeignDefinition, n_classes: int | None) -> None:
        super().__init__()
        object.__setattr__(self, "plain", module)  # no part of this one, which would prefix all names
        self._modules, self._parameters, self._buffers = (
            module._modules,
            module._parameters,
            module._buffers,
        )
        self.architecture = definition
        self.n_classes = n_classes

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (n, n_classes) of images (n, c, h, w), or without a head what it would read."""
        output = self.plain(x)
        if not isinstance(output, Tensor) or output.ndim < 2:
            found = f"a tensor of {output.ndim} axes" if isinstance(output, Tensor) else type(output).__name__
            raise UserError(f"{title_of(self.architecture)} gives {found}, not one row of numbers per image")
        return output if output.ndim == 2 else output.flatten(1)

    def train(self, mode: bool = True) -> "ForeignNetwork":
        """Set training or evaluation mode, as the module itself does it."""
        self.training = mode
        self.plain.train(mode)
        return self


def build_foreign_network(definition: ForeignDefinition, n_classes: int | None, seed: int) -> ForeignNetwork:
    """Return a network with drawn weights, in training mode; the global random state stays as it was.

    Args:
        definition: What to call.
        n_classes: Width of the head; None puts the identity in its place.
        seed: Of the weights.

    Raises:
        UserError: If there is no such network, it does not take its arguments or one of its images, or has no
            head that can be left out.
    """
    with _explained(definition):
        module = _build(definition, _SOME_CLASSES if n_classes is None else n_classes, seed)
        if n_classes is None:
            _leave_out_head(module, title_of(definition))
        network = ForeignNetwork(module, definition, n_classes)
        network.output_width = _width_of(network, seed)
    if n_classes is not None and network.output_width != n_classes:
        raise UserError(f"{title_of(definition)} gives {network.output_width} logits for {n_classes} classes")
    network.train()
    return network


def list_reached_layers(definition: ForeignDefinition) -> tuple[str, ...]:
    """Return the layers that one image reaches, in order; checks that those to keep are among them.

    Raises:
        UserError: If the network cannot be built or run on one image, or lacks a layer to keep.
    """
    return tuple(sketch_network(definition).reader.survey.layers)


def sketch_network(definition: ForeignDefinition, n_classes: int = _SOME_CLASSES) -> "Outline":
    """Return the outline of a network, without numbers where its constructor allows that.

    Raises:
        UserError: If the network cannot be built or run on one image, or lacks a layer to keep.
    """
    if definition.library != "python":
        with suppress(Exception):  # a constructor that computes with numbers, or a mistake
            return _sketch_network(definition, n_classes, "meta")
    return _sketch_network(definition, n_classes, "cpu")


def _sketch_network(definition: ForeignDefinition, n_classes: int, device: str) -> "Outline":
    from rep_kedro.models.layers import LayerReader
    from rep_kedro.models.outline import Outline, Undrawn, naming_layer
    from rep_kedro.models.preprocessing import Preprocessing

    title = title_of(definition)
    with _explained(definition), Undrawn(), torch.device(device), torch.no_grad():
        module = _build(definition, n_classes, seed=0)
        image = _image_of(definition)
        with naming_layer(module, title, image):
            reader = LayerReader(module, definition.keep, example=image)
        ForeignNetwork(module, definition, n_classes)(image)
        return Outline(module, Preprocessing.of_definition(definition), reader, image)


def title_of(definition: ForeignDefinition) -> str:
    """Return what messages call the network."""
    return f"{definition.name} of {definition.library}"


def _build(definition: ForeignDefinition, n_classes: int, seed: int) -> nn.Module:
    size_px, arguments = definition.input.size_px, definition.arguments
    if definition.library == "timm":
        from rep_kedro.models.sources import timm

        return timm.draw(
            definition.name,
            seed=seed,
            n_classes=n_classes,
            n_channels=definition.input.channels,
            size_px=size_px,
            arguments=arguments,
        )
    if definition.library == "torchvision":
        from rep_kedro.models.sources import torchvision

        return torchvision.draw(
            definition.name,
            seed=seed,
            n_classes=n_classes,
            size_px=size_px,
            arguments={**torchvision.without_side_heads(definition.name), **arguments},
        )
    from rep_kedro.models.sources import python

    return python.build(_entry_of(definition, n_classes, seed), with_weights=False)


def _entry_of(definition: ForeignDefinition, n_classes: int, seed: int) -> Any:
    from rep_kedro.models.sources.code_specs import PythonModel

    place = (
        {"module": definition.name}
        if definition.file is None
        else {"file": definition.file, "class": definition.name}
    )
    spec = definition.input
    return PythonModel.model_validate(
        {
            **place,
            "source": "python",
            "arguments": {**definition.arguments, str(definition.classes_argument): n_classes},
            "layers": definition.keep,
            "preprocessing": {"size_px": spec.size_px, "mean": spec.mean, "std": spec.std},
            "seed": seed,
        }
    )


def _leave_out_head(module: nn.Module, title: str) -> None:
    """Put the identity in the place of the one layer that is as wide as there are classes."""
    heads = [
        name
        for name, part in module.named_modules()
        if _SOME_CLASSES in (getattr(part, "out_features", None), getattr(part, "out_channels", None))
    ]
    if len(heads) != 1:
        raise UserError(
            f"{title} has {len(heads)} layers as wide as there are classes; an objective without a head needs"
            " exactly one, to leave it out"
        )
    parent, _, last = heads[0].rpartition(".")
    setattr(module.get_submodule(parent), last, nn.Identity())


def _width_of(network: ForeignNetwork, seed: int) -> int:
    """Return the width of the output, by running one black image in evaluation mode."""
    network.eval()
    with torch.no_grad(), drawn_from(seed):
        return int(network(_image_of(network.architecture)).shape[1])


def _image_of(definition: ForeignDefinition) -> Tensor:
    spec = definition.input
    return torch.zeros(1, spec.channels, spec.size_px, spec.size_px)


@contextmanager
def _explained(definition: ForeignDefinition) -> Iterator[None]:
    """Say in one line what a constructor or forward of others raises."""
    try:
        with contained():
            yield
    except UserError:
        raise
    except Exception as problem:  # the library's own code, or the user's
        cause = " ".join(str(problem).split())[:_SHOWN_CHARS]
        raise UserError(
            f"{title_of(definition)} cannot be built: {type(problem).__name__}: {cause}"
        ) from problem
