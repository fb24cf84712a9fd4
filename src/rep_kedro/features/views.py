"""Features of one network through selected rows and a transform, read lazily."""

import logging
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from rep_kedro.datasets import code_revision, rebuilt_by
from rep_kedro.errors import UserError
from rep_kedro.features.rows import Rows
from rep_kedro.features.spec import Transform, describe

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from rep_kedro.datasets import TensorsHandle
    from rep_kedro.features.chain import FittedStep

_log = logging.getLogger(__name__)
TRANSFORM_PREFIX = "transform"


@dataclass(frozen=True)
class FittedOn:
    """The rows that a transform is fitted on.

    Attributes:
        name: What they are, for the recipe.
        choose: Returns True for those rows, shape (n_stimuli,), of the rows that are seen.
    """

    name: str
    choose: "Callable[[], Tensor]"


@dataclass
class Reading:
    """Features while they are read: looks like a handle of features, and remembers what was fitted.

    Attributes:
        key: ``<stimulus set>/<model>``.
        meta: As that of stored features.
        read: Returns a layer's features, read-only where they are as stored, and the fitted steps by the
            network they belong to (empty: all).
        fitted: Steps by name of the layer and network, of the layers that were read.
    """

    key: str
    meta: Mapping[str, Any]
    read: "Callable[[str], tuple[np.ndarray[Any, Any], dict[str, list[FittedStep]]]]"
    fitted: "dict[str, list[FittedStep]]" = field(default_factory=dict)

    def tensor(self, name: str) -> "np.ndarray[Any, Any]":
        """Return a layer's features, shape (n_stimuli, n_features), float32.

        Raises:
            ValueError: If a number is NaN or infinite, or a row has no length.
        """
        features, fitted = self.read(name)
        for network, steps in fitted.items():
            self.fitted["/".join(filter(None, (name, TRANSFORM_PREFIX, network)))] = steps
        return features

    def pack_fitted(self) -> "dict[str, Tensor]":
        """Return what the transforms learned, as tensors to store (``chain.pack_steps``)."""
        from rep_kedro.features.chain import pack_steps

        return {
            name: value
            for prefix, steps in self.fitted.items()
            for name, value in pack_steps(prefix, steps).items()
        }


class FeatureSource(Protocol):
    """What pipelines ask of features before they read them: a view of one network, or of several as one."""

    @property
    def key(self) -> str:
        """``<stimulus set>/<model>``."""

    @property
    def meta(self) -> Mapping[str, Any]:
        """As that of stored features."""

    @property
    def reference(self) -> dict[str, Any]:
        """What is seen, for recipes."""

    @property
    def is_plain(self) -> bool:
        """Whether features are seen just as they are stored."""

    def open(self) -> Reading:
        """Return what reads; nothing is read yet."""


@dataclass(frozen=True)
class FeatureView:
    """Features of one network through chosen rows and a transform.

    Attributes:
        handle: Stored features.
        rows: Which rows are seen, in which order; None for all as stored.
        transform: What is done to them.
        fitted_on: Which of the seen rows the transform is fitted on; None for all.
        ids: Returns the stimulus ids of the stored rows, for messages; None where they are not known.
    """

    handle: "TensorsHandle"
    rows: Rows | None = None
    transform: Transform = ()
    fitted_on: FittedOn | None = None
    ids: Callable[[], list[str] | None] | None = None

    @property
    def key(self) -> str:
        """``<stimulus set>/<model>``."""
        return self.handle.key

    @property
    def is_plain(self) -> bool:
        """Whether features are seen just as they are stored."""
        return self.rows is None and not self.transform

    @property
    def meta(self) -> Mapping[str, Any]:
        """As stored, with the stimuli that are seen."""
        if self.rows is None:
            return self.handle.meta
        seen = {"n_stimuli": len(self.rows.indices), "stimulus_ids_sha256": self.rows.ids_sha256}
        return {**self.handle.meta, **seen}

    @property
    def reference(self) -> dict[str, Any]:
        """Key and digest of the features, and the view where there is one."""
        reference: dict[str, Any] = dict(self.handle.reference)
        if self.is_plain:
            return reference
        view: dict[str, Any] = {}
        if self.rows is not None:
            view["rows"] = self.rows.subset.reference
        if self.transform:
            view["transform"] = describe(self.transform)
            view["fitted_on"] = "all" if self.fitted_on is None else self.fitted_on.name
        return {**reference, "view": {**view, "code": code_revision("rep_kedro.features.views")}}

    def open(self) -> Reading:
        """Return what reads the features."""
        return Reading(self.key, self.meta, self._read)

    def _read(self, layer: str) -> "tuple[np.ndarray[Any, Any], dict[str, list[FittedStep]]]":
        stored = self.handle.tensor(layer)
        seen = stored if self.rows is None else stored[self.rows.indices]
        if not self.transform:
            return seen, {}
        from rep_kedro.features.chain import explain_fewer_components, fit_and_apply
        from rep_kedro.kernels.layers.feature_transform import ZeroLengthError

        x = share_memory(seen)
        require_finite(self.key, layer, x)
        fit_rows = None if self.fitted_on is None else self.fitted_on.choose()
        try:
            made, steps = fit_and_apply(x, self.transform, fit_rows=fit_rows)
        except ZeroLengthError as error:
            raise UserError(self._explain(layer, error.rows)) from error
        if fewer := explain_fewer_components(self.transform, steps):
            _log.info(
                "layer %s of %s has %s: its features vary in no more directions", layer, self.key, fewer
            )
        return made.numpy(), {"": steps}

    def _explain(self, layer: str, rows: list[int]) -> str:
        """Say which stimuli have no length."""
        places = rows if self.rows is None else self.rows.indices[rows].tolist()
        ids = self.ids() if self.ids is not None else None
        names = [f"row {place}" if ids is None else repr(ids[place]) for place in places]
        return (
            f"stimuli of length zero in layer {layer} of features {self.key}: {', '.join(names)}; "
            "remove unit_length from the transform, or leave out the network or these stimuli"
        )


def layer_of(source: FeatureSource, layer: str) -> str:
    """Return the name of a layer that the features have; ``final`` is the last.

    Raises:
        UserError: If there is no such layer.
    """
    name = str(source.meta["final_layer"]) if layer == "final" else layer
    if name not in source.meta["layers"]:
        raise UserError(f"{source.key} has no layer {name!r}; known: {', '.join(source.meta['layers'])}")
    return name


def share_memory(array: "np.ndarray[Any, Any]") -> "Tensor":
    """Return an array as a tensor without a copy; one of a read-only array must not be written to."""
    import torch

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)


def require_finite(key: str, layer: str, x: "Tensor") -> None:
    """Refuse features that are NaN or infinite.

    Raises:
        ValueError: With how many there are.
    """
    n_bad = int((~x.isfinite()).sum())
    if n_bad:
        raise UserError(
            f"features {key}, layer {layer}, contain {n_bad} values that are NaN or infinite; "
            f"rebuild them with {rebuilt_by('features', key)}"
        )
