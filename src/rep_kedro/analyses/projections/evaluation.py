"""Accuracy and loss of a network with projected layers; only what follows a layer runs again."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from rep_kedro.analyses.projections.directions import LayerDirections, as_maps, call_of
from rep_kedro.analyses.projections.params import Kind, ProjectionParams
from rep_kedro.errors import UserError
from rep_kedro.kernels.layers.projection import Projector
from rep_kedro.models.resuming import Resuming
from rep_kedro.models.sources.loaded import LoadedModel
from rep_kedro.models.survey import CALL_SEPARATOR, listening

ALL_LAYERS = "*"
_Counts = tuple[tuple[str, int], ...]  # of each layer, the directions that are kept
_Variant = tuple[Kind, _Counts]


@dataclass
class _Tally:
    n: int = 0
    n_right: int = 0
    n_both_right: int = 0  # also by the network as it is
    loss: float = 0.0

    def add(self, logits: Tensor, labels: Tensor, right_before: Tensor) -> None:
        right = logits.argmax(dim=1) == labels
        self.n += len(labels)
        self.n_right += int(right.sum())
        self.n_both_right += int((right & right_before).sum())
        self.loss += float(nn.functional.cross_entropy(logits.double(), labels, reduction="sum"))

    def values(self) -> dict[str, float]:
        return {"accuracy": self.n_right / self.n, "loss": self.loss / self.n}


@dataclass
class Evaluation:
    """One network, projected in many ways, on the stimuli that are added batch by batch.

    Projections onto the same directions are evaluated once; onto all directions, they are the network itself.

    Attributes:
        model: The network, in evaluation mode.
        directions: Of each layer, in depth order.
        n_classes: Outputs that the network must have.
        params: Scopes, kinds, shares and rules.
    """

    model: LoadedModel
    directions: Mapping[str, LayerDirections]
    n_classes: int
    params: ProjectionParams
    _whole: _Tally = field(default_factory=_Tally)

    def __post_init__(self) -> None:
        self._resuming = Resuming(self.model.module, self.model.run)
        self._parts: dict[str, nn.Module] = dict(self.model.module.named_modules())
        wanted = {
            (kind, kept)
            for kind in self.params.directions
            for _, layers in self._groups()
            for delta in self.params.deltas
            for rule in self.params.rules
            if (kept := self._count(layers, delta, rule)) is not None
        }
        self._tallies: dict[_Variant, _Tally] = {
            variant: _Tally() for variant in sorted(wanted) if not self._is_whole(variant[1])
        }

    @property
    def variants(self) -> list[tuple[Kind, tuple[tuple[str, int], ...]]]:
        """What is evaluated besides the network itself: kind, and the directions kept of each layer."""
        return list(self._tallies)

    def add(self, images: Tensor, labels: Tensor) -> None:
        """Evaluate one batch.

        Raises:
            UserError: If the network's output is not one number per class.
        """
        logits = self._resuming.record(images)
        if logits.ndim != 2 or logits.shape[1] != self.n_classes:
            raise UserError(
                f"the network gives outputs of shape {tuple(logits.shape)} for {len(images)} stimuli of"
                f" {self.n_classes} classes; projections need a head with one output per class"
            )
        right = logits.argmax(dim=1) == labels
        self._whole.add(logits, labels, right)
        behind: dict[tuple[str, Kind], Projector] = {}
        for (kind, kept), tally in self._tallies.items():
            if len(kept) > 1:
                tally.add(self._pass(images, kind, dict(kept)), labels, right)
                continue
            [(layer, n_kept)] = kept
            if (layer, kind) not in behind:
                behind = {(layer, kind): self._projector(layer, kind, self._resuming.output_of(layer))}
            projected = behind[layer, kind].keep(n_kept)
            outputs = self._resuming.resume(layer, as_output(self._part(layer), projected))
            tally.add(outputs, labels, right)

    def rows(self) -> list[dict[str, Any]]:
        """Return one row for each scope or layer, kind, share and rule."""
        rows: list[dict[str, Any]] = []
        for name, layers in self._groups():
            for kind in self.params.directions:
                for delta in self.params.deltas:
                    for rule in self.params.rules:
                        about = {"layer": name, "directions": kind, "delta": delta, "rule": rule}
                        rows.append({**about, **self._measure(layers, kind, delta, rule)})
        return rows

    def original(self) -> dict[str, Any]:
        """Return accuracy and loss of the network as it is, and the number of stimuli."""
        return {**self._whole.values(), "n_test": self._whole.n}

    def _measure(self, layers: tuple[str, ...], kind: Kind, delta: float, rule: str) -> dict[str, Any]:
        kept = self._count(layers, delta, rule)
        n_channels = sum(self.directions[layer].n_channels for layer in layers)
        if kept is None:
            reasons = {f"{layer}: {why}" for layer in layers if (why := self.directions[layer].reason)}
            missing = dict.fromkeys(("dimension", "accuracy", "loss", "n_both_right"))
            return {**missing, "n_channels": n_channels, "reason": "; ".join(sorted(reasons))}
        tally = self._whole if self._is_whole(kept) else self._tallies[kind, kept]
        counts = {"dimension": sum(n for _, n in kept), "n_channels": n_channels}
        return {**counts, **tally.values(), "n_both_right": tally.n_both_right, "reason": ""}

    def _groups(self) -> list[tuple[str, tuple[str, ...]]]:
        """Return the layers that are projected together, by the name of the group."""
        layers = tuple(self.directions)
        groups: list[tuple[str, tuple[str, ...]]] = []
        if "each" in self.params.scopes:
            groups += [(layer, (layer,)) for layer in layers]
        return [*groups, (ALL_LAYERS, layers)] if "all" in self.params.scopes else groups

    def _count(self, layers: Iterable[str], delta: float, rule: str) -> _Counts | None:
        counted = [(layer, self.directions[layer].count(delta, rule)) for layer in layers]
        if any(n is None for _, n in counted):
            return None
        return tuple((layer, n) for layer, n in counted if n is not None)

    def _is_whole(self, kept: _Counts) -> bool:
        return all(n == self.directions[layer].n_channels for layer, n in kept)

    def _part(self, layer: str) -> nn.Module:
        return self._parts[layer.partition(CALL_SEPARATOR)[0]]

    def _projector(self, layer: str, kind: Kind, output: Tensor) -> Projector:
        return Projector(as_maps(self._part(layer), output), self.directions[layer].by_kind[kind])

    def _pass(self, images: Tensor, kind: Kind, kept: Mapping[str, int]) -> Tensor:
        """Return the outputs with several layers projected, in one pass."""
        layers = {call_of(layer): layer for layer in kept}

        def project(call: str, output: object) -> object:
            layer = layers.get(call)
            if layer is None or not isinstance(output, Tensor):
                return None
            projected = self._projector(layer, kind, output).keep(kept[layer])
            return as_output(self._part(layer), projected)

        only = {call.partition(CALL_SEPARATOR)[0] for call in layers}
        with listening(self.model.module, project, only), torch.no_grad():
            output = (self.model.run or self.model.module)(images)
        if not isinstance(output, Tensor):
            raise UserError(f"the network returns {type(output).__name__}, not one tensor of outputs")
        return output


def as_output(part: nn.Module, maps: Tensor) -> Tensor:
    """Return a projected output in the form of the layer's: the inverse of `as_maps`."""
    return maps.movedim(1, -1) if isinstance(part, nn.Linear) and maps.ndim == 4 else maps
