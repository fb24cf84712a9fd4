"""Networks that stitches are made of: those trained here, and those of ``features.models``."""

import hashlib
import json
from abc import ABC, abstractmethod
from functools import cached_property
from typing import TYPE_CHECKING, Any

from rep_kedro.analyses.stitching.outlines import (
    Outline,
    Shape,
    TracedOutline,
    outline_layers,
    trace_definition,
)
from rep_kedro.datasets.plan import Json, canonical_json
from rep_kedro.models.sources.specs import CheckpointModel, ZooEntry

if TYPE_CHECKING:
    from torch import nn

    from rep_kedro.models.pooling_names import Layout
    from rep_kedro.models.preprocessing import Preprocessing


class Donor(ABC):
    """A network that gives its beginning or its end to stitches; it is not changed.

    Attributes:
        name: Of the network.
        stimulus_set: What it was trained on.
        labels: Label column that it predicts; None for the set's own label.
    """

    name: str
    stimulus_set: str
    labels: str | None = None
    layout: "Layout" = "auto"
    """Of its activations, if it is not to be found out."""
    is_traced: bool = False
    """Whether torch.fx cuts it, so that both parts in sequence have to be compared with the whole."""

    @property
    @abstractmethod
    def modules(self) -> tuple[str, ...]:
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
    """A network of layers as data: trained here, or a file of weights.

    Args:
        handle: Of the network, or of the file in the guise of one.
        stimulus_set: What it was trained on.
        labels: Label column that it predicts; None for the set's own label.
    """

    def __init__(self, name: str, handle: Any, stimulus_set: str, labels: str | None = None) -> None:
        self.name, self.handle, self.stimulus_set, self.labels = name, handle, stimulus_set, labels

    @property
    def modules(self) -> tuple[str, ...]:
        """Modules whose code counts for what it computes."""
        return ("rep_kedro.models.trained",)

    @property
    def reference(self) -> dict[str, Json]:
        """Key and digest of the network."""
        return dict(self.handle.reference)

    @property
    def outline(self) -> Outline:
        """Its layers, from its definition."""
        return outline_layers(*self._definition)[0]

    def shape(self, layer: str) -> Shape:
        """Return the shape of a layer's output for one image."""
        return outline_layers(*self._definition)[1][layer]

    def load(self, *, seed: int | None = None) -> "tuple[nn.Module, Preprocessing]":
        """Return the network and its preprocessing."""
        from rep_kedro.models.building import build_network, plain_module
        from rep_kedro.models.trained import definition_of, preprocessing_of, restore_trained_network

        if seed is None:
            return restore_trained_network(self.handle), preprocessing_of(self.handle)
        drawn = build_network(definition_of(self.handle), n_classes=self.handle.meta["n_classes"], seed=seed)
        return plain_module(drawn.eval()), preprocessing_of(self.handle)

    @cached_property
    def _definition(self) -> tuple[str, int]:
        return canonical_json(self.handle.meta["definition"]), self.handle.meta["n_classes"]


class LibraryDonor(OwnDonor):
    """A network trained here whose architecture is that of a library or code of the user."""

    is_traced = True

    @property
    def modules(self) -> tuple[str, ...]:
        """Modules whose code counts for what it computes."""
        builder = f"rep_kedro.models.sources.{self.handle.meta['definition']['library']}"
        return (*super().modules, "rep_kedro.models.cutting", "rep_kedro.models.foreign_network", builder)

    @property
    def outline(self) -> Outline:
        """Its layers, from a network without numbers."""
        return trace_definition(*self._definition).outline

    def shape(self, layer: str) -> Shape:
        """Return the shape of a layer's output for one image, channels first in maps, last in tokens."""
        return trace_definition(*self._definition).shape(layer)

    @cached_property
    def _definition(self) -> tuple[str, int]:
        from rep_kedro.models.trained import definition_of

        return definition_of(self.handle).model_dump_json(), self.handle.meta["n_classes"]


class ForeignDonor(Donor):
    """A network of another source that torch.fx can follow: timm, torchvision, own code and others.

    Args:
        entry: Of ``features.models``; its ``trained_on`` names the stimulus set.
    """

    is_traced = True

    def __init__(self, name: str, entry: ZooEntry) -> None:
        self.name, self.entry, self.stimulus_set = name, entry, str(entry.trained_on)
        self.layout = entry.layout

    @property
    def modules(self) -> tuple[str, ...]:
        """Modules whose code counts for what it computes."""
        from rep_kedro.models.sources.zoo import source_module_name

        return "rep_kedro.models.cutting", source_module_name(self.entry)

    @cached_property
    def reference(self) -> dict[str, Json]:
        """Name and digest of what its outputs depend on."""
        from rep_kedro.models.sources.zoo import describe_model

        content = json.dumps(describe_model(self.entry), sort_keys=True)
        return {"key": self.name, "digest": hashlib.sha256(content.encode()).hexdigest()}

    @property
    def outline(self) -> Outline:
        """Its layers, from a network without numbers."""
        return self._traced.outline

    def shape(self, layer: str) -> Shape:
        """Return the shape of a layer's output for one image, channels first in maps, last in tokens."""
        return self._traced.shape(layer)

    def load(self, *, seed: int | None = None) -> "tuple[nn.Module, Preprocessing]":
        """Return the network and its preprocessing."""
        from rep_kedro.models.sources.loaded import drawn_from
        from rep_kedro.models.sources.zoo import build_model, resolve_preprocessing

        if seed is None:
            return build_model(self.entry), resolve_preprocessing(self.entry)
        with drawn_from(seed):
            return build_model(self.entry, with_weights=False), resolve_preprocessing(self.entry)

    @cached_property
    def _traced(self) -> TracedOutline:
        from rep_kedro.models.outline import outline_network

        return TracedOutline(outline_network(self.entry), self.layout)


def trained_donor(name: str, handle: Any, stimulus_set: str, labels: str | None = None) -> OwnDonor:
    """Return the donor of a network that is trained here."""
    kind = LibraryDonor if "library" in handle.meta["definition"] else OwnDonor
    return kind(name, handle, stimulus_set, labels)


def file_donor(name: str, entry: CheckpointModel) -> OwnDonor:
    """Return the donor of a file of weights for one of this project's architectures."""
    from rep_kedro.models.sources.checkpoint import CheckpointHandle

    return OwnDonor(name, CheckpointHandle(name, entry), str(entry.trained_on))
