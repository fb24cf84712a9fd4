"""Directions of each layer of a network: leading ones of its covariance, and random ones."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rep_kedro.analyses.projections.params import Kind, ProjectionParams
from rep_kedro.errors import NotFiniteError, UserError
from rep_kedro.kernels.layers.projection import (
    Directions,
    draw_random_directions,
    find_leading_directions,
)
from rep_kedro.kernels.layers.spectrum import measure_intrinsic_dimension
from rep_kedro.kernels.layers.streaming import StreamedMoments, flatten_positions
from rep_kedro.models.layers import select_layers
from rep_kedro.models.sources.loaded import LoadedModel
from rep_kedro.models.survey import CALL_SEPARATOR, listening, survey_network

CONSTANT = "the layer does not vary"
_BYTES = 4  # of a float32
_COPIES = 3  # what a layer gave, the copy that is kept, and what is made of it
_MAP_AXES = 4


@dataclass(frozen=True)
class LayerDirections:
    """Directions of one layer.

    Attributes:
        by_kind: In the order in which they are kept.
        eigenvalues: Of the leading ones, descending.
        reason: Why nothing can be counted; empty if it can.
    """

    by_kind: dict[Kind, Directions]
    eigenvalues: Tensor
    reason: str

    @property
    def n_channels(self) -> int:
        """All directions of the layer."""
        return len(self.eigenvalues)

    def count(self, delta: float, rule: Any) -> int | None:
        """Return how many directions carry a share of the variance; None where nothing varies."""
        if self.reason:
            return None
        return measure_intrinsic_dimension(self.eigenvalues, delta=delta, rule=rule)


def choose_layers(
    model: LoadedModel, example: Tensor, params: ProjectionParams
) -> tuple[tuple[str, ...], int]:
    """Return the layers to project, in depth order, and the bytes that one stimulus takes in all layers.

    Raises:
        UserError: If a name is unknown, or there is no layer but the head.
    """
    survey = survey_network(model.module, example, model.run)
    calls = [call for call in survey.calls if isinstance(call.module, nn.Conv2d | nn.Linear) and call.shape]
    if len(calls) < 2:
        raise UserError("the network has no convolution or linear layer but its head")
    names = [call.layer for call in calls[:-1]]
    leaves = [call.shape for call in survey.calls if call.shape and not any(call.module.children())]
    n_bytes = _COPIES * _BYTES * sum(torch.Size(shape).numel() for shape in leaves)
    return select_layers(names, params.layers), n_bytes


def as_maps(part: nn.Module, output: Tensor) -> Tensor:
    """Return an output with its channels where projections look for them; linear layers have them last."""
    return output.movedim(-1, 1) if isinstance(part, nn.Linear) and output.ndim == _MAP_AXES else output


def call_of(layer: str) -> str:
    """Return the name under which a pass announces a layer's call."""
    return layer if CALL_SEPARATOR in layer else f"{layer}{CALL_SEPARATOR}1"


def find_directions(
    model: LoadedModel, layers: Iterable[str], batches: Iterable[Tensor], params: ProjectionParams
) -> dict[str, LayerDirections]:
    """Return the directions of each layer over some stimuli.

    Args:
        model: The network, in evaluation mode.
        layers: What `choose_layers` returned.
        batches: Stimuli as the network takes them.
        params: Which directions, and their seed.

    Raises:
        NotFiniteError: If a layer gives NaN or infinity.
    """
    by_call = {call_of(layer): layer for layer in layers}
    moments: dict[str, StreamedMoments] = {}
    parts = dict(model.module.named_modules())

    def add(call: str, output: object) -> None:
        if call in by_call and isinstance(output, Tensor):
            layer = by_call[call]
            samples = flatten_positions(as_maps(parts[call.partition(CALL_SEPARATOR)[0]], output))
            state = moments.setdefault(layer, StreamedMoments(samples.shape[1], device=samples.device))
            try:
                state.update(samples)
            except ValueError as problem:
                raise NotFiniteError(f"layer {layer!r}: {problem}") from problem

    only = {call.partition(CALL_SEPARATOR)[0] for call in by_call}
    for images in batches:
        with listening(model.module, add, only), torch.no_grad():
            (model.run or model.module)(images)
    return {layer: _directions_of(layer, moments[layer], params) for layer in by_call.values()}


def _directions_of(layer: str, moments: StreamedMoments, params: ProjectionParams) -> LayerDirections:
    leading, eigenvalues = find_leading_directions(moments, centred=params.centred)
    digest = hashlib.sha256(f"{params.seed}:directions:{layer}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
    found: dict[Kind, Directions] = {
        kind: leading if kind == "leading" else draw_random_directions(leading.origin, generator)
        for kind in params.directions
    }
    has_none = moments.is_constant() if params.centred else not bool(eigenvalues.any())
    return LayerDirections(found, eigenvalues.cpu(), CONSTANT if has_none else "")
