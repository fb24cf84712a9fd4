"""Files of weights for this project's architectures."""

import warnings
from typing import Any

import torch
from torch import Tensor

from rep_kedro.errors import UserError
from rep_kedro.models.architecture import Architecture, load_architecture
from rep_kedro.models.network import LayeredNetwork, build_network, restore_network
from rep_kedro.models.preprocessing import Preprocessing
from rep_kedro.models.sources.files import identify_file, read_tensors, require_file
from rep_kedro.models.sources.specs import CheckpointModel

TORCH_SUFFIXES = frozenset({".pt", ".pth", ".th"})


def definition_of(spec: CheckpointModel) -> Architecture:
    """Return the architecture, its input scaled as the entry says."""
    definition = load_architecture(spec.architecture)
    change = {key: value for key in ("mean", "std") if (value := getattr(spec, key)) is not None}
    content = definition.as_json()
    return Architecture.model_validate({**content, "input": {**content["input"], **change}})


def resolve_preprocessing(spec: CheckpointModel) -> Preprocessing:
    """Return the architecture's scaling, or the entry's own."""
    return Preprocessing.of_architecture(definition_of(spec))


def identify_weights(spec: CheckpointModel) -> dict[str, Any]:
    """Return the digest of the file and the definition of the architecture."""
    return {**identify_file(spec, "checkpoint"), "definition": definition_of(spec).as_json()}


def build(spec: CheckpointModel, *, with_weights: bool) -> LayeredNetwork:
    """Return the network.

    Raises:
        ValueError: If the file is missing, no state dict, or does not fit the architecture.
    """
    definition = definition_of(spec)
    if not with_weights:
        return build_network(definition, n_classes=spec.n_classes, seed=0).eval()
    state = {name.removeprefix(spec.prefix): tensor for name, tensor in _read_state(spec).items()}
    try:
        return restore_network(definition, spec.n_classes, state)
    except UserError as error:
        raise UserError(f"checkpoint {spec.path or spec.url}: {error}") from error


class CheckpointHandle:
    """A file of weights in the guise of a network trained here, for those who read such.

    Args:
        name: Of the network.
        spec: Its entry.
    """

    def __init__(self, name: str, spec: CheckpointModel) -> None:
        self._name, self._spec = name, spec
        self._state: dict[str, Tensor] | None = None
        definition = definition_of(spec).as_json()
        self.meta: dict[str, Any] = {"definition": definition, "n_classes": spec.n_classes}
        self.reference = {"key": name, "digest": identify_file(spec, "checkpoint")["sha256"]}

    @property
    def names(self) -> list[str]:
        """Names of the tensors, sorted; the file is read when they are first asked for."""
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


def _read_state(spec: CheckpointModel) -> dict[str, Tensor]:
    path = require_file(spec, "checkpoint")
    if path.suffix == ".safetensors":
        return read_tensors(spec, "checkpoint")
    if path.suffix not in TORCH_SUFFIXES:
        known = ", ".join([".safetensors", *sorted(TORCH_SUFFIXES)])
        raise UserError(f"checkpoint {spec.path or spec.url} has suffix {path.suffix!r}; known: {known}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the age of the file's format
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler raises whatever the file makes it raise
        raise UserError(
            f"checkpoint {spec.path or spec.url} is refused: it is damaged, or holds more than tensors, and"
            " reading it could run code; save its state dict alone, best as .safetensors"
        ) from error
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not all(isinstance(x, Tensor) for x in content.values()):
        raise UserError(
            f"checkpoint {spec.path or spec.url} is no state dict of tensors, got {type(content).__name__}"
        )
    return content
