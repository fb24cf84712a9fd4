"""Files of weights for this project's architectures."""

import hashlib
import json
from typing import Any

from torch import Tensor, nn

from rep_kedro.errors import UserError
from rep_kedro.models.architecture import Architecture
from rep_kedro.models.architecture_files import load_architecture
from rep_kedro.models.files import identify_file
from rep_kedro.models.network import LayeredNetwork, build_layered_network
from rep_kedro.models.preprocessing import Preprocessing
from rep_kedro.models.sources.fitting import load_file, require_fitting_file
from rep_kedro.models.sources.specs import CheckpointModel

_KIND = "checkpoint"


def definition_of(spec: CheckpointModel) -> Architecture:
    """Return the architecture, its input scaled as set in the entry."""
    definition = load_architecture(spec.architecture)
    change = {key: value for key in ("mean", "std") if (value := getattr(spec, key)) is not None}
    content = definition.as_json()
    return Architecture.model_validate({**content, "input": {**content["input"], **change}})


def resolve_preprocessing(spec: CheckpointModel) -> Preprocessing:
    """Return the architecture's scaling, or the entry's own."""
    return Preprocessing.of_definition(definition_of(spec))


def identify_weights(spec: CheckpointModel) -> dict[str, Any]:
    """Return the digest of the file and the definition of the architecture."""
    return {**identify_file(spec, _KIND), "definition": definition_of(spec).as_json()}


def build(spec: CheckpointModel, *, with_weights: bool) -> LayeredNetwork:
    """Return the network.

    Raises:
        ValueError: If the file is missing, no state dict, or does not fit the architecture.
    """
    network = build_layered_network(definition_of(spec), n_classes=spec.n_classes, seed=0).eval()
    if with_weights:
        load_file(spec, network, _KIND)
    return network


def require_fitting_weights(spec: CheckpointModel, network: nn.Module) -> None:
    """Refuse a file that does not fit the network, given on the meta device; no number is read."""
    require_fitting_file(spec, network, _KIND)


class CheckpointHandle:
    """A file of weights in the guise of a network trained here, for those who read such."""

    def __init__(self, name: str, spec: CheckpointModel) -> None:
        self._name, self._spec = name, spec
        self._state: dict[str, Tensor] | None = None
        definition = definition_of(spec).as_json()
        self.meta: dict[str, Any] = {"definition": definition, "n_classes": spec.n_classes}
        content = json.dumps({**spec.recipe(), **identify_weights(spec)}, sort_keys=True)
        self.reference = {"key": name, "digest": hashlib.sha256(content.encode()).hexdigest()}

    @property
    def names(self) -> list[str]:
        """Names of the tensors, sorted; the file is read at first access."""
        return sorted(self._tensors())

    def tensor(self, name: str) -> Any:
        """Return one tensor as a numpy array."""
        return self._tensors()[name].numpy()

    def _tensors(self) -> dict[str, Tensor]:
        if self._state is None:
            try:
                built = build(self._spec, with_weights=True).state_dict()
            except UserError as error:
                raise UserError(f"network {self._name!r}: {error}") from error
            self._state = {
                name: value for name, value in built.items() if not name.endswith("num_batches_tracked")
            }
        return self._state
