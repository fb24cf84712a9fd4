"""Networks of a group of joints, loaded once: their activations batch by batch, and what follows a layer."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from math import prod
from typing import Any, NamedTuple
from zlib import crc32

import torch
from torch import Tensor, nn

from rep_kedro.analyses.stitching.donors import Donor
from rep_kedro.analyses.stitching.joints import JoinedPair
from rep_kedro.analyses.stitching.layers import LayerPair
from rep_kedro.analyses.stitching.params import StitchingParams
from rep_kedro.analyses.stitching.splits import Split
from rep_kedro.features.images import make_pixels
from rep_kedro.kernels.stitching.activations import match_positions, to_positions
from rep_kedro.models.activation_form import Form
from rep_kedro.models.cutting import CutNetwork, require_equal_outputs
from rep_kedro.models.layers import LayerReader
from rep_kedro.models.network import LayeredNetwork

Tail = Callable[[Tensor], Tensor]
_OWN_FORM = Form("map")
_BATCH_BYTES, _FLOAT_BYTES = 100_000_000, 4


class Side(NamedTuple):
    """One layer of one network as a joint reads it.

    Attributes:
        network: Key of the network in a group; with `@untrained` its weights are drawn again.
        layer: Name of the layer.
        is_noise: Whether its activations are replaced by noise.
    """

    network: str
    layer: str
    is_noise: bool = False


def front_of(pair: JoinedPair, layers: LayerPair) -> Side:
    """Return the side of a joint that begins."""
    untrained = "@untrained" if pair.control == "untrained" else ""
    return Side(pair.front.name + untrained, layers.front, pair.control == "noise")


def end_of(pair: JoinedPair, layers: LayerPair) -> Side:
    """Return the side of a joint that goes on."""
    return Side(pair.end.name, layers.end)


class LoadedNetwork:
    """One network of a group, on its device, in evaluation mode; nothing in it asks for gradients.

    Attributes:
        module: The network.
        preprocessing: From pixels to its input.
        layers: Those that joints read, in depth order.
    """

    def __init__(
        self, donor: Donor, layers: Sequence[str], params: StitchingParams, *, is_drawn: bool
    ) -> None:
        seed = (
            crc32(f"{donor.name}/{params.seed}".encode()) if is_drawn else None
        )  # other fronts, other draws
        module, self.preprocessing = donor.load(seed=seed)
        self.module: nn.Module = module.to(params.device).requires_grad_(False)
        self._donor, self._asked = donor, tuple(dict.fromkeys(layers))
        self._reader: LayerReader | None = None
        self._tails: dict[str, Tail] = {}

    @property
    def layers(self) -> tuple[str, ...]:
        """Those that joints read, in depth order; known after the first batch."""
        return self._asked if self._reader is None else self._reader.layers

    @cached_property
    def cut(self) -> CutNetwork:
        """The network, to be cut anywhere."""
        return CutNetwork(self.module)

    def read(self, images: Tensor) -> dict[str, Tensor]:
        """Return the activations of its layers: channels first in maps, last in tokens."""
        if self._reader is None:
            layout = self._donor.layout
            self._reader = LayerReader(self.module, self._asked, example=images[:1], layout=layout)
            if self._donor.is_traced:
                for layer in self._cut_layers():
                    require_equal_outputs(self.cut, self.module, layer, images[:1])
        return {layer: _canonical(x, self._form(layer)) for layer, x in self._reader.read(images).items()}

    def logits(self, images: Tensor, activations: Mapping[str, Tensor]) -> Tensor:
        """Return its output, continued from the last of the layers that were read where that is possible."""
        points = self._cut_layers()
        if not points or points[-1] != self.layers[-1]:
            output: Tensor = self.module(images)
            return output
        return self.tail(points[-1])(activations[points[-1]])

    def tail(self, layer: str) -> Tail:
        """Return what follows a layer, from activations as `read` gives them to the output."""
        if layer not in self._tails:
            if isinstance(self.module, LayeredNetwork):
                self._tails[layer] = partial(self.module.run, start_after=layer)
            else:
                self._tails[layer] = self.adapted(layer, self.cut.tail(layer))
        return self._tails[layer]

    def adapted(self, layer: str, tail: Callable[[Tensor], Any]) -> Callable[[Tensor], Any]:
        """Return a function of activations as `read` gives them, for one of those that the network gives."""
        form = self._form(layer)
        if form == _OWN_FORM or form.kind == "vector":
            return tail
        return lambda activation: tail(_original(activation, form))

    def _cut_layers(self) -> list[str]:
        points = set(self._donor.outline.cut_points)
        return [layer for layer in self.layers if layer in points]

    def _form(self, layer: str) -> Form:
        if self._reader is None or not self._donor.is_traced:
            return _OWN_FORM
        return self._reader.find_forms("average")[layer]


def _canonical(activation: Tensor, form: Form) -> Tensor:
    if form == _OWN_FORM or form.kind == "vector":
        return activation
    if form.kind == "map":
        return activation.movedim(form.channel_axis, 1)
    return activation.movedim((form.stimulus_axis, form.channel_axis), (0, 2))


def _original(activation: Tensor, form: Form) -> Tensor:
    if form.kind == "map":
        return activation.movedim(1, form.channel_axis)
    return activation.movedim((0, 2), (form.stimulus_axis, form.channel_axis))


class Group:
    """The networks of some pairs.

    Attributes:
        networks: By key, see `Side`.
        batch_size: Images at a time: those of the parameters, or fewer where the activations of so many
            would take more than 100 MB.
    """

    def __init__(self, pairs: Sequence[JoinedPair], params: StitchingParams) -> None:
        self.params = params
        needed: dict[str, tuple[Donor, list[str]]] = {}
        for pair in pairs:
            for layers in pair.layers:
                for donor, side in ((pair.front, front_of(pair, layers)), (pair.end, end_of(pair, layers))):
                    needed.setdefault(side.network, (donor, []))[1].append(side.layer)
        self.networks = {
            key: LoadedNetwork(donor, layers, params, is_drawn=key != donor.name)
            for key, (donor, layers) in sorted(needed.items())
        }
        sizes = (donor.shape(layer) for donor, layers in needed.values() for layer in dict.fromkeys(layers))
        image_bytes = sum(_FLOAT_BYTES * prod(shape) for shape in sizes)
        self.batch_size = max(1, min(params.batch_size, _BATCH_BYTES // image_bytes))

    def read(self, split: Split) -> "Iterator[Batch]":
        """Yield the activations of all networks, batch by batch."""
        for start in range(0, len(split.labels), self.batch_size):
            encoded = split.images.slice(start, self.batch_size)
            names = split.names[start : start + len(encoded)]
            pixels: dict[str, Tensor] = {}
            activations, logits = dict[str, dict[str, Tensor]](), dict[str, Callable[[], Tensor]]()
            for key, network in self.networks.items():
                form = network.preprocessing
                same = form.model_dump_json(exclude={"mean", "std"}) + str(len(form.mean))
                if same not in pixels:
                    made = make_pixels(encoded.to_pylist(), form, names=names, limits=split.limits)
                    pixels[same] = torch.from_numpy(made).to(self.params.device)
                images = form.scale(pixels[same])
                activations[key] = network.read(images)
                logits[key] = partial(network.logits, images, activations[key])
            yield Batch(start, len(encoded), activations, logits, self.params.seed)


class Batch(NamedTuple):
    """Some images as all networks of a group see them.

    Attributes:
        start: Place of the first of them in the split.
        n_stimuli: How many they are.
        activations: By network and layer.
        logits: Functions that give a network's output.
        seed: Of noise.
    """

    start: int
    n_stimuli: int
    activations: Mapping[str, Mapping[str, Tensor]]
    logits: Mapping[str, Callable[[], Tensor]]
    seed: int

    def activation(self, side: Side) -> Tensor:
        """Return what a joint reads of a layer: its activations, or noise of their shape."""
        read = self.activations[side.network][side.layer]
        return read if not side.is_noise else self._noise(read, side)

    def matched(self, front: Side, end: Side, *, flatten: bool) -> Tensor:
        """Return the front's activations on the positions of the end."""
        read = self.activation(front)
        return read if flatten else match_positions(read, tuple(self.activation(end).shape[1:]))

    def positions(self, front: Side, end: Side, *, flatten: bool) -> Tensor:
        """Return the front's activations as samples, (n_stimuli, n_positions, n_channels)."""
        return to_positions(self.matched(front, end, flatten=flatten), flatten=flatten)

    def _noise(self, like: Tensor, side: Side) -> Tensor:
        """Draw each stimulus from its own seed: the same noise whatever the batches are."""
        drawn = []
        for row in range(self.n_stimuli):
            place = f"{side.network}/{side.layer}/{self.start + row}/{self.seed}"
            generator = torch.Generator().manual_seed(crc32(place.encode()))
            drawn.append(torch.randn(like.shape[1:], generator=generator))
        return torch.stack(drawn).to(like)
