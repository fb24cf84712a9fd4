"""Networks that stitches are made of: those trained here, and those of ``features.models``."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from rep_kedro.datasets.plan import Json, canonical_json
from rep_kedro.errors import UserError
from rep_kedro.models.sources.specs import CheckpointModel, ZooEntry

if TYPE_CHECKING:
    from torch import nn

    from rep_kedro.models.network import LayeredNetwork
    from rep_kedro.models.preprocessing import Preprocessing

Shape = tuple[int, ...]


class Outline(NamedTuple):
    """What is known of a network's layers without its weights.

    Attributes:
        layers: Names, in depth order.
        cut_points: Those that no connection jumps over.
        kept: Those whose features are kept.
        n_classes: Width of its output.
    """

    layers: tuple[str, ...]
    cut_points: tuple[str, ...]
    kept: tuple[str, ...]
    n_classes: int


class Donor(ABC):
    """A network that gives its beginning or its end to stitches; it is not changed.

    Attributes:
        name: Of the network.
        stimulus_set: What it was trained on.
    """

    name: str
    stimulus_set: str
    modules: tuple[str, ...] = ()
    """Modules whose code counts for what it computes."""

    @property
    @abstractmethod
    def reference(self) -> dict[str, Json]:
        """What the recipe of a stitch holds of it."""

    @property
    @abstractmethod
    def outline(self) -> Outline:
        """Its layers."""

    @abstractmethod
    def shape(self, layer: str) -> Shape:
        """Return the shape of a layer's output for one image, channels first in maps, last in tokens."""

    @abstractmethod
    def load(self, *, seed: int | None = None) -> "tuple[nn.Module, Preprocessing]":
        """Return the network in evaluation mode, and how images are preprocessed for it.

        Args:
            seed: Draw the weights again from this seed; None for its own weights.
        """


class OwnDonor(Donor):
    """A network of this project's architectures: trained here, or a file of weights.

    Args:
        handle: Of the network, or of the file in the guise of one.
        stimulus_set: What it was trained on.
    """

    modules = ("rep_kedro.models.sources.trained",)

    def __init__(self, name: str, handle: Any, stimulus_set: str) -> None:
        self.name, self.handle, self.stimulus_set = name, handle, stimulus_set

    @property
    def reference(self) -> dict[str, Json]:
        """Key and digest of the network."""
        return dict(self.handle.reference)

    @property
    def outline(self) -> Outline:
        """Its layers, from its definition."""
        return _outline_definition(*self._definition)[0]

    def shape(self, layer: str) -> Shape:
        """Return the shape of a layer's output for one image."""
        return _outline_definition(*self._definition)[1][layer]

    def load(self, *, seed: int | None = None) -> "tuple[nn.Module, Preprocessing]":
        """Return the network and its preprocessing."""
        from rep_kedro.models.network import build_network
        from rep_kedro.models.sources.trained import definition_of, preprocessing_of, restore_trained_network

        if seed is None:
            return restore_trained_network(self.handle), preprocessing_of(self.handle)
        drawn = build_network(definition_of(self.handle), n_classes=self.handle.meta["n_classes"], seed=seed)
        return drawn.eval(), preprocessing_of(self.handle)

    @cached_property
    def _definition(self) -> tuple[str, int]:
        return canonical_json(self.handle.meta["definition"]), self.handle.meta["n_classes"]


@lru_cache(maxsize=256)
def _outline_definition(definition: str, n_classes: int) -> tuple[Outline, Mapping[str, Shape]]:
    import torch

    from rep_kedro.models.architecture import Architecture
    from rep_kedro.models.network import build_network

    with torch.device("meta"):  # no weight is drawn
        network = cast(
            "LayeredNetwork",
            build_network(Architecture.model_validate_json(definition), n_classes=n_classes, seed=0),
        )
    outline = Outline(network.layer_names, network.cut_points, network.kept_layers, n_classes)
    return outline, network.shapes


class ForeignDonor(Donor):
    """A network of another source that torch.fx can follow: timm, torchvision, own code and others.

    Args:
        entry: Of ``features.models``; its ``trained_on`` names the stimulus set.
    """

    def __init__(self, name: str, entry: ZooEntry) -> None:
        from rep_kedro.models.sources.zoo import source_module_name

        self.name, self.entry, self.stimulus_set = name, entry, str(entry.trained_on)
        self.modules = ("rep_kedro.models.cutting", source_module_name(entry))

    @cached_property
    def reference(self) -> dict[str, Json]:
        """Name and digest of what its outputs depend on."""
        from rep_kedro.models.sources.zoo import describe_model

        content = json.dumps(describe_model(self.entry), sort_keys=True)
        return {"key": self.name, "digest": hashlib.sha256(content.encode()).hexdigest()}

    @cached_property
    def outline(self) -> Outline:
        """Its layers, from a network without numbers."""
        import torch

        from rep_kedro.models.cutting import CutNetwork

        with torch.no_grad():
            output = self._sketch.module(self._sketch.image)
        if getattr(output, "ndim", 0) != 2:
            raise UserError(f"its output is not one number per class: {_described(output)}")
        cut = CutNetwork(self._sketch.module)
        there = set(self._sketch.reader.survey.layers)
        layers, points = (tuple(x for x in names if x in there) for names in (cut.layers, cut.cut_points))
        return Outline(layers, points, self._sketch.reader.layers, int(output.shape[1]))

    def shape(self, layer: str) -> Shape:
        """Return the shape of a layer's output for one image, channels first in maps, last in tokens."""
        from rep_kedro.models.layers import LayerReader

        reader = LayerReader(
            self._sketch.module, [layer], example=self._sketch.image, layout=self.entry.layout
        )
        form = reader.find_forms("average")[layer]
        found = next(call.shape for call in reader.survey.calls if call.layer == layer) or ()
        axes = [axis for axis in range(len(found)) if axis not in {form.stimulus_axis, form.channel_axis}]
        order = [form.channel_axis, *axes] if form.kind == "map" else [*axes, form.channel_axis]
        return tuple(found[axis] for axis in order)

    def load(self, *, seed: int | None = None) -> "tuple[nn.Module, Preprocessing]":
        """Return the network and its preprocessing."""
        from rep_kedro.models.sources.loaded import drawn_from
        from rep_kedro.models.sources.zoo import build_model, resolve_preprocessing

        if seed is None:
            return build_model(self.entry), resolve_preprocessing(self.entry)
        with drawn_from(seed):
            return build_model(self.entry, with_weights=False), resolve_preprocessing(self.entry)

    @cached_property
    def _sketch(self) -> Any:
        from rep_kedro.models.outline import outline_network

        return outline_network(self.entry)


def file_donor(name: str, entry: CheckpointModel) -> OwnDonor:
    """Return the donor of a file of weights for one of this project's architectures."""
    from rep_kedro.models.sources.checkpoint import CheckpointHandle

    return OwnDonor(name, CheckpointHandle(name, entry), str(entry.trained_on))


def _described(output: object) -> str:
    shape = getattr(output, "shape", None)
    return type(output).__name__ if shape is None else f"shape {tuple(shape)} for one image"
