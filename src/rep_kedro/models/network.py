"""What training needs of a network, and this project's own, which stop at, and go on from, any layer."""

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor, nn

from rep_kedro.errors import UserError, suggest
from rep_kedro.models.architecture import INPUT, Architecture, DefinedNetwork, Layer
from rep_kedro.models.architecture_files import load_architecture
from rep_kedro.models.initialisation import draw_weights
from rep_kedro.models.modules import make_module
from rep_kedro.models.shapes import follow_shapes


class Network(nn.Module):
    """What training needs of a network; called with images (n, c, h, w), it gives (n, output_width) numbers.

    Attributes:
        architecture: The definition it was built from.
        n_classes: Width of the head; None for a network without one.
        output_width: Numbers that it gives for one image.
    """

    architecture: DefinedNetwork
    n_classes: int | None
    output_width: int


class LayeredNetwork(Network):
    """A network whose layers are named, ordered by depth, and can be run in part.

    Attributes:
        architecture: The definition it was built from.
        layer_names: In depth order.
        shapes: Output shape of each layer for one image, without the batch axis.
        representation: The layer that the head reads; the last layer where there is no head.
    """

    architecture: Architecture

    def __init__(self, architecture: Architecture, n_classes: int | None, generator: torch.Generator) -> None:
        super().__init__()
        self.architecture = architecture
        self.n_classes = n_classes
        self._layers: dict[str, Layer] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        for step in follow_shapes(architecture, n_classes):
            module = make_module(step.layer, step.input_shapes[0], n_classes)
            draw_weights(module, generator, architecture.init)
            self._attach(step.layer.name, module)
            self._layers[step.layer.name] = step.layer
            self.shapes[step.layer.name] = step.output_shape
        self.output_width = prod(self.shapes[self.layer_names[-1]])
        self.train()

    @property
    def layer_names(self) -> tuple[str, ...]:
        """Names of all layers, in depth order."""
        return tuple(self._layers)

    @property
    def kept_layers(self) -> tuple[str, ...]:
        """Layers whose features the architecture asks to keep, in depth order."""
        return tuple(name for name in self.architecture.keep if name in self._layers)

    @property
    def cut_points(self) -> tuple[str, ...]:
        """Layers that no connection jumps over: what follows depends on their output alone."""
        names = self.layer_names
        return tuple(name for i, name in enumerate(names[:-1]) if not self._crossing(i))

    def layer(self, name: str) -> Layer:
        """Return the definition of one layer.

        Raises:
            ValueError: If there is no such layer.
        """
        return self._layers[self.layer_names[self._index(name)]]

    def forward(self, x: Tensor) -> Tensor:
        """Return the last layer's output for images of shape (n, c, h, w)."""
        return self.run(x)

    def run(self, x: Tensor, start_after: str | None = None, stop_at: str | None = None) -> Tensor:
        """Run some of the layers.

        Args:
            x: Images, or the output of layer `start_after`, in either case with a batch axis.
            start_after: A cut point; `x` is taken for its output and the layers behind it are run.
            stop_at: The last layer to run; all the way through if None.

        Returns:
            The output of `stop_at`.

        Raises:
            ValueError: If a layer is unknown, `start_after` is not a cut point, or `stop_at` comes before it.
        """
        names = self.layer_names
        first = 0 if start_after is None else self._index(start_after) + 1
        last = len(names) - 1 if stop_at is None else self._index(stop_at)
        if start_after is not None and start_after == stop_at:
            return x
        if last < first:
            raise ValueError(f"layer {stop_at!r} does not come after {start_after!r}")
        if start_after is not None and (crossing := self._crossing(first - 1)):
            raise UserError(
                f"cannot continue from layer {start_after!r}: {crossing[0]!r} also reads an earlier layer;"
                f" cut points: {', '.join(self.cut_points)}"
            )
        return self._run_range(names[first : last + 1], {start_after or INPUT: x})

    def _run_range(self, names: Sequence[str], outputs: dict[str, Tensor]) -> Tensor:
        last_reader = {source: name for name in names for source in self._layers[name].inputs}
        for name in names:
            sources = self._layers[name].inputs
            outputs[name] = self.get_submodule(name)(*(outputs[source] for source in sources))
            for source in set(sources):
                if last_reader[source] == name:
                    del outputs[source]
        return outputs[names[-1]]

    def _index(self, name: str) -> int:
        if name not in self._layers:
            raise UserError(f"unknown layer {name!r}; {suggest(name, self.layer_names)}")
        return self.layer_names.index(name)

    def _crossing(self, index: int) -> list[str]:
        """Return the layers behind `index` that read something before it."""
        names = self.layer_names
        before = {INPUT, *names[:index]}
        return [name for name in names[index + 1 :] if before & set(self._layers[name].inputs)]

    def _attach(self, name: str, module: nn.Module) -> None:
        """Register under the dotted name, so that the state dict has the usual keys."""
        *path, last = name.split(".")
        parent: nn.Module = self
        for part in path:
            if part not in dict(parent.named_children()):
                _add_module(parent, part, nn.Module(), name)
            parent = parent.get_submodule(part)
        _add_module(parent, last, module, name)


def _add_module(parent: nn.Module, part: str, module: nn.Module, name: str) -> None:
    if hasattr(type(parent), part) or part in vars(parent):
        raise UserError(f"layer name {name!r}: {part!r} is reserved in networks; choose another name")
    parent.add_module(part, module)


def build_layered_network(
    architecture: Architecture | str, *, n_classes: int | None, seed: int
) -> LayeredNetwork:
    """Return a network of layers as data, with freshly drawn weights, as `building.build_network` does.

    Raises:
        ValueError: Also if the name is that of a network of a library or of own code.
    """
    definition = load_architecture(architecture) if isinstance(architecture, str) else architecture
    with torch.no_grad():
        return LayeredNetwork(definition, n_classes, torch.Generator().manual_seed(seed))


def scale_images_in_unit_range(images: Tensor, architecture: DefinedNetwork) -> Tensor:
    """Return float images (n, c, h, w), in [0, 1], as the input that the architecture asks for."""
    mean, std = (
        torch.tensor(values, device=images.device).view(-1, 1, 1)
        for values in (architecture.input.mean, architecture.input.std)
    )
    return (images - mean) / std
